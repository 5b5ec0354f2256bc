/** Does a channel keep its promises, whatever its connection, its listeners and the other party do? */
import t from 'tap'
import { randomBytes, utf8, type Bytes } from '../../../src/relay/protocol/bytes.ts'
import type { Channel } from '../../../src/relay/protocol/channel.ts'
import { NoiseError } from '../../../src/relay/protocol/noise.ts'
import {
  CHANNEL_CLOSE,
  MAX_BODY_LENGTH,
  RECORD,
  RECORD_SIZES,
} from '../../../src/relay/protocol/records.ts'
import { COMPLETE_MS, IDLE_MS, LATE_MS, PING_MS } from '../../../src/relay/protocol/relay-wire.ts'
import { channelPair, proven, rogue, rogueDevice } from '../../helpers/channel-pair.ts'
import { ManualClock } from '../../helpers/malicious-link.ts'
import { eventually } from '../../helpers/waiting.ts'

const HOUR_MS = 3_600_000
const MIB = 1024 * 1024

const closeBody = (code: number, text = '') => Uint8Array.of(0, code, ...utf8(text))

t.test('a daemon is sure of a device only once its first record was read', async (t) => {
  const { device, daemon } = await channelPair()
  t.equal(device.channel.isProven, true)
  t.same([daemon.channel.isProven, daemon.channel.isOpen], [false, false])
  await proven(daemon)
  t.equal(daemon.channel.isOpen, true)
  t.same(daemon.heard, [{ type: RECORD.ready, body: utf8('') }])
  daemon.channel.close('done')
  t.same([daemon.channel.isProven, daemon.channel.isOpen], [true, false])
  await daemon.over
  t.equal(daemon.channel.isProven, true)

  const { end, sayPlain } = await rogue('daemon')
  end.channel.receive(randomBytes(64))
  t.match(await end.over, { how: 'left', reason: 'protocol' })
  t.equal(end.channel.isProven, false, 'a channel that has failed before was never proven')
  await sayPlain(new Uint8Array(48))
  t.same(end.heard, [])
})

t.test('a daemon says nothing before it has heard of the device', async (t) => {
  const { end, say, answers } = await rogue('daemon')
  await end.channel.send(RECORD.note, utf8('too early'))
  t.same(end.sizes, [])
  await say(RECORD.ready)
  await proven(end)
  await end.channel.send(RECORD.note, utf8('now'))
  const [first, ...more] = await answers()
  t.equal(Buffer.from(first ?? []).toString('utf8', 7, 10), 'now')
  t.same(more, [])
})

t.test('a record that no honest party sends ends the channel', async (t) => {
  const wrong: Array<[string, number, Uint8Array?, Uint8Array?]> = [
    ['an unknown type', 0x07],
    ['the type 0', 0],
    ['a second ready', RECORD.ready],
    ['a welcome from a device', RECORD.welcome, utf8('{}')],
    ['a note from a device', RECORD.note, utf8('{}')],
    ['a ping with a body', RECORD.ping, utf8('x')],
    ['a rekey with a body', RECORD.rekey, utf8('x')],
    ['a close without a reason', RECORD.close, Uint8Array.of(0)],
    ['padding that is not zero', RECORD.data, utf8('x'), new Uint8Array(40).fill(1)],
    [
      'a last byte of padding that is not zero',
      RECORD.data,
      utf8('x'),
      new Uint8Array([...new Uint8Array(39), 1]),
    ],
    ['more padding than there is need for', RECORD.data, utf8('x'), new Uint8Array(256 - 16 - 8)],
  ]
  for (const [what, type, body, padding] of wrong) {
    const { end, say, answers } = await rogueDevice()
    await say(type, body, padding === undefined ? {} : { padding })
    t.match(await end.over, { how: 'left', reason: 'protocol' }, what)
    t.equal(end.heard.length, 1, `${what}: nothing but ready was heard`)
    const [last] = (await answers()).slice(-1)
    t.same(last?.slice(0, 1), Uint8Array.of(RECORD.close), `${what}: the device is told`)
  }
  const { end, sayPlain } = await rogueDevice()
  const plain = new Uint8Array(48)
  plain.set([RECORD.data, 0xff, 0xff])
  await sayPlain(plain)
  t.match(await end.over, { reason: 'protocol' }, 'a length beyond the record')
})

