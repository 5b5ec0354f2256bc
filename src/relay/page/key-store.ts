/**
 * How does a browser keep its private key, so that no script can read it? As a key that cannot be exported, where the browser gives such
 * a key back as it was; else encrypted under another key that cannot be exported; else for this visit only, and the page says so.
 */
import { isEqual, randomBytes, type Bytes } from '../protocol/bytes.ts'
import { deviceNameIn } from '../protocol/handshake.ts'
import type { NoiseKeyPair } from '../protocol/noise.ts'
import type { PairedDevice } from '../client/paired-device.ts'
import type { Shelf } from './database.ts'

/** How long the keys of this device last: until it is forgotten, or until the page is closed. */
export type Lasting = 'kept' | 'wrapped' | 'this-visit'

/** Whether this browser has what the page needs: X25519 in WebCrypto (over HTTPS alone), and what came to browsers at about that time. */
export async function canRun(): Promise<boolean> {
  try {
    await generate(false)
    return 'withResolvers' in Promise && 'WebSocket' in globalThis
  } catch {
    return false
  }
}

/** Keys of a device, and how they are kept. */
export interface DeviceKeys {
  readonly own: NoiseKeyPair
  readonly lasting: Lasting
  /** Puts a pairing on the shelf, with these keys. For `this-visit` it does nothing. */
  readonly keep: (device: PairedDevice) => Promise<void>
}

/** What is on the shelf. */
interface Kept {
  readonly version: 1
  readonly publicKey: Bytes
  readonly secret: KeptKey
  /** Nothing before the device was paired. */
  readonly device?: Omit<PairedDevice, 'own'>
}

/** The private key, on the shelf. */
type KeptKey =
  | { readonly how: 'kept'; readonly privateKey: CryptoKey }
  | {
      readonly how: 'wrapped'
      readonly wrappingKey: CryptoKey
      readonly iv: Bytes
      readonly sealed: Bytes
    }

const X25519 = { name: 'X25519' } as const
const USAGES: readonly KeyUsage[] = ['deriveBits']
const { subtle } = crypto

/**
 * Makes the keys of this device, in the best way in which this browser can keep them. Each way is tried: the keys are put on the shelf,
 * read back, and used. Safari, for one, takes an X25519 key and gives back nothing.
 * @throws {Error} when the browser has no X25519 at all
 */
export async function makeKeys(shelf: Shelf): Promise<DeviceKeys> {
  for (const make of [makeKept, makeWrapped]) {
    try {
      const made = await make()
      if (await isKept(shelf, made)) return keysOf(shelf, made)
    } catch {
      // The next way may work. When none does, the last one says why.
    }
  }
  const { own } = await generate(false)
  return { own, lasting: 'this-visit', keep: () => Promise.resolve() }
}

/** A pairing that was read back. */
export interface KeptPairing {
  readonly device: PairedDevice
  readonly lasting: Lasting
}

/** The pairing that is on the shelf, with its keys; undefined when there is none, or when it cannot be used any more. */
export async function readPairing(shelf: Shelf): Promise<KeptPairing | undefined> {
  const kept = await shelf.get('this-device').catch(() => undefined)
  if (!isKeptRecord(kept) || kept.device === undefined) return undefined
  try {
    const privateKey = await openKey(kept.secret)
    if (!(await isSameKey(privateKey, kept.publicKey))) return undefined
    const own = { privateKey, publicKey: kept.publicKey }
    const name = deviceNameIn(kept.device.name) ?? 'unnamed' // the rule for names was another one before
    return { device: { ...kept.device, own, name }, lasting: kept.secret.how }
  } catch {
    return undefined
  }
}

/** Forgets a pairing. That of another device stays: another tab of this browser may have paired anew. */
export async function forgetPairing(shelf: Shelf, { id }: PairedDevice): Promise<void> {
  await shelf.remove('this-device', (kept) => isKeptRecord(kept) && kept.device?.id === id)
}

/** Keys as they are made, and what goes on the shelf for them. */
interface Made {
  readonly own: NoiseKeyPair
  readonly secret: KeptKey
}

async function makeKept(): Promise<Made> {
  const { own } = await generate(false)
  return { own, secret: { how: 'kept', privateKey: own.privateKey } }
}

async function makeWrapped(): Promise<Made> {
  const { own, pair } = await generate(true)
  const wrappingKey = await subtle.generateKey({ name: 'AES-GCM', length: 256 }, false, [
    'wrapKey',
    'unwrapKey',
  ])
  const iv = randomBytes(12)
  const sealed = await subtle.wrapKey('pkcs8', pair.privateKey, wrappingKey, {
    name: 'AES-GCM',
    iv,
  })
  const secret = { how: 'wrapped', wrappingKey, iv, sealed: new Uint8Array(sealed) } as const
  // What is used from now on cannot be exported either.
  return { own: { ...own, privateKey: await openKey(secret) }, secret }
}

async function generate(
  extractable: boolean,
): Promise<{ readonly own: NoiseKeyPair; readonly pair: CryptoKeyPair }> {
  const pair = (await subtle.generateKey(X25519, extractable, USAGES)) as CryptoKeyPair
  const publicKey = new Uint8Array(await subtle.exportKey('raw', pair.publicKey))
  return { pair, own: { privateKey: pair.privateKey, publicKey } }
}

function openKey(secret: KeptKey): Promise<CryptoKey> {
  if (secret.how === 'kept') return Promise.resolve(secret.privateKey)
  const { sealed, wrappingKey, iv } = secret
  const wrapping = { name: 'AES-GCM', iv }
  return subtle.unwrapKey('pkcs8', sealed, wrappingKey, wrapping, X25519, false, USAGES)
}

function keysOf(shelf: Shelf, { own, secret }: Made): DeviceKeys {
  const keep = async ({ own: _own, ...device }: PairedDevice): Promise<void> => {
    const kept = { version: 1, publicKey: own.publicKey, secret, device } satisfies Kept
    await shelf.put('this-device', kept)
  }
  return { own, lasting: secret.how, keep }
}

/** Whether keys can still be used after they were on the shelf. */
async function isKept(shelf: Shelf, { own, secret }: Made): Promise<boolean> {
  try {
    await shelf.put('trial', { version: 1, publicKey: own.publicKey, secret } satisfies Kept)
    const back = await shelf.get('trial')
    return isKeptRecord(back) && (await isSameKey(await openKey(back.secret), own.publicKey))
  } finally {
    await shelf.remove('trial')
  }
}

/** Whether a private key belongs to a public one: both give the same secret with a third pair. */
async function isSameKey(privateKey: CryptoKey, publicKey: Bytes): Promise<boolean> {
  const { pair } = await generate(false)
  const theirs = await subtle.importKey('raw', publicKey, X25519, true, [])
  const [ours, other] = await Promise.all([
    subtle.deriveBits({ ...X25519, public: pair.publicKey }, privateKey, 256),
    subtle.deriveBits({ ...X25519, public: theirs }, pair.privateKey, 256),
  ])
  return isEqual(new Uint8Array(ours), new Uint8Array(other))
}

function isKeptRecord(value: unknown): value is Kept {
  if (typeof value !== 'object' || value === null) return false
  const { version, publicKey, secret } = value as Partial<Kept>
  return version === 1 && publicKey instanceof Uint8Array && typeof secret?.how === 'string'
}
