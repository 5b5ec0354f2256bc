/** How fast is output read that no client gets? Fast enough for any build, and not so fast that it needs a whole processor. */

/** Output of a parked terminal that is read in a second, in bytes. */
const BYTES_PER_SECOND = 8 * 1024 * 1024

/** How often the allowance is renewed, in milliseconds. */
const WINDOW_MS = 50
const BYTES_PER_WINDOW = (BYTES_PER_SECOND * WINDOW_MS) / 1000

/** Holds a source whose output exceeds the pace. */
export class OutputPace {
  readonly #hold: (isHeld: boolean) => void
  #left = BYTES_PER_WINDOW
  #timer: NodeJS.Timeout | undefined

  /** @param hold stops the source, or lets it go on */
  constructor(hold: (isHeld: boolean) => void) {
    this.#hold = hold
  }

  /** Counts output that was read. */
  count(bytes: number): void {
    this.#left -= bytes
    if (this.#left <= 0) this.#hold(true)
    this.#timer ??= setTimeout(this.#renew, WINDOW_MS)
  }

  /** Lets the source go on, and counts from the beginning. */
  reset(): void {
    this.stop()
    this.#left = BYTES_PER_WINDOW
    this.#hold(false)
  }

  /** Stops counting. */
  stop(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  readonly #renew = (): void => {
    this.#timer = undefined
    this.#left = Math.min(BYTES_PER_WINDOW, this.#left + BYTES_PER_WINDOW)
    if (this.#left > 0) this.#hold(false)
    else this.#timer = setTimeout(this.#renew, WINDOW_MS)
  }
}
