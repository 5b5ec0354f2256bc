/**
 * How is a Redis asked that many processes share? Each answer comes within two seconds, or not at all: a connection that has fallen
 * silent is replaced. Nothing is queued while there is none.
 */
import type { RedisClientType } from '@redis/client'

/** How long an answer may take, in milliseconds. */
const ANSWER_MS = 2000

/** The longest pause between two attempts to connect, in milliseconds. */
const MAX_RETRY_MS = 2000

/** There is no answer, or it is an error. `cause` is what Redis or the system says. */
export class RedisAwayError extends Error {}

/** A connection to Redis. The client is loaded when the first one is opened, because most processes have no Redis. */
export class RedisConnection {
  readonly #url: string
  #client: RedisClientType | undefined
  #opening: Promise<RedisClientType> | undefined
  /** Why there is no connection, as Redis or the system says. */
  #problem: unknown
  #isClosed = false

  /** @param url `redis://…` or `rediss://…`. It may hold a password and is never logged. */
  constructor(url: string) {
    this.#url = url
  }

  /**
   * Asks Redis. What was asked without an answer may have been done all the same.
   * @throws {RedisAwayError}
   */
  async ask<Answer>(ask: (client: RedisClientType) => Promise<Answer>): Promise<Answer> {
    if (this.#isClosed) throw new RedisAwayError('closed')
    this.#opening ??= this.#open()
    const client = await this.#opening
    let timer: NodeJS.Timeout | undefined
    try {
      const late = new Promise<never>((_resolve, reject) => {
        timer = setTimeout(() => {
          reject(new Error(`no answer within ${ANSWER_MS} ms`))
          this.#drop(client) // perhaps it is gone for good, and TCP has not noticed
        }, ANSWER_MS)
      })
      return await Promise.race([ask(client), late])
    } catch (cause) {
      throw new RedisAwayError('the store does not answer', {
        cause: client.isReady ? cause : (this.#problem ?? cause),
      })
    } finally {
      clearTimeout(timer)
    }
  }

  /** Ends the connection, and what is under way with it. */
  close(): void {
    this.#isClosed = true
    this.#drop(this.#client)
  }

  /** Opens a connection, which is tried again for as long as it is wanted. */
  async #open(): Promise<RedisClientType> {
    const { createClient } = await import('@redis/client')
    const client: RedisClientType = createClient({
      url: this.#url,
      disableOfflineQueue: true,
      commandsQueueMaxLength: 10_000,
      socket: {
        connectTimeout: ANSWER_MS,
        reconnectStrategy: (tries) => Math.min(MAX_RETRY_MS, 50 * 2 ** tries) * Math.random(),
      },
    })
    client.on('error', (error: unknown) => {
      this.#problem = error
    })
    client.on('ready', () => {
      this.#problem = undefined
    })
    this.#client = client
    const connected = client.connect().then(ignore, ignore) // its errors were heard above
    // The first question waits for the first attempt.
    await Promise.race([connected, new Promise((resolve) => void client.once('error', resolve))])
    return client
  }

  #drop(client: RedisClientType | undefined): void {
    if (client === undefined || client !== this.#client) return
    this.#client = undefined
    this.#opening = undefined
    if (client.isOpen) client.destroy()
  }
}

function ignore(): void {}
