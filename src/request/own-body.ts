/** How does the gateway read a request body that it needs itself? As a whole, up to a size and within a time. */
import type { IncomingMessage } from 'node:http'
import { GatewayError } from '../answers/errors.ts'
import type { Watched, Watchdog } from '../limits/watchdog.ts'

/** How long a client may take to send a body that the gateway reads itself, in milliseconds. */
export const OWN_BODY_MS = 10_000

/**
 * Reads a whole request body as UTF-8.
 * @throws {GatewayError} `body-too-large`; `request-timeout`, after which the connection ends; `bad-request` when the client
 * leaves
 */
export function readOwnBody(
  source: IncomingMessage,
  maxBytes: number,
  watchdog: Watchdog,
): Promise<string> {
  return new Promise((resolve, reject) => {
    new OwnBody(source, maxBytes, watchdog, resolve, reject).start()
  })
}

class OwnBody implements Watched {
  place = -1
  readonly #source: IncomingMessage
  readonly #maxBytes: number
  readonly #watchdog: Watchdog
  readonly #resolve: (text: string) => void
  readonly #reject: (error: GatewayError) => void
  readonly #startedAt = performance.now()
  readonly #pieces: Buffer[] = []
  #size = 0

  constructor(
    source: IncomingMessage,
    maxBytes: number,
    watchdog: Watchdog,
    resolve: (text: string) => void,
    reject: (error: GatewayError) => void,
  ) {
    this.#source = source
    this.#maxBytes = maxBytes
    this.#watchdog = watchdog
    this.#resolve = resolve
    this.#reject = reject
  }

  start(): void {
    if (Number(this.#source.headers['content-length'] ?? 0) > this.#maxBytes) {
      this.#reject(new GatewayError('body-too-large'))
      return
    }
    this.#watchdog.add(this)
    this.#source.on('data', this.#onData)
    this.#source.once('end', this.#onEnd)
    this.#source.once('error', this.#onLeft)
    this.#source.once('close', this.#onLeft)
  }

  check(now: number): void {
    if (now - this.#startedAt > OWN_BODY_MS)
      this.#fail(
        new GatewayError('request-timeout', {
          reason: 'slow form',
          headers: { Connection: 'close' },
        }),
      )
  }

  readonly #onData = (piece: Buffer): void => {
    this.#size += piece.length
    if (this.#size > this.#maxBytes) this.#fail(new GatewayError('body-too-large'))
    else this.#pieces.push(piece)
  }

  readonly #onEnd = (): void => {
    this.#stop()
    this.#resolve(Buffer.concat(this.#pieces).toString('utf8'))
  }

  readonly #onLeft = (): void => {
    this.#fail(new GatewayError('bad-request', { reason: 'client left' }))
  }

  #fail(error: GatewayError): void {
    this.#stop()
    this.#reject(error)
  }

  #stop(): void {
    this.#watchdog.delete(this)
    this.#source.off('data', this.#onData)
    this.#source.off('end', this.#onEnd)
    this.#source.off('close', this.#onLeft)
  }
}
