/** What did a pure function return for this text before? A bounded cache for the hot path, safe for texts that strangers send. */

/** How many results are cached. When the cache is full, all of them are dropped. */
const CAPACITY = 2_000

/** Results of longer texts, in characters, are not cached, so that the cache cannot become large. */
const MAX_KEY_LENGTH = 256

/** A cache of what a pure function returns for a text. */
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

  /** How many results are cached. */
  get size(): number {
    return this.#results.size
  }
}

/** The same text in memory of its own. A V8 substring, such as a name in a header, would keep the whole text alive. */
function copyOf(text: string): string {
  return Buffer.from(text, 'utf16le').toString('utf16le')
}
