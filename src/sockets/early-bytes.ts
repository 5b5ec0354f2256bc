/** What does a client send while the service has its handshake? Frames are kept for the service; a client that leaves is noticed. */
import type { Duplex } from 'node:stream'

/** How many bytes are kept of a client that does not wait for its response; more stay in the kernel. */
const MAX_EARLY_BYTES = 64 * 1024

/**
 * Whether a client has ended its side, or its connection is broken. No event reports that when it happened before a listener was
 * added.
 */
export function hasLeft(socket: Duplex): boolean {
  return socket.destroyed || socket.readableEnded
}

/** Reads a socket that has no other reader yet. An unread socket reports no end, so a client that leaves would not be noticed. */
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

  /** Stops reading; another reader must take over in the same turn. @returns the bytes that came, in order */
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
