/** What do the services see, and what does the client get back? Header policy in both directions (contract, section 6). */
import { sanitizeSetCookie, withoutSessionCookies } from './cookies.ts'
import { fieldLines, listElements, type RawHeaders } from './fields.ts'

/** How a service wants to be told who is calling. */
export type ForwardingMode =
  /** `X-Forwarded-*`, `X-Forwarded-User` and `X-Workspace`. */
  | 'full'
  /** OpenClaw's trusted-proxy mode: `X-Forwarded-For`, `-Proto`, `-Host` and `-User`. */
  | 'trusted-proxy'
  /** OpenClaw's default: any forwarding field makes it answer 403, so it gets none. */
  | 'none'

/** What the gateway itself says about a request to the service behind. */
export interface ForwardedRequest {
  readonly mode: ForwardingMode
  readonly requestId: string
  /** `Host` as the client sent it: Server Actions and `--check-origin` compare it with `Origin`. */
  readonly host: string
  readonly clientAddress: string
  readonly scheme: 'http' | 'https'
  /** `sub` of the signed-in user, or undefined. */
  readonly user: string | undefined
  readonly workspace: string
  /** Whether `Authorization` held the gateway's own credential and ends here. */
  readonly dropAuthorization: boolean
  /** What to send as `Authorization` instead of the client's, or undefined to leave it. */
  readonly authorization: string | undefined
  /** Whether `X-Nextjs-Data` is the client router's own (only below `/_next/data/`). */
  readonly allowNextData: boolean
  /** Whether this is a WebSocket handshake, whose hop-by-hop fields are written anew. */
  readonly upgrade: boolean
}

// What happens to a field on its way to a service. The kind of a name is looked up once and remembered.
const PASS = 0
const DROP = 1
const COOKIE = 2
const AUTHORIZATION = 3
const CONNECTION = 4
const NEXT_DATA = 5
type FieldKind =
  | typeof PASS
  | typeof DROP
  | typeof COOKIE
  | typeof AUTHORIZATION
  | typeof CONNECTION
  | typeof NEXT_DATA

/** Hop-by-hop fields (RFC 9110 section 7.6.1 and its history). */
const HOP_BY_HOP: readonly string[] = [
  'keep-alive',
  'proxy-authenticate',
  'proxy-authentication-info',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'trailers',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
]

/** Fields that only a proxy may write, or that make a service see another request than the one that was decided on. */
const NEVER_FROM_CLIENT: ReadonlySet<string> = new Set([
  ...HOP_BY_HOP,
  'host', // written anew: exactly one
  'expect', // answered here, after the decision
  'forwarded',
  'forwarded-for',
  'x-forwarded',
  'x-real-ip',
  'x-client-ip',
  'x-cluster-client-ip',
  'x-originating-ip',
  'x-remote-ip',
  'x-remote-addr',
  'x-proxyuser-ip',
  'x-host',
  'x-http-host-override',
  'true-client-ip',
  'client-ip',
  'fastly-client-ip',
  'x-appengine-user-ip',
  'front-end-https',
  'x-request-id',
  'x-http-method',
  'x-http-method-override',
  'x-method-override',
  'x-rewrite-url',
  'x-override-url',
  'x-http-destinationurl',
  'x-url-scheme',
  'x-scheme',
  'x-webauth-user',
  'remote-user',
  'x-remote-user',
  'x-authenticated-user', // ttyd --auth-header and its kin
  'x-workspace',
  'x-gateway-error',
  'x-matched-path',
  'next-resume',
  'proxy', // Proxy: httpoxy, CVE-2016-5385
])

const NEVER_FROM_CLIENT_PREFIXES: readonly string[] = [
  'x-forwarded-',
  'x-original-',
  'x-workspace-',
  'x-middleware-',
  'x-auth-request-',
  'x-pomerium-',
  'x-goog-authenticated-user-',
  'x-amzn-oidc-',
  'x-ms-client-principal',
  'x-envoy-',
  'cf-',
  'fly-',
  'tailscale-',
  'x-nextjs-',
  'x-next-',
  'x-prerender-',
  'x-now-',
  'x-invoke-',
  'x-vercel-', // CVE-2025-29927: framework-internal fields
]

