/** What do many measurements say together? Medians and percentiles; no averages, which one bad second would own. */

/** The value that a share of the values (0 to 1) does not exceed, by the nearest rank; NaN of no values. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  const rank = Math.max(1, Math.ceil(share * sorted.length))
  return sorted[rank - 1] ?? Number.NaN
}

/** The middle value, or the mean of the two middle ones; NaN of no values. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2
}

/**
 * The median of the ratios round by round: what disturbed the machine during one round hit both, and cancels out.
 * @param values one for each round
 * @param references one for each round, in the same order
 */
export function medianRatio(values: readonly number[], references: readonly number[]): number {
  const rounds = Math.min(values.length, references.length)
  return median(
    Array.from({ length: rounds }, (_, i) => (values[i] ?? 0) / (references[i] ?? Number.NaN)),
  )
}
