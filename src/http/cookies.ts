/** How are cookies read, filtered and written? Byte for byte, and with fixed attributes for the gateway's own (RFC 6265bis). */
import { trimOws } from './fields.ts'

/**
 * The session cookie's name over https. The `__Host-` prefix prevents sibling workspaces from setting a cookie of this name.
 * `usesSecureCookie` (src/identity/credentials.ts) chooses between the two names.
 */
export const SECURE_SESSION_COOKIE = '__Host-workspace_session'

/** The session cookie's name on a loopback host over plain http, where browsers reject `Secure` cookies. */
export const LOOPBACK_SESSION_COOKIE = 'workspace_session'

/** The name over https of the cookie that remembers that this browser went away to sign in (src/request/login.ts). */
export const SECURE_SIGN_IN_COOKIE = '__Host-workspace_signin'

/** Its name on a loopback host over plain http. */
export const LOOPBACK_SIGN_IN_COOKIE = 'workspace_signin'

/** For how long a browser may be away to sign in, in seconds. */
const SIGN_IN_COOKIE_SECONDS = 600

// Matches the names of the gateway's cookies in any case, with any characters around them that cannot be part of a cookie name
// (RFC 9110 section 5.6.2): Unicode white space, quotes, control characters, and the `=` of a nameless cookie, which browsers
// send as the bare value.
const OWN_COOKIE =
  /^[^\w!#$%&'*+.^`|~-]*(?:__host-)?workspace_(?:session|signin)[^\w!#$%&'*+.^`|~-]*(?:=|$)/i

/** The longest lifetime that browsers allow for a cookie: 400 days (RFC 6265bis section 5.5), in seconds. */
const MAX_AGE_SECONDS = 400 * 86_400

/**
 * Returns the values of a cookie, one for each time that it was sent. The parser is strict: it does no decoding and knows no
 * quotes, no `$Version` and no Unicode white space, because cookie tossing exploits lenient parsers (CVE-2024-28233).
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
 * Removes the gateway's cookies from a `Cookie` value, in every spelling that a lenient parser could accept for them.
 * @returns undefined when nothing is left
 */
export function withoutOwnCookies(line: string): string | undefined {
  if (!/workspace_s(?:ession|ignin)/i.test(line)) return line
  const kept = line.split(';').filter((pair) => !OWN_COOKIE.test(pair))
  const rest = trimOws(kept.join(';'))
  return rest === '' ? undefined : rest
}

// Matches the prefix `__Host-` in any case, in a name or in the bare value of a nameless cookie, like OWN_COOKIE.
const HOST_PREFIX = /^[^\w!#$%&'*+.^`|~-]*__host-/i

/**
 * Makes a service's `Set-Cookie` value safe: removes `Domain`, so that the cookie stays in this workspace.
 * @param below the only path that the service may set cookies for (`/api`), or undefined for the whole workspace
 * @returns undefined for a cookie with one of the gateway's names, and, with `below`, for a `__Host-` cookie, whose path
 * must be `/`
 */
export function sanitizeSetCookie(value: string, below?: string): string | undefined {
  const [pair = '', ...attributes] = value.split(';')
  if (OWN_COOKIE.test(pair)) return undefined
  if (below === undefined)
    return [pair, ...attributes.filter((one) => attributeName(one) !== 'domain')].join(';')
  if (HOST_PREFIX.test(pair)) return undefined // browsers accept it only with `Path=/`
  let path = ''
  const kept = attributes.filter((attribute) => {
    const name = attributeName(attribute)
    if (name === 'path') path = attribute.slice(attribute.indexOf('=') + 1).trim() // the last `Path` wins
    return name !== 'path' && name !== 'domain'
  })
  // `Path` goes first, because a browser may read only a limited number of attributes.
  return [pair, ` Path=${pathBelow(path, below)}`, ...kept].join(';')
}

function attributeName(attribute: string): string {
  return (attribute.split('=', 1)[0] ?? '').trim().toLowerCase()
}

/**
 * The longest attribute that browsers read (RFC 6265bis section 5.6), in bytes. They ignore a longer `Path` and derive the path
 * from the request's instead, which is `/` for `/api`.
 */
const MAX_ATTRIBUTE_BYTES = 1024

/**
 * Moves a cookie's path below a prefix. The path may already have the prefix, because a service may or may not know it. A
 * missing or invalid path becomes the prefix.
 */
function pathBelow(path: string, prefix: string): string {
  if (prefix.length + path.length > MAX_ATTRIBUTE_BYTES) return prefix
  if (path === prefix || path.startsWith(`${prefix}/`)) return path
  return path.startsWith('/') && path !== '/' ? prefix + path : prefix
}

/**
 * The longest cookie that browsers store, in bytes: name, value and attributes together. Browsers silently drop a longer one
 * (RFC 6265bis section 5.7), so the user would sign in successfully and be asked to sign in again on the next page.
 */
const MAX_COOKIE_BYTES = 4096

/**
 * Builds the `Set-Cookie` value that starts a session.
 * @param token ASCII
 * @param maxAgeSeconds seconds until the token expires; rounded down
 * @returns undefined when the cookie is so long that browsers would drop it
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

/** Builds the `Set-Cookie` values that end a session. */
export function expiredSessionCookies(secure: boolean): string[] {
  return [
    `${nameAndValue(secure, '')}; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT${flags(secure)}`,
  ]
}

/**
 * Builds the `Set-Cookie` value that deletes a session cookie which a sibling workspace set for the whole domain. Browsers that
 * support the `__Host-` prefix ignore this value, and they never accepted the sibling's cookie either.
 */
export function expiredPlantedCookie(secure: boolean, domain: string): string {
  return `${nameAndValue(secure, '')}; Max-Age=0; Domain=${domain}${flags(secure)}`
}

/**
 * Builds the `Set-Cookie` value of a browser that goes away to sign in. A login service may send the browser back with a form,
 * which is a POST from another site, so the cookie is `SameSite=None`. That needs `Secure`; without it, `Lax` must do.
 */
export function signInCookie(secure: boolean, state: string): string {
  return `${signInCookieName(secure)}=${state}; Max-Age=${SIGN_IN_COOKIE_SECONDS}${signInFlags(secure)}`
}

/** Builds the `Set-Cookie` value that deletes such a cookie which a sibling workspace set for the whole domain. */
export function expiredPlantedSignInCookie(secure: boolean, domain: string): string {
  return `${signInCookieName(secure)}=; Max-Age=0; Domain=${domain}${signInFlags(secure)}`
}

export function signInCookieName(secure: boolean): string {
  return secure ? SECURE_SIGN_IN_COOKIE : LOOPBACK_SIGN_IN_COOKIE
}

function nameAndValue(secure: boolean, value: string): string {
  return `${secure ? SECURE_SESSION_COOKIE : LOOPBACK_SESSION_COOKIE}=${value}`
}

function flags(secure: boolean): string {
  return `; Path=/; HttpOnly; SameSite=Lax${secure ? '; Secure' : ''}`
}

function signInFlags(secure: boolean): string {
  return `; Path=/; HttpOnly; SameSite=${secure ? 'None; Secure' : 'Lax'}`
}
