/**
 * How do messages pass from one side of a room to the other? One by one, as they are. While the receiver is behind by as much as may
 * be kept, nothing more is read from the sender, so that TCP slows it down.
 */
import type { WebSocket } from 'ws'
import { MAX_FRAME_BYTES } from '../protocol/relay-wire.ts'
import type { RelayCounts } from './counts.ts'

/** The most bytes that are kept for one side of a room. */
export const MAX_KEPT_BYTES = 262_144

/** Reading stops here, because what was read together with the last message still comes: one message, and one read of a socket. */
const PAUSE_BYTES = MAX_KEPT_BYTES - 2 * MAX_FRAME_BYTES

/** Reading goes on at this many bytes: before the receiver has nothing left to read. */
const RESUME_BYTES = PAUSE_BYTES / 2

/** The most messages that are kept before reading stops: each takes memory beside its bytes. */
const PAUSE_MESSAGES = 256

const BINARY = { binary: true, compress: false } as const

/** One direction of a room. */
export class Direction {
  readonly #from: WebSocket
  readonly #to: WebSocket
  readonly #counts: RelayCounts
  /** Messages that were handed to the receiver's socket and are not yet with the kernel. */
  #kept = 0
  #isPaused = false

  constructor(from: WebSocket, to: WebSocket, counts: RelayCounts) {
    this.#from = from
    this.#to = to
    this.#counts = counts
  }

  /** Passes a message. One for a receiver that is already closing is dropped. */
  pass(message: Buffer): void {
    this.#counts.messages++
    this.#counts.bytes += message.length
    this.#kept++
    this.#to.send(message, BINARY, this.#sent)
    if (this.#isPaused || (this.#to.bufferedAmount < PAUSE_BYTES && this.#kept < PAUSE_MESSAGES))
      return
    this.#isPaused = true
    this.#from.pause()
  }

  readonly #sent = (): void => {
    this.#kept--
    if (!this.#isPaused) return
    if (this.#to.bufferedAmount > RESUME_BYTES || this.#kept > PAUSE_MESSAGES / 2) return
    this.#isPaused = false
    this.#from.resume()
  }
}
