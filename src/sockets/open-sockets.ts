/**
 * Which WebSockets are open, and when does the gateway close them? Each belongs to a session and ends with it: relay.ts asks
 * the session twice a second whether it is over, and a session that is ended closes its sockets at once (src/gateway.ts wires
 * `sessions.onEnded`). All of them end when the gateway stops (drain-state.ts).
 */
import { SESSION_ENDED, type CloseReason } from '../answers/close-reasons.ts'
import type { Principal } from '../identity/token.ts'

/** An open WebSocket. */
export interface OpenSocket {
  /** Who opened it. It ends with the session of this principal. */
  readonly principal: Principal
  /** The client's address, for the cap. */
  readonly address: string
  /** Ends the connection between two frames. */
  close(reason: CloseReason): void
  /** Cuts the connection. */
  destroy(): void
}

/** How many sockets one session, and one client address, may hold open at once. */
export const SOCKETS_PER_SESSION = 64
export const SOCKETS_PER_ADDRESS = 128

/** Every upgraded connection, by session. */
export class OpenSockets {
  readonly #sockets = new Set<OpenSocket>()
  readonly #perSession = new Map<string, number>()
  readonly #perAddress = new Map<string, number>()

  get size(): number {
    return this.#sockets.size
  }

  /** How many a session has open, those included whose service is being dialled. */
  of(sessionId: string): number {
    return this.#perSession.get(sessionId) ?? 0
  }

  /** Whether one more may be opened. */
  hasRoom(sessionId: string, address: string): boolean {
    return (
      this.of(sessionId) < SOCKETS_PER_SESSION &&
      (this.#perAddress.get(address) ?? 0) < SOCKETS_PER_ADDRESS
    )
  }

  /**
   * Reserves a place before the service is dialled, so that a burst of handshakes cannot pass the caps.
   * @returns releases the place
   */
  reserve(sessionId: string, address: string): () => void {
    count(this.#perSession, sessionId, 1)
    count(this.#perAddress, address, 1)
    let isReserved = true
    return () => {
      if (!isReserved) return
      isReserved = false
      count(this.#perSession, sessionId, -1)
      count(this.#perAddress, address, -1)
    }
  }

  add(socket: OpenSocket): void {
    this.#sockets.add(socket)
  }

  delete(socket: OpenSocket): void {
    this.#sockets.delete(socket)
  }

  /** Closes every socket. */
  close(reason: CloseReason): void {
    for (const socket of this.#sockets) socket.close(reason)
  }

  /** Closes the sockets whose session was ended. */
  closeEnded(): void {
    for (const socket of this.#sockets)
      if (socket.principal.session.endedBy !== undefined) socket.close(SESSION_ENDED)
  }

  /** Cuts every socket, without a close frame. */
  destroyAll(): void {
    for (const socket of this.#sockets) socket.destroy()
  }
}

function count(counts: Map<string, number>, key: string, change: number): void {
  const next = (counts.get(key) ?? 0) + change
  if (next > 0) counts.set(key, next)
  else counts.delete(key)
}
