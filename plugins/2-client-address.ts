/** Who is calling, and how did they reach the front of the chain? */
import { GatewayError } from '../src/answers/errors.ts'
import { fieldLines, listElements } from '../src/http/fields.ts'
import type { ClientFinder } from '../src/request/client-finder.ts'
import { stage } from '../src/request/stage.ts'

/** Where clients are found. */
export interface ClientAddressOptions {
  readonly clients: ClientFinder
}

export default stage(
  'client-address',
  ({ clients }: ClientAddressOptions) =>
    function findClient({ exchange, raw }) {
      const client = clients.find(raw)
      if (client === undefined)
        return new GatewayError('bad-request', {
          reason: 'X-Forwarded-For of a trusted proxy is no address, or too long',
        })
      exchange.client = client
      if (client.viaProxy) {
        const last = fieldLines(raw.rawHeaders, 'x-forwarded-proto').flatMap(listElements).at(-1)
        exchange.scheme = isSecureScheme(last) ? 'https' : 'http'
      }
      return undefined
    },
)

/**
 * Whether a lower-case element of `X-Forwarded-Proto` names TLS. Traefik says `wss` on a handshake, and a value may be a
 * quoted string. Whatever is not understood says nothing: the client then came by http as we were reached, and no cookie
 * passes for a page that came by https.
 */
function isSecureScheme(element: string | undefined): boolean {
  return element !== undefined && /^(?:https|wss|"https"|"wss")$/.test(element)
}
