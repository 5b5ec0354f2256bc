/** Which response headers does the client get? The service's, filtered, plus the gateway's own (contract, section 6). */
import { sanitizeSetCookie } from './cookies.ts'
import { HOP_BY_HOP, removeNominated } from './hop-by-hop.ts'
import {
  EXPIRY_FIELD,
  EXPOSED_FIELDS,
  isolationFields,
  maySpeakForOrigin,
  speaksForOrigin,
} from './browser.ts'
import { KEPT_HEADER, REFUSAL_HEADER, TERMINAL_HEADER } from './keeper-fields.ts'
import { rewriteRefresh } from './location.ts'
import { Remembered } from '../limits/memo.ts'
import { fieldLines, listElements, trimOws, type RawHeaders } from './fields.ts'

// What to do with a response header. The kind is computed once per header name and cached.
const PASS = 0
const DROP = 1
const SET_COOKIE = 2
const LOCATION = 3
const CONNECTION = 4
const REFRESH = 5
const ORIGIN_WIDE = 6
type ResponseKind =
  | typeof PASS
  | typeof DROP
  | typeof SET_COOKIE
  | typeof LOCATION
  | typeof CONNECTION
  | typeof REFRESH
  | typeof ORIGIN_WIDE
  | PolicyField

/** Headers that the gateway adds only when the service did not send them. The values are bit numbers for `said`. */
const POLICY_FIELDS = {
  'x-content-type-options': 10,
  'referrer-policy': 11,
  'content-security-policy': 12,
  'cache-control': 13,
  'access-control-allow-origin': 14,
  'access-control-allow-credentials': 15,
  'access-control-expose-headers': 16,
} as const
/** Bit number: the response has some `Content-Security-Policy`, with or without `frame-ancestors`. */
const ANY_POLICY = 17
const NOSNIFF = POLICY_FIELDS['x-content-type-options']
const CONTENT_POLICY = POLICY_FIELDS['content-security-policy']
const ALLOW_ORIGIN = POLICY_FIELDS['access-control-allow-origin']
const ALLOW_CREDENTIALS = POLICY_FIELDS['access-control-allow-credentials']
type PolicyField = (typeof POLICY_FIELDS)[keyof typeof POLICY_FIELDS]

/** What the keeper of terminals tells the gateway alone. */
const FROM_KEEPER = [TERMINAL_HEADER, KEPT_HEADER, REFUSAL_HEADER].map((name) => name.toLowerCase())

/** Response headers that are removed: only the gateway may send them, or they apply to one hop. */
const NEVER_FROM_SERVICE: ReadonlySet<string> = new Set([
  ...HOP_BY_HOP,
  'x-gateway-error',
  'x-request-id',
  EXPIRY_FIELD.toLowerCase(),
  ...FROM_KEEPER,
])

const responseFieldKinds = new Remembered(kindOfResponseField)

function kindOfResponseField(name: string): ResponseKind {
  const lower = name.toLowerCase()
  if (lower === 'set-cookie') return SET_COOKIE
  if (lower === 'location' || lower === 'content-location') return LOCATION
  if (lower === 'refresh') return REFRESH
  if (lower === 'connection') return CONNECTION
  if (Object.hasOwn(POLICY_FIELDS, lower)) return POLICY_FIELDS[lower as keyof typeof POLICY_FIELDS]
  if (NEVER_FROM_SERVICE.has(lower)) return DROP
  return maySpeakForOrigin(lower) ? ORIGIN_WIDE : PASS
}

/** What the header policy needs to know about a service's response. */
export interface ReturnedAnswer {
  readonly status: number
  readonly requestId: string
  /** Whether the request was signed in. The response is then private, unless the service sent a `Cache-Control`. */
  readonly signedIn: boolean
  /** Rewrites a `Location` that names the service's own address to a path on the gateway. */
  readonly rewriteLocation: (location: string) => string
  /**
   * The path of an isolated service, whose headers may affect its own responses but not the origin that services share. Its
   * cookies are limited to this path. Undefined for any other service.
   */
  readonly isolatedAt: string | undefined
  /** The allowed foreign origin that may read the response (CORS), or undefined. */
  readonly allowOrigin: string | undefined
  /**
   * Whether any foreign origin is allowed. The response then varies by `Origin`, so that a cache does not serve a stored
   * response without CORS headers to a page of that origin (Fetch Standard 3.2.5).
   */
  readonly variesByOrigin?: boolean
  /** Headers to add, as a flat list: name, value, name, value. */
  readonly extra: readonly string[]
}

