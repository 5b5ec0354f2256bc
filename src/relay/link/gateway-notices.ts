/**
 * How does the gateway learn which devices are approved? The link tells it the whole list, after each change and every minute, and until
 * it has heard. A session whose device is not in the list ends at once.
 */
import { request } from 'node:http'
import type { Logger } from 'pino'
import type { LinkConfig } from '../../config/link-settings.ts'
import { writeLinkLine } from '../../http/link-line.ts'
import type { LinkClock } from './clock.ts'
import { dialTarget } from './target-connection.ts'

/** Where the gateway takes the list. */
const DEVICES_PATH = '/_gateway/link/devices'

/** How often the list is told again, in milliseconds. */
const REPEAT_MS = 60_000

/** How long the gateway may take, in milliseconds. */
const ANSWER_MS = 5000

/** What the notices need. */
export interface NoticeParts {
  readonly config: Pick<LinkConfig, 'target'>
  readonly clock: Pick<LinkClock, 'elapsed'>
  readonly logger: Logger
  /** The ids of the approved devices. */
  readonly devices: () => readonly string[]
}

/** Tells the gateway. */
export class GatewayNotices {
  readonly #parts: NoticeParts
  #toldAt = -Infinity
  #isDue = true
  #isTelling = false
  #isFailing = false

  constructor(parts: NoticeParts) {
    this.#parts = parts
  }

  /** Tells the gateway soon: at once, or after what is being told. */
  changed(): void {
    this.#isDue = true
    void this.#tell()
  }

  /** Called every few seconds: tells again what is due. */
  tick(): void {
    if (this.#isDue || this.#parts.clock.elapsed() - this.#toldAt >= REPEAT_MS) void this.#tell()
  }

  async #tell(): Promise<void> {
    if (this.#isTelling) return
    this.#isTelling = true
    const { clock, logger, devices } = this.#parts
    this.#isDue = false
    try {
      await put(this.#parts.config, { devices: devices() })
      this.#toldAt = clock.elapsed()
      this.#isFailing = false
    } catch (error) {
      if (!this.#isFailing)
        logger.warn(
          { err: error },
          'the gateway was not told at GATEWAY_LINK_SOCKET which devices are approved; it is told again until it answers',
        )
      this.#isFailing = true
      this.#toldAt = -Infinity
    }
    this.#isTelling = false
    // Changed meanwhile. After a failure the next tick tries again.
    if (this.#isDue) void this.#tell()
  }
}

/** Sends the list. Rejects when the gateway does not take it. */
function put(config: Pick<LinkConfig, 'target'>, body: object): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const text = JSON.stringify(body)
  const socket = dialTarget(config)
  socket.write(writeLinkLine({ kind: 'link' }))
  const outgoing = request(
    {
      method: 'PUT',
      path: DEVICES_PATH,
      headers: {
        Host: 'localhost',
        'Content-Type': 'application/json',
        'Content-Length': Buffer.byteLength(text),
        Connection: 'close',
      },
      createConnection: () => socket,
      signal: AbortSignal.timeout(ANSWER_MS),
    },
    (answer) => {
      const { statusCode = 0 } = answer
      socket.destroy()
      if (statusCode === 204) resolve()
      else reject(new Error(`the gateway answered ${statusCode}`))
    },
  )
  outgoing.on('error', reject)
  outgoing.on('close', () => {
    socket.destroy()
    reject(new Error('the gateway has closed the connection'))
  })
  outgoing.end(text)
  return promise
}
