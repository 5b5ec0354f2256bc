/** How does the gateway read a request body that it needs itself? As a whole, up to a size and within a time. */
import type { IncomingMessage } from 'node:http'
import type { FastifyRequest } from 'fastify'
import { GatewayError } from '../answers/errors.ts'
import type { Session } from '../identity/session.ts'
import type { Watched, Watchdog } from '../limits/watchdog.ts'
import { sessionOver } from './session-over.ts'

/** How long a client may take to send a body that the gateway reads itself, in milliseconds. */
export const OWN_BODY_MS = 10_000

/**
 * Reads a whole request body as UTF-8. The session of the request still lives when the body has come: otherwise somebody who is
 * about to be signed out could keep half a request here, and finish it afterwards.
 * @throws {GatewayError} `body-too-large`; `request-timeout`, after which the connection ends; `bad-request` when the client
 * leaves; `token-invalid` or `token-expired` when its session ends meanwhile
 */
export function readOwnBody(
  { raw, exchange }: Pick<FastifyRequest, 'raw' | 'exchange'>,
  maxBytes: number,
  watchdog: Watchdog,
): Promise<string> {
  const session = exchange.principal?.session
  return new Promise((resolve, reject) => {
    new OwnBody(raw, session, maxBytes, watchdog, resolve, reject).start()
  })
}

class OwnBody implements Watched {
  place = -1
  readonly #source: IncomingMessage
  readonly #session: Session | undefined
  readonly #maxBytes: number
  readonly #watchdog: Watchdog
  readonly #resolve: (text: string) => void
  readonly #reject: (error: GatewayError) => void
  readonly #startedAt = performance.now()
  /** In milliseconds since 1970, because sessions end by the wall clock. */
  readonly #openedAt = Date.now()
  readonly #pieces: Buffer[] = []
  #size = 0

  constructor(
    source: IncomingMessage,
    session: Session | undefined,
    maxBytes: number,
    watchdog: Watchdog,
    resolve: (text: string) => void,
    reject: (error: GatewayError) => void,
  ) {
    this.#source = source
    this.#session = session
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

  check(now: number, wallClock: number): void {
    const ended = this.#endedSession(wallClock)
    if (ended !== undefined) this.#fail(sessionOver(ended))
    else if (now - this.#startedAt > OWN_BODY_MS)
      this.#fail(
        new GatewayError('request-timeout', {
          reason: 'slow form',
          headers: { Connection: 'close' },
        }),
      )
  }

  #endedSession(wallClock: number): Session | undefined {
    return this.#session?.isOver(wallClock, this.#openedAt) === true ? this.#session : undefined
  }

  readonly #onData = (piece: Buffer): void => {
    this.#size += piece.length
    if (this.#size > this.#maxBytes) this.#fail(new GatewayError('body-too-large'))
    else this.#pieces.push(piece)
  }

  readonly #onEnd = (): void => {
    this.#stop()
    const ended = this.#endedSession(Date.now())
    if (ended !== undefined) this.#reject(sessionOver(ended))
    else this.#resolve(Buffer.concat(this.#pieces).toString('utf8'))
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
