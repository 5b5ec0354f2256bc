/**
 * How do daemon and device talk once they have met? Through a channel: records in both directions, each counted, encrypted and padded. The
 * first fault of any kind closes it, and both sides are told: the last record is a close, so a channel that ends without one was cut.
 */
import { concat, readU16, u16, UNSHOWN, utf8, type Bytes } from './bytes.ts'
import type { Met } from './handshake.ts'
import { NoiseError, type CipherState } from './noise.ts'
import {
  CHANNEL_CLOSE,
  decodeRecord,
  encodeRecord,
  isRecordSize,
  ONLY_FROM,
  RECORD,
  setSentMs,
  type ChannelCloseReason,
  type ChannelRecord,
  type ChannelSide,
  type RecordType,
} from './records.ts'
import { COMPLETE_MS, IDLE_MS, LATE_MS, PING_MS } from './relay-wire.ts'

/** What carries the frames of a channel: a WebSocket to the relay. */
export interface FrameLink {
  /** Sends a binary message. When this throws, the channel ends as cut. */
  send(frame: Bytes): void
  /** Closes the connection, after what was sent. Does nothing when it is closed. */
  close(): void
  /** Stops reading, where that is possible; a browser cannot. */
  pause?(): void
  /** Reads on. */
  resume?(): void
  /** Bytes that were given to {@link send} and are still in memory, such as the `bufferedAmount` of a WebSocket. */
  unsentBytes?(): number
}

/** How a channel ended. */
export type ChannelEnd =
  /** The other party has closed it, and said why. */
  | {
      readonly how: 'closed'
      readonly reason: ChannelCloseReason | 'unknown'
      readonly text: string
    }
  /** We have closed it. `cause` is the error of a listener, if that was why. */
  | {
      readonly how: 'left'
      readonly reason: ChannelCloseReason
      readonly text: string
      readonly cause?: unknown
    }
  /** The connection ended without a last record: the relay, or the network, has cut it. `cause` is the error of sending, if there was one. */
  | { readonly how: 'cut'; readonly cause?: unknown }

/** What happens in a channel. */
export interface ChannelEvents {
  /**
   * A record that the channel does not handle by itself: `ready`, `welcome`, `note`, and those of streams. Called in the order in which
   * they were sent. An error that it throws ends the channel.
   * @throws {NoiseError} when the record breaks a rule
   */
  onRecord(record: ChannelRecord): void
  /** Called once. Nothing follows. Must not throw. */
  onEnd(end: ChannelEnd): void
}

/** The time, for tests. */
export interface ChannelClock {
  /**
   * Milliseconds since some moment, never set back. It may stand still while the machine sleeps, as the clocks of some systems do: when
   * it has stood still for longer than a record may be late, the channel ends, and its owner makes the next one.
   */
  now(): number
}

/** Records under one key, in one direction, the one that ends it included. */
const RECORDS_PER_KEY = 2 ** 20

/** How long one key is used, in milliseconds. */
const REKEY_MS = 3_600_000

/** What the other party may be late with its next key, in milliseconds. */
const REKEY_GRACE_MS = 300_000

/** The age at which the parties must meet again, in milliseconds. */
const RENEW_MS = 86_400_000

/** Bytes of frames that wait to be decrypted. All streams together have credit for a small part of it: CHANNEL_WINDOW. */
const MAX_WAITING_BYTES = 16 * 1024 * 1024

/** Bytes of frames that wait to be sent. So much more than all credit means that the other party sends and does not read. */
const MAX_UNSENT_BYTES = 16 * 1024 * 1024

/** Waiting bytes at which the connection is not read on. */
const PAUSE_BYTES = 1024 * 1024

const MAX_CLOSE_TEXT_BYTES = 200

const NOTHING = new Uint8Array(0)

const SYSTEM_CLOCK: ChannelClock = { now: () => performance.now() }

/** A channel between a daemon and a device. {@link check} is called now and then by the owner of the channel. */
export class Channel {
  /** The same for both parties and for no other: what a proof within the channel is bound to. */
  readonly handshakeHash: Bytes
  readonly side: ChannelSide
  readonly #link: FrameLink
  readonly #events: ChannelEvents
  readonly #clock: ChannelClock
  readonly #sending: Direction
  readonly #receiving: Direction
  readonly #startedAt: number
  /** By how much the other party's time is ahead of ours at least, in milliseconds. */
  #aheadMs = 0
  readonly #recordsPerKey: number
  #sendChain: Promise<void> = Promise.resolve()
  #waiting: Bytes[] = []
  #waitingBytes = 0
  #isReading = false
  #isPaused = false
  #isLinkClosed = false
  #isProven: boolean
  #sentAt: number
  #heardAt: number
  #leaving: ChannelEnd | undefined
  #state: 'before-ready' | 'open' | 'closing' | 'ended'

