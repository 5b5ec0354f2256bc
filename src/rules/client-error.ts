/**
 * Which error does the gateway answer to bytes that are no request? Decided by Node's error code and the packet in which the
 * parser failed, because nothing else is known of them.
 */
import type { ErrorCode } from '../answers/errors.ts'
import { allowedOriginIn, corsFields } from './cors.ts'

/** An error and the fields that its response needs. */
export interface ClientError {
  readonly code: ErrorCode
  readonly headers: Readonly<Record<string, string>>
}

/**
 * @param nodeCode the `code` of Node's `clientError`
 * @param packet the packet in which the parser failed, one character a byte; empty after a timeout
 * @param allowedOrigins foreign origins whose pages may read the response
 */
export function clientErrorOf(
  nodeCode: string,
  packet: string,
  allowedOrigins: readonly string[],
): ClientError {
  const code = errorCodeOf(nodeCode)
  const origin = allowedOriginIn(packet, allowedOrigins)
  const headers = {
    ...(code === 'headers-too-large' ? cookieRelief(packet) : {}),
    ...(origin === undefined ? {} : corsFields(origin)),
  }
  return { code, headers }
}

function errorCodeOf(nodeCode: string): ErrorCode {
  if (nodeCode === 'HPE_HEADER_OVERFLOW') return 'headers-too-large'
  return nodeCode === 'ERR_HTTP_REQUEST_TIMEOUT' ? 'request-timeout' : 'bad-request'
}

/** A request line that is longer than this is what made the headers too large, not the cookies. In bytes. */
const MAX_REQUEST_LINE = 4096

/**
 * A part of a `Cookie` line in one packet that is at least this long, in bytes, belongs to a cookie bomb. People's cookies
 * are shorter: the longest session token is as long as this.
 */
const MANY_COOKIES = 4096

/**
 * The field that makes the browser drop its cookies. A sibling workspace can set so many `Domain` cookies that no request
 * fits any more, and only a response can end that. The field is not sent when the address itself is too long, because a
 * link must not sign people out.
 */
function cookieRelief(packet: string): Readonly<Record<string, string>> {
  const [first = '', ...fields] = packet.split('\r\n')
  return isCookieBomb(first, fields) ? { 'Clear-Site-Data': '"cookies"' } : {}
}

/**
 * Whether cookies made the headers too large, as far as the packet in which the limit was passed tells. Node keeps no other
 * packet, and Caddy sends 4 KiB at a time, so the packet often begins in the middle of the `Cookie` line.
 * @param first the packet's first line, or the rest of one
 * @param fields its other lines
 */
export function isCookieBomb(first: string, fields: readonly string[]): boolean {
  const cookies = fields.filter((line) => /^cookie:/i.test(line))
  // An address contains no space, so a line that ends like a request line is a whole one, or the end of a long address.
  if (/ HTTP\/1\.1$/.test(first))
    return /^[A-Z]+ /.test(first) && first.length < MAX_REQUEST_LINE && cookies.length > 0
  if (first.includes('; ')) cookies.push(first)
  return cookies.some(({ length }) => length >= MANY_COOKIES)
}
