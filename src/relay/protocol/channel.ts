/**
 * How do daemon and device talk once they have met? Through a channel: records in both directions, each counted, encrypted and padded. The
 * first fault of any kind closes it, and both sides are told: the last record is a close, so a channel that ends without one was cut.
 */
import { concat, readU16, u16, utf8, type Bytes } from './bytes.ts'
import type { Met } from './handshake.ts'
import { NoiseError, type CipherState } from './noise.ts'
import {
  CHANNEL_CLOSE,
  decodeRecord,
  encodeRecord,
  isRecordSize,
  RECORD,
  type ChannelCloseReason,
  type ChannelRecord,
  type RecordType,
} from './records.ts'
import { IDLE_MS, PING_MS } from './relay-wire.ts'

/** What carries the frames of a channel: a WebSocket to the relay. */
export interface FrameLink {
  send(frame: Bytes): void
  /** Closes the connection. Does nothing when it is closed. */
  close(): void
  /** Stops and goes on reading, where that is possible; a browser cannot. */
  pause?(): void
  resume?(): void
}

/** How a channel ended. */
export type ChannelEnd =
  /** The other party has closed it, and said why. */
  | {
      readonly how: 'closed'
      readonly reason: ChannelCloseReason | 'unknown'
      readonly text: string
    }
  /** We have closed it. */
  | { readonly how: 'left'; readonly reason: ChannelCloseReason; readonly text: string }
  /** The connection ended without a last record: the relay, or the network, has cut it. */
  | { readonly how: 'cut' }

/** What happens in a channel. No listener may throw. */
export interface ChannelEvents {
  /** A record that is for neither the channel itself. Called in the order in which they were sent. @throws {NoiseError} when it breaks a rule */
  onRecord(record: ChannelRecord): void
  /** Called once. Nothing follows. */
  onEnd(end: ChannelEnd): void
}

/** The time, for tests. */
export interface ChannelClock {
  /** Milliseconds since some moment, never set back. */
  now(): number
}

/** Which party we are. */
export type ChannelSide = 'device' | 'daemon'

/** Records under one key, in one direction. */
const REKEY_RECORDS = 2 ** 20

/** How long one key is used, in milliseconds. */
const REKEY_MS = 3_600_000

/** What the other party may be late with its next key, in milliseconds. */
const REKEY_GRACE_MS = 300_000

/** The age at which the parties must meet again, in milliseconds. */
const RENEW_MS = 86_400_000

/** Bytes of frames that wait to be decrypted. An honest party cannot send so many, because streams have their credit. */
const MAX_WAITING_BYTES = 16 * 1024 * 1024

/** Waiting bytes at which the connection is not read on. */
const PAUSE_BYTES = 1024 * 1024

