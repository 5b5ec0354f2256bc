/** What may the machine's owner ask of a running gateway? One set of actions, whichever way the owner asks. */
import { GatewayError } from '../answers/errors.ts'
import type { Config } from '../config/load.ts'
import { explainDecision, type Explanation } from '../observe/explanation.ts'
import type { Gateway } from '../parts.ts'
import { renderMetrics } from './measurements.ts'
import { statusOf } from './status.ts'

/**
 * The actions. An action takes and returns plain values and knows no request and no response, so that the admin socket
 * (routes.ts) and anything else can offer the same action. Each caller authenticates its own clients.
 */
export interface AdminActions {
  /** Why a recent request got its response. @throws {GatewayError} `not-found` when the request is not remembered */
  explain(id: string): Explanation
  /** The metrics, in the text format of Prometheus. */
  metrics(): string
  /** How the gateway and its services are doing, as JSON. */
  status(): Promise<object>
}

/** The actions on a gateway. */
export function adminActions(gateway: Gateway, config: Config): AdminActions {
  const { parts } = gateway
  return {
    explain(id) {
      const decision = parts.decisions.find(id)
      if (decision !== undefined) return explainDecision(decision)
      throw new GatewayError('not-found', {
        reason: `no such request among the last few thousand that ended here: it is older, still under way, from before the last restart, or a probe of health that was answered (GATEWAY_LOG_PROBES keeps those)`,
      })
    },
    metrics: () => renderMetrics(parts),
    status: () => statusOf(gateway, config),
  }
}
