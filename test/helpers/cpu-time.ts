/** What does a computation cost? Processor time, not the clock on the wall: a busy machine must not fail a test. */

/** The most that judging 16 KiB of hostile text may cost, in milliseconds. Quadratic work takes several times as long. */
export const LINEAR_MS = 100

/** The least processor time that a computation took in a few runs, in milliseconds. */
export function cpuMs(compute: () => void): number {
  const costs = [1, 2, 3].map(() => {
    const before = process.cpuUsage()
    compute()
    const { user, system } = process.cpuUsage(before)
    return (user + system) / 1000
  })
  return Math.min(...costs)
}