  constructor(options: {
    readonly side: ChannelSide
    readonly met: Met
    readonly link: FrameLink
    readonly events: ChannelEvents
    readonly clock?: ChannelClock
    /** After how many records a key is replaced, the same for both parties. Default: 2^20. Tests cannot send so many. */
    readonly recordsPerKey?: number
  }) {
    const { side, met, link, events, clock = SYSTEM_CLOCK } = options
    this.#recordsPerKey = options.recordsPerKey ?? RECORDS_PER_KEY
    const now = clock.now()
    const { fromInitiator, fromResponder } = met
    this.side = side
    this.handshakeHash = met.handshakeHash
    this.#link = link
    this.#events = events
    this.#clock = clock
    this.#sending = {
      cipher: side === 'device' ? fromInitiator : fromResponder,
      records: 0,
      since: now,
    }
    this.#receiving = {
      cipher: side === 'device' ? fromResponder : fromInitiator,
      records: 0,
      since: now,
    }
    this.#startedAt = now
    this.#sentAt = now
    this.#heardAt = now
    // The daemon's second message is its proof. The device's proof is its first record.
    this.#isProven = side === 'device'
    this.#state = this.#isProven ? 'open' : 'before-ready'
    if (side === 'device') void this.send(RECORD.ready, NOTHING)
  }

  /** Whether records can be sent: for a daemon once the device was proven, and until the channel is closed. */
  get isOpen(): boolean {
    return this.#state === 'open'
  }

  /**
   * Whether the other party has proved that it holds its key now: for a daemon once the device's first record was decrypted. A message
   * that was recorded and sent again never gets here. Stays true when the channel has ended.
   */
  get isProven(): boolean {
    return this.#isProven
  }

  get #isAlive(): boolean {
    return this.#state === 'open' || this.#state === 'before-ready'
  }

  /**
   * Sends a record. Never rejects.
   * @param body copied at once
   * @returns resolves when it was given to the connection, or at once when the channel is not open: then nothing is sent
   * @throws {TypeError} when the body is longer than MAX_BODY_LENGTH
   */
  send(type: RecordType, body: Uint8Array): Promise<void> {
    const record = encodeRecord(type, body)
    return this.isOpen ? this.#queue(record) : Promise.resolve()
  }

  /** Takes a frame of the connection. @param frame the channel's from now on */
  receive(frame: Bytes): void {
    if (!this.#isAlive) return
    if (!isRecordSize(frame.length)) {
      this.#fail('a frame has a length that no record has')
      return
    }
    if (this.#waitingBytes + frame.length > MAX_WAITING_BYTES) {
      this.#fail('more was sent than there was credit for')
      return
    }
    this.#waitingBytes += frame.length
    this.#waiting.push(frame)
    this.#pauseOrResume()
    if (!this.#isReading) void this.#readAll()
  }

  /** Says that the connection has ended. What has come before is still read: its last record may say why. */
  linkClosed(): void {
    this.#isLinkClosed = true
    if (!this.#isReading) this.#end(this.#leaving ?? { how: 'cut' })
  }

  /** Closes the channel, and tells the other party why. Does nothing when it is closed. @param text for people, without secrets */
  close(reason: ChannelCloseReason, text = ''): void {
    this.#close({ how: 'left', reason, text })
  }

  /** Pings, and closes a channel that is too old or silent. The owner of the channel calls it every few seconds. */
  check(): void {
    if (!this.#isAlive) return
    const now = this.#clock.now()
    if (!this.#isProven) {
      if (now - this.#startedAt >= COMPLETE_MS)
        this.#fail('the device has not said that it is ready')
    } else if (now - this.#startedAt >= RENEW_MS) this.close('renew', 'the channel is a day old')
    else if (now - this.#heardAt >= IDLE_MS) this.#fail('nothing was heard of the other party')
    else if (now - this.#receiving.since >= REKEY_MS + REKEY_GRACE_MS)
      this.#fail('the key of the other party is too old')
    else if (now - this.#sentAt >= PING_MS) void this.send(RECORD.ping, NOTHING)
  }

  /** Ends the channel for a fault: of the other party, of the relay, or with a cause of our own. */
  #fail(text: string, cause?: unknown): void {
    const end = { how: 'left', reason: 'protocol', text } as const
    this.#close(cause === undefined ? end : { ...end, cause })
  }

  #close(end: ChannelEnd & { readonly how: 'left' }): void {
    if (!this.#isAlive) return
    this.#state = 'closing'
    this.#leaving = end
    const text = utf8(end.text).subarray(0, MAX_CLOSE_TEXT_BYTES)
    void this.#leave(encodeRecord(RECORD.close, concat(u16(CHANNEL_CLOSE[end.reason]), text)))
  }

  async #leave(record: Bytes): Promise<void> {
    await this.#queue(record)
    this.#cutOff()
  }

  /** Ends the channel without a last record, or after it. */
  #cutOff(cause?: unknown): void {
    if (this.#state === 'ended') return
    this.#link.close()
    this.#end(this.#leaving ?? { how: 'cut', cause })
  }

  #queue(record: Bytes): Promise<void> {
    const before = this.#sendChain
    const sending = async (): Promise<void> => {
      await before
      await this.#sendNext(record)
    }
    this.#sendChain = sending()
    return this.#sendChain
  }

  async #sendNext(record: Bytes): Promise<void> {
    try {
      const sending = this.#sending
      const now = this.#clock.now()
      if (sending.records >= this.#recordsPerKey - 1 || now - sending.since >= REKEY_MS) {
        await this.#sendNow(encodeRecord(RECORD.rekey, NOTHING))
        await sending.cipher.rekey()
        sending.records = 0
        sending.since = now
      }
      await this.#sendNow(record)
    } catch (cause) {
      // What was not sent leaves a gap that the other party could not read past.
      this.#cutOff(cause)
    }
  }

  async #sendNow(record: Bytes): Promise<void> {
    if (this.#state === 'ended') return
    setSentMs(record, this.#clock.now() - this.#startedAt)
    const frame = await this.#sending.cipher.encrypt(record)
    // It may have ended meanwhile.
    if (this.#hasEnded()) return
    this.#sending.records++
    this.#sentAt = this.#clock.now()
    this.#link.send(frame)
    if ((this.#link.unsentBytes?.() ?? 0) > MAX_UNSENT_BYTES)
      throw new NoiseError('the other party does not read what it is sent')
  }

  #hasEnded(): boolean {
    return this.#state === 'ended'
  }

  async #readAll(): Promise<void> {
    this.#isReading = true
    while (this.#waiting.length > 0) {
      const frames = this.#waiting
      this.#waiting = []
      for (const frame of frames) await this.#take(frame)
    }
    this.#isReading = false
    if (this.#isLinkClosed) this.#end(this.#leaving ?? { how: 'cut' })
  }

  async #take(frame: Bytes): Promise<void> {
    this.#waitingBytes -= frame.length
    this.#pauseOrResume()
    if (!this.#isAlive) return
    try {
      const receiving = this.#receiving
      if (receiving.records >= this.#recordsPerKey)
        throw new NoiseError('a key was used for too long')
      const record = decodeRecord(await receiving.cipher.decrypt(frame))
      receiving.records++
      if (!this.#isAlive) return
      const now = this.#clock.now()
      this.#checkTime(record.sentMs, now - this.#startedAt)
      this.#heardAt = now
      await this.#act({ type: record.type, body: record.body })
    } catch (error) {
      if (error instanceof NoiseError) this.#fail(error.message)
      else this.#fail('this party could not handle a record', error)
    }
  }

  /**
   * A record that is too late is none. No record comes before it was sent: one that says so shows that the other's clock is ahead, because
   * it is faster or because ours stood still, and from then on we count as it does. Who lies about the time makes its own records late.
   */
  #checkTime(sentMs: number, ms: number): void {
    this.#aheadMs = Math.max(this.#aheadMs, sentMs - ms)
    if (ms + this.#aheadMs - sentMs >= LATE_MS) throw new NoiseError('a record came too late')
  }

  #pauseOrResume(): void {
    const mustPause = this.#waitingBytes > PAUSE_BYTES
    if (mustPause === this.#isPaused) return
    this.#isPaused = mustPause
    if (mustPause) this.#link.pause?.()
    else this.#link.resume?.()
  }

  async #act(record: ChannelRecord): Promise<void> {
    const { type, body } = record
    if (ONLY_FROM[type] === this.side)
      throw new NoiseError('a record is of a type that this party alone sends')
    this.#checkOrder(type)
    if (type === RECORD.ping) return
    if (type === RECORD.rekey) await this.#rekeyReceiving()
    else if (type === RECORD.close) {
      const end = readClose(body)
      this.#state = 'closing'
      this.#link.close()
      this.#end({ how: 'closed', ...end })
    } else this.#events.onRecord(record)
  }

  /** The first record of a device is `ready`, and no other is. */
  #checkOrder(type: RecordType): void {
    const isFirst = this.#state === 'before-ready'
    if (isFirst !== (type === RECORD.ready))
      throw new NoiseError(isFirst ? 'the first record is not ready' : 'ready was said before')
    if (!isFirst) return
    this.#isProven = true
    this.#state = 'open'
  }

  async #rekeyReceiving(): Promise<void> {
    await this.#receiving.cipher.rekey()
    this.#receiving.records = 0
    this.#receiving.since = this.#clock.now()
  }

  #end(end: ChannelEnd): void {
    if (this.#state === 'ended') return
    this.#state = 'ended'
    this.#events.onEnd(end)
  }
}

/** One direction of a channel. */
interface Direction {
  readonly cipher: CipherState
  /** Records under the key. */
  records: number
  /** When the key was new. */
  since: number
}

/** What the last record says. Its text comes without control characters, because it may be shown in a terminal. */
function readClose(body: Bytes): { reason: ChannelCloseReason | 'unknown'; text: string } {
  if (body.length < 2) throw new NoiseError('a close has no reason')
  const code = readU16(body, 0)
  const known = Object.entries(CHANNEL_CLOSE).find(([, each]) => each === code)
  const text = new TextDecoder().decode(body.subarray(2, 2 + MAX_CLOSE_TEXT_BYTES))
  const shown = text.replaceAll(UNSHOWN, ' ')
  return { reason: known === undefined ? 'unknown' : (known[0] as ChannelCloseReason), text: shown }
}
