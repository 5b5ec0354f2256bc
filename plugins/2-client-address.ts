/** Stage 2: which client sent the request, and did it use https? Proxies that are trusted say so, and nobody else. */
import { GatewayError } from '../src/answers/errors.ts'
import { fieldLines, listElements } from '../src/http/fields.ts'
import type { ClientFinder } from '../src/request/client-finder.ts'
import { Remembered } from '../src/limits/memo.ts'
import { stage } from '../src/request/stage.ts'

/** What the stage needs besides the request. */
interface ClientAddressOptions {
  readonly clients: ClientFinder
}

export default stage('client-address', ({ clients }: ClientAddressOptions) => {
  const schemes = new Remembered(schemeOf)
  return function findClient({ exchange, raw }) {
    const client = clients.find(raw)
    if (client === undefined)
      return new GatewayError('bad-request', {
        reason: 'X-Forwarded-For of a trusted proxy is no address, or too long',
      })
    exchange.client = client
    if (raw.socket.linkPeer !== undefined) exchange.scheme = 'https' // a channel is encrypted from end to end
    if (client.viaProxy)
      exchange.scheme = schemes.of(fieldLines(raw.rawHeaders, 'x-forwarded-proto').join(','))
    return undefined
  }
})

/**
 * The scheme that the last element of `X-Forwarded-Proto` names. Traefik sends `wss` on a handshake, and the value may be a quoted
 * string. An unknown value counts as http, because the gateway itself was reached by http; a page that was loaded by https
 * then has no valid cookie, which is the safe error.
 */
function schemeOf(forwardedProto: string): 'http' | 'https' {
  const last = listElements(forwardedProto).at(-1) ?? ''
  return /^(?:https|wss|"https"|"wss")$/.test(last) ? 'https' : 'http'
}
