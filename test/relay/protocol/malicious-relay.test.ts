/**
 * What does a relay achieve that wants harm? It can cut, and nothing else. Each test does something to the messages between a real device
 * and a real daemon: no record may be heard that was not sent, in its order, and both must hear that the channel is over.
 */
import t, { type Test } from 'tap'
import { randomBytes, utf8, type Bytes } from '../../../src/relay/protocol/bytes.ts'
import { Channel } from '../../../src/relay/protocol/channel.ts'
import {
  beginHandshake,
  FIRST_MESSAGE_LENGTH,
  readHandshake,
  SECOND_MESSAGE_LENGTH,
  type Purpose,
} from '../../../src/relay/protocol/handshake.ts'
import { CipherState, generateKeyPair, NoiseError } from '../../../src/relay/protocol/noise.ts'
import { RECORD, RECORD_SIZES, type ChannelRecord } from '../../../src/relay/protocol/records.ts'
import { IDLE_MS, PING_MS } from '../../../src/relay/protocol/relay-wire.ts'
import {
  ManualClock,
  Meeting,
  type Malice,
  type MeetingOptions,
  type Party,
  type Passing,
  type Way,
} from '../../helpers/malicious-link.ts'
import { eventually } from '../../helpers/waiting.ts'

const WAYS = ['up', 'down'] as const

/** How many records each party sends, after the first. */
const COUNT = 8

/** Records of every size but the largest. */
const bodyOf = (way: Way, i: number): Bytes => utf8(`${way} ${i} `.padEnd(5 + 3 ** i))

/** What each party sends: the device at once, the daemon when it has heard of the device. */
function talk(meeting: Meeting): void {
  for (let i = 1; i <= COUNT; i++) void meeting.device.channel?.send(RECORD.data, bodyOf('up', i))
}

function answer(party: Party, { type }: ChannelRecord): void {
  if (type !== RECORD.ready) return
  for (let i = 1; i <= COUNT; i++) void party.channel?.send(RECORD.note, bodyOf('down', i))
}

/** Lets both talk through a relay, once they have met. */
async function conversation(options: MeetingOptions = {}): Promise<Meeting> {
  const meeting = await Meeting.of({ ...options, onRecord: answer })
  await eventually(
    () => meeting.device.channel !== undefined || meeting.isOver,
    'the device has met the daemon, or not',
  )
  talk(meeting)
  return meeting
}

/** What a party heard, without what is not for it to hear twice. */
const said = ({ heard }: Party): Bytes[] =>
  heard.filter(({ type }) => type !== RECORD.ready).map(({ body }) => body)

/** Nothing was heard but the first of what was sent, in order. */
function onlyWhatWasSent(t: Test, meeting: Meeting, what: string): void {
  for (const [party, way] of [
    [meeting.daemon, 'up'],
    [meeting.device, 'down'],
  ] as const) {
    const heard = said(party)
    t.ok(heard.length <= COUNT, `${what}: no more than was sent`)
    t.same(
      heard,
      heard.map((_, i) => bodyOf(way, i + 1)),
      `${what}: ${way}`,
    )
  }
}

/** The party that such a message would reach. */
const receiver = (meeting: Meeting, way: Way): Party =>
  way === 'up' ? meeting.daemon : meeting.device
const sender = (meeting: Meeting, way: Way): Party =>
  way === 'up' ? meeting.device : meeting.daemon

/**
 * Does something to each message in turn, and expects that the channel dies of it, that both are told, and that nothing from there on is
 * heard.
 */
