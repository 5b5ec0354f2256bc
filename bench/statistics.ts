/** How are many measurements summarized? By medians and percentiles, because one bad second would dominate an average. */

/** The percentile of the values for a share from 0 to 1, by the nearest rank; NaN for no values. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  const rank = Math.max(1, Math.ceil(share * sorted.length))
  return sorted[rank - 1] ?? Number.NaN
}

/** The middle value, or the mean of the two middle ones; NaN for no values. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2
}

/**
 * The median of the ratios of each round. A disturbance of the machine in a round affects both values, so it cancels out.
 * @param values one value per round
 * @param references one value per round, in the same order
 */
export function medianRatio(values: readonly number[], references: readonly number[]): number {
  const rounds = Math.min(values.length, references.length)
  return median(
    Array.from({ length: rounds }, (_, i) => (values[i] ?? 0) / (references[i] ?? Number.NaN)),
  )
}
