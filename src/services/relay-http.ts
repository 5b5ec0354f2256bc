/**
 * How does a request reach a service, and the response its client? Both are streamed with back-pressure. A request that may have
 * reached the service is not sent again, with one exception: see `isRepeatable` in src/services/request-text.ts.
 */
import { STATUS_CODES, type IncomingMessage, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { cutAnswer, UNREAD_RELAYED_MS } from '../http/client-connection.ts'
import { LENGTH_WANTED_DETAIL } from '../answers/details.ts'
import { ERRORS, GatewayError, upstreamErrorFrom } from '../answers/errors.ts'
import { discardBody } from '../request/discard-body.ts'
import type { Exchange } from '../request/exchange.ts'
import { SESSION_ENDED_REASON } from '../answers/close-reasons.ts'
import { sessionOver } from '../request/session-over.ts'
import { fieldLines } from '../http/fields.ts'
import { resetConnection } from '../http/reset.ts'
import {
  buildInformationalHeaders,
  buildResponseHeaders,
  withoutCacheRules,
} from '../http/to-client.ts'
import { RequestBody, type BodyOwner } from './request-body.ts'
import { CONNECT_MS, MAX_IN_FLIGHT, type Service } from './service.ts'
import { READ_BYTES, type AnswerReceiver, type ServiceConnection } from './connection.ts'
import type { Watched, Watchdog } from '../limits/watchdog.ts'

/** The largest first piece of a response body that is held until the rest of its packet was read, in bytes. */
const MAX_HELD_BYTES = 16 * 1024

/** One request to relay. */
export interface RelayJob {
  readonly raw: IncomingMessage
  readonly response: ServerResponse
  readonly exchange: Exchange
  readonly requestId: string
  readonly service: Service
  /** The path and query of the request to the service. */
  readonly path: string
  /** The header list of the request to the service. */
  readonly headers: string[]
  readonly hasBody: boolean
  /** Whether pages of some foreign origin may read responses, so that responses differ by `Origin`. */
  readonly variesByOrigin: boolean
  /** How long the service may take to begin its response, in milliseconds. */
  readonly firstByteMs: number
  /** How long the service may pause within an answer, in milliseconds; event streams may pause for ever. */
  readonly idleMs: number
  readonly watchdog: Watchdog
  /** Called with the status of the service's response, before the client gets it. */
  readonly onAnswer: ((status: number) => void) | undefined
  /** Sends an error response of the gateway. Called only while nothing was sent to the client. */
  readonly fail: (error: GatewayError) => void
}

/** Relays a request. Every outcome ends in a response or a closed connection. */
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
 * The phase of a relayed request. In the first four, the request is on its way to the service; in the next six, the response is
 * on its way to the client. From each of these ten, an error, a time limit, the client's leaving, or the end of its session leads
 * to done.
 */
type Phase =
  /** Only with a body: waits for proof that the service takes connections. `onConnect` → awaiting. */
  | 'reaching'
  /** Only with a body: waits for the client's first bytes, and holds no connection. `onBodyBegin` → connecting. */
  | 'awaiting'
  /** A connection has the request. `onConnect` → asking; that is at once on a connection that was kept. */
  | 'connecting'
  /** Waits for the response. `onHead` → headed, or lending for a large body. An error that allows a repetition → connecting. */
  | 'asking'
  /** Has the head. End of the turn → writing. A small first piece → holding, a large one → writing. `onEnd` → ending. */
  | 'headed'
  /** Has the head and a small first piece. End of the turn, or a second piece → writing. `onEnd` → ending, so one write has all. */
  | 'holding'
  /** The head is written, and pieces are written as they come. The client does not read → unread. `onEnd` → ending. */
  | 'writing'
  /** The client does not read, so the service's connection is not read either. `drain` → writing. `onEnd` → ending. */
  | 'unread'
  /** Lent pieces are written straight to the client's socket. A piece that stays in its queue → lent. `onEnd` → ending. */
  | 'lending'
  /** A lent piece is in the socket's queue, so nothing more is read. The socket has written it → lending. `onEnd` → ending. */
  | 'lent'
  /** The whole response was read, and the connection given back. The rest is written at the end of the turn → done. */
  | 'ending'
  | 'done'

/**
 * Relays one request, and its response straight to the client: pieces go from the service's connection to the client's without a
 * stream in between, and the service's connection is not read while the client does not read.
 */
class HttpRelay implements AnswerReceiver, BodyOwner, Watched {
  place = -1
  readonly #job: RelayJob
  readonly #body: RequestBody | undefined
  /** In milliseconds since 1970, because sessions end by the wall clock. */
  readonly #openedAt = Date.now()
  /** When the request was handed to a connection; with a body, that is when the body began. */
  #askedAt = performance.now()
  /** The connection to the service, as long as the relay needs it. */
  #connection: ServiceConnection | undefined
  #phase: Phase = 'connecting'
  /** How long the service may pause within its response, in milliseconds. */
  #idleMs = 0
  #lastProgress = this.#askedAt
  /** The head of the response until it is written. Until then an error response can replace the response. */
  #head: string[] | undefined
  /** A small first piece of the body: a small response leaves in a single write, header and body together. */
  #held: Buffer | undefined
  /** The client's socket, when lent pieces of a large body are written straight to it. */
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
      this.#awaitBody(this.#body) // the body may yet be refused as too large, and a refusal must not dial the service
    } else {
      this.#phase = 'reaching'
      this.#connection = pool.reach(this)
    }
  }

  get #awaitsContinue(): boolean {
    const { raw } = this.#job
    return raw.headers.expect !== undefined && raw.httpVersionMinor > 0
  }

  /** Waits for the body without a connection, because services close connections whose request takes long to come. */
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
      // The request may pass and the service takes connections: now the client may send its body.
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
    // Dropped when it is not this response's turn in a pipeline (it has no socket then), and when the client reads slowly.
    if (raw.httpVersionMinor === 0 || socket === null || socket.writableNeedDrain) return
    const headers = buildInformationalHeaders(fields, service.rewriteLocation)
    socket.write(informationalText(status, headers), 'latin1')
  }

  onHead(status: number, fields: string[], length: number | undefined): boolean {
    const { exchange, service, requestId } = this.#job
    const contentType = fieldLines(fields, 'content-type').join()
    const answered = service.row.forWorkspaces === true ? withoutCacheRules(fields) : fields
    this.#head = buildResponseHeaders(answered, {
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
    if (this.#isOver) return true // writing the head failed, and the request has ended
    return this.#write(piece)
  }

  /** @returns whether the client reads */
  #write(piece: Buffer): boolean {
    const { response } = this.#job
    if (response.write(piece)) return true
    // More pieces of the same read may follow although this one returns false.
    if (this.#phase !== 'unread') response.once('drain', this.#onDrain)
    this.#phase = 'unread'
    return false
  }

  /** Writes a lent piece. @returns whether the socket has written it, so that its memory may be read into again */
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
    this.#fail(failure, `${this.#job.service.name} broke off: ${failure.reason ?? failure.code}`)
  }

  /** @param reason for the log, when the response has begun */
  #fail(failure: GatewayError, reason: string): void {
    this.#finish()
    const { raw, response, fail, exchange } = this.#job
    if (!response.headersSent) {
      fail(failure)
      return
    }
    // The status was sent: a cut connection is the only honest end of an incomplete response.
    exchange.outcome.reason = reason
    exchange.outcome.cause = failure.cause
    // HTTP/1.0 takes a connection that is closed properly for a whole response, so it is reset. A Unix socket has no reset.
    const { socket } = response
    if (raw.httpVersionMinor === 0 && socket?.remoteAddress !== undefined) resetConnection(socket)
    else cutAnswer(response)
  }

  check(now: number, wallClock: number): void {
    const { raw, exchange } = this.#job
    const session = exchange.principal?.session
    if (raw.socket.destroyed) {
      this.#onClientClose() // a response that waits behind others of a pipeline gets no event when the client leaves
    } else if (session?.isOver(wallClock, this.#openedAt) === true) {
      this.#connection?.destroy()
      this.#fail(sessionOver(session), SESSION_ENDED_REASON)
    } else {
      const failure = this.#overdue(now)
      if (failure !== undefined) this.#stop(failure)
    }
  }

  /** The error for the time limit that has passed, if any. */
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
   * Prepares to write pieces of a body with a length straight to the client's socket. Node's response object is bypassed because
   * it would keep the pieces a moment longer than they are lent.
   * @param socket the response's socket; a response has it only when its turn in a pipeline has come
   * @returns whether pieces may be lent
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
   * Writes the head, and the body as far as it was read; does nothing when the head was written before. Scheduled for the end of
   * the turn, because the rest of the same packet has been read by then, and responses to several requests of a client, or to
   * many clients of a front proxy, leave one after the other, so that their reader is woken once. The head does not wait for a
   * body longer than that: an event stream may be silent. {@link #onFault} takes errors, because setImmediate has no caller
   * that could.
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

  /** Ends the request when its response could not be written, which is the gateway's own fault. */
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

  /** Whether the relay needs the service no more. */
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

/** Whether a body must be gathered before it is sent, because the service needs a `Content-Length` and the client sent none. */
function wantsWholeBody({ service, headers }: RelayJob): boolean {
  return service.row.wantsLength === true && fieldLines(headers, 'content-length').length === 0
}

/** An informational response as it goes over the wire. Names and values were checked when they were read. */
function informationalText(status: number, headers: readonly string[]): string {
  let text = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n`
  for (let i = 0; i < headers.length; i += 2) text += `${headers[i]}: ${headers[i + 1]}\r\n`
  return `${text}\r\n`
}

function overdue(silence: number, limit: number, reason: string): GatewayError | undefined {
  return silence > limit ? new GatewayError('upstream-timeout', { reason }) : undefined
}
