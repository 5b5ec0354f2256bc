/** How does a session get its token? The token is minted first and comes into force when its session begins or is renewed. */
import type { Key, KeyRing } from './key-ring.ts'
import { mintSessionToken } from './mint.ts'
import {
  newName,
  type BrowserSession,
  type Device,
  type SessionProof,
  type Sessions,
  type Ticket,
} from './sessions.ts'
import type { Proofs } from '../rules/step-up.ts'
import type { Session } from './session.ts'
import type { Principal } from './token.ts'

/** A session token for the cookie of a browser. */
export interface CookieToken {
  readonly token: string
  /** When the token expires, in milliseconds since 1970. */
  readonly endsAt: number
}

/** A session token that is not in force yet. */
export interface Draft extends CookieToken {
  readonly ticket: Ticket
  readonly key: Key
  /** `sid` */
  readonly sessionId: string
  /** `jti` */
  readonly tokenId: string
  /** What the token says of the person. */
  readonly proof: SessionProof
}

/** What the issuer works with. */
export interface IssuerParts {
  readonly keys: KeyRing
  readonly sessions: Sessions
  /** `aud` of the tokens */
  readonly workspace: string
}

/** Issues session tokens for tickets. */
export class SessionIssuer {
  readonly #keys: KeyRing
  readonly #sessions: Sessions
  readonly #workspace: string

  constructor({ keys, sessions, workspace }: IssuerParts) {
    this.#keys = keys
    this.#sessions = sessions
    this.#workspace = workspace
  }

  /**
   * Mints a session token. Nothing is used up yet.
   * @param renewed the session that it renews; undefined for a new session
   * @param shown what the token proves that the browser sent of that session; undefined when it sent none
   * @throws {GatewayError} `token-expired` when the session would be over
   */
  async draft(ticket: Ticket, renewed?: BrowserSession, shown?: Proofs): Promise<Draft> {
    const { claims } = ticket
    const sessionId = renewed?.session.id ?? newName()
    const tokenId = newName()
    const endsAt = Math.max(this.#sessions.endOf(claims), renewed?.session.endsAt ?? 0)
    const proof = this.#sessions.proof(shown, claims)
    const key = this.#keys.signing
    const token = await mintSessionToken(key, {
      ...{ workspace: this.#workspace, subject: claims.subject, ...proof },
      ...{ sessionId, tokenId, issuedAt: Date.now(), endsAt },
    })
    // The keys may have been replaced meanwhile, and a session under a removed key would be over before it begins.
    return this.#keys.signing === key
      ? { ticket, token, key, sessionId, tokenId, endsAt, proof }
      : this.draft(ticket, renewed, shown)
  }

  /**
   * Starts the session of a draft, and uses its ticket up.
   * @param replaces the session that this browser had until now, which ends
   * @throws {GatewayError} what {@link Sessions.start} throws
   */
  start(draft: Draft, device: Device, replaces?: Session): Principal {
    const { ticket, key, sessionId: id, tokenId } = draft
    const ids = { id, tokenId, kid: key.kid }
    return issued(key, this.#sessions.start(ticket, ids, device, replaces))
  }

  /**
   * Renews a session with a draft that was made for it, and uses its ticket up.
   * @throws {GatewayError} what {@link Sessions.renew} throws
   */
  renew(draft: Draft, known: BrowserSession): Principal {
    const { ticket, key, tokenId, proof } = draft
    return issued(key, this.#sessions.renew(known, ticket, { tokenId, kid: key.kid, proof }))
  }

  /**
   * Mints a token for a paired device: of the session that it has, which then ends later, or of a new one.
   * @param shown what the token proves that came with the request; undefined when none of this session did
   * @param factorAt when a second factor was shown with the request, in milliseconds since 1970
   * @throws {GatewayError} `state-unavailable`
   */
  async forDevice(
    device: { readonly id: string; readonly subject: string; readonly name: string },
    shown?: Principal,
    factorAt?: number,
  ): Promise<CookieToken & { readonly principal: Principal }> {
    const { id: boundTo, subject } = device
    const known = this.#sessions.ofDevice(boundTo)
    const id = known?.session.subject === subject ? known.session.id : newName()
    const now = Date.now()
    const longest = Math.min(DEVICE_SESSION_MS, this.#sessions.maxMs)
    const endsAt = Math.floor((now + longest) / 1000) * 1000
    const before = shown?.session.id === id ? shown.factorAt : undefined
    const proof = { authenticatedAt: now, methods: DEVICE_METHODS, factorAt: factorAt ?? before }
    const tokenId = newName()
    const key = this.#keys.signing
    const token = await mintSessionToken(key, {
      ...{ workspace: this.#workspace, subject, sessionId: id, tokenId, boundTo },
      ...{ issuedAt: now, endsAt, ...proof },
    })
    // The keys may have been replaced meanwhile, or another request of the device has started its session.
    if (this.#keys.signing !== key || this.#sessions.ofDevice(boundTo)?.session !== known?.session)
      return this.forDevice(device, shown, factorAt)
    const draft = { id, tokenId, kid: key.kid, endsAt, proof }
    const browser = this.#sessions.startOfDevice(device, draft)
    return { token, endsAt, principal: issued(key, browser) }
  }

  /**
   * Gives a session a token that says that its person has shown a second factor.
   * @param factorAt when it was shown, in milliseconds since 1970
   * @throws {GatewayError} what {@link Sessions.stepUp} throws
   */
  async stepUp(
    known: BrowserSession,
    factorAt: number,
  ): Promise<CookieToken & { readonly principal: Principal }> {
    const { authenticatedAt, methods, session } = known
    const { id: sessionId, subject, endsAt } = session
    const tokenId = newName()
    const key = this.#keys.signing
    const token = await mintSessionToken(key, {
      ...{ workspace: this.#workspace, subject, methods, sessionId, tokenId, authenticatedAt },
      ...{ endsAt, issuedAt: Date.now(), factorAt },
    })
    if (this.#keys.signing !== key) return this.stepUp(known, factorAt)
    const browser = this.#sessions.stepUp(known, { tokenId, kid: key.kid }, factorAt)
    return { token, endsAt, principal: issued(key, browser) }
  }
}

/** How long the session of a paired device lasts after its latest token was minted (ms). */
const DEVICE_SESSION_MS = 86_400_000

/** `amr` of such a session: the device has proved that it holds its key, by the handshake of its channel (RFC 8176). */
const DEVICE_METHODS: readonly string[] = ['swk']

/** Who has a session, for the record of the request that started or renewed it. */
function issued(
  key: Key,
  { session, authenticatedAt, methods, factorAt }: BrowserSession,
): Principal {
  const { subject, endsAt: acceptedUntil } = session
  return {
    ...{ subject, session, acceptedUntil, key, authenticatedAt, methods },
    ...{ apiToken: undefined, ticketId: undefined, factorAt },
  }
}
