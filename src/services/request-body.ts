/** How does a request body travel to a service? Streamed, watched for slowness, and never tied to the answer's fate. */
import type { IncomingMessage } from 'node:http'

/** A client must send at least this many bytes in each window while the service is ready to take them. */
export const MIN_BYTES_PER_WINDOW = 30 * 1024
export const WINDOW_MS = 30_000

/** How much of a body may wait to be sent to the service, in bytes; then the client waits. */
const MAX_GATHERED_BYTES = 256 * 1024

/**
 * How much is gathered before the service has a first part of the body, in bytes. A service that answers a head alone and
 * hangs up leaves the rest unread, and the more that is, the sooner a reset overtakes its answer.
 */
const MAX_FIRST_BYTES = 32 * 1024

/** In how many pieces at most: a client may send its body byte by byte, and each piece costs more than what is in it. */
const MAX_GATHERED_PIECES = 1024

/** The largest body without a length that is gathered whole for a service that wants a length, in bytes. */
export const MAX_WHOLE_BYTES = 16 * 1024

/** Who decides where a body goes. */
export interface BodyOwner {
  /**
   * The body begins: its first bytes, or its end, have come. `sendTo` may follow at once or later.
   * @param length of a body that was gathered whole; undefined otherwise
   */
  onBodyBegin(length: number | undefined): void
  /** A body that was to be gathered whole is too large. It was stopped, and nothing more follows. */
  onBodyTooLarge(): void
}

/** What a body is sent to: a connection to a service. */
export interface BodySink {
  write(pieces: readonly Buffer[]): boolean
  finish(): void
  onWritable: (() => void) | undefined
}

/**
 * The body of a request on its way to a service. What becomes of the request is not its business: see `stop`.
 *
 * Its states, in this order: not read yet, awaited (`read` was called, and nothing has come), begun (the owner was told, and
 * what comes is gathered), sent (it has a sink). `stop` ends each of them.
 */
export class RequestBody {
  /** When something was last sent, or was ready to be, on the monotonic clock in milliseconds. */
  lastProgress = performance.now()
  /** Whether the whole body is gathered before it begins. */
  readonly isWhole: boolean
  readonly #source: IncomingMessage
  readonly #owner: BodyOwner
  #isRead = false
  #hasBegun = false
  #sink: BodySink | undefined
  #gathered: Buffer[] = []
  #gatheredBytes = 0
  #isScheduled = false
  #isBlocked = false
  #isEnded = false
  #windowStart = this.lastProgress
  #windowBytes = 0

  /** @param isWhole whether to gather the whole body, up to `MAX_WHOLE_BYTES`, before it begins */
  constructor(source: IncomingMessage, owner: BodyOwner, isWhole: boolean) {
    this.#source = source
    this.#owner = owner
    this.isWhole = isWhole
  }

  /** Begins to read the body. The owner is told when it begins. */
  read(): void {
    this.#isRead = true
    this.#beginWindow()
    this.#source.on('data', this.#onData)
    this.#source.on('end', this.#onEnd)
  }

  /** Sends what has been read, and what follows. Only after the body has begun. */
  sendTo(sink: BodySink): void {
    this.#sink = sink
    sink.onWritable = this.#onWritable
    this.#beginWindow()
    this.#flush(sink)
  }

  /** Reads and sends no more. */
  stop(): void {
    if (!this.#isRead) return
    this.#isRead = false
    this.#sink = undefined
    this.#gathered = []
    this.#source.off('data', this.#onData)
    this.#source.off('end', this.#onEnd)
  }

  /** Whether it is the client that is waited for: for the body's begin, or because the service is ready for more. */
  get awaitsClient(): boolean {
    if (!this.#hasBegun) return this.#isRead
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
    if (this.isWhole) {
      this.#gatherWhole()
      return
    }
    const enough = this.#sink === undefined ? MAX_FIRST_BYTES : MAX_GATHERED_BYTES
    if (this.#gatheredBytes >= enough || this.#gathered.length >= MAX_GATHERED_PIECES)
      this.#source.pause()
    this.#schedule()
  }

  #gatherWhole(): void {
    if (this.#gatheredBytes > MAX_WHOLE_BYTES) {
      this.stop()
      this.#owner.onBodyTooLarge()
    } else if (this.#gathered.length >= MAX_GATHERED_PIECES) {
      this.#gathered = [Buffer.concat(this.#gathered)]
    }
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
    if (!this.#isRead) return
    if (!this.#hasBegun) {
      this.#hasBegun = true
      this.#owner.onBodyBegin(this.isWhole ? this.#gatheredBytes : undefined)
    } else if (this.#sink !== undefined) {
      this.#flush(this.#sink)
    }
    // Begun and without a sink yet: `sendTo` sends what was gathered meanwhile.
  }

  #flush(sink: BodySink): void {
    this.lastProgress = performance.now()
    const pieces = this.#gathered
    this.#gathered = []
    this.#gatheredBytes = 0
    this.#isBlocked = !sink.write(pieces)
    if (this.#isEnded) {
      sink.finish()
      this.#sink = undefined // a send that is still scheduled must not finish the body again
    } else if (this.#isBlocked) this.#source.pause()
    else this.#source.resume()
  }

  readonly #onWritable = (): void => {
    this.#isBlocked = false
    this.#beginWindow()
    this.#source.resume()
  }
}
