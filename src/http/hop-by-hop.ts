/** Which headers end at one hop? The hop-by-hop ones listed here, and those that `Connection` names. Used in both directions. */

/** Hop-by-hop headers (RFC 9110 section 7.6.1 and the RFCs that it replaced). */
export const HOP_BY_HOP: readonly string[] = [
  'keep-alive',
  'proxy-authenticate',
  'proxy-authentication-info',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'trailers',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
]

/**
 * Removes the headers that `Connection` names, except `Content-Length`, which belongs to the message's framing, and the
 * `Sec-WebSocket-` headers of a handshake. One pass compacts the list: a service may send 13,000 headers, and removing
 * them one by one would move the rest each time.
 */
export function removeNominated(
  headers: string[],
  start: number,
  nominated: readonly string[],
  upgrade: boolean,
): void {
  const names = new Set(nominated)
  let end = start
  for (let i = start; i < headers.length; i += 2) {
    const name = headers[i] ?? ''
    const value = headers[i + 1] ?? ''
    if (isRemoved(name.toLowerCase(), names, upgrade)) continue
    headers[end++] = name
    headers[end++] = value
  }
  headers.length = end
}

function isRemoved(name: string, nominated: ReadonlySet<string>, upgrade: boolean): boolean {
  if (name === 'content-length' || (upgrade && name.startsWith('sec-websocket-'))) return false
  return nominated.has(name)
}
