/**
 * Where do the processes of many machines keep what users have taken? In a Redis that they share.
 *
 * `RateLimiterRedis` of rate-limiter-flexible asks it: the library makes the key, gives the point that is wanted to a script that is one
 * step, and compares what the script says was consumed with the points. The windows are ours, in a script of ours (redis-script.ts),
 * which the library takes in place of its own. Its own counts in windows that begin with the first point and end all at once: around
 * such an end, twice the points pass. And it has one window for each limiter: two limiters would be asked one after the other, so that
 * a point would be taken in one window and refused in the other.
 */
import type { RedisClientType } from '@redis/client'
import type { Logger } from 'pino'
import { RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible'
import { longestWindowMs, type LimitPolicy } from '../config/limit-policies.ts'
import { LIMITS_SETTINGS } from '../config/limits-settings.ts'
import { RedisAwayError, RedisConnection } from '../services/redis-connection.ts'
import {
  StoreAwayError,
  type Grant,
  type LimitStore,
  type Returning,
  type Taking,
  type Usage,
} from './limit-store.ts'
import { limitScript, PROBE_SCRIPT } from './redis-script.ts'

/** How the keys begin: the name of the policy and the user follow. */
const KEY_PREFIX = 'workspace-gateway:limits'

/** Between a user and the id of a grant. Neither can have it. */
const SEPARATOR = '\n'

/** What a store depends on. */
export interface RedisStoreParts {
  /** `redis://…` or `rediss://…`. It may hold a password and is never logged. */
  readonly url: string
  readonly logger: Logger
  /** The time in milliseconds since 1970, as an expression in Lua. Default: the clock of Redis. */
  readonly clock?: string
}

/** Asks Redis. @throws {StoreAwayError} */
type Ask = <Answer>(ask: (client: RedisClientType) => Promise<Answer>) => Promise<Answer>

/** A store that many processes share. The clock of Redis alone counts. */
export class RedisStore implements LimitStore {
  readonly kind = 'redis'
  readonly #connection: RedisConnection
  readonly #logger: Logger
  readonly #script: string
  /** Policies are made anew when their file is read again, and their limiters with them. */
  readonly #limiters = new WeakMap<LimitPolicy, WindowsLimiter>()
  readonly #underWay = new Set<Promise<unknown>>()
  #isExamined = false
  #isClosed = false

  constructor({ url, logger, clock }: RedisStoreParts) {
    this.#connection = new RedisConnection(url)
    this.#logger = logger
    this.#script = limitScript(clock)
  }

  async take(policy: LimitPolicy, user: string, id: string): Promise<Taking> {
    const { outcome, usage } = await this.#decide(policy, (limiter) =>
      limiter.consume(user + SEPARATOR + id, 1),
    )
    if (outcome === 'taken' || outcome === 'repeated' || outcome === 'refused')
      return { outcome, usage }
    throw notRedis()
  }

  async giveBack(policy: LimitPolicy, user: string, id = ''): Promise<Returning> {
    const { returned, usage } = await this.#decide(policy, (limiter) =>
      limiter.reward(user + SEPARATOR + id, 1),
    )
    return { returned, usage }
  }

  async look(policy: LimitPolicy, user: string): Promise<Usage> {
    const { usage } = await this.#decide(policy, (limiter) => limiter.consume(user + SEPARATOR, 0))
    return usage
  }

  async probe(): Promise<void> {
    // A Redis that can only be read answers a PING, and takes nothing.
    const command = ['EVAL', PROBE_SCRIPT, '1', `${KEY_PREFIX}:probe`]
    await this.#ask((client) => client.sendCommand(command))
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await Promise.allSettled(this.#underWay)
    this.#connection.close()
  }

  /** What a limiter answers. The library rejects with the same result when it refuses. */
  async #decide(
    policy: LimitPolicy,
    ask: (limiter: WindowsLimiter) => Promise<RateLimiterRes>,
  ): Promise<WindowsResult> {
    const result: unknown = await ask(this.#limiterOf(policy)).catch((error: unknown) => error)
    if (result instanceof WindowsResult) return result
    throw result instanceof Error ? result : notRedis()
  }

  #limiterOf(policy: LimitPolicy): WindowsLimiter {
    const known = this.#limiters.get(policy)
    if (known !== undefined) return known
    const limiter = new WindowsLimiter(policy, this.#script, (ask) => this.#ask(ask))
    this.#limiters.set(policy, limiter)
    return limiter
  }

  async #ask<Answer>(ask: (client: RedisClientType) => Promise<Answer>): Promise<Answer> {
    if (this.#isClosed) throw new StoreAwayError('the store is closed')
    try {
      const answer = await this.#track(this.#connection.ask(ask))
      if (!this.#isExamined) void this.#track(this.#examine())
      return answer
    } catch (error) {
      if (!(error instanceof RedisAwayError)) throw error
      throw new StoreAwayError(error.message, { cause: error.cause })
    }
  }

  /** Has the end of the store wait for something. */
  async #track<Result>(task: Promise<Result>): Promise<Result> {
    this.#underWay.add(task)
    try {
      return await task
    } finally {
      this.#underWay.delete(task)
    }
  }

  /** Warns of a Redis that forgets: whoever sets it up may not know that it is to keep something. */
  async #examine(): Promise<void> {
    this.#isExamined = true
    const setting = LIMITS_SETTINGS.storeUrl.env
    try {
      const info = await this.#connection.ask((client) => client.info())
      const { aof_enabled: hasFile, maxmemory, maxmemory_policy: eviction } = readInfo(info)
      if (hasFile === '0')
        this.#logger.warn(
          { setting },
          'the Redis does not keep what was taken when it starts again; set "appendonly yes" there',
        )
      if (Number(maxmemory) > 0 && eviction !== 'noeviction')
        this.#logger.warn(
          { setting, eviction },
          'the Redis forgets what was taken when its memory is full; set "maxmemory-policy noeviction" there',
        )
    } catch (error) {
      this.#logger.debug(
        { setting, err: error },
        'the Redis does not say whether it keeps what was taken',
      )
    }
  }
}

