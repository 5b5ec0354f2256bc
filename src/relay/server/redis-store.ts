/**
 * How is the Redis asked that the nodes of a relay share? Each answer comes within two seconds, or not at all: a connection that has
 * fallen silent is replaced. Nothing is queued while there is none.
 */
import type { RedisClientType } from '@redis/client'
import { StoreAwayError } from './claims.ts'

/** How long an answer may take, in milliseconds: claims live for much longer, so that one answer may be missed. */
const ANSWER_MS = 2000

/** The longest pause between two attempts to connect, in milliseconds. */
const MAX_RETRY_MS = 2000

/** What claims need of a store. Every function throws {StoreAwayError} when there is no answer. */
export interface ClaimStore {
  /** Runs a Lua script, which is one step for everybody else. @returns its answer: one number for each key */
  run(script: string, keys: readonly string[], args: readonly string[]): Promise<readonly number[]>
  /** The value of a key; undefined without one. */
  get(key: string): Promise<string | undefined>
  /** Ends the connection. */
  close(): void
}

/** A Redis. The client is loaded when the first connection is opened, because most relays have one node. */
export class RedisStore implements ClaimStore {
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

  async run(
    script: string,
    keys: readonly string[],
    args: readonly string[],
  ): Promise<readonly number[]> {
    const command = ['EVAL', script, String(keys.length), ...keys, ...args]
    const answer: unknown = await this.#ask((client) => client.sendCommand(command))
    if (Array.isArray(answer) && answer.length === keys.length) return answer.map(Number)
    throw new StoreAwayError('the store does not answer as Redis does')
  }

  async get(key: string): Promise<string | undefined> {
    const value = await this.#ask((client) => client.get(key))
    return typeof value === 'string' ? value : undefined
  }

  close(): void {
    this.#isClosed = true
    this.#drop(this.#client)
  }

  async #ask<Answer>(ask: (client: RedisClientType) => Promise<Answer>): Promise<Answer> {
    if (this.#isClosed) throw new StoreAwayError('closed')
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
      throw new StoreAwayError('the store does not answer', {
        cause: client.isReady ? cause : (this.#problem ?? cause),
      })
    } finally {
      clearTimeout(timer)
    }
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
