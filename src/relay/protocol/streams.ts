/**
 * How do several connections share one channel? Each is a stream with a number. A device opens them; each party may send as much as the
 * other has given credit for, so that a reader that is slow holds up its own stream alone, and memory is bounded.
 */
import { concat, readU32, u32, type Bytes } from './bytes.ts'
import type { Channel } from './channel.ts'
import { NoiseError } from './noise.ts'
import { MAX_BODY_LENGTH, RECORD, type ChannelRecord, type RecordType } from './records.ts'

/** Streams of one channel at a time. */
export const MAX_STREAMS = 32

/** Bytes that may be under way in one direction of a stream. */
export const STREAM_WINDOW = 256 * 1024

/** The longest piece of a stream in one record: 16 KiB records fill up well, and let other streams in between. */
const MAX_PIECE = 16_384 - 16 - 3 - 4

/** What happens to a stream. No listener may throw. */
export interface StreamEvents {
  /** Bytes came. They count as read when {@link Stream.consumed} says so. */
  onData(bytes: Bytes): void
  /** The other party sends no more. */
  onEnd(): void
  /** The stream is over, both ways. `wasReset` says whether it was broken off. Called once. */
  onClose(wasReset: boolean): void
}

/** One stream. */
export interface Stream {
  /** Its number, for logs. */
  readonly id: number
  /** Sends bytes. Resolves when there was credit for all of them, or when the stream is over. One call at a time. */
  write(bytes: Uint8Array): Promise<void>
  /** Sends no more, after what was written. */
  end(): void
  /** Breaks the stream off, in both directions. */
  reset(): void
  /** Says that so many bytes of what came were used up, so that the other party may send more. */
  consumed(bytes: number): void
}

/** The streams of a channel. */
export class Streams {
  readonly #channel: Channel
  readonly #accept: ((stream: Stream) => StreamEvents) | undefined
  readonly #open = new Map<number, ChannelStream>()
  #lastId = 0

  /** @param accept for the daemon: takes a stream that a device has opened */
  constructor(channel: Channel, accept?: (stream: Stream) => StreamEvents) {
    this.#channel = channel
    this.#accept = accept
  }

  /** How many are open. */
  get size(): number {
    return this.#open.size
  }