/** What became of a request, besides what the library says of it. */
class WindowsResult extends RateLimiterRes {
  readonly outcome: string
  readonly returned: Grant | undefined
  readonly usage: Usage

  constructor(points: number, answer: ScriptAnswer) {
    const { consumed, msUntilRoom, outcome, returned, usage } = answer
    const isFirst = outcome === 'taken' && usage.grants.length === 1
    super(Math.max(0, points - consumed), msUntilRoom, consumed, isFirst)
    this.outcome = outcome
    this.returned = returned
    this.usage = usage
  }
}

/**
 * A limiter of the library for all windows of a policy together. Of its points, as many are left as in the window that has the fewest
 * left, and the next comes when every window has room.
 */
export class WindowsLimiter extends RateLimiterRedis {
  constructor(policy: LimitPolicy, script: string, ask: Ask) {
    const windows = policy.windows.flatMap(({ points, seconds }) => [points, seconds * 1000])
    super({
      keyPrefix: `${KEY_PREFIX}:${policy.name}`,
      points: Math.max(...policy.windows.map(({ points }) => points)),
      duration: longestWindowMs(policy) / 1000,
      customIncrTtlLuaScript: script,
      useRedisPackage: true,
      storeClient: new LimiterClient(windows.map(String), ask),
    })
  }

  /** Reads the answer of the script. The library calls this (test/fleet/redis-library.test.ts). */
  _getRateLimiterRes(_key: string, _points: number, answer: unknown): WindowsResult {
    return new WindowsResult(this.points, readAnswer(answer))
  }
}

/** What the library has in place of the client of a Redis: as much as it uses of one. */
class LimiterClient {
  readonly #windows: readonly string[]
  readonly #ask: Ask

  constructor(windows: readonly string[], ask: Ask) {
    this.#windows = windows
    this.#ask = ask
  }

  eval(
    script: string,
    { keys: [key = ''], arguments: args }: { keys: string[]; arguments: string[] },
  ): Promise<unknown> {
    const end = key.indexOf(SEPARATOR)
    const [own, id] = [key.slice(0, end), key.slice(end + SEPARATOR.length)]
    const command = ['EVAL', script, '1', own, ...args, id, ...this.#windows]
    return this.#ask((client) => client.sendCommand(command))
  }
}

/** The answer of the script, by name. */
interface ScriptAnswer {
  readonly consumed: number
  readonly msUntilRoom: number
  readonly outcome: string
  readonly returned: Grant | undefined
  readonly usage: Usage
}

/** @throws {StoreAwayError} when Redis has not run the script */
function readAnswer(answer: unknown): ScriptAnswer {
  if (!Array.isArray(answer)) throw notRedis()
  const [consumed, msUntilRoom, now, outcome, gone, grants]: unknown[] = answer
  if (![consumed, msUntilRoom, now].every(Number.isSafeInteger)) throw notRedis()
  return {
    consumed: Number(consumed),
    msUntilRoom: Number(msUntilRoom),
    outcome: String(outcome),
    returned: readGrants(gone)[0],
    usage: { now: Number(now), grants: readGrants(grants) },
  }
}

/** Reads ids and times that follow one another. */
function readGrants(list: unknown): Grant[] {
  if (!Array.isArray(list)) throw notRedis()
  const grants: Grant[] = []
  for (let i = 0; i < list.length; i += 2)
    grants.push({ id: String(list[i]), at: Number(list[i + 1]) })
  return grants
}

function notRedis(): StoreAwayError {
  return new StoreAwayError('the store does not answer as Redis does')
}

/** Reads what Redis says of itself: lines of `name:value`. */
function readInfo(text: string): Partial<Record<string, string>> {
  return Object.fromEntries(
    [...text.matchAll(/^(\w+):(.*?)\r?$/gm)].map(([, name, value]) => [name, value]),
  )
}
