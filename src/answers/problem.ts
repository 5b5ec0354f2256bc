/** How does an error become an answer? One writer for every door: hooks, the router's own errors, and the bare socket. */
import { STATUS_CODES } from 'node:http'
import { DETAILS } from './details.ts'
import { ERRORS, fixedRetryAfter, type ErrorCode, type GatewayError } from './errors.ts'
import { errorPage, PAGE_POLICY, signInPage } from './pages.ts'
import { Remembered } from '../limits/memo.ts'

/** Marks every answer that the gateway makes itself, so that nobody wonders who said 403. */
export const ERROR_FIELD = 'X-Gateway-Error'

/** An answer that is ready to be written. */
export interface Answer {
  readonly status: number
  /** Name and value in turn. */
  readonly headers: readonly string[]
  readonly body: string
}

/** Who gets the answer. */
export interface Audience {
  readonly requestId: string
  /** Whether a person is looking, who gets a page. */
  readonly page: boolean
  /** Whether that page may load itself again: it was asked for with a method that can be repeated. */
  readonly repeatable?: boolean
  /** The verified path to come back to after signing in. */
  readonly returnTo: string
}

const SIGN_IN_CODES: ReadonlySet<ErrorCode> = new Set([
  'sign-in-required',
  'token-invalid',
  'token-expired',
])

// RFC 6750 section 3: no error attribute when no credential was sent.
const CHALLENGES: Partial<Record<ErrorCode, string>> = {
  'sign-in-required': 'Bearer realm="workspace"',
  'token-invalid': 'Bearer realm="workspace", error="invalid_token"',
  'token-expired': 'Bearer realm="workspace", error="invalid_token", error_description="expired"',
}

/**
 * Makes the answer for an error: RFC 9457 problem details, or a page for a person. Fixed words only; the request is not
 * reflected, not even its address (CVE-2024-35225).
 */
export function problemAnswer(
  {
    code,
    headers: extra,
    detail = DETAILS[code],
    retryAfter = fixedRetryAfter(code),
  }: ProblemSource,
  audience: Audience,
): Answer {
  const { status } = ERRORS[code]
  const challenge = CHALLENGES[code]
  const headers = [...ownHeaders(audience.requestId), ERROR_FIELD, code]
  for (const [name, value] of Object.entries(extra ?? {}))
    for (const one of [value].flat()) headers.push(name, one)
  if (challenge !== undefined) headers.push('WWW-Authenticate', challenge)
  if (retryAfter !== undefined) headers.push('Retry-After', String(retryAfter))
  if (!audience.page)
    return withBody(
      status,
      headers,
      'application/problem+json',
      problemDocument(code, detail, audience.requestId),
    )
  return withBody(
    status,
    [...headers, 'Content-Security-Policy', PAGE_POLICY],
    'text/html; charset=utf-8',
    SIGN_IN_CODES.has(code)
      ? signInPage(code === 'sign-in-required' ? undefined : detail, audience.returnTo)
      : errorPage(code, {
          requestId: audience.requestId,
          detail,
          reloadSeconds: audience.repeatable === true ? retryAfter : undefined,
        }),
  )
}

/** The part of an error that its client hears of. */
export interface ProblemSource extends Pick<GatewayError, 'code' | 'headers'> {
  readonly detail?: string | undefined
  /** In seconds; that of the table when left out. */
  readonly retryAfter?: number | undefined
}

/** After how many seconds the client may try again; undefined when trying again is no use. */
export function retryAfterOf({
  code,
  retryAfter = fixedRetryAfter(code),
}: Pick<GatewayError, 'code' | 'retryAfter'>): number | undefined {
  return retryAfter
}

/** Fields of every answer of ours. */
export function ownHeaders(requestId: string): string[] {
  return [
    'Cache-Control',
    'no-store',
    'X-Content-Type-Options',
    'nosniff',
    'Referrer-Policy',
    'no-referrer',
    'X-Request-Id',
    requestId,
  ]
}

/** Adds a body with its type and length. */
export function withBody(
  status: number,
  headers: readonly string[],
  type: string,
  body: string,
): Answer {
  return {
    status,
    headers: [...headers, 'Content-Type', type, 'Content-Length', String(Buffer.byteLength(body))],
    body,
  }
}

/** @param requestId of our own making, in which JSON has nothing to escape */
function problemDocument(code: ErrorCode, detail: string, requestId: string): string {
  return `${documentBeginnings[code].of(detail)},"instance":"${requestId}"}\n`
}

/** By code, then by detail: texts that are there already. One that joins the two would be made for every refusal. */
const documentBeginnings = Object.fromEntries(
  Object.entries(ERRORS).map(([code, { status, title }]) => {
    const type = `urn:workspace-gateway:${code}`
    return [
      code,
      new Remembered((detail) =>
        JSON.stringify({ type, title, status, code, detail }).slice(0, -1),
      ),
    ]
  }),
) as Record<ErrorCode, Remembered<string>>

/**
 * A whole HTTP/1.1 answer as bytes, for a connection whose request the parser refused; the connection ends after it.
 * @param extra fields that the answer must carry, such as `Allow`
 */
export function rawAnswer(
  code: ErrorCode,
  requestId: string,
  extra?: GatewayError['headers'],
): string {
  const { status, headers, body } = problemAnswer(
    { code, headers: extra },
    { requestId, page: false, returnTo: '/' },
  )
  const lines = [`HTTP/1.1 ${status} ${STATUS_CODES[status]}`]
  for (let i = 0; i < headers.length; i += 2) lines.push(`${headers[i]}: ${headers[i + 1]}`)
  return `${lines.join('\r\n')}\r\nDate: ${new Date().toUTCString()}\r\nConnection: close\r\n\r\n${body}`
}