/** Development-only names of Next.js that carry no authority. */
const HARMLESS_NEXT: ReadonlySet<string> = new Set([
  'x-nextjs-request-id',
  'x-nextjs-html-request-id',
])

const REMEMBERED_NAMES = 2_000
const REMEMBERED_LENGTH = 64

/** Looks the kind of a name up once and remembers it, in bounded memory whatever names are made up. */
export class NameKinds<Kind> {
  readonly #kinds = new Map<string, Kind>()
  readonly #kindOf: (name: string) => Kind

  constructor(kindOf: (name: string) => Kind) {
    this.#kindOf = kindOf
  }

  of(name: string): Kind {
    const known = this.#kinds.get(name)
    if (known !== undefined) return known
    const kind = this.#kindOf(name)
    if (this.#kinds.size >= REMEMBERED_NAMES) this.#kinds.clear()
    if (name.length <= REMEMBERED_LENGTH) this.#kinds.set(name, kind)
    return kind
  }

  /** How many names are remembered. */
  get size(): number {
    return this.#kinds.size
  }
}

const requestFieldKinds = new NameKinds(kindOfRequestField)

function kindOfRequestField(name: string): FieldKind {
  const lower = name.toLowerCase()
  // `X_Forwarded_User` is `X-Forwarded-User` to CGI, WSGI and their kin (CVE-2025-64484).
  if (!/^[a-z0-9-]+$/.test(lower)) return DROP
  if (lower === 'cookie') return COOKIE
  if (lower === 'authorization') return AUTHORIZATION
  if (lower === 'connection') return CONNECTION
  if (lower === 'x-nextjs-data') return NEXT_DATA
  if (HARMLESS_NEXT.has(lower)) return PASS
  if (NEVER_FROM_CLIENT.has(lower)) return DROP
  return NEVER_FROM_CLIENT_PREFIXES.some((prefix) => lower.startsWith(prefix)) ? DROP : PASS
}

/**
 * Builds the header list that a service gets: the client's fields in their order and spelling, less what only a proxy may
 * say, then what this proxy says. Names that `Connection` nominates go first, so they can never take one of ours away
 * (CVE-2025-48865, CVE-2026-33805).
 */
export function buildRequestHeaders(raw: RawHeaders, about: ForwardedRequest): string[] {
  const headers: string[] = ['Host', about.host]
  let nominated: string[] | undefined
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] ?? ''
    const value = raw[i + 1] ?? ''
    switch (requestFieldKinds.of(name)) {
      case PASS:
        headers.push(name, value)
        break
      case COOKIE: {
        const kept = withoutSessionCookies(value)
        if (kept !== undefined) headers.push(name, kept)
        break
      }
      case AUTHORIZATION:
        if (!about.dropAuthorization && about.authorization === undefined) headers.push(name, value)
        break
      case CONNECTION:
        if (!/^(?:keep-alive|close|upgrade)$/i.test(value))
          (nominated ??= []).push(...listElements(value))
        break
      case NEXT_DATA:
        if (about.allowNextData) headers.push(name, value)
        break
      case DROP:
        break
    }
  }
  // From 2 on: nothing takes `Host` away.
  if (nominated !== undefined) removeNominated(headers, 2, nominated, about.upgrade)
  headers.push('X-Request-Id', about.requestId)
  if (about.authorization !== undefined) headers.push('Authorization', about.authorization)
  if (about.mode !== 'none') pushForwarded(headers, about)
  if (about.upgrade) headers.push('Connection', 'Upgrade', 'Upgrade', 'websocket')
  return headers
}

/** The framing of the message is the parser's business, and a handshake needs its own fields: no nomination takes those. */
function removeNominated(
  headers: string[],
  start: number,
  nominated: readonly string[],
  upgrade: boolean,
): void {
  const names = new Set(nominated)
  for (let i = headers.length - 2; i >= start; i -= 2) {
    const name = (headers[i] ?? '').toLowerCase()
    if (name === 'content-length' || (upgrade && name.startsWith('sec-websocket-'))) continue
    if (names.has(name)) headers.splice(i, 2)
  }
}

