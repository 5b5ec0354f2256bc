/** Which colours has a program changed (OSC 4, 10, 11, 12)? A terminal keeps them until they are restored, also over a reset. */
import type { ColorEvent } from './xterm-internals.ts'

/** Indexes from here on are foreground, background and cursor. */
const FIRST_SPECIAL = 256

/** The changed colours of one terminal: at most 259. */
export class Palette {
  readonly #colors = new Map<number, readonly [number, number, number]>()
  #hasChanged = false

  /** Notes what a program has changed. */
  note(events: readonly ColorEvent[]): void {
    for (const { type, index, color } of events) {
      if (type === 1 && index !== undefined && color !== undefined) this.#colors.set(index, color)
      else if (type === 2) this.#restore(index)
      if (type !== 0) this.#hasChanged = true
    }
  }

  /** The changed colours, as `index r,g,b`. */
  colors(): string[] {
    return Array.from(this.#colors, ([index, color]) => `${index} ${color.join()}`).toSorted()
  }

  /** The output that gives another terminal these colours; empty when none was ever changed. */
  text(): string {
    if (!this.#hasChanged) return ''
    const restored = ['104', '110', '111', '112'].map((code) => `\x1b]${code}\x1b\\`)
    const set = Array.from(this.#colors, ([index, color]) => {
      const code = index < FIRST_SPECIAL ? `4;${index}` : String(index - FIRST_SPECIAL + 10)
      return `\x1b]${code};rgb:${color.map(hex).join('/')}\x1b\\`
    })
    return [...restored, ...set].join('')
  }

  #restore(index: number | undefined): void {
    if (index !== undefined) this.#colors.delete(index)
    else for (const one of this.#colors.keys()) if (one < FIRST_SPECIAL) this.#colors.delete(one)
  }
}

function hex(value: number): string {
  return value.toString(16).padStart(2, '0')
}