t.test('a first record that is not ready ends the channel, even when it is a close', async (t) => {
  for (const type of [RECORD.data, RECORD.open, RECORD.ping, RECORD.rekey, RECORD.close]) {
    const { end, say } = await rogue('daemon')
    await say(type, type === RECORD.close ? closeBody(0) : undefined)
    t.match(await end.over, { how: 'left', reason: 'protocol' })
    t.equal(end.channel.isProven, false)
    t.same(end.heard, [])
  }
})

t.test('a device takes no records that are for daemons', async (t) => {
  for (const type of [RECORD.ready, RECORD.open]) {
    const { end, say } = await rogue('device')
    await say(type)
    t.match(await end.over, { how: 'left', reason: 'protocol' })
    t.same(end.heard, [])
  }
})

t.test('frames have the six sizes only, whatever is said', async (t) => {
  const { device, daemon } = await channelPair()
  await proven(daemon)
  const lengths = [0, 1, 40, 41, 42, 233, 234, 4073, 4074, 16_361, 16_362, MAX_BODY_LENGTH]
  for (const length of lengths) await device.channel.send(RECORD.data, randomBytes(length))
  await eventually(() => daemon.heard.length === lengths.length + 1, 'all are heard')
  t.same(
    daemon.heard.slice(1).map(({ body }) => body.length),
    lengths,
  )
  t.same(
    device.sizes.filter((size) => !RECORD_SIZES.includes(size)),
    [],
  )
  t.same(device.sizes.slice(0, 6), [64, 64, 64, 64, 64, 256])
  t.throws(() => device.channel.send(RECORD.data, new Uint8Array(MAX_BODY_LENGTH + 1)), TypeError)
  await device.channel.send(RECORD.data, utf8('still here'))
  await eventually(() => daemon.heard.length === lengths.length + 2, 'and the channel lives')
})

t.test('what was sent is what its buffer held when it was sent', async (t) => {
  const { device, daemon } = await channelPair()
  const buffer = utf8('before')
  const sent = device.channel.send(RECORD.data, buffer)
  buffer.fill(0)
  await sent
  await eventually(() => daemon.heard.length === 2, 'it is heard')
  t.same(daemon.heard[1]?.body, utf8('before'))
})

t.test('a connection that throws ends the channel, and no call rejects', async (t) => {
  let isBroken = false
  const { device, daemon } = await channelPair({
    daemon: {
      link: {
        send: () => {
          if (isBroken) throw new Error('the socket is gone')
        },
      },
    },
  })
  await proven(daemon)
  isBroken = true
  const sends = [1, 2, 3].map(() => daemon.channel.send(RECORD.note, utf8('x')))
  await Promise.all(sends)
  t.match(await daemon.over, { how: 'cut', cause: { message: 'the socket is gone' } })
  await daemon.channel.send(RECORD.note, utf8('x'))
  t.equal((await device.over).how, 'cut', 'the connection was closed')
  t.equal(daemon.ends.length, 1)
})

t.test('a listener that throws ends the channel, and the cause is for us alone', async (t) => {
  for (const [thrown, text, cause] of [
    [
      new Error('at /home/alice'),
      'this party could not handle a record',
      { message: 'at /home/alice' },
    ],
    [new NoiseError('a rule is broken'), 'a rule is broken', undefined],
  ] as const) {
    const { device, daemon } = await channelPair({
      daemon: {
        onRecord: ({ type }) => {
          if (type === RECORD.data) throw thrown
        },
      },
    })
    await device.channel.send(RECORD.data, utf8('x'))
    const end = await daemon.over
    t.match(end, { how: 'left', reason: 'protocol', text })
    t.match('cause' in end ? end.cause : undefined, cause)
    t.strictSame(await device.over, { how: 'closed', reason: 'protocol', text })
  }
})

