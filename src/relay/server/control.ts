/** How is a daemon listened to? One message after the other, at a pace: the messages cost a relay more than their sender. */
import { setTimeout as pause } from 'node:timers/promises'
import type { RawData, WebSocket } from 'ws'
import {
  decodeDaemonMessage,
  encodeRelayMessage,
  IDLE_MS,
  RELAY_CLOSE,
  type DaemonMessage,
  type RelayMessage,
} from '../protocol/relay-wire.ts'
import type { RelayCounts } from './counts.ts'
import { MAX_KEPT_BYTES } from './direction.ts'

/** How long the next message waits, for each place in a message and one more, in milliseconds: 250 places a second. */
const PACE_MS = 4

/** What a control connection depends on. */
export interface ControlParts {
  readonly counts: RelayCounts
  /** The time, in milliseconds. It never goes back. */
  readonly now: () => number
  /** Does what a message says. The next message waits for it. */
  readonly onMessage: (message: DaemonMessage) => Promise<void>
  /** Called once, when the connection is over. */
  readonly onOver: () => void
}

/** The control connection of a daemon. */
export class Control {
  /** The ids of the places at which it sits, in base64url. Its owner changes them. */
  readonly places = new Set<string>()
  readonly #socket: WebSocket
  readonly #parts: ControlParts
  #heardAt: number
  #isOver = false
  /** Messages that have not been dealt with. */
  #waiting = 0
  /** Ends when every message so far has been dealt with. */
  #turn: Promise<void> = Promise.resolve()

  constructor(socket: WebSocket, parts: ControlParts) {
    this.#socket = socket
    this.#parts = parts
    this.#heardAt = parts.now()
    socket.on('message', (data: RawData, isBinary: boolean) => this.#hear(data, isBinary))
    socket.once('close', () => this.#over())
  }

  /** Whether it has been closed. */
  get isOver(): boolean {
    return this.#isOver
  }

  /** Sends a message. A daemon that reads nothing is cut off. */
  send(message: RelayMessage): void {
    if (this.#isOver) return
    this.#socket.send(encodeRelayMessage(message), { binary: true, compress: false })
    if (this.#socket.bufferedAmount > MAX_KEPT_BYTES) this.#socket.terminate()
  }

  /** Closes it. */
  close(word: keyof typeof RELAY_CLOSE): void {
    if (this.#isOver) return
    this.#parts.counts.closes[word]++
    this.#over()
    this.#socket.resume()
    this.#socket.close(RELAY_CLOSE[word])
  }

  /** Closes it when nothing was heard for too long. */
  check(now: number): void {
    if (now - this.#heardAt >= IDLE_MS) this.close('timedOut')
  }

  #hear(data: RawData, isBinary: boolean): void {
    if (this.#isOver) return
    this.#heardAt = this.#parts.now()
    const message =
      isBinary && Buffer.isBuffer(data) ? decodeDaemonMessage(Uint8Array.from(data)) : undefined
    if (message === undefined) {
      this.close('badMessage')
      return
    }
    this.#socket.pause() // what was read together with this message still comes, and waits for its turn
    this.#waiting++
    this.#turn = this.#obey(message, this.#turn)
  }

  async #obey(message: DaemonMessage, before: Promise<void>): Promise<void> {
    await before
    if (!this.#isOver) {
      await this.#parts.onMessage(message)
      await pause(PACE_MS * (1 + sizeOf(message)), undefined, { ref: false })
    }
    if (--this.#waiting === 0) this.#socket.resume()
  }

  #over(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#parts.onOver()
  }
}

function sizeOf(message: DaemonMessage): number {
  if (message.kind === 'sit') return message.keys.length
  return message.kind === 'leave' ? message.places.length : 0
}
