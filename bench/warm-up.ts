/** When is a peer as fast as it will be for weeks? When what it costs does not fall any more. */

/** How long a peer is loaded between two looks at what that cost, in seconds. */
const SLICE_SECONDS = 3

/** Costs that differ by less are level. */
const LEVEL = 0.05

/**
 * Loads a peer until its cost is level: two slices in a row that differ by less than 5 %. Node compiles what is busy, and
 * sizes its heap, in the first 10 to 20 seconds; until then it costs up to twice as much.
 * @param slice loads the peer for so many seconds and tells what a unit of the load cost it, 0 when it costs nothing
 * @param atMostSeconds no slice begins that would probably end later; the first one does in any case
 * @param now a monotonic clock in milliseconds
 * @returns what each slice cost
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

/** Whether the last two costs are about the same. */
export function isLevel(costs: readonly number[]): boolean {
  const [before, last] = costs.slice(-2)
  if (before === undefined || last === undefined) return false
  return Math.abs(before - last) <= LEVEL * Math.min(before, last)
}