function pushForwarded(
  headers: string[],
  { mode, host, clientAddress, scheme, user, workspace }: ForwardedRequest,
): void {
  headers.push(
    'X-Forwarded-For',
    clientAddress,
    'X-Forwarded-Proto',
    scheme,
    'X-Forwarded-Host',
    host,
  )
  if (mode === 'full') {
    const port = /:([0-9]+)$/.exec(host)?.[1] ?? (scheme === 'https' ? '443' : '80')
    headers.push('X-Forwarded-Port', port)
  }
  if (user === undefined) return
  headers.push('X-Forwarded-User', headerSafe(user))
  if (mode === 'full') headers.push('X-Workspace', workspace)
}

/** A user name as a field value: all but printable ASCII is percent-encoded, and `%` too, so that no two names become one. */
function headerSafe(text: string): string {
  return text.toWellFormed().replace(/[^\x21-\x24\x26-\x7e]+/g, encodeURIComponent)
}

// What happens to a field on its way back.
const SET_COOKIE = 2
const LOCATION = 3
type ResponseKind =
  | typeof PASS
  | typeof DROP
  | typeof SET_COOKIE
  | typeof LOCATION
  | typeof CONNECTION
  | PolicyField

/** Fields that the gateway adds only where the service said nothing. */
const POLICY_FIELDS = {
  'x-content-type-options': 10,
  'referrer-policy': 11,
  'content-security-policy': 12,
  'cache-control': 13,
  'access-control-allow-origin': 14,
  'access-control-allow-credentials': 15,
} as const
type PolicyField = (typeof POLICY_FIELDS)[keyof typeof POLICY_FIELDS]

/** Fields of an answer that belong to the gateway or to the hop. */
const NEVER_FROM_SERVICE: ReadonlySet<string> = new Set([
  ...HOP_BY_HOP,
  'x-gateway-error',
  'x-request-id',
])

const responseFieldKinds = new NameKinds(kindOfResponseField)

function kindOfResponseField(name: string): ResponseKind {
  const lower = name.toLowerCase()
  if (lower === 'set-cookie') return SET_COOKIE
  if (lower === 'location') return LOCATION
  if (lower === 'connection') return CONNECTION
  if (Object.hasOwn(POLICY_FIELDS, lower)) return POLICY_FIELDS[lower as keyof typeof POLICY_FIELDS]
  return NEVER_FROM_SERVICE.has(lower) ? DROP : PASS
}

/** What the gateway knows about an answer on its way back. */
export interface ReturnedAnswer {
  readonly requestId: string
  /** Whether somebody is signed in, so that the answer is private unless the service says otherwise. */
  readonly signedIn: boolean
  /** Makes a `Location` of the service's own one of ours. */
  readonly rewriteLocation: (location: string) => string
  /** An allowed foreign origin that may read the answer (CORS), or undefined. */
  readonly allowOrigin: string | undefined
  /** Fields to add, name and value in turn. */
  readonly extra: readonly string[]
}

