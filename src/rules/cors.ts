/** May a page of a foreign origin read a response? The CORS headers here allow it (Fetch Standard section 3.2). */
import type { IncomingHttpHeaders } from 'node:http'
import { EXPOSED_FIELDS } from '../http/browser.ts'

/** The headers that allow a page of an allowed origin to read a response of the gateway. */
export function corsFields(allowOrigin: string): Readonly<Record<string, string>> {
  return {
    'Access-Control-Allow-Origin': allowOrigin,
    'Access-Control-Allow-Credentials': 'true',
    'Access-Control-Expose-Headers': EXPOSED_FIELDS,
    Vary: 'Origin',
  }
}

/** Whether a request is a CORS preflight, with which a browser asks if it may send the actual request. */
export function isPreflight(method: string, headers: IncomingHttpHeaders): boolean {
  return method === 'OPTIONS' && headers['access-control-request-method'] !== undefined
}

/**
 * Finds an allowed origin in bytes that the HTTP parser rejected, or undefined. Exactly one whole `Origin` line is accepted. A
 * wrong guess is harmless: browsers compare the returned origin with the page's, and the error response holds no secret.
 * @param packet the packet at which the parser stopped
 */
export function allowedOriginIn(packet: string, allowed: readonly string[]): string | undefined {
  if (allowed.length === 0) return undefined
  const lines = packet.split('\r\n').filter((line) => /^origin:/i.test(line))
  const origin = lines.length === 1 ? lines[0]?.slice('origin:'.length).trim() : undefined
  return origin !== undefined && allowed.includes(origin) ? origin : undefined
}
