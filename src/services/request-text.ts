/**
 * How is a request's head written to a service? As text. The form of the request (its method and how its body is framed) decides
 * whether the connection can be kept afterwards, and whether the request may be sent again.
 */
import { GatewayError } from '../answers/errors.ts'
import { fieldLines, isFieldName, isFieldValue } from '../http/fields.ts'

/** A request without its body. */
export interface RequestHead {
  readonly method: string
  /** Path and query. */
  readonly path: string
  /** Name and value in turn, `Host` among them; one character a byte. */
  readonly headers: readonly string[]
  readonly hasBody: boolean
}

/** How a request is written, and what that means for its connection. */
export interface RequestForm {
  readonly hasBody: boolean
  /** Whether the body is sent in chunks. */
  readonly isChunked: boolean
  /**
   * Whether every service reads this request as it was written. libwebsockets (ttyd) does not read chunked bodies: it takes
   * them for the next request, whose response would go to the next user of the connection. A body with a length is read on
   * methods that expect one; on other methods some servers ignore it (RFC 9110 section 9.3.1).
   */
  readonly isSurelyRead: boolean
  /**
   * Whether the request may be sent again when a kept connection ends before a byte of a response: most likely the service
   * closed the connection while the request was on its way, and if not, sending it twice does no more than once (RFC 9110
   * section 9.2.2).
   */
  readonly isRepeatable: boolean
}

/** Methods that expect a body. Without one, their requests have `Content-Length: 0` (RFC 9110 section 8.6). */
const BODY_METHODS: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH'])

/** Every form that a request can have, made once: a request allocates nothing for its form. */
const FORMS = {
  repeatable: { hasBody: false, isChunked: false, isSurelyRead: true, isRepeatable: true },
  bodyless: { hasBody: false, isChunked: false, isSurelyRead: true, isRepeatable: false },
  counted: { hasBody: true, isChunked: false, isSurelyRead: true, isRepeatable: false },
  countedOddly: { hasBody: true, isChunked: false, isSurelyRead: false, isRepeatable: false },
  chunked: { hasBody: true, isChunked: true, isSurelyRead: false, isRepeatable: false },
} as const satisfies Record<string, RequestForm>

/** The form while a connection has had no request. */
export const NO_REQUEST: RequestForm = FORMS.bodyless

/** Whether a request has a `Content-Length`. */
export function hasLength({ headers }: Pick<RequestHead, 'headers'>): boolean {
  return fieldLines(headers, 'content-length').length > 0
}

/** The form of a request. @param isCounted whether the request has a `Content-Length` */
export function formOf({ method, hasBody }: RequestHead, isCounted: boolean): RequestForm {
  if (!hasBody) return method === 'GET' || method === 'HEAD' ? FORMS.repeatable : FORMS.bodyless
  if (!isCounted) return FORMS.chunked
  return BODY_METHODS.has(method) ? FORMS.counted : FORMS.countedOddly
}

/**
 * The head of a request as it goes over the wire. The client's parser lets no line end through, and every part is checked here
 * again, because a line end in a part would start a second request.
 * @param isCounted whether the request has a `Content-Length`
 * @throws {GatewayError} `internal-error` when a part would end its line
 */
export function requestText(
  { method, path, headers, hasBody }: RequestHead,
  isCounted: boolean,
): string {
  if (/[^\x21-\x7e\x80-\xff]/.test(path)) throw unwritable('target')
  let text = `${method} ${path} HTTP/1.1\r\n`
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] ?? ''
    const value = headers[i + 1] ?? ''
    if (!isFieldName(name) || !isFieldValue(value)) throw unwritable('field')
    text += `${name}: ${value}\r\n`
  }
  if (!isCounted) {
    if (hasBody) text += 'Transfer-Encoding: chunked\r\n'
    else if (BODY_METHODS.has(method)) text += 'Content-Length: 0\r\n'
  }
  return `${text}Connection: keep-alive\r\n\r\n`
}

function unwritable(part: string): GatewayError {
  return new GatewayError('internal-error', { reason: `a ${part} that would end its line` })
}
