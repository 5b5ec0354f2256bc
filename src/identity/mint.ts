/** How is a token made? It gets the claims that token.ts requires and a signature with HS256. */
import { SignJWT } from 'jose/jwt/sign'
import type { Key } from './key-ring.ts'
import { isSubject, MAX_SUBJECT_LENGTH } from '../rules/subject.ts'
import { isNumericDate, SESSION_USE } from './token.ts'

/** The claims of a new token, and the secret that signs it, or the key that was made of it. */
export interface MintOptions {
  readonly secret: string | Key
  /** `aud` */
  readonly workspace: string
  /** `sub` */
  readonly subject: string
  /** How long the token is valid. */
  readonly ttlSeconds: number
  /** `session_exp`: how long the session lasts that the token starts, from now on; as long as the token when undefined */
  readonly sessionSeconds?: number | undefined
  /** `iss`; left out when undefined */
  readonly issuer?: string | undefined
}

/**
 * Mints a token, for operators, tests and the embedded workspace.
 * @throws {Error} when no workspace would accept the token, because of its subject or its expiry
 */
export async function mintToken({
  secret,
  workspace,
  subject,
  ttlSeconds,
  sessionSeconds,
  issuer,
}: MintOptions): Promise<string> {
  const issuedAt = Math.floor(Date.now() / 1000)
  if (!isSubject(subject))
    throw new Error(`the subject takes 1 to ${MAX_SUBJECT_LENGTH} characters, none a control`)
  if (!isNumericDate(issuedAt + ttlSeconds)) throw new Error('the token would end after 9999')
  const token = new SignJWT(
    sessionSeconds === undefined ? {} : { session_exp: issuedAt + sessionSeconds },
  )
    .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
    .setSubject(subject)
    .setAudience(workspace)
    .setIssuedAt(issuedAt)
    .setExpirationTime(issuedAt + ttlSeconds)
    .setJti(crypto.randomUUID())
  if (issuer !== undefined) token.setIssuer(issuer)
  return token.sign(
    typeof secret === 'string' ? new TextEncoder().encode(secret) : await secret.imported,
  )
}

/** What a session token says. Times are in milliseconds since 1970. */
export interface SessionClaims {
  readonly workspace: string
  readonly subject: string
  /** `sid` */
  readonly sessionId: string
  /** `jti` */
  readonly tokenId: string
  readonly issuedAt: number
  readonly authenticatedAt: number
  readonly endsAt: number
  /** `amr` */
  readonly methods: readonly string[]
  /** `factor_time`: when a second factor was shown here; undefined for never. */
  readonly factorAt: number | undefined
  /** `device`: the paired device that the token is for; left out for a browser's. */
  readonly boundTo?: string | undefined
}

/** Mints the token of a session, which its cookie holds. */
export async function mintSessionToken(key: Key, claims: SessionClaims): Promise<string> {
  const { workspace, subject, sessionId, tokenId, issuedAt, authenticatedAt, endsAt } = claims
  const { methods, factorAt, boundTo } = claims
  return new SignJWT({
    sid: sessionId,
    use: SESSION_USE,
    auth_time: Math.floor(authenticatedAt / 1000),
    ...(methods.length === 0 ? {} : { amr: methods }),
    ...(factorAt === undefined ? {} : { factor_time: Math.floor(factorAt / 1000) }),
    ...(boundTo === undefined ? {} : { device: boundTo }),
  })
    .setProtectedHeader({ alg: 'HS256', typ: 'JWT', kid: key.kid })
    .setSubject(subject)
    .setAudience(workspace)
    .setIssuedAt(Math.floor(issuedAt / 1000))
    .setExpirationTime(Math.floor(endsAt / 1000))
    .setJti(tokenId)
    .sign(await key.imported)
}
