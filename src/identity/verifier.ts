/**
 * Is a credential valid now, and whose is it? jose checks the signature, token.ts the claims, sessions.ts whether the session
 * still lives, api-tokens.ts the API tokens. Good verdicts are cached, so that a request costs one look-up.
 */
import { compactVerify } from 'jose/jws/compact/verify'
import { codeOf } from '../answers/errors.ts'
import type { State } from '../store/state.ts'
import type { ApiTokens } from './api-tokens.ts'
import type { Key, KeyRing } from './key-ring.ts'
import { digestOf, ticketIdOf, type Sessions, type Ticket } from './sessions.ts'
import {
  checkClaims,
  invalidToken,
  readHeader,
  readPayload,
  SESSION_USE,
  type Claims,
  type Payload,
  type Principal,
  type TokenRules,
} from './token.ts'

/** What verdicts are made from. */
export interface VerifierParts {
  readonly rules: TokenRules
  readonly keys: KeyRing
  readonly sessions: Sessions
  readonly apiTokens: ApiTokens
  /** Nothing is judged before it is ready. By default it is. */
  readonly state?: Pick<State, 'ready' | 'catchUp'>
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
  readonly #state: Pick<State, 'ready' | 'catchUp'> | undefined
  readonly #now: () => number
  readonly #remembered = new Map<string, Principal>()

  constructor({ rules, keys, sessions, apiTokens, state, now = Date.now }: VerifierParts) {
    this.#rules = rules
    this.#keys = keys
    this.#sessions = sessions
    this.#apiTokens = apiTokens
    this.#state = state
    this.#now = now
    sessions.onEnded(() => {
      this.forget(({ session }) => session.endedBy !== undefined)
    })
    sessions.onSuperseded((tokens) => {
      const isTicket = (id: string | undefined) => id !== undefined && id === tokens.ticketId
      this.forget(({ session, ticketId }) => session === tokens.session || isTicket(ticketId))
    })
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
    if (now >= principal.acceptedUntil || principal.session.endedBy !== undefined) {
      this.#remembered.delete(token)
      return undefined
    }
    noteSeen(principal, now)
    return principal
  }

  /** Verifies a token. @throws {GatewayError} `token-invalid`, `token-expired` or `ticket-used` */
  async verify(token: string): Promise<Principal> {
    const known = this.recall(token)
    if (known !== undefined) return known
    // Before anything is awaited, because anybody can send forged tokens. A key that is added meanwhile is tried at the next request.
    const signer = token.startsWith('hub_') ? undefined : this.#signerOf(token)
    await this.#state?.ready // while a predecessor may still end sessions, none is judged, and none is in the cache
    // After the last await, the verdict and its place in the cache are one step. Otherwise a ticket could be used, a session
    // revoked or a key removed between the two, and the cache would go on with what was true before.
    const signed = signer === undefined ? undefined : await this.#signed(token, signer)
    this.#state?.catchUp()
    const principal =
      signed === undefined ? this.#judgeApiToken(token) : this.#judgeJwt(token, signed)
    if (this.#remembered.size >= REMEMBERED_TOKENS) {
      const oldest = this.#remembered.keys().next()
      if (oldest.done !== true) this.#remembered.delete(oldest.value)
    }
    this.#remembered.set(token, principal)
    noteSeen(principal, this.#now())
    return principal
  }

  /**
   * Verifies a ticket: a token that may start a session, and is no session token itself.
   * @param inUrl whether it came in a URL, which browsers and proxies remember: it then works once, also without `jti`
   * @throws {GatewayError} `token-invalid`, `token-expired` or `ticket-used`
   */
  async verifyTicket(token: string, inUrl: boolean): Promise<Ticket> {
    await this.#state?.ready
    const { claims, key } = this.#claimsOf(await this.#signed(token))
    if (claims.isSessionToken) throw invalidToken('a session token is no ticket')
    const isOneTime = claims.tokenId !== undefined || inUrl
    const ticket = this.#sessions.ticket(claims, digestOf(token), isOneTime)
    key.noteUse(this.#now()) // a login service that signs with an old key still uses that key
    return ticket
  }

  /** Forgets what was decided on the tokens that match a condition, so that it is decided again. */
  forget(matches: (principal: Principal) => boolean): void {
    for (const [token, principal] of this.#remembered)
      if (matches(principal)) this.#remembered.delete(token)
  }

  #judgeJwt(token: string, signed: SignedToken): Principal {
    const { claims, key } = this.#claimsOf(signed)
    const common = { subject: claims.subject, key, apiToken: undefined }
    if (claims.isSessionToken) {
      const { browser, acceptedUntil, proof } = this.#sessions.admit(claims, key.kid)
      return { ...common, ...proof, session: browser.session, acceptedUntil, ticketId: undefined }
    }
    const digest = digestOf(token)
    const session = this.#sessions.admitProgram(claims, digest, key.kid)
    const isDated = claims.authenticatedAt !== undefined || claims.issuedAt !== undefined
    return {
      ...common,
      session,
      acceptedUntil: (claims.expiresAt + this.#rules.leewaySeconds) * 1000,
      authenticatedAt: isDated ? this.#sessions.authenticatedAt(claims) : undefined,
      methods: claims.methods,
      factorAt: undefined,
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
      ...{ methods: [], factorAt: undefined },
    }
  }

  /**
   * The only key that may have signed a token. Nothing is awaited and the payload is not read before it is known, because anybody
   * can send forged tokens.
   */
  #signerOf(token: string): Signer {
    const kid = readHeader(token)
    const named = kid === undefined ? undefined : this.#keys.find(kid)
    const keys = named === undefined ? this.#keys.keys : [named]
    const key = keys.find((one) => one.mayHaveSigned(token))
    if (key === undefined) throw WRONG_SIGNATURE
    return { key, isNamed: named !== undefined }
  }

  /** A token that a key has signed. Its claims are not checked yet. */
  async #signed(token: string, { key, isNamed } = this.#signerOf(token)): Promise<SignedToken> {
    if (!(await isSignedWith(key, token))) throw WRONG_SIGNATURE
    const payload = readPayload(token)
    // A session token names its key. Other issuers may use names of their own, which say nothing here.
    if (!isNamed && payload['use'] === SESSION_USE) throw invalidToken('unknown kid')
    return { payload, key }
  }

  /** Checks the claims of a token. The keys may have been replaced since its signature was verified. */
  #claimsOf({ payload, key }: SignedToken): { claims: Claims; key: Key } {
    if (this.#keys.find(key.kid) !== key) throw WRONG_SIGNATURE
    return { claims: checkClaims(payload, this.#rules, this.#now() / 1000), key }
  }
}

/** The key that may have signed a token, and whether the token names it. */
interface Signer {
  readonly key: Key
  readonly isNamed: boolean
}

/** One error for all forged tokens, because making an error is a large part of what a refusal costs. */
const WRONG_SIGNATURE = invalidToken('signature')

/** A token whose signature is valid, and the key that verified it. */
interface SignedToken {
  readonly payload: Payload
  readonly key: Key
}

/** Notes that a request came with a valid token. @param now milliseconds since 1970 */
function noteSeen({ session, key }: Principal, now: number): void {
  session.lastSeenAt = now
  key?.noteUse(now)
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
