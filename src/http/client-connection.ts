/**
 * Which requests of a client's connection are handed on, and when is the connection cut? A request is handed on when the
 * outcome of the one before is known, and the connection is cut when the client, or the gateway, takes too long.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type * as net from 'node:net'
import type { WaitingRequests } from '../limits/waiting-requests.ts'
import type { Watched } from '../limits/watchdog.ts'
import { currentResponse, isLastResponse, onceConnected, stopParsing } from './node-internals.ts'

/** How long a client may accept no byte of a response that the gateway itself makes, in milliseconds. */
export const UNREAD_MS = 10_000

/** How long a client may accept no byte of a service's response, in milliseconds. A person may pause a download. */
export const UNREAD_RELAYED_MS = 300_000

/** How long the gateway may take to answer a request or to pass it on, in milliseconds. A backstop against our own faults. */
export const DECISION_MS = 60_000

/** How long a connection stays open after the gateway has ended its side, so that the client can read the last bytes. */
export const LINGER_MS = 2000

/**
 * How long a connection may wait for its next request, in milliseconds: longer than Caddy's 120 s, because a request must not meet a
 * connection that we are closing.
 */
export const IDLE_MS = 125_000

/**
 * How much longer an idle connection may stay open once bytes have come, in milliseconds. This is longer than Node's limit for a header
 * section (`headersTimeout`), so a request that is too slow gets its 408. Empty lines between two requests count as such bytes, once.
 */
export const BEGUN_MS = 12_000

/** How many requests of a connection are under way at once. Those behind them wait. */
export const MAX_UNDER_WAY = 32

/**
 * How many requests of a connection wait before the gateway stops reading from it. More may wait for a moment, because Node
 * parses what one read brings (up to 64 KiB) as a whole.
 */
export const MAX_WAITING = 16

/**
 * How many requests of a connection may wait when too many wait in all (`MAX_WAITING_IN_ALL`). A connection of which more
 * wait is then cut. No browser and no proxy pipelines as many.
 */
export const MAX_WAITING_WHEN_FULL = 4

/** Answers a request. */
export type RequestHandler = (request: IncomingMessage, response: ServerResponse) => void

declare module 'net' {
  interface Socket {
    /** Set on a client's connection. A property, because entries of a WeakMap cost the garbage collector time. */
    clientConnection?: ClientConnection
  }
}

/**
 * Cuts a response off, and with it the connection, because the rest of the response cannot be sent. A response that still
 * waits behind others of its pipeline has no connection yet: the responses before it are sent first.
 */
export function cutAnswer(response: ServerResponse): void {
  response.req.socket.clientConnection?.takeNoMore()
  if (response.socket === null) onceConnected(response, (socket) => socket.destroy())
  response.destroy()
}

/**
 * What happens to the requests that Node reads from the connection:
 * - `open`: they are handed on in order.
 * - `over`: they are dropped, because a response under way is the last one, or the connection has been ended or cut. This
 *   state is final.
 * - `upgraded`: none come. The connection carries a WebSocket handshake, which does not take this way, and then its relay.
 */
type State = 'open' | 'over' | 'upgraded'

/**
 * The gateway's side of a client's connection. It hands a request on only when the outcome of the one before is known, so
 * that a refusal that closes the connection is the last thing that is answered: what a client sends behind a refused request
 * may be a smuggled one.
 */
