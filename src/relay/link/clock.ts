/** Which time is it for the link? Two clocks, a timer and chance; a test has its own. */

/** Time and chance, as the link needs them. */
export interface LinkClock {
  /** Milliseconds since 1970: for ends that others read, and for days. */
  readonly now: () => number
  /** Milliseconds that have passed, never set back: for waiting. */
  readonly elapsed: () => number
  /** A number from 0 to 1, without 1: spreads the attempts of many links over time. */
  readonly random: () => number
  /** Calls `act` once after so many milliseconds. @returns cancels the call */
  readonly after: (ms: number, act: () => void) => () => void
}

/** Time and chance of the machine. */
export const MACHINE_CLOCK: LinkClock = {
  now: () => Date.now(),
  elapsed: () => performance.now(),
  random: () => Math.random(),
  after(ms, act) {
    const timer = setTimeout(act, ms)
    return () => clearTimeout(timer)
  },
}
