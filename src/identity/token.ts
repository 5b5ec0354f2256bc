/**
 * What must a token say? It must be a compact JWS in canonical spelling, its header must choose nothing about its
 * verification, and its claims must be valid now and for this workspace (RFC 7515, RFC 7519, RFC 8725). verifier.ts checks
 * the signature.
 */
import { GatewayError } from '../answers/errors.ts'
import { Remembered } from '../limits/memo.ts'
import { isSubject } from '../rules/subject.ts'
import type { ApiToken } from './api-tokens.ts'
import type { Key } from './key-ring.ts'
import type { Session } from './session.ts'

/** The person or program that a verified credential identifies. */
export interface Principal {
  /** `sub`: the name of the person or program. */
  readonly subject: string
  /** What ends everywhere at once. Limits, memory and sockets go by its id. */
  readonly session: Session
  /** Until when the credential is accepted, in milliseconds since 1970: its expiry with the leeway, or less. */
  readonly acceptedUntil: number
  /** The key that verified the token; undefined for an API token, which is no signed one. */
  readonly key: Key | undefined
  /** The API token of a program that has one. */
  readonly apiToken: ApiToken | undefined
  /** The name under which the token is remembered once it has signed in; undefined for tokens that cannot sign in. */
  readonly ticketId: string | undefined
  /** When the person proved who they are, in milliseconds since 1970: `auth_time`, else `iat`; undefined when the token does not say. */
  readonly authenticatedAt: number | undefined
  /** `amr`: how they did (RFC 8176); empty when the token does not say. */
  readonly methods: readonly string[]
  /** When they last showed a second factor here, in milliseconds since 1970; undefined when this token was not minted for one. */
  readonly factorAt: number | undefined
}

/** The longest token, in characters, which are all ASCII. */
export const MAX_TOKEN_LENGTH = 4096

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

/** What a token says, before its claims are checked. */
export type Payload = JsonObject

/**
 * Checks what can be checked before the signature: the spelling and the header.
 * @returns `kid`: which key is said to have signed
 */
export function readHeader(token: string): string | undefined {
  if (token.length > MAX_TOKEN_LENGTH) throw invalidToken('too long')
  if (!JWS_COMPACT.test(token)) throw invalidToken('not a compact JWS')
  const [header = '', ...rest] = token.split('.')
  for (const part of rest) checkSpelling(part)
  return headerOf.of(header).kid
}

/** Node also decodes base64url with stray bits or characters. A token has one spelling, because its text names the session. */
function checkSpelling(part: string): void {
  if (Buffer.from(part, 'base64url').toString('base64url') !== part)
    throw invalidToken('not canonical base64url')
}

/** The headers that were accepted, by their text: all tokens of an issuer have the same header, and forged ones copy it. */
const headerOf = new Remembered((header) => {
  checkSpelling(header)
  return { kid: checkHeader(readObject(header, 'header')) }
})

/** The payload of a token whose signature is valid. @param token one that {@link readHeader} has accepted */
export function readPayload(token: string): Payload {
  return readObject(token.split('.')[1] ?? '', 'payload')
}

