/** What do the stages know about a request? One record per request: a stage sets a fact, later stages read it. */
import type { FastifyRequest } from 'fastify'
import type { Client } from '../http/address.ts'
import type { Authority } from '../rules/host.ts'
import type { PasswordTry } from '../limits/password-tries.ts'
import type { Target } from '../rules/target.ts'
import type { Credential } from '../identity/credentials.ts'
import type { Principal } from '../identity/token.ts'
import { Outcome } from './outcome.ts'

const NO_FIELDS: readonly string[] = []

/** The facts about one request. A stage reads only what earlier stages set. */
export class Exchange {
  /** How the request ended: the response's status, the stage that answered, bytes and times. */
  readonly outcome = new Outcome()
  /** When the request arrived, on the monotonic clock in milliseconds. */
  readonly startedAt = performance.now()
  /** Stage 1: what is asked for. */
  target: Target | undefined
  /** Stage 2: who is calling. */
  client: Client | undefined
  /** Stage 2: how the client reached the front of the chain. */
  scheme: 'http' | 'https' = 'http'
  /** Stage 3: the host that was asked for. */
  authority: Authority | undefined
  /** Stage 5: the credential that decides, if any. */
  credential: Credential | undefined
  /** Stage 5: whether `Authorization` held a credential of ours, which no service may see. */
  dropAuthorization = false
  /** Stage 6: whether the request was counted. */
  counted = false
  /** Stage 6: fields that tell what is left of the budget, name and value in turn. */
  budgetFields = NO_FIELDS
  /** Stage 6: the password for the terminal that the request brings, until the terminal has judged it. */
  passwordTry: PasswordTry | undefined
  /** Stage 7: who is signed in. */
  principal: Principal | undefined
  /** Before stage 0: the allowed foreign origin that sent the request. */
  allowOrigin: string | undefined
  /** Sign-in: the verified path that the browser goes to afterwards, also when the first token was wrong. */
  returnTo: string | undefined
}

/** The web origin under which the client reached the workspace: `scheme://host[:port]`. */
export function ownOrigin({ scheme, authority }: Exchange): string {
  if (authority === undefined) return 'null'
  const isDefaultPort =
    authority.port === undefined || authority.port === (scheme === 'https' ? '443' : '80')
  return `${scheme}://${authority.host}${isDefaultPort ? '' : `:${authority.port}`}`
}

/** The session's principal when a credential was verified. */
export function verifiedPrincipal({ credential }: Exchange): Principal | undefined {
  return credential === undefined || credential.outcome instanceof Error
    ? undefined
    : credential.outcome
}

declare module 'fastify' {
  interface FastifyRequest {
    /** What the stages know about this request. Set before the first stage runs. */
    exchange: Exchange
  }
  interface FastifyContextConfig {
    /** Whether anyone may use the route, signed in or not. Every such route is listed in test/request-path.test.ts. */
    public?: boolean
    /**
     * Whether requests cost nothing of a budget: `/health`, whose 429 would take the workspace down. The probes of a
     * supervisor only without a credential: with one, the answer would tell for free whether it is good. Signing out only
     * with a valid session. Signing in with a token: the route itself counts what fails, once it knows.
     */
    uncounted?: boolean | 'without-credential' | 'signed-in' | 'sign-in'
    /** Whether the route answers whatever `Host` says: only `/health`, whose prober sends the address it dialled. */
    anyHost?: boolean
    /** Whether WebSocket handshakes are taken. */
    upgrades?: boolean
  }
}

/** A request of Fastify's, with what this gateway adds. */
export type GatewayRequest = FastifyRequest
