/** How often did a limit say yes, and how often no? Counters that every program of ours with limits shares: one dashboard shows all. */
import { metricLines, type Metric } from './exposition.ts'

/** The metrics of limits. No label is chosen by a client. */
export const RATE_LIMIT_METRICS = {
  rate_limit_decisions_total: {
    type: 'counter',
    help: 'How often a limit was asked, by its policy, and by result: allowed or refused.',
  },
  rate_limit_refusals_total: {
    type: 'counter',
    help: 'Refusals, by policy, and by the window that was full, in seconds; where two were full at once, in both.',
  },
  rate_limit_points: {
    type: 'gauge',
    help: 'What a policy allows in a window, in seconds; none for API tokens, each of which has its own rate.',
  },
} as const satisfies Record<string, Metric>

/** A limit, as far as it is counted. */
export interface CountedPolicy {
  readonly name: string
  /** Each of another length. `points` is what it allows; left out when that differs from key to key. */
  readonly windows: ReadonlyArray<{ readonly seconds: number; readonly points?: number }>
}

interface PolicyCounts {
  readonly policy: CountedPolicy
  allowed: number
  refused: number
  /** Refusals by the length of the window that was full, in seconds. */
  readonly full: Map<number, number>
}

/** Counts what limits decide. Only policies that were named beforehand are counted, so that the number of series is bounded. */
export class RateLimitCounts {
  #byName: ReadonlyMap<string, PolicyCounts> = new Map()

  constructor(policies: Iterable<CountedPolicy>) {
    this.use(policies)
  }

  /** Counts for these policies from now on, in place of those before. One that has the same name goes on from its counts. */
  use(policies: Iterable<CountedPolicy>): void {
    const before = this.#byName
    const entries = [...policies].map((policy): [string, PolicyCounts] => {
      const known = before.get(policy.name)
      const full = policy.windows.map(({ seconds }): [number, number] => [
        seconds,
        known?.full.get(seconds) ?? 0,
      ])
      const { allowed = 0, refused = 0 } = known ?? {}
      return [policy.name, { policy, allowed, refused, full: new Map(full) }]
    })
    this.#byName = new Map(entries)
  }

  /** Counts a request that a policy allowed. */
  allow(policy: string): void {
    const counts = this.#byName.get(policy)
    if (counts !== undefined) counts.allowed++
  }

  /** Counts a request that a policy refused. @param windows the lengths of those that were full, in seconds */
  refuse(policy: string, windows: readonly number[]): void {
    const counts = this.#byName.get(policy)
    if (counts === undefined) return
    counts.refused++
    for (const seconds of windows) {
      const before = counts.full.get(seconds)
      if (before !== undefined) counts.full.set(seconds, before + 1)
    }
  }

  /** The counts of every policy. */
  get all(): readonly Readonly<PolicyCounts>[] {
    return [...this.#byName.values()]
  }
}

/** The lines of {@link RATE_LIMIT_METRICS}. */
export function rateLimitLines({ all }: RateLimitCounts): string[] {
  const lines = {
    rate_limit_decisions_total: all.flatMap(({ policy: { name }, allowed, refused }) => [
      `rate_limit_decisions_total{policy="${name}",result="allowed"} ${allowed}`,
      `rate_limit_decisions_total{policy="${name}",result="refused"} ${refused}`,
    ]),
    rate_limit_refusals_total: all.flatMap(({ policy: { name }, full }) =>
      [...full].map(
        ([seconds, count]) =>
          `rate_limit_refusals_total{policy="${name}",window="${seconds}"} ${count}`,
      ),
    ),
    rate_limit_points: all.flatMap(({ policy: { name, windows } }) =>
      windows.flatMap(({ seconds, points }) =>
        points === undefined
          ? []
          : [`rate_limit_points{policy="${name}",window="${seconds}"} ${points}`],
      ),
    ),
  } satisfies Record<keyof typeof RATE_LIMIT_METRICS, string[]>
  return Object.entries(RATE_LIMIT_METRICS).flatMap(([name, metric]) =>
    metricLines(name, metric, lines[name as keyof typeof RATE_LIMIT_METRICS]),
  )
}
