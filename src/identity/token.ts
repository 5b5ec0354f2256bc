/** Is this token ours and still good? Verification and minting of the workspace JWT (RFC 7515, RFC 7519, RFC 8725). */
import { createHash, type webcrypto } from 'node:crypto'
import { compactVerify } from 'jose/jws/compact/verify'
import { SignJWT } from 'jose/jwt/sign'
import { codeOf, GatewayError } from '../answers/errors.ts'

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

const MAX_SUBJECT_LENGTH = 256
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

/** HMAC secrets: the first signs and verifies, the others only verify while a rotation lasts. */
export type KeyRing = readonly [string, ...string[]]

/** Checks tokens and remembers the good ones until they expire. */
export interface TokenVerifier {
  /** The principal of a token that is remembered and still good; costs one look-up. */
  recall(token: string): Principal | undefined
  /** Verifies a token. @throws {GatewayError} `token-invalid` or `token-expired` */
  verify(token: string): Promise<Principal>
  /** Replaces the keys and forgets every verdict made under the old ones. */
  setKeys(keys: KeyRing): void
  /** Whether the key that verified a token is still in the ring. */
  hasKey(keyId: string): boolean
  /** How many tokens are remembered. */
  readonly size: number
}

interface Key {
  readonly id: string
  /** Imported once: doing it for each token would take longer than the check itself. */
  readonly imported: Promise<webcrypto.CryptoKey>
}

type JsonObject = Readonly<Record<string, unknown>>

/** How many verified tokens are remembered; the oldest make room. A workspace has one user and a handful of agents. */
const REMEMBERED_TOKENS = 10_000

/** Builds a verifier. @param now the wall clock in milliseconds, since `exp` is wall-clock time */
export function buildTokenVerifier(
  rules: TokenRules,
  keys: KeyRing,
  now: () => number = Date.now,
): TokenVerifier {
  let ring = keys.map(toKey)
  let remembered = new Map<string, Principal>()

  async function verify(token: string): Promise<Principal> {
    const known = recall(token)
    if (known !== undefined) return known
    const claims = readClaims(token)
    const keysTried = ring
    for (const key of keysTried) {
      if (!(await isSignedWith(key, token))) continue
      // A key change during the await must not be outlived by a verdict of the old ring.
      if (ring !== keysTried && !ring.some(({ id }) => id === key.id)) break
      const principal = { ...checkClaims(claims, rules, now() / 1000), ...namesOf(token, key) }
      if (remembered.size >= REMEMBERED_TOKENS) {
        const oldest = remembered.keys().next()
        if (oldest.done !== true) remembered.delete(oldest.value)
      }
      remembered.set(token, principal)
      return principal
    }
    throw new GatewayError('token-invalid', { reason: 'signature' })
  }

  function recall(token: string): Principal | undefined {
    const principal = remembered.get(token)
    if (principal === undefined) return undefined
    if (now() / 1000 < principal.expiresAt + rules.leewaySeconds) return principal
    remembered.delete(token)
    return undefined
  }

  return {
    recall,
    verify,
    setKeys(next) {
      ring = next.map(toKey)
      remembered = new Map()
    },
    hasKey: (keyId) => ring.some(({ id }) => id === keyId),
    get size() {
      return remembered.size
    },
  }
}

function toKey(secret: string): Key {
  const algorithm = { name: 'HMAC', hash: 'SHA-256' }
  return {
    id: digest(secret),
    imported: crypto.subtle.importKey('raw', Buffer.from(secret), algorithm, false, ['verify']),
  }
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('base64url').slice(0, 22)
}

/** What must hold before any cryptography: one spelling only, and a header that chooses nothing. @returns the payload */
function readClaims(token: string): JsonObject {
  if (token.length > MAX_TOKEN_LENGTH) throw invalid('too long')
  if (!JWS_COMPACT.test(token)) throw invalid('not a compact JWS')
  const parts = token.split('.')
  // base64url with stray bits or a stray character decodes all the same: one token must have one spelling.
  if (parts.some((part) => Buffer.from(part, 'base64url').toString('base64url') !== part))
    throw invalid('not canonical base64url')
  checkHeader(readObject(parts[0] ?? '', 'header'))
  return readObject(parts[1] ?? '', 'payload')
}

