/**
 * How do several connections share one channel? Each is a stream with a number. A device opens them; each party may send as much as the
 * other has given credit for, so that a reader that is slow holds up its own stream alone, and memory is bounded.
 */
import { concat, readU32, u32, type Bytes } from './bytes.ts'
import type { Channel } from './channel.ts'
import { NoiseError } from './noise.ts'
import { longestBody, RECORD, recordSize, type ChannelRecord, type RecordType } from './records.ts'

/** Streams of one channel at a time. */
export const MAX_STREAMS = 32

/**
 * Bytes that may be under way in one direction of a stream. A piece costs as much as its record is long, so that many small pieces, each
 * of which takes memory of its own, cannot be sent for the price of their bytes.
 */
export const STREAM_WINDOW = 256 * 1024

/** What the smallest piece costs. Less credit is good for nothing. */
const MIN_COST = recordSize(0)

/** Credit that is worth a record. */
const CREDIT_STEP = STREAM_WINDOW / 4

/** Bytes of a stream's number, before its piece. */
const HEADER_LENGTH = 4

/** The longest piece of a stream in one record: 16 KiB records fill up well, and let other streams in between. */
const MAX_PIECE = longestBody(16_384) - HEADER_LENGTH

/** What happens to a stream. An error that a listener throws ends the channel. */
export interface StreamEvents {
  /** Bytes came, at least one. They count as read when {@link Stream.consumed} says so. Until then they are in the listener's memory. */
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
  /**
   * Sends bytes, after those of earlier calls. Resolves when all were given to the connection, or when the stream is over. Never rejects.
   * After {@link end} nothing is sent.
   * @param bytes not to be changed before it resolves
   */
  write(bytes: Uint8Array): Promise<void>
  /** Sends no more, after what was written. */
  end(): void
  /** Breaks the stream off, in both directions. */
  reset(): void
  /** Says that so many bytes of what came were used up, so that the other party may send more. @throws {RangeError} when fewer came */
  consumed(bytes: number): void
}

/**
 * The streams of a channel. Its owner hands records to {@link take}, and calls {@link closeAll} when the channel has ended: what waits for
 * credit would wait for ever.
 */
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

  /** Opens a stream, as the device. @throws {Error} when too many are open, or the channel is not open */
  open(events: StreamEvents): Stream {
    if (this.#accept !== undefined) throw new TypeError('a daemon opens no streams')
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
    if (type === RECORD.open) this.#opened(id, body)
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

  #opened(id: number, body: Bytes): void {
    if (body.length !== 4) throw new NoiseError('a record of a stream is too long')
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
  #writes: Promise<void> = Promise.resolve()
  #waitsForCredit: (() => void) | undefined
  /** How much the other may send. */
  #given = STREAM_WINDOW
  /** What came and was not used up: its bytes, and what they have cost. */
  #unread = { bytes: 0, cost: 0 }
  /** What was used up and not yet given back. */
  #owed = 0
  #isEnding = false
  #isEndSent = false
  #isEndSeen = false
  #over: { readonly wasReset: boolean } | undefined

  constructor(id: number, parts: StreamParts) {
    this.id = id
    this.#parts = parts
    this.#header = u32(id)
  }

  listen(events: StreamEvents): void {
    this.#events = events
    // Whoever was given the stream may have broken it off already.
    if (this.#over !== undefined) events.onClose(this.#over.wasReset)
  }

  write(bytes: Uint8Array): Promise<void> {
    if (this.#isEnding) return Promise.resolve()
    return this.#afterWrites(() => this.#send(bytes))
  }

  end(): void {
    if (this.#isEnding) return
    this.#isEnding = true
    void this.#afterWrites(() => this.#sendEnd())
  }

  reset(): void {
    if (this.#over !== undefined) return
    void this.#parts.send(RECORD.reset, this.#header)
    this.#close(true)
  }

  consumed(bytes: number): void {
    if (this.#over !== undefined) return
    const unread = this.#unread
    if (!(bytes >= 0 && bytes <= unread.bytes))
      throw new RangeError('more was used up than had come')
    if (bytes === 0) return
    // Each byte has the same share of what all of them have cost, and the last one has the rest.
    const cost = Math.floor((unread.cost * bytes) / unread.bytes)
    unread.bytes -= bytes
    unread.cost -= cost
    this.#owed += cost
    if (this.#isEndSeen || this.#owed < CREDIT_STEP) return
    void this.#parts.send(RECORD.credit, concat(this.#header, u32(this.#owed)))
    this.#given += this.#owed
    this.#owed = 0
  }

  /** The channel has ended. */
  broken(): void {
    this.#close(true)
  }

  take(type: RecordType, body: Bytes): void {
    if (type === RECORD.data) this.#takeData(body)
    else if (type === RECORD.credit) this.#takeCredit(body)
    else if (body.length > 0) throw new NoiseError('a record of a stream is too long')
    else if (type === RECORD.reset) this.#close(true)
    else this.#takeEnd()
  }

  /** Lets nothing overtake what was written before. */
  #afterWrites(write: () => Promise<void>): Promise<void> {
    const before = this.#writes
    const writing = async (): Promise<void> => {
      await before
      await write()
    }
    this.#writes = writing()
    return this.#writes
  }

  async #send(bytes: Uint8Array): Promise<void> {
    let rest = bytes
    while (rest.length > 0) {
      await this.#credited()
      if (this.#over !== undefined) return
      const length = Math.min(rest.length, MAX_PIECE, longestBody(this.#credit) - HEADER_LENGTH)
      const body = concat(this.#header, rest.subarray(0, length))
      this.#credit -= recordSize(body.length)
      rest = rest.subarray(length)
      await this.#parts.send(RECORD.data, body)
    }
  }

  /** Resolves when there is credit for a piece, or when the stream is over. */
  async #credited(): Promise<void> {
    while (this.#credit < MIN_COST && this.#over === undefined) {
      const { promise, resolve } = Promise.withResolvers<void>()
      this.#waitsForCredit = resolve
      await promise
    }
  }

  async #sendEnd(): Promise<void> {
    if (this.#over !== undefined) return
    this.#isEndSent = true
    const sent = this.#parts.send(RECORD.end, this.#header)
    if (this.#isEndSeen) this.#close(false)
    await sent
  }

  #takeData(bytes: Bytes): void {
    if (this.#isEndSeen) throw new NoiseError('a stream goes on after its end')
    if (bytes.length === 0) throw new NoiseError('a piece of a stream is empty')
    const cost = recordSize(HEADER_LENGTH + bytes.length)
    if (cost > this.#given) throw new NoiseError('more was sent than there was credit for')
    this.#given -= cost
    this.#unread.bytes += bytes.length
    this.#unread.cost += cost
    this.#events?.onData(bytes)
  }

  #takeCredit(body: Bytes): void {
    const credit = readU32(body, 0)
    if (body.length !== 4 || credit === 0 || this.#credit + credit > STREAM_WINDOW)
      throw new NoiseError('a credit is larger than the window')
    this.#credit += credit
    this.#wake()
  }

  #takeEnd(): void {
    if (this.#isEndSeen) throw new NoiseError('a stream ends twice')
    this.#isEndSeen = true
    this.#events?.onEnd()
    if (this.#isEndSent) this.#close(false)
  }

  #wake(): void {
    this.#waitsForCredit?.()
    this.#waitsForCredit = undefined
  }

  #close(wasReset: boolean): void {
    if (this.#over !== undefined) return
    this.#over = { wasReset }
    this.#parts.forget()
    this.#wake()
    this.#events?.onClose(wasReset)
  }
}
