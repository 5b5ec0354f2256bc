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

/** The framing of the message is the parser's business, and a handshake needs its own fields: no nomination takes those. */
export function removeNominated(
  headers: string[],
  start: number,
  nominated: readonly string[],
  upgrade: boolean,
): void {
  const names = new Set(nominated)
  for (let i = headers.length - 2; i >= start; i -= 2) {
    const name = (headers[i] ?? '').toLowerCase()
    if (name === 'content-length' || (upgrade && name.startsWith('sec-websocket-'))) continue
    if (names.has(name)) headers.splice(i, 2)
  }
}