async function diesOf(
  t: Test,
  name: string,
  malice: (way: Way, n: number) => Malice,
): Promise<void> {
  for (const way of WAYS)
    for (let n = 1; n <= 5; n++) {
      const what = `${name}, ${way} ${n}`
      const meeting = await conversation({ malice: malice(way, n) })
      await meeting.over()
      const [hit, other] = [receiver(meeting, way), sender(meeting, way)]
      t.match(hit.end, { how: 'left', reason: 'protocol' }, `${what}: noticed`)
      t.match(other.end, { how: 'closed', reason: 'protocol' }, `${what}: told`)
      // The device's first record is `ready`, which is no sentence.
      t.ok(said(hit).length <= (way === 'up' ? n - 2 : n - 1) || (way === 'up' && n === 1), what)
      if (way === 'up' && n === 1) {
        t.same(hit.heard, [], `${what}: nothing was heard`)
        t.equal(hit.channel?.isProven, false, `${what}: the device was not proven`)
      }
      onlyWhatWasSent(t, meeting, what)
    }
}

const isAt = (passing: Passing, way: Way, n: number) => passing.way === way && passing.number === n

const pass: Malice = ({ message }) => [message]

t.test('an honest relay passes everything, in its order', async (t) => {
  const meeting = await conversation()
  await eventually(
    () => said(meeting.daemon).length === COUNT && said(meeting.device).length === COUNT,
    'all is said',
  )
  onlyWhatWasSent(t, meeting, 'honest')
  t.same(meeting.device.met?.handshakeHash, meeting.daemon.met?.handshakeHash)
  t.same(meeting.device.channel?.handshakeHash, meeting.daemon.channel?.handshakeHash)
  t.same(meeting.device.met?.extraSecret, meeting.daemon.met?.extraSecret)
  meeting.device.channel?.close('done', 'bye')
  await meeting.over()
  t.match(meeting.daemon.end, { how: 'closed', reason: 'done', text: 'bye' })
  t.match(meeting.device.end, { how: 'left', reason: 'done', text: 'bye' })
  t.equal(meeting.daemon.channel?.isProven, true)
})

t.test('a record that is dropped ends the channel', (t) =>
  diesOf(t, 'dropped', (way, n) => (passing) => (isAt(passing, way, n) ? [] : [passing.message])),
)

t.test('a record that is delivered twice ends the channel', async (t) => {
  for (const way of WAYS)
    for (let n = 1; n <= 5; n++) {
      const meeting = await conversation({
        malice: (passing) =>
          isAt(passing, way, n) ? [passing.message, passing.message] : [passing.message],
      })
      await meeting.over()
      const hit = receiver(meeting, way)
      t.match(hit.end, { how: 'left', reason: 'protocol' })
      t.match(sender(meeting, way).end, { how: 'closed', reason: 'protocol' })
      t.equal(said(hit).length, way === 'up' ? n - 1 : n, 'the first of both is heard')
      onlyWhatWasSent(t, meeting, `twice ${way} ${n}`)
    }
})

t.test('records in another order end the channel', (t) =>
  diesOf(t, 'swapped', (way, n) => {
    let held: Bytes | undefined
    return (passing) => {
      if (isAt(passing, way, n)) {
        held = passing.message
        return []
      }
      if (isAt(passing, way, n + 1) && held !== undefined) return [passing.message, held]
      return [passing.message]
    }
  }),
)

t.test('a record of before, in the place of a later one, ends the channel', async (t) => {
  for (const way of WAYS) {
    const meeting = await conversation({
      malice: (passing, { seen }) => {
        const earlier = seen.find((each) => isAt(each, way, 2))
        return [isAt(passing, way, 5) && earlier !== undefined ? earlier.message : passing.message]
      },
    })
    await meeting.over()
    t.match(receiver(meeting, way).end, { how: 'left', reason: 'protocol' })
    t.match(sender(meeting, way).end, { how: 'closed', reason: 'protocol' })
    t.equal(said(receiver(meeting, way)).length, way === 'up' ? 3 : 4)
    onlyWhatWasSent(t, meeting, 'replayed')
  }
})

