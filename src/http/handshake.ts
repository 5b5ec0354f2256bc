/** Does a request ask for a WebSocket? Only if it asks for nothing else, because every other protocol is ignored. */
import type { IncomingMessage } from 'node:http'
import { listElements, singleLine } from './fields.ts'

/**
 * Whether `Upgrade` offers a WebSocket and nothing else. A list of protocols would let the server choose (RFC 9110 section
 * 7.8), and the gateway chooses HTTP/1.1: any other protocol would be a tunnel past the rules.
 */
export function offersWebSocket({ rawHeaders }: Pick<IncomingMessage, 'rawHeaders'>): boolean {
  return singleLine(rawHeaders, 'upgrade')?.toLowerCase() === 'websocket'
}

/**
 * Whether a request is a WebSocket handshake. `Upgrade` without `Connection: Upgrade` asks for nothing: the field is
 * hop-by-hop and is not forwarded.
 */
export function isHandshake(request: Pick<IncomingMessage, 'rawHeaders' | 'headers'>): boolean {
  const { upgrade, connection = '' } = request.headers
  // Most requests have no such field.
  return (
    upgrade !== undefined &&
    offersWebSocket(request) &&
    listElements(connection).includes('upgrade')
  )
}
