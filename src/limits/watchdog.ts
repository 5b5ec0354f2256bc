/** What has been silent for too long? One timer looks after everything under way, instead of several timers a request. */

/** Something under way that is looked at once in a while. */
export interface Watched {
  /** Where the watchdog keeps it; -1 when it does not. */
  place: number
  /** @param now the monotonic clock, @param wallClock milliseconds since 1970 */
  check(now: number, wallClock: number): void
}

/** How often everything is looked at, in milliseconds. */
const INTERVAL_MS = 500

/**
 * Looks at everything under way twice a second. Not a Set: the tables that one has outgrown keep what was in them, each
 * keeps the next, and so every request stayed in memory until a full garbage collection.
 */
export class Watchdog {
  readonly #watched: Watched[] = []
  readonly #failed = new WeakSet<Watched>()
  readonly #onError: (error: unknown) => void
  readonly #timer = setInterval(() => this.#checkAll(), INTERVAL_MS).unref()

  /** @param onError hears once of each whose check throws: the others are looked at all the same */
  constructor(onError: (error: unknown) => void) {
    this.#onError = onError
  }

  /** @param one must not be looked at yet */
  add(one: Watched): void {
    one.place = this.#watched.length
    this.#watched.push(one)
  }

  /** Looks at it no more, if it ever did. */
  delete(one: Watched): void {
    const { place } = one
    const last = this.#watched.at(-1)
    if (last === undefined || this.#watched[place] !== one) return
    this.#watched[place] = last
    last.place = place
    this.#watched.pop()
    one.place = -1
  }

  /** Stops looking. */
  close(): void {
    clearInterval(this.#timer)
    this.#watched.length = 0
  }

  #checkAll(): void {
    const now = performance.now()
    const wallClock = Date.now()
    // From behind, since what is looked at may leave, and the last one then takes its place.
    for (let i = this.#watched.length - 1; i >= 0; i--) {
      const one = this.#watched[i]
      if (one !== undefined) this.#check(one, now, wallClock)
    }
  }

  #check(one: Watched, now: number, wallClock: number): void {
    try {
      one.check(now, wallClock)
    } catch (error) {
      if (this.#failed.has(one)) return
      this.#failed.add(one)
      this.#onError(error)
    }
  }
}
