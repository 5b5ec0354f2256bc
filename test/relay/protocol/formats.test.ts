/**
 * Does every reader of a stranger's bytes take what its writer has written, in one spelling only, and refuse the rest with its own error?
 */
import * as fc from 'fast-check'
import t from 'tap'
import {
  concat,
  fromBase64Url,
  randomBytes,
  readU16,
  readU32,
  toBase64Url,
  u16,
  u32,
  utf8,
  type Bytes,
} from '../../../src/relay/protocol/bytes.ts'
import {
  beginHandshake,
  comparisonCode,
  deviceId,
  deviceNameIn,
  isDeviceName,
  MAX_NAME_BYTES,
  readHandshake,
  type DeviceHello,
  type Purpose,
} from '../../../src/relay/protocol/handshake.ts'
import {
  decodeNote,
  decodeWelcome,
  encodeMessage,
  type Note,
  type Welcome,
} from '../../../src/relay/protocol/messages.ts'
import {
  generateKeyPair,
  NoiseError,
  NoiseHandshake,
  type NoisePattern,
} from '../../../src/relay/protocol/noise.ts'
import {
  decodeOffer,
  encodeOffer,
  offerDigits,
  OfferError,
  offerHash,
  offerOfDigits,
  offerOfLink,
  type Offer,
} from '../../../src/relay/protocol/offer.ts'
import {
  decodeRecord,
  encodeRecord,
  RECORD,
  RECORD_SIZES,
  recordSize,
  setSentMs,
} from '../../../src/relay/protocol/records.ts'
import {
  decodeDaemonMessage,
  decodeRelayMessage,
  encodeDaemonMessage,
  encodeRelayMessage,
  MAX_PLACES,
  type DaemonMessage,
  type RelayMessage,
} from '../../../src/relay/protocol/relay-wire.ts'
import { anyText } from '../../helpers/any-text.ts'

/** Any bytes, in a buffer of their own. */
const anyBytes = (constraints: fc.IntArrayConstraints = {}): fc.Arbitrary<Bytes> =>
  fc.uint8Array(constraints).map((bytes) => new Uint8Array(bytes))

const exactly = (length: number) => anyBytes({ minLength: length, maxLength: length })

/** What a reader makes of bytes: its value, or undefined for its own error. Any other error is a fault. */
function valueOr<Value>(kind: new () => Error, read: () => Value): Value | undefined {
  try {
    return read()
  } catch (error) {
    if (error instanceof kind) return undefined
    throw error
  }
}

const anyRelay = fc.constantFrom(
  'wss://relay.example.com',
  'wss://a',
  'wss://relay.example.com:8443',
  'wss://[2001:db8::1]:65535',
  'wss://10.0.0.1',
  'ws://localhost:7654',
  'ws://127.0.0.1:1',
  'ws://[::1]:7654',
)

const anyOffer: fc.Arbitrary<Offer> = fc.record({
  version: fc.constant(1),
  isApproved: fc.boolean(),
  daemonKey: exactly(32),
  psk: exactly(32),
  place: exactly(16),
  expiresAt: fc.nat(0xffff_ffff),
  relay: anyRelay,
})

const offer: Offer = {
  version: 1,
  isApproved: false,
  daemonKey: new Uint8Array(32).fill(1),
  psk: new Uint8Array(32).fill(2),
  place: new Uint8Array(16).fill(3),
  expiresAt: 0x0102_0304,
  relay: 'wss://relay.example.com',
}

t.test('an offer is read as it was written, as bytes, digits and a link', async (t) => {
  fc.assert(
    fc.property(anyOffer, (each) => {
      t.same(decodeOffer(encodeOffer(each)), each)
      const digits = offerDigits(each)
      if (!/^[1-9][0-9]*$/.test(digits)) throw new Error('these are no digits')
      t.same(offerOfDigits(digits), each)
      t.same(offerOfLink(` https://a.example/_gateway/remote/#${digits}\n`), each)
      t.same(offerOfLink(digits), each)
    }),
  )
  t.same(
    encodeOffer({ ...offer, isApproved: true, relay: 'ws://localhost:1' }),
    concat(
      ...[Uint8Array.of(1, 3), offer.daemonKey, offer.psk, offer.place],
      ...[Uint8Array.of(1, 2, 3, 4), utf8('localhost:1')],
    ),
    'the format of docs/relay-protocol.md',
  )
})

