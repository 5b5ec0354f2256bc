/** Which sockets belong to which session, and when must they end? */
import type { Principal } from '../identity/token.ts'

/** Why the gateway ends a socket: the close code and its reason (RFC 6455 section 7.4). */
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

/** An upgraded connection under the gateway's care. */
export interface OpenSocket extends Owned {
  /** The client's address, for the cap. */
  readonly address: string
  /** When the session ends, in milliseconds since 1970. */
  readonly endsAt: number
  /** Ends the connection between two frames. */
  close(reason: CloseReason): void
  /** Cuts the connection. */
  destroy(): void
}

/** A place for a socket, taken before its service was asked. */
export interface Place extends Owned {
  /** Why the socket must end as soon as it is open: what it hangs on has ended while the service was asked. */
  readonly endedBy: CloseReason | undefined
  /** Gives the place back. */
  readonly release: () => void
}

/** Sockets that one session, and one client address, may hold open at once. */
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

  /** Whether one more may be opened. */
  hasRoom(sessionId: string, address: string): boolean {
    return (
      (this.#perSession.get(sessionId) ?? 0) < SOCKETS_PER_SESSION &&
      (this.#perAddress.get(address) ?? 0) < SOCKETS_PER_ADDRESS
    )
  }

  /** Takes a place before the service is dialled, so that a burst of handshakes cannot pass the cap. */
  reserve(principal: Principal, address: string): Place {
    const { sessionId } = principal
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

  /** Ends the sockets that a condition holds for, and those that are about to be opened. */
  close(reason: CloseReason, condition: (owned: Owned) => boolean = () => true): void {
    for (const place of this.#places) if (condition(place)) place.endedBy ??= reason
    for (const socket of this.#sockets) if (condition(socket)) socket.close(reason)
  }

  /** Cuts every socket. */
  destroyAll(): void {
    for (const socket of this.#sockets) socket.destroy()
  }
}

function count(counts: Map<string, number>, key: string, change: number): void {
  const next = (counts.get(key) ?? 0) + change
  if (next > 0) counts.set(key, next)
  else counts.delete(key)
}

/**
 * When a socket of this session ends, in milliseconds since 1970: at `exp`. One that is opened in the leeway after `exp`
 * ends with the leeway; else a terminal page, which reconnects at once, would be let in and thrown out in a hot loop.
 */
export function socketEndsAt(principal: Principal, leewaySeconds: number, nowMs: number): number {
  const expiry = principal.expiresAt * 1000
  return nowMs < expiry ? expiry : expiry + leewaySeconds * 1000
}
