/**
 * How does an error become a response? One function builds the response for every source of errors: hooks, the router, and the
 * HTTP parser.
 */
import { STATUS_CODES } from 'node:http'
import { DETAILS } from './details.ts'
import {
  ERRORS,
  fixedRetryAfter,
  STEP_UP_MAX_AGE_SECONDS,
  type ErrorCode,
  type GatewayError,
} from './errors.ts'
import { errorPage } from './pages/error-page.ts'
import { loginFactorPage } from './pages/factor-pages.ts'
import type { PageContent, PageShell } from './pages/shell.ts'
import { renewPage, sessionEndedPage, signInPage, usedTicketPage } from './pages/sign-in-pages.ts'
import { Remembered } from '../limits/memo.ts'

/** The header that marks every error response of the gateway, so that a 403 of the gateway differs from a service's. */
export const ERROR_FIELD = 'X-Gateway-Error'

/** A complete response, ready to be written. Only what is kept as bytes, such as a compressed file, has bytes for its body. */
export interface Answer<Body extends string | Uint8Array = string> {
  readonly status: number
  /** A flat list: name, value, name, value. */
  readonly headers: readonly string[]
  readonly body: Body
}

/** The client that gets the response. */
export interface Audience {
  readonly requestId: string
  /** Builds the page, when the client is a person's browser; without it the client gets JSON. */
  readonly pages?: PageShell | undefined
  /** Whether the page may reload itself, because its request can be safely repeated. */
  readonly repeatable?: boolean
  /** The verified path to which the user returns after signing in. Default: `/`. */
  readonly returnTo?: string
  /** Whether the browser brought the session of its cookie, which is over. */
  readonly wasSignedIn?: boolean
  /** The service that the request was for, if it was for one. */
  readonly service?: string | undefined
  /** Whether the client wanted to renew a session, and so gets that form again. */
  readonly renews?: boolean
  /** The address of the login page; undefined when there is none, or when the client is not a browser. */
  readonly loginHref?: string | undefined
  /** The address of the gateway's own page for a second factor, when it would do as well as the login page. */
  readonly verifyHref?: string | undefined
}

/** The challenge of an answer that wants a second factor in the request itself: no other sign-in would do. */
export const FACTOR_CHALLENGE = 'Bearer realm="workspace", error="insufficient_user_authentication"'

/**
 * The challenge of an answer that wants a newer or stronger proof (RFC 9470 section 3).
 * @param methods the values of `amr` that would do
 */
export function stepUpChallenge(maxAgeSeconds: number, methods: readonly string[] = []): string {
  const values = methods.length === 0 ? '' : `, acr_values="${methods.join(' ')}"`
  return `${FACTOR_CHALLENGE}${values}, max_age=${maxAgeSeconds}`
}

// RFC 6750 section 3: no error attribute when no credential was sent.
const CHALLENGES: Partial<Record<ErrorCode, string>> = {
  'sign-in-required': 'Bearer realm="workspace"',
  'token-invalid': 'Bearer realm="workspace", error="invalid_token"',
  'token-expired': 'Bearer realm="workspace", error="invalid_token", error_description="expired"',
  'ticket-used': 'Bearer realm="workspace", error="invalid_token", error_description="used"',
  'step-up-required': stepUpChallenge(STEP_UP_MAX_AGE_SECONDS),
  'scope-missing': 'Bearer realm="workspace", error="insufficient_scope"',
}

/**
 * Builds the response for an error: RFC 9457 problem details, or a page for a person. It contains fixed texts and no part of
 * the request (CVE-2024-35225), except the verified path in the sign-in form.
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
  const headers = [
    ...ownHeaders(audience.requestId),
    ...errorFields({ code, headers: extra, retryAfter }),
  ]
  if (audience.pages === undefined)
    return withBody(
      status,
      headers,
      'application/problem+json',
      problemDocument(code, detail, audience.requestId),
    )
  return pageAnswer(status, headers, audience.pages, pageOf(code, detail, retryAfter, audience))
}

/** The headers of every response with an error, names and values in turn. */
export function errorFields({
  code,
  headers: extra,
  retryAfter = fixedRetryAfter(code),
}: Pick<GatewayError, 'code' | 'headers' | 'retryAfter'>): string[] {
  const fields = [ERROR_FIELD, code]
  const challenge = extra?.['WWW-Authenticate'] === undefined ? CHALLENGES[code] : undefined
  for (const [name, value] of Object.entries(extra ?? {}))
    for (const one of [value].flat()) fields.push(name, one)
  if (challenge !== undefined) fields.push('WWW-Authenticate', challenge)
  if (retryAfter !== undefined) fields.push(...retryAfterField(retryAfter))
  return fields
}

