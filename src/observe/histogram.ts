/** How long did something take, and how often? Counted by upper bound, as Prometheus has histograms. */

/** Counts observed values by upper bound, and sums them. */
export class Histogram {
  readonly #bounds: readonly number[]
  readonly #counts: number[]
  #sum = 0

  constructor(boundsMs: readonly number[]) {
    this.#bounds = boundsMs
    this.#counts = Array.from({ length: boundsMs.length + 1 }, () => 0)
  }

  observe(ms: number): void {
    const bounds = this.#bounds
    let bucket = 0
    while (bucket < bounds.length && ms > (bounds[bucket] ?? 0)) bucket++
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1
    this.#sum += ms
  }

  /** The lines of one series; none before the first observation, so that unused routes cost no text. */
  lines(name: string, label: string): string[] {
    const total = this.#counts.reduce((sum, count) => sum + count, 0)
    if (total === 0) return []
    let cumulative = 0
    const buckets = this.#bounds.map((bound, i) => {
      cumulative += this.#counts[i] ?? 0
      return `${name}_bucket{${label},le="${bound / 1000}"} ${cumulative}`
    })
    return [
      ...buckets,
      `${name}_bucket{${label},le="+Inf"} ${total}`,
      `${name}_sum{${label}} ${this.#sum / 1000}`,
      `${name}_count{${label}} ${total}`,
    ]
  }
}