t.test('a record of an earlier session of the same parties ends the channel', async (t) => {
  const keys = { device: await generateKeyPair(), daemon: await generateKeyPair() }
  const purpose: Purpose = { kind: 'session', place: randomBytes(16) }
  const before = await conversation({ ...keys, purpose })
  await eventually(() => said(before.daemon).length === COUNT, 'the first session is over')
  await eventually(() => said(before.device).length === COUNT, 'both ways')
  const oldOf = (way: Way, n: number) =>
    before.seen.find((each) => isAt(each, way, n))?.message ?? new Uint8Array(64)
  for (const way of WAYS)
    for (let n = 1; n <= 3; n++) {
      const meeting = await conversation({
        ...keys,
        purpose,
        malice: (passing) => [isAt(passing, way, n) ? oldOf(way, n) : passing.message],
      })
      await meeting.over()
      t.match(receiver(meeting, way).end, { how: 'left', reason: 'protocol' })
      t.match(sender(meeting, way).end, { how: 'closed', reason: 'protocol' })
      onlyWhatWasSent(t, meeting, `old ${way} ${n}`)
    }
})

t.test('a whole session that is played again is not heard, and proves nothing', async (t) => {
  const keys = { device: await generateKeyPair(), daemon: await generateKeyPair() }
  const purpose: Purpose = { kind: 'session', place: randomBytes(16) }
  const before = await conversation({ ...keys, purpose })
  await eventually(() => said(before.daemon).length === COUNT, 'the first session is over')
  const played = before.seen.filter(({ way }) => way === 'up').map(({ message }) => message)
  t.equal(played.length, COUNT + 2)
  for (let i = 0; i < 50; i++) {
    const meeting = await Meeting.of({
      ...keys,
      purpose,
      isSilent: true,
      malice: ({ way, number }) => (way === 'up' && number === 0 ? played : []),
    })
    await eventually(() => meeting.daemon.end !== undefined, 'the daemon has noticed')
    t.match(meeting.daemon.end, { how: 'left', reason: 'protocol' })
    t.equal(meeting.daemon.channel?.isProven, false)
    t.same(meeting.daemon.heard, [])
  }
})

t.test('a record that is sent back to its sender ends the channel', async (t) => {
  for (const way of WAYS) {
    const back = way === 'up' ? 'down' : 'up'
    const meeting = await conversation({
      malice: (passing) =>
        isAt(passing, way, 3)
          ? [passing.message, { way: back, message: passing.message }]
          : [passing.message],
    })
    await meeting.over()
    t.match(receiver(meeting, back).end, { how: 'left', reason: 'protocol' })
    t.match(sender(meeting, back).end, { how: 'closed', reason: 'protocol' })
    onlyWhatWasSent(t, meeting, `reflected ${way}`)
  }
})

t.test("a device's own first message is no answer to it", async (t) => {
  const meeting = await Meeting.of({
    malice: ({ way, message }) => (way === 'up' ? [{ way: 'down', message }] : []),
  })
  await meeting.over()
  t.ok(meeting.device.failure instanceof NoiseError)
  t.equal(meeting.device.channel, undefined)
})

t.test('two handshakes whose messages are crossed both fail', async (t) => {
  const keys = { device: await generateKeyPair(), daemon: await generateKeyPair() }
  const purpose: Purpose = { kind: 'session', place: randomBytes(16) }
  // The first messages are crossed, the second are not: each device gets the answer to the other's.
  const firsts: Array<{ readonly meeting: Meeting; readonly message: Bytes }> = []
  const crossed: Malice = ({ way, number, message }, meeting) => {
    if (way !== 'up' || number !== 0) return [message]
    firsts.push({ meeting, message })
    return []
  }
  const meetings = [
    await Meeting.of({ ...keys, purpose, malice: crossed }),
    await Meeting.of({ ...keys, purpose, malice: crossed }),
  ]
  for (const [i, meeting] of meetings.entries())
    meeting.deliver('up', firsts[1 - i]?.message ?? new Uint8Array(0))
  for (const meeting of meetings) {
    await meeting.over()
    t.ok(meeting.device.failure instanceof NoiseError)
    t.equal(meeting.daemon.end?.how, 'cut')
    t.equal(meeting.daemon.channel?.isProven, false)
    t.same(meeting.daemon.heard, [])
  }
})

