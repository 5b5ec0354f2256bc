/** Which client sent a request? The peer, or the address that a trusted proxy names in `X-Forwarded-For`. */
import type { IncomingMessage } from 'node:http'
import { buildClient, clientFrom, type Cidr, type Client } from '../http/address.ts'
import { fieldLines } from '../http/fields.ts'
import { Remembered } from '../limits/memo.ts'

/** Finds the client of a request, and remembers the latest results. */
export class ClientFinder {
  readonly #clients: Remembered<Client | undefined>

  /** @param trustedProxies the peers whose `X-Forwarded-For` is believed */
  constructor(trustedProxies: readonly Cidr[]) {
    // A line feed joins the two parts, because neither can hold one. The peer of a Unix socket has no address.
    this.#clients = new Remembered((key) => {
      const [peer = '', forwardedFor = ''] = key.split('\n')
      return clientFrom(peer === '' ? undefined : peer, [forwardedFor], trustedProxies)
    })
  }

  /** @returns undefined when a trusted proxy sent an `X-Forwarded-For` that cannot be read */
  find({ socket, rawHeaders }: IncomingMessage): Client | undefined {
    // The link has said who it is, and no field that a device sends is believed.
    if (socket.linkPeer !== undefined) return socket.linkPeer.client
    return this.#clients.of(
      `${socket.remoteAddress ?? ''}\n${fieldLines(rawHeaders, 'x-forwarded-for').join(',')}`,
    )
  }

  /** The client of a request that an earlier stage than `client-address` refused: found in the same way, else the bare peer. */
  findOrPeer(raw: IncomingMessage): Client {
    return this.find(raw) ?? peerOf(raw)
  }
}

function peerOf({ socket }: IncomingMessage): Client {
  return clientFrom(socket.remoteAddress ?? '0.0.0.0', [], []) ?? buildClient([0, 0, 0, 0], false)
}
