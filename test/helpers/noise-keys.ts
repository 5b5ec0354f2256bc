/** Where do tests of the relay get keys from? From hexadecimal digits of test vectors, or new ones. */
import type { Bytes } from '../../src/relay/protocol/bytes.ts'
import type { NoiseKeyPair } from '../../src/relay/protocol/noise.ts'

/** PKCS #8 of an X25519 private key, up to its 32 bytes (RFC 8410 section 7). */
const PKCS8_HEAD = '302e020100300506032b656e04220420'

/** The bytes of hexadecimal digits. */
export function fromHex(digits: string): Bytes {
  return new Uint8Array(Buffer.from(digits, 'hex'))
}

/** Bytes as hexadecimal digits. */
export function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

/** An X25519 private key of 32 bytes. */
export async function privateKeyOf(bytes: Uint8Array): Promise<CryptoKey> {
  const pkcs8 = fromHex(PKCS8_HEAD + toHex(bytes))
  return crypto.subtle.importKey('pkcs8', pkcs8, { name: 'X25519' }, true, ['deriveBits'])
}

/** The pair of an X25519 private key of 32 bytes. */
export async function keyPairOf(bytes: Uint8Array): Promise<NoiseKeyPair> {
  const privateKey = await privateKeyOf(bytes)
  const { x = '' } = await crypto.subtle.exportKey('jwk', privateKey)
  return { privateKey, publicKey: new Uint8Array(Buffer.from(x, 'base64url')) }
}
