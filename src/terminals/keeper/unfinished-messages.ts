/**
 * How much memory do messages take that clients have begun and not ended? One may have 32 MiB, and 64 clients would take 2 GiB
 * together. So all have a common bound, and at it the connection with the most of it ends; its terminal waits as after any cut.
 */
import type { Duplex } from 'node:stream'
import type { WebSocket } from 'ws'

/** How much all unfinished messages may take together, in bytes: four pastes of 16 MiB. */
const MAX_BYTES = 64 * 1024 * 1024

/** The head of a client's control frame, in bytes (RFC 6455 section 5.2). It may come within a message, and ends none. */
const CONTROL_HEAD_BYTES = 6

/** The unfinished messages of all clients. */
export class UnfinishedMessages {
  readonly #bytes = new Map<WebSocket, number>()
  #total = 0

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
      if (this.#total > MAX_BYTES) this.#endLargest()
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