  /** Opens a stream, as the device. @throws {Error} when too many are open, or the channel is closed */
  open(events: StreamEvents): Stream {
    if (!this.#channel.isOpen) throw new Error('the channel is closed')
    if (this.#open.size >= MAX_STREAMS) throw new Error(`${MAX_STREAMS} streams are open already`)
    const id = ++this.#lastId
    const stream = this.#add(id)
    stream.listen(events)
    void this.#channel.send(RECORD.open, u32(id))
    return stream
  }

  /** Takes a record of the channel; false when it is none of a stream. @throws {NoiseError} when it breaks a rule */
  take({ type, body }: ChannelRecord): boolean {
    if (type < RECORD.open) return false
    if (body.length < 4) throw new NoiseError('a stream has no number')
    const id = readU32(body, 0)
    if (type === RECORD.open) this.#opened(id)
    else {
      if (id === 0 || id > this.#lastId) throw new NoiseError('a stream was not opened')
      // One that is over here may still be spoken to for a moment.
      this.#open.get(id)?.take(type, body.subarray(4))
    }
    return true
  }

  /** Breaks every stream off, when the channel has ended. */
  closeAll(): void {
    for (const stream of this.#open.values()) stream.broken()
  }

  #opened(id: number): void {
    if (this.#accept === undefined) throw new NoiseError('only a device opens streams')
    if (id !== this.#lastId + 1) throw new NoiseError('the numbers of streams go up by one')
    if (this.#open.size >= MAX_STREAMS) throw new NoiseError('too many streams are open')
    this.#lastId = id
    const stream = this.#add(id)
    stream.listen(this.#accept(stream))
  }

  #add(id: number): ChannelStream {
    const stream = new ChannelStream(id, {
      send: (type, body) => this.#channel.send(type, body),
      forget: () => this.#open.delete(id),
    })
    this.#open.set(id, stream)
    return stream
  }
}

/** What a stream needs of its channel. */
interface StreamParts {
  readonly send: (type: RecordType, body: Bytes) => Promise<void>
  readonly forget: () => void
}

class ChannelStream implements Stream {
  readonly id: number
  readonly #parts: StreamParts
  readonly #header: Bytes
  #events: StreamEvents | undefined
  /** How much we may send. */
  #credit = STREAM_WINDOW
  #waitsForCredit: (() => void) | undefined
  /** How much the other may send. */
  #given = STREAM_WINDOW
  /** What was used up and not yet given back. */
  #owed = 0
  #isEndSent = false
  #isEndSeen = false
  #isOver = false

  constructor(id: number, parts: StreamParts) {
    this.id = id
    this.#parts = parts
    this.#header = u32(id)
  }

  listen(events: StreamEvents): void {
    this.#events = events
  }

  async write(bytes: Uint8Array): Promise<void> {
    let rest = bytes
    while (rest.length > 0 && !this.#isOver && !this.#isEndSent) {
      if (this.#credit === 0) {
        const { promise, resolve } = Promise.withResolvers<void>()
        this.#waitsForCredit = resolve
        await promise
        continue
      }
      const length = Math.min(rest.length, this.#credit, MAX_PIECE)
      this.#credit -= length
      const sent = this.#parts.send(RECORD.data, concat(this.#header, rest.subarray(0, length)))
      rest = rest.subarray(length)
      await sent
    }
  }

  end(): void {
    if (this.#isOver || this.#isEndSent) return
    this.#isEndSent = true
    void this.#parts.send(RECORD.end, this.#header)
    if (this.#isEndSeen) this.#over(false)
  }

  reset(): void {
    if (this.#isOver) return
    void this.#parts.send(RECORD.reset, this.#header)
    this.#over(true)
  }

  consumed(bytes: number): void {
    if (this.#isOver || this.#isEndSeen) return
    this.#owed += bytes
    if (this.#owed < STREAM_WINDOW / 4) return
    void this.#parts.send(RECORD.credit, concat(this.#header, u32(this.#owed)))
    this.#given += this.#owed
    this.#owed = 0
  }

  /** The channel has ended. */
  broken(): void {
    this.#over(true)
  }

  take(type: RecordType, body: Bytes): void {
    if (type === RECORD.data) this.#takeData(body)
    else if (type === RECORD.credit) this.#takeCredit(body)
    else if (body.length > 0) throw new NoiseError('a record of a stream is too long')
    else if (type === RECORD.reset) this.#over(true)
    else this.#takeEnd()
  }

  #takeData(bytes: Bytes): void {
    if (this.#isEndSeen) throw new NoiseError('a stream goes on after its end')
    if (bytes.length === 0 || bytes.length > Math.min(this.#given, MAX_BODY_LENGTH))
      throw new NoiseError('more was sent than there was credit for')
    this.#given -= bytes.length
    this.#events?.onData(bytes)
  }

  #takeCredit(body: Bytes): void {
    const credit = this.#credit + readU32(body, 0)
    if (body.length !== 4 || credit > STREAM_WINDOW)
      throw new NoiseError('a credit is larger than the window')
    this.#credit = credit
    this.#wake()
  }

  #takeEnd(): void {
    if (this.#isEndSeen) throw new NoiseError('a stream ends twice')
    this.#isEndSeen = true
    this.#events?.onEnd()
    if (this.#isEndSent) this.#over(false)
  }

  #wake(): void {
    this.#waitsForCredit?.()
    this.#waitsForCredit = undefined
  }

  #over(wasReset: boolean): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#parts.forget()
    this.#wake()
    this.#events?.onClose(wasReset)
  }
}
