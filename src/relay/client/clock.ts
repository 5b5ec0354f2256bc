/** What time is it, and what is to be done later? The device's side asks through here, so that tests need not wait. */

/** The time, and a way to wait. */
export interface ClientClock {
  /** Milliseconds since 1970. */
  now(): number
  /** Milliseconds since some moment, never set back. */
  elapsed(): number
  /** Calls `act` after so many milliseconds. @returns cancels the call */
  after(ms: number, act: () => void): () => void
}

/** The clock of the machine. */
export const SYSTEM_CLOCK: ClientClock = {
  now: () => Date.now(),
  elapsed: () => performance.now(),
  after(ms, act) {
    const timer = setTimeout(act, ms)
    return () => clearTimeout(timer)
  },
}
