/**
 * What must a token say? It must be a compact JWS in canonical spelling, its header must choose nothing about its
 * verification, and its claims must be valid now and for this workspace (RFC 7515, RFC 7519, RFC 8725). verifier.ts checks
 * the signature.
 */
import { GatewayError } from '../answers/errors.ts'

/** The person or program that a verified token identifies. */
export interface Principal {
  /** `sub`: the name of the person or program. */
  readonly subject: string
  /** `exp`: when the token expires, in seconds since 1970. */
  readonly expiresAt: number
  /** The name of the session in memory and in limits. It is a digest of the token, which is useless as a credential. */
  readonly sessionId: string
  /** The name of the key that verified the token, so that the session ends when that key is removed. */
  readonly keyId: string
}

/** The longest token, in characters, which are all ASCII. */
export const MAX_TOKEN_LENGTH = 4096

/** The longest subject, in UTF-16 code units. */
export const MAX_SUBJECT_LENGTH = 256

const JWS_COMPACT = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*$/
// Header parameters that would let a token choose how it is verified (RFC 8725 section 3; CVE-2026-22817 and its kin).
const FORBIDDEN_HEADER_FIELD = /^(?:crit|b64|jwk|jku|x5.*|cty|zip|enc)$/i

/** The last second of the year 9999. A later date is a mistake, such as milliseconds in place of seconds. */
const LAST_DATE = 253_402_300_799

/** `iat` may be this far ahead, in seconds, whatever the leeway, because a machine's clock lags after it was suspended. */
const MAX_ISSUED_AHEAD_SECONDS = 300

/** Whether a text has the form of our credentials: a compact JWS or an API token. It may still be invalid. */
export function isTokenShaped(text: string): boolean {
  return text.startsWith('hub_') || JWS_COMPACT.test(text)
}

/** What the claims of a token are compared with. */
export interface TokenRules {
  /** `aud` must be, or contain, exactly this name, so that a token of one workspace is not valid at another. */
  readonly workspace: string
  /** `iss` must be this, when it is configured. */
  readonly issuer: string | undefined
  /** Clock skew allowed on `exp` and `nbf`, in seconds. */
  readonly leewaySeconds: number
}

type JsonObject = Readonly<Record<string, unknown>>

/** Checks what can be checked before the signature: the spelling and the header. @returns the payload, not yet trusted */
export function readClaims(token: string): JsonObject {
  if (token.length > MAX_TOKEN_LENGTH) throw invalidToken('too long')
  if (!JWS_COMPACT.test(token)) throw invalidToken('not a compact JWS')
  const parts = token.split('.')
  // Node also decodes base64url with stray bits or characters. A token has one spelling, because its text names the session.
  if (parts.some((part) => Buffer.from(part, 'base64url').toString('base64url') !== part))
    throw invalidToken('not canonical base64url')
  checkHeader(readObject(parts[0] ?? '', 'header'))
  return readObject(parts[1] ?? '', 'payload')
}

/** Checks the header. `kid` must be a string and is otherwise ignored, because every key of the ring is tried anyway. */
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

/** Parses one part of a token. The parser's own error is dropped, because it quotes the input. */
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

/** Whether a JSON object has a member twice at its top level: parsers disagree which one counts (RFC 7519 section 4). */
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

/**
 * Checks the claims of a token whose signature is valid (RFC 7519 section 4.1). @returns whom it identifies and until when
 */
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

/** Whether a subject can be written to a log and, encoded, to a header field and still be the same name. */
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
 * Whether a value is a date in seconds since 1970, with a fraction or without (RFC 7519 section 2). JSON can spell 1e400,
 * which parses as Infinity; such a date is refused, because the token would never expire.
 */
export function isNumericDate(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && value <= LAST_DATE
}

export function invalidToken(reason: string, cause?: unknown): GatewayError {
  return new GatewayError('token-invalid', { reason, cause })
}
