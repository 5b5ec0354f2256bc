/** What has been silent for too long? One timer looks after everything under way, instead of several timers a request. */

/** Something under way that is looked at once in a while. */
export interface Watched {
  /** @param now the monotonic clock, @param wallClock milliseconds since 1970 */
  check(now: number, wallClock: number): void
}

/** How often everything is looked at, in milliseconds. */
const INTERVAL_MS = 500

/** Looks at everything under way twice a second. */
export class Watchdog {
  readonly #watched = new Set<Watched>()
  readonly #timer = setInterval(() => {
    const now = performance.now()
    const wallClock = Date.now()
    for (const one of this.#watched) one.check(now, wallClock)
  }, INTERVAL_MS).unref()

  add(one: Watched): void {
    this.#watched.add(one)
  }

  delete(one: Watched): void {
    this.#watched.delete(one)
  }

  /** Stops looking. */
  close(): void {
    clearInterval(this.#timer)
    this.#watched.clear()
  }
}
