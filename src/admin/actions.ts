/**
 * What may the machine's owner alone ask of a running gateway? Why a request was answered as it was, the metrics, and a link that
 * signs anybody in. The actions that owners also have in the JSON API are in owner-actions.ts.
 */
import { GatewayError } from '../answers/errors.ts'
import type { Config } from '../config/load.ts'
import { explainDecision, type Explanation } from '../observe/explanation.ts'
import type { Gateway } from '../parts.ts'
import { renderMetrics } from './measurements.ts'
import { signInPath, type SignInLink } from './sign-in-link.ts'

/**
 * The actions. An action takes and returns plain values and knows no request and no response, so that the admin socket
 * (routes.ts) and anything else can offer the same action. Each caller authenticates its own clients.
 */
export interface AdminActions {
  /** Why a recent request got its response. @throws {GatewayError} `not-found` when the request is not remembered */
  explain(id: string): Explanation
  /** The metrics, in the text format of Prometheus. */
  metrics(): string
  /** A link with which a person signs in, once. */
  signInLink(subject: string): Promise<SignInLink>
}

/** The actions on a gateway. */
export function adminActions({ parts }: Gateway, config: Config): AdminActions {
  return {
    explain(id) {
      const decision = parts.decisions.find(id)
      if (decision !== undefined) return explainDecision(decision)
      throw new GatewayError('not-found', {
        reason: `no such request among the last few thousand that ended here: it is older, still under way, from before the last restart, a probe of health that was answered (GATEWAY_LOG_PROBES keeps those), or one of many from the same client that were refused in one second (GATEWAY_LOG_REFUSALS keeps those)`,
      })
    },
    metrics: () => renderMetrics(parts),
    async signInLink(subject) {
      const { workspace, domain, jwtIssuer: issuer, sessionMaxSeconds } = config
      const options = { secret: parts.keys.signing, workspace, issuer, sessionMaxSeconds }
      return { path: await signInPath(subject, options), host: `${workspace}.${domain}` }
    },
  }
}
