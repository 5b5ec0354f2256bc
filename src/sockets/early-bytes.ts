/** What does a client do while its handshake waits? It may send frames already, or leave; neither must be missed. */
import type { Duplex } from 'node:stream'

/** Bytes that are kept for a client that does not wait for its answer; more stay in the kernel. */
const MAX_EARLY_BYTES = 64 * 1024

/**
 * Whether a client has ended its side, or its connection is broken. A client that left before anybody listened is told
 * by no event any more.
 */
export function hasLeft(socket: Duplex): boolean {
  return socket.destroyed || socket.readableEnded
}

/** Listens to a socket that nobody reads yet: without that, a client that leaves would not be noticed. */
export class EarlyBytes {
  readonly #socket: Duplex
  readonly #onLeft: () => void
  readonly #chunks: Buffer[] = []
  #length = 0

  /** @param onLeft called when the client ends its side or the connection breaks */
  constructor(socket: Duplex, onLeft: () => void) {
    this.#socket = socket
    this.#onLeft = onLeft
    socket.on('data', this.#onData)
    socket.once('end', onLeft)
    socket.once('close', onLeft)
  }

  /** Stops listening; another reader must take over in the same turn. @returns what came, in order */
  take(): Buffer {
    if (this.#length >= MAX_EARLY_BYTES) this.#socket.resume()
    this.#socket.off('data', this.#onData)
    this.#socket.off('end', this.#onLeft)
    this.#socket.off('close', this.#onLeft)
    return Buffer.concat(this.#chunks)
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#chunks.push(chunk)
    this.#length += chunk.length
    if (this.#length >= MAX_EARLY_BYTES) this.#socket.pause()
  }
}
