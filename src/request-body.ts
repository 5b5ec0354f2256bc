/** How does a request body travel to a service? Streamed, watched for slowness, and never tied to the answer's fate. */
import type { IncomingMessage } from 'node:http'

/** A client must send at least this many bytes in each window while the service is ready to take them. */
export const MIN_BYTES_PER_WINDOW = 30 * 1024
export const WINDOW_MS = 30_000

/** How long the rest of a body is still read and thrown away after the answer was sent, in milliseconds. */
export const DISCARD_MS = 5000

/** How much of a body may wait to be sent to the service, in bytes; then the client waits. */
const MAX_GATHERED_BYTES = 256 * 1024

/** In how many pieces at most: a client may send its body byte by byte, and each piece costs more than what is in it. */
const MAX_GATHERED_PIECES = 1024

/** What a body is sent to: a connection to a service. */
export interface BodySink {
  write(pieces: readonly Buffer[]): boolean
  finish(): void
  onWritable: (() => void) | undefined
}

/** The body of a request on its way to a service. What becomes of the request is not its business: see `stop`. */
export class RequestBody {
  /** When something was last sent, or was ready to be, on the monotonic clock in milliseconds. */
  lastProgress = performance.now()
  readonly #source: IncomingMessage
  #sink: BodySink | undefined
  #gathered: Buffer[] = []
  #gatheredBytes = 0
  #isScheduled = false
  #isBlocked = false
  #isEnded = false
  #windowStart = this.lastProgress
  #windowBytes = 0

  constructor(source: IncomingMessage) {
    this.#source = source
  }

  /** Begins to read the body and to send it. */
  sendTo(sink: BodySink): void {
    this.#sink = sink
    sink.onWritable = this.#onWritable
    this.#beginWindow()
    this.#source.on('data', this.#onData)
    this.#source.on('end', this.#onEnd)
  }

  /** Reads and sends no more. */
  stop(): void {
    if (this.#sink === undefined) return
    this.#sink = undefined
    this.#gathered = []
    this.#source.off('data', this.#onData)
    this.#source.off('end', this.#onEnd)
  }

  /** Whether the service is ready for more than the client has sent. */
  get awaitsClient(): boolean {
    return this.#sink !== undefined && !this.#isBlocked && !this.#isEnded
  }

  /** @returns false when the client has been too slow while the service was waiting (slow-body attacks, nginx's client_body_timeout) */
  isFastEnough(now: number): boolean {
    if (now - this.#windowStart < WINDOW_MS) return true
    const enough =
      !this.awaitsClient || this.#source.complete || this.#windowBytes >= MIN_BYTES_PER_WINDOW
    this.#windowStart = now
    this.#windowBytes = 0
    return enough
  }

  #beginWindow(): void {
    this.#windowStart = performance.now()
    this.#windowBytes = 0
    this.lastProgress = this.#windowStart
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#windowBytes += chunk.length
    this.#gathered.push(chunk)
    this.#gatheredBytes += chunk.length
    if (this.#gatheredBytes >= MAX_GATHERED_BYTES || this.#gathered.length >= MAX_GATHERED_PIECES)
      this.#source.pause()
    this.#schedule()
  }

  readonly #onEnd = (): void => {
    this.#isEnded = true
    this.#schedule()
  }

  /**
   * What is there is sent when everything that has arrived was read: writing to a service that has answered early and hung
   * up fails, and would take its answer along.
   */
  #schedule(): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    setImmediate(this.#send)
  }

  readonly #send = (): void => {
    this.#isScheduled = false
    if (this.#sink === undefined) return
    this.lastProgress = performance.now()
    const pieces = this.#gathered
    this.#gathered = []
    this.#gatheredBytes = 0
    this.#isBlocked = !this.#sink.write(pieces)
    if (this.#isEnded) this.#sink.finish()
    else if (this.#isBlocked) this.#source.pause()
    else this.#source.resume()
  }

  readonly #onWritable = (): void => {
    this.#isBlocked = false
    this.#beginWindow()
    this.#source.resume()
  }
}

/**
 * Reads on for a while when an answer was given before the body had arrived, so that the client, which may still be
 * sending, gets to read the answer; then ends the connection (nginx's lingering close).
 */
export function discardBody(request: IncomingMessage): void {
  if (request.complete || request.socket.destroyed) return
  request.resume()
  const { socket } = request
  const timer = setTimeout(() => {
    if (!request.complete) socket.destroy()
  }, DISCARD_MS)
  timer.unref()
  request.once('end', () => clearTimeout(timer))
  request.once('close', () => clearTimeout(timer))
}
