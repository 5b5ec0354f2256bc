/**
 * Which key protects what? The master key gives the key-encrypting key, which wraps the random data key; the data key gives one key
 * for each version of a credential, and the key of the file's MAC. All derivations are HKDF-SHA-256 (RFC 5869) in node:crypto.
 */
import { createHmac, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto'
import { canonical } from './canonical.ts'
import { seal, unseal } from './sealed-value.ts'

/** The name of the file's format. It is part of every derivation, so another format has other keys. */
export const FORMAT = 'workspace-vault-1'

/** The length of each key, in bytes. */
export const KEY_BYTES = 32

/** The length of the salt from which the key-encrypting key is derived, in bytes. */
export const SALT_BYTES = 32

/** The data key as it stands in the file. */
export interface WrappedKey {
  readonly salt: Buffer
  readonly wrapped: Buffer
}

/** HKDF-SHA-256. @param size bytes, at most 255 × 32 */
export function deriveKey(key: Buffer, salt: Buffer, info: Buffer, size = KEY_BYTES): Buffer {
  return Buffer.from(hkdfSync('sha256', key, salt, info, size))
}

/** Makes a data key. */
export function newDataKey(): Buffer {
  return randomBytes(KEY_BYTES)
}

/** Wraps the data key with a master key, with a new salt. */
export function wrapDataKey(masterKey: Buffer, vaultId: string, dataKey: Buffer): WrappedKey {
  const salt = randomBytes(SALT_BYTES)
  const wrapped = seal(wrappingKey(masterKey, salt, vaultId), dataKey, wrapData(vaultId, salt))
  return { salt, wrapped }
}

/** @returns undefined when the master key is another one, or when the vault id, the salt or the wrapped key was changed */
export function unwrapDataKey(
  masterKey: Buffer,
  vaultId: string,
  { salt, wrapped }: WrappedKey,
): Buffer | undefined {
  return unseal(wrappingKey(masterKey, salt, vaultId), wrapped, wrapData(vaultId, salt))
}

/** The key of one version of a credential. */
export function versionKey(dataKey: Buffer, entryId: string, version: number): Buffer {
  return fromDataKey(dataKey, 'version', entryId, version)
}

/** The MAC of the file: HMAC-SHA-256 with a key of its own. @param content everything else in the file, as canonical JSON */
export function macOf(dataKey: Buffer, content: string): Buffer {
  return createHmac('sha256', fromDataKey(dataKey, 'mac')).update(content).digest()
}

/** Compares in constant time. */
export function isMacOf(mac: Buffer, dataKey: Buffer, content: string): boolean {
  const expected = macOf(dataKey, content)
  return mac.length === expected.length && timingSafeEqual(mac, expected)
}

function wrappingKey(masterKey: Buffer, salt: Buffer, vaultId: string): Buffer {
  if (masterKey.length !== KEY_BYTES)
    throw new TypeError(`the master key has ${masterKey.length} bytes instead of ${KEY_BYTES}`)
  return deriveKey(masterKey, salt, infoOf('key-encrypting-key', vaultId))
}

function wrapData(vaultId: string, salt: Buffer): string {
  return canonical([FORMAT, 'data-key', vaultId, salt.toString('base64url')])
}

/** The data key is random, so it needs no salt (RFC 5869, section 3.1). */
function fromDataKey(dataKey: Buffer, ...purpose: ReadonlyArray<string | number>): Buffer {
  return deriveKey(dataKey, Buffer.alloc(0), infoOf(...purpose))
}

/** A list as JSON: two different purposes never have the same bytes. */
function infoOf(...purpose: ReadonlyArray<string | number>): Buffer {
  return Buffer.from(canonical([FORMAT, ...purpose]))
}