/** How long the client shall wait, as a header. */
export function retryAfterField(seconds: number): string[] {
  return ['Retry-After', String(seconds)]
}

function pageOf(
  code: ErrorCode,
  detail: string,
  retryAfter: number | undefined,
  audience: Audience,
): PageContent {
  const {
    requestId,
    repeatable,
    renews,
    returnTo = '/',
    loginHref,
    wasSignedIn,
    service,
  } = audience
  if (ERRORS[code].status !== 401)
    return errorPage(code, { requestId, detail, retryAfter, repeatable, service })
  if (code === 'step-up-required')
    return loginFactorPage({ ...audience, next: returnTo, problem: detail, loginHref })
  const form = { problem: code === 'sign-in-required' ? undefined : detail, returnTo, loginHref }
  if (renews === true) return renewPage(form)
  if (wasSignedIn === true) return sessionEndedPage({ ...form, problem: undefined })
  return code === 'ticket-used' ? usedTicketPage(form) : signInPage(form)
}

/** The part of an error that the client may see. */
export interface ProblemSource extends Pick<GatewayError, 'code' | 'headers'> {
  readonly detail?: string | undefined
  /** In seconds; that of the table when left out. */
  readonly retryAfter?: number | undefined
}

/** Seconds after which the client may retry; undefined when a retry cannot help. */
export function retryAfterOf({
  code,
  retryAfter = fixedRetryAfter(code),
}: Pick<GatewayError, 'code' | 'retryAfter'>): number | undefined {
  return retryAfter
}

/** Headers of every response that the gateway itself makes. */
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

/** Builds a response with a body and the headers for its type and length. */
export function withBody<Body extends string | Uint8Array>(
  status: number,
  headers: readonly string[],
  type: string,
  body: Body,
): Answer<Body> {
  return {
    status,
    headers: [...headers, 'Content-Type', type, 'Content-Length', String(Buffer.byteLength(body))],
    body,
  }
}

/** Builds a response with a page of the gateway's own. */
export function pageAnswer(
  status: number,
  headers: readonly string[],
  pages: PageShell,
  content: PageContent,
): Answer {
  const { html, policy } = pages.render(content)
  return withBody(
    status,
    [...headers, 'Content-Security-Policy', policy],
    'text/html; charset=utf-8',
    html,
  )
}

/** Builds a redirect. @param location a verified path of ours, or the login page */
export function redirectAnswer(
  status: 302 | 303,
  headers: readonly string[],
  location: string,
): Answer {
  return { status, headers: [...headers, 'Location', location, 'Content-Length', '0'], body: '' }
}

/** @param requestId made by the gateway, so it contains nothing that JSON must escape */
function problemDocument(code: ErrorCode, detail: string, requestId: string): string {
  return `${documentBeginnings[code].of(detail)},"instance":"${requestId}"}\n`
}

/**
 * The beginning of each problem document, cached by code and then by detail. One cache with a joined key would build a new
 * string for every refusal.
 */
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
 * Builds a whole HTTP/1.1 response as text, for a connection whose request the HTTP parser rejected. The connection is closed
 * after it.
 * @param extra headers that the response must have, such as `Allow`
 */
export function rawAnswer(
  code: ErrorCode,
  requestId: string,
  extra?: GatewayError['headers'],
): string {
  return answerText(problemAnswer({ code, headers: extra }, { requestId }))
}

/** A response as the text of HTTP/1.1, the last one of its connection. */
export function answerText({ status, headers, body }: Answer): string {
  const lines = [`HTTP/1.1 ${status} ${STATUS_CODES[status]}`]
  for (let i = 0; i < headers.length; i += 2) lines.push(`${headers[i]}: ${headers[i + 1]}`)
  return `${lines.join('\r\n')}\r\nDate: ${new Date().toUTCString()}\r\nConnection: close\r\n\r\n${body}`
}
