/**
 * What does a relay learn that has recorded everything and later gets both static keys? The first message's payload, and no record. The
 * attacker here computes the key schedule of Noise with node:crypto: written a second time, so that an error in ours cannot hide.
 */
import {
  createDecipheriv,
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
} from 'node:crypto'
import t from 'tap'
import { concat, randomBytes, utf8, type Bytes } from '../../../src/relay/protocol/bytes.ts'
import { Channel } from '../../../src/relay/protocol/channel.ts'
import { NoiseHandshake, type NoiseKeyPair } from '../../../src/relay/protocol/noise.ts'
import { RECORD } from '../../../src/relay/protocol/records.ts'
import { fromHex, keyPairOf } from '../../helpers/noise-keys.ts'
import { eventually } from '../../helpers/waiting.ts'

const NAME = 'Noise_IK_25519_AESGCM_SHA256'

/** A private key that has leaked, 32 bytes. */
type Leaked = Bytes

interface Recorded {
  readonly prologue: Bytes
  readonly daemonKey: Bytes
  readonly first: Bytes
  readonly second: Bytes
  readonly up: readonly Bytes[]
  readonly down: readonly Bytes[]
}

/** A session, recorded, and all of its private keys. */
async function recordedSession() {
  const [device, daemon, deviceOnce, daemonOnce] = [32, 32, 32, 32].map(randomBytes) as [
    Leaked,
    Leaked,
    Leaked,
    Leaked,
  ]
  const prologue = utf8('a prologue, which the relay knows')
  const keys = await Promise.all([device, daemon, deviceOnce, daemonOnce].map(keyPairOf))
  const [own, theirs, once, theirOnce] = keys as [
    NoiseKeyPair,
    NoiseKeyPair,
    NoiseKeyPair,
    NoiseKeyPair,
  ]
  const initiator = await NoiseHandshake.begin({
    ...{ pattern: 'IK', prologue, own, ephemeral: once, responderKey: theirs.publicKey },
  })
  const responder = await NoiseHandshake.begin({
    ...{ pattern: 'IK', prologue, own: theirs, ephemeral: theirOnce },
  })
  const first = await initiator.write(utf8('Phone'))
  await responder.read(first)
  const second = await responder.write(utf8(''))
  await initiator.read(second)
  const [up, down]: [Bytes[], Bytes[]] = [[], []]
  const endings = { theirKey: own.publicKey }
  const channels: Channel[] = []
  const party = async (side: 'device' | 'daemon', handshake: NoiseHandshake, sent: Bytes[]) =>
    new Channel({
      side,
      met: { ...(await handshake.split()), ...endings },
      link: {
        send: (frame) => {
          sent.push(frame.slice())
          channels[side === 'device' ? 1 : 0]?.receive(frame)
        },
        close: () => {},
      },
      events: { onRecord: () => {}, onEnd: () => {} },
    })
  channels[1] = await party('daemon', responder, down)
  channels[0] = await party('device', initiator, up)
  await eventually(() => channels[1]?.isOpen === true, 'both have met')
  await channels[0].send(RECORD.data, utf8('echo hello'))
  await channels[1].send(RECORD.data, utf8('hello'))
  const recorded: Recorded = { prologue, daemonKey: theirs.publicKey, first, second, up, down }
  return { recorded, keys: { device, daemon, deviceOnce, daemonOnce } }
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
function attack(
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

t.test('recorded traffic stays closed when both static keys leak', async (t) => {
  const { recorded, keys } = await recordedSession()
  const { device, daemon, deviceOnce } = keys
  const { payload, records, tried } = attack(recorded, { device, daemon })
  t.equal(
    payload,
    'Phone',
    "the device's name can be read with the daemon's key, which docs/relay-protocol.md says",
  )
  t.same(records, [])
  t.ok((tried ?? 0) > 20)
  t.same(attack(recorded, { daemon }).records, [])
  t.same(attack(recorded, { daemon: device }), { payload: undefined, records: [] })
  // With a key of the session itself, which no party keeps, the same attacker reads everything: so the attack is a right one.
  const all = attack(recorded, { device, daemon, deviceOnce }).records.map(String)
  t.equal(all.length, recorded.up.length + recorded.down.length)
  for (const text of ['echo hello', 'hello']) {
    const start = Buffer.concat([Uint8Array.of(RECORD.data, 0, text.length), utf8(text)])
    t.ok(all.some((record) => record.startsWith(start.toString())))
  }
})