t.test('an offer has one spelling, and anything else is refused', async (t) => {
  const check = (bytes: Bytes) => {
    const read = valueOr(OfferError, () => decodeOffer(bytes))
    if (read !== undefined) t.same(encodeOffer(read), bytes)
  }
  fc.assert(fc.property(anyBytes({ maxLength: 500 }), check))
  const near = fc.tuple(anyOffer, fc.nat(500), fc.nat(255)).map(([each, at, byte]) => {
    const bytes = encodeOffer(each)
    bytes[at % bytes.length] = byte
    return bytes
  })
  fc.assert(fc.property(near, check), { numRuns: 1000 })
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 2n ** 3000n }), (number) => {
      const digits = `${number}`
      const read = valueOr(OfferError, () => offerOfDigits(digits))
      if (read !== undefined) t.equal(offerDigits(read), digits)
    }),
  )
  fc.assert(fc.property(anyText(100), (text) => void valueOr(OfferError, () => offerOfLink(text))))
  const digits = offerDigits(offer)
  for (const wrong of [
    '',
    '0',
    `0${digits}`,
    `+${digits}`,
    `${digits}.0`,
    `0x${digits}`,
    '1'.repeat(5000),
  ])
    t.throws(() => offerOfLink(`https://a.example/#${wrong}`), OfferError)
  const { BigInt: real } = globalThis
  globalThis.BigInt = Object.assign(() => t.fail('a long text is made a number'), real)
  t.teardown(() => (globalThis.BigInt = real))
  t.throws(() => offerOfLink('9'.repeat(1000)), OfferError)
})

t.test('a relay is one origin, with TLS on any other machine', async (t) => {
  for (const relay of [
    'https://relay.example.com',
    'relay.example.com',
    'ws://relay.example.com',
    'ws://10.0.0.1',
    'ws://localhost.example.com',
    'wss://',
    'wss://a://b',
    'wss://a/b',
    'wss://a?b',
    'wss://a#b',
    'wss://user@a',
    'wss://A.example',
    'wss://a:443',
    'wss://a:65536',
    'wss://a:0x1',
    'wss://a:',
    'wss://a b',
    'wss://127.1',
    'wss://[::0:1]',
    'wss://ä.example',
    `wss://${'a'.repeat(256)}`,
  ])
    t.throws(() => encodeOffer({ ...offer, relay }), OfferError, relay)
  for (const wrong of [
    { version: 2 },
    { expiresAt: 1.5 },
    { expiresAt: -1 },
    { expiresAt: 2 ** 32 },
    { psk: new Uint8Array(31) },
    { place: new Uint8Array(17) },
    { daemonKey: new Uint8Array(0) },
  ])
    t.throws(() => encodeOffer({ ...offer, ...wrong }), TypeError)
  t.throws(() => decodeOffer(concat(Uint8Array.of(1, 4), encodeOffer(offer).slice(2))), OfferError)
  t.throws(() => decodeOffer(concat(Uint8Array.of(2), encodeOffer(offer).slice(1))), /version 2/)
})

t.test('two offers that differ in anything have another hash', async (t) => {
  const others: Array<Partial<Offer>> = [
    {},
    { isApproved: true },
    { daemonKey: randomBytes(32) },
    { psk: randomBytes(32) },
    { place: randomBytes(16) },
    { expiresAt: 1 },
    { relay: 'wss://relay.example.org' },
  ]
  const hashes = await Promise.all(others.map((change) => offerHash({ ...offer, ...change })))
  t.equal(new Set(hashes.map(toBase64Url)).size, others.length)
})

