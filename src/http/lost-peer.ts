/** Who is at the other end of a connection? Of some, nobody knows it any more. */
import type { Socket } from 'node:net'

/**
 * Whether the address of a TCP peer is lost, because the peer reset the connection before it was accepted. Such a connection must be
 * destroyed: what the peer has sent can still be read, and a peer without an address is otherwise that of a Unix socket, which is
 * trusted. A Unix socket has no address at either end.
 */
export function hasLostPeer({ remoteAddress, localAddress }: Socket): boolean {
  return remoteAddress === undefined && localAddress !== undefined
}
