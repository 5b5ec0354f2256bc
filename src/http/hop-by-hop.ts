/** What do both directions of the header policy share? The fields of one hop, and what may be nominated away. */

/** Hop-by-hop fields (RFC 9110 section 7.6.1 and its history). */
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
 * Removes the fields that `Connection` nominates. The framing of the message is the parser's business, and a handshake needs
 * its own fields: no nomination takes those. The list is closed up in one pass: a service may send 13,000 fields, and taking
 * them out one by one would move the rest each time.
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
