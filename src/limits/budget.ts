/** How much may an address or a session still ask for? A sliding window over a table of fixed capacity. */
import { RateLimiterCompatibleAbstract, RateLimiterRes } from 'rate-limiter-flexible'

/** Limits of a table of budgets. */
export interface BudgetOptions {
  /** Requests that a key may make in one window. */
  readonly limit: number
  /** Length of the window in seconds. */
  readonly windowSeconds: number
  /** How many keys are kept apart; past it a new key is counted under the shared key it names. */
  readonly capacity: number
  /** What the library calls the limiter where it is used next to others. */
  readonly name?: string
  /** A clock in milliseconds that never steps; the default is the process's monotonic clock. */
  readonly now?: () => number
}

/** So many requests of a key have a time stamp each; further ones share one a step, a window having this many steps. */
const STEPS = 600

/** How many shared keys are kept apart before everyone without a budget of their own shares the last one. */
const SHARED_CAPACITY = 10_000
const EVERYONE_ELSE = '*'

/** The requests of one key that are still inside the window: times, and how many at each. */
interface Log {
  times: number[]
  counts: number[]
  total: number
}

/** Where a log is kept. */
interface Place {
  readonly logs: Map<string, Log>
  readonly name: string
  readonly log: Log
}

/** How exactly ages are saved, in parts of a millisecond. */
const AGE_PARTS = 1000

/** A request that was counted and may be taken back. */
export interface Borrowed {
  readonly result: RateLimiterRes
  /** To be called once at most; nothing is taken back of a request that was refused. */
  readonly giveBack: () => void
}

/** What a budget table looks like when it is saved: ages in milliseconds, so that no clock is trusted across processes. */
export interface SavedBudgets {
  /** When, in milliseconds since 1970. */
  readonly savedAt: number
  /** The same by the clock of the process that saved, which tells a later table of it from an earlier one. */
  readonly clock: number
  readonly entries: ReadonlyArray<
    readonly [key: string, ages: readonly number[], counts: readonly number[]]
  >
}

