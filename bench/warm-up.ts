/** When is a peer warm? When its cost per request no longer falls. */

/** The duration of a slice of load whose cost is measured, in seconds. */
const SLICE_SECONDS = 3

/** The relative difference below which two costs count as level. */
const LEVEL = 0.05

/**
 * Loads a peer until two slices in a row differ in cost by less than 5 %. In the first 10 to 20 seconds Node compiles hot code
 * and sizes its heap, and a request costs up to twice as much.
 * @param slice loads the peer for a number of seconds and returns the cost of a unit of load, 0 when it costs nothing
 * @param atMostSeconds the time limit; a slice that would probably end later is not started, except the first
 * @param now a monotonic clock in milliseconds
 * @returns the cost of each slice
 */
export async function warmUp(
  slice: (seconds: number) => Promise<number>,
  atMostSeconds: number,
  now: () => number = () => performance.now(),
): Promise<number[]> {
  const costs: number[] = []
  const deadline = now() + atMostSeconds * 1000
  let lastMs: number
  do {
    const startedAt = now()
    costs.push(await slice(SLICE_SECONDS))
    lastMs = now() - startedAt
  } while (!isLevel(costs) && now() + lastMs <= deadline)
  return costs
}

/** Whether the last two costs are level. */
export function isLevel(costs: readonly number[]): boolean {
  const [before, last] = costs.slice(-2)
  if (before === undefined || last === undefined) return false
  return Math.abs(before - last) <= LEVEL * Math.min(before, last)
}
