/** How many requests may an address or a session still make? A sliding window counts them, in a table of fixed capacity. */
import { RateLimiterCompatibleAbstract, RateLimiterRes } from 'rate-limiter-flexible'
import type { BudgetWindow } from './budget-fields.ts'

/** Options of a table of budgets. */
export interface BudgetOptions {
  /** Requests that a key may make in one window. */
  readonly limit: number
  /** The length of the window, in seconds. */
  readonly windowSeconds: number
  /** How many keys have a budget of their own. When the table is full, a new key spends from the budget of a shared key. */
  readonly capacity: number
  /** The `keyPrefix` of rate-limiter-flexible, which names this limiter in a `RateLimiterUnion`. */
  readonly name?: string
  /** A clock in milliseconds that never steps. The default is the process's monotonic clock. */
  readonly now?: () => number
}

/**
 * The first 600 requests of a key are timestamped exactly; later ones within the same 1/600 of the window share one
 * timestamp. This bounds the memory of a key.
 */
const STEPS = 600

/** How many shared keys have a budget of their own. When these are used up too, all further keys spend from one last budget. */
const SHARED_CAPACITY = 10_000
const EVERYONE_ELSE = '*'

/** The requests of one key that are still inside the window: timestamps in order, and how many requests each stands for. */
interface Log {
  times: number[]
  counts: number[]
  total: number
}

/** The log in which the requests of a key are counted, and the table and the name under which that log is kept. */
interface Place {
  readonly logs: Map<string, Log>
  readonly name: string
  readonly log: Log
}

/** The precision of saved ages: this many parts of a millisecond. */
const AGE_PARTS = 1000

/** A request that was counted, and may turn out to cost nothing. */
export interface Borrowed {
  readonly result: RateLimiterRes
  /** Uncounts the request. To be called once at most. Does nothing for a request that was refused, which was not counted. */
  readonly giveBack: () => void
}

/** A saved table of budgets. It has ages, in milliseconds, instead of timestamps: another process has another monotonic clock. */
export interface SavedBudgets {
  /** When the table was saved, in milliseconds since 1970. */
  readonly savedAt: number
  /** The same by the monotonic clock of the process that saved. Tells which requests a later table of that process adds. */
  readonly clock: number
  readonly entries: ReadonlyArray<
    readonly [key: string, ages: readonly number[], counts: readonly number[]]
  >
}

/**
 * A sliding-window limiter: with a limit of ten a minute, the eleventh request in any sixty seconds is refused. A refused
 * request is not counted, so waiting for `msBeforeNext` always helps.
 *
 * rate-limiter-flexible gives this class its interface and the result type, and nothing else: the window, the bounds, and
 * saving are code of ours. Its own memory limiter is not used, because it counts in fixed windows (twice the limit passes
 * around a boundary), by the wall clock (a step resets it), with a timer for each key, and for any number of keys. The
 * interface lets this limiter be combined with the package's (`RateLimiterUnion`, as the test shows; `penalty`, `reward`,
 * `set` and `block` are not implemented and throw). The gateway itself calls `take` and `borrow`, which are synchronous.
 */
export class SlidingWindowLimiter extends RateLimiterCompatibleAbstract {
  override readonly keyPrefix: string
  override blockDuration = 0
  override execEvenly = false
  readonly limit: number
  readonly windowMs: number
  readonly #capacity: number
  readonly #stepMs: number
  readonly #now: () => number
  // Both maps are ordered by each key's last counted request, so keys whose requests have left the window come first.
  readonly #logs = new Map<string, Log>()
  readonly #shared = new Map<string, Log>()
  /** The predecessor's requests up to this time, on its clock, are counted here. */
  #restoredUntil = -Infinity

  constructor({
    limit,
    windowSeconds,
    capacity,
    name = 'budget',
    now = () => performance.now(),
  }: BudgetOptions) {
    super()
    this.keyPrefix = name
    this.limit = limit
    this.windowMs = windowSeconds * 1000
    this.#capacity = capacity
    this.#stepMs = this.windowMs / STEPS
    this.#now = now
  }

