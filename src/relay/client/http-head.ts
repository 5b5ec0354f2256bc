/** How does a request begin, and how an answer? The strict grammar of RFC 9112, with a bound for everything. */
import { isFieldName, isFieldValue, listElements, trimOws } from '../../http/fields.ts'
import { METHODS } from '../../http/methods.ts'
import { utf8, type Bytes } from '../protocol/bytes.ts'
import { RemoteError } from './remote-error.ts'
import type { StreamReader } from './stream-reader.ts'

/** Fields by name. */
export type Fields = Readonly<Record<string, string>>

/** The first part of an answer. */
export interface AnswerHead {
  readonly status: number
  readonly headers: Headers
}

/** How long the body of an answer is (RFC 9112 section 6.3). */
export type BodyLength = { readonly kind: 'chunked' | 'to-end' } | { readonly bytes: number }

/** The longest head of an answer, in bytes. */
const MAX_HEAD_BYTES = 65_536

/** Answers with a status of 100 to 199 before the last one. */
const MAX_INTERIM_ANSWERS = 8

/** Fields that say where a request ends, or to whom it goes: they are the client's own. */
const OWN_FIELDS: ReadonlySet<string> = new Set([
  'host',
  'connection',
  'content-length',
  'transfer-encoding',
  'upgrade',
  'te',
  'trailer',
  'expect',
])

/**
 * The head of a request.
 * @param own fields of the client, which the caller cannot set
 * @throws {RemoteError} `bad-request` for what is no request, so that nothing in it can become a second one
 */
export function requestHead(
  method: string,
  path: string,
  headers: Fields,
  own: readonly (readonly [name: string, value: string])[],
): Bytes {
  if (!METHODS.some((each) => each === method))
    throw new RemoteError('bad-request', `the method is not one of ${METHODS.join(', ')}`)
  if (!/^\/[\x21-\x22\x24-\x7e]*$/.test(path))
    throw new RemoteError(
      'bad-request',
      'the path does not begin with / or has a space, a # or a character that must be percent-encoded',
    )
  const lines = [`${method} ${path} HTTP/1.1`, ...own.map(([name, value]) => `${name}: ${value}`)]
  for (const [name, value] of Object.entries(headers)) {
    if (!isFieldName(name) || !/^[\t\x20-\x7e]*$/.test(value))
      throw new RemoteError('bad-request', 'a header has a character that is not allowed')
    if (OWN_FIELDS.has(name.toLowerCase()))
      throw new RemoteError('bad-request', `the header ${name} is the client’s own`)
    lines.push(`${name}: ${value}`)
  }
  return utf8(`${lines.join('\r\n')}\r\n\r\n`)
}

/**
 * Reads the head of the last answer: those with a status of 100 to 199 are passed over, but for 101.
 * @throws {RemoteError} `bad-answer`, `cut`
 */
export async function readHead(reader: StreamReader): Promise<AnswerHead> {
  for (let i = 0; i <= MAX_INTERIM_ANSWERS; i++) {
    const head = await readOneHead(reader)
    if (head.status >= 200 || head.status === 101) return head
  }
  throw new RemoteError('bad-answer', 'too many interim answers came')
}

async function readOneHead(reader: StreamReader): Promise<AnswerHead> {
  let left = MAX_HEAD_BYTES
  const nextLine = async (): Promise<string> => {
    const line = await reader.line(left)
    left -= line.length + 2
    return line
  }
  const status = /^HTTP\/1\.[01] ([1-5][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*)?$/.exec(
    await nextLine(),
  )?.[1]
  if (status === undefined) throw new RemoteError('bad-answer', 'the answer is not HTTP/1.1')
  const headers = new Headers()
  for (let line = await nextLine(); line !== ''; line = await nextLine()) {
    const colon = line.indexOf(':')
    const name = line.slice(0, colon)
    const value = trimOws(line.slice(colon + 1))
    if (colon < 0 || !isFieldName(name) || !isFieldValue(value))
      throw new RemoteError('bad-answer', 'a header of the answer is not one')
    headers.append(name, value)
  }
  return { status: Number(status), headers }
}

/**
 * How long the body of an answer is.
 * @throws {RemoteError} `bad-answer` when it says two things, as one that hides another answer would
 */
export function bodyLength(method: string, { status, headers }: AnswerHead): BodyLength {
  const coding = headers.get('Transfer-Encoding')
  const length = headers.get('Content-Length')
  if (coding !== null && (length !== null || listElements(coding).join() !== 'chunked'))
    throw new RemoteError('bad-answer', 'the answer says in two ways, or oddly, where it ends')
  if (length !== null && !/^(?:0|[1-9][0-9]{0,14})$/.test(length))
    throw new RemoteError('bad-answer', 'the length of the answer is not a number')
  if (method === 'HEAD' || status === 204 || status === 304) return { bytes: 0 }
  if (coding !== null) return { kind: 'chunked' }
  return length === null ? { kind: 'to-end' } : { bytes: Number(length) }
}
