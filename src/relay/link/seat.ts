/**
 * What follows a knock? One connection to the relay, which joins it with the device's; the handshake of Noise; and a channel. Until the
 * device's first record was decrypted it may be a recording that the relay sends again, and nothing is done for it.
 */
import type { RawData, WebSocket } from 'ws'
import { isEqual, toBase64Url, type Bytes } from '../protocol/bytes.ts'
import { Channel, type ChannelEnd, type FrameLink } from '../protocol/channel.ts'
import {
  deviceId,
  FIRST_MESSAGE_LENGTH,
  readHandshake,
  type DeviceHello,
  type Met,
  type Purpose,
} from '../protocol/handshake.ts'
import { NoiseError, type NoiseKeyPair } from '../protocol/noise.ts'
import { RECORD, type ChannelCloseReason, type ChannelRecord } from '../protocol/records.ts'
import { SEAT_PREFIX } from '../protocol/relay-wire.ts'
import type { Backlog, BacklogShare } from './backlog.ts'
import type { LinkClock } from './clock.ts'
import type { MeetingPlace } from './meeting-places.ts'
import { dialRelay, hangUp, MAX_HOPS, nodeNamed } from './relay-socket.ts'

/** How long the first message, and then the first record, may take, in milliseconds. */
const HANDSHAKE_MS = 10_000

/** A device that has proved that it holds its key. */
export interface Proven {
  readonly place: MeetingPlace
  /** The id of the device, of its key. */
  readonly id: string
  readonly deviceKey: Bytes
  readonly hello: DeviceHello
  readonly met: Met
  readonly channel: Channel
  /** Counts what waits in the channel. */
  readonly backlog: BacklogShare
}

/** What a handshake has told, before it is proven. */
type Shown = Pick<Proven, 'id' | 'deviceKey' | 'hello' | 'met'>

/** Who takes the records of a device. */
export interface Taker {
  /** @throws {NoiseError} when it breaks a rule */
  take(record: ChannelRecord): void
  ended(end: ChannelEnd): void
  /** Closes the channel, because too much waits in it. */
  shed(): void
}

/** What a seat needs, and whom it tells. */
export interface SeatParts {
  readonly own: NoiseKeyPair
  /** As configured. */
  readonly relay: string
  readonly clock: LinkClock
  /** Counts what waits in all channels. */
  readonly backlog: Backlog
  /** The key that a device at this place must have; undefined when any may come, or none. */
  readonly keyOf: (place: MeetingPlace) => Bytes | undefined
  /** Whether anybody is still expected at the place. */
  readonly isExpected: (place: MeetingPlace) => boolean
  /** A handshake failed, or was answered and never proven. */
  readonly onFailed: (place: MeetingPlace) => void
  /** The device has proved itself. @returns who takes its records; undefined when the channel was closed */
  readonly onProven: (proven: Proven) => Taker | undefined
  /** The seat is over. Called once. */
  readonly onOver: () => void
}

/** A seat. */
export class Seat {
  readonly #parts: SeatParts
  readonly #place: MeetingPlace
  readonly #path: string
  #socket: WebSocket
  #hops = 0
  #state: 'waits' | 'reads' | 'answered' | 'proven' | 'over' = 'waits'
  #channel: Channel | undefined
  #taker: Taker | undefined
  readonly #backlog: BacklogShare
  #cancelTimer: () => void

  /** @param node the node of the relay that has told of the knock */
  constructor(
    parts: SeatParts,
    { place, ticket, node }: { place: MeetingPlace; ticket: Bytes; node: string },
  ) {
    this.#parts = parts
    this.#place = place
    this.#backlog = parts.backlog.share(() => this.#taker?.shed())
    this.#path = `${SEAT_PREFIX}${toBase64Url(place.id)}/${toBase64Url(ticket)}`
    this.#socket = this.#dial(node)
    this.#cancelTimer = parts.clock.after(HANDSHAKE_MS, () => this.#giveUp())
  }