const MAX_CLOSE_TEXT_BYTES = 200

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
  #sendChain: Promise<void> = Promise.resolve()
  #receiveChain: Promise<void> = Promise.resolve()
  #waitingBytes = 0
  #sentAt: number
  #heardAt: number
  #state: 'before-ready' | 'open' | 'closing' | 'ended'

  constructor(options: {
    readonly side: ChannelSide
    readonly met: Met
    readonly link: FrameLink
    readonly events: ChannelEvents
    readonly clock?: ChannelClock
  }) {
    const { side, met, link, events, clock = SYSTEM_CLOCK } = options
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
    this.#state = side === 'device' ? 'open' : 'before-ready'
    if (side === 'device') void this.send(RECORD.ready, new Uint8Array(0))
  }

  /** Whether records can be sent. */
  get isOpen(): boolean {
    return this.#state === 'open' || this.#state === 'before-ready'
  }

  /**
   * Whether the other party has proved that it holds its key now: for a daemon once the device's first record was decrypted. A message
   * that was recorded and sent again never gets here.
   */
  get isProven(): boolean {
    return this.#state !== 'before-ready'
  }

  /** Sends a record. Resolves when it was given to the connection, or when the channel has ended. */
  send(type: RecordType, body: Uint8Array): Promise<void> {
    if (!this.isOpen) return Promise.resolve()
    return this.#queue(type, body)
  }

  /** Takes a frame of the connection. */
  receive(frame: Bytes): void {
    if (!this.isOpen) return
    if (!isRecordSize(frame.length)) {
      this.#fail('a frame has a length that no record has')
      return
    }
    this.#waitingBytes += frame.length
    if (this.#waitingBytes > MAX_WAITING_BYTES) {
      this.#fail('more was sent than there was credit for')
      return
    }
    if (this.#waitingBytes > PAUSE_BYTES) this.#link.pause?.()
    this.#receiveChain = this.#receiveChain.then(() => this.#take(frame))
  }

  /** Says that the connection has ended. */
  linkClosed(): void {
    // What has come before is read first: its last record may say why.
    this.#receiveChain = this.#receiveChain.then(() => this.#end({ how: 'cut' }))
  }

  /** Closes the channel, and tells the other party why. */
  close(reason: ChannelCloseReason, text = ''): void {
    if (!this.isOpen) return
    this.#state = 'closing'
    const body = concat(u16(CHANNEL_CLOSE[reason]), utf8(text).slice(0, MAX_CLOSE_TEXT_BYTES))
    void this.#leave(body, { how: 'left', reason, text })
  }

  async #leave(body: Bytes, end: ChannelEnd): Promise<void> {
    await this.#queue(RECORD.close, body)
    this.#link.close()
    this.#end(end)
  }

  /** Pings, changes keys and closes what is too old or silent. Called every few seconds. */
  check(): void {
    if (!this.isOpen) return
    const now = this.#clock.now()
    if (now - this.#startedAt >= RENEW_MS) this.close('renew', 'the channel is a day old')
    else if (now - this.#heardAt >= IDLE_MS) this.#fail('nothing was heard of the other party')
    else if (this.#isKeyOld(now)) this.#fail('the key of the other party is too old')
    else if (this.isProven && now - this.#sentAt >= PING_MS)
      void this.send(RECORD.ping, new Uint8Array(0))
  }

  /** Ends the channel for a fault of the other party, or of the relay. */
  #fail(text: string): void {
    this.close('protocol', text)
  }

  #queue(type: RecordType, body: Uint8Array): Promise<void> {
    const before = this.#sendChain
    const sending = async (): Promise<void> => {
      await before
      await this.#sendNext(type, body)
    }
    this.#sendChain = sending()
    return this.#sendChain
  }

  async #sendNext(type: RecordType, body: Uint8Array): Promise<void> {
    if (this.#state === 'ended') return
    const sending = this.#sending
    const now = this.#clock.now()
    if (sending.records >= REKEY_RECORDS - 1 || now - sending.since >= REKEY_MS) {
      await this.#sendNow(RECORD.rekey, new Uint8Array(0))
      await sending.cipher.rekey()
      sending.records = 0
      sending.since = now
    }
    await this.#sendNow(type, body)
  }

  async #sendNow(type: RecordType, body: Uint8Array): Promise<void> {
    const frame = await this.#sending.cipher.encrypt(encodeRecord(type, body))
    this.#sending.records++
    this.#sentAt = this.#clock.now()
    this.#link.send(frame)
  }

  async #take(frame: Bytes): Promise<void> {
    this.#waitingBytes -= frame.length
    if (this.#waitingBytes <= PAUSE_BYTES) this.#link.resume?.()
    if (!this.isOpen) return
    try {
      const receiving = this.#receiving
      if (receiving.records >= REKEY_RECORDS) throw new NoiseError('a key was used for too long')
      const record = decodeRecord(await receiving.cipher.decrypt(frame))
      receiving.records++
      if (!this.isOpen) return
      this.#heardAt = this.#clock.now()
      await this.#act(record)
    } catch (error) {
      if (!(error instanceof NoiseError)) throw error
      this.#fail(error.message)
    }
  }

  async #act(record: ChannelRecord): Promise<void> {
    const { type, body } = record
    const isFirst = this.#state === 'before-ready'
    if (isFirst !== (type === RECORD.ready))
      throw new NoiseError(isFirst ? 'the first record is not ready' : 'ready was said before')
    if (isFirst) this.#state = 'open'
    if (type === RECORD.ping) return
    if (type === RECORD.rekey) {
      await this.#receiving.cipher.rekey()
      this.#receiving.records = 0
      this.#receiving.since = this.#clock.now()
    } else if (type === RECORD.close) {
      this.#state = 'closing'
      this.#link.close()
      this.#end({ how: 'closed', ...readClose(body) })
    } else this.#events.onRecord(record)
  }

  #isKeyOld(now: number): boolean {
    return this.isProven && now - this.#receiving.since >= REKEY_MS + REKEY_GRACE_MS
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

function readClose(body: Bytes): { reason: ChannelCloseReason | 'unknown'; text: string } {
  const code = readU16(body, 0)
  const known = Object.entries(CHANNEL_CLOSE).find(([, each]) => each === code)
  const text = new TextDecoder().decode(body.subarray(2, 2 + MAX_CLOSE_TEXT_BYTES))
  return { reason: known === undefined ? 'unknown' : (known[0] as ChannelCloseReason), text }
}
