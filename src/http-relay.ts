/** How does a request reach a service and its answer the client? Streamed both ways with back-pressure, never retried. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Dispatcher } from 'undici'
import { GatewayError, upstreamErrorFrom } from './errors.ts'
import type { Exchange } from './exchange.ts'
import { fieldLines } from './fields.ts'
import { buildResponseHeaders } from './response-headers.ts'
import { isolationFields } from './isolation.ts'
import { discardBody, RequestBody } from './request-body.ts'
import { MAX_IN_FLIGHT, type Service } from './service.ts'
import type { Watched, Watchdog } from './watchdog.ts'

/** How long a client may leave an answer unread, in milliseconds. */
const UNREAD_MS = 300_000

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
  const { service, raw } = job
  if (service.inFlight >= MAX_IN_FLIGHT) {
    job.fail(
      new GatewayError('upstream-busy', { reason: service.name, headers: { 'Retry-After': '1' } }),
    )
    return
  }
  service.inFlight++
  const body = job.hasBody ? new RequestBody(raw) : null
  const relay = new HttpRelay(job, body)
  try {
    service.pool.dispatch(
      { path: job.path, method: raw.method as Dispatcher.HttpMethod, headers: job.headers, body },
      relay,
    )
  } catch (error) {
    relay.onError(error)
  }
}

/**
 * Writes a service's answer straight to the client: chunks go from undici's parser to the socket without a stream in
 * between, and the parser is paused while the client does not read. Of undici's two handler interfaces this is the older,
 * which its own clients speak inside: the newer one wraps it and builds an object of every header list.
 */
class HttpRelay implements Dispatcher.DispatchHandler, Watched {
  place = -1
  readonly #job: RelayJob
  readonly #body: RequestBody | null
  readonly #startedAt = performance.now()
  /** Ends the request to the service; undefined until it is on its way, and then onConnect does it. */
  #abortRequest: ((reason: Error) => void) | undefined
  #resume: (() => void) | undefined
  #isPaused = false
  #isDone = false
  #answering = false
  #mayPause = false
  #lastProgress = 0
  // A small answer that comes in one piece leaves as one piece: header and body in a single write.
  #held: Buffer | undefined
  #mayHold = true

  constructor(job: RelayJob, body: RequestBody | null) {
    this.#job = job
    this.#body = body
    job.exchange.dialledAt = this.#startedAt
    job.exchange.onClientClose = this.#onClientClose
    job.watchdog.add(this)
  }

  onConnect(abort: (reason?: Error) => void): void {
    this.#abortRequest = abort
    if (this.#isDone) {
      abort(new GatewayError('bad-request', { reason: 'client left' }))
      return
    }
    // The decision is made and the service is there: now the client may send its body.
    const { raw, response } = this.#job
    if (this.#body !== null && raw.headers.expect !== undefined && raw.httpVersionMinor > 0)
      response.writeContinue()
  }

  onHeaders(status: number, rawHeaders: Buffer[], resume: () => void): boolean {
    if (status < 200) return true // informational answers are for this hop (RFC 9110 section 15.2)
    const { response, exchange, service, requestId } = this.#job
    const fields = rawHeaders.map(asLatin1)
    const contentType = fieldLines(fields, 'content-type').join()
    const headers = buildResponseHeaders(fields, {
      requestId,
      signedIn: exchange.principal !== undefined,
      rewriteLocation: service.rewriteLocation,
      allowOrigin: exchange.allowOrigin,
      extra: service.isolated
        ? [...exchange.budgetFields, ...isolationFields(contentType)]
        : exchange.budgetFields,
    })
    this.#resume = resume
    this.#answering = true
    this.#mayPause = /^text\/event-stream\b/i.test(contentType)
    this.#lastProgress = performance.now()
    exchange.upstreamMs = this.#lastProgress - this.#startedAt
    exchange.status = status
    this.#job.onAnswer?.(status)
    response.writeHead(status, headers)
    // What came in the same packet has been parsed by then; an event stream's silence must not hold the header back.
    process.nextTick(this.#letGo)
    // Complete without a body, whatever its length says: undici takes a 304 that names one for cut short.
    if (status === 204 || status === 304) this.onComplete()
    return true
  }

  onData(chunk: Buffer): boolean {
    this.#job.exchange.bytesOut += chunk.length
    this.#lastProgress = performance.now()
    if (this.#mayHold && chunk.length <= MAX_HELD_BYTES) {
      this.#mayHold = false
      this.#held = chunk
      return true
    }
    this.#letGo()
    const { response } = this.#job
    if (response.write(chunk)) return true
    this.#isPaused = true
    response.once('drain', this.#onDrain)
    return false
  }

  onComplete(): void {
    if (this.#isDone) return
    const { raw, response } = this.#job
    this.#finish()
    if (this.#held === undefined) response.end()
    else response.end(this.#held.toString('latin1'), 'latin1')
    this.#held = undefined
    if (this.#body !== null) discardBody(raw)
  }

  onError(error: unknown): void {
    if (this.#isDone) return
    this.#finish()
    const { response, fail, exchange, service } = this.#job
    const failure = upstreamErrorFrom(error)
    if (!response.headersSent) {
      fail(failure)
      return
    }
    // Too late for a status: a cut connection is the only honest end of a cut answer.
    exchange.reason = `${service.name} broke off: ${failure.reason ?? failure.code}`
    exchange.cause = failure.cause
    response.destroy()
  }

  check(now: number): void {
    if (this.#job.raw.socket.destroyed) {
      this.#onClientClose() // an answer that waits behind others of a pipeline is never told
    } else if (this.#body !== null && !this.#body.isFastEnough(now)) {
      this.#stop(
        new GatewayError('request-timeout', {
          reason: 'slow body',
          headers: { Connection: 'close' },
        }),
      )
    } else if (this.#answering) {
      const silence = now - this.#lastProgress
      if (this.#isPaused) {
        if (silence > UNREAD_MS)
          this.#stop(new GatewayError('request-timeout', { reason: 'answer not read' }))
      } else if (!this.#mayPause && silence > this.#job.idleMs) {
        this.#stop(new GatewayError('upstream-timeout', { reason: 'paused within its answer' }))
      }
    }
  }

  #stop(error: GatewayError): void {
    this.onError(error)
    this.#abortRequest?.(error)
  }

  /** Sends the header, and the body as far as it is there. */
  readonly #letGo = (): void => {
    this.#mayHold = false
    const { response } = this.#job
    const held = this.#held
    this.#held = undefined
    if (response.writableEnded || response.destroyed) return
    if (held !== undefined) response.write(held)
    else if (this.#job.exchange.bytesOut === 0) response.flushHeaders()
  }

  readonly #onDrain = (): void => {
    this.#lastProgress = performance.now()
    this.#isPaused = false
    this.#resume?.()
  }

  readonly #onClientClose = (): void => {
    if (this.#isDone) return
    this.#finish()
    this.#job.exchange.reason ??= 'client left'
    this.#abortRequest?.(new GatewayError('bad-request', { reason: 'client left' }))
  }

  #finish(): void {
    this.#isDone = true
    this.#body?.destroy()
    this.#job.service.inFlight--
    this.#job.watchdog.delete(this)
  }
}

/** A name or value as undici gives it, as text: one character a byte. */
function asLatin1(field: Buffer): string {
  return field.toString('latin1')
}
