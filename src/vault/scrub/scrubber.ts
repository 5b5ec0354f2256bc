/**
 * How is a credential taken out of an answer? A scrubber masks every form of it with `*`, so that the length stays the same, and
 * also where a form is divided among chunks.
 */
import { MATCH_BIT, ROOT, SHALLOW, SHALLOW_BIT, type Automaton } from './automaton.ts'

const MASK = 0x2a // *

const CR = 0x0d
const LF = 0x0a

const NOTHING = Buffer.alloc(0)

/**
 * Scrubs one text that comes in chunks. It holds back its end, after the last line break, up to the length of a form. How much does
 * not depend on the credential: if only what may be its beginning were held back, an agent that has a service say one guess after
 * the other would see how it goes on. An event stream is not delayed, because its events end with line breaks. Its time is in
 * proportion to the length of the text, whatever the text is.
 */
export class Scrubber {
  readonly #automaton: Automaton
  #state = ROOT
  #held: Buffer = NOTHING
  #hits = 0

  constructor(automaton: Automaton) {
    this.#automaton = automaton
  }

  /** How many forms were masked so far. Of those that overlap, each counts. */
  get hits(): number {
    return this.#hits
  }

  /** How many bytes are held back. */
  get heldBytes(): number {
    return this.#held.length
  }

  /**
   * Takes the next chunk.
   * @param chunk Becomes the scrubber's: it is changed in place.
   * @returns What may be sent on by now. May be empty.
   */
  push(chunk: Buffer): Buffer {
    if (this.#automaton.window === 0) return chunk
    const before = this.#held.length
    const text = before === 0 ? chunk : Buffer.concat([this.#held, chunk])
    this.#search(text, before)
    // The automaton's own bound is for forms with a line break: some letters have its byte in UTF-16.
    const begun = this.#automaton.holds[this.#state] as number
    const sent = text.length - Math.max(begun, this.#unbrokenEnd(text))
    // A copy, so that a few bytes do not keep a large chunk in memory.
    this.#held = sent === text.length ? NOTHING : Buffer.from(text.subarray(sent))
    return text.subarray(0, sent)
  }

  /** The bytes after the last line break, at most one less than the longest form has. */
  #unbrokenEnd(text: Buffer): number {
    const end = text.subarray(-Math.min(this.#automaton.longest - 1, text.length))
    return end.length - 1 - Math.max(end.lastIndexOf(CR), end.lastIndexOf(LF))
  }

  /** @returns the rest, at the end of the text: no form begins in it, but for those that are masked */
  end(): Buffer {
    const rest = this.#held
    this.#held = NOTHING
    this.#state = ROOT
    return rest
  }

  /** Masks what ends at or after `from`, and keeps the state at the end. */
  #search(text: Buffer, from: number): void {
    const { window, matches, depths } = this.#automaton
    const shallow = Math.min(SHALLOW, window - 1)
    let at = from
    while (at < text.length) {
      if (this.#state === ROOT) at = this.#skip(text, at)
      const until = at + window // at the end of the chunk the state is kept, so there is no way back
      let masked = 0
      while (at < text.length) {
        at = this.#step(text, at, until)
        const length = matches[this.#state] as number
        if (length > 0) {
          text.fill(MASK, at - length, at)
          masked = at
          this.#hits++
        }
        const depth = depths[this.#state] as number
        // Behind a mask the bytes are not looked at again, because they are masked.
        if (at >= until && depth <= shallow && at - depth >= Math.max(masked, from)) {
          at -= depth
          this.#state = ROOT
          break
        }
      }
    }
  }

  /**
   * Takes at least one byte, and goes on until a form ends, or the state is shallow behind `until`.
   * @returns the place behind the last byte
   */
  #step(text: Buffer, from: number, until: number): number {
    const { steps, classes, width } = this.#automaton
    if (steps.length === 0) {
      this.#state = this.#automaton.next(this.#state, text[from] as number)
      return from + 1
    }
    let step = (this.#state * width) << 2
    let at = from
    do {
      step = steps[(step >> 2) + (classes[text[at] as number] as number)] as number
      at++
    } while (at < text.length && (step & (at < until ? MATCH_BIT : MATCH_BIT | SHALLOW_BIT)) === 0)
    this.#state = (step >> 2) / width
    return at
  }

  /** @returns where a form may begin, or where fewer bytes are left than the shortest form has */
  #skip(text: Buffer, from: number): number {
    const { window, skips, starts } = this.#automaton
    let end = from + window - 1
    while (end < text.length) {
      const skip = skips[((text[end - 1] as number) << 8) | (text[end] as number)] as number
      if (skip > 0) {
        end += skip
        continue
      }
      const start = end - window + 1
      if (starts[((text[start] as number) << 8) | (text[start + 1] as number)] === 1) return start
      end++
    }
    return end - window + 1
  }
}

/** Scrubs a short text that is whole, with one character per byte (latin1): a header's name or value, or a status line. */
export function scrubText(automaton: Automaton, text: string): { text: string; hits: number } {
  const scrubber = new Scrubber(automaton)
  const scrubbed = scrubber.push(Buffer.from(text, 'latin1')).toString('latin1')
  if (scrubber.hits === 0) return { text, hits: 0 }
  return { text: scrubbed + scrubber.end().toString('latin1'), hits: scrubber.hits }
}
