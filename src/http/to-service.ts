/** Which request headers does a service get? The client's, filtered, plus the gateway's own (contract, section 6). */
import { withoutOwnCookies } from './cookies.ts'
import { HOP_BY_HOP, removeNominated } from './hop-by-hop.ts'
import { Remembered } from '../limits/memo.ts'
import { fieldLines, listElements, type RawHeaders } from './fields.ts'

/** Which headers tell a service about the client and the user. */
export type ForwardingMode =
  /** `X-Forwarded-*`, `X-Forwarded-User` and `X-Workspace`. */
  | 'full'
  /** OpenClaw's trusted-proxy mode: `X-Forwarded-For`, `-Proto`, `-Host` and `-User`. */
  | 'trusted-proxy'
  /** OpenClaw's default mode: it responds 403 to any forwarding header, so none is sent. */
  | 'none'

/** What the gateway knows about a request that it forwards. */
export interface ForwardedRequest {
  readonly mode: ForwardingMode
  readonly requestId: string
  /**
   * `Host` as the client sent it, because Next.js Server Actions and ttyd's `--check-origin` compare it with `Origin`; or
   * {@link LOCAL_HOST}, with {@link localOrigin}.
   */
  readonly host: string
  readonly clientAddress: string
  readonly scheme: 'http' | 'https'
  /** `sub` of the signed-in user, or undefined. */
  readonly user: string | undefined
  readonly workspace: string
  /** Whether `Authorization` held the gateway's own credential, which is not forwarded. */
  readonly dropAuthorization: boolean
  /** The `Authorization` to send instead of the client's, or undefined to forward the client's. */
  readonly authorization: string | undefined
  /** Whether `X-Nextjs-Data` may pass. Next.js's client router sends it only below `/_next/data/`. */
  readonly allowNextData: boolean
  /** Whether this is a WebSocket handshake, for which `Connection` and `Upgrade` are added again. */
  readonly upgrade: boolean
}

// What to do with a request header. The kind is computed once per header name and cached.
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

/**
 * Request headers that are removed: only a proxy may set them, or they make a service act on another request (method, path,
 * user) than the one that the gateway checked.
 */
const NEVER_FROM_CLIENT: ReadonlySet<string> = new Set([
  ...HOP_BY_HOP,
  'host', // added again, exactly once
  'expect', // the gateway answers it, after its decision
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
  'x-authenticated-user', // ttyd --auth-header and similar
  'x-workspace',
  'x-gateway-error',
  'x-matched-path',
  'next-resume',
  'x-openclaw-scopes', // in OpenClaw's trusted-proxy mode: the caller's permissions, which it takes from the proxy
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

/** Next.js headers used in development only, which grant nothing. */
const HARMLESS_NEXT: ReadonlySet<string> = new Set([
  'x-nextjs-request-id',
  'x-nextjs-html-request-id',
])

const requestFieldKinds = new Remembered(kindOfRequestField)

function kindOfRequestField(name: string): FieldKind {
  const lower = name.toLowerCase()
  // CGI, WSGI and similar interfaces read `X_Forwarded_User` as `X-Forwarded-User` (CVE-2025-64484).
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
 * Builds the request headers for a service: the client's headers in their order and case, without those that only a proxy may
 * set, followed by the gateway's own. Headers that `Connection` names are removed before the gateway's own are added, so a
 * client cannot remove those (CVE-2025-48865, CVE-2026-33805).
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
        const kept = withoutOwnCookies(value)
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
  // Start at 2, so that `Host` cannot be removed.
  if (nominated !== undefined) removeNominated(headers, 2, nominated, about.upgrade)
  headers.push('X-Request-Id', about.requestId)
  if (about.authorization !== undefined) headers.push('Authorization', about.authorization)
  if (about.mode !== 'none') pushForwarded(headers, about)
  if (about.upgrade) headers.push('Connection', 'Upgrade', 'Upgrade', 'websocket')
  return headers
}

/** The `Host` of a service that has allow-lists of its own for the machine that it runs on (`localHost` in src/rules/services.ts). */
export const LOCAL_HOST = 'localhost'

/**
 * Replaces the workspace's own origin by that of {@link LOCAL_HOST}, in the request headers for a service that gets this `Host`:
 * a service that compares the two takes a request of its own pages for one, and still sees every foreign origin.
 * @param headers names and values; changed in place
 * @param own the workspace's own origin, as the client addressed it
 */
export function localOrigin(headers: string[], own: string): void {
  for (let i = 0; i < headers.length; i += 2)
    if (headers[i]?.toLowerCase() === 'origin' && headers[i + 1] === own)
      headers[i + 1] = `http://${LOCAL_HOST}`
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

/**
 * Encodes a user name as a header value. Everything except printable ASCII is percent-encoded, and `%` too, so that two
 * different names never have the same encoding.
 */
export function headerSafe(text: string): string {
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
