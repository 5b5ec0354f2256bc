/**
 * How is a secret sealed? With AES-256-GCM (NIST SP 800-38D): a random nonce of 12 bytes, the ciphertext, and a tag of 16 bytes. The
 * additional data is bound to the secret, so a seal opens only with the same additional data.
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'

const CIPHER = 'aes-256-gcm'
const NONCE_BYTES = 12
const TAG_BYTES = 16

/** How many bytes a seal has more than its secret. */
export const SEAL_BYTES = NONCE_BYTES + TAG_BYTES

/** Node accepts tags of 4 bytes unless the length is given. */
const OPTIONS = { authTagLength: TAG_BYTES }

/** Seals a secret with a new nonce. @returns nonce, ciphertext and tag */
export function seal(key: Buffer, secret: Buffer, additionalData: string | Buffer): Buffer {
  return sealWithNonce(key, randomBytes(NONCE_BYTES), secret, additionalData)
}

/** Seals with a nonce that the caller gives, for the test vectors. A nonce must never be used twice with a key. */
export function sealWithNonce(
  key: Buffer,
  nonce: Buffer,
  secret: Buffer,
  additionalData: string | Buffer,
): Buffer {
  const cipher = createCipheriv(CIPHER, key, nonce, OPTIONS)
  cipher.setAAD(Buffer.from(additionalData))
  return Buffer.concat([nonce, cipher.update(secret), cipher.final(), cipher.getAuthTag()])
}

/** @returns undefined when the seal, the key or the additional data is not the one of the sealing */
export function unseal(
  key: Buffer,
  sealed: Buffer,
  additionalData: string | Buffer,
): Buffer | undefined {
  if (sealed.length < SEAL_BYTES) return undefined
  const decipher = createDecipheriv(CIPHER, key, sealed.subarray(0, NONCE_BYTES), OPTIONS)
  decipher.setAAD(Buffer.from(additionalData))
  decipher.setAuthTag(sealed.subarray(-TAG_BYTES))
  const secret = decipher.update(sealed.subarray(NONCE_BYTES, -TAG_BYTES))
  try {
    decipher.final()
    return secret
  } catch {
    secret.fill(0)
    return undefined
  }
}