t.test('the time of a record is whole milliseconds that fit, whatever a clock says', async (t) => {
  const record = encodeRecord(RECORD.data, randomBytes(30))
  const plain = record.slice()
  for (const [ms, written] of [
    [0, 0],
    [-5, 0],
    [1234.9, 1234],
    [86_400_000, 86_400_000],
    [0xffff_ffff + 1, 0xffff_ffff],
    [Number.MAX_VALUE, 0xffff_ffff],
  ] as const) {
    setSentMs(record, ms)
    t.equal(decodeRecord(record).sentMs, written)
  }
  setSentMs(record, 0)
  t.same(record, plain, 'and nothing else is touched')
})

t.test('a record is read as it was written, and has one spelling', async (t) => {
  const anyType = fc.constantFrom(...Object.values(RECORD))
  const anyTime = fc.nat(0xffff_ffff)
  fc.assert(
    fc.property(anyType, anyBytes({ maxLength: 5000 }), anyTime, (type, body, sentMs) => {
      const isEmpty = type === RECORD.ready || type === RECORD.ping || type === RECORD.rekey
      const written = encodeRecord(type, isEmpty ? body.slice(0, 0) : body)
      const read = { type, body: isEmpty ? new Uint8Array(0) : body }
      t.same(decodeRecord(written), { ...read, sentMs: 0 })
      setSentMs(written, sentMs)
      t.same(decodeRecord(written), { ...read, sentMs })
      if (!RECORD_SIZES.includes(written.length + 16)) throw new Error('not a size')
    }),
  )
  const anyRecord = fc
    .tuple(fc.constantFrom(48, 240, 1008), anyBytes({ maxLength: 60 }))
    .map(([size, start]) => {
      const record = new Uint8Array(size)
      record.set(start.subarray(0, size))
      return record
    })
  fc.assert(
    fc.property(anyRecord, (record) => {
      const read = valueOr(NoiseError, () => decodeRecord(record))
      if (read === undefined) return
      const written = encodeRecord(read.type, read.body)
      setSentMs(written, read.sentMs)
      t.same(written, record)
    }),
    { numRuns: 1000 },
  )
  t.equal(recordSize(0), 64)
  t.equal(recordSize(65_512), 65_535)
  t.throws(() => recordSize(65_513), TypeError)
})

const anyPlaces = (length: number) => fc.array(exactly(length), { minLength: 1, maxLength: 5 })

t.test('what a daemon and a relay say to each other has one spelling', async (t) => {
  const daemon = fc.oneof(
    fc.record({ kind: fc.constant('sit' as const), keys: anyPlaces(32) }),
    fc.record({ kind: fc.constant('leave' as const), places: anyPlaces(16) }),
    fc.constant<DaemonMessage>({ kind: 'ping' }),
  )
  fc.assert(
    fc.property(daemon, (message) =>
      t.same(decodeDaemonMessage(encodeDaemonMessage(message)), message),
    ),
  )
  const relay = fc.oneof(
    fc.record({
      kind: fc.constantFrom('seated' as const, 'taken' as const),
      places: anyPlaces(16),
    }),
    fc.record({ kind: fc.constant('knock' as const), place: exactly(16), ticket: exactly(16) }),
    fc.constant<RelayMessage>({ kind: 'pong' }),
  )
  fc.assert(
    fc.property(relay, (message) =>
      t.same(decodeRelayMessage(encodeRelayMessage(message)), message),
    ),
  )
  const near = fc
    .tuple(
      fc.constantFrom(0, 1, 2, 3, 4, 0x11, 0x12, 0x13, 0x14, 0x15),
      anyBytes({ maxLength: 100 }),
    )
    .map(([type, rest]) => concat(Uint8Array.of(type), rest))
  fc.assert(
    fc.property(near, (bytes) => {
      const fromDaemon = decodeDaemonMessage(bytes)
      if (fromDaemon !== undefined) t.same(encodeDaemonMessage(fromDaemon), bytes)
      const fromRelay = decodeRelayMessage(bytes)
      if (fromRelay !== undefined) t.same(encodeRelayMessage(fromRelay), bytes)
      if (fromDaemon !== undefined && fromRelay !== undefined) throw new Error('it is both')
    }),
    { numRuns: 1000 },
  )
  for (const count of [0, MAX_PLACES, MAX_PLACES + 1]) {
    const message = concat(Uint8Array.of(1), new Uint8Array(32 * count))
    t.equal(decodeDaemonMessage(message) !== undefined, count === MAX_PLACES, `${count} places`)
  }
  t.same([decodeDaemonMessage(utf8('')), decodeRelayMessage(utf8(''))], [undefined, undefined])
})

