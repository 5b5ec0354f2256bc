/** What has exceeded its time limit? One timer checks everything under way, instead of several timers for each request. */

/** Something with a time limit, such as a client's connection or a relayed request. */
export interface Watched {
  /** Its index in the watchdog's list; -1 when it is not in the list. */
  place: number
  /**
   * Called twice a second. Ends what has exceeded its limit.
   * @param now the monotonic clock in milliseconds
   * @param wallClock milliseconds since 1970
   */
  check(now: number, wallClock: number): void
}

/** The time between two checks of everything, in milliseconds. */
const INTERVAL_MS = 500

/**
 * Checks everything under way twice a second. The list is an array, not a Set: when a V8 Set grows, its old hash tables stay
 * linked and keep their entries alive until a major garbage collection. Every finished request would leak for that long.
 */
export class Watchdog {
  readonly #watched: Watched[] = []
  readonly #failed = new WeakSet<Watched>()
  readonly #onError: (error: unknown) => void
  readonly #timer = setInterval(() => this.#checkAll(), INTERVAL_MS).unref()

  /** @param onError called with the error of a check that throws, once for each object; the others are still checked */
  constructor(onError: (error: unknown) => void) {
    this.#onError = onError
  }

  /** Adds an object. @param one must not be in the list */
  add(one: Watched): void {
    one.place = this.#watched.length
    this.#watched.push(one)
  }

  /** Removes an object, if it is in the list. */
  delete(one: Watched): void {
    const { place } = one
    const last = this.#watched.at(-1)
    if (last === undefined || this.#watched[place] !== one) return
    this.#watched[place] = last
    last.place = place
    this.#watched.pop()
    one.place = -1
  }

  /** Stops checking. */
  close(): void {
    clearInterval(this.#timer)
    this.#watched.length = 0
  }

  #checkAll(): void {
    const now = performance.now()
    const wallClock = Date.now()
    // Backwards, because a check may remove its object, and the last one of the list then moves to that index.
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