  /**
   * Counts one request, or refuses it. Check and count are one synchronous step, so that concurrent requests cannot all
   * pass the check before one of them is counted. The request is refused when `consumedPoints` is more than the limit.
   * @param sharedKey the key whose budget is used instead when the table is full and does not contain the first one
   * @param points how much the request costs
   * @param limit the limit of this key, if it differs from that of the table; the same at each call
   */
  take(
    key: string,
    sharedKey: string = EVERYONE_ELSE,
    points = 1,
    limit = this.limit,
  ): RateLimiterRes {
    const now = this.#now()
    const { logs, name, log } = this.#find(key, sharedKey, now)
    this.#forget(log, now)
    if (log.total + points > limit)
      return this.#result(log.total + points, this.#msUntilRoom(log, points, now, limit), limit)
    this.#record(log, points, now)
    logs.delete(name)
    logs.set(name, log)
    return this.#result(log.total, this.#msUntilFresh(log, now), limit)
  }

  /** Counts one request as {@link take} does, and lets the caller uncount it later. */
  borrow(key: string, sharedKey: string = EVERYONE_ELSE): Borrowed {
    const result = this.take(key, sharedKey)
    const { log } = this.#find(key, sharedKey, this.#now())
    const time = result.consumedPoints > this.limit ? undefined : log.times.at(-1)
    return { result, giveBack: () => this.#giveBack(log, time) }
  }

  /** Uncounts the request that was made at `time`. It has to be that one, because a younger request counts for longer. */
  #giveBack(log: Log, time: number | undefined): void {
    if (time === undefined || time + this.windowMs <= this.#now()) return // the request has left the window
    const place = log.times.findIndex((one) => one >= time) // or the timestamp that its step has now
    const count = log.counts[place]
    if (count === undefined) return
    log.total--
    log.counts[place] = count - 1
    if (count > 1) return
    log.times.splice(place, 1)
    log.counts.splice(place, 1)
  }

  #record(log: Log, points: number, now: number): void {
    const last = log.times.length - 1
    if (last >= STEPS && now - (log.times[last - 1] ?? 0) < this.#stepMs) {
      // All requests of a step have its newest timestamp. They leave the window never early, and late by less than a step.
      log.times[last] = now
      log.counts[last] = (log.counts[last] ?? 0) + points
    } else {
      log.times.push(now)
      log.counts.push(points)
    }
    log.total += points
  }

  /** {@link take} in the interface of rate-limiter-flexible: resolves when allowed, rejects with the result when not. */
  override async consume(key: string | number, points = 1): Promise<RateLimiterRes> {
    const result = this.take(String(key), EVERYONE_ELSE, points)
    // oxlint-disable-next-line typescript/only-throw-error -- the contract of rate-limiter-flexible
    if (result.consumedPoints > this.limit) throw result
    return result
  }

  /** The budget of a key, without counting a request; null when the key has made none in the window. */
  override async get(key: string | number): Promise<RateLimiterRes | null> {
    const log = this.#logs.get(String(key))
    if (log === undefined) return null
    const now = this.#now()
    this.#forget(log, now)
    if (log.total === 0) return null
    return this.#result(log.total, this.#msUntilFresh(log, now), this.limit)
  }

  /** Removes a key. @returns whether the table contained it */
  override async delete(key: string | number): Promise<boolean> {
    return this.#logs.delete(String(key))
  }

  /** How many keys the table contains, including shared ones. */
  get size(): number {
    return this.#logs.size + this.#shared.size
  }

  /** The budgets for the next process. Those of shared keys are not saved. */
  save(): SavedBudgets {
    const now = this.#now()
    const entries = [...this.#logs].map(
      ([key, log]) =>
        [key, log.times.map((time) => roundDown(Math.max(0, now - time))), log.counts] as const,
    )
    return { savedAt: Date.now(), clock: now, entries }
  }

