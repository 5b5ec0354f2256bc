/** What may a client's connection still ask for, and what has it taken too long for? One guard for each connection. */
import { ServerResponse, type IncomingMessage } from 'node:http'
import type * as net from 'node:net'
import type { Duplex } from 'node:stream'
import type { Watched } from '../limits/watchdog.ts'

/** How long a client may take no byte of an answer of the gateway's own, in milliseconds. */
export const UNREAD_MS = 10_000

/** The same for answers of services: a person may pause a download. */
export const UNREAD_RELAYED_MS = 300_000

/** How long the gateway may take until it answers a request or passes it on; a backstop against faults of ours. */
export const DECISION_MS = 60_000

/** How long a connection stays open after our last byte, so that the client can read that byte, in milliseconds. */
export const LINGER_MS = 2000

/** How long a connection may wait for its next request: longer than Node's keep-alive, which empty lines put off. */
export const IDLE_MS = 150_000

/** How many requests of a connection are under way at once; those behind them wait. */
export const MAX_UNDER_WAY = 32

/**
 * How many requests of a connection wait before the gateway reads no further. What one read of at most 64 KiB has brought
 * is parsed as a whole, so that more may wait for a moment.
 */
export const MAX_WAITING = 16

/**
 * How many requests of all connections may wait. What one read brings is parsed as a whole, and each request takes about 6 KB
 * and 10 µs: of the shortest, 64 KiB hold 3,600, and the reads of many connections would fill the memory and the event loop.
 */
export const MAX_WAITING_IN_ALL = 4096

/** A connection of which more than this wait is cut when too many wait in all. No browser and no proxy sends as many at once. */
export const MAX_WAITING_WHEN_FULL = 4

/**
 * For how long requests still count that were waiting when their connection ended, in milliseconds: they were parsed for
 * nothing, and a client that opens connections anew would have as many more parsed each time.
 */
const WASTED_MS = 1000

/** The requests of all connections that wait, and those that waited when their connection ended. */
const waiting = { now: 0, wasted: 0, forgottenAt: 0 }

function addWasted(requests: number): void {
  forgetWasted()
  waiting.wasted += requests
}

function forgetWasted(): void {
  const now = performance.now()
  if (now < waiting.forgottenAt) return
  waiting.forgottenAt = now + WASTED_MS
  waiting.wasted = 0
}

/** Whether too many requests wait, those included that were parsed for nothing. The clock is read only when it seems so. */
function tooManyWait(): boolean {
  if (waiting.now + waiting.wasted <= MAX_WAITING_IN_ALL) return false
  forgetWasted()
  return waiting.now + waiting.wasted > MAX_WAITING_IN_ALL
}

/** Answers a request. */
export type RequestHandler = (request: IncomingMessage, response: ServerResponse) => void

declare module 'net' {
  interface Socket {
    /** The guard of a client's connection. On the socket itself, because a WeakMap costs the garbage collector time. */
    clientConnection?: ClientConnection
  }
}

/** The answer that the socket is at, if any. */
export function answerOf(socket: Duplex): ServerResponse | undefined {
  const answer: unknown = Reflect.get(socket, '_httpMessage')
  return answer instanceof ServerResponse ? answer : undefined
}

/**
 * Ends the connection in place of the rest of an answer. An answer that is still behind others of its pipeline has no
 * socket: then the answers before it leave first, and the connection ends when its turn comes.
 */
export function cutAnswer(response: ServerResponse): void {
  response.req.socket.clientConnection?.takeNoMore()
  if (response.socket === null) response.once('socket', (socket: net.Socket) => socket.destroy())
  response.destroy()
}

/**
 * Stops Node's parser in the middle of a read, because it would otherwise parse the rest of it although the connection is cut.
 * The return value 2 of `onIncoming` means an upgrade, behind which the parser reads no further.
 */
function stopParsing(socket: net.Socket): void {
  const parser: unknown = Reflect.get(socket, 'parser')
  if (typeof parser === 'object' && parser !== null) Reflect.set(parser, 'onIncoming', () => 2)
}

/**
 * A client's connection. It hands on a request only when the fate of the one before is known: a refusal that closes the
 * connection is then the last that is read, and what was sent behind it reaches nobody.
 */
export class ClientConnection implements Watched {
  place = -1
  /** Whether the connection has left HTTP: an open WebSocket is watched by its relay. */
  isUpgraded = false
  readonly #socket: net.Socket
  readonly #handler: RequestHandler
  readonly #waiting: ServerResponse[] = []
  /** Requests that were read and not handed on. Node keeps them until the connection ends, so this one does not let go of them. */
  #kept = 0
  #underWay = 0
  /** The latest request that was handed on, while any is under way. */
  #latest: ServerResponse | undefined
  /** The request whose fate decides about those behind it. */
  #undecided: ServerResponse | undefined
  #decidingSince = 0
  #isRelaying = false
  /** Whether nothing more is handed on. */
  #isOver = false
  /** Whether the gateway has stopped reading. */
  #isPaused = false
  /** What the client is told at the end, when bytes that are no request came behind its requests. */
  #farewell: string | undefined
  #idleSince = performance.now()
  #endedAt: number | undefined
  /** Bytes that the kernel had taken when they were last looked at; -1 when none were waiting. */
  #sent = -1
  #sentAt = 0

