/** Which time is it for the keeper? Two clocks; a test has its own. */

/** The clocks of a keeper. */
export interface KeeperClock {
  /** Milliseconds that have passed, for waiting: a clock that is set must not end a terminal. */
  readonly elapsed: () => number
  /** Milliseconds since 1970, for the ends of sessions and for people. */
  readonly wall: () => number
}

/** The clocks of the machine. */
export const MACHINE_CLOCK: KeeperClock = {
  elapsed: () => performance.now(),
  wall: () => Date.now(),
}