t.test('what was sent before a close is heard before it, and nothing after it', async (t) => {
  const { device, daemon } = await channelPair()
  for (let i = 0; i < 100; i++) void device.channel.send(RECORD.data, Uint8Array.of(i))
  device.channel.close('done', 'bye')
  device.channel.close('restart', 'too late')
  await device.channel.send(RECORD.data, utf8('too late'))
  t.strictSame(await daemon.over, { how: 'closed', reason: 'done', text: 'bye' })
  t.strictSame(await device.over, { how: 'left', reason: 'done', text: 'bye' })
  t.same(
    daemon.heard.slice(1).map(({ body: [i] }) => i),
    Array.from({ length: 100 }, (_, i) => i),
  )
  daemon.channel.receive(new Uint8Array(64))
  daemon.channel.linkClosed()
  device.channel.linkClosed()
  t.same([device.ends.length, daemon.ends.length], [1, 1])
})

t.test('a channel can be closed by whoever hears a record, in the middle of others', async (t) => {
  const { device, daemon } = await channelPair({
    daemon: { onRecord: ({ type }) => type === RECORD.data && daemonOf().close('revoked') },
  })
  const daemonOf = (): Channel => daemon.channel
  for (let i = 0; i < 10; i++) void device.channel.send(RECORD.data, Uint8Array.of(i))
  t.match(await device.over, { how: 'closed', reason: 'revoked' })
  t.match(await daemon.over, { how: 'left', reason: 'revoked' })
  t.equal(daemon.heard.length, 2, 'the rest is not heard')
})

t.test('each reason arrives as itself, and one of a later release as unknown', async (t) => {
  for (const [reason, code] of Object.entries(CHANNEL_CLOSE)) {
    const { end, say } = await rogueDevice()
    await say(RECORD.close, closeBody(code))
    t.strictSame(await end.over, { how: 'closed', reason, text: '' })
  }
  const { end, say } = await rogueDevice()
  await say(RECORD.close, closeBody(99, 'so'))
  t.strictSame(await end.over, { how: 'closed', reason: 'unknown', text: 'so' })
})

t.test('the text of a close is short, and cannot command a terminal', async (t) => {
  const { end, say } = await rogueDevice()
  await say(RECORD.close, closeBody(0, '\u001b[2J\u202eevil\r\n\u0085\u2028'))
  t.match(await end.over, { text: ' [2J evil    ' })
  const { device, daemon } = await channelPair()
  device.channel.close('done', 'ä'.repeat(500))
  const { text } = (await daemon.over) as { text: string }
  t.equal(text, 'ä'.repeat(100))
})

t.test('a close that came before the connection ended is why it has ended', async (t) => {
  const { end, say } = await rogueDevice()
  void say(RECORD.data, utf8('x'))
  await say(RECORD.close, closeBody(CHANNEL_CLOSE.restart))
  end.channel.linkClosed()
  t.match(await end.over, { how: 'closed', reason: 'restart' })
  const idle = await rogueDevice()
  idle.end.channel.linkClosed()
  t.strictSame(idle.end.ends, [{ how: 'cut' }])
  const leaving = await rogueDevice()
  leaving.end.channel.close('done')
  leaving.end.channel.linkClosed()
  t.match(await leaving.end.over, { how: 'left', reason: 'done' })
})

t.test('who never says that it is ready is not waited for', async (t) => {
  const clock = new ManualClock()
  const { end } = await rogue('daemon', { clock })
  clock.move(COMPLETE_MS - 1)
  end.channel.check()
  t.same(end.ends, [])
  clock.move(1)
  end.channel.check()
  t.match(await end.over, { how: 'left', reason: 'protocol' })
})

t.test('a record that comes 90 seconds late ends the channel, and is not heard', async (t) => {
  for (const [late, isHeard] of [
    [LATE_MS - 1, true],
    [LATE_MS, false],
    [3 * LATE_MS, false],
  ] as const) {
    const clock = new ManualClock()
    const { end, say, answers } = await rogueDevice({ clock })
    clock.move(4 * LATE_MS)
    await say(RECORD.data, utf8('late'), { sentMs: 4 * LATE_MS - late })
    await say(RECORD.data, utf8('next'))
    if (isHeard) {
      await eventually(() => end.heard.length === 3, 'both are heard')
      continue
    }
    t.match(await end.over, { how: 'left', reason: 'protocol', text: 'a record came too late' })
    t.equal(end.heard.length, 1, 'nothing but ready was heard')
    const [last] = (await answers()).slice(-1)
    t.equal(last?.[0], RECORD.close, 'the device is told')
  }
})

