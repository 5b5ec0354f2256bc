/** What does the limits service count? Decisions by policy, refusals by code, and how long its store takes. No user is told from another. */
import type { LimitPolicies } from '../config/limit-policies.ts'
import { Histogram } from '../observe/histogram.ts'
import { RateLimitCounts } from '../observe/rate-limit-metrics.ts'
import { LIMIT_ERRORS, type LimitErrorCode } from './limit-errors.ts'

/** What the store is asked for. */
export type StoreAct = 'take' | 'give-back' | 'look'

/** Upper bounds for the time that the store takes, in milliseconds. */
const STORE_BUCKETS_MS = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 500, 1000, 2500]

/** What was counted since the start. */
export class LimitsCounts {
  readonly decisions: RateLimitCounts
  /** Answers with an error, by code. */
  readonly errors: Record<LimitErrorCode, number>
  readonly storeTimes: Readonly<Record<StoreAct, Histogram>> = {
    take: new Histogram(STORE_BUCKETS_MS),
    'give-back': new Histogram(STORE_BUCKETS_MS),
    look: new Histogram(STORE_BUCKETS_MS),
  }

  constructor(policies: LimitPolicies) {
    this.decisions = new RateLimitCounts(policies.values())
    const codes = Object.keys(LIMIT_ERRORS).map((code) => [code, 0])
    this.errors = Object.fromEntries(codes) as Record<LimitErrorCode, number>
  }

  /** Asks the store, and measures how long it takes, whatever comes of it. */
  async timed<Found>(act: StoreAct, ask: () => Promise<Found>): Promise<Found> {
    const startedAt = performance.now()
    try {
      return await ask()
    } finally {
      this.storeTimes[act].observe(performance.now() - startedAt)
    }
  }
}