t.test('the records of two open channels cannot be crossed', async (t) => {
  for (const way of WAYS) {
    let other: Meeting | undefined
    const first = await Meeting.open({
      malice: ({ way: its, message }) => {
        if (its !== way || other === undefined) return [message]
        other.deliver(way, message)
        return []
      },
    })
    const second = await Meeting.open()
    other = second
    await sender(first, way).channel?.send(RECORD.close, utf8('for another'))
    await second.over()
    t.match(receiver(second, way).end, { how: 'left', reason: 'protocol' })
    t.match(sender(second, way).end, { how: 'closed', reason: 'protocol' })
    first.cut()
    await first.over()
  }
})

t.test('a device that is led to another room is not understood there', async (t) => {
  const daemon = await generateKeyPair()
  const meeting = await Meeting.of({
    daemon,
    purpose: { kind: 'session', place: randomBytes(16) },
    daemonPurpose: { kind: 'session', place: randomBytes(16) },
  })
  await meeting.over()
  t.ok(meeting.daemon.failure instanceof NoiseError)
  t.same([meeting.daemon.channel, meeting.device.channel], [undefined, undefined])
})

/** What devices and daemons can meet for. */
const offer = {
  version: 1,
  isApproved: false,
  daemonKey: randomBytes(32),
  psk: randomBytes(32),
  place: randomBytes(16),
  expiresAt: 2_000_000_000,
  relay: 'wss://relay.example.com',
}

t.test('an offer that was changed, in any part, is not understood', async (t) => {
  const pairing = (changes: Partial<typeof offer>): Purpose => {
    return { kind: 'pair', offer: { ...offer, ...changes } }
  }
  const honest = await Meeting.open({ purpose: pairing({}) })
  t.equal(honest.daemon.channel?.isProven, true)
  honest.cut()
  const changes: Array<Partial<typeof offer>> = [
    { isApproved: true },
    { psk: randomBytes(32) },
    { place: randomBytes(16) },
    { expiresAt: offer.expiresAt + 1 },
    { relay: 'wss://relay.example.org' },
    { daemonKey: randomBytes(32) },
  ]
  const others: Purpose[] = [...changes.map(pairing), { kind: 'session', place: offer.place }]
  for (const daemonPurpose of others) {
    const meeting = await Meeting.of({ purpose: pairing({}), daemonPurpose })
    await meeting.over()
    t.ok(meeting.daemon.failure instanceof NoiseError)
    t.same([meeting.daemon.channel, meeting.device.channel], [undefined, undefined])
  }
})

/** A bit of a message, the other way round. */
function flipped(message: Bytes, bit: number): Bytes {
  const copy = message.slice()
  copy[bit >>> 3] = (copy[bit >>> 3] ?? 0) ^ (1 << (bit & 7))
  return copy
}

t.test('no bit of the first message can be flipped', async (t) => {
  const [device, own] = [await generateKeyPair(), await generateKeyPair()]
  const purpose: Purpose = { kind: 'session', place: randomBytes(16) }
  const { first } = await beginHandshake({
    ...{ purpose, own: device, daemonKey: own.publicKey },
    hello: { kind: 'command', name: 'Laptop' },
  })
  t.equal(first.length, FIRST_MESSAGE_LENGTH)
  for (let bit = 0; bit < first.length * 8; bit++) {
    const read = readHandshake({ purpose, own, first: flipped(first, bit) })
    const error: unknown = await read.catch((cause: unknown) => cause)
    if (!(error instanceof NoiseError)) t.fail(`bit ${bit}`)
  }
  t.same((await readHandshake({ purpose, own, first })).deviceKey, device.publicKey)
})

t.test('no bit of the second message can be flipped', async (t) => {
  const keys = { device: await generateKeyPair(), daemon: await generateKeyPair() }
  for (let bit = 0; bit < SECOND_MESSAGE_LENGTH * 8; bit++) {
    const meeting = await Meeting.of({
      ...keys,
      malice: ({ way, message }) => [way === 'down' ? flipped(message, bit) : message],
    })
    await meeting.over()
    const { device, daemon } = meeting
    if (!(device.failure instanceof NoiseError) || device.channel !== undefined)
      t.fail(`bit ${bit}`)
    if (daemon.channel?.isProven !== false || daemon.end?.how !== 'cut') t.fail(`bit ${bit}`)
  }
  t.pass('each ended the handshake')
})