t.test('no type of record may be late, a close neither', async (t) => {
  for (const [type, body] of [
    [RECORD.ping],
    [RECORD.rekey],
    [RECORD.close, closeBody(0)],
    [RECORD.open, Uint8Array.of(0, 0, 0, 1)],
  ] as const) {
    const clock = new ManualClock()
    const { end, say } = await rogueDevice({ clock })
    clock.move(LATE_MS)
    await say(type, body, { sentMs: 0 })
    t.match(await end.over, { how: 'left', text: 'a record came too late' })
    t.equal(end.heard.length, 1)
  }
})

t.test('a time is that of the sending, not of what waited before it', async (t) => {
  const clock = new ManualClock()
  const { device, daemon } = await channelPair({ device: { clock }, daemon: { clock } })
  await proven(daemon)
  clock.move(LATE_MS)
  const sent = [1, 2, 3].map((i) => device.channel.send(RECORD.data, Uint8Array.of(i)))
  clock.move(2 * LATE_MS)
  await Promise.all(sent)
  await eventually(() => daemon.heard.length === 4, 'all are heard')
  t.same([...device.ends, ...daemon.ends], [])
})

t.test(
  'a record of the future is heard, and from then on time is counted from there',
  async (t) => {
    for (const ahead of [1, HOUR_MS, 24 * HOUR_MS, 0xffff_ffff]) {
      const clock = new ManualClock()
      const { end, say } = await rogueDevice({ clock })
      await say(RECORD.data, utf8('early'), { sentMs: ahead })
      await eventually(() => end.heard.length === 2, 'it is heard')
      clock.move(LATE_MS - 1)
      await say(RECORD.data, utf8('late'), { sentMs: ahead })
      await eventually(() => end.heard.length === 3, 'both are heard')
      clock.move(1)
      await say(RECORD.data, utf8('too late'), { sentMs: ahead })
      t.match(await end.over, { how: 'left', text: 'a record came too late' })
      t.equal(end.heard.length, 3)
    }
    const { end, say } = await rogueDevice()
    await say(RECORD.data, utf8('a lie'), { sentMs: 0xffff_ffff })
    await say(RECORD.data, utf8('the truth'))
    t.match(await end.over, { how: 'left', text: 'a record came too late' })
  },
)

t.test(
  'a party whose clock stands still for 90 seconds, all in all, must come again',
  async (t) => {
    const [ours, theirs] = [new ManualClock(), new ManualClock()]
    const { device, daemon } = await channelPair({
      device: { clock: ours },
      daemon: { clock: theirs },
    })
    await proven(daemon)
    theirs.move(LATE_MS - 1)
    await device.channel.send(RECORD.data, utf8('after sleep'))
    await daemon.channel.send(RECORD.note, utf8('of the future, to the device'))
    await eventually(() => daemon.heard.length + device.heard.length === 3, 'both go on')
    theirs.move(1)
    await device.channel.send(RECORD.data, utf8('after more'))
    t.match(await daemon.over, { how: 'left', reason: 'protocol' })
    t.match(await device.over, { how: 'closed', reason: 'protocol' })
    t.equal(daemon.heard.length, 2)
  },
)

t.test('who has nothing to say pings every 30 seconds, and silence ends a channel', async (t) => {
  const clock = new ManualClock()
  const { end, answers } = await rogueDevice({ clock })
  clock.move(PING_MS - 1)
  end.channel.check()
  clock.move(1)
  end.channel.check()
  end.channel.check()
  await end.channel.send(RECORD.note, utf8('x'))
  const types = (await answers()).map(([type]) => type)
  t.same(types.filter((type) => type === RECORD.ping).length > 0, true)
  clock.move(IDLE_MS)
  end.channel.check()
  t.match(await end.over, { how: 'left', reason: 'protocol' })
})

