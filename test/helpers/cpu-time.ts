/** What does a computation cost? Processor time is measured, not wall-clock time, so that a busy machine does not fail a test. */

/** The maximum cost of checking 16 KiB of hostile text, in milliseconds. Quadratic work takes several times as long. */
export const LINEAR_MS = 100

/** The smallest processor time of a computation in a few runs, in milliseconds. */
export function cpuMs(compute: () => void): number {
  const costs = [1, 2, 3].map(() => {
    const before = process.cpuUsage()
    compute()
    const { user, system } = process.cpuUsage(before)
    return (user + system) / 1000
  })
  return Math.min(...costs)
}
