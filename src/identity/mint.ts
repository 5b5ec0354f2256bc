/** How is a token made? It gets the claims that token.ts requires and a signature with HS256. */
import { SignJWT } from 'jose/jwt/sign'
import { isNumericDate, isSubject, MAX_SUBJECT_LENGTH } from './token.ts'

/** The claims of a new token, and the secret that signs it. */
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
 * @throws {Error} when no workspace would accept the token, because of its subject or its expiry
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
