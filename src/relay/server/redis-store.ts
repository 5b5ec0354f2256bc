/** How is the Redis asked that the nodes of a relay share? By scripts, and for the values of keys. */
import type { RedisClientType } from '@redis/client'
import { RedisAwayError, RedisConnection } from '../../services/redis-connection.ts'
import { StoreAwayError } from './claims.ts'

/** What claims need of a store. Every function throws {StoreAwayError} when there is no answer. */
export interface ClaimStore {
  /** Runs a Lua script, which is one step for everybody else. @returns its answer: one number for each key */
  run(script: string, keys: readonly string[], args: readonly string[]): Promise<readonly number[]>
  /** The value of a key; undefined without one. */
  get(key: string): Promise<string | undefined>
  /** Ends the connection. */
  close(): void
}

/** A Redis. Claims live for much longer than an answer may take, so that one answer may be missed. */
export class RedisStore implements ClaimStore {
  readonly #connection: RedisConnection

  /** @param url `redis://…` or `rediss://…`. It may hold a password and is never logged. */
  constructor(url: string) {
    this.#connection = new RedisConnection(url)
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
    this.#connection.close()
  }

  async #ask<Answer>(ask: (client: RedisClientType) => Promise<Answer>): Promise<Answer> {
    try {
      return await this.#connection.ask(ask)
    } catch (error) {
      if (!(error instanceof RedisAwayError)) throw error
      throw new StoreAwayError(error.message, { cause: error.cause })
    }
  }
}
