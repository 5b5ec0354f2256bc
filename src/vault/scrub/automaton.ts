/**
 * Where do needles end in a text, and which end of it may be the beginning of one? An automaton (Aho and Corasick 1975) that takes
 * one byte after the other, and a table of the distances that may be skipped where no needle can be (Wu and Manber 1994).
 */

/** The state in which no needle has begun. */
export const ROOT = 0

/**
 * Up to this depth the bytes of a search are looked at again by the table of distances, which is faster. It must be less than the
 * window, so that each turn comes further.
 */
export const SHALLOW = 2

/** In a step: the next state has no more than {@link SHALLOW} bytes of a needle. */
export const SHALLOW_BIT = 1

/** In a step: a needle ends with the next state. */
export const MATCH_BIT = 2

/** The table of distances looks at this many bytes of each needle. */
const MAX_WINDOW = 255

/** The largest table of all steps, in entries of 4 bytes. The needles of usual credentials have some ten thousand. */
const MAX_TABLE = 2 ** 20

/** Needles, prepared for a search. It never changes, so that any number of searches may use it. */
export class Automaton {
  /** The bytes of a window: those of the shortest needle, at most 255. 0 when there is no needle. */
  readonly window: number
  /** The bytes of the longest needle; 0 when there is none. */
  readonly longest: number
  /** By a pair of bytes at the end of a window: how far the window may move before a needle can begin at its start. */
  readonly skips = new Uint8Array(65_536)
  /** By a pair of bytes: whether a needle begins with it. */
  readonly starts = new Uint8Array(65_536)
  /** By state: how many bytes of a needle the text ends with. */
  readonly depths: Int32Array
  /** By state: the length of the longest needle that ends here; 0 when none does. */
  readonly matches: Int32Array
  /** By state: how many bytes of the text's end may be the beginning of a needle that goes on. */
  readonly holds: Int32Array
  /** The states after the root by their byte: most bytes of a text begin no needle. */
  readonly #first = new Int32Array(256)
  readonly #bytes: Uint8Array
  readonly #children: Int32Array
  readonly #siblings: Int32Array
  readonly #fallbacks: Int32Array
  /** By the byte: its number among those of the needles; 0 for all others. */
  readonly classes = new Uint8Array(256)
  /** The number of classes. */
  readonly width: number
  /**
   * By the state times the width, plus the class: the next state times the width, shifted by two bits, with {@link SHALLOW_BIT} and
   * {@link MATCH_BIT}. Empty when it would be too large; then steps are searched for, which is slower.
   */
  readonly steps: Int32Array
  #states = 1

  /** @param maxTable the largest table of all steps, in entries */
  constructor(needles: readonly Uint8Array[], maxTable = MAX_TABLE) {
    if (needles.some((needle) => needle.length < 2)) throw new RangeError('a needle is too short')
    const size = needles.reduce((sum, { length }) => sum + length, 1)
    this.depths = new Int32Array(size)
    this.matches = new Int32Array(size)
    this.holds = new Int32Array(size)
    this.#bytes = new Uint8Array(size)
    this.#children = new Int32Array(size)
    this.#siblings = new Int32Array(size)
    this.#fallbacks = new Int32Array(size)
    this.window = needles.reduce((least, { length }) => Math.min(least, length), MAX_WINDOW)
    if (needles.length === 0) this.window = 0
    this.longest = needles.reduce((most, { length }) => Math.max(most, length), 0)
    for (const needle of needles) this.#add(needle)
    this.#connect()
    this.width = this.#classify(needles)
    const entries = this.#states * this.width
    this.steps = new Int32Array(entries <= maxTable ? entries : 0)
    if (entries <= maxTable) this.#tabulate()
    this.#measure(needles)
  }

  /** The state after one more byte. All calls for a text together take time in proportion to its length. */
  next(state: number, byte: number): number {
    let from = state
    while (from !== ROOT) {
      const to = this.#childOf(from, byte)
      if (to !== ROOT) return to
      from = this.#fallbacks[from] as number
    }
    return this.#first[byte] as number
  }

  /** Returns ROOT when there is none. */
  #childOf(state: number, byte: number): number {
    if (state === ROOT) return this.#first[byte] as number
    let child = this.#children[state] as number
    while (child !== ROOT && this.#bytes[child] !== byte) child = this.#siblings[child] as number
    return child
  }

  #add(needle: Uint8Array): void {
    let state = ROOT
    for (const byte of needle) {
      const child = this.#childOf(state, byte)
      state = child === ROOT ? this.#addChild(state, byte) : child
    }
    this.matches[state] = needle.length
  }

  #addChild(parent: number, byte: number): number {
    const child = this.#states++
    this.#bytes[child] = byte
    this.depths[child] = (this.depths[parent] as number) + 1
    this.#siblings[child] = this.#children[parent] as number
    this.#children[parent] = child
    if (parent === ROOT) this.#first[byte] = child
    return child
  }

  /** @returns the number of classes */
  #classify(needles: readonly Uint8Array[]): number {
    const bytes = new Set(needles.flatMap((needle) => [...needle]))
    // With all 256 in use there is no byte that begins nothing.
    let count = bytes.size < 256 ? 1 : 0
    for (const byte of bytes) this.classes[byte] = count++
    return count
  }

  /** Fills the table: the row of each state is that of its fallback, but for its own children. */
  #tabulate(): void {
    const { steps, width } = this
    const level = [ROOT]
    for (const state of level) {
      const row = state * width
      const from = (this.#fallbacks[state] as number) * width
      if (state === ROOT) steps.fill(SHALLOW_BIT, 0, width)
      else steps.copyWithin(row, from, from + width)
      this.#eachChild(state, (child) => {
        const isShallow = (this.depths[child] as number) <= SHALLOW
        const bits = (isShallow ? SHALLOW_BIT : 0) | (this.matches[child] === 0 ? 0 : MATCH_BIT)
        const by = this.classes[this.#bytes[child] as number] as number
        steps[row + by] = ((child * width) << 2) | bits
        level.push(child)
      })
    }
  }

  /** Finds, level by level, the state of the longest other beginning that the text of each state ends with. */
  #connect(): void {
    const level: number[] = []
    this.#eachChild(ROOT, (child) => level.push(child))
    for (const state of level) {
      const fallback = this.#fallbacks[state] as number
      this.matches[state] = Math.max(
        this.matches[state] as number,
        this.matches[fallback] as number,
      )
      this.holds[state] = (
        this.#children[state] === ROOT ? this.holds[fallback] : this.depths[state]
      ) as number
      this.#eachChild(state, (child) => {
        this.#fallbacks[child] = this.next(fallback, this.#bytes[child] as number)
        level.push(child)
      })
    }
  }

  #eachChild(state: number, act: (child: number) => void): void {
    for (
      let child = this.#children[state] as number;
      child !== ROOT;
      child = this.#siblings[child] as number
    )
      act(child)
  }

  #measure(needles: readonly Uint8Array[]): void {
    this.skips.fill(Math.max(0, this.window - 1))
    for (const needle of needles) {
      this.starts[pairAt(needle, 0)] = 1
      for (let at = 0; at + 1 < this.window; at++) {
        const pair = pairAt(needle, at)
        this.skips[pair] = Math.min(this.skips[pair] as number, this.window - 2 - at)
      }
    }
  }
}

function pairAt(bytes: Uint8Array, at: number): number {
  return ((bytes[at] as number) << 8) | (bytes[at + 1] as number)
}
