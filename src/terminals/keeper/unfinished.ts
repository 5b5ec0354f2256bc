/**
 * Which sequence has begun and not ended? Output comes in pieces that end anywhere. A terminal that gets the screen instead of a
 * piece needs the beginning of the sequence too, or it prints the rest of it as text.
 */

const ESCAPE = 0x1b

/** The longest beginning that is kept, in bytes: more than any sequence may have (xterm-internals.ts). */
const MAX_BYTES = 256 * 1024

/** Pieces of a byte each would take a hundred times their length. */
const MAX_PIECES = 64

/** Stands for a beginning that was too long: an OSC sequence that means nothing, and ends where the long one does. */
const MEANS_NOTHING = Buffer.from('\x1b]9999;')

/** Follows the output of one terminal. */
export class UnfinishedSequence {
  #pieces: Buffer[] = []
  #bytes = 0

  /** Notes a piece of output, after it was parsed. @param isWithin whether a sequence has not ended */
  note(piece: Buffer, isWithin: boolean): void {
    if (!isWithin) {
      if (this.#bytes > 0) this.#clear()
      return
    }
    const start = startIn(piece)
    if (start >= 0) this.#clear()
    const part = Buffer.from(piece.subarray(Math.max(0, start)))
    this.#bytes += part.length
    if (this.#bytes <= MAX_BYTES) this.#pieces.push(part)
    else this.#pieces = [MEANS_NOTHING]
    if (this.#pieces.length > MAX_PIECES) this.#pieces = [Buffer.concat(this.#pieces)]
  }

  /** The sequence so far, without the control characters in it that had their effect at once; empty outside of a sequence. */
  bytes(): Buffer {
    const bytes = Buffer.concat(this.#pieces)
    return bytes.filter((byte) => byte >= 0x20 || byte === ESCAPE) as Buffer
  }

  #clear(): void {
    this.#pieces = []
    this.#bytes = 0
  }
}

/** Where the last sequence of a piece begins: at an ESC, or at a C1 character (in UTF-8: C2, and 80 to 9F); -1 without one. */
function startIn(piece: Buffer): number {
  let start = piece.lastIndexOf(ESCAPE)
  for (const control of [0x90, 0x98, 0x9b, 0x9d, 0x9e, 0x9f])
    start = Math.max(start, piece.lastIndexOf(Buffer.of(0xc2, control)))
  return start
}

/** How many bytes of a piece are whole characters of UTF-8; its last character may go on in the next piece. */
export function completeLength(piece: Buffer): number {
  for (let back = 1; back <= Math.min(3, piece.length); back++) {
    const byte = piece[piece.length - back] ?? 0
    if (byte < 0x80) break
    if (byte < 0xc0) continue // a continuation
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2
    return length > back && byte < 0xf8 ? piece.length - back : piece.length
  }
  return piece.length
}