t.test('after a day the parties must meet again', async (t) => {
  const clock = new ManualClock()
  const { device, daemon } = await channelPair({ device: { clock }, daemon: { clock } })
  await proven(daemon)
  clock.move(24 * HOUR_MS)
  daemon.channel.check()
  t.match(await device.over, { how: 'closed', reason: 'renew' })
})

t.test('each hour a key is replaced, and records go on', async (t) => {
  const clock = new ManualClock()
  const { device, daemon } = await channelPair({ device: { clock }, daemon: { clock } })
  await proven(daemon)
  for (let hour = 0; hour < 3; hour++) {
    clock.move(HOUR_MS)
    const before = device.sizes.length
    await device.channel.send(RECORD.data, Uint8Array.of(hour))
    t.equal(device.sizes.length, before + 2, 'a rekey goes before the record')
    await device.channel.send(RECORD.data, Uint8Array.of(hour))
    t.equal(device.sizes.length, before + 3, 'once an hour')
    await daemon.channel.send(RECORD.note, Uint8Array.of(hour))
    await eventually(
      () => daemon.heard.length === 3 + 2 * hour && device.heard.length === 1 + hour,
      'all is heard',
    )
    for (const { channel } of [device, daemon]) channel.check()
  }
  t.same([...device.ends, ...daemon.ends], [])
})

t.test('a party that never replaces its key is not listened to', async (t) => {
  const clock = new ManualClock()
  const { end, say } = await rogueDevice({ clock })
  for (let i = 0; i < 65; i++) {
    clock.move(60_000)
    await say(RECORD.ping)
    await say(RECORD.data, Uint8Array.of(i))
    await eventually(() => end.heard.length === i + 2 || end.ends.length > 0, 'it is heard')
    t.same(end.ends, [], `${i} minutes`)
    if (i < 64) end.channel.check()
  }
  end.channel.check()
  t.match(await end.over, { how: 'left', text: 'the key of the other party is too old' })
})

t.test('a key is replaced after so many records, and must be', async (t) => {
  const { device, daemon } = await channelPair({
    device: { recordsPerKey: 4 },
    daemon: { recordsPerKey: 4 },
  })
  for (let i = 0; i < 20; i++) await device.channel.send(RECORD.data, Uint8Array.of(i))
  await eventually(() => daemon.heard.length === 21, 'all is heard')
  // Ready and 20 records: each fourth frame is a rekey.
  t.equal(device.sizes.length, 28 - 1)
  const { end, say } = await rogueDevice({ recordsPerKey: 4 })
  for (let i = 0; i < 4; i++) await say(RECORD.data, Uint8Array.of(i))
  t.match(await end.over, { how: 'left', text: 'a key was used for too long' })
  t.equal(end.heard.length, 4)
})

t.test('a party that sends faster than it is read is held up, then left', async (t) => {
  const calls: string[] = []
  const link = { pause: () => void calls.push('pause'), resume: () => void calls.push('resume') }
  const { end } = await rogueDevice({ link })
  const frame = new Uint8Array(65_535)
  end.channel.receive(frame)
  t.same(calls, [])
  while (calls.length === 0) end.channel.receive(frame)
  t.same(calls, ['pause'])
  t.match(await end.over, { reason: 'protocol' })
  await eventually(() => calls.length === 2, 'and is read on')
  t.same(calls, ['pause', 'resume'])

  const flooded = await rogueDevice()
  let frames = 0
  while (flooded.end.channel.isOpen) {
    flooded.end.channel.receive(new Uint8Array(65_535))
    frames++
  }
  t.ok(frames * 65_535 <= 17 * MIB, 'no more than 16 MiB wait')
  t.match(await flooded.end.over, { text: 'more was sent than there was credit for' })
})

t.test('a party that sends and does not read is cut off', async (t) => {
  let unsent = 0
  let isClosed = false
  const { end } = await rogueDevice({
    link: {
      send: (frame: Bytes) => (unsent += frame.length),
      close: () => (isClosed = true),
      unsentBytes: () => unsent,
    },
  })
  while (end.channel.isOpen) await end.channel.send(RECORD.note, randomBytes(60_000))
  t.match(await end.over, {
    how: 'cut',
    cause: { message: 'the other party does not read what it is sent' },
  })
  t.ok(unsent <= 17 * MIB)
  t.ok(isClosed)
})
