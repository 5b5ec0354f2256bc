/** How is a request written to a service, and what does its form allow its connection? */
import { GatewayError } from '../answers/errors.ts'
import { isFieldName, isFieldValue } from '../http/fields.ts'

/** A request without its body. */
export interface RequestHead {
  readonly method: string
  /** Path and query. */
  readonly path: string
  /** Name and value in turn, `Host` among them; one character a byte. */
  readonly headers: readonly string[]
  readonly hasBody: boolean
}

/** Methods that are made for a body; without one, their requests say so (RFC 9110 section 8.6). */
const BODY_METHODS: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH'])

/** The head of a request as it goes over the wire. Its parts come from a parser that lets no line end through; checked again. */
export function requestText(
  { method, path, headers, hasBody }: RequestHead,
  hasLength: boolean,
): string {
  if (/[^\x21-\x7e\x80-\xff]/.test(path)) throw unwritable('target')
  let text = `${method} ${path} HTTP/1.1\r\n`
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] ?? ''
    const value = headers[i + 1] ?? ''
    if (!isFieldName(name) || !isFieldValue(value)) throw unwritable('field')
    text += `${name}: ${value}\r\n`
  }
  if (!hasLength) {
    if (hasBody) text += 'Transfer-Encoding: chunked\r\n'
    else if (BODY_METHODS.has(method)) text += 'Content-Length: 0\r\n'
  }
  return `${text}Connection: keep-alive\r\n\r\n`
}

function unwritable(part: string): GatewayError {
  return new GatewayError('internal-error', { reason: `a ${part} that would end its line` })
}

/**
 * Whether every service reads this request as it was written. libwebsockets (ttyd) does not read chunked bodies: it takes
 * them for the next request, whose answer would go to the next user of the connection. A body with a length is read by what
 * is built for bodies; on other methods some servers ignore it (RFC 9110 section 9.3.1).
 */
export function isSurelyRead({ method, hasBody }: RequestHead, hasLength: boolean): boolean {
  return !hasBody || (hasLength && BODY_METHODS.has(method))
}

/**
 * Whether a request may be sent again when a kept connection ends before a byte of an answer: most likely the service closed
 * the connection while the request was on its way, and if not, sending it twice does no more than once (RFC 9110 section 9.2.2).
 */
export function isRepeatable({ method, hasBody }: RequestHead): boolean {
  return !hasBody && (method === 'GET' || method === 'HEAD')
}
