/** What is the time of a link in a test? It stands still, and goes on when the test says so. */
import type { LinkClock } from '../../src/relay/link/clock.ts'

/** A clock of both kinds, with its timers. */
export class LinkTestClock implements LinkClock {
  #ms = 0
  readonly #timers = new Set<{ readonly at: number; readonly act: () => void }>()

  #wallAheadMs = Date.UTC(2026, 10, 29, 12)

  readonly now = (): number => this.#wallAheadMs + this.#ms
  readonly elapsed = (): number => this.#ms
  readonly random = (): number => 0.5

  readonly after = (ms: number, act: () => void): (() => void) => {
    const timer = { at: this.#ms + ms, act }
    this.#timers.add(timer)
    if (ms <= 0) queueMicrotask(() => this.pass(0))
    return () => void this.#timers.delete(timer)
  }

  /** Sets the wall clock forward, as after a night in which the machine slept: nothing was waited for. */
  turn(ms: number): void {
    this.#wallAheadMs += ms
  }

  /** Lets so much time pass, in milliseconds, and runs what is due in its order, also what becomes due meanwhile. */
  pass(ms: number): void {
    const end = this.#ms + ms
    for (;;) {
      const [next] = [...this.#timers].filter(({ at }) => at <= end).toSorted((a, b) => a.at - b.at)
      if (next === undefined) break
      this.#timers.delete(next)
      this.#ms = Math.max(this.#ms, next.at)
      next.act()
    }
    this.#ms = end
  }
}
