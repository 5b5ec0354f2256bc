/** Which credential does a request have? The first one that is present, in a fixed order. Nothing is verified here. */
import { cookieValues, LOOPBACK_SESSION_COOKIE, SECURE_SESSION_COOKIE } from '../http/cookies.ts'
import { fieldLines, trimOws, type RawHeaders } from '../http/fields.ts'
import type { GatewayError } from '../answers/errors.ts'
import { isLoopbackHost, type Authority } from '../rules/host.ts'
import { isTokenShaped, type Principal } from './token.ts'

/** The header for programs that need `Authorization` for the service itself. */
const TOKEN_FIELD = 'X-Workspace-Token'

/** Where a credential stood in the request. */
export type CredentialKind = 'header' | 'bearer' | 'cookie'

/** The credential of a request, after verification. */
export interface Credential {
  readonly kind: CredentialKind
  /** The principal, or why the credential was refused. */
  readonly outcome: Principal | GatewayError
}

/** The scheme and host by which the client reached the workspace. */
interface Site {
  readonly scheme: 'http' | 'https'
  readonly authority: Authority | undefined
}

/**
 * Whether the session cookie has `Secure` and the `__Host-` prefix. It does, except over plain http on a loopback host, where
 * browsers refuse such a cookie and no network is crossed.
 */
export function usesSecureCookie({ scheme, authority }: Site): boolean {
  return scheme === 'https' || authority === undefined || !isLoopbackHost(authority)
}

/** A token as the client sent it, not yet verified. */
export interface Candidate {
  readonly kind: CredentialKind
  readonly token: string
}

/** A request with two credentials of a kind, which is refused because two readers could each take another one. */
export interface Ambiguous {
  readonly reason: string
  /** The kind that came twice. If it is the cookie, the response expires both copies (cookie tossing, CVE-2024-28233). */
  readonly kind: CredentialKind
}

/**
 * Finds the credential: `X-Workspace-Token`, then an `Authorization: Bearer` in the form of our tokens, then the session
 * cookie. Any other `Authorization` belongs to the service, because a browser that knows ttyd's password sends it with every
 * request.
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
 * The token of an `Authorization: Bearer` value. The scheme is case-insensitive (RFC 9110 section 11.1). A tab is not a legal
 * separator, but a token after a tab is still ours, and no service may see it.
 */
export function bearerToken(authorization: string | undefined): string | undefined {
  return authorization === undefined
    ? undefined
    : /^bearer[ \t]+([\x21-\x7e]+)$/i.exec(authorization)?.[1]
}
