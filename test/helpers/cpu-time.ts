/** What does a computation cost? Processor time is measured, not wall-clock time, so that a busy machine does not fail a test. */

/** The maximum cost of checking 16 KiB of hostile text, in milliseconds. Quadratic work takes several times as long. */
export const LINEAR_MS = 100

/** The runs of which the cheapest counts: the first ones are not compiled yet, and a disturbance only makes a run longer. */
const RUNS = 3

/** A computation that is too expensive is run this often. Slow code is slow each time; code that is disturbed is not. */
const RUNS_AT_MOST = 20

/** The smallest processor time of a computation in a few runs, in milliseconds. Only this thread counts, not those that compile. */
export function cpuMs(compute: () => void): number {
  let least = Infinity
  for (let run = 0; run < RUNS || (run < RUNS_AT_MOST && least >= LINEAR_MS); run++) {
    const before = process.threadCpuUsage()
    compute()
    const { user, system } = process.threadCpuUsage(before)
    least = Math.min(least, (user + system) / 1000)
  }
  return least
}
