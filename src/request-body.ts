/** How does a request body travel to a service? Streamed, watched for slowness, and never tied to the answer's fate. */
import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { GatewayError } from './errors.ts'

/** A client must send at least this many bytes in each window while the service is ready to take them. */
const MIN_BYTES_PER_WINDOW = 30 * 1024
const WINDOW_MS = 30_000

/** How long the rest of a body is still read and thrown away after the answer was sent, in milliseconds. */
const DISCARD_MS = 5000

/**
 * The body of a request as undici sends it. Not the request itself: undici destroys a body stream when the service answers
 * early, which would take the client's connection, and the answer, with it.
 */
export class RequestBody extends Readable {
  readonly #source: IncomingMessage
  #windowStart = performance.now()
  #windowBytes = 0
  #wanted = false

  constructor(source: IncomingMessage) {
    super()
    this.#source = source
    this.on('error', ignore)
    source.on('data', this.#onData)
    source.on('end', this.#onEnd)
    source.on('close', this.#onClose)
    source.pause()
  }

  /** @returns false when the client has been too slow while the service was waiting (slow-body attacks, nginx's client_body_timeout) */
  isFastEnough(now: number): boolean {
    if (now - this.#windowStart < WINDOW_MS) return true
    const enough =
      !this.#wanted || this.#source.complete || this.#windowBytes >= MIN_BYTES_PER_WINDOW
    this.#windowStart = now
    this.#windowBytes = 0
    return enough
  }

  override _read(): void {
    if (!this.#wanted) {
      this.#wanted = true
      this.#windowStart = performance.now()
      this.#windowBytes = 0
    }
    this.#source.resume()
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#source.off('data', this.#onData)
    this.#source.off('end', this.#onEnd)
    this.#source.off('close', this.#onClose)
    callback(error)
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#windowBytes += chunk.length
    this.#source.pause()
    // Sent when everything that has arrived was read: writing to a service that has answered early and hung up fails,
    // and would take its answer along.
    setImmediate(() => {
      if (this.destroyed) return
      if (this.push(chunk)) this.#source.resume()
      else this.#wanted = false
    })
  }

  readonly #onEnd = (): void => {
    setImmediate(() => this.push(null)) // behind the last chunk
  }

  readonly #onClose = (): void => {
    if (!this.#source.readableEnded)
      this.destroy(new GatewayError('bad-request', { reason: 'client left during its body' }))
  }
}

/** A client may leave when undici has already stopped listening; an error that nobody hears would end the process. */
function ignore(): void {}

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
