/**
 * How much memory do messages take that clients have begun and not ended, or that ttyd has not read? One may have 32 MiB, and 64
 * clients would take 2 GiB together. So all have a common bound, at which the connection with the longest unfinished message ends;
 * its terminal waits as after any cut. What is finished is never dropped, and who types is never cut off.
 */
import type { Duplex } from 'node:stream'
import type { WebSocket } from 'ws'

/** How much all of it may take together, in bytes: four pastes of 16 MiB. */
export const MAX_BYTES = 64 * 1024 * 1024

/** A message of this length is finished in any case, in bytes: 64 of them take 16 MiB besides. */
const MAX_SMALL_BYTES = 256 * 1024

/** The head of a client's control frame, in bytes (RFC 6455 section 5.2). It may come within a message, and ends none. */
const CONTROL_HEAD_BYTES = 6

/** The unfinished messages of all clients. */
export class UnfinishedMessages {
  readonly #bytes = new Map<WebSocket, number>()
  readonly #maxBytes: number
  readonly #unreadBytes: () => number
  #total = 0

  /**
   * @param maxBytes how much all of it may take together
   * @param unreadBytes how much of finished messages waits for ttyd, in bytes; asked for while a long message arrives
   */
  constructor(maxBytes: number, unreadBytes: () => number) {
    this.#maxBytes = maxBytes
    this.#unreadBytes = unreadBytes
  }

  /** Counts what a client sends. @param socket the connection under its WebSocket */
  follow(webSocket: WebSocket, socket: Duplex): void {
    this.#bytes.set(webSocket, 0)
    const onControl = (data: Buffer) => this.#add(webSocket, -(data.length + CONTROL_HEAD_BYTES))
    webSocket.on('message', () => this.#add(webSocket, -Infinity))
    webSocket.on('ping', onControl)
    webSocket.on('pong', onControl)
    webSocket.once('close', () => this.#forget(webSocket))
    // Before ws gets them, because a message may end in them.
    socket.prependListener('data', (chunk: Buffer) => {
      this.#add(webSocket, chunk.length)
      const isSmall = (this.#bytes.get(webSocket) ?? 0) <= MAX_SMALL_BYTES
      if (!isSmall && this.#total + this.#unreadBytes() > this.#maxBytes) this.#endLargest()
    })
  }

  /** Adds to what a client has begun; it is never less than nothing. */
  #add(webSocket: WebSocket, bytes: number): void {
    const before = this.#bytes.get(webSocket)
    if (before === undefined) return
    const after = Math.max(0, before + bytes)
    this.#bytes.set(webSocket, after)
    this.#total += after - before
  }

  #endLargest(): void {
    let largest: WebSocket | undefined
    let most = 0
    for (const [webSocket, bytes] of this.#bytes)
      if (bytes > most) [largest, most] = [webSocket, bytes]
    if (largest === undefined) return
    this.#forget(largest)
    largest.terminate()
  }

  #forget(webSocket: WebSocket): void {
    this.#total -= this.#bytes.get(webSocket) ?? 0
    this.#bytes.delete(webSocket)
  }
}
