/** How often may a user do something? A policy says it: one or more windows, each with its points. */

/** How many points a user has in any time of this length. */
export interface LimitWindow {
  readonly points: number
  readonly seconds: number
}

/** A named limit. */
export interface LimitPolicy {
  /** Its name, in `POST /v1/<name>` too. */
  readonly name: string
  /** One or more, each of another length, the shortest first. A point is taken in all of them, or in none. */
  readonly windows: readonly LimitWindow[]
  /** What is answered while the store is away: nothing is allowed, or it is counted in the memory of this process alone. */
  readonly storeAway: 'refuse' | 'allow'
}

/** The policies that are in force, by name. */
export type LimitPolicies = ReadonlyMap<string, LimitPolicy>

/** The built-in policy: workspaces that a user may provision. A policy of this name in LIMITS_POLICY_FILE takes its place. */
export const PROVISION: LimitPolicy = {
  name: 'provision',
  windows: [
    { points: 1, seconds: 3600 },
    { points: 3, seconds: 86_400 },
  ],
  storeAway: 'refuse',
}

/** How long the longest window of a policy is, in milliseconds. What is older counts nowhere. */
export function longestWindowMs({ windows }: LimitPolicy): number {
  return Math.max(...windows.map(({ seconds }) => seconds)) * 1000
}

/** The name of a window in the fields of answers, in problem documents and in the log: that of its policy, if it is the only one. */
export function windowName({ name, windows }: LimitPolicy, { seconds }: LimitWindow): string {
  return windows.length === 1 ? name : `${name}-${seconds}`
}
