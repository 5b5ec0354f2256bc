/**
 * Which Basic credentials did the terminal accept from a session? They are remembered here, because Safari sends none on a
 * WebSocket handshake (WebKit bug 80362). The gateway adds the remembered credentials to such a handshake of the same session.
 * To drop the feature, delete this file, docs/safari.md, test/terminals/safari-password.test.ts and
 * test/wire/safari-terminal.test.ts; the compiler and test/links.test.ts then name what uses them.
 */
import type { Exchange } from '../request/exchange.ts'
import { fieldLines, type RawHeaders } from '../http/fields.ts'
import type { Session } from '../identity/session.ts'
import type { Watched } from '../limits/watchdog.ts'

/**
 * How long credentials can be used after the terminal last accepted them, in milliseconds. ttyd's page requests
 * `/terminal/token`, and so sends the credentials again, right before it opens each WebSocket.
 */
export const LENDING_MS = 300_000

/**
 * How many handshakes can use the credentials after one acceptance. ttyd's page needs one; several tabs at once need more.
 * Without this limit, a client with the cookie but not the password could open one WebSocket after the other and try an
 * `AuthToken` on each.
 */
export const LOANS = 10

/** The maximum number of remembered sessions. The one whose credentials were accepted longest ago is removed first. */
export const REMEMBERED_SESSIONS = 1000

/** The longest credentials that are remembered, in characters. ttyd accepts at most 255. */
const MAX_LENGTH = 1024

const BASIC = /^basic +[\x21-\x7e]+$/i

/** Credentials for one handshake. */
export interface Loan {
  /** The `Authorization` header for the service. */
  readonly authorization: string
  /** Call this when the service refused the handshake. The credentials are then forgotten. */
  readonly refused: () => void
}

interface Entry {
  readonly authorization: string
  readonly session: Session
  /** The number of the request with these credentials. Later requests have higher numbers. */
  readonly request: number
  /** When the terminal accepted the credentials, on the monotonic clock, in milliseconds. */
  readonly acceptedAt: number
  /** How many more handshakes may use the credentials. */
  loansLeft: number
}

/** Clocks in milliseconds. */
export interface Clocks {
  /** A clock that is never set back or forward. */
  readonly monotonic: () => number
  /** The time since 1970, in which tokens state their expiry. */
  readonly wall: () => number
}

const REAL_CLOCKS: Clocks = { monotonic: () => performance.now(), wall: () => Date.now() }

/**
 * Remembers one credential for each of a bounded number of sessions. Credentials are in memory only and in private fields, so
 * neither JSON nor `util.inspect` shows them. A new session, even of the same user, has none.
 */
export class BasicMemory implements Watched {
  place = -1
  // The insertion order is the order of acceptance, because #remember removes an entry before it adds it again.
  readonly #entries = new Map<string, Entry>()
  readonly #clocks: Clocks
  #requests = 0

  constructor(clocks: Clocks = REAL_CLOCKS) {
    this.#clocks = clocks
  }

  /** How many sessions are remembered. */
  get size(): number {
    return this.#entries.size
  }

  /**
   * Inspects a request that is about to be sent to the terminal.
   * @param headers the headers for the terminal
   * @returns a function to call with the status of the terminal's response; undefined when the request has no Basic
   * credentials of a browser, because its response then proves nothing
   */
  watch(exchange: Exchange, headers: RawHeaders): ((status: number) => void) | undefined {
    const session = browserSession(exchange)
    const authorization = fieldLines(headers, 'authorization')[0]
    if (session === undefined || authorization === undefined) return undefined
    if (authorization.length > MAX_LENGTH || !BASIC.test(authorization)) return undefined
    const request = ++this.#requests
    return (status) => {
      // A 404 proves nothing, because a service may send it before it checks credentials. ttyd's page is a 200, or a 302 to it.
      if (status >= 200 && status < 400) this.#remember(session, authorization, request)
      else if (status === 401) this.#entries.delete(session.id)
    }
  }

  /**
   * Returns credentials for a terminal's handshake that a browser sent without `Authorization`.
   * @param raw the handshake as the client sent it
   */
  lend(exchange: Exchange, raw: RawHeaders): Loan | undefined {
    const session = browserSession(exchange)
    if (session === undefined || fieldLines(raw, 'authorization').length > 0) return undefined
    const entry = this.#entries.get(session.id)
    if (entry === undefined || isStale(entry, this.#clocks.monotonic(), this.#clocks.wall()))
      return undefined
    if (--entry.loansLeft === 0) this.#entries.delete(session.id)
    return {
      authorization: entry.authorization,
      refused: () => {
        // Keep an entry that was accepted again, or replaced, in the meantime.
        if (this.#entries.get(session.id) === entry) this.#entries.delete(session.id)
      },
    }
  }

  /** Forgets the sessions that were ended. */
  forgetEnded(): void {
    for (const [id, { session }] of this.#entries)
      if (session.endedBy !== undefined) this.#entries.delete(id)
  }

  check(now: number, wallClock: number): void {
    for (const [sessionId, entry] of this.#entries)
      if (isStale(entry, now, wallClock)) this.#entries.delete(sessionId)
  }

  #remember(session: Session, authorization: string, request: number): void {
    const known = this.#entries.get(session.id)
    // The session may have ended while the terminal answered.
    if (session.endedBy !== undefined || (known !== undefined && known.request > request)) return
    this.#entries.delete(session.id)
    if (this.#entries.size >= REMEMBERED_SESSIONS) {
      const oldest = this.#entries.keys().next()
      if (oldest.done !== true) this.#entries.delete(oldest.value)
    }
    const acceptedAt = this.#clocks.monotonic()
    this.#entries.set(session.id, {
      ...{ authorization, session, request, acceptedAt },
      loansLeft: LOANS,
    })
  }
}

/**
 * The session of a request that a browser sent with its cookie from the workspace's own page. Programs are excluded, because
 * they can send any header; so is an allowed foreign origin, which must send its own credentials.
 */
function browserSession({ credential, principal, allowOrigin }: Exchange): Session | undefined {
  return credential?.kind === 'cookie' && allowOrigin === undefined ? principal?.session : undefined
}

function isStale({ acceptedAt, session }: Entry, now: number, wallClock: number): boolean {
  return now >= acceptedAt + LENDING_MS || session.isOver(wallClock, 0)
}