  constructor(socket: net.Socket, handler: RequestHandler) {
    this.#socket = socket
    this.#handler = handler
    // Node resumes reading at the end of each message and whenever an answer drains.
    socket.on('resume', () => {
      if (this.#isPaused) socket.pause()
    })
    socket.once('close', this.#onClose)
  }

  /** Hands a request on, at once or when it may. */
  readonly take: RequestHandler = (_request, response) => {
    if (this.#socket.destroyed) return // the parser goes on to the end of what was read
    if (this.#mayHandOn && this.#waiting.length === 0) {
      this.#handOn(response)
      return
    }
    this.#keep(1)
    if (!this.#isOver) this.#waiting.push(response)
    if (this.#kept > MAX_WAITING_WHEN_FULL && tooManyWait()) {
      this.takeNoMore()
      stopParsing(this.#socket)
      this.#socket.destroy()
    } else if (this.#kept >= MAX_WAITING) {
      this.#pause()
    }
  }

  /** The request was let through to a service: the next one may be handed on, unless this answer will be the last. */
  passOn(response: ServerResponse): void {
    this.#isRelaying = true
    if (this.#undecided !== response) return
    this.#decidingSince = Infinity
    if (!response.shouldKeepAlive) this.takeNoMore()
    // Whether the answer closes the connection is not known yet: without `100 Continue` it does, and so does an answer of
    // unknown length to HTTP/1.0.
    const { headers, httpVersionMinor } = response.req
    if (headers.expect !== undefined || httpVersionMinor === 0) return
    this.#undecided = undefined
    this.#advance()
  }

  /** Hands no further request on. */
  takeNoMore(): void {
    this.#isOver = true
    this.#waiting.length = 0
  }

  /** Whether the gateway has stopped reading: what does not arrive then is not the client's fault. */
  get isPaused(): boolean {
    return this.#isPaused
  }

  /** Whether bytes that are no request have come, so that the connection is about to end. */
  get isBroken(): boolean {
    return this.#farewell !== undefined
  }

  /**
   * Ends the connection because of bytes that are no request. The whole requests before them are answered first.
   * @param farewell a whole answer
   */
  breakOff(farewell: string): void {
    this.#farewell = farewell
    const broken = this.#waiting.at(-1) ?? this.#latest
    if (broken !== undefined && !broken.req.complete) {
      if (this.#waiting.length === 0) {
        this.#breakOffAnswer(broken, farewell)
        return
      }
      this.#waiting.pop()
    }
    if (this.#underWay > 0) this.#pause()
    this.#advance()
  }

  /** The bytes are in the body of a request that is being answered. Nothing of ours may get into the middle of an answer. */
  #breakOffAnswer(response: ServerResponse, farewell: string): void {
    this.takeNoMore()
    if (response.socket === null || response.headersSent) cutAnswer(response)
    else this.#socket.end(farewell)
  }

  check(now: number): void {
    if (this.isUpgraded && answerOf(this.#socket)?.headersSent !== true) return
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
    return this.#underWay === 0 && !this.isUpgraded && now - this.#idleSince > IDLE_MS
  }

  /** Whether the client has taken nothing for too long of what is waiting for it. */
  #isUnread(now: number): boolean {
    const sent = this.#socket.bytesWritten - this.#socket.writableLength
    if (sent !== this.#sent) {
      this.#sent = sent
      this.#sentAt = now
    }
    return now - this.#sentAt > (this.#isRelaying ? UNREAD_RELAYED_MS : UNREAD_MS)
  }

  get #mayHandOn(): boolean {
    return this.#undecided === undefined && this.#underWay < MAX_UNDER_WAY && !this.#isOver
  }

  #handOn(response: ServerResponse): void {
    this.#underWay++
    this.#latest = response
    this.#undecided = response
    this.#decidingSince = performance.now()
    response.on('close', this.#onAnswerClose)
    this.#handler(response.req, response)
  }

  readonly #onAnswerClose = (): void => {
    this.#underWay--
    if (this.#undecided?.closed === true) this.#undecided = undefined
    // A closing answer was the last one, whatever Node has read behind it.
    if (this.#socket.writableEnded || this.#socket.destroyed) this.takeNoMore()
    if (this.#underWay === 0) {
      this.#latest = undefined
      this.#isRelaying = false
      this.#idleSince = performance.now()
    }
    this.#advance()
  }

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

  #keep(more: number): void {
    this.#kept += more
    waiting.now += more
  }

  readonly #onClose = (): void => {
    this.takeNoMore()
    if (this.#kept > 0) addWasted(this.#kept)
    this.#keep(-this.#kept)
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
