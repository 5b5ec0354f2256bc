/** What does the client get back? Header policy on the way out (contract, section 6). */
import { sanitizeSetCookie } from './cookies.ts'
import { HOP_BY_HOP, removeNominated } from './hop-by-hop.ts'
import { EXPOSED_FIELDS, isolationFields, maySpeakForOrigin, speaksForOrigin } from './browser.ts'
import { rewriteRefresh } from './location.ts'
import { Remembered } from '../limits/memo.ts'
import { fieldLines, listElements, trimOws, type RawHeaders } from './fields.ts'

// What happens to a field on its way back. The kind of a name is looked up once and remembered.
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

/** Fields that the gateway adds only where the service said nothing. */
const POLICY_FIELDS = {
  'x-content-type-options': 10,
  'referrer-policy': 11,
  'content-security-policy': 12,
  'cache-control': 13,
  'access-control-allow-origin': 14,
  'access-control-allow-credentials': 15,
  'access-control-expose-headers': 16,
} as const
/** That there is a policy at all, whatever it says. */
const ANY_POLICY = 17
const NOSNIFF = POLICY_FIELDS['x-content-type-options']
const CONTENT_POLICY = POLICY_FIELDS['content-security-policy']
const ALLOW_ORIGIN = POLICY_FIELDS['access-control-allow-origin']
const ALLOW_CREDENTIALS = POLICY_FIELDS['access-control-allow-credentials']
type PolicyField = (typeof POLICY_FIELDS)[keyof typeof POLICY_FIELDS]

/** Fields of an answer that belong to the gateway or to the hop. */
const NEVER_FROM_SERVICE: ReadonlySet<string> = new Set([
  ...HOP_BY_HOP,
  'x-gateway-error',
  'x-request-id',
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

/** What the gateway knows about an answer on its way back. */
export interface ReturnedAnswer {
  readonly status: number
  readonly requestId: string
  /** Whether somebody is signed in, so that the answer is private unless the service says otherwise. */
  readonly signedIn: boolean
  /** Makes a `Location` of the service's own one of ours. */
  readonly rewriteLocation: (location: string) => string
  /**
   * The path of a service that may only speak for its own answers, not for the origin that it shares with others: its
   * cookies are for this path alone. Undefined for any other service.
   */
  readonly isolatedAt: string | undefined
  /** An allowed foreign origin that may read the answer (CORS), or undefined. */
  readonly allowOrigin: string | undefined
  /** Whether some origin may: a kept answer without CORS fields must then not be given to its pages (Fetch Standard 3.2.5). */
  readonly variesByOrigin?: boolean
  /** Fields to add, name and value in turn. */
  readonly extra: readonly string[]
}

/** Builds the header list that the client gets from what a service answered. */
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
      continue // any other value switches nothing on: the service said nothing
    } else if (kind !== DROP) {
      said |= saidBy(kind, value)
      headers.push(name, value)
    }
  }
  if (nominated !== undefined) {
    removeNominated(headers, 0, nominated, false)
    said = saidIn(headers) // what was taken away was not said
  }
  const silent = (field: keyof typeof POLICY_FIELDS) => (said & (1 << POLICY_FIELDS[field])) === 0
  if (silent('x-content-type-options')) headers.push('X-Content-Type-Options', 'nosniff')
  // A cache puts what a 304 says in the place of what the kept answer said, ours too: without a word of the service's, the
  // policies of the kept answer stand.
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

/** `frame-ancestors` in a policy, or in one of several: without it, the answer may be framed by anybody. */
const FRAME_ANCESTORS = /(?:^|[;,])[\t\n\f\r ]*frame-ancestors(?=[\t\n\f\r ;,]|$)/i

/**
 * The fields of an isolated service without those that speak for the whole origin. Credentials of a foreign page are among
 * them: with `Access-Control-Allow-Credentials` such a page could read what the person's cookie opens.
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

/** Whether any field may speak for the whole origin: hardly any answer has one, and no list is made anew without. */
function hasOriginWide(raw: RawHeaders): boolean {
  for (let i = 0; i < raw.length; i += 2) {
    const kind = responseFieldKinds.of(raw[i] ?? '')
    if (kind === ORIGIN_WIDE || kind === ALLOW_CREDENTIALS) return true
  }
  return false
}

/** RFC 9110 section 8.6: a 204 has no length. */
function withoutLength(headers: readonly string[]): string[] {
  return headers.filter((_, i) => headers[i - (i % 2)]?.toLowerCase() !== 'content-length')
}

/** The policy fields of a header list. */
function saidIn(headers: RawHeaders): number {
  let said = 0
  for (let i = 0; i < headers.length; i += 2) {
    const kind = responseFieldKinds.of(headers[i] ?? '')
    if (kind >= NOSNIFF) said |= saidBy(kind, headers[i + 1] ?? '')
  }
  return said
}

/** What a policy field says, as bits. */
function saidBy(kind: number, value: string): number {
  if (kind !== CONTENT_POLICY) return 1 << kind
  return (1 << ANY_POLICY) | (FRAME_ANCESTORS.test(value) ? 1 << CONTENT_POLICY : 0)
}

/** Fields of a `101` that do not pass: what only we say, and lengths, which it cannot have (RFC 9110 section 8.6). */
const NEVER_WITH_SWITCH: ReadonlySet<string> = new Set([
  'x-gateway-error',
  'x-request-id',
  'content-length',
  'transfer-encoding',
])

/**
 * Fields that do not pass with an informational answer besides those that speak for the whole origin: they belong to the
 * final answer, whose policy does not look at this one.
 */
const NEVER_INFORMATIONAL: ReadonlySet<string> = new Set([
  'content-length',
  'set-cookie',
  'refresh',
])

/** Builds the header list that the client gets with an informational answer: hints such as `Link`, and nothing of ours. */
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
 * Builds the header list that the client gets with a service's `101`: everything else, and no cookie of ours.
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
