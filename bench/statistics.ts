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
 * The ratio of each round. A disturbance of the machine in a round affects both values, so it cancels out.
 * @param values one value per round
 * @param references one value per round, in the same order
 */
export function ratios(values: readonly number[], references: readonly number[]): number[] {
  return values
    .slice(0, references.length)
    .map((value, round) => value / (references[round] ?? Number.NaN))
}

/** Half the distance between the smallest and the largest value, as a part of their median: 0.02 for 49, 50 and 51. */
export function spread(values: readonly number[]): number {
  return Math.abs((Math.max(...values) - Math.min(...values)) / 2 / median(values))
}
