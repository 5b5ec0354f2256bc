/**
 * Is a request HTTP/1.1 as the gateway speaks it? Checked on the parsed request, before anybody looks at what it asks for,
 * because Node's parser accepts more than the gateway may pass on.
 */
import type { IncomingMessage } from 'node:http'
import { GatewayError, type ErrorCode } from '../answers/errors.ts'
import { singleLine } from '../http/fields.ts'
import { isHandshake } from '../http/handshake.ts'
import { METHODS } from '../http/methods.ts'
import { hasBody } from '../http/to-service.ts'

/** A request with more header fields is refused. Node's own limit would silently drop the fields above it. */
const MAX_HEADER_FIELDS = 100

/**
 * The refusal of a request that is not well-formed, or undefined.
 * @param isUpgrade whether the connection leaves HTTP with this request
 */
export function messageProblem(
  request: IncomingMessage,
  isUpgrade: boolean,
): GatewayError | undefined {
  const { rawHeaders, headers, httpVersion, method = '' } = request
  // Node's parser also accepts HTTP/0.9 and HTTP/2.0.
  if (httpVersion !== '1.1' && httpVersion !== '1.0')
    return closing('bad-request', `HTTP version ${httpVersion}`)
  if (rawHeaders.length > 2 * MAX_HEADER_FIELDS)
    return closing('headers-too-large', 'too many fields')
  const coding = headers['transfer-encoding']
  // Node's parser accepts `chunked` behind other codings. Another parser may frame such a body differently (smuggling).
  if (
    coding !== undefined &&
    (coding.toLowerCase() !== 'chunked' || request.httpVersionMinor === 0)
  ) {
    return closing('bad-request', 'transfer coding')
  }
  if (headers.expect !== undefined && headers.expect.toLowerCase() !== '100-continue')
    return closing('expectation-failed', 'expect')
  if (!METHODS.some((known) => known === method))
    return closing('method-not-allowed', method, { Allow: METHODS.join(', ') })
  if (isUpgrade) return handshakeProblem(request)
  return isHandshake(request) ? closing('bad-request', 'upgrade behind another request') : undefined
}

/** Refuses every WebSocket handshake but one of version 13, on a GET without a body (RFC 6455 section 4.2.1). */
function handshakeProblem(request: IncomingMessage): GatewayError | undefined {
  const { rawHeaders, method, httpVersionMinor } = request
  if (method !== 'GET' || httpVersionMinor === 0 || hasBody(rawHeaders))
    return closing('bad-request', 'upgrade on a request with a body')
  if (singleLine(rawHeaders, 'sec-websocket-version') !== '13') {
    return closing('upgrade-required', 'version', {
      'Sec-WebSocket-Version': '13',
      Upgrade: 'websocket',
    })
  }
  if (!/^[A-Za-z0-9+/]{22}==$/.test(singleLine(rawHeaders, 'sec-websocket-key') ?? ''))
    return closing('bad-request', 'websocket key')
  return undefined
}

/**
 * A refusal that closes the connection: a client that is this wrong may frame its stream differently, so that the next bytes
 * could be a smuggled request.
 */
function closing(
  code: ErrorCode,
  reason: string,
  headers: Readonly<Record<string, string>> = {},
): GatewayError {
  const fields = { ...headers, Connection: 'close' }
  return new GatewayError(code, { reason, headers: fields, retryAfter: undefined })
}
