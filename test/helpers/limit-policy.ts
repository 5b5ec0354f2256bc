/** Which policies do tests of limits have? */
import type { LimitPolicy } from '../../src/config/limit-policies.ts'

/** A policy, from pairs of points and seconds. */
export function policyOf(
  name: string,
  windows: ReadonlyArray<readonly [points: number, seconds: number]>,
  storeAway: LimitPolicy['storeAway'] = 'refuse',
): LimitPolicy {
  return { name, windows: windows.map(([points, seconds]) => ({ points, seconds })), storeAway }
}
