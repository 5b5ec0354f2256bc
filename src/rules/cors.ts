/** May a page of a foreign origin read an answer, and what may it see of it? The CORS fields, once (Fetch Standard section 3.2). */
import type { IncomingHttpHeaders } from 'node:http'
import { EXPOSED_FIELDS } from '../http/browser.ts'

/** The fields with which a page of an allowed origin may read an answer of ours. */
export function corsFields(allowOrigin: string): Readonly<Record<string, string>> {
  return {
    'Access-Control-Allow-Origin': allowOrigin,
    'Access-Control-Allow-Credentials': 'true',
    'Access-Control-Expose-Headers': EXPOSED_FIELDS,
    Vary: 'Origin',
  }
}

/** Whether a request asks on behalf of a browser whether another one may be sent (CORS-preflight request). */
export function isPreflight(method: string, headers: IncomingHttpHeaders): boolean {
  return method === 'OPTIONS' && headers['access-control-request-method'] !== undefined
}

/**
 * The allowed origin in bytes that the parser refused, or undefined. Only one whole `Origin` line counts. A wrong guess does no
 * harm: browsers compare the answer's origin with the page's, and the answer says nothing that is secret.
 * @param packet the packet in which the parser stopped
 */
export function allowedOriginIn(packet: string, allowed: readonly string[]): string | undefined {
  if (allowed.length === 0) return undefined
  const lines = packet.split('\r\n').filter((line) => /^origin:/i.test(line))
  const origin = lines.length === 1 ? lines[0]?.slice('origin:'.length).trim() : undefined
  return origin !== undefined && allowed.includes(origin) ? origin : undefined
}
