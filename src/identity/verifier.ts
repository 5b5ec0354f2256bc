/**
 * Did one of our keys sign this token, and is the token valid now? jose checks the signature, token.ts the rest; valid
 * tokens are cached.
 */
import { createHash, type webcrypto } from 'node:crypto'
import { compactVerify } from 'jose/jws/compact/verify'
import { codeOf, GatewayError } from '../answers/errors.ts'
import { checkClaims, invalidToken, readClaims, type Principal, type TokenRules } from './token.ts'

/** HMAC secrets. The first one signs and verifies; the others only verify, during a rotation. */
export type KeyRing = readonly [string, ...string[]]

/** Verifies tokens and caches the valid ones until they expire. */
export interface TokenVerifier {
  /** The principal of a token that is cached and has not expired. It costs one look-up. */
  recall(token: string): Principal | undefined
  /** Verifies a token. @throws {GatewayError} `token-invalid` or `token-expired` */
  verify(token: string): Promise<Principal>
  /** Replaces the keys and empties the cache, whose tokens were verified with the old keys. */
  setKeys(keys: KeyRing): void
  /** Whether a key is still in the ring. */
  hasKey(keyId: string): boolean
  /** The number of cached tokens. */
  readonly size: number
}

interface Key {
  readonly id: string
  /** Imported once, because importing the key for each token would take longer than the verification itself. */
  readonly imported: Promise<webcrypto.CryptoKey>
}

/** The capacity of the cache; the oldest token is dropped first. A workspace has one user and a handful of agents. */
const REMEMBERED_TOKENS = 10_000

/** Makes a verifier. @param now the wall clock in milliseconds, because `exp` is wall-clock time */
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
      // setKeys() may have run during the await. A token whose key is no longer in the ring is not valid and not cached.
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

async function isSignedWith({ imported }: Key, token: string): Promise<boolean> {
  try {
    await compactVerify(token, await imported, { algorithms: ['HS256'] })
    return true
  } catch (cause) {
    const code = codeOf(cause)
    if (code === 'ERR_JWS_SIGNATURE_VERIFICATION_FAILED') return false
    throw invalidToken(code, cause)
  }
}

function namesOf(token: string, { id }: Key): Pick<Principal, 'sessionId' | 'keyId'> {
  return { sessionId: digest(token), keyId: id }
}
