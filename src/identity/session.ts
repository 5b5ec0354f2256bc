/**
 * What is a session? One sign-in of one person in one browser, one program's token, or one API token. Everything that hangs on
 * it (WebSockets, long answers, terminals, cached tokens) asks this one object whether it is over, and so ends with it.
 */

/** Who has the session: a browser that signed in, a paired device, a program with a workspace token, or one with an API token. */
export type SessionKind = 'browser' | 'device' | 'program' | 'api-token'

/** Why a session ended. `explain` and the log say it; a client gets the same answer for all. */
export type EndCause = 'expired' | 'signed-out' | 'revoked' | 'key-removed' | 'all-ended'

/** What a session is made of. */
interface SessionFields {
  readonly subject: string
  readonly endsAt: number
  readonly kid?: string
  readonly graceMs?: number
  readonly boundTo?: string | undefined
}

/** A session, for as long as the process knows it. A request costs no look-up: its principal holds this object. */
export class Session {
  /** The name of the session. It is public to the machine's owner and useless as a credential. */
  readonly id: string
  readonly kind: SessionKind
  /** `sub`: the person or program that has the session. */
  readonly subject: string
  /** The paired device on whose connections alone a token of the session is good; undefined for a session of any other kind. */
  readonly boundTo: string | undefined
  /** When the session ends by itself, in milliseconds since 1970 on the wall clock. A renewal moves it. */
  endsAt: number
  /** The key that signs its token, and with which it ends; an empty string for an API token. */
  kid: string
  /** When a request of the session was last seen, in milliseconds since 1970, and its client address. */
  lastSeenAt = 0
  lastSeenFrom = ''
  readonly #graceMs: number
  #endedBy: EndCause | undefined

  /**
   * @param endsAt milliseconds since 1970; Infinity for a token without expiry
   * @param graceMs for how long after `endsAt` its token is still accepted: the clock skew that is allowed on `exp`
   */
  constructor(
    id: string,
    kind: SessionKind,
    { subject, endsAt, kid = '', graceMs = 0, boundTo }: SessionFields,
  ) {
    this.id = id
    this.kind = kind
    this.subject = subject
    this.boundTo = boundTo
    this.endsAt = endsAt
    this.kid = kid
    this.#graceMs = graceMs
  }

  /** Why the session was ended; undefined while nobody has ended it. An expiry is no ending in this sense. */
  get endedBy(): EndCause | undefined {
    return this.#endedBy
  }

  /** Until when a token of this session can be accepted, in milliseconds since 1970. */
  get acceptedUntil(): number {
    return this.endsAt + this.#graceMs
  }

  /** Ends the session for good. */
  end(cause: EndCause): void {
    this.#endedBy ??= cause
  }

  /**
   * Whether what was opened under this session must end now: at `exp`, or with the leeway for what was opened within it,
   * because a terminal page reconnects at once, and would be let in and closed in a hot loop.
   * @param wallClock milliseconds since 1970, because `exp` is wall-clock time, also after the machine was suspended
   * @param openedAt when it was opened, in milliseconds since 1970
   */
  isOver(wallClock: number, openedAt: number): boolean {
    if (this.#endedBy !== undefined) return true
    return wallClock >= (openedAt < this.endsAt ? this.endsAt : this.acceptedUntil)
  }
}
