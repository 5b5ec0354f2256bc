/** How is a request body sent to a service? As a stream with a minimum rate; the response does not depend on the body's end. */
import type { IncomingMessage } from 'node:http'

/** How many bytes a client must send at least in each window while the service is ready to take them. */
export const MIN_BYTES_PER_WINDOW = 30 * 1024
export const WINDOW_MS = 30_000

/** How many bytes of a body may wait to be sent to the service before reading from the client pauses. */
const MAX_GATHERED_BYTES = 256 * 1024

/**
 * How many bytes are gathered before the service has a first part of the body. A service that responds to the head alone and
 * closes leaves the rest unread, and the more is unread, the sooner a reset overtakes its response.
 */
const MAX_FIRST_BYTES = 32 * 1024

/** In how many pieces at most: a client may send its body byte by byte, and each piece takes more memory than its bytes. */
const MAX_GATHERED_PIECES = 1024

/** The largest body without a length that is gathered whole for a service that wants a length, in bytes. */
export const MAX_WHOLE_BYTES = 16 * 1024

/** Callbacks of the owner of a body, which decides where the body goes. */
export interface BodyOwner {
  /**
   * The body begins: its first bytes, or its end, have come. `sendTo` may be called at once or later.
   * @param length the length of a body that was gathered whole; undefined otherwise
   */
  onBodyBegin(length: number | undefined): void
  /** A body that was to be gathered whole is too large. Reading it was stopped, and no other callback follows. */
  onBodyTooLarge(): void
}

/** The receiving end of a body: a connection to a service. */
export interface BodySink {
  write(pieces: readonly Buffer[]): boolean
  finish(): void
  onWritable: (() => void) | undefined
}

/**
 * The body of a request on its way to a service. Its owner decides what happens to the request, and calls `stop` in the end.
 *
 * Its states, in this order: not read yet, awaited (`read` was called, and nothing has come), begun (`onBodyBegin` was called,
 * and bytes are gathered), sent (it has a sink). `stop` ends each of them.
 */
export class RequestBody {
  /** When bytes were last sent, or the sink was last ready for them, on the monotonic clock in milliseconds. */
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

  /** Starts reading. `onBodyBegin` is called when the first bytes have come. */
  read(): void {
    this.#isRead = true
    this.#beginWindow()
    this.#source.on('data', this.#onData)
    this.#source.on('end', this.#onEnd)
  }

  /** Sends the bytes that were read, and those that follow. Call it only after `onBodyBegin`. */
  sendTo(sink: BodySink): void {
    this.#sink = sink
    sink.onWritable = this.#onWritable
    this.#beginWindow()
    this.#flush(sink)
  }

  /** Stops reading and sending. */
  stop(): void {
    if (!this.#isRead) return
    this.#isRead = false
    this.#sink = undefined
    this.#gathered = []
    this.#source.off('data', this.#onData)
    this.#source.off('end', this.#onEnd)
  }

  /** Whether the client is the one to act: the body has not begun, or the service is ready for more of it. */
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
   * Sends at the end of the turn, when every socket with data was read. Writing to a service that has responded early and
   * closed fails, and the failure would lose a response that was not read before.
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
    // Begun and without a sink yet: `sendTo` sends the bytes that were gathered meanwhile.
  }

  #flush(sink: BodySink): void {
    this.lastProgress = performance.now()
    const pieces = this.#gathered
    this.#gathered = []
    this.#gatheredBytes = 0
    this.#isBlocked = !sink.write(pieces)
    if (this.#isEnded) {
      sink.finish()
      this.#sink = undefined // a scheduled #send must not finish the body a second time
    } else if (this.#isBlocked) this.#source.pause()
    else this.#source.resume()
  }

  readonly #onWritable = (): void => {
    this.#isBlocked = false
    this.#beginWindow()
    this.#source.resume()
  }
}