export class ClientConnection implements Watched {
  place = -1
  readonly #socket: net.Socket
  readonly #handler: RequestHandler
  readonly #waitingInAll: WaitingRequests
  #state: State = 'open'
  /**
   * The raw response to bytes that are no request, set when such bytes arrive. It is sent, and ends the connection, when the
   * requests before those bytes are answered.
   */
  #farewell: string | undefined
  /** Requests that wait until they may be handed on, by their responses. */
  readonly #waiting: ServerResponse[] = []
  /**
   * How many requests were read and not handed on, including dropped ones: Node holds them in memory until the connection
   * closes, so they count until then.
   */
  #kept = 0
  /** How many requests were handed on, and their responses are not closed. */
  #underWay = 0
  /** The latest request under way. */
  #latest: ServerResponse | undefined
  /** The request under way whose outcome is not known. No other is handed on before it is. */
  #undecided: ServerResponse | undefined
  /** When `#undecided` was handed on; `Infinity` once it was passed on to a service. */
  #decidingSince = 0
  /** Whether a request was passed on to a service since the connection was last idle. */
  #isRelaying = false
  /** Whether the gateway has stopped reading. */
  #isPaused = false
  #idleSince = performance.now()
  /** How many bytes had come when the connection was first seen idle; -1 before that. */
  #idleBytes = -1
  /** When the gateway's side was seen to be closed. */
  #endedAt: number | undefined
  /** How many bytes the kernel had accepted at the last check, while more were queued; -1 when none were. */
  #sent = -1
  /** When `#sent` last changed. */
  #sentAt = 0

