/** How are pieces put together whose number the other party chooses? Into one array that grows, because each piece as an object costs more than its bytes. */
import type { Bytes } from '../protocol/bytes.ts'

/** Pieces that become one. */
export class Gathered {
  #bytes: Bytes = new Uint8Array()
  #length = 0

  /** Bytes so far. */
  get length(): number {
    return this.#length
  }

  add(piece: Bytes): void {
    const before = this.#length
    this.#length += piece.length
    if (before === 0) this.#bytes = piece // most have one piece, which is not copied
    else {
      if (this.#length > this.#bytes.length) this.#grow(before)
      this.#bytes.set(piece, before)
    }
  }

  /** All of it. Begins anew. */
  take(): Bytes {
    const whole = this.#bytes.subarray(0, this.#length)
    this.#bytes = new Uint8Array()
    this.#length = 0
    return whole
  }

  /** Makes room for more: twice as much, so that each byte is copied twice or so. */
  #grow(filled: number): void {
    const larger = new Uint8Array(Math.max(this.#length, 2 * this.#bytes.length))
    larger.set(this.#bytes.subarray(0, filled))
    this.#bytes = larger
  }
}
