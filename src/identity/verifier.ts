/**
 * Is a credential valid now, and whose is it? jose checks the signature, token.ts the claims, sessions.ts whether the session
 * still lives, api-tokens.ts the API tokens. Good verdicts are cached, so that a request costs one look-up.
 */
import { compactVerify } from 'jose/jws/compact/verify'
import { codeOf } from '../answers/errors.ts'
import type { ApiTokens } from './api-tokens.ts'
import type { Key, KeyRing } from './key-ring.ts'
import { digestOf, ticketIdOf, type Sessions, type Ticket } from './sessions.ts'
import {
  checkClaims,
  invalidToken,
  readToken,
  SESSION_USE,
  type Claims,
  type Principal,
  type TokenRules,
} from './token.ts'

/** What verdicts are made from. */
export interface VerifierParts {
  readonly rules: TokenRules
  readonly keys: KeyRing
  readonly sessions: Sessions
  readonly apiTokens: ApiTokens
  /** The wall clock in milliseconds, because `exp` is wall-clock time. */
  readonly now?: () => number
}

/** The capacity of the cache; the oldest token is dropped first. A workspace has one user and a handful of agents. */
const REMEMBERED_TOKENS = 10_000

/** Verifies credentials and caches the valid ones. */
export class TokenVerifier {
  readonly #rules: TokenRules
  readonly #keys: KeyRing
  readonly #sessions: Sessions
  readonly #apiTokens: ApiTokens
  readonly #now: () => number
  readonly #remembered = new Map<string, Principal>()

  constructor({ rules, keys, sessions, apiTokens, now = Date.now }: VerifierParts) {
    this.#rules = rules
    this.#keys = keys
    this.#sessions = sessions
    this.#apiTokens = apiTokens
    this.#now = now
  }

  /** How many tokens are cached. */
  get size(): number {
    return this.#remembered.size
  }

  /** The principal of a token that is cached and still valid. It costs one look-up, and notes that the session was seen. */
  recall(token: string): Principal | undefined {
    const principal = this.#remembered.get(token)
    if (principal === undefined) return undefined
    const now = this.#now()
    const { session, key, acceptedUntil } = principal
    if (now >= acceptedUntil || session.endedBy !== undefined) {
      this.#remembered.delete(token)
      return undefined
    }
    session.lastSeenAt = now
    key?.noteUse(now)
    return principal
  }

  /** Verifies a token. @throws {GatewayError} `token-invalid`, `token-expired` or `ticket-used` */
  async verify(token: string): Promise<Principal> {
    const known = this.recall(token)
    if (known !== undefined) return known
    const principal = token.startsWith('hub_')
      ? this.#judgeApiToken(token)
      : await this.#judgeJwt(token)
    if (this.#remembered.size >= REMEMBERED_TOKENS) {
      const oldest = this.#remembered.keys().next()
      if (oldest.done !== true) this.#remembered.delete(oldest.value)
    }
    this.#remembered.set(token, principal)
    return this.recall(token) ?? principal
  }

  /**
   * Verifies a ticket: a token that may start a session, and is no session token itself.
   * @param inUrl whether it came in a URL, which browsers and proxies remember: it then works once, also without `jti`
   * @throws {GatewayError} `token-invalid`, `token-expired` or `ticket-used`
   */
  async verifyTicket(token: string, inUrl: boolean): Promise<Ticket> {
    const { claims, key } = await this.#readJwt(token)
    if (claims.isSessionToken) throw invalidToken('a session token is no ticket')
    const digest = digestOf(token)
    this.#sessions.admitProgram(claims, digest, key.kid)
    const isOneTime = claims.tokenId !== undefined || inUrl
    return { claims, oneTimeId: isOneTime ? ticketIdOf(claims, digest) : undefined }
  }

  /** Forgets what was decided on the tokens that match a condition, so that it is decided again. */
  forget(matches: (principal: Principal) => boolean): void {
    for (const [token, principal] of this.#remembered)
      if (matches(principal)) this.#remembered.delete(token)
  }

  async #judgeJwt(token: string): Promise<Principal> {
    const { claims, key } = await this.#readJwt(token)
    const common = { subject: claims.subject, key, apiToken: undefined }
    if (claims.isSessionToken) {
      const { browser, acceptedUntil } = this.#sessions.admit(claims)
      const { session, authenticatedAt } = browser
      return { ...common, session, acceptedUntil, authenticatedAt, ticketId: undefined }
    }
    const digest = digestOf(token)
    const session = this.#sessions.admitProgram(claims, digest, key.kid)
    const since = claims.authenticatedAt ?? claims.issuedAt
    return {
      ...common,
      session,
      acceptedUntil: (claims.expiresAt + this.#rules.leewaySeconds) * 1000,
      authenticatedAt: since === undefined ? undefined : since * 1000,
      ticketId: ticketIdOf(claims, digest),
    }
  }

  #judgeApiToken(token: string): Principal {
    const apiToken = this.#apiTokens.find(token)
    if (apiToken === undefined) throw invalidToken('unknown API token')
    const { session } = apiToken
    const { endedBy } = session
    if (endedBy !== undefined && endedBy !== 'expired')
      throw invalidToken(`API token ${apiToken.name} is revoked`)
    if (endedBy !== undefined || this.#now() >= session.endsAt)
      throw invalidToken(`API token ${apiToken.name} has expired`)
    const { subject, endsAt: acceptedUntil } = session
    return {
      ...{ subject, session, acceptedUntil, apiToken },
      ...{ key: undefined, ticketId: undefined, authenticatedAt: undefined },
    }
  }

  /** The claims of a token that one of our keys has signed and that is valid now. */
  async #readJwt(token: string): Promise<{ claims: Claims; key: Key }> {
    const { payload, kid } = readToken(token)
    const named = kid === undefined ? undefined : this.#keys.find(kid)
    // A session token names its key. Other issuers may use names of their own, which say nothing here.
    if (named === undefined && payload['use'] === SESSION_USE) throw invalidToken('unknown kid')
    for (const key of named === undefined ? this.#keys.keys : [named]) {
      if (!(await isSignedWith(key, token))) continue
      // The keys may have been replaced during the await. A token whose key is no longer in the ring is not valid.
      if (this.#keys.find(key.kid) === undefined) break
      return { claims: checkClaims(payload, this.#rules, this.#now() / 1000), key }
    }
    throw invalidToken('signature')
  }
}

async function isSignedWith({ imported }: Key, token: string): Promise<boolean> {
  try {
    await compactVerify(token, await imported, { algorithms: ['HS256'] })
    return true
  } catch (cause) {
    const code = codeOf(cause)
    if (code === 'ERR_JWS_SIGNATURE_VERIFICATION_FAILED') return false
    throw invalidToken(code, cause)
  }
}