t.test('no bit of a record can be flipped', async (t) => {
  for (let bit = 0; bit < 64 * 8; bit++) {
    const { daemon, sealed, end } = await openPair()
    daemon.receive(flipped(sealed, bit))
    await end
    if (daemon.isProven) t.fail(`bit ${bit}`)
  }
  t.pass('each ended the channel')
  await diesOf(t, 'a flipped bit', (way, n) => (passing) => {
    const bit = passing.message.length * 4 + n
    return [isAt(passing, way, n) ? flipped(passing.message, bit) : passing.message]
  })
})

/** A daemon that waits for the first record, and that record, without a handshake. */
async function openPair() {
  const [up, down] = [randomBytes(32), randomBytes(32)]
  const end = Promise.withResolvers<unknown>()
  const met = async () => {
    return {
      fromInitiator: await CipherState.of(up),
      fromResponder: await CipherState.of(down),
      ...{
        handshakeHash: randomBytes(32),
        extraSecret: randomBytes(32),
        theirKey: randomBytes(32),
      },
    }
  }
  const { promise, resolve } = Promise.withResolvers<Bytes>()
  const device = new Channel({
    ...{ side: 'device', met: await met() },
    link: { send: resolve, close: () => {} },
    events: { onRecord: () => {}, onEnd: () => {} },
  })
  const daemon = new Channel({
    ...{ side: 'daemon', met: await met() },
    link: { send: () => {}, close: () => {} },
    events: { onRecord: () => {}, onEnd: end.resolve },
  })
  return { device, daemon, sealed: await promise, end: end.promise }
}

t.test('messages that are cut short, or go on, are not understood', async (t) => {
  for (const way of WAYS)
    for (const change of [
      (message: Bytes) => message.slice(0, -1),
      (message: Bytes) => message.slice(1),
      (message: Bytes) => new Uint8Array([...message, 0]),
      () => new Uint8Array(0),
    ]) {
      const meeting = await Meeting.of({
        malice: (passing) => [isAt(passing, way, 0) ? change(passing.message) : passing.message],
      })
      await meeting.over()
      t.ok(receiver(meeting, way).failure instanceof NoiseError)
      t.equal(receiver(meeting, way).channel, undefined)
    }
  for (const change of [
    (message: Bytes) => message.slice(0, 16),
    (message: Bytes) => message.slice(0, -1),
    (message: Bytes) => new Uint8Array([...message, 0]),
    () => new Uint8Array(0),
    // Of a length that a record can have.
    (message: Bytes) => {
      const next = RECORD_SIZES.find((size) => size > message.length) ?? 64
      const longer = new Uint8Array(next)
      longer.set(message)
      return longer
    },
  ])
    await diesOf(t, 'truncated', (way, n) => (passing) => [
      isAt(passing, way, n) ? change(passing.message) : passing.message,
    ])
})

t.test('a record of the relay itself ends the channel', async (t) => {
  for (const size of RECORD_SIZES)
    await diesOf(t, `made up, ${size} bytes`, (way, n) => (passing) => [
      ...(isAt(passing, way, n) ? [randomBytes(size)] : []),
      passing.message,
    ])
})

t.test('a message between those of the handshake ends it', async (t) => {
  for (const way of WAYS) {
    const meeting = await conversation({
      malice: (passing) =>
        isAt(passing, way, 0) ? [passing.message, randomBytes(64)] : [passing.message],
    })
    await meeting.over()
    t.match(receiver(meeting, way).end, { how: 'left', reason: 'protocol' })
    // A device whose connection is closed already may still be in the middle of its handshake.
    await eventually(() => sender(meeting, way).end !== undefined, 'the sender hears of it')
    t.match(sender(meeting, way).end?.how, /closed|cut/)
    onlyWhatWasSent(t, meeting, `between, ${way}`)
    const before = await Meeting.of({
      malice: (passing) =>
        isAt(passing, way, 0) ? [randomBytes(64), passing.message] : [passing.message],
    })
    await before.over()
    t.ok(receiver(before, way).failure instanceof NoiseError)
  }
})