/** Builds the client's response headers from the service's. */
export function buildResponseHeaders(answered: RawHeaders, about: ReturnedAnswer): string[] {
  const raw =
    about.isolatedAt !== undefined ? withoutOriginWide(answered, about.allowOrigin) : answered
  const headers: string[] = []
  let nominated: string[] | undefined
  let said = 0
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] ?? ''
    const value = raw[i + 1] ?? ''
    const kind = responseFieldKinds.of(name)
    if (kind === PASS || kind === ORIGIN_WIDE) {
      headers.push(name, value)
    } else if (kind === SET_COOKIE) {
      const safe = sanitizeSetCookie(value, about.isolatedAt)
      if (safe !== undefined) headers.push(name, safe)
    } else if (kind === LOCATION) {
      headers.push(name, about.rewriteLocation(value))
    } else if (kind === REFRESH) {
      headers.push(name, rewriteRefresh(value, about.rewriteLocation))
    } else if (kind === CONNECTION) {
      if (!/^keep-alive$/i.test(value)) (nominated ??= []).push(...listElements(value))
    } else if (kind === NOSNIFF && trimOws(value).toLowerCase() !== 'nosniff') {
      continue // any other value has no effect, so treat the header as not sent
    } else if (kind !== DROP) {
      said |= saidBy(kind, value)
      headers.push(name, value)
    }
  }
  if (nominated !== undefined) {
    removeNominated(headers, 0, nominated, false)
    said = saidIn(headers) // a removed header does not count as sent
  }
  const silent = (field: keyof typeof POLICY_FIELDS) => (said & (1 << POLICY_FIELDS[field])) === 0
  if (silent('x-content-type-options')) headers.push('X-Content-Type-Options', 'nosniff')
  // A cache replaces the stored response's headers with those of a 304. So add no policies to a 304 on which the service sent
  // none: the policies of the stored response then stay in force.
  const keepsPolicies = about.status === 304
  if (silent('referrer-policy') && !keepsPolicies) headers.push('Referrer-Policy', 'same-origin')
  const hasPolicy = (said & (1 << ANY_POLICY)) !== 0
  const sandbox =
    about.isolatedAt !== undefined
      ? isolationFields(
          fieldLines(raw, 'content-type').join(),
          about.status === 206 || (keepsPolicies && hasPolicy),
        )
      : []
  if (silent('content-security-policy') && (!keepsPolicies || hasPolicy || sandbox.length > 0))
    headers.push('Content-Security-Policy', "frame-ancestors 'self'")
  headers.push(...sandbox)
  if (about.signedIn && silent('cache-control')) headers.push('Cache-Control', 'private, no-store')
  if (about.allowOrigin !== undefined && silent('access-control-allow-origin')) {
    headers.push('Access-Control-Allow-Origin', about.allowOrigin, 'Vary', 'Origin')
    if (silent('access-control-allow-credentials'))
      headers.push('Access-Control-Allow-Credentials', 'true')
  } else if (about.variesByOrigin === true && silent('access-control-allow-origin')) {
    headers.push('Vary', 'Origin')
  }
  if (about.allowOrigin !== undefined && silent('access-control-expose-headers'))
    headers.push('Access-Control-Expose-Headers', EXPOSED_FIELDS)
  headers.push('X-Request-Id', about.requestId, ...about.extra)
  return about.status === 204 ? withoutLength(headers) : headers
}

/** Matches `frame-ancestors` in a policy or in one of several. Without it, any site can frame the response. */
const FRAME_ANCESTORS = /(?:^|[;,])[\t\n\f\r ]*frame-ancestors(?=[\t\n\f\r ;,]|$)/i

/**
 * Removes the headers that affect the whole origin from an isolated service's response. `Access-Control-Allow-Credentials` is
 * one of them, unless the response's one allowed origin is also allowed by the gateway: with it, a foreign page could read
 * what the user's cookie gives access to.
 */
function withoutOriginWide(raw: RawHeaders, allowOrigin: string | undefined): RawHeaders {
  if (!hasOriginWide(raw)) return raw
  const kept: string[] = []
  const origins: string[] = []
  let credentials: string | undefined
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] ?? ''
    const value = raw[i + 1] ?? ''
    const kind = responseFieldKinds.of(name)
    if (kind === ALLOW_CREDENTIALS) credentials = value
    else if (kind !== ORIGIN_WIDE || !speaksForOrigin(name.toLowerCase(), value))
      kept.push(name, value)
    if (kind === ALLOW_ORIGIN) origins.push(value)
  }
  if (credentials !== undefined && origins.length === 1 && origins[0] === allowOrigin)
    kept.push('Access-Control-Allow-Credentials', credentials)
  return kept
}

