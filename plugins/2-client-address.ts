/** Who is calling, and how did they reach the front of the chain? */
import type { IncomingMessage } from 'node:http'
import fp from 'fastify-plugin'
import { buildClient, clientFrom, type Cidr, type Client } from '../src/http/address.ts'
import { GatewayError } from '../src/answers/errors.ts'
import { fieldLines, listElements } from '../src/http/fields.ts'
import { Remembered } from '../src/limits/memo.ts'

/** Whose forwarding fields are believed. */
export interface ClientAddressOptions {
  readonly trustedProxies: readonly Cidr[]
}

declare module 'fastify' {
  interface FastifyInstance {
    /** The client of a request that was refused before stage 2: found the same way, the bare peer when that fails. */
    clientOf(raw: IncomingMessage): Client
  }
}

export default fp(
  async function clientAddress(app, { trustedProxies }: ClientAddressOptions) {
    // Neither part can hold a line feed; a Unix socket's peer has no address.
    const clients = new Remembered((key) => {
      const [peer = '', forwardedFor = ''] = key.split('\n')
      return clientFrom(peer === '' ? undefined : peer, [forwardedFor], trustedProxies)
    })
    const find = ({ socket, rawHeaders }: IncomingMessage) =>
      clients.of(
        `${socket.remoteAddress ?? ''}\n${fieldLines(rawHeaders, 'x-forwarded-for').join(',')}`,
      )

    app.decorate('clientOf', (raw: IncomingMessage) => find(raw) ?? peerOf(raw))

    app.addHook('onRequest', function findClient(request, _reply, done) {
      const { exchange, raw } = request
      exchange.outcome.stage = 'client-address'
      const client = find(raw)
      if (client === undefined) {
        done(
          new GatewayError('bad-request', {
            reason: 'X-Forwarded-For of a trusted proxy is no address, or too long',
          }),
        )
        return
      }
      exchange.client = client
      if (client.viaProxy) {
        const last = fieldLines(raw.rawHeaders, 'x-forwarded-proto').flatMap(listElements).at(-1)
        exchange.scheme = isSecureScheme(last) ? 'https' : 'http'
      }
      done()
    })
  },
  { name: 'client-address', fastify: '5.x', dependencies: ['target'] },
)

/**
 * Whether a lower-case element of `X-Forwarded-Proto` names TLS. Traefik says `wss` on a handshake, and a value may be a
 * quoted string. Whatever is not understood says nothing: the client then came by http as we were reached, and no cookie
 * passes for a page that came by https.
 */
function isSecureScheme(element: string | undefined): boolean {
  return element !== undefined && /^(?:https|wss|"https"|"wss")$/.test(element)
}

function peerOf(raw: IncomingMessage): Client {
  return (
    clientFrom(raw.socket.remoteAddress ?? '0.0.0.0', [], []) ?? buildClient([0, 0, 0, 0], false)
  )
}
