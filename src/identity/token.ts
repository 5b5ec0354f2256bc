/**
 * What must the text of a token be? A compact JWS in its one canonical spelling, with a header that chooses nothing and claims
 * that let its holder in now (RFC 7515, RFC 7519, RFC 8725). The signature is checked in verifier.ts.
 */
import { GatewayError } from '../answers/errors.ts'

/** Who a verified token speaks for. */
export interface Principal {
  /** `sub`: who it is. */
  readonly subject: string
  /** `exp`: when the token ends, in seconds since 1970. */
  readonly expiresAt: number
  /** Names the session in memory and in limits: a digest of the token, useless as a credential. */
  readonly sessionId: string
  /** Names the key that verified it, so that the session ends when the key goes. */
  readonly keyId: string
}

/** A token is at most this long, in characters: all are ASCII. */
export const MAX_TOKEN_LENGTH = 4096

/** A subject is at most this long, in UTF-16 code units. */
export const MAX_SUBJECT_LENGTH = 256

const JWS_COMPACT = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*$/
// Header fields that would let a token choose how it is checked (RFC 8725 section 3; CVE-2026-22817 and its kin).
const FORBIDDEN_HEADER_FIELD = /^(?:crit|b64|jwk|jku|x5.*|cty|zip|enc)$/i

/** The last second of the year 9999: a later date is a mistake, such as milliseconds in place of seconds. */
const LAST_DATE = 253_402_300_799

/** How far ahead `iat` may be, in seconds, whatever the leeway: the clock of a machine lags when it resumes from a pause. */
const MAX_ISSUED_AHEAD_SECONDS = 300

/** Whether text has the form of one of our credentials: a compact JWS or an API token. Says nothing about its worth. */
export function isTokenShaped(text: string): boolean {
  return text.startsWith('hub_') || JWS_COMPACT.test(text)
}

/** What a verifier checks tokens against. */
export interface TokenRules {
  /** `aud` must be, or contain, this name exactly: a houston token is worth nothing at research. */
  readonly workspace: string
  /** `iss` must be this, when configured. */
  readonly issuer: string | undefined
  /** Clock skew allowed on `exp` and `nbf`, in seconds. */
  readonly leewaySeconds: number
}

type JsonObject = Readonly<Record<string, unknown>>

/** What must hold before any cryptography: one spelling only, and a header that chooses nothing. @returns the payload */
export function readClaims(token: string): JsonObject {
  if (token.length > MAX_TOKEN_LENGTH) throw invalidToken('too long')
  if (!JWS_COMPACT.test(token)) throw invalidToken('not a compact JWS')
  const parts = token.split('.')
  // base64url with stray bits or a stray character decodes all the same: one token must have one spelling.
  if (parts.some((part) => Buffer.from(part, 'base64url').toString('base64url') !== part))
    throw invalidToken('not canonical base64url')
  checkHeader(readObject(parts[0] ?? '', 'header'))
  return readObject(parts[1] ?? '', 'payload')
}

/** `kid` may name a key, but every key of the ring is tried anyway: it is only a hint. */
function checkHeader(header: JsonObject): void {
  const { alg, typ, kid } = header
  if (alg !== 'HS256') throw invalidToken('alg')
  if (Object.keys(header).some((name) => FORBIDDEN_HEADER_FIELD.test(name)))
    throw invalidToken('header')
  if (typ !== undefined && (typeof typ !== 'string' || typ.toUpperCase() !== 'JWT'))
    throw invalidToken('typ')
  if (kid !== undefined && typeof kid !== 'string') throw invalidToken('kid')
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Reads one part of a token. The parser's own complaint is dropped, since it quotes what it read. */
function readObject(part: string, name: string): JsonObject {
  let json: string
  let value: unknown
  try {
    json = utf8.decode(Buffer.from(part, 'base64url'))
    value = JSON.parse(json)
  } catch {
    throw invalidToken(`${name} is not JSON`)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalidToken(`${name} is not an object`)
  if (hasDuplicateKeys(json)) throw invalidToken(`${name} repeats a member`)
  return value as JsonObject
}

/** Whether a JSON object repeats a member at its top level: parsers disagree about which one counts (RFC 7519 section 4). */
function hasDuplicateKeys(validJson: string): boolean {
  const seen = new Set<unknown>()
  let depth = 0
  for (const [text, colon] of validJson.matchAll(/"(?:[^"\\]|\\.)*"(?=(\s*:)?)|[{}[\]]/g)) {
    if (text === '{' || text === '[') depth++
    else if (text === '}' || text === ']') depth--
    else if (depth === 1 && colon !== undefined) {
      const name: unknown = JSON.parse(text) // "\u0061lg" is "alg"
      if (seen.has(name)) return true
      seen.add(name)
    }
  }
  return false
}

/** Whether the claims of a token whose signature holds let it in now (RFC 7519 section 4.1), and for whom and how long. */
export function checkClaims(
  { iss, aud, sub, exp, nbf, iat }: JsonObject,
  { workspace, issuer, leewaySeconds }: TokenRules,
  now: number,
): Pick<Principal, 'subject' | 'expiresAt'> {
  if (issuer !== undefined && iss !== issuer) throw invalidToken('iss')
  const audience: readonly unknown[] = Array.isArray(aud) ? aud : [aud]
  if (!audience.includes(workspace) || !audience.every((name) => typeof name === 'string'))
    throw invalidToken('aud')
  if (!isSubject(sub)) throw invalidToken('sub')
  if (!isNumericDate(exp)) throw invalidToken('exp')
  if (nbf !== undefined && !(isNumericDate(nbf) && nbf <= now + leewaySeconds))
    throw invalidToken('nbf')
  if (iat !== undefined && !(isNumericDate(iat) && iat <= now + MAX_ISSUED_AHEAD_SECONDS))
    throw invalidToken('iat')
  if (now >= exp + leewaySeconds) throw new GatewayError('token-expired', { reason: 'exp' })
  return { subject: sub, expiresAt: exp }
}

/** Whether a name can stand in a log and, encoded, in a header field, and stay the same name. */
export function isSubject(value: unknown): value is string {
  return (
    typeof value === 'string' &&
    value !== '' &&
    value.length <= MAX_SUBJECT_LENGTH &&
    value.isWellFormed() &&
    !/\p{Cc}/u.test(value)
  )
}

/**
 * Whether a value is a date in seconds since 1970, fractions allowed (RFC 7519 section 2). JSON also spells 1e400, which is
 * Infinity: a token that never expires is refused.
 */
export function isNumericDate(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && value <= LAST_DATE
}

export function invalidToken(reason: string, cause?: unknown): GatewayError {
  return new GatewayError('token-invalid', { reason, cause })
}