const welcome: Welcome = {
  device: 'AAAAAAAAAAAAAAAAAAAAAA',
  state: 'waiting',
  host: 'houston.hubify.com',
  target: 'gateway',
}

t.test('what a daemon says to a device is checked field by field', async (t) => {
  t.same(decodeWelcome(encodeMessage(welcome)), welcome)
  const note: Note = { kind: 'device-waiting', name: 'Ann’s phone' }
  t.same(decodeNote(encodeMessage(note)), note)
  for (const wrong of [
    { device: 'short' },
    { device: 7 },
    { state: 'revoked' },
    { target: undefined },
    { host: 'a.example\r\nX-Evil: 1' },
    { host: 'a.example/path' },
    { host: '' },
    { host: 'A.example' },
    { host: 'a'.repeat(301) },
  ])
    t.throws(
      () => decodeWelcome(utf8(JSON.stringify({ ...welcome, ...wrong }))),
      NoiseError,
      JSON.stringify(wrong),
    )
  for (const host of ['localhost:6767', '[::1]:80', '127.0.0.1'])
    t.equal(decodeWelcome(encodeMessage({ ...welcome, host })).host, host)
  t.throws(() => decodeNote(utf8('{"kind":"other","name":"x"}')), NoiseError)
  t.equal(decodeNote(encodeMessage({ ...note, name: '\u001b[31mred\u202e' })).name, ' [31mred ')
  const deep = '['.repeat(60_000)
  for (const body of [deep, 'null', '7', '[]', '"x"', '', '{', '\u0000'])
    for (const read of [decodeWelcome, decodeNote])
      t.throws(() => read(utf8(body)), NoiseError, body)
  fc.assert(
    fc.property(anyBytes({ maxLength: 200 }), (body) => {
      valueOr(NoiseError, () => decodeWelcome(body))
      valueOr(NoiseError, () => decodeNote(body))
    }),
  )
})

const purpose: Purpose = { kind: 'session', place: new Uint8Array(16) }

t.test('a daemon learns the name of a device, and none that would deceive its owner', async (t) => {
  const [own, daemon] = [await generateKeyPair(), await generateKeyPair()]
  const meet = async (hello: DeviceHello) => {
    const { first } = await beginHandshake({ purpose, own, daemonKey: daemon.publicKey, hello })
    return (await readHandshake({ purpose, own: daemon, first })).hello
  }
  for (const hello of [
    { kind: 'page', name: 'Ann’s phone 📱' },
    { kind: 'command', name: 'x'.repeat(MAX_NAME_BYTES) },
    { kind: 'page', name: '👩‍🚀' },
    { kind: 'page', name: 'Büro ❤️ 1️⃣' },
    { kind: 'page', name: 'گوشی من' },
    { kind: 'page', name: 'é'.normalize('NFD') },
  ] as const)
    t.same(await meet(hello), hello)
  for (const name of [
    '',
    'x'.repeat(MAX_NAME_BYTES + 1),
    'ä'.repeat(33),
    'a\nb',
    '\u001b[2J',
    'a\u202eb',
    'a\u2028b',
    '\ufeffa',
    '\ud800',
  ]) {
    t.equal(isDeviceName(name), false)
    await t.rejects(meet({ kind: 'page', name }), TypeError)
  }
})