/** Whether any header may affect the whole origin. Few responses have one; the others need no copy of their headers. */
function hasOriginWide(raw: RawHeaders): boolean {
  for (let i = 0; i < raw.length; i += 2) {
    const kind = responseFieldKinds.of(raw[i] ?? '')
    if (kind === ORIGIN_WIDE || kind === ALLOW_CREDENTIALS) return true
  }
  return false
}

/**
 * The fields of a response that nobody may store, without what a service says about storing it: the gateway then adds its own
 * `no-store`. The `…-Cache-Control` fields are those of RFC 9213, which go before `Cache-Control` for the caches that they name.
 */
export function withoutCacheRules(fields: RawHeaders): string[] {
  return fields.filter((_, i) => !CACHE_RULES.test(fields[i - (i % 2)] ?? ''))
}

const CACHE_RULES = /^(?:(?:[a-z0-9-]+-)?cache-control|surrogate-control|expires|pragma|age)$/i

/** Removes `Content-Length`: a 204 has none (RFC 9110 section 8.6). */
function withoutLength(headers: readonly string[]): string[] {
  return headers.filter((_, i) => headers[i - (i % 2)]?.toLowerCase() !== 'content-length')
}

/** The bits of all policy headers in a header list. */
function saidIn(headers: RawHeaders): number {
  let said = 0
  for (let i = 0; i < headers.length; i += 2) {
    const kind = responseFieldKinds.of(headers[i] ?? '')
    if (kind >= NOSNIFF) said |= saidBy(kind, headers[i + 1] ?? '')
  }
  return said
}

/** The bits of one policy header: that it was sent, and for a `Content-Security-Policy` whether it has `frame-ancestors`. */
function saidBy(kind: number, value: string): number {
  if (kind !== CONTENT_POLICY) return 1 << kind
  return (1 << ANY_POLICY) | (FRAME_ANCESTORS.test(value) ? 1 << CONTENT_POLICY : 0)
}

/** Headers removed from a `101`: those that only the gateway sends, and lengths, which a 101 has not (RFC 9110 section 8.6). */
const NEVER_WITH_SWITCH: ReadonlySet<string> = new Set([
  ...FROM_KEEPER,
  'x-gateway-error',
  'x-request-id',
  'content-length',
  'transfer-encoding',
])

/**
 * Headers removed from an informational response, besides those that affect the whole origin. They belong to the final
 * response; sent here, they would bypass the policy that filters the final response.
 */
const NEVER_INFORMATIONAL: ReadonlySet<string> = new Set([
  'content-length',
  'set-cookie',
  'refresh',
])

/** Builds the headers of an informational response: hints such as `Link`. The gateway adds none of its own. */
export function buildInformationalHeaders(
  raw: RawHeaders,
  rewriteLocation: (location: string) => string,
): string[] {
  const headers: string[] = []
  const nominated: string[] = []
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] ?? ''
    const value = raw[i + 1] ?? ''
    const lower = name.toLowerCase()
    const kind = responseFieldKinds.of(name)
    if (kind === CONNECTION) nominated.push(...listElements(value))
    else if (kind !== DROP && !NEVER_INFORMATIONAL.has(lower) && !speaksForOrigin(lower, value))
      headers.push(name, kind === LOCATION ? rewriteLocation(value) : value)
  }
  if (nominated.length > 0) removeNominated(headers, 0, nominated, false)
  return headers
}

/**
 * Builds the headers of a service's `101`. Handshake headers pass unchanged; cookies with the gateway's names are removed.
 * @param isolatedAt as in {@link ReturnedAnswer}
 */
export function buildSwitchingHeaders(
  answered: RawHeaders,
  isolatedAt: string | undefined,
): string[] {
  const raw = isolatedAt !== undefined ? withoutOriginWide(answered, undefined) : answered
  const headers: string[] = []
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] ?? ''
    const value = raw[i + 1] ?? ''
    const lower = name.toLowerCase()
    if (NEVER_WITH_SWITCH.has(lower)) continue
    const safe = lower === 'set-cookie' ? sanitizeSetCookie(value, isolatedAt) : value
    if (safe !== undefined) headers.push(name, safe)
  }
  return headers
}
