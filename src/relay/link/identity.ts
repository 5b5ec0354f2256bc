/** Who is this daemon? The holder of an X25519 key, which every pairing link names. It is made once, and never again without being asked. */
import { join } from 'node:path'
import { fromBase64Url, isEqual, toBase64Url, type Bytes } from '../protocol/bytes.ts'
import { generateKeyPair, KEY_LENGTH, type NoiseKeyPair } from '../protocol/noise.ts'
import {
  createPrivateFile,
  LinkFileError,
  readPrivateFile,
  replacePrivateFile,
} from './private-file.ts'

/** The name of the file in LINK_STATE_DIR. */
export const IDENTITY_FILE = 'daemon-keypair.json'

const VERSION = 1
const MAX_BYTES = 4096
const { subtle } = crypto

/**
 * Reads the key, or makes it when there is no file.
 * @param mayMake whether a new key may be made: not when devices are paired with an older one
 * @throws {LinkFileError} for a file that is damaged, not private, or missing although devices are paired
 */
export async function loadIdentity(folder: string, mayMake: boolean): Promise<NoiseKeyPair> {
  const path = join(folder, IDENTITY_FILE)
  const text = readPrivateFile(path, MAX_BYTES)
  if (text !== undefined) return readIdentity(text, path)
  if (!mayMake)
    throw new LinkFileError(
      `${path} is missing, and devices.json beside it names devices that know the key that was in it; restore it from a backup, or remove devices.json and pair every device again`,
    )
  const made = await newIdentity()
  if (createPrivateFile(path, made.text)) return made.keys
  return readIdentity(readPrivateFile(path, MAX_BYTES) ?? '', path)
}

/** Puts a new key in the place of the old one, which no device can reach any more. @throws an error of the system */
export async function replaceIdentity(folder: string): Promise<NoiseKeyPair> {
  const { keys, text } = await newIdentity()
  replacePrivateFile(join(folder, IDENTITY_FILE), text)
  return keys
}

async function newIdentity(): Promise<{ keys: NoiseKeyPair; text: string }> {
  const keys = await generateKeyPair(true)
  const privateKey = new Uint8Array(await subtle.exportKey('pkcs8', keys.privateKey))
  const fields = {
    version: VERSION,
    publicKey: toBase64Url(keys.publicKey),
    privateKey: toBase64Url(privateKey),
  }
  return { keys, text: `${JSON.stringify(fields)}\n` }
}

async function readIdentity(text: string, path: string): Promise<NoiseKeyPair> {
  const damaged = (why: string): LinkFileError =>
    new LinkFileError(
      `${path} cannot be used: ${why}; restore it from a backup, or remove it together with devices.json and pair every device again`,
    )
  const { version, ...keys } = fieldsOf(text)
  if (version !== undefined && version !== VERSION)
    throw damaged('it is of another version of this program')
  const publicKey = bytesIn(keys, 'publicKey')
  const pkcs8 = bytesIn(keys, 'privateKey')
  if (version === undefined || pkcs8 === undefined || publicKey?.length !== KEY_LENGTH)
    throw damaged('it is damaged, or not a file of this program')
  const privateKey = await subtle
    .importKey('pkcs8', pkcs8, { name: 'X25519' }, true, ['deriveBits'])
    // Without the cause, which has seen the key.
    .catch((): undefined => undefined)
  if (privateKey === undefined || !(await belongs(privateKey, publicKey)))
    throw damaged('it is damaged')
  return { privateKey, publicKey }
}

/** Whether the private key belongs to the public one (RFC 8037 section 2: `x` of a JWK is the public key). */
async function belongs(privateKey: CryptoKey, publicKey: Bytes): Promise<boolean> {
  const { x = '' } = await subtle.exportKey('jwk', privateKey)
  const found = fromBase64Url(x)
  return found !== undefined && isEqual(found, publicKey)
}

function fieldsOf(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? { ...value } : {}
  } catch {
    return {} // without the parser's message, which quotes the file
  }
}

function bytesIn(fields: Readonly<Record<string, unknown>>, name: string): Bytes | undefined {
  const value = fields[name]
  return typeof value === 'string' ? fromBase64Url(value) : undefined
}