t.test('a channel that is cut says so on both sides, wherever it is cut', async (t) => {
  for (const way of WAYS)
    for (let n = 1; n <= 5; n++) {
      const meeting = await conversation({
        malice: (passing, its) => {
          if (isAt(passing, way, n)) its.cut()
          return [passing.message]
        },
      })
      await meeting.over()
      t.equal(meeting.device.end?.how, 'cut')
      t.equal(meeting.daemon.end?.how, 'cut')
      onlyWhatWasSent(t, meeting, `cut ${way} ${n}`)
    }
})

t.test('a channel whose last record is kept back was cut', async (t) => {
  const meeting = await Meeting.open({ malice: pass })
  const kept = await Meeting.open({
    malice: ({ way, number, message }) => (way === 'up' && number === 2 ? [] : [message]),
  })
  for (const each of [meeting, kept]) each.device.channel?.close('done')
  await meeting.over()
  await kept.over()
  t.match(meeting.daemon.end, { how: 'closed', reason: 'done' })
  t.equal(kept.daemon.end?.how, 'cut')
})

t.test('records that come late are heard, and those that come too late are not', async (t) => {
  const clock = new ManualClock()
  const held: Bytes[] = []
  let isHolding = true
  const meeting = await Meeting.open({
    clock,
    malice: ({ way, number, message }) => {
      if (way === 'down' || number < 2 || !isHolding) return [message]
      held.push(message)
      return []
    },
  })
  const { device, daemon } = meeting
  await device.channel?.send(RECORD.data, bodyOf('up', 1))
  clock.move(IDLE_MS - 1)
  daemon.channel?.check()
  t.equal(daemon.end, undefined)
  for (const message of held.splice(0)) meeting.deliver('up', message)
  await eventually(() => said(daemon).length === 1, 'the late record is heard')
  await device.channel?.send(RECORD.data, bodyOf('up', 2))
  clock.move(IDLE_MS)
  daemon.channel?.check()
  await eventually(() => daemon.end !== undefined, 'the daemon has waited long enough')
  t.match(daemon.end, { how: 'left', reason: 'protocol' })
  isHolding = false
  for (const message of held.splice(0)) meeting.deliver('up', message)
  await meeting.over()
  t.match(device.end, { how: 'closed', reason: 'protocol' })
  t.equal(said(daemon).length, 1)
  onlyWhatWasSent(t, meeting, 'late')
})

t.test('a relay that passes nothing any more is noticed within 90 seconds', async (t) => {
  const clock = new ManualClock()
  let isMute = false
  const meeting = await Meeting.open({
    clock,
    isSilent: true,
    malice: ({ message }) => (isMute ? [] : [message]),
  })
  const both = [meeting.device, meeting.daemon]
  // As long as pings pass, time is no matter.
  for (let i = 0; i < 10; i++) {
    const seen = meeting.seen.length
    clock.move(PING_MS)
    for (const { channel } of both) channel?.check()
    await eventually(() => meeting.seen.length === seen + 2, 'both have pinged')
    await meeting.device.channel?.send(RECORD.data, bodyOf('up', i))
    await eventually(() => said(meeting.daemon).length === i + 1, 'and were heard')
    await meeting.daemon.channel?.send(RECORD.note, bodyOf('down', i))
    await eventually(() => said(meeting.device).length === i + 1, 'both')
  }
  isMute = true
  clock.move(IDLE_MS)
  for (const { channel } of both) channel?.check()
  await meeting.over()
  for (const { end } of both) t.match(end, { how: 'left', reason: 'protocol' })
})
