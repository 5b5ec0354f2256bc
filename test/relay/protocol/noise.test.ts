/** Is our Noise the one of the specification? It is held against the vectors of others: cacophony, Wycheproof, RFC 7748 and RFC 5869. */
import { readFileSync } from 'node:fs'
import t from 'tap'
import { randomBytes } from '../../../src/relay/protocol/bytes.ts'
import {
  CipherState,
  generateKeyPair,
  hkdf,
  NoiseError,
  NoiseHandshake,
  sharedSecret,
  type NoiseOptions,
  type NoisePattern,
} from '../../../src/relay/protocol/noise.ts'
import { fromHex, keyPairOf, privateKeyOf, toHex } from '../../helpers/noise-keys.ts'

interface NoiseVector {
  readonly protocol_name: string
  readonly init_prologue: string
  readonly init_psks?: readonly string[]
  readonly init_static: string
  readonly init_ephemeral: string
  readonly init_remote_static: string
  readonly resp_static: string
  readonly resp_ephemeral: string
  readonly handshake_hash: string
  readonly messages: ReadonlyArray<{ readonly payload: string; readonly ciphertext: string }>
}

interface SecretVector {
  readonly tcId: number
  readonly flags: readonly string[]
  readonly public: string
  readonly private: string
  readonly shared: string
  readonly result: 'valid' | 'acceptable'
}

const read = (name: string): unknown =>
  JSON.parse(readFileSync(new URL(`../vectors/${name}`, import.meta.url), 'utf8'))

const { vectors } = read('noise-cacophony.json') as { readonly vectors: readonly NoiseVector[] }

/** What both parties of a vector begin with. */
async function optionsOf(
  vector: NoiseVector,
): Promise<Record<'initiator' | 'responder', NoiseOptions>> {
  const [psk] = vector.init_psks ?? []
  const common = {
    pattern: vector.protocol_name.split('_')[1] as NoisePattern,
    prologue: fromHex(vector.init_prologue),
    psk: psk === undefined ? undefined : fromHex(psk),
  }
  const keys = async (digits: string) => keyPairOf(fromHex(digits))
  return {
    initiator: {
      ...common,
      own: await keys(vector.init_static),
      ephemeral: await keys(vector.init_ephemeral),
      responderKey: fromHex(vector.init_remote_static),
    },
    responder: {
      ...common,
      own: await keys(vector.resp_static),
      ephemeral: await keys(vector.resp_ephemeral),
    },
  }
}

for (const vector of vectors)
  t.test(`${vector.protocol_name} sends and reads what the vectors say`, async (t) => {
    const options = await optionsOf(vector)
    const initiator = await NoiseHandshake.begin(options.initiator)
    const responder = await NoiseHandshake.begin(options.responder)
    const [first, second, ...transport] = vector.messages.map(({ payload, ciphertext }) => {
      return { payload: fromHex(payload), ciphertext: fromHex(ciphertext) }
    })
    if (first === undefined || second === undefined) throw new Error('a vector without messages')
    t.same(await initiator.write(first.payload), first.ciphertext)
    t.same(await responder.read(first.ciphertext), first.payload)
    t.equal(
      toHex(responder.theirStaticKey ?? first.payload),
      toHex(options.initiator.own.publicKey),
    )
    t.same(await responder.write(second.payload), second.ciphertext)
    t.same(await initiator.read(second.ciphertext), second.payload)
    const ours = await initiator.split()
    const theirs = await responder.split()
    t.equal(toHex(ours.handshakeHash), vector.handshake_hash)
    t.equal(toHex(theirs.handshakeHash), vector.handshake_hash)
    t.same(ours.extraSecret, theirs.extraSecret)
    t.ok(transport.length >= 4)
    for (const [i, { payload, ciphertext }] of transport.entries()) {
      const direction = i % 2 === 0 ? 'fromInitiator' : 'fromResponder'
      t.same(await ours[direction].encrypt(payload), ciphertext)
      t.same(await theirs[direction].decrypt(ciphertext), payload)
    }
  })

t.test('X25519 computes what the vectors of Wycheproof say, and no secret of zeros', async (t) => {
  const { testGroups } = read('x25519-wycheproof.json') as {
    readonly testGroups: ReadonlyArray<{ readonly tests: readonly SecretVector[] }>
  }
  const tests = testGroups.flatMap((group) => group.tests)
  t.ok(tests.length > 500)
  t.ok(tests.some(({ flags }) => flags.includes('ZeroSharedSecret')))
  for (const each of tests) {
    const shared = sharedSecret(await privateKeyOf(fromHex(each.private)), fromHex(each.public))
    if (each.flags.includes('ZeroSharedSecret')) await t.rejects(shared, NoiseError, `${each.tcId}`)
    else t.equal(toHex(await shared), each.shared, `${each.tcId}`)
  }
})

