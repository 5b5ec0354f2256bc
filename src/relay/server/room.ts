/** What is a room? A device's connection and, once the daemon has come, the daemon's. When one side leaves, the other is closed. */
import type { RawData, WebSocket } from 'ws'
import { COMPLETE_MS, IDLE_MS, RELAY_CLOSE } from '../protocol/relay-wire.ts'
import type { CloseWord, RelayCounts } from './counts.ts'
import { Direction, MAX_KEPT_BYTES } from './direction.ts'

/** The most messages that are kept until the daemon comes. A handshake is one. */
const MAX_EARLY_MESSAGES = 64

/** RFC 6455 section 7.4.1: a connection has done what it was for. */
const NORMAL = 1000

/** What a room depends on. */
export interface RoomParts {
  readonly counts: RelayCounts
  /** The time, in milliseconds. It never goes back. */
  readonly now: () => number
  /** Called once, when the room is over. */
  readonly onOver: (room: Room) => void
}

/** A device, and the daemon that came to it. */
export class Room {
  /** What the daemon shows to get the other seat, in base64url. */
  readonly ticket: string
  readonly #device: WebSocket
  readonly #parts: RoomParts
  #seat: WebSocket | undefined
  #toDevice: Direction | undefined
  #toSeat: Direction | undefined
  /** What the device sent before the daemon came. */
  #early: Buffer[] = []
  #earlyBytes = 0
  #heardAt: number
  #isOver = false

  constructor(device: WebSocket, ticket: string, parts: RoomParts) {
    this.ticket = ticket
    this.#device = device
    this.#parts = parts
    this.#heardAt = parts.now()
    device.on('message', (data: RawData, isBinary: boolean) => {
      const message = this.#take(device, data, isBinary)
      if (message === undefined) return
      if (this.#toSeat === undefined) this.#keep(message)
      else this.#toSeat.pass(message)
    })
    device.once('close', () => this.#sideLeft(this.#seat))
  }

  /** Whether the daemon has not come yet. */
  get isWaiting(): boolean {
    return this.#seat === undefined
  }

  /** Gives the daemon the other seat. Call it once. */
  join(seat: WebSocket): void {
    const { counts, now } = this.#parts
    counts.joined++
    this.#seat = seat
    this.#heardAt = now()
    const toDevice = new Direction(seat, this.#device, counts)
    const toSeat = new Direction(this.#device, seat, counts)
    this.#toDevice = toDevice
    this.#toSeat = toSeat
    seat.on('message', (data: RawData, isBinary: boolean) => {
      const message = this.#take(seat, data, isBinary)
      if (message !== undefined) this.#toDevice?.pass(message)
    })
    seat.once('close', () => this.#sideLeft(this.#device))
    this.#device.resume()
    for (const message of this.#early) toSeat.pass(message)
    this.#early = []
  }

  /** Closes the room when the daemon has not come in time, or when nothing was sent for too long. */
  check(now: number): void {
    const limit = this.isWaiting ? COMPLETE_MS : IDLE_MS
    if (now - this.#heardAt >= limit) this.close('timedOut')
  }

  /** Closes both sides with the same code. */
  close(word: Exclude<CloseWord, 'otherSideLeft'>): void {
    if (this.#isOver) return
    this.#over(word)
    for (const side of [this.#device, this.#seat]) {
      side?.resume() // so that the other side's half of the closing is read
      side?.close(RELAY_CLOSE[word])
    }
  }

  /** The message, if it may be passed. */
  #take(from: WebSocket, data: RawData, isBinary: boolean): Buffer | undefined {
    if (this.#isOver) return undefined
    if (!isBinary || !Buffer.isBuffer(data)) {
      this.#over('badMessage')
      from.close(RELAY_CLOSE.badMessage, 'messages are binary')
      this.#closeOther(from === this.#device ? this.#seat : this.#device)
      return undefined
    }
    // Waiting for the daemon is not put off by what the device sends.
    if (!this.isWaiting) this.#heardAt = this.#parts.now()
    return data
  }

  #keep(message: Buffer): void {
    this.#early.push(message)
    this.#earlyBytes += message.length
    // One more read of the socket may come.
    if (this.#earlyBytes >= MAX_KEPT_BYTES / 2 || this.#early.length >= MAX_EARLY_MESSAGES)
      this.#device.pause()
  }

  #sideLeft(other: WebSocket | undefined): void {
    if (this.#isOver) return
    this.#over('otherSideLeft')
    this.#closeOther(other)
  }

  #closeOther(other: WebSocket | undefined): void {
    other?.resume()
    if (other === this.#device) other.close(RELAY_CLOSE.nobodyThere, 'the daemon has left')
    else other?.close(NORMAL, 'the device has left')
  }

  #over(word: CloseWord): void {
    this.#isOver = true
    this.#early = []
    this.#parts.counts.closes[word]++
    this.#parts.onOver(this)
  }
}
