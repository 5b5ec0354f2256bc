/** How does a test move time for a device? By a clock that stands still until it is told to go on. */
import type { ClientClock } from '../../src/relay/client/clock.ts'

/** A clock that a test moves. */
export interface ManualClock extends ClientClock {
  /** The pauses that wait to be over, in milliseconds from when they began, in the order in which they began. */
  readonly pauses: () => number[]
  /** Moves on, and does what is due. */
  advance(ms: number): void
}

/** A clock at a time of 1970 and later, in milliseconds. Default: now. */
export function manualClock(start = Date.now()): ManualClock {
  let time = start
  const waiting = new Set<{ ms: number; at: number; act: () => void }>()
  return {
    now: () => time,
    elapsed: () => time,
    after(ms, act) {
      const entry = { ms, at: time + ms, act }
      waiting.add(entry)
      return () => void waiting.delete(entry)
    },
    pauses: () => [...waiting].map(({ ms }) => ms),
    advance(ms) {
      time += ms
      for (const entry of waiting) {
        if (entry.at > time) continue
        waiting.delete(entry)
        entry.act()
      }
    },
  }
}
