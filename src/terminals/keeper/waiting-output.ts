/**
 * What waits for the parser of a screen? A copy of the output, in a few large pieces. Output arrives in small ones, each of which would
 * keep alive the memory into which it was read, and make the garbage collector copy it.
 */

/** The largest piece into which others are copied, in bytes. */
const MAX_PIECE_BYTES = 64 * 1024

/** What a piece takes besides its bytes. */
const PIECE_BYTES = 256

/** Output that is parsed at once. */
export interface OutputToParse {
  readonly bytes: Buffer
  /** Whether the screen answers what the program asks of its terminal, because no client is there to do so. */
  readonly answers: boolean
  /** As much as {@link WaitingOutput.add} returned for it. */
  readonly countedBytes: number
}

interface Piece {
  /** Its first {@link length} bytes are output. */
  readonly memory: Buffer
  readonly answers: boolean
  length: number
}

/** The output that waits, oldest first. */
export class WaitingOutput {
  #pieces: Piece[] = []

  get isEmpty(): boolean {
    return this.#pieces.length === 0
  }

  /** Adds output. @returns about how much memory that takes, in bytes */
  add(bytes: Buffer, answers: boolean): number {
    const last = this.#pieces.at(-1)
    const fits = last !== undefined && last.length + bytes.length <= last.memory.length
    if (fits && last.answers === answers) {
      last.length += bytes.copy(last.memory, last.length)
      return 0
    }
    // Twice the last one: a prompt takes little, and much output few pieces.
    const wanted = Math.min(2 * (last?.memory.length ?? 0), MAX_PIECE_BYTES)
    const memory = Buffer.allocUnsafeSlow(Math.max(bytes.length, wanted))
    this.#pieces.push({ memory, answers, length: bytes.copy(memory) })
    return memory.length + PIECE_BYTES
  }

  /** Takes what waits, up to output that is to be answered otherwise; undefined when nothing waits. */
  take(): OutputToParse | undefined {
    const [first] = this.#pieces
    if (first === undefined) return undefined
    const { answers } = first
    const next = this.#pieces.findIndex((piece) => piece.answers !== answers)
    const taken = this.#pieces.splice(0, next < 0 ? this.#pieces.length : next)
    let countedBytes = 0
    for (const { memory } of taken) countedBytes += memory.length + PIECE_BYTES
    const [only] = taken
    const bytes =
      taken.length === 1 && only !== undefined
        ? textOf(only)
        : Buffer.concat(taken.map((piece) => textOf(piece)))
    return { bytes, answers, countedBytes }
  }

  clear(): void {
    this.#pieces = []
  }
}

function textOf({ memory, length }: Piece): Buffer {
  return memory.subarray(0, length)
}