  /** Closes the channel, or leaves before there is one. */
  close(reason: ChannelCloseReason, text: string): void {
    if (this.#channel === undefined) this.#giveUp()
    else this.#channel.close(reason, text)
  }

  #dial(node: string): WebSocket {
    const socket = dialRelay(node, this.#path)
    socket.on('message', (data, isBinary) => this.#heard(data, isBinary))
    socket.on('close', (code, reason) => this.#closed(code, reason))
    return socket
  }

  #heard(data: RawData, isBinary: boolean): void {
    if (this.#state === 'over') return
    if (!isBinary || !Buffer.isBuffer(data)) this.#fail()
    else if (this.#channel !== undefined) this.#channel.receive(new Uint8Array(data))
    else if (this.#state === 'waits') void this.#meet(new Uint8Array(data))
    else this.#fail() // an honest device waits for the second message
  }

  async #meet(first: Bytes): Promise<void> {
    this.#state = 'reads'
    const { own, clock, keyOf, isExpected } = this.#parts
    const place = this.#place
    // Before any cryptography: a first message that was sent here before is a recording.
    if (first.length === FIRST_MESSAGE_LENGTH && !place.pace.isNew(first)) {
      this.#giveUp()
      return
    }
    try {
      const read = await readHandshake({ purpose: purposeOf(place), own, first })
      const key = keyOf(place)
      if (!isExpected(place) || (key !== undefined && !isEqual(key, read.deviceKey)))
        throw new NoiseError('another device is expected at this place')
      const { deviceKey, hello } = read
      const id = await deviceId(deviceKey)
      const { second, met } = await read.answer()
      if (!this.#isReading()) return
      this.#socket.send(second)
      this.#state = 'answered'
      this.#channel = new Channel({
        ...{ side: 'daemon', met, link: linkOf(this.#socket, this.#backlog) },
        clock: { now: clock.elapsed },
        events: {
          onRecord: (record) => this.#record(record, { id, deviceKey, hello, met }),
          onEnd: (end) => this.#ended(end),
        },
      })
      this.#cancelTimer()
      this.#cancelTimer = clock.after(HANDSHAKE_MS, () => {
        this.#channel?.close('protocol', 'the first record did not come in time')
      })
    } catch (error) {
      if (!(error instanceof NoiseError)) throw error
      this.#fail()
    }
  }

  #isReading(): boolean {
    return this.#state === 'reads'
  }

  #record(record: ChannelRecord, shown: Shown): void {
    if (record.type === RECORD.ready) this.#proven(shown)
    else this.#taker?.take(record)
  }

  #proven(shown: Shown): void {
    const channel = this.#channel
    if (channel === undefined || this.#state !== 'answered') return
    this.#state = 'proven'
    this.#cancelTimer()
    this.#place.pace.ended()
    const [place, backlog] = [this.#place, this.#backlog]
    this.#taker = this.#parts.onProven({ place, ...shown, channel, backlog })
  }

  #ended(end: ChannelEnd): void {
    if (this.#state === 'answered') this.#parts.onFailed(this.#place)
    this.#taker?.ended(end)
    this.#over()
  }

  #closed(code: number, reason: Buffer): void {
    if (this.#channel !== undefined) this.#channel.linkClosed()
    else if (this.#state === 'waits') {
      const node = nodeNamed(this.#parts.relay, code, reason)
      if (node !== undefined && this.#hops < MAX_HOPS) {
        this.#hops++
        this.#socket = this.#dial(node)
      } else this.#over()
    } else this.#over()
  }

  /** A handshake that failed, which burns an offer when it happens too often. */
  #fail(): void {
    if (this.#channel === undefined) this.#parts.onFailed(this.#place)
    this.#giveUp()
  }

  #giveUp(): void {
    if (this.#channel === undefined) this.#over()
    else this.#channel.close('protocol', 'a message was not binary') // the end of the channel follows
  }

  #over(): void {
    if (this.#state === 'over') return
    if (this.#state !== 'proven') this.#place.pace.ended()
    this.#state = 'over'
    this.#backlog.end()
    this.#cancelTimer()
    if (this.#channel === undefined) hangUp(this.#socket)
    this.#parts.onOver()
  }
}

function purposeOf({ id, guest }: MeetingPlace): Purpose {
  return guest.kind === 'offer'
    ? { kind: 'pair', offer: guest.offer.offer }
    : { kind: 'session', place: id }
}

function linkOf(socket: WebSocket, backlog: BacklogShare): FrameLink {
  return {
    send: (frame) => socket.send(frame, backlog.add(frame.length)),
    close: () => hangUp(socket),
    pause: () => socket.pause(),
    resume: () => socket.resume(),
    unsentBytes: () => socket.bufferedAmount,
  }
}
