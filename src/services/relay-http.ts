/**
 * How does a request reach a service and its answer the client? Streamed both ways with back-pressure. Nothing that may have
 * reached the service is sent again, but one: see `mayRepeat` in src/services/connection.ts.
 */
import { STATUS_CODES, type IncomingMessage, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { cutAnswer, UNREAD_RELAYED_MS } from '../http/client-connection.ts'
import { LENGTH_WANTED_DETAIL } from '../answers/details.ts'
import { ERRORS, GatewayError, upstreamErrorFrom } from '../answers/errors.ts'
import { discardBody } from '../request/discard-body.ts'
import type { Exchange } from '../request/exchange.ts'
import { fieldLines } from '../http/fields.ts'
import { buildInformationalHeaders, buildResponseHeaders } from '../http/to-client.ts'
import { RequestBody, type BodyOwner } from './request-body.ts'
import { CONNECT_MS, MAX_IN_FLIGHT, type Service } from './service.ts'
import { READ_BYTES, type AnswerReceiver, type ServiceConnection } from './connection.ts'
import type { Watched, Watchdog } from '../limits/watchdog.ts'

/** The largest first piece of an answer that is held back until the end of its packet was looked at, in bytes. */
const MAX_HELD_BYTES = 16 * 1024

/** One request to relay. */
export interface RelayJob {
  readonly raw: IncomingMessage
  readonly response: ServerResponse
  readonly exchange: Exchange
  readonly requestId: string
  readonly service: Service
  /** The path and query that the service gets. */
  readonly path: string
  /** The header list that the service gets. */
  readonly headers: string[]
  readonly hasBody: boolean
  /** Whether pages of some foreign origin may read answers, so that answers differ by `Origin`. */
  readonly variesByOrigin: boolean
  /** How long the service may take to begin its answer, in milliseconds. */
  readonly firstByteMs: number
  /** How long the service may pause within an answer, in milliseconds; event streams may pause for ever. */
  readonly idleMs: number
  readonly watchdog: Watchdog
  /** Told the status of the service's own answer, before the client is; nobody is told when undefined. */
  readonly onAnswer: ((status: number) => void) | undefined
  /** Answers for the gateway when the service does not; nothing has been sent to the client yet. */
  readonly fail: (error: GatewayError) => void
}

/** Relays a request; everything that can happen ends in an answer or a closed connection. */
export function relayRequest(job: RelayJob): void {
  const { service } = job
  if (service.inFlight >= MAX_IN_FLIGHT) {
    job.fail(
      new GatewayError('upstream-busy', {
        reason: service.name,
        retryAfter: ERRORS['upstream-busy'].retryAfter.request,
      }),
    )
    return
  }
  service.inFlight++
  new HttpRelay(job).start()
}

/**
 * Where a relayed request is. The first four are the request's way to the service, the next six the response's way to the
 * client. From each of these ten, an error, a limit that is passed, or the client's leaving leads to done.
 */
type Phase =
  /** Only with a body: does the service take connections? `onConnect` → awaiting. */
  | 'reaching'
  /** Only with a body: the client is waited for, and no connection is held. `onBodyBegin` → connecting. */
  | 'awaiting'
  /** The request is given to a connection. `onConnect` → asking; at once on a connection that was kept. */
  | 'connecting'
  /** `onHead` → headed, or lending for a large body. An end after which the request may be repeated → connecting. */
  | 'asking'
  /** The head is here, and leaves at the end of the turn → writing. A small first piece → holding, a large one → writing. */
  | 'headed'
  /** So is a small first piece. End of the turn, or a second piece → writing. `onEnd` → ending: one write for all. */
  | 'holding'
  /** The head has left, and pieces are written as they come. The client does not read → unread. `onEnd` → ending. */
  | 'writing'
  /** The client does not read, so the service is not read either. `drain` → writing. `onEnd` → ending. */
  | 'unread'
  /** Lent pieces go straight to the client's socket. One that does not leave at once → lent. `onEnd` → ending. */
  | 'lending'
  /** A lent piece has not left, so nothing more is read. The socket has flushed it → lending. `onEnd` → ending. */
  | 'lent'
  /** The service has given its whole response, and is done with. What is left of it leaves at the end of the turn → done. */
  | 'ending'
  | 'done'

/**
 * Writes a service's answer straight to the client: pieces go from the service's connection to the client's without a stream
 * in between, and nothing more is read while the client does not read.
 */
class HttpRelay implements AnswerReceiver, BodyOwner, Watched {
  place = -1
  readonly #job: RelayJob
  readonly #body: RequestBody | undefined
  /** When the service was asked: with a body, when that began. */
  #askedAt = performance.now()
  /** The connection to the service, until the relay is done with it. */
  #connection: ServiceConnection | undefined
  #phase: Phase = 'connecting'
  /** How long the service may pause within its response, in milliseconds. */
  #idleMs = 0
  #lastProgress = this.#askedAt
  /** The head of the answer, until it is written: as long as it is here, a failure can still be told. */
  #head: string[] | undefined
  /** A small answer that comes in one piece leaves as one piece: header and body in a single write. */
  #held: Buffer | undefined
  /** The client's socket, when pieces of a large body are written to it as they are. */
  #direct: Socket | undefined

  constructor(job: RelayJob) {
    this.#job = job
    this.#body = job.hasBody ? new RequestBody(job.raw, this, wantsWholeBody(job)) : undefined
    job.exchange.outcome.dialledAt = this.#askedAt
    job.exchange.outcome.onClientClose = this.#onClientClose
    job.watchdog.add(this)
  }

  start(): void {
    const { pool } = this.#job.service
    if (this.#body === undefined) {
      this.#ask(pool.take(), false)
    } else if (this.#body.isWhole && !this.#awaitsContinue) {
      this.#awaitBody(this.#body) // it may yet be refused as too large, and a refusal dials nobody
    } else {
      this.#phase = 'reaching'
      this.#connection = pool.reach(this)
    }
  }

  get #awaitsContinue(): boolean {
    const { raw } = this.#job
    return raw.headers.expect !== undefined && raw.httpVersionMinor > 0
  }

  /** Holds no connection meanwhile: services close those whose request takes long to come. */
  #awaitBody(body: RequestBody): void {
    this.#phase = 'awaiting'
    body.read()
  }

  onBodyBegin(length: number | undefined): void {
    const { service, headers } = this.#job
    if (length !== undefined) headers.push('Content-Length', String(length))
    this.#askedAt = performance.now()
    this.#lastProgress = this.#askedAt
    this.#ask(service.pool.take(), length !== 0)
  }

  onBodyTooLarge(): void {
    const error = { reason: 'a body without a length', detail: LENGTH_WANTED_DETAIL }
    this.onError(new GatewayError('body-too-large', error), false)
  }

  #ask(connection: ServiceConnection, hasBody: boolean): void {
    const { raw, path, headers } = this.#job
    this.#phase = 'connecting'
    this.#connection = connection
    try {
      connection.send({ method: raw.method ?? '', path, headers, hasBody }, this)
    } catch (error) {
      connection.destroy()
      this.onError(upstreamErrorFrom(error), false)
    }
  }

  onConnect(): void {
    this.#lastProgress = performance.now()
    if (this.#phase === 'reaching') {
      // The decision is made and the service is there: now the client may send its body.
      this.#connection = undefined
      if (this.#awaitsContinue) this.#job.response.writeContinue()
      if (this.#body !== undefined) this.#awaitBody(this.#body)
      return
    }
    this.#phase = 'asking'
    if (this.#connection !== undefined) this.#body?.sendTo(this.#connection)
  }

  onInformational(status: number, fields: string[]): void {
    this.#lastProgress = performance.now()
    const { raw, response, service } = this.#job
    const { socket } = response
    // Only in its turn: behind other answers of a pipeline, a response has no socket yet. Nothing waits for a slow reader.
    if (raw.httpVersionMinor === 0 || socket === null || socket.writableNeedDrain) return
    const headers = buildInformationalHeaders(fields, service.rewriteLocation)
    socket.write(informationalText(status, headers), 'latin1')
  }

  onHead(status: number, fields: string[], length: number | undefined): boolean {
    const { exchange, service, requestId } = this.#job
    const contentType = fieldLines(fields, 'content-type').join()
    this.#head = buildResponseHeaders(fields, {
      status,
      requestId,
      signedIn: exchange.principal !== undefined,
      rewriteLocation: service.rewriteLocation,
      isolatedAt: service.isolatedAt,
      allowOrigin: exchange.allowOrigin,
      variesByOrigin: this.#job.variesByOrigin,
      extra: exchange.budgetFields,
    })
    this.#phase = 'headed'
    this.#idleMs = /^text\/event-stream\b/i.test(contentType) ? Infinity : this.#job.idleMs
    this.#lastProgress = performance.now()
    exchange.outcome.upstreamMs = this.#lastProgress - this.#askedAt
    exchange.outcome.status = status
    this.#job.onAnswer?.(status)
    const { socket } = this.#job.response
    if (length !== undefined && length > READ_BYTES && socket !== null) return this.#lendTo(socket)
    setImmediate(this.#flush)
    return false
  }

  onBody(piece: Buffer): boolean {
    this.#job.exchange.outcome.bytesOut += piece.length
    this.#lastProgress = performance.now()
    if (this.#direct !== undefined) return this.#lend(piece, this.#direct)
    if (this.#phase === 'headed' && piece.length <= MAX_HELD_BYTES) {
      this.#phase = 'holding'
      this.#held = piece
      return true
    }
    if (this.#phase === 'headed' || this.#phase === 'holding') this.#flush()
    if (this.#isOver) return true // the head could not be written, and the request has ended
    return this.#write(piece)
  }

  /** @returns whether the client reads */
  #write(piece: Buffer): boolean {
    const { response } = this.#job
    if (response.write(piece)) return true
    // Pieces that were read together may still come after this one.
    if (this.#phase !== 'unread') response.once('drain', this.#onDrain)
    this.#phase = 'unread'
    return false
  }

  /** Writes a lent piece. @returns whether it has left already, and its place may be read into again */
  #lend(piece: Buffer, socket: Socket): boolean {
    socket.write(piece, this.#onFlushed)
    this.#phase = socket.writableLength > 0 ? 'lent' : 'lending'
    return this.#phase === 'lending'
  }

  onEnd(): void {
    if (this.#isOver) return
    const isScheduled = this.#phase === 'headed' || this.#phase === 'holding'
    this.#finish()
    this.#phase = 'ending'
    if (!isScheduled) setImmediate(this.#flush)
    if (this.#body !== undefined) discardBody(this.#job.raw)
  }

  onError(failure: GatewayError, mayRepeat: boolean): void {
    if (this.#isOver) return
    if (mayRepeat && !this.#job.raw.socket.destroyed) {
      this.#lastProgress = performance.now()
      this.#ask(this.#job.service.pool.dial(), false)
      return
    }
    this.#finish()
    const { raw, response, fail, exchange, service } = this.#job
    if (!response.headersSent) {
      fail(failure)
      return
    }
    // Too late for a status: a cut connection is the only honest end of a cut answer.
    exchange.outcome.reason = `${service.name} broke off: ${failure.reason ?? failure.code}`
    exchange.outcome.cause = failure.cause
    // To HTTP/1.0 a connection that is closed properly is a whole answer; a Unix socket knows no other end.
    const { socket } = response
    if (raw.httpVersionMinor === 0 && socket?.remoteAddress !== undefined) socket.resetAndDestroy()
    else cutAnswer(response)
  }

  check(now: number): void {
    if (this.#job.raw.socket.destroyed) {
      this.#onClientClose() // an answer that waits behind others of a pipeline is never told
    } else {
      const failure = this.#overdue(now)
      if (failure !== undefined) this.#stop(failure)
    }
  }

  /** What has taken too long, if anything. */
  #overdue(now: number): GatewayError | undefined {
    const { firstByteMs } = this.#job
    const body = this.#body
    if (body?.isFastEnough(now) === false)
      return new GatewayError('request-timeout', {
        reason: 'slow body',
        headers: { Connection: 'close' },
      })
    const silence = now - Math.max(this.#lastProgress, body?.lastProgress ?? 0)
    switch (this.#phase) {
      case 'reaching':
      case 'connecting':
        return overdue(silence, CONNECT_MS, 'took no connection')
      case 'asking':
        return body?.awaitsClient === true ? undefined : overdue(silence, firstByteMs, 'no answer')
      case 'headed':
      case 'holding':
      case 'writing':
      case 'lending':
        return overdue(silence, this.#idleMs, 'paused within its answer')
      case 'unread':
      case 'lent':
        return silence > UNREAD_RELAYED_MS
          ? new GatewayError('request-timeout', { reason: 'answer not read' })
          : undefined
      case 'awaiting':
      case 'ending':
      case 'done':
        break
    }
    return undefined
  }

  #stop(error: GatewayError): void {
    this.#connection?.destroy()
    this.onError(error, false)
  }

  /**
   * Prepares to write pieces of a body with a length straight to the client's socket, past Node's answer, which would keep
   * them a moment longer than they are lent.
   * @param socket the answer's; it has one only when it is the one that the connection is at
   */
  #lendTo(socket: Socket): boolean {
    const { response } = this.#job
    this.#phase = 'lending'
    this.#direct = socket
    try {
      this.#writeHead()
      response.flushHeaders()
      return true
    } catch (cause) {
      this.#onFault(cause)
      return false
    }
  }

  /**
   * Sends the header, and the body as far as it is there; does nothing when that has been done. Scheduled for the end of the
   * turn: what came in the same packet has been read by then, and answers to a client's several requests, or to a front's
   * many clients, leave one after the other, so that their reader is woken once. An event stream's silence does not hold the
   * header back. Nobody but {@link #onFault} would hear of what is thrown here.
   */
  readonly #flush = (): void => {
    try {
      this.#sendHeld()
    } catch (cause) {
      this.#onFault(cause)
    }
  }

  #sendHeld(): void {
    const { response, exchange } = this.#job
    const { outcome } = exchange
    const phase = this.#phase
    if (phase !== 'headed' && phase !== 'holding' && phase !== 'ending') return
    this.#phase = phase === 'ending' ? 'done' : 'writing'
    const held = this.#held
    this.#held = undefined
    if (response.writableEnded || response.destroyed) return
    this.#writeHead()
    if (phase === 'ending') response.end(held?.toString('latin1'), 'latin1')
    else if (held !== undefined) response.write(held)
    else if (outcome.bytesOut === 0) response.flushHeaders()
  }

  /** Ends the request when its answer could not be written, which is the gateway's own fault. */
  #onFault(cause: unknown): void {
    this.#connection?.destroy()
    if (!this.#isOver) this.#finish()
    const { response, exchange, fail } = this.#job
    const failure = new GatewayError('internal-error', {
      reason: 'the answer was not written',
      cause,
      headers: { Connection: 'close' },
    })
    if (!response.headersSent) {
      fail(failure)
      return
    }
    exchange.outcome.reason = failure.reason
    exchange.outcome.cause = cause
    cutAnswer(response)
  }

  #writeHead(): void {
    if (this.#head === undefined) return
    this.#job.response.writeHead(this.#job.exchange.outcome.status, this.#head)
    this.#head = undefined
  }

  readonly #onFlushed = (): void => {
    if (this.#phase === 'lent' && this.#direct?.writableLength === 0) this.#readOn('lending')
  }

  readonly #onDrain = (): void => {
    if (this.#phase === 'unread') this.#readOn('writing')
  }

  #readOn(phase: 'lending' | 'writing'): void {
    this.#phase = phase
    this.#lastProgress = performance.now()
    this.#connection?.resume()
  }

  readonly #onClientClose = (): void => {
    if (this.#isOver) return
    this.#connection?.destroy()
    this.#finish()
    this.#job.exchange.outcome.reason ??= 'client left'
  }

  /** Whether the relay is done with the service. */
  get #isOver(): boolean {
    return this.#phase === 'ending' || this.#phase === 'done'
  }

  #finish(): void {
    this.#phase = 'done'
    this.#connection = undefined
    this.#body?.stop()
    this.#job.service.inFlight--
    this.#job.watchdog.delete(this)
  }
}

/** Whether a body must be gathered before it is sent, because the service wants a length and the client gives none. */
function wantsWholeBody({ service, headers }: RelayJob): boolean {
  return service.row.wantsLength === true && fieldLines(headers, 'content-length').length === 0
}

/** An informational answer as it goes over the wire. Names and values were checked when they were read. */
function informationalText(status: number, headers: readonly string[]): string {
  let text = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n`
  for (let i = 0; i < headers.length; i += 2) text += `${headers[i]}: ${headers[i + 1]}\r\n`
  return `${text}\r\n`
}

function overdue(silence: number, limit: number, reason: string): GatewayError | undefined {
  return silence > limit ? new GatewayError('upstream-timeout', { reason }) : undefined
}
