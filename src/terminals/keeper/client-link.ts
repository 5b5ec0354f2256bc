/**
 * How is output sent to a client, and how much of it has really arrived? The client's browser answers a ping after it has
 * handled everything that was sent before, so a ping behind every few messages tells how far behind it is, whatever the
 * gateway, Caddy and the kernels between have buffered.
 */
import { randomBytes } from 'node:crypto'
import type { RawData, WebSocket } from 'ws'
import type { KeeperClock } from './clock.ts'
import { OutputBatch } from './output-batch.ts'

/** A client that is this far behind is not sent its backlog (bytes). It gets the screen when it has caught up. */
const MAX_BEHIND_BYTES = 1024 * 1024

/** A client that is this near has caught up, in bytes. */
const CAUGHT_UP_BYTES = 128 * 1024

/**
 * On a slow line much less than {@link MAX_BEHIND_BYTES} takes seconds, so a client is also behind when more than
 * {@link CAUGHT_UP_BYTES} wait and a ping takes this much longer than the fastest did, in milliseconds.
 */
const LATE_MS = 500

/** How much is sent between two pings, in bytes. */
const PING_EVERY_BYTES = 64 * 1024

/**
 * What a message counts beside its bytes, in bytes: about the memory that it takes while it waits. A shell that prints single
 * characters must not take a hundred times the memory of one that prints pages.
 */
export const MESSAGE_BYTES = 256

/** A quiet client is pinged this often, in milliseconds. */
const PING_EVERY_MS = 20_000

/**
 * A client from which nothing comes for this long has gone, in milliseconds: two pings, and time on a bad line. So has one that
 * leaves a ping unanswered for as long, whatever else it sends (RFC 6455 section 5.5.3).
 */
const GONE_MS = 60_000

/** The bytes of a ping. Nobody can guess them, so who answers has read the ping, and all that was sent before. */
const TOKEN_BYTES = 8

/** What a terminal wants to hear of its client. */
export interface ClientEvents {
  readonly onMessage: (message: Buffer) => void
  /** The client has handled more of what was sent. */
  readonly onProgress: () => void
  /** The connection has ended. @param code of its close frame (RFC 6455 section 7.4); 1006 without one */
  readonly onEnd: (code: number) => void
}

/** A ping that is not answered yet. */
interface Ping {
  readonly token: Buffer
  /** How much had been sent when it was sent, in bytes. */
  readonly sent: number
  /** When it was sent, on the monotonic clock. */
  at: number
}

/** Hears nothing. */
export const NOBODY: ClientEvents = { onMessage() {}, onProgress() {}, onEnd() {} }

/** A client's connection. */
export class ClientLink {
  readonly #socket: WebSocket
  #events: ClientEvents = NOBODY
  #sent = 0
  #pinged = 0
  #arrived = 0
  /** The pings that are not answered, oldest first: about twenty at most, since nothing is sent to a client that is behind. */
  #pings: Ping[] = []
  /** The fastest answer to a ping, in milliseconds: the way there and back with nothing waiting. */
  #fastestMs = Infinity
  readonly #elapsed: () => number
  #heardAt: number
  /** When something was last written to a client that is not read, on the monotonic clock. */
  #probedAt = -Infinity
  #hasEnded = false
  readonly #batch: OutputBatch

  constructor(socket: WebSocket, { elapsed }: KeeperClock) {
    this.#socket = socket
    this.#elapsed = elapsed
    this.#heardAt = elapsed()
    this.#batch = new OutputBatch(elapsed, (message) => socket.send(message))
    socket.on('message', (data: RawData) => {
      this.#heardAt = elapsed()
      this.#events.onMessage(data as Buffer)
    })
    socket.on('pong', this.#onPong)
    socket.on('error', () => socket.terminate()) // what it sent is no WebSocket; `close` follows
    socket.on('close', (code) => {
      this.#hasEnded = true
      this.#batch.drop()
      this.#events.onEnd(code)
    })
  }

  /** Says who listens from now on. */
  listen(events: ClientEvents): void {
    this.#events = events
  }

  /** How much was sent that the client has not handled, in bytes; less than 64 KiB of it may be handled already. */
  get waitingBytes(): number {
    return this.#sent - this.#arrived
  }

  /** Whether so much waits that what is typed now would be answered too late. */
  get isBehind(): boolean {
    const { waitingBytes } = this
    if (waitingBytes <= CAUGHT_UP_BYTES) return false
    return waitingBytes > MAX_BEHIND_BYTES || this.#isLate()
  }

  /** Whether so little waits that there is room for the screen, and what follows. */
  get hasCaughtUp(): boolean {
    return this.waitingBytes <= CAUGHT_UP_BYTES
  }

  /** Sends a message. */
  send(message: Buffer): void {
    if (this.#hasEnded) return
    this.#batch.send(message)
    this.#sent += message.length + MESSAGE_BYTES
    if (this.#sent - this.#pinged >= PING_EVERY_BYTES) this.#ping(this.#elapsed())
  }

  /** Closes the connection. */
  close(code: number, reason: string): void {
    this.#batch.flush()
    this.#socket.resume() // the answer to the close frame has to be read
    this.#socket.close(code, reason)
  }

  /** Stops reading, or goes on, so that input waits at the client. */
  holdInput(isHeld: boolean): void {
    if (isHeld) this.#socket.pause()
    else this.#socket.resume()
  }

  /** Pings a quiet client, and ends the connection of one that has gone. Call it about twice a second. */
  check(now: number): void {
    if (this.#socket.isPaused) {
      this.#heardAt = now // nothing can be heard, not even that the connection has ended; but then a write fails
      if (now - this.#probedAt >= PING_EVERY_MS) {
        this.#probedAt = now
        this.#socket.pong()
      }
      for (const ping of this.#pings) ping.at = now
    }
    const waitingMs = now - (this.#pings[0]?.at ?? now)
    if (now - this.#heardAt >= GONE_MS || waitingMs >= GONE_MS) this.#socket.terminate()
    else if (now - this.#heardAt >= PING_EVERY_MS && waitingMs === 0) this.#ping(now)
  }

  #isLate(): boolean {
    const [oldest] = this.#pings
    if (oldest === undefined) return false
    const usualMs = Number.isFinite(this.#fastestMs) ? this.#fastestMs : 0
    return this.#elapsed() - oldest.at > usualMs + LATE_MS
  }

  #ping(now: number): void {
    this.#batch.flush() // the ping goes behind everything that counts as sent
    this.#pinged = this.#sent
    const token = randomBytes(TOKEN_BYTES)
    this.#pings.push({ token, sent: this.#sent, at: now })
    this.#socket.ping(token)
  }

  /** An answer to a ping also answers the pings before it (RFC 6455 section 5.5.3). */
  readonly #onPong = (data: Buffer): void => {
    const now = this.#elapsed()
    this.#heardAt = now
    const index = this.#pings.findIndex(({ token }) => token.equals(data))
    const ping = this.#pings[index]
    if (ping === undefined) return // it answers no ping of ours, or one that is answered
    this.#pings.splice(0, index + 1)
    this.#fastestMs = Math.min(this.#fastestMs, now - ping.at)
    this.#arrived = ping.sent
    this.#events.onProgress()
  }
}
