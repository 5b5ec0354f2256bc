/** What do the services see? Header policy on the way in (contract, section 6). */
import { withoutSessionCookies } from './cookies.ts'
import { HOP_BY_HOP, removeNominated } from './hop-by-hop.ts'
import { Remembered } from '../limits/memo.ts'
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
  'x-openclaw-scopes', // in trusted-proxy mode the proxy's word about what a caller may do
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

const requestFieldKinds = new Remembered(kindOfRequestField)

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

/** Whether a request may carry a body (RFC 9112 section 6): it has a length or a transfer coding. */
export function hasBody(raw: RawHeaders): boolean {
  const length = fieldLines(raw, 'content-length')[0]
  return (
    (length !== undefined && !/^0+$/.test(length)) ||
    fieldLines(raw, 'transfer-encoding').length > 0
  )
}