/** Checks the header. @returns `kid`, which must be a string and chooses among the keys of the ring and nothing else */
function checkHeader(header: JsonObject): string | undefined {
  const { alg, typ, kid } = header
  if (alg !== 'HS256') throw invalidToken('alg')
  if (Object.keys(header).some((name) => FORBIDDEN_HEADER_FIELD.test(name)))
    throw invalidToken('header')
  if (typ !== undefined && (typeof typ !== 'string' || typ.toUpperCase() !== 'JWT'))
    throw invalidToken('typ')
  if (kid !== undefined && typeof kid !== 'string') throw invalidToken('kid')
  return kid
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

/** The value of `use` in the tokens that the gateway mints at sign-in. */
export const SESSION_USE = 'session'

/** The claims of a token whose signature is valid, checked. Times are in seconds since 1970. */
export interface Claims {
  readonly subject: string
  /** `exp` */
  readonly expiresAt: number
  /** `iat` */
  readonly issuedAt: number | undefined
  /** `jti`: the name of this one token. */
  readonly tokenId: string | undefined
  /** `sid`: the name of the session that the token belongs to. */
  readonly sessionId: string | undefined
  /** `auth_time`: when the person proved who they are. */
  readonly authenticatedAt: number | undefined
  /** `amr`: how (RFC 8176). */
  readonly methods: readonly string[]
  /** `factor_time`: when a second factor was shown to the gateway, in milliseconds since 1970. Only the gateway's own tokens say it. */
  readonly factorAt: number | undefined
  /** `session_exp`: when the session ends that this token starts. */
  readonly sessionExpiresAt: number | undefined
  /** Whether the gateway minted the token for a session (`use: "session"`). */
  readonly isSessionToken: boolean
  /** `device`: the paired device that the gateway minted the token for. Only the gateway's own tokens say it. */
  readonly boundTo?: string | undefined
}

/** Checks the claims of a token whose signature is valid (RFC 7519 section 4.1). @param now seconds since 1970 */
export function checkClaims(
  payload: JsonObject,
  { workspace, issuer, leewaySeconds }: TokenRules,
  now: number,
): Claims {
  const { iss, aud, sub, exp, nbf, iat, jti, sid, use, amr } = payload
  const { auth_time: authTime, session_exp: sessionExp, factor_time: factorTime } = payload
  const { device } = payload
  const isSessionToken = use === SESSION_USE
  // A session token is the gateway's own: for this workspace alone, and without the issuer of the login service.
  if (isSessionToken) {
    if (aud !== workspace) throw invalidToken('aud')
  } else {
    if (issuer !== undefined && iss !== issuer) throw invalidToken('iss')
    const audience: readonly unknown[] = Array.isArray(aud) ? aud : [aud]
    if (!audience.includes(workspace) || !audience.every((name) => typeof name === 'string'))
      throw invalidToken('aud')
  }
  if (!isSubject(sub)) throw invalidToken('sub')
  if (!isNumericDate(exp)) throw invalidToken('exp')
  if (nbf !== undefined && !(isNumericDate(nbf) && nbf <= now + leewaySeconds))
    throw invalidToken('nbf')
  if (iat !== undefined && !isNumericDate(iat)) throw invalidToken('iat')
  // Not asked of a session token: it was issued here, so a clock that has stepped back must not sign anybody out.
  if (!isSessionToken && iat !== undefined && iat > now + MAX_ISSUED_AHEAD_SECONDS)
    throw invalidToken('iat')
  if (jti !== undefined && !isName(jti)) throw invalidToken('jti')
  if (sid !== undefined && !isName(sid)) throw invalidToken('sid')
  if (authTime !== undefined && !isNumericDate(authTime)) throw invalidToken('auth_time')
  if (sessionExp !== undefined && !isNumericDate(sessionExp)) throw invalidToken('session_exp')
  if (amr !== undefined && !isNameList(amr)) throw invalidToken('amr')
  if (isSessionToken && factorTime !== undefined && !isNumericDate(factorTime))
    throw invalidToken('factor_time')
  if (isSessionToken && device !== undefined && !isName(device)) throw invalidToken('device')
  // The leeway is for another machine's clock; a session token was minted by this one.
  if (now >= exp + (isSessionToken ? 0 : leewaySeconds))
    throw new GatewayError('token-expired', { reason: 'exp' })
  return {
    subject: sub,
    expiresAt: exp,
    issuedAt: iat,
    tokenId: jti,
    sessionId: sid,
    authenticatedAt: authTime,
    methods: amr ?? [],
    factorAt: isSessionToken && isNumericDate(factorTime) ? factorTime * 1000 : undefined,
    sessionExpiresAt: sessionExp,
    isSessionToken,
    boundTo: isSessionToken && isName(device) ? device : undefined,
  }
}

function isName(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}

function isNameList(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every(isName)
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
