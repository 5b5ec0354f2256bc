/** Stage 2: which client sent the request, and did it use https? Proxies that are trusted say so, and nobody else. */
import { GatewayError } from '../src/answers/errors.ts'
import { fieldLines, listElements } from '../src/http/fields.ts'
import type { ClientFinder } from '../src/request/client-finder.ts'
import { stage } from '../src/request/stage.ts'

/** What the stage needs besides the request. */
interface ClientAddressOptions {
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
      if (raw.socket.linkPeer !== undefined) exchange.scheme = 'https' // a channel is encrypted from end to end
      if (client.viaProxy) {
        const last = fieldLines(raw.rawHeaders, 'x-forwarded-proto').flatMap(listElements).at(-1)
        exchange.scheme = isSecureScheme(last) ? 'https' : 'http'
      }
      return undefined
    },
)

/**
 * Whether an element of `X-Forwarded-Proto`, in lower case, names TLS. Traefik sends `wss` on a handshake, and the value may
 * be a quoted string. An unknown value counts as http, because the gateway itself was reached by http; a page that was
 * loaded by https then has no valid cookie, which is the safe error.
 */
function isSecureScheme(element: string | undefined): boolean {
  return element !== undefined && /^(?:https|wss|"https"|"wss")$/.test(element)
}
