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

/**
 * Bytes of `data` records that may be under way in one direction of a channel, whatever its streams have credit for. They come back when
 * the records were decrypted, not when they were used up, so that a slow reader still holds up its own stream alone. Buffers of sockets,
 * kernels and the relay keep megabytes that nobody can see: without this bound, a record would be late (LATE_MS) when many streams share a
 * slow line. With it, a line of 6 kB/s is fast enough; one of 30 kB/s holds a record for 18 seconds at most.
 */
export const CHANNEL_WINDOW = 512 * 1024

/** The number of no stream: credit for it is of {@link CHANNEL_WINDOW}, as in HTTP/2 (RFC 9113 section 6.9). */
const ALL_STREAMS = 0

/** What the smallest piece costs. Less credit is good for nothing. */
const MIN_COST = recordSize(0)

/** Credit of a stream that is worth a record. */
const CREDIT_STEP = STREAM_WINDOW / 4

/** Credit of the channel that is worth a record. */
const CHANNEL_STEP = CHANNEL_WINDOW / 4

/** Bytes of a stream's number, before its piece. */
const HEADER_LENGTH = 4

/** What the longest piece costs: 16 KiB records fill up well, and let other streams in between. */
const MAX_COST = 16_384

/** The longest piece of a stream in one record. */
const MAX_PIECE = longestBody(MAX_COST) - HEADER_LENGTH

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
  readonly #shared: SharedWindow
  #lastId = 0

  /** @param accept for the daemon: takes a stream that a device has opened */
  constructor(channel: Channel, accept?: (stream: Stream) => StreamEvents) {
    this.#channel = channel
    this.#accept = accept
    this.#shared = new SharedWindow((credit) => {
      void channel.send(RECORD.credit, concat(u32(ALL_STREAMS), u32(credit)))
    })
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
    // Also of a stream that is over: it was under way.
    if (type === RECORD.data) this.#shared.heard(recordSize(body.length))
    if (type === RECORD.open) this.#opened(id, body)
    else if (type === RECORD.credit && id === ALL_STREAMS) this.#shared.take(body.subarray(4))
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
      shared: this.#shared,
    })
    this.#open.set(id, stream)
    return stream
  }
}

/** What a stream needs of its channel. */
interface StreamParts {
  readonly send: (type: RecordType, body: Bytes) => Promise<void>
  readonly forget: () => void
  readonly shared: SharedWindow
}

/** What is under way in a channel, in both directions: see {@link CHANNEL_WINDOW}. */
class SharedWindow {
  readonly #give: (credit: number) => void
  /** What all streams together may send. */
  #credit = CHANNEL_WINDOW
  /** What came and was not yet given back. */
  #owed = 0
  /** Who waits for credit, longest first. */
  readonly #waiting = new Set<() => void>()

  constructor(give: (credit: number) => void) {
    this.#give = give
  }

  /** Whether a piece can be sent, of any length. */
  get isOpen(): boolean {
    return this.#credit >= MAX_COST
  }

  spend(cost: number): void {
    this.#credit -= cost
  }

  /** Calls a function once when there is more credit. Who was called and got none waits behind the others. */
  wait(wake: () => void): void {
    this.#waiting.add(wake)
  }

  /** Waits no longer. */
  leave(wake: () => void): void {
    this.#waiting.delete(wake)
  }

  /** Credit came. @throws {NoiseError} */
  take(body: Bytes): void {
    this.#credit += creditIn(body, CHANNEL_WINDOW - this.#credit)
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const wake of waiting) wake()
  }

  /** A piece came, and is not under way any more. Who sends more than the window makes its own records late. */
  heard(cost: number): void {
    this.#owed += cost
    if (this.#owed < CHANNEL_STEP) return
    this.#give(this.#owed)
    this.#owed = 0
  }
}

/** Reads a credit. @param most what it may be at most @throws {NoiseError} */
function creditIn(body: Bytes, most: number): number {
  const credit = readU32(body, 0)
  if (body.length !== 4 || credit === 0 || credit > most)
    throw new NoiseError('a credit is larger than the window')
  return credit
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
    const { shared } = this.#parts
    let rest = bytes
    while (rest.length > 0) {
      // Looked at again after each wait: another stream may have been faster.
      while (this.#mustWait()) await this.#credited()
      if (this.#over !== undefined) return
      const length = Math.min(rest.length, MAX_PIECE, longestBody(this.#credit) - HEADER_LENGTH)
      const body = concat(this.#header, rest.subarray(0, length))
      const cost = recordSize(body.length)
      this.#credit -= cost
      shared.spend(cost)
      rest = rest.subarray(length)
      await this.#parts.send(RECORD.data, body)
    }
  }

  #mustWait(): boolean {
    const hasCredit = this.#credit >= MIN_COST && this.#parts.shared.isOpen
    return !hasCredit && this.#over === undefined
  }

  /** Resolves when there is more credit, or when the stream is over. */
  #credited(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#waitsForCredit = resolve
    const { shared } = this.#parts
    if (!shared.isOpen) shared.wait(this.#wake)
    return promise
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
    this.#credit += creditIn(body, STREAM_WINDOW - this.#credit)
    this.#wake()
  }

  #takeEnd(): void {
    if (this.#isEndSeen) throw new NoiseError('a stream ends twice')
    this.#isEndSeen = true
    this.#events?.onEnd()
    if (this.#isEndSent) this.#close(false)
  }

  readonly #wake = (): void => {
    this.#waitsForCredit?.()
    this.#waitsForCredit = undefined
  }

  #close(wasReset: boolean): void {
    if (this.#over !== undefined) return
    this.#over = { wasReset }
    this.#parts.forget()
    this.#parts.shared.leave(this.#wake)
    this.#wake()
    this.#events?.onClose(wasReset)
  }
}
