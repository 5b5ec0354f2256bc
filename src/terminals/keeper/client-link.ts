/**
 * How is output sent to a client, and how much of it has really arrived? The client's browser answers a ping after it has
 * handled everything that was sent before, so a ping behind every few messages tells how far behind it is, whatever the
 * gateway, Caddy and the kernels between have buffered.
 */
import type { RawData, WebSocket } from 'ws'

/** How much is sent between two pings, in bytes. */
const PING_EVERY_BYTES = 64 * 1024

/** A quiet client is pinged this often, in milliseconds. */
const PING_EVERY_MS = 20_000

/** A client from which nothing comes for this long has gone, in milliseconds: two pings, and time on a bad line. */
const GONE_MS = 60_000

/** What a terminal wants to hear of its client. */
export interface ClientEvents {
  readonly onMessage: (message: Buffer) => void
  /** The client has handled more of what was sent. */
  readonly onProgress: () => void
  /** The connection has ended. @param code of its close frame (RFC 6455 section 7.4); 1006 without one */
  readonly onEnd: (code: number) => void
}

const NOBODY: ClientEvents = { onMessage() {}, onProgress() {}, onEnd() {} }

/** A client's connection. */
export class ClientLink {
  readonly #socket: WebSocket
  #events: ClientEvents = NOBODY
  #sent = 0
  #pinged = 0
  #arrived = 0
  #heardAt = performance.now()
  #hasEnded = false

  constructor(socket: WebSocket) {
    this.#socket = socket
    socket.on('message', (data: RawData) => {
      this.#heardAt = performance.now()
      this.#events.onMessage(data as Buffer)
    })
    socket.on('pong', this.#onPong)
    socket.on('error', () => socket.terminate()) // what it sent is no WebSocket; `close` follows
    socket.on('close', (code) => {
      this.#hasEnded = true
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

  /** Sends a message. */
  send(message: Buffer): void {
    if (this.#hasEnded) return
    this.#socket.send(message)
    this.#sent += message.length
    if (this.#sent - this.#pinged >= PING_EVERY_BYTES) this.#ping()
  }

  /** Closes the connection. */
  close(code: number, reason: string): void {
    this.#socket.close(code, reason)
  }

  /** Stops reading, or goes on, so that input waits at the client. */
  holdInput(isHeld: boolean): void {
    if (isHeld) this.#socket.pause()
    else this.#socket.resume()
  }

  /** Pings a quiet client, and ends the connection of one that has gone. Call it every few seconds. */
  check(now: number): void {
    if (this.#socket.isPaused) this.#heardAt = now // nothing can be heard
    if (now - this.#heardAt >= GONE_MS) this.#socket.terminate()
    else if (now - this.#heardAt >= PING_EVERY_MS) this.#ping()
  }

  #ping(): void {
    this.#pinged = this.#sent
    this.#socket.ping(String(this.#sent))
  }

  readonly #onPong = (data: Buffer): void => {
    this.#heardAt = performance.now()
    const sent = Number(data.toString('latin1'))
    if (!(sent > this.#arrived && sent <= this.#pinged)) return // of no ping of ours, or late
    this.#arrived = sent
    this.#events.onProgress()
  }
}
