/** How does a test use the store of the limits service in a Redis? With a log that it reads, and a clock that it may move. */
import pino from 'pino'
import type { Test } from 'tap'
import type { LimitPolicy } from '../../src/config/limit-policies.ts'
import { StoreAwayError } from '../../src/fleet/limit-store.ts'
import { RedisStore } from '../../src/fleet/redis-store.ts'
import type { TestRedis } from './redis.ts'
import { SOON_MS, within } from './waiting.ts'

/** A policy with two windows. */
export const MINUTE: LimitPolicy = {
  name: 'minute',
  windows: [
    { points: 2, seconds: 60 },
    { points: 3, seconds: 600 },
  ],
  storeAway: 'refuse',
}

export const USER = 'person@example.com'

/** The key of this policy and user. */
export const KEY = `workspace-gateway:limits:minute:${USER}`

/** A time of the moved clock. */
export const START = 1_800_000_000_000

/** A store with a log that a test reads. */
export function openStore(t: Test, url: string, clock?: string, level = 'info') {
  const lines: string[] = []
  const logger = pino({ level }, { write: (line) => void lines.push(line) })
  const store = new RedisStore({ url, logger, ...(clock === undefined ? {} : { clock }) })
  t.teardown(() => store.close())
  return { store, log: () => lines.join('') }
}

/** A store whose clock is a key of the Redis, which a test sets. */
export async function openMovable(t: Test, redis: TestRedis) {
  const moveTo = (ms: number) => redis.does('SET', 'clock', String(START + ms))
  await moveTo(0)
  const { store } = openStore(t, redis.url, "tonumber(redis.call('GET', 'clock'))")
  return { store, moveTo }
}

/** Why a store is away. Fails when it answers, and when neither comes. */
export async function whyAway(asked: Promise<unknown>): Promise<string> {
  const problem = asked.then(
    () => new Error('was answered'),
    (error: unknown) => error,
  )
  if (!(await within(SOON_MS, problem))) throw new Error('neither an answer nor a refusal')
  const error = await problem
  if (!(error instanceof StoreAwayError)) throw error
  return error.cause instanceof Error ? String(error.cause) : error.message
}
