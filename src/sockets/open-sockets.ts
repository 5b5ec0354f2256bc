/**
 * Which WebSockets are open, and when does the gateway close them? Each belongs to a session and ends with it: when its
 * time is over (relay.ts asks the session twice a second), and when it is ended (gateway.ts wires `sessions.onEnded`). All of
 * them end when the gateway stops (drain-state.ts).
 */
import type { Principal } from '../identity/token.ts'

/** Why the gateway closes a socket: the close code and its reason (RFC 6455 section 7.4). */
export interface CloseReason {
  readonly code: number
  readonly reason: string
}

export const SESSION_ENDED: CloseReason = { code: 4401, reason: 'session ended' }
export const RESTARTING: CloseReason = { code: 1012, reason: 'restarting' }

/** Something that belongs to a session. */
interface Owned {
  readonly principal: Principal
}

/** An open WebSocket. */
export interface OpenSocket extends Owned {
  /** The client's address, for the cap. */
  readonly address: string
  /** Ends the connection between two frames. */
  close(reason: CloseReason): void
  /** Cuts the connection. */
  destroy(): void
}

/** A place below the caps for a socket, reserved before its service is dialled. */
export interface Place extends Owned {
  /** Why the socket must be closed as soon as it is open: `close` applied to it while the service was dialled. */
  readonly endedBy: CloseReason | undefined
  /** Releases the place. */
  readonly release: () => void
}

/** How many sockets one session, and one client address, may hold open at once. */
export const SOCKETS_PER_SESSION = 64
export const SOCKETS_PER_ADDRESS = 128

/** Every upgraded connection, by session. */
export class OpenSockets {
  readonly #sockets = new Set<OpenSocket>()
  readonly #places = new Set<Owned & { endedBy: CloseReason | undefined }>()
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

  /** Reserves a place before the service is dialled, so that a burst of handshakes cannot pass the caps. */
  reserve(principal: Principal, address: string): Place {
    const sessionId = principal.session.id
    count(this.#perSession, sessionId, 1)
    count(this.#perAddress, address, 1)
    const place = {
      principal,
      endedBy: undefined,
      release: () => {
        if (!this.#places.delete(place)) return
        count(this.#perSession, sessionId, -1)
        count(this.#perAddress, address, -1)
      },
    }
    this.#places.add(place)
    return place
  }

  add(socket: OpenSocket): void {
    this.#sockets.add(socket)
  }

  delete(socket: OpenSocket): void {
    this.#sockets.delete(socket)
  }

  /** Closes the sockets for which a condition holds, and those that are about to be opened. */
  close(reason: CloseReason, condition: (owned: Owned) => boolean = () => true): void {
    for (const place of this.#places) if (condition(place)) place.endedBy ??= reason
    for (const socket of this.#sockets) if (condition(socket)) socket.close(reason)
  }

  /** Closes the sockets whose session was ended, and those that are about to be opened under it. */
  closeEnded(): void {
    this.close(SESSION_ENDED, ({ principal }) => principal.session.endedBy !== undefined)
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
