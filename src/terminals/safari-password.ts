/**
 * Which Basic credentials has the terminal accepted from a session? Safari sends none on a WebSocket handshake (WebKit
 * bug 80362), so a handshake of the same session that comes without gets those from here.
 */
import type { Exchange } from '../request/exchange.ts'
import { fieldLines, type RawHeaders } from '../http/fields.ts'
import type { Principal } from '../identity/token.ts'
import type { Watched } from '../limits/watchdog.ts'

/**
 * How long credentials may be lent after the terminal last accepted them, in milliseconds. ttyd's page asks for
 * `/terminal/token`, and so shows them again, right before each of its WebSockets.
 */
export const LENDING_MS = 300_000

/**
 * How many handshakes are lent the same acceptance. ttyd's page needs one for each; several tabs at once some more. Whoever has
 * the cookie and not the password could else try one `AuthToken` after the other behind the door that a loan opens.
 */
export const LOANS = 10

/** How many sessions are remembered; the one whose credentials were accepted longest ago makes room. */
export const REMEMBERED_SESSIONS = 1000

/** Longer credentials are not remembered, in characters; ttyd takes no more than 255. */
const MAX_LENGTH = 1024

const BASIC = /^basic +[\x21-\x7e]+$/i

/** Credentials for one handshake. */
export interface Loan {
  /** What the service gets as `Authorization`. */
  readonly authorization: string
  /** To be called when the service did not take the handshake: the credentials are then forgotten. */
  readonly refused: () => void
}

interface Entry {
  readonly authorization: string
  readonly principal: Principal
  /** Which request brought them; later ones have higher numbers. */
  readonly request: number
  /** When they were accepted, on the monotonic clock in milliseconds. */
  readonly acceptedAt: number
  /** How many handshakes may still be lent them. */
  loansLeft: number
}

/** Clocks in milliseconds. */
export interface Clocks {
  /** Never steps. */
  readonly monotonic: () => number
  /** Since 1970, as tokens count. */
  readonly wall: () => number
}

const REAL_CLOCKS: Clocks = { monotonic: () => performance.now(), wall: () => Date.now() }

/**
 * One credential for each of a bounded number of sessions, in memory only and in private fields: neither JSON nor
 * `util.inspect` shows it. A session is one token, so a new token, of whomever, begins with nothing.
 */
export class BasicMemory implements Watched {
  place = -1
  // Insertion order is the order of acceptance.
  readonly #entries = new Map<string, Entry>()
  readonly #clocks: Clocks
  #requests = 0
  /** Requests up to this one were sent before a session was ended, and may be of that session. */
  #endedAt = 0

  constructor(clocks: Clocks = REAL_CLOCKS) {
    this.#clocks = clocks
  }

  /** How many sessions are remembered. */
  get size(): number {
    return this.#entries.size
  }

  /**
   * Looks at a request that is about to be sent to the terminal.
   * @param headers the header list that the terminal gets
   * @returns to be told the status of the terminal's own answer; undefined when the answer proves nothing, since no
   * browser's Basic credentials are in the request
   */
  watch(exchange: Exchange, headers: RawHeaders): ((status: number) => void) | undefined {
    const principal = browserSession(exchange)
    const authorization = fieldLines(headers, 'authorization')[0]
    if (principal === undefined || authorization === undefined) return undefined
    if (authorization.length > MAX_LENGTH || !BASIC.test(authorization)) return undefined
    const request = ++this.#requests
    return (status) => {
      // A 404 is no proof: a service may give it before it looks at credentials. ttyd's page is 200, or 302 to it.
      if (status >= 200 && status < 400) this.#remember(principal, authorization, request)
      else if (status === 401) this.#entries.delete(principal.sessionId)
    }
  }

  /**
   * Credentials for a terminal's handshake that a browser sent without any `Authorization`.
   * @param raw the handshake as the client sent it
   */
  lend(exchange: Exchange, raw: RawHeaders): Loan | undefined {
    const principal = browserSession(exchange)
    if (principal === undefined || fieldLines(raw, 'authorization').length > 0) return undefined
    const { sessionId } = principal
    const entry = this.#entries.get(sessionId)
    if (entry === undefined || isStale(entry, this.#clocks.monotonic(), this.#clocks.wall()))
      return undefined
    if (--entry.loansLeft === 0) this.#entries.delete(sessionId)
    return {
      authorization: entry.authorization,
      refused: () => {
        // Only if they were not accepted anew, or replaced, in the meantime.
        if (this.#entries.get(sessionId) === entry) this.#entries.delete(sessionId)
      },
    }
  }

  /** Forgets the sessions that a condition holds for, and what requests under way would still have taught. */
  forget(condition: (principal: Principal) => boolean): void {
    this.#endedAt = this.#requests
    for (const [sessionId, { principal }] of this.#entries)
      if (condition(principal)) this.#entries.delete(sessionId)
  }

  check(now: number, wallClock: number): void {
    for (const [sessionId, entry] of this.#entries)
      if (isStale(entry, now, wallClock)) this.#entries.delete(sessionId)
  }

  #remember(principal: Principal, authorization: string, request: number): void {
    const { sessionId } = principal
    const known = this.#entries.get(sessionId)
    if (request <= this.#endedAt || (known !== undefined && known.request > request)) return
    this.#entries.delete(sessionId)
    if (this.#entries.size >= REMEMBERED_SESSIONS) {
      const oldest = this.#entries.keys().next()
      if (oldest.done !== true) this.#entries.delete(oldest.value)
    }
    const acceptedAt = this.#clocks.monotonic()
    this.#entries.set(sessionId, {
      ...{ authorization, principal, request, acceptedAt },
      loansLeft: LOANS,
    })
  }
}

/**
 * The session of a request that a browser signed with its cookie, for the workspace's own page: programs send what they
 * want to send, and a foreign origin that the operator allows brings its own credentials or none.
 */
function browserSession({ credential, principal, allowOrigin }: Exchange): Principal | undefined {
  return credential?.kind === 'cookie' && allowOrigin === undefined ? principal : undefined
}

function isStale({ acceptedAt, principal }: Entry, now: number, wallClock: number): boolean {
  return now >= acceptedAt + LENDING_MS || wallClock >= principal.expiresAt * 1000
}