/** Characters that nobody sees, or that look like a space. */
const UNSEEN = [
  ...[0x00ad, 0x034f, 0x061c, 0x115f, 0x17b4, 0x180e, 0x200b, 0x200c, 0x200d, 0x200e, 0x200f],
  ...[0x2060, 0x2061, 0x2062, 0x2063, 0x2064, 0x206a, 0x2800, 0x3164, 0xfe00, 0xfe0e, 0xfe0f],
  ...[0xfeff, 0xffa0, 0xe0000, 0xe0001, 0xe0061, 0xe007f, 0xe0100, 0xe01ef, 0x00a0, 0x2003, 0x3000],
].map((code) => String.fromCodePoint(code))

t.test('a device cannot have a name that looks like another one, or like nothing', async (t) => {
  for (const unseen of UNSEEN) {
    const code = unseen.codePointAt(0)?.toString(16)
    for (const name of [`Ph${unseen}one`, `${unseen}Phone`, `Phone${unseen}`, unseen])
      t.equal(isDeviceName(name), false, `U+${code} in ${JSON.stringify(name)}`)
    t.equal(isDeviceName(`Phone ❤️${unseen}`), false, `U+${code} after an emoji`)
    t.equal(deviceNameIn(unseen), undefined, `nothing is seen of U+${code}`)
  }
  for (const name of [
    ' ',
    ' Phone',
    'Phone ',
    'Ann  Phone',
    '\u0301',
    '😀\ufe0f',
    '👩\u200d📱',
    '👩\u200d',
  ])
    t.equal(isDeviceName(name), false, JSON.stringify(name))
  const payload = concat(Uint8Array.of(0, 0, 6), utf8('Ann\u200b'), new Uint8Array(87))
  const { first, daemon } = await firstMessage(payload)
  await t.rejects(readHandshake({ purpose, own: daemon, first }), NoiseError)
})

t.test('what a person types becomes a name that a device can have', async (t) => {
  for (const [text, name] of [
    ['  Ann’s\u00a0\u200b phone \n', 'Ann’s phone'],
    ['👩‍🚀\u200d\ufeff', '👩‍🚀'],
    ['ä'.repeat(40), 'ä'.repeat(32)],
    [`${'x'.repeat(58)}👩‍🚀`, `${'x'.repeat(58)}👩`],
    ['a\ud800b', 'ab'],
    ['\u200b \u2800', undefined],
    ['', undefined],
  ] as const)
    t.equal(deviceNameIn(text), name, JSON.stringify(text))
  const text = fc.string({
    unit: fc.oneof(
      fc.constantFrom(...UNSEEN, '👩‍🚀', '❤️', '👩', ' '),
      fc.string({ unit: 'binary', maxLength: 2 }),
    ),
  })
  fc.assert(
    fc.property(text, (typed) => {
      const name = deviceNameIn(typed)
      return name === undefined || isDeviceName(name)
    }),
    { numRuns: 500 },
  )
})

/** The first message of a device that says this of itself. */
async function firstMessage(payload: Bytes) {
  const [own, daemon] = [await generateKeyPair(), await generateKeyPair()]
  const prologue = concat(
    ...[utf8('workspace-gateway relay'), Uint8Array.of(1, 1, 1, 1, 2)],
    ...[purpose.kind === 'session' ? purpose.place : utf8(''), new Uint8Array(32)],
  )
  const noise = await NoiseHandshake.begin({
    ...{ pattern: 'IK', prologue, own, responderKey: daemon.publicKey },
  })
  return { first: await noise.write(payload), daemon, own }
}

const hello = (...bytes: number[]): Bytes =>
  concat(Uint8Array.from(bytes), new Uint8Array(96)).slice(0, 96)

