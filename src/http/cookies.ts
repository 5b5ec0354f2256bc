/** What is in `Cookie`, byte for byte, and what do our own cookies look like? (RFC 6265bis) */
import { trimOws } from './fields.ts'

/** The session cookie when the client came by https: the prefix keeps sibling workspaces from planting one. */
export const SECURE_SESSION_COOKIE = '__Host-workspace_session'

/** The session cookie on a plain http loopback host, where browsers refuse `Secure`. */
export const LOOPBACK_SESSION_COOKIE = 'workspace_session'

// Our names in any case, between anything that is no part of a cookie name (RFC 9110 section 5.6.2): white space of any
// alphabet, quotes, control characters, and the `=` of a cookie without a name, which browsers send as its bare value.
const SESSION_COOKIE =
  /^[^\w!#$%&'*+.^`|~-]*(?:__host-)?workspace_session[^\w!#$%&'*+.^`|~-]*(?:=|$)/i

/** The longest life that browsers give a cookie: 400 days (RFC 6265bis section 5.5), in seconds. */
const MAX_AGE_SECONDS = 400 * 86_400

/**
 * The values of a cookie, one for each time that it was sent. Names and values are compared as they are: no decoding, no
 * quotes, no `$Version`, no Unicode white space, since lenient parsers are what cookie tossing lives on (CVE-2024-28233).
 */
export function cookieValues(lines: readonly string[], name: string): string[] {
  const values: string[] = []
  for (const line of lines) {
    if (!line.includes(name)) continue
    for (const pair of line.split(';')) {
      const equals = pair.indexOf('=')
      if (equals >= 0 && trimOws(pair.slice(0, equals)) === name)
        values.push(trimOws(pair.slice(equals + 1)))
    }
  }
  return values
}

/**
 * A `Cookie` value without our cookies, in every spelling that a lenient parser could take for them.
 * @returns undefined when nothing is left
 */
export function withoutSessionCookies(line: string): string | undefined {
  if (!/workspace_session/i.test(line)) return line
  const kept = line.split(';').filter((pair) => !SESSION_COOKIE.test(pair))
  const rest = trimOws(kept.join(';'))
  return rest === '' ? undefined : rest
}

// The prefix `__Host-` in any case, in a name or in the bare value of a cookie without one, as above.
const HOST_PREFIX = /^[^\w!#$%&'*+.^`|~-]*__host-/i

/**
 * A `Set-Cookie` value of a service, made safe: without `Domain`, so that it stays in this workspace.
 * @param below the only path that the service may set cookies for (`/api`), or undefined for the whole workspace
 * @returns undefined when it would set a cookie of ours, or one that must be for the whole workspace
 */
export function sanitizeSetCookie(value: string, below?: string): string | undefined {
  const [pair = '', ...attributes] = value.split(';')
  if (SESSION_COOKIE.test(pair)) return undefined
  if (below === undefined)
    return [pair, ...attributes.filter((one) => attributeName(one) !== 'domain')].join(';')
  if (HOST_PREFIX.test(pair)) return undefined // browsers take it with `Path=/` alone
  let path = ''
  const kept = attributes.filter((attribute) => {
    const name = attributeName(attribute)
    if (name === 'path') path = attribute.slice(attribute.indexOf('=') + 1).trim() // the last one counts
    return name !== 'path' && name !== 'domain'
  })
  // First: a browser may look at a bounded number of attributes.
  return [pair, ` Path=${pathBelow(path, below)}`, ...kept].join(';')
}

function attributeName(attribute: string): string {
  return (attribute.split('=', 1)[0] ?? '').trim().toLowerCase()
}

/**
 * The longest attribute that browsers look at (RFC 6265bis section 5.6), in bytes. A longer `Path` is as good as none, and the
 * path is then guessed from the request's: `/` for `/api`.
 */
const MAX_ATTRIBUTE_BYTES = 1024

/** A cookie's path below a prefix. The service may or may not know the prefix; no path, or none that is one, is the prefix. */
function pathBelow(path: string, prefix: string): string {
  if (prefix.length + path.length > MAX_ATTRIBUTE_BYTES) return prefix
  if (path === prefix || path.startsWith(`${prefix}/`)) return path
  return path.startsWith('/') && path !== '/' ? prefix + path : prefix
}

/**
 * The longest cookie that browsers keep, name, value and attributes together, in bytes. A longer one is dropped without a
 * word (RFC 6265bis section 5.7): signing in would succeed, and the next page would ask to sign in again.
 */
const MAX_COOKIE_BYTES = 4096

/**
 * `Set-Cookie` that starts a session.
 * @param token ASCII
 * @param maxAgeSeconds seconds until the token expires; cut to whole seconds
 * @returns undefined when browsers would drop the cookie, because it is too long
 */
export function sessionCookie(
  secure: boolean,
  token: string,
  maxAgeSeconds: number,
): string | undefined {
  const maxAge = Math.min(Math.max(0, Math.floor(maxAgeSeconds)), MAX_AGE_SECONDS)
  const cookie = `${nameAndValue(secure, token)}; Max-Age=${maxAge}${flags(secure)}`
  return cookie.length > MAX_COOKIE_BYTES ? undefined : cookie
}

/** `Set-Cookie` values that end a session. */
export function expiredSessionCookies(secure: boolean): string[] {
  return [
    `${nameAndValue(secure, '')}; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT${flags(secure)}`,
  ]
}

/**
 * `Set-Cookie` that takes back a cookie of our name which a sibling planted for the whole domain. Browsers that know the
 * `__Host-` prefix ignore it, and never took the planted one either.
 */
export function expiredPlantedCookie(secure: boolean, domain: string): string {
  return `${nameAndValue(secure, '')}; Max-Age=0; Domain=${domain}${flags(secure)}`
}

function nameAndValue(secure: boolean, value: string): string {
  return `${secure ? SECURE_SESSION_COOKIE : LOOPBACK_SESSION_COOKIE}=${value}`
}

function flags(secure: boolean): string {
  return `; Path=/; HttpOnly; SameSite=Lax${secure ? '; Secure' : ''}`
}
