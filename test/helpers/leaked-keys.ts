/**
 * What can be opened of recorded traffic with keys that have leaked? The attacker here computes the key schedule of Noise with node:crypto:
 * written a second time, so that an error in ours cannot hide.
 */
import {
  createDecipheriv,
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
} from 'node:crypto'
import { concat, type Bytes } from '../../src/relay/protocol/bytes.ts'
import { fromHex } from './noise-keys.ts'

const NAME = 'Noise_IK_25519_AESGCM_SHA256'

/** A private key that has leaked, 32 bytes. */
export type Leaked = Bytes

/** What a relay has recorded of a session. */
export interface Recorded {
  readonly prologue: Bytes
  readonly daemonKey: Bytes
  readonly first: Bytes
  readonly second: Bytes
  readonly up: readonly Bytes[]
  readonly down: readonly Bytes[]
}

const hmac = (key: Uint8Array, ...parts: readonly Uint8Array[]) =>
  createHmac('sha256', key)
    .update(concat(...parts))
    .digest()

function derive(chainingKey: Uint8Array, material: Uint8Array): [Buffer, Buffer] {
  const pseudorandom = hmac(chainingKey, material)
  const one = hmac(pseudorandom, Uint8Array.of(1))
  return [one, hmac(pseudorandom, one, Uint8Array.of(2))]
}

const hash = (...parts: readonly Uint8Array[]) =>
  createHash('sha256')
    .update(concat(...parts))
    .digest()

/** The secret of a private key and a public one. */
function secretOf(privateBytes: Bytes, publicBytes: Uint8Array): Buffer {
  const privateKey = createPrivateKey({
    key: Buffer.concat([fromHex('302e020100300506032b656e04220420'), privateBytes]),
    ...{ format: 'der', type: 'pkcs8' },
  })
  const publicKey = createPublicKey({
    key: Buffer.concat([fromHex('302a300506032b656e032100'), publicBytes]),
    ...{ format: 'der', type: 'spki' },
  })
  return diffieHellman({ privateKey, publicKey })
}

/** What a key opens; undefined when nothing. */
function opened(
  key: Uint8Array,
  counter: number,
  sealed: Uint8Array,
  data: Uint8Array = new Uint8Array(0),
): Buffer | undefined {
  const nonce = Buffer.alloc(12)
  nonce.writeUInt32BE(counter, 8)
  const decipher = createDecipheriv('aes-256-gcm', key, nonce)
  decipher.setAAD(data).setAuthTag(sealed.subarray(-16))
  try {
    return Buffer.concat([decipher.update(sealed.subarray(0, -16)), decipher.final()])
  } catch {
    return undefined
  }
}

/** What the holder of leaked keys opens of a recorded session. @param keys those that have leaked */
export function attack(
  { prologue, daemonKey, first, second, up, down }: Recorded,
  keys: { daemon: Leaked; device?: Leaked; deviceOnce?: Leaked },
) {
  let chainingKey = Buffer.concat([Buffer.from(NAME), Buffer.alloc(32 - NAME.length)])
  let transcript = hash(hash(chainingKey, prologue), daemonKey)
  const deviceOnce = first.subarray(0, 32)
  transcript = hash(transcript, deviceOnce)
  let key: Buffer
  ;[chainingKey, key] = derive(chainingKey, secretOf(keys.daemon, deviceOnce)) as [
    Buffer<ArrayBuffer>,
    Buffer,
  ]
  const sealedKey = first.subarray(32, 80)
  const deviceKey = opened(key, 0, sealedKey, transcript)
  if (deviceKey === undefined) return { payload: undefined, records: [] }
  transcript = hash(transcript, sealedKey)
  ;[chainingKey, key] = derive(chainingKey, secretOf(keys.daemon, deviceKey)) as [
    Buffer<ArrayBuffer>,
    Buffer,
  ]
  const payload = opened(key, 0, first.subarray(80), transcript)
  // The secret of both ephemeral keys is the one that cannot be had: every guess that needs no such key is tried in its place.
  const daemonOnce = second.subarray(0, 32)
  const shared = keys.deviceOnce === undefined ? undefined : secretOf(keys.deviceOnce, daemonOnce)
  const known = [
    ...(keys.device === undefined ? [] : [secretOf(keys.device, daemonOnce)]),
    secretOf(keys.daemon, deviceOnce),
    secretOf(keys.daemon, deviceKey),
    Buffer.alloc(32),
  ]
  const chains = [chainingKey]
  for (const ee of shared === undefined ? [undefined, ...known] : [shared])
    for (const se of [undefined, ...known]) {
      let chain: Buffer = chainingKey
      for (const secret of [ee, se]) if (secret !== undefined) [chain] = derive(chain, secret)
      chains.push(chain as Buffer<ArrayBuffer>)
    }
  const records = chains
    .flatMap((chain) => derive(chain, new Uint8Array(0)))
    .flatMap((each) =>
      [up, down].flatMap((sealed) => sealed.map((record, i) => opened(each, i, record))),
    )
    .filter((record) => record !== undefined)
  return { payload: payload?.toString(), records, tried: chains.length }
}