  /** @param waitingInAll counts the requests that wait on every connection of the server */
  constructor(socket: net.Socket, handler: RequestHandler, waitingInAll: WaitingRequests) {
    this.#socket = socket
    this.#handler = handler
    this.#waitingInAll = waitingInAll
    // Node resumes the socket after each message and whenever a response has drained, although the gateway has paused it.
    socket.on('resume', () => {
      if (this.#isPaused) socket.pause()
    })
    socket.once('close', this.#onClose)
  }

  /** Takes a request that Node has read: hands it on now, or as soon as it may be. */
  readonly take: RequestHandler = (_request, response) => {
    // Node parses the bytes that it has read to their end, also when the connection was destroyed meanwhile.
    if (this.#socket.destroyed) return
    if (this.#mayHandOn && this.#waiting.length === 0) {
      this.#handOn(response)
      return
    }
    this.#keep(1)
    if (this.#state !== 'over') this.#waiting.push(response)
    if (this.#kept > MAX_WAITING_WHEN_FULL && this.#waitingInAll.areTooMany) {
      this.takeNoMore()
      stopParsing(this.#socket)
      this.#socket.destroy()
    } else if (this.#kept >= MAX_WAITING) {
      this.#pause()
    }
  }

  /** Notes that a request was passed on to a service. The next one may be handed on, unless this response is the last. */
  passOn(response: ServerResponse): void {
    this.#isRelaying = true
    if (this.#undecided !== response) return
    this.#decidingSince = Infinity
    if (isLastResponse(response)) this.takeNoMore()
    // Two kinds of response may still turn out to be the last: one that is sent before the client was told to continue, and
    // one of unknown length to HTTP/1.0.
    const { headers, httpVersionMinor } = response.req
    if (headers.expect !== undefined || httpVersionMinor === 0) return
    this.#undecided = undefined
    this.#advance()
  }

  /** Notes that the connection carries a WebSocket handshake. The relay watches the connection once the socket is open. */
  upgrade(): void {
    if (this.#state === 'open') this.#state = 'upgraded'
  }

  /** Whether the connection may carry a handshake: it is open, and no response is under way. */
  get mayUpgrade(): boolean {
    return this.#state === 'open' && currentResponse(this.#socket) === undefined
  }

  /** Hands no further request on. */
  takeNoMore(): void {
    this.#state = 'over'
    this.#waiting.length = 0
  }

  /** Whether the gateway has stopped reading. A request that is not complete by then is not the client's fault. */
  get isPaused(): boolean {
    return this.#isPaused
  }

  /** Whether bytes that are no request have arrived, so that the connection is about to end. */
  get isBroken(): boolean {
    return this.#farewell !== undefined
  }

  /**
   * Ends the connection because of bytes that are no request. The complete requests before those bytes are answered first.
   * @param farewell a raw response, sent unless the connection ends with another response
   */
  breakOff(farewell: string): void {
    this.#farewell = farewell
    const broken = this.#waiting.at(-1) ?? this.#latest
    if (broken !== undefined && !broken.req.complete) {
      if (this.#waiting.length === 0) {
        this.#breakOffResponse(broken, farewell)
        return
      }
      this.#waiting.pop()
    }
    if (this.#underWay > 0) this.#pause()
    this.#advance()
  }

  /** Ends the connection because of bytes in the body of a request under way. Bytes of ours must not follow a part of a response. */
  #breakOffResponse(response: ServerResponse, farewell: string): void {
    this.takeNoMore()
    if (response.socket === null || response.headersSent) cutAnswer(response)
    else this.#socket.end(farewell)
  }

  /** Cuts the connection when a bound has passed. */
  check(now: number): void {
    // The relay watches an open WebSocket, and the handshake has bounds of its own, but a refused one is a response like any other.
    if (this.#state === 'upgraded' && currentResponse(this.#socket)?.headersSent !== true) return
    if (this.#isOverdue(now)) this.#socket.destroy()
  }

  #isOverdue(now: number): boolean {
    if (this.#socket.writableLength > 0) return this.#isUnread(now)
    this.#sent = -1
    if (this.#socket.writableFinished) {
      this.#endedAt ??= now
      return now - this.#endedAt > LINGER_MS
    }
    if (this.#undecided !== undefined)
      return !this.#undecided.headersSent && now - this.#decidingSince > DECISION_MS
    return this.#underWay === 0 && this.#state !== 'upgraded' && this.#isIdleTooLong(now)
  }

  #isIdleTooLong(now: number): boolean {
    const { bytesRead } = this.#socket
    if (this.#idleBytes < 0) this.#idleBytes = bytesRead
    const hasBegun = bytesRead > this.#idleBytes
    return now - this.#idleSince > IDLE_MS + (hasBegun ? BEGUN_MS : 0)
  }

  /** Whether the client has accepted none of the queued bytes for too long. */
  #isUnread(now: number): boolean {
    const sent = this.#socket.bytesWritten - this.#socket.writableLength
    if (sent !== this.#sent) {
      this.#sent = sent
      this.#sentAt = now
    }
    return now - this.#sentAt > (this.#isRelaying ? UNREAD_RELAYED_MS : UNREAD_MS)
  }

  get #mayHandOn(): boolean {
    return this.#undecided === undefined && this.#underWay < MAX_UNDER_WAY && this.#state === 'open'
  }

  #handOn(response: ServerResponse): void {
    this.#underWay++
    this.#latest = response
    this.#undecided = response
    this.#decidingSince = performance.now()
    response.on('close', this.#onResponseClose)
    this.#handler(response.req, response)
  }

  readonly #onResponseClose = (): void => {
    this.#underWay--
    if (this.#undecided?.closed === true) this.#undecided = undefined
    // Node ends the socket behind the last response, but may have read further requests before.
    if (this.#socket.writableEnded || this.#socket.destroyed) this.takeNoMore()
    if (this.#underWay === 0) {
      this.#latest = undefined
      this.#isRelaying = false
      this.#idleSince = performance.now()
      this.#idleBytes = -1
    }
    this.#advance()
  }

  /** Does what the latest change allows: hands waiting requests on, sends the farewell, reads on. */
  #advance(): void {
    while (this.#mayHandOn) {
      const next = this.#waiting.shift()
      if (next === undefined) break
      this.#keep(-1)
      this.#handOn(next)
    }
    if (this.#farewell !== undefined) {
      if (this.#underWay > 0 || this.#waiting.length > 0) return
      this.takeNoMore()
      if (!this.#socket.writableEnded) this.#socket.end(this.#farewell)
    }
    if (this.#isPaused && this.#kept < MAX_WAITING) this.#resume()
  }

  #keep(change: number): void {
    this.#kept += change
    this.#waitingInAll.count(change)
  }

  readonly #onClose = (): void => {
    this.takeNoMore()
    if (this.#kept === 0) return
    this.#waitingInAll.waste(this.#kept)
    this.#kept = 0
  }

  #pause(): void {
    this.#isPaused = true
    this.#socket.pause()
  }

  #resume(): void {
    this.#isPaused = false
    this.#socket.resume()
  }
}