  /**
   * Adds the requests that another process has saved. Time that has passed since counts, unless the wall clock went
   * backwards. A predecessor that still serves saves more than once: only its new requests are added each time.
   */
  restore({ savedAt, clock, entries }: SavedBudgets): void {
    const now = this.#now()
    const pause = Math.max(0, Date.now() - savedAt)
    for (const [key, ages, counts] of entries.slice(-this.#capacity)) {
      const known = this.#logs.get(key)
      if (known === undefined && this.#logs.size >= this.#capacity) continue
      const log = merged(
        known ?? emptyLog(),
        ages.flatMap((age, i) =>
          clock - age > this.#restoredUntil + 1 / AGE_PARTS
            ? [{ time: now - age - pause, count: counts[i] ?? 0 }]
            : [],
        ),
      )
      this.#forget(log, now)
      if (log.total > 0) this.#logs.set(key, log)
    }
    this.#restoredUntil = clock
  }

  /** The log in which the requests of a key are counted. The log is not in its table before it counts a request. */
  #find(key: string, sharedKey: string, now: number): Place {
    const own = this.#logs.get(key)
    if (own !== undefined) return { logs: this.#logs, name: key, log: own }
    this.#evictStale(this.#logs, now)
    if (this.#logs.size < this.#capacity) return { logs: this.#logs, name: key, log: emptyLog() }
    this.#evictStale(this.#shared, now)
    const name =
      this.#shared.has(sharedKey) || this.#shared.size < SHARED_CAPACITY ? sharedKey : EVERYONE_ELSE
    return { logs: this.#shared, name, log: this.#shared.get(name) ?? emptyLog() }
  }

  /** Removes up to four keys whose requests have all left the window. Done at each new key, in place of a long sweep. */
  #evictStale(logs: Map<string, Log>, now: number): void {
    let budget = 4
    for (const [key, log] of logs) {
      if (budget-- === 0 || (log.times.at(-1) ?? 0) + this.windowMs > now) return
      logs.delete(key)
    }
  }

  #forget(log: Log, now: number): void {
    let stale = 0
    while (stale < log.times.length && (log.times[stale] ?? 0) + this.windowMs <= now) {
      log.total -= log.counts[stale] ?? 0
      stale++
    }
    if (stale === 0) return
    log.times.splice(0, stale)
    log.counts.splice(0, stale)
  }

  /** Milliseconds until the oldest request leaves the window. */
  #msUntilFresh(log: Log, now: number): number {
    return Math.max(0, (log.times[0] ?? now) + this.windowMs - now)
  }

  /** Milliseconds until enough requests have left the window for one that was refused. */
  #msUntilRoom(log: Log, points: number, now: number, limit: number): number {
    let total = log.total + points
    let leaving = now
    for (let i = 0; i < log.times.length && total > limit; i++) {
      total -= log.counts[i] ?? 0
      leaving = log.times[i] ?? now
    }
    return Math.max(0, leaving + this.windowMs - now)
  }

  #result(consumed: number, msBeforeNext: number, limit: number): RateLimiterRes {
    return new RateLimiterRes(Math.max(0, limit - consumed), msBeforeNext, consumed, consumed === 1)
  }
}

/** Rounds an age down, so that a request seems younger than it is, and leaves the window no earlier after a restart. */
function roundDown(age: number): number {
  return Math.floor(age * AGE_PARTS) / AGE_PARTS
}

/** A log with further requests, in the order of their timestamps. */
function merged(log: Log, added: ReadonlyArray<{ time: number; count: number }>): Log {
  const all = [...log.times.map((time, i) => ({ time, count: log.counts[i] ?? 0 })), ...added]
  all.sort((a, b) => a.time - b.time)
  return {
    times: all.map(({ time }) => time),
    counts: all.map(({ count }) => count),
    total: all.reduce((sum, { count }) => sum + count, 0),
  }
}

function emptyLog(): Log {
  return { times: [], counts: [], total: 0 }
}

/**
 * The window of a budget, after something was taken from it.
 * @param name of the budget: `address`, `session` or `token`
 * @param limit the limit that `take` was called with
 */
export function budgetWindow(
  name: string,
  { windowMs }: SlidingWindowLimiter,
  { remainingPoints: left, msBeforeNext: nextMs }: RateLimiterRes,
  limit: number,
): BudgetWindow {
  return { name, points: limit, seconds: windowMs / 1000, left, nextMs }
}