/** Builds the header list that the client gets from what a service answered. */
export function buildResponseHeaders(raw: RawHeaders, about: ReturnedAnswer): string[] {
  const headers: string[] = []
  let nominated: string[] | undefined
  let said = 0
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] ?? ''
    const value = raw[i + 1] ?? ''
    const kind = responseFieldKinds.of(name)
    if (kind === PASS) {
      headers.push(name, value)
    } else if (kind === SET_COOKIE) {
      const safe = sanitizeSetCookie(value)
      if (safe !== undefined) headers.push(name, safe)
    } else if (kind === LOCATION) {
      headers.push(name, about.rewriteLocation(value))
    } else if (kind === CONNECTION) {
      ;(nominated ??= []).push(...listElements(value))
    } else if (kind !== DROP) {
      said |= 1 << kind
      headers.push(name, value)
    }
  }
  if (nominated !== undefined) removeNominated(headers, 0, nominated, false)
  const silent = (field: keyof typeof POLICY_FIELDS) => (said & (1 << POLICY_FIELDS[field])) === 0
  if (silent('x-content-type-options')) headers.push('X-Content-Type-Options', 'nosniff')
  if (silent('referrer-policy')) headers.push('Referrer-Policy', 'same-origin')
  if (silent('content-security-policy'))
    headers.push('Content-Security-Policy', "frame-ancestors 'self'")
  if (about.signedIn && silent('cache-control')) headers.push('Cache-Control', 'private, no-store')
  if (about.allowOrigin !== undefined && silent('access-control-allow-origin')) {
    headers.push('Access-Control-Allow-Origin', about.allowOrigin, 'Vary', 'Origin')
    if (silent('access-control-allow-credentials'))
      headers.push('Access-Control-Allow-Credentials', 'true')
  }
  headers.push('X-Request-Id', about.requestId, ...about.extra)
  return headers
}

/** Fields of a `101` that do not pass: what only we say, and lengths, which it cannot have (RFC 9110 section 8.6). */
const NEVER_WITH_SWITCH: ReadonlySet<string> = new Set([
  'x-gateway-error',
  'x-request-id',
  'content-length',
  'transfer-encoding',
])

/** Builds the header list that the client gets with a service's `101`: everything else, and no cookie of ours. */
export function buildSwitchingHeaders(raw: RawHeaders): string[] {
  const headers: string[] = []
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] ?? ''
    const value = raw[i + 1] ?? ''
    const lower = name.toLowerCase()
    if (NEVER_WITH_SWITCH.has(lower)) continue
    const safe = lower === 'set-cookie' ? sanitizeSetCookie(value) : value
    if (safe !== undefined) headers.push(name, safe)
  }
  return headers
}

/**
 * Builds the rewriting of `Location` for a service: an absolute one that names the service's own address becomes a path of
 * ours (Next.js answers `http://localhost:3001/logs` whatever `Host` says), and a stripped prefix is put back.
 * @param port the service's TCP port, or undefined for a Unix socket
 * @param hosts the names under which the service may know itself, lower case
 * @param stripped the prefix that was taken off (`/api`), or an empty string
 */
export function buildLocationRewriter(
  hosts: readonly string[],
  port: string | undefined,
  stripped: string,
): (location: string) => string {
  return (location) => {
    // A browser leaves these out before it reads a URL: `http://localhost:3001/<tab>/evil.example` must not get through.
    const text = location.replace(/[\t\n\r]/g, '')
    const own = ownPath(text, hosts, port)
    if (own === undefined)
      return stripped !== '' && /^\/(?!\/)/.test(text) ? stripped + text : location
    if (stripped !== '') return stripped + own
    // The service's own `http://localhost:3001//evil.example` must not become a host on our side.
    return /^\/[/\\]/.test(own) ? `/.${own}` : own
  }
}

/** The path, query and fragment of an absolute URL of the service's own; undefined for anything else. */
function ownPath(
  location: string,
  hosts: readonly string[],
  port: string | undefined,
): string | undefined {
  const match =
    /^(?:(https?):)?\/\/(\[[0-9a-f:.]*\]|[^/?#@:\\]*)(?::([0-9]+))?(?=$|[/?#])(.*)$/i.exec(location)
  if (match === null) return undefined
  const [, scheme = 'http', host = '', givenPort, rest = ''] = match
  const namedPort = givenPort ?? (scheme.toLowerCase() === 'https' ? '443' : '80')
  if (!hosts.includes(host.toLowerCase()) || namedPort !== port) return undefined
  return rest.startsWith('/') ? rest : `/${rest}`
}

/** Whether a request may carry a body (RFC 9112 section 6): it has a length or a transfer coding. */
export function hasBody(raw: RawHeaders): boolean {
  const length = fieldLines(raw, 'content-length')[0]
  return (
    (length !== undefined && !/^0+$/.test(length)) ||
    fieldLines(raw, 'transfer-encoding').length > 0
  )
}
