/** Since when does a terminal have a client, or wait for one, and for how long does it wait? */
import type { KeeperClock } from './clock.ts'

/** The time of one terminal since its client came or left. */
export class Attendance {
  readonly #clock: KeeperClock
  /** On the clock for people, and on the one for waiting. */
  #since: number
  #sinceElapsed: number
  #parkMs = 0

  /** A terminal begins with a client. */
  constructor(clock: KeeperClock) {
    this.#clock = clock
    this.#since = clock.wall()
    this.#sinceElapsed = clock.elapsed()
  }

  /** When the client came or left, in milliseconds since 1970. */
  get since(): number {
    return this.#since
  }

  /** How long ago that was, in milliseconds. */
  get forMs(): number {
    return this.#clock.elapsed() - this.#sinceElapsed
  }

  /** Until when a terminal without a client waits for one, in milliseconds since 1970. */
  get parkedUntil(): number {
    return this.#since + this.#parkMs
  }

  /** Whether a terminal without a client has waited long enough. */
  get isOver(): boolean {
    return this.forMs >= this.#parkMs
  }

  /** A client has come. */
  come(): void {
    this.#mark()
  }

  /** The client has left. @param parkMs how long the terminal waits for another, in milliseconds */
  leave(parkMs: number): void {
    this.#mark()
    this.#parkMs = parkMs
  }

  #mark(): void {
    this.#since = this.#clock.wall()
    this.#sinceElapsed = this.#clock.elapsed()
  }
}