/** `kid` may name a key, but every key of the ring is tried anyway: it is only a hint. */
function checkHeader(header: JsonObject): void {
  const { alg, typ, kid } = header
  if (alg !== 'HS256') throw invalid('alg')
  if (Object.keys(header).some((name) => FORBIDDEN_HEADER_FIELD.test(name))) throw invalid('header')
  if (typ !== undefined && (typeof typ !== 'string' || typ.toUpperCase() !== 'JWT'))
    throw invalid('typ')
  if (kid !== undefined && typeof kid !== 'string') throw invalid('kid')
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
    throw invalid(`${name} is not JSON`)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalid(`${name} is not an object`)
  if (hasDuplicateKeys(json)) throw invalid(`${name} repeats a member`)
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

async function isSignedWith({ imported }: Key, token: string): Promise<boolean> {
  try {
    await compactVerify(token, await imported, { algorithms: ['HS256'] })
    return true
  } catch (cause) {
    const code = codeOf(cause)
    if (code === 'ERR_JWS_SIGNATURE_VERIFICATION_FAILED') return false
    throw invalid(code, cause)
  }
}

/** Whether the claims of a token whose signature holds let it in now (RFC 7519 section 4.1), and for whom and how long. */
function checkClaims(
  { iss, aud, sub, exp, nbf, iat }: JsonObject,
  { workspace, issuer, leewaySeconds }: TokenRules,
  now: number,
): Pick<Principal, 'subject' | 'expiresAt'> {
  if (issuer !== undefined && iss !== issuer) throw invalid('iss')
  const audience: readonly unknown[] = Array.isArray(aud) ? aud : [aud]
  if (!audience.includes(workspace) || !audience.every((name) => typeof name === 'string'))
    throw invalid('aud')
  if (!isSubject(sub)) throw invalid('sub')
  if (!isNumericDate(exp)) throw invalid('exp')
  if (nbf !== undefined && !(isNumericDate(nbf) && nbf <= now + leewaySeconds)) throw invalid('nbf')
  if (iat !== undefined && !(isNumericDate(iat) && iat <= now + MAX_ISSUED_AHEAD_SECONDS))
    throw invalid('iat')
  if (now >= exp + leewaySeconds) throw new GatewayError('token-expired', { reason: 'exp' })
  return { subject: sub, expiresAt: exp }
}

function namesOf(token: string, { id }: Key): Pick<Principal, 'sessionId' | 'keyId'> {
  return { sessionId: digest(token), keyId: id }
}

/** Whether a name can stand in a log and, encoded, in a header field, and stay the same name. */
function isSubject(value: unknown): value is string {
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
function isNumericDate(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && value <= LAST_DATE
}

function invalid(reason: string, cause?: unknown): GatewayError {
  return new GatewayError('token-invalid', { reason, cause })
}

/** What a new token says. */
export interface MintOptions {
  readonly secret: string
  /** `aud` */
  readonly workspace: string
  /** `sub` */
  readonly subject: string
  readonly ttlSeconds: number
  /** `iss`; left out when undefined */
  readonly issuer?: string | undefined
}

/**
 * Mints a token, for operators, tests and the embedded workspace.
 * @throws {Error} when no workspace would take it, because of its subject or its end
 */
export async function mintToken({
  secret,
  workspace,
  subject,
  ttlSeconds,
  issuer,
}: MintOptions): Promise<string> {
  const issuedAt = Math.floor(Date.now() / 1000)
  if (!isSubject(subject))
    throw new Error(`the subject takes 1 to ${MAX_SUBJECT_LENGTH} characters, none a control`)
  if (!isNumericDate(issuedAt + ttlSeconds)) throw new Error('the token would end after 9999')
  const token = new SignJWT({})
    .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
    .setSubject(subject)
    .setAudience(workspace)
    .setIssuedAt(issuedAt)
    .setExpirationTime(issuedAt + ttlSeconds)
    .setJti(crypto.randomUUID())
  if (issuer !== undefined) token.setIssuer(issuer)
  return token.sign(new TextEncoder().encode(secret))
}
