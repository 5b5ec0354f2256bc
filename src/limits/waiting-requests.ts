/**
 * How many requests may wait behind others of their connections? There is a limit for all connections together, because
 * Node parses what one read brings as a whole: each request takes about 6 KB and 10 µs, and of the shortest 64 KiB hold 3,600.
 * Without the limit, the reads of many connections would fill the memory and block the event loop.
 */

/** How many requests of all connections may wait. */
export const MAX_WAITING_IN_ALL = 4096

/**
 * For how long the requests of a connection that has ended still count, in milliseconds. They were parsed in vain; without
 * this, a client that opens one connection after the other would have as many more parsed on each.
 */
const WASTED_MS = 1000

/** Counts the requests that wait, and those that were waiting when their connection ended. */
export class WaitingRequests {
  #now = 0
  #wasted = 0
  /** When the wasted requests stop counting, on the monotonic clock. */
  #forgottenAt = -Infinity
  readonly #clock: () => number

  /** @param clock a monotonic clock in milliseconds */
  constructor(clock = () => performance.now()) {
    this.#clock = clock
  }

  /** @param change how many more wait; negative when they wait no longer */
  count(change: number): void {
    this.#now += change
  }

  /** Counts requests that have stopped waiting because their connection ended. */
  waste(requests: number): void {
    this.#now -= requests
    this.#forgetWasted()
    this.#wasted += requests
  }

  /** Whether more wait than may. The clock is read only when they seem to. */
  get areTooMany(): boolean {
    if (this.#now + this.#wasted <= MAX_WAITING_IN_ALL) return false
    this.#forgetWasted()
    return this.#now + this.#wasted > MAX_WAITING_IN_ALL
  }

  #forgetWasted(): void {
    const now = this.#clock()
    if (now < this.#forgottenAt) return
    this.#forgottenAt = now + WASTED_MS
    this.#wasted = 0
  }
}
