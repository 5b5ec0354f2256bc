/**
 * How are the secrets of second factors kept in a file that may be copied? Encrypted with AES-256-GCM under a key that is derived
 * from a signing secret (HKDF). The file has the name of that signing key (`kid`), never the key.
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import type { SealedSecret } from '../../store/factor-rows.ts'
import type { Key, KeyRing } from '../key-ring.ts'

/** Why a secret cannot be read. `factor-key-missing`: its signing key is not configured. `factor-unreadable`: it was changed. */
export type SealedProblem = 'factor-key-missing' | 'factor-unreadable'

const ALGORITHM = 'aes-256-gcm'

/** The lengths of the nonce, which stands before the ciphertext, and of the tag, which stands behind it, in bytes. */
const NONCE_BYTES = 12
const TAG_BYTES = 16

/** The `info` of HKDF. It never changes, or no secret could be read any more. */
const PURPOSE = 'second factor v1'

/** A key is derived once, because that takes longer than the encryption. */
const derived = new WeakMap<Key, Buffer>()

/**
 * Encrypts a secret under the key that signs now.
 * @param context what the secret belongs to. A secret that is moved to another row of the file cannot be read there
 */
export function seal({ signing }: KeyRing, secret: Uint8Array, context: string): SealedSecret {
  const nonce = randomBytes(NONCE_BYTES)
  const cipher = createCipheriv(ALGORITHM, keyOf(signing), nonce, { authTagLength: TAG_BYTES })
  cipher.setAAD(Buffer.from(context))
  const sealed = Buffer.concat([nonce, cipher.update(secret), cipher.final(), cipher.getAuthTag()])
  return { kid: signing.kid, sealed }
}

/** Decrypts a secret. @param context the same as when it was encrypted */
export function unseal(
  keys: KeyRing,
  { kid, sealed }: SealedSecret,
  context: string,
): Buffer | SealedProblem {
  const key = keys.find(kid)
  if (key === undefined) return 'factor-key-missing'
  try {
    const bytes = Buffer.from(sealed)
    const nonce = bytes.subarray(0, NONCE_BYTES)
    const decipher = createDecipheriv(ALGORITHM, keyOf(key), nonce, { authTagLength: TAG_BYTES })
    decipher.setAAD(Buffer.from(context))
    decipher.setAuthTag(bytes.subarray(bytes.length - TAG_BYTES))
    const text = bytes.subarray(NONCE_BYTES, bytes.length - TAG_BYTES)
    return Buffer.concat([decipher.update(text), decipher.final()])
  } catch {
    return 'factor-unreadable'
  }
}

function keyOf(key: Key): Buffer {
  const known = derived.get(key)
  if (known !== undefined) return known
  const made = key.derive(PURPOSE)
  derived.set(key, made)
  return made
}
