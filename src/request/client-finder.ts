/** Which client sent a request? The peer, or the address that a trusted proxy names in `X-Forwarded-For`. */
import type { IncomingMessage } from 'node:http'
import { buildClient, clientFrom, type Cidr, type Client } from '../http/address.ts'
import { fieldLines } from '../http/fields.ts'
import { Remembered } from '../limits/memo.ts'

/** Finds the client of a request, and remembers the latest results. */
export class ClientFinder {
  readonly #trustedProxies: readonly Cidr[]
  /** A peer as a client, also a trusted proxy; undefined for what is no address. */
  readonly #peers: Remembered<Client | undefined>
  /** The client that a trusted proxy names. */
  readonly #named: Remembered<Client | undefined>

  /** @param trustedProxies the peers whose `X-Forwarded-For` is believed */
  constructor(trustedProxies: readonly Cidr[]) {
    this.#trustedProxies = trustedProxies
    this.#peers = new Remembered((peer) => clientFrom(peer, [], trustedProxies))
    this.#named = new Remembered((forwardedFor) =>
      clientFrom(undefined, [forwardedFor], trustedProxies),
    )
  }

  /** @returns undefined when a trusted proxy sent an `X-Forwarded-For` that cannot be read */
  find({ socket, rawHeaders }: IncomingMessage): Client | undefined {
    // The link has said who it is, and no field that a device sends is believed.
    if (socket.linkPeer !== undefined) return socket.linkPeer.client
    const peer = socket.remoteAddress // none of a Unix socket, and such a peer is trusted
    if (peer !== undefined) {
      const client = this.#peers.of(peer)
      if (client?.viaProxy !== true) return client
    }
    const forwardedFor = fieldLines(rawHeaders, 'x-forwarded-for').join(',')
    // Only an address that is named does not depend on which trusted proxy names it.
    return NAMES_NOBODY.test(forwardedFor)
      ? clientFrom(peer, [forwardedFor], this.#trustedProxies)
      : this.#named.of(forwardedFor)
  }

  /** The client of a request that an earlier stage than `client-address` refused: found in the same way, else the bare peer. */
  findOrPeer(raw: IncomingMessage): Client {
    return this.find(raw) ?? peerOf(raw)
  }
}

/** No element, or empty ones (RFC 9110 section 5.6.1). */
const NAMES_NOBODY = /^[ \t,]*$/

function peerOf({ socket }: IncomingMessage): Client {
  return clientFrom(socket.remoteAddress ?? '0.0.0.0', [], []) ?? buildClient([0, 0, 0, 0], false)
}
