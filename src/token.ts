/** Is this token ours and still good? Verification and minting of the workspace JWT (RFC 7515, RFC 7519, RFC 8725). */
import { createHash } from 'node:crypto'
import { decodeProtectedHeader, jwtVerify, SignJWT } from 'jose'
import { GatewayError } from './errors.ts'
import { codeOf } from './errors.ts'

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
const FORBIDDEN_HEADER_FIELDS = [
  'crit',
  'b64',
  'jwk',
  'jku',
  'x5u',
  'x5c',
  'x5t',
  'x5t#S256',
  'cty',
  'zip',
  'enc',
] as const

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
  /** Clock skew allowed on `exp`, `nbf` and `iat`, in seconds. */
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
}

interface Key {
  readonly id: string
  readonly secret: Uint8Array
}

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
    checkForm(token)
    const keysTried = ring
    for (const key of keysTried) {
      const principal = await verifyWith(key, token, rules, now())
      if (principal === undefined) continue
      // A key change during the await must not be outlived by a verdict of the old ring.
      if (ring !== keysTried && !ring.some(({ id }) => id === key.id)) break
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
  }
}

function toKey(secret: string): Key {
  return { id: digest(secret), secret: new TextEncoder().encode(secret) }
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('base64url').slice(0, 22)
}

/** What must hold before any cryptography: one spelling only, and a header that chooses nothing. */
function checkForm(token: string): void {
  if (token.length > MAX_TOKEN_LENGTH) throw invalid('too long')
  if (!JWS_COMPACT.test(token)) throw invalid('not a compact JWS')
  const parts = token.split('.')
  // base64url with stray bits or a stray character decodes all the same: one token must have one spelling.
  if (parts.some((part) => Buffer.from(part, 'base64url').toString('base64url') !== part))
    throw invalid('not canonical base64url')
  const [header = '', payload = ''] = parts.map((part) =>
    Buffer.from(part, 'base64url').toString('utf8'),
  )
  if (hasDuplicateKeys(header) || hasDuplicateKeys(payload)) throw invalid('duplicate member')
  let fields: Record<string, unknown>
  try {
    fields = decodeProtectedHeader(token)
  } catch (cause) {
    throw invalid('header', cause)
  }
  if (fields['alg'] !== 'HS256') throw invalid('alg')
  const forbidden = FORBIDDEN_HEADER_FIELDS.find((name) => Object.hasOwn(fields, name))
  if (forbidden !== undefined) throw invalid(`header ${forbidden}`)
  const type = fields['typ']
  if (type !== undefined && (typeof type !== 'string' || type.toUpperCase() !== 'JWT'))
    throw invalid('typ')
  if (fields['kid'] !== undefined && typeof fields['kid'] !== 'string') throw invalid('kid')
}

/** @returns undefined when another key made the signature */
async function verifyWith(
  key: Key,
  token: string,
  rules: TokenRules,
  nowMs: number,
): Promise<Principal | undefined> {
  let payload: Record<string, unknown>
  try {
    ;({ payload } = await jwtVerify(token, key.secret, {
      algorithms: ['HS256'],
      audience: rules.workspace,
      requiredClaims: ['exp', 'sub', 'aud'],
      clockTolerance: rules.leewaySeconds,
      currentDate: new Date(nowMs),
      ...(rules.issuer === undefined ? {} : { issuer: rules.issuer }),
    }))
  } catch (cause) {
    const code = codeOf(cause)
    if (code === 'ERR_JWS_SIGNATURE_VERIFICATION_FAILED') return undefined
    if (code === 'ERR_JWT_EXPIRED')
      throw new GatewayError('token-expired', { reason: 'exp', cause })
    throw invalid(code, cause)
  }
  const { exp, nbf, iat, sub, aud } = payload
  // jose takes 1e400 (Infinity) for a number: a token that never expires is none.
  for (const date of [exp, nbf, iat])
    if (date !== undefined && !isNumericDate(date)) throw invalid('date claim')
  if (Array.isArray(aud) && !aud.every((name) => typeof name === 'string')) throw invalid('aud')
  if (typeof iat === 'number' && iat > nowMs / 1000 + rules.leewaySeconds) throw invalid('iat')
  if (
    typeof sub !== 'string' ||
    sub === '' ||
    sub.length > MAX_SUBJECT_LENGTH ||
    /\p{Cc}/u.test(sub)
  )
    throw invalid('sub')
  return { subject: sub, expiresAt: exp as number, sessionId: digest(token), keyId: key.id }
}

function isNumericDate(value: unknown): boolean {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

function invalid(reason: string, cause?: unknown): GatewayError {
  return new GatewayError('token-invalid', { reason, cause })
}

/** Whether a JSON object repeats a member at its top level: parsers disagree about which one counts (RFC 7519 section 4). */
export function hasDuplicateKeys(json: string): boolean {
  const seen = new Set<string>()
  let depth = 0
  for (const match of json.matchAll(/"(?:[^"\\]|\\.)*"(?=(\s*:)?)|[{}[\]]/gs)) {
    const [text, colon] = match
    if (text === '{' || text === '[') depth++
    else if (text === '}' || text === ']') depth--
    else if (depth === 1 && colon !== undefined) {
      let name: unknown
      try {
        name = JSON.parse(text)
      } catch {
        return true // not JSON at all: jose refuses it, and so does this
      }
      if (seen.has(String(name))) return true
      seen.add(String(name))
    }
  }
  return false
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

/** Mints a token, for operators, tests and the embedded workspace. */
export async function mintToken({
  secret,
  workspace,
  subject,
  ttlSeconds,
  issuer,
}: MintOptions): Promise<string> {
  const issuedAt = Math.floor(Date.now() / 1000)
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
