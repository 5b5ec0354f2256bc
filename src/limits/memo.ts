/** What was computed for this text before? A memory for pure functions on the hot path, bounded whatever is made up. */

/** How many answers are kept; when there are more, all are forgotten and the memory begins anew. */
const CAPACITY = 2_000

/** Longer texts are computed each time, so that a memory is never large. */
const MAX_KEY_LENGTH = 256

/** Remembers what a pure function says about a text. */
export class Remembered<Result> {
  readonly #results = new Map<string, Result>()
  readonly #compute: (text: string) => Result

  constructor(compute: (text: string) => Result) {
    this.#compute = compute
  }

  of(text: string): Result {
    if (text.length > MAX_KEY_LENGTH) return this.#compute(text)
    const known = this.#results.get(text)
    if (known !== undefined) return known
    const result = this.#compute(text)
    if (this.#results.size >= CAPACITY) this.#results.clear()
    this.#results.set(copyOf(text), result)
    return result
  }

  /** How many answers are remembered. */
  get size(): number {
    return this.#results.size
  }
}

/** The same text in memory of its own: a part of a longer text, such as a name in a header, would keep all of that. */
function copyOf(text: string): string {
  return Buffer.from(text, 'utf16le').toString('utf16le')
}