t.test('X25519 computes what RFC 7748 says', async (t) => {
  // Section 5.2.
  for (const [scalar, u, result] of [
    [
      'a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4',
      'e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c',
      'c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552',
    ],
    [
      '4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d',
      'e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493',
      '95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957',
    ],
  ] as const)
    t.equal(toHex(await sharedSecret(await privateKeyOf(fromHex(scalar)), fromHex(u))), result)
  // Section 6.1.
  const alice = await keyPairOf(
    fromHex('77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a'),
  )
  const bob = await keyPairOf(
    fromHex('5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb'),
  )
  t.equal(
    toHex(alice.publicKey),
    '8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a',
  )
  t.equal(toHex(bob.publicKey), 'de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f')
  const both = '4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742'
  t.equal(toHex(await sharedSecret(alice.privateKey, bob.publicKey)), both)
  t.equal(toHex(await sharedSecret(bob.privateKey, alice.publicKey)), both)
})

t.test('X25519 is still right after a thousand rounds of RFC 7748 section 5.2', async (t) => {
  let [k, u] = [new Uint8Array(32), new Uint8Array(32)]
  k[0] = u[0] = 9
  for (let round = 1; round <= 1000; round++) {
    ;[k, u] = [await sharedSecret(await privateKeyOf(k), u), k]
    if (round === 1)
      t.equal(toHex(k), '422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079')
  }
  t.equal(toHex(k), '684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51')
})

t.test('keys are derived as in RFC 5869', async (t) => {
  // Appendix A.3: an empty salt is as one of zeros, and there is no info.
  const keys = await hkdf(new Uint8Array(32), new Uint8Array(22).fill(0x0b), 2)
  const okm = '8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8'
  t.equal(keys.map(toHex).join('').slice(0, okm.length), okm)
  t.equal(keys.length, 2)
  const three = await hkdf(new Uint8Array(32), new Uint8Array(22).fill(0x0b), 3)
  t.same(three.slice(0, 2), keys)
  t.equal(three.length, 3)
})

/** A handshake of two new parties. */
async function newParties(pattern: NoisePattern = 'IK') {
  const [device, daemon] = [await generateKeyPair(), await generateKeyPair()]
  const common = {
    pattern,
    prologue: fromHex('00'),
    psk: pattern === 'IK' ? undefined : randomBytes(32),
  }
  return {
    initiator: await NoiseHandshake.begin({
      ...common,
      own: device,
      responderKey: daemon.publicKey,
    }),
    responder: await NoiseHandshake.begin({ ...common, own: daemon }),
  }
}

t.test('a message of a handshake is not written or read out of turn', async (t) => {
  const { initiator, responder } = await newParties()
  await t.rejects(initiator.read(randomBytes(96)), TypeError)
  await t.rejects(responder.write(randomBytes(1)), TypeError)
  await t.rejects(initiator.split(), TypeError)
  await t.rejects(NoiseHandshake.begin({ ...(await optionsWithoutPsk()) }), TypeError)
})

async function optionsWithoutPsk(): Promise<NoiseOptions> {
  return { pattern: 'IKpsk1', prologue: fromHex(''), own: await generateKeyPair() }
}

t.test('a message that is too short or too long is refused before any key is used', async (t) => {
  for (const length of [0, 31, 32, 79, 95, 65_536]) {
    const { responder } = await newParties()
    await t.rejects(responder.read(randomBytes(length)), NoiseError, `${length}`)
  }
  const { initiator } = await newParties()
  await t.rejects(initiator.write(randomBytes(65_535)), NoiseError)
  const cipher = await CipherState.of(randomBytes(32))
  await t.rejects(cipher.decrypt(randomBytes(15)), NoiseError)
})

t.test('a public key of small order ends the handshake', async (t) => {
  for (const key of [new Uint8Array(32), fromHex('01'.padEnd(64, '0'))]) {
    const { responder } = await newParties()
    const message = randomBytes(96)
    message.set(key)
    await t.rejects(responder.read(message), NoiseError)
    const asInitiator = NoiseHandshake.begin({
      pattern: 'IK',
      prologue: fromHex(''),
      own: await generateKeyPair(),
      responderKey: key,
    })
    await t.rejects((await asInitiator).write(fromHex('')), NoiseError)
  }
})

t.test('after a rekey the old key opens nothing, and both parties go on', async (t) => {
  const key = randomBytes(32)
  const [ours, theirs, late] = await Promise.all([
    CipherState.of(key),
    CipherState.of(key),
    CipherState.of(key),
  ])
  t.same(await theirs.decrypt(await ours.encrypt(fromHex('01'))), fromHex('01'))
  await late.decrypt(await (await CipherState.of(key)).encrypt(fromHex('01')))
  await ours.rekey()
  const sealed = await ours.encrypt(fromHex('02'))
  await t.rejects(late.decrypt(sealed), NoiseError)
  await theirs.rekey()
  t.same(await theirs.decrypt(sealed), fromHex('02'))
  t.equal(ours.counter, 2n)
})

t.test('the keys of a browser need not be extractable', async (t) => {
  const { privateKey } = await generateKeyPair()
  t.equal(privateKey.extractable, false)
  t.equal((await generateKeyPair(true)).privateKey.extractable, true)
})
