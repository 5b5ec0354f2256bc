/** Makes tokens for the tests of identity, field by field, and the verifier that judges them at a fixed time. */
import { createHmac } from 'node:crypto'
import { GatewayError } from '../../src/answers/errors.ts'
import type { TokenRules } from '../../src/identity/token.ts'
import { buildTokenVerifier, type KeyRing } from '../../src/identity/verifier.ts'

export const SECRET = 'k8f2mD5xQ9vB1nR7tY3wL6pZ0sH4jC8a'
export const OTHER_SECRET = 'Zq4Wm7Xn2Cv5Bb8Nk1Lj3Hg6Fd9Sa0Pe'

/** The time of these tests, in seconds since 1970. */
export const NOW = 1_800_000_000
export const LEEWAY = 30

export const RULES: TokenRules = { workspace: 'houston', issuer: undefined, leewaySeconds: LEEWAY }
export const HEADER = { alg: 'HS256', typ: 'JWT' }
export const CLAIMS = { sub: 'alice', aud: 'houston', exp: NOW + 3600 }

export function base64url(text: string | Buffer): string {
  return Buffer.from(text).toString('base64url')
}

/** A part of a token, from an object, or from JSON text or bytes as they are. */
export function part(value: unknown): string {
  return base64url(
    typeof value === 'string' || Buffer.isBuffer(value) ? value : JSON.stringify(value),
  )
}

export function hmac(input: string, secret: string, hash = 'sha256'): string {
  return createHmac(hash, secret).update(input).digest('base64url')
}

/** Makes a token that is signed with HMAC, whatever its header names. */
export function forge(header: unknown, claims: unknown, secret = SECRET, hash = 'sha256'): string {
  const input = `${part(header)}.${part(claims)}`
  return `${input}.${hmac(input, secret, hash)}`
}

export const withClaims = (fields: object): string => forge(HEADER, { ...CLAIMS, ...fields })

export function verifier({
  rules = RULES,
  keys = [SECRET],
  now = () => NOW * 1000,
}: { rules?: TokenRules; keys?: KeyRing; now?: () => number } = {}) {
  return buildTokenVerifier(rules, keys, now)
}

/** The result of a verification: the subject of the token, or the code of the refusal. */
export async function verdict(token: string, from = verifier()): Promise<string> {
  try {
    return (await from.verify(token)).subject
  } catch (error) {
    if (error instanceof GatewayError) return error.code
    throw error
  }
}

export const GOOD = forge(HEADER, CLAIMS)
