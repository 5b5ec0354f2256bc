/** How many connections may one peer hold open? A fixed number, so that one peer cannot take all that the server accepts. */

/** Connections that one address (IPv6: /64) may hold open. */
export const MAX_CONNECTIONS_PER_PEER = 256

/** The number of open connections of each peer. A peer without a connection takes no memory. */
export class PeerConnections {
  readonly #open = new Map<string, number>()

  /** Counts a new connection. @returns false, and counts nothing, when the peer holds as many as it may */
  add(peer: string): boolean {
    const open = this.#open.get(peer) ?? 0
    if (open >= MAX_CONNECTIONS_PER_PEER) return false
    this.#open.set(peer, open + 1)
    return true
  }

  /** Removes a connection that was counted. */
  delete(peer: string): void {
    const open = (this.#open.get(peer) ?? 0) - 1
    if (open > 0) this.#open.set(peer, open)
    else this.#open.delete(peer)
  }

  /** How many peers hold a connection. */
  get size(): number {
    return this.#open.size
  }
}
