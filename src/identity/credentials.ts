/** Which credential does a request come with? The first that is present decides alone; nothing is verified here. */
import { cookieValues, LOOPBACK_SESSION_COOKIE, SECURE_SESSION_COOKIE } from '../http/cookies.ts'
import { fieldLines, trimOws, type RawHeaders } from '../http/fields.ts'
import type { GatewayError } from '../answers/errors.ts'
import { isLoopbackHost, type Authority } from '../rules/host.ts'
import { isTokenShaped, type Principal } from './token.ts'

/** For programs that need `Authorization` for the service itself. */
export const TOKEN_FIELD = 'X-Workspace-Token'

/** Which credential a request came with. */
export type CredentialKind = 'header' | 'bearer' | 'cookie'

/** The one credential that decides, and what came of it. */
export interface Credential {
  readonly kind: CredentialKind
  /** Who it speaks for, or why it was refused. */
  readonly outcome: Principal | GatewayError
}

/** How the client reached the workspace. */
interface Site {
  readonly scheme: 'http' | 'https'
  readonly authority: Authority | undefined
}

/**
 * Whether the session cookie carries `Secure` and the `__Host-` prefix: always, but for plain http on a loopback host,
 * where browsers take no such cookie and no network is crossed.
 */
export function usesSecureCookie({ scheme, authority }: Site): boolean {
  return scheme === 'https' || authority === undefined || !isLoopbackHost(authority)
}

/** A token as it was sent. */
export interface Candidate {
  readonly kind: CredentialKind
  readonly token: string
}

/** Fields that say two things at once: a request that no two readers would understand alike. */
export interface Ambiguous {
  readonly reason: string
  /** Which of them came twice. Of the session cookie, both copies are then expired (cookie tossing, CVE-2024-28233). */
  readonly kind: CredentialKind
}

/**
 * Finds the credential: `X-Workspace-Token`, then an `Authorization: Bearer` of our form, then the session cookie.
 * Any other `Authorization` is the service's: a browser that knows ttyd's password sends it with every request there.
 * @param secure whether the session cookie is the one with the `__Host-` prefix
 */
export function findCredential(
  raw: RawHeaders,
  secure: boolean,
): Candidate | Ambiguous | undefined {
  const tokens = fieldLines(raw, 'x-workspace-token')
  if (tokens.length > 1) return { kind: 'header', reason: `${TOKEN_FIELD} came twice` }
  const authorizations = fieldLines(raw, 'authorization')
  if (authorizations.length > 1) return { kind: 'bearer', reason: 'Authorization came twice' }
  if (tokens[0] !== undefined) return { kind: 'header', token: trimOws(tokens[0]) }
  const bearer = bearerToken(authorizations[0])
  if (bearer !== undefined && isTokenShaped(bearer)) return { kind: 'bearer', token: bearer }
  const cookies = cookieValues(
    fieldLines(raw, 'cookie'),
    secure ? SECURE_SESSION_COOKIE : LOOPBACK_SESSION_COOKIE,
  )
  if (cookies.length > 1) return { kind: 'cookie', reason: 'the session cookie came twice' }
  return cookies[0] === undefined || cookies[0] === ''
    ? undefined
    : { kind: 'cookie', token: cookies[0] }
}

/**
 * The token of an `Authorization: Bearer` value; the scheme is case-insensitive (RFC 9110 section 11.1). A tab is no legal
 * separator, but a token behind one is still ours, and no service may see it.
 */
export function bearerToken(authorization: string | undefined): string | undefined {
  return authorization === undefined
    ? undefined
    : /^bearer[ \t]+([\x21-\x7e]+)$/i.exec(authorization)?.[1]
}
