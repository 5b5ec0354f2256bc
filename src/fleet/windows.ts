/** May a user take one more? Pure arithmetic over what was taken, for every window of a policy. */
import { windowName, type LimitPolicy, type LimitWindow } from '../config/limit-policies.ts'
import type { Usage } from './limit-store.ts'

/** A window of a policy, for one user at one moment. */
export interface WindowState extends LimitWindow {
  readonly name: string
  /** How many points are used. More than there are, when the policy had more of them before. */
  readonly used: number
  /** How many points are left. */
  readonly left: number
  /**
   * How long until this window has one more point than now, in milliseconds: for a full one, until it has room. 0 when nothing
   * is used.
   */
  readonly nextMs: number
}

/** The state of each window, in the order of the policy. */
export function windowStates(policy: LimitPolicy, { now, grants }: Usage): readonly WindowState[] {
  return policy.windows.map((window) => {
    const { points, seconds } = window
    const since = now - seconds * 1000
    const inside = grants.filter(({ at }) => at > since)
    const used = inside.length
    // Where more are used than there are points, room comes when the last one too many has left.
    const next = inside[Math.max(0, used - points)]
    return {
      ...{ name: windowName(policy, window), points, seconds, used },
      left: Math.max(0, points - used),
      nextMs: next === undefined ? 0 : next.at - since,
    }
  })
}

/** The windows that have no room for one more. */
export function fullWindows(states: readonly WindowState[]): readonly WindowState[] {
  return states.filter(({ left }) => left === 0)
}

/** Whether every window has room for one more. */
export function hasRoom(states: readonly WindowState[]): boolean {
  return fullWindows(states).length === 0
}

/** How long until every window has room, in milliseconds; 0 when it has. */
export function msUntilRoom(states: readonly WindowState[]): number {
  return Math.max(0, ...fullWindows(states).map(({ nextMs }) => nextMs))
}
