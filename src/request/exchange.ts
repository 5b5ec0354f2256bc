/** What do the stages know about a request? One record per request: a stage sets a fact, later stages read it. */
import type { Client } from '../http/address.ts'
import type { Authority } from '../rules/host.ts'
import type { PasswordTry } from '../limits/password-tries.ts'
import type { Target } from '../rules/target.ts'
import type { ApiToken } from '../identity/api-tokens.ts'
import type { Credential } from '../identity/credentials.ts'
import type { Session } from '../identity/session.ts'
import type { Principal } from '../identity/token.ts'
import { Outcome } from './outcome.ts'

const NO_FIELDS: readonly string[] = []

/** The facts about one request. A stage reads only what earlier stages set. */
export class Exchange {
  /** How the request ended: the response's status, the stage that answered, bytes and times. */
  readonly outcome = new Outcome()
  /** When the request arrived, on the monotonic clock in milliseconds. */
  readonly startedAt = performance.now()
  /** Stage `target`: the target of the request. */
  target: Target | undefined
  /** Stage `client-address`: the client that sent the request. */
  client: Client | undefined
  /** Stage `client-address`: the scheme by which the client reached the first proxy, or this gateway. */
  scheme: 'http' | 'https' = 'http'
  /** Stage `host`: the requested host. */
  authority: Authority | undefined
  /** Stage `credential`: the credential that counts, and whether it is valid. */
  credential: Credential | undefined
  /** Stage `credential`: the API token that the request carries, also one in its address; undefined for one not in force. */
  apiToken: ApiToken | undefined
  /** Stage `credential`: whether `Authorization` holds a credential for this gateway, which no service may see. */
  dropAuthorization = false
  /** Stage `rate-limit`: whether the request was counted in a budget. */
  counted = false
  /**
   * Stage `rate-limit`: the budget in which nothing was left for the request, also when another stage has refused it: `address`, or
   * that of a session or an API token, with its id.
   */
  pastLimitOf: string | undefined
  /** Stage `rate-limit`: whether the request was paid from the budget of the address. */
  isPaidByAddress = false
  /**
   * Stage `rate-limit`: the response fields that tell what is left of the budget, and of an API token's time; names and values
   * in turn.
   */
  budgetFields = NO_FIELDS
  /** Stage `rate-limit`: the password for the terminal that the request carries, until the terminal has accepted or refused it. */
  passwordTry: PasswordTry | undefined
  /** Stage `authentication`: the person or program that is signed in. */
  principal: Principal | undefined
  /** Before the first stage: the allowed foreign origin that sent the request. */
  allowOrigin: string | undefined
  /** Sign-in: the checked path to return to afterwards, also when the first token was wrong. */
  returnTo: string | undefined
}

/** The web origin at which the client reached the workspace: `scheme://host[:port]`. */
export function ownOrigin({ scheme, authority }: Exchange): string {
  if (authority === undefined) return 'null'
  const isDefaultPort =
    authority.port === undefined || authority.port === (scheme === 'https' ? '443' : '80')
  return `${scheme}://${authority.host}${isDefaultPort ? '' : `:${authority.port}`}`
}

/** The principal of a valid credential; undefined when there is none. */
export function verifiedPrincipal({ credential }: Exchange): Principal | undefined {
  return credential === undefined || credential.outcome instanceof Error
    ? undefined
    : credential.outcome
}

/** The session whose cookie the browser sent; undefined when there is none, or when another credential decides. */
export function cookieSession(exchange: Exchange): Session | undefined {
  return exchange.credential?.kind === 'cookie' ? verifiedPrincipal(exchange)?.session : undefined
}

declare module 'fastify' {
  interface FastifyRequest {
    /** The facts about this request, and its outcome. Set before the first stage runs. */
    exchange: Exchange
  }
  interface FastifyContextConfig {
    /** Whether the route needs no sign-in. test/request-path.test.ts lists every such route. */
    public?: boolean
    /**
     * Whether the stage `rate-limit` does not count a request. `true`: never, for `/health`, because a 429 there would take the
     * workspace down. `without-credential`: for probes; with a credential, the response would tell for free whether it is valid.
     * `signed-in`: with a valid session, for signing out. `sign-in`: with a token, because the route itself counts failures.
     */
    uncounted?: boolean | 'without-credential' | 'signed-in' | 'sign-in'
    /** Whether the route accepts any `Host`: only `/health`, because its prober sends the address that it dialled. */
    anyHost?: boolean
    /** Whether a session cookie opens the route to pages of the workspace alone, not to those of GATEWAY_ALLOWED_ORIGINS. */
    ownPages?: boolean
    /** Whether the route wants more than a sign-in (src/rules/step-up.ts). An API token passes: making it took that, or the machine. */
    stepUp?: boolean
    /** Whether the route is for other workspaces of the owner, which come with an API token, and for no session of a person. */
    forWorkspaces?: boolean
    /** Whether the route is for connections of paired devices alone, or of the link itself; on any other it does not exist. */
    only?: 'device' | 'link'
    /** Whether the route accepts WebSocket handshakes. */
    upgrades?: boolean
  }
}