/**
 * A limiter for rate-limiter-flexible, whose own memory limiter counts in fixed windows (20 requests around a boundary),
 * by the wall clock (a step resets it), with a timer a key and without a bound. This one answers "no" to the eleventh
 * request in any sixty seconds, and its `msBeforeNext` is true: a refused request is not counted, so waiting helps.
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
  // In both, insertion order is the order of the last counted request, so the stale ones are always in front.
  readonly #logs = new Map<string, Log>()
  readonly #shared = new Map<string, Log>()
  /** Up to when the predecessor's requests are counted here, by its clock. */
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
   * Counts one request, checking and taking in one synchronous step, so that no burst slips through.
   * @param sharedKey what the key is counted under when the table is full and does not hold it
   * @param points how much the request costs
   */
  take(key: string, sharedKey: string = EVERYONE_ELSE, points = 1): RateLimiterRes {
    const now = this.#now()
    const { logs, name, log } = this.#find(key, sharedKey, now)
    this.#forget(log, now)
    if (log.total + points > this.limit)
      return this.#result(log.total + points, this.#msUntilRoom(log, points, now))
    this.#record(log, points, now)
    logs.delete(name)
    logs.set(name, log)
    return this.#result(log.total, this.#msUntilFresh(log, now))
  }

  /** As {@link take} of one request, which may turn out to cost nothing. */
  borrow(key: string, sharedKey: string = EVERYONE_ELSE): Borrowed {
    const result = this.take(key, sharedKey)
    const { log } = this.#find(key, sharedKey, this.#now())
    const time = result.consumedPoints > this.limit ? undefined : log.times.at(-1)
    return { result, giveBack: () => this.#giveBack(log, time) }
  }

  /** Takes a request back: the one that was made then, since another, which is younger, must count for longer. */
  #giveBack(log: Log, time: number | undefined): void {
    if (time === undefined || time + this.windowMs <= this.#now()) return // it has left the window
    const place = log.times.findIndex((one) => one >= time) // or where its step stands by now
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
      // The step's newest time stands for all of it: never early, and late by less than a step.
      log.times[last] = now
      log.counts[last] = (log.counts[last] ?? 0) + points
    } else {
      log.times.push(now)
      log.counts.push(points)
    }
    log.total += points
  }

  /** As {@link take}, in the shape of the library: resolves when allowed, rejects with the result when not. */
  override async consume(key: string | number, points = 1): Promise<RateLimiterRes> {
    const result = this.take(String(key), EVERYONE_ELSE, points)
    // oxlint-disable-next-line typescript/only-throw-error -- the library's contract
    if (result.consumedPoints > this.limit) throw result
    return result
  }

  /** What a key has left, without counting anything. */
  override async get(key: string | number): Promise<RateLimiterRes | null> {
    const log = this.#logs.get(String(key))
    if (log === undefined) return null
    const now = this.#now()
    this.#forget(log, now)
    return log.total === 0 ? null : this.#result(log.total, this.#msUntilFresh(log, now))
  }

  /** Forgets a key. */
  override async delete(key: string | number): Promise<boolean> {
    return this.#logs.delete(String(key))
  }

  /** How many keys are kept, shared ones included. */
  get size(): number {
    return this.#logs.size + this.#shared.size
  }

  /** What must be kept for the next process. */
  save(): SavedBudgets {
    const now = this.#now()
    const entries = [...this.#logs].map(
      ([key, log]) =>
        [key, log.times.map((time) => roundDown(Math.max(0, now - time))), log.counts] as const,
    )
    return { savedAt: Date.now(), clock: now, entries }
  }

  /**
   * Takes over what another process saved; time that passed in between counts, a clock that went backwards does not.
   * A predecessor that still serves saves more than once: each time what is new is added to what was counted here.
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

  /** Which log a key's requests are counted in, and where that is kept once it counts something. */
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

  /** Drops a few keys whose requests have all left the window: a little at each new key, never a long sweep. */
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

  /** When the oldest request leaves the window, from now. */
  #msUntilFresh(log: Log, now: number): number {
    return Math.max(0, (log.times[0] ?? now) + this.windowMs - now)
  }

  /** When enough has left the window for a request that was refused, from now. */
  #msUntilRoom(log: Log, points: number, now: number): number {
    let total = log.total + points
    let leaving = now
    for (let i = 0; i < log.times.length && total > this.limit; i++) {
      total -= log.counts[i] ?? 0
      leaving = log.times[i] ?? now
    }
    return Math.max(0, leaving + this.windowMs - now)
  }

  #result(consumed: number, msBeforeNext: number): RateLimiterRes {
    return new RateLimiterRes(
      Math.max(0, this.limit - consumed),
      msBeforeNext,
      consumed,
      consumed === 1,
    )
  }
}

/** Rounded so that nothing seems older than it is: no restart gives a request back early. */
function roundDown(age: number): number {
  return Math.floor(age * AGE_PARTS) / AGE_PARTS
}

/** A log with further requests in it, in the order of their times. */
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

/** The time until more is allowed, in whole seconds for `Retry-After`: rounded up, at least 1 (RFC 9110 section 10.2.3). */
export function retryAfterSeconds(result: RateLimiterRes): number {
  // Less a microsecond: time stamps are fractions, whose sums are off in the last digit, and 60 s would become 61.
  return Math.max(1, Math.ceil(result.msBeforeNext / 1000 - 1e-6))
}

/**
 * `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10).
 * @param policy the name of the budget: `address` or `session`
 */
export function rateLimitFields(
  policy: string,
  limiter: SlidingWindowLimiter,
  result: RateLimiterRes,
): [string, string] {
  return [
    `"${policy}";r=${result.remainingPoints};t=${retryAfterSeconds(result)}`,
    `"${policy}";q=${limiter.limit};w=${limiter.windowMs / 1000}`,
  ]
}
