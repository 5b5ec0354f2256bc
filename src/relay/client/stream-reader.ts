/** How is a stream read? Piece by piece, as the reader asks: what was not asked for has not been given credit, so memory is bounded. */
import { concat, type Bytes } from '../protocol/bytes.ts'
import type { Stream, StreamEvents } from '../protocol/streams.ts'
import { Gathered } from './gathered.ts'
import { RemoteError } from './remote-error.ts'

/** Reads one stream. One read at a time. */
export class StreamReader implements StreamEvents {
  #stream: Stream | undefined
  #pieces: Bytes[] = []
  /** What was read and put back. It counts as used up already. */
  #putBack: Bytes | undefined
  #isEnded = false
  #isBroken = false
  #wake: (() => void) | undefined

  /** Says whose bytes these are. */
  attach(stream: Stream): void {
    this.#stream = stream
  }

  /** Whether the other party has sent its last byte, and everything was read. */
  get isAtEnd(): boolean {
    return this.#isEnded && this.#pieces.length === 0 && this.#putBack === undefined
  }

  onData(bytes: Bytes): void {
    this.#pieces.push(bytes)
    this.#wake?.()
  }

  onEnd(): void {
    this.#isEnded = true
    this.#wake?.()
  }

  onClose(wasReset: boolean): void {
    if (wasReset && !this.#isEnded) this.#isBroken = true
    this.#isEnded = true
    this.#wake?.()
  }

  /**
   * The next bytes, as many as have come; undefined at the end.
   * @throws {RemoteError} `cut` when the stream was broken off
   */
  async read(): Promise<Bytes | undefined> {
    const before = this.#putBack
    if (before !== undefined) {
      this.#putBack = undefined
      return before
    }
    while (this.#pieces.length === 0 && !this.#isEnded) {
      const { promise, resolve } = Promise.withResolvers<void>()
      this.#wake = resolve
      await promise
    }
    const [only, ...more] = this.#pieces
    if (only !== undefined) {
      const bytes = more.length === 0 ? only : concat(only, ...more)
      this.#pieces = []
      this.#stream?.consumed(bytes.length)
      return bytes
    }
    if (this.#isBroken) throw new RemoteError('cut', 'the connection ended in the middle')
    return undefined
  }

  /** Puts back the end of what was read last. */
  putBack(bytes: Bytes): void {
    this.#putBack = bytes.length === 0 ? undefined : bytes
  }

  /**
   * A line that ends with CR LF, without it, one character a byte.
   * @param max bytes of the line
   * @throws {RemoteError} `bad-answer` for a longer one, for another line end, and at the end of the stream; `cut`
   */
  async line(max: number): Promise<string> {
    let text = ''
    for (;;) {
      const bytes = await this.read()
      if (bytes === undefined) throw new RemoteError('bad-answer', 'the answer is cut off')
      const end = bytes.indexOf(LF)
      const piece = end < 0 ? bytes : bytes.subarray(0, end)
      if (text.length + piece.length > max + 1)
        throw new RemoteError('bad-answer', 'a line of the answer is too long')
      text += latin1(piece)
      if (end < 0) continue
      this.putBack(bytes.subarray(end + 1))
      if (!text.endsWith('\r')) throw new RemoteError('bad-answer', 'a line ends without CR LF')
      return text.slice(0, -1)
    }
  }

  /**
   * Exactly so many bytes.
   * @throws {RemoteError} `bad-answer` when the stream ends before; `cut`
   */
  async exactly(length: number): Promise<Bytes> {
    const gathered = new Gathered()
    while (gathered.length < length) {
      const bytes = await this.upTo(length - gathered.length)
      if (bytes === undefined) throw new RemoteError('bad-answer', 'the answer is cut off')
      gathered.add(bytes)
    }
    return gathered.take()
  }

  /** The next bytes, at most so many; undefined at the end. @throws {RemoteError} `cut` */
  async upTo(max: number): Promise<Bytes | undefined> {
    const bytes = await this.read()
    if (bytes === undefined || bytes.length <= max) return bytes
    this.putBack(bytes.subarray(max))
    return bytes.subarray(0, max)
  }
}

const LF = 0x0a

/** Bytes as text, one character a byte. */
function latin1(bytes: Uint8Array): string {
  let text = ''
  for (let at = 0; at < bytes.length; at += MAX_ARGUMENTS)
    text += String.fromCharCode(...bytes.subarray(at, at + MAX_ARGUMENTS))
  return text
}

/** How many arguments a function can have in every engine. */
const MAX_ARGUMENTS = 8192