t.test(
  'a first message is read by the format of docs/relay-protocol.md, and no other',
  async (t) => {
    const { first, daemon, own } = await firstMessage(hello(1, 0, 2, 0x68, 0x69))
    const read = await readHandshake({ purpose, own: daemon, first })
    t.same(read.hello, { kind: 'command', name: 'hi' })
    t.same(read.deviceKey, own.publicKey)
    for (const payload of [
      hello(2, 0, 1, 0x68),
      hello(1, 1, 1, 0x68),
      hello(1, 0, 1, 0x68, 0x69),
      hello(1, 0, 0),
      hello(1, 0, 65, ...Array.from({ length: 65 }, () => 0x61)),
      hello(1, 0, 255),
      hello(1, 0, 1, 0xff),
      hello(1, 0, 1, 0x1b),
    ]) {
      const wrong = await firstMessage(payload)
      await t.rejects(
        readHandshake({ purpose, own: wrong.daemon, first: wrong.first }),
        NoiseError,
        Buffer.from(payload).toString('hex', 0, 8),
      )
    }
    for (const length of [0, 95, 97]) {
      const wrong = await firstMessage(new Uint8Array(length))
      await t.rejects(readHandshake({ purpose, own: wrong.daemon, first: wrong.first }), NoiseError)
    }
  },
)

t.test('parties that believe in other versions, purposes or offers do not meet', async (t) => {
  const [own, daemon] = [await generateKeyPair(), await generateKeyPair()]
  const offered: Offer = { ...offer, daemonKey: daemon.publicKey }
  const pairing: Purpose = { kind: 'pair', offer: offered }
  const hash = await offerHash(offered)
  const head = utf8('workspace-gateway relay')
  const say = async (pattern: NoisePattern, ...parts: Uint8Array[]) => {
    const noise = await NoiseHandshake.begin({
      ...{ pattern, own, responderKey: daemon.publicKey, prologue: concat(...parts) },
      psk: pattern === 'IK' ? undefined : offered.psk,
    })
    const first = await noise.write(hello(0, 0, 1, 0x68))
    return readHandshake({ purpose: pairing, own: daemon, first })
  }
  const right = [head, Uint8Array.of(1, 1, 1, 1, 1), offered.place, hash]
  t.same((await say('IKpsk1', ...right)).hello, { kind: 'page', name: 'h' })
  for (const versions of [
    [1, 1, 2, 1, 2, 1],
    [1, 1, 1, 2, 1],
    [1, 2, 1, 1, 1],
    [0, 1, 1, 1],
    [1, 1, 1, 1, 2],
  ])
    await t.rejects(
      say('IKpsk1', head, Uint8Array.from(versions), offered.place, hash),
      NoiseError,
      versions.join(),
    )
  await t.rejects(say('IK', ...right), NoiseError, 'who has not seen the offer')
  await t.rejects(
    say('IKpsk1', head, Uint8Array.of(1, 1, 1, 1, 1), offered.place, new Uint8Array(32)),
    NoiseError,
  )
})

t.test('numbers and texts survive their bytes', async (t) => {
  fc.assert(
    fc.property(fc.nat(0xffff), fc.nat(0xffff_ffff), (small, large) => {
      t.equal(readU16(u16(small), 0), small)
      t.equal(readU32(u32(large), 0), large)
    }),
  )
  t.same(u32(0x8102_0304), Uint8Array.of(0x81, 2, 3, 4))
  fc.assert(
    fc.property(anyBytes(), (bytes) => {
      t.same(fromBase64Url(toBase64Url(bytes)), bytes)
      t.equal(toBase64Url(bytes), Buffer.from(bytes).toString('base64url'))
    }),
  )
  fc.assert(
    fc.property(anyText(), (text) => {
      const bytes = fromBase64Url(text)
      if (bytes !== undefined) t.equal(toBase64Url(bytes), text)
    }),
  )
  for (const text of ['A', 'AB', 'AA==', 'A+', 'A/', ' AA', 'AAB'])
    t.equal(fromBase64Url(text), undefined, text)
})

t.test('a device has an id of 22 characters, and a handshake six digits to compare', async (t) => {
  t.match(await deviceId(randomBytes(32)), /^[A-Za-z0-9_-]{22}$/)
  t.not(await deviceId(new Uint8Array(32)), await deviceId(new Uint8Array(32).fill(1)))
  t.equal(comparisonCode(concat(u32(1_000_042), new Uint8Array(28))), '000 042')
  t.equal(
    comparisonCode(concat(Uint8Array.of(9), u32(4_294_967_295), utf8('')).subarray(1)),
    '967 295',
  )
})
