/** Do several connections share one channel without harm to each other, and within bounds? */
import { randomBytes } from 'node:crypto'
import * as fc from 'fast-check'
import t from 'tap'
import { concat, readU32, u32, utf8, type Bytes } from '../../../src/relay/protocol/bytes.ts'
import type { FrameLink } from '../../../src/relay/protocol/channel.ts'
import { RECORD, type ChannelRecord } from '../../../src/relay/protocol/records.ts'
import {
  CHANNEL_WINDOW,
  MAX_STREAMS,
  STREAM_WINDOW,
  Streams,
  type Stream,
  type StreamEvents,
} from '../../../src/relay/protocol/streams.ts'
import { channelPair, proven, rogueDevice, type EndOptions } from '../../helpers/channel-pair.ts'
import { ManualClock } from '../../helpers/malicious-link.ts'
import { eventually, until } from '../../helpers/waiting.ts'

/** A stream's end, and what came out of it. */
class Heard implements StreamEvents {
  stream: Stream | undefined
  readonly pieces: Uint8Array[] = []
  ended = 0
  readonly closes: boolean[] = []
  /** Whether it reads on at once. */
  isReading = true

  get text(): string {
    return Buffer.concat(this.pieces).toString()
  }

  get bytes(): number {
    return this.pieces.reduce((sum, { length }) => sum + length, 0)
  }

  onData(bytes: Uint8Array): void {
    this.pieces.push(bytes)
    if (this.isReading) this.stream?.consumed(bytes.length)
  }

  onEnd(): void {
    this.ended++
  }

  onClose(wasReset: boolean): void {
    this.closes.push(wasReset)
  }
}

/** A device and a daemon with streams. */
async function pair(
  accept?: (stream: Stream, heard: Heard) => void,
  { clock, daemonLink }: { clock?: ManualClock; daemonLink?: Partial<FrameLink> } = {},
) {
  const accepted: Heard[] = []
  let [deviceStreams, daemonStreams]: Array<Streams | undefined> = []
  const { device, daemon } = await channelPair({
    device: {
      ...(clock === undefined ? {} : { clock }),
      onRecord: (record) => void deviceStreams?.take(record),
    },
    daemon: {
      ...(clock === undefined ? {} : { clock }),
      ...(daemonLink === undefined ? {} : { link: daemonLink }),
      onRecord: (record) => void daemonStreams?.take(record),
    },
  })
  deviceStreams = new Streams(device.channel)
  daemonStreams = new Streams(daemon.channel, (stream) => {
    const heard = new Heard()
    heard.stream = stream
    accepted.push(heard)
    accept?.(stream, heard)
    return heard
  })
  await proven(daemon)
  const open = (isReading = true): Heard & { stream: Stream } => {
    const heard = new Heard()
    heard.isReading = isReading
    return Object.assign(heard, { stream: deviceStreams.open(heard) })
  }
  return { device, daemon, deviceStreams, daemonStreams, accepted, open }
}

t.test('bytes arrive as they were written, in both directions', async (t) => {
  const { accepted, open } = await pair()
  const ours = open()
  await ours.stream.write(utf8('GET / HTTP/1.1\r\n'))
  const request = randomBytes(1_000_000)
  await ours.stream.write(request)
  await eventually(() => accepted[0]?.bytes === 16 + request.length, 'the daemon has all')
  t.same(Buffer.concat(accepted[0]?.pieces ?? []).subarray(16), request)
  const answer = randomBytes(700_001)
  await accepted[0]?.stream?.write(answer)
  await eventually(() => ours.bytes === answer.length, 'the device has all')
  t.same(Buffer.concat(ours.pieces), answer)
})

t.test('a party that has sent its last byte can still be answered', async (t) => {
  const { deviceStreams, daemonStreams, accepted, open } = await pair()
  const ours = open()
  void ours.stream.write(utf8('question'))
  ours.stream.end()
  ours.stream.end()
  await eventually(() => accepted[0]?.ended === 1, 'the daemon has the end')
  t.equal(accepted[0]?.text, 'question')
  t.same([ours.closes, accepted[0]?.closes], [[], []])
  await ours.stream.write(utf8('nothing more'))
  void accepted[0]?.stream?.write(utf8('answer'))
  accepted[0]?.stream?.end()
  await eventually(() => ours.closes.length === 1, 'the stream is over')
  t.same([ours.text, ours.ended, ours.closes], ['answer', 1, [false]])
  await eventually(() => accepted[0]?.closes.length === 1, 'for both')
  t.same([accepted[0]?.text, accepted[0]?.closes], ['question', [false]])
  t.same([deviceStreams.size, daemonStreams.size], [0, 0])
})

t.test('a reader that is slow holds up its own stream alone', async (t) => {
  const { accepted, open } = await pair((_, heard) => (heard.isReading = false))
  const slow = open()
  let isWritten = false
  const writing = slow.stream.write(randomBytes(1_000_000)).then(() => (isWritten = true))
  const other = open()
  await other.stream.write(utf8('meanwhile'))
  await eventually(() => accepted[1]?.text === 'meanwhile', 'the other stream goes on')
  const [first] = accepted
  t.ok((first?.bytes ?? 0) <= STREAM_WINDOW)
  t.equal(isWritten, false)
  let used = 0
  await eventually(() => {
    const { bytes = 0 } = first ?? {}
    first?.stream?.consumed(bytes - used)
    used = bytes
    return isWritten
  }, 'it is written as it is read')
  await writing
  await eventually(() => first?.bytes === 1_000_000, 'all has come')
})

t.test(
  'the end does not overtake what waits to be written, and writes keep their order',
  async (t) => {
    const { accepted, open } = await pair((_, heard) => (heard.isReading = false))
    const ours = open()
    const parts = Array.from({ length: 12 }, (_, i) => new Uint8Array(50_000).fill(i))
    for (const part of parts) void ours.stream.write(part)
    ours.stream.end()
    await eventually(() => (accepted[0]?.bytes ?? 0) > 0, 'it begins')
    t.equal(accepted[0]?.ended, 0)
    const [theirs] = accepted
    let consumed = 0
    await eventually(() => {
      const now = theirs?.bytes ?? 0
      if (theirs?.ended === 0) theirs.stream?.consumed(now - consumed)
      consumed = now
      return theirs?.ended === 1
    }, 'the end comes')
    t.same(Buffer.concat(theirs?.pieces ?? []), Buffer.from(concat(...parts)))
  },
)

t.test('a stream that is broken off is over for both, and what waits is let go', async (t) => {
  for (const side of ['device', 'daemon'] as const) {
    const { device, daemon, accepted, open } = await pair((_, heard) => (heard.isReading = false))
    const ours = open()
    const writing = ours.stream.write(randomBytes(1_000_000))
    await eventually(() => (accepted[0]?.bytes ?? 0) > 0, 'it is under way')
    const stream = side === 'device' ? ours.stream : accepted[0]?.stream
    stream?.reset()
    stream?.reset()
    await writing
    await eventually(() => ours.closes.length + (accepted[0]?.closes.length ?? 0) === 2, 'over')
    t.same([ours.closes, accepted[0]?.closes], [[true], [true]])
    await ours.stream.write(utf8('nothing'))
    ours.stream.end()
    ours.stream.consumed(5)
    const next = open()
    await next.stream.write(utf8('another'))
    await eventually(() => accepted[1]?.text === 'another', 'the channel goes on')
    t.same([...device.ends, ...daemon.ends], [])
  }
})

t.test('with the channel every stream is over', async (t) => {
  const { device, deviceStreams, daemonStreams, accepted, open } = await pair(
    (_, heard) => (heard.isReading = false),
  )
  const ours = [open(), open()]
  const writing = ours.map(({ stream }) => stream.write(randomBytes(1_000_000)))
  await eventually(() => accepted.length === 2, 'both are open')
  device.channel.close('done')
  deviceStreams.closeAll()
  daemonStreams.closeAll()
  await Promise.all(writing)
  for (const { closes } of [...ours, ...accepted]) t.same(closes, [true])
  t.throws(() => open(), /closed/)
})

t.test('a device opens so many streams and no more', async (t) => {
  const { accepted, open, daemonStreams } = await pair()
  const ours = Array.from({ length: MAX_STREAMS }, () => open())
  t.throws(() => open(), /streams are open/)
  ours[3]?.stream.reset()
  open()
  await eventually(() => accepted.length === MAX_STREAMS + 1, 'one more, once another is over')
  t.equal(daemonStreams.size, MAX_STREAMS)
  t.throws(() => daemonStreams.open(new Heard()), TypeError)
})

t.test('a stream that is refused at once is over for both', async (t) => {
  const { accepted, open } = await pair((stream) => stream.reset())
  const ours = open()
  await eventually(() => ours.closes.length === 1, 'the device hears of it')
  t.same([ours.closes, accepted[0]?.closes], [[true], [true]])
})

/** A daemon with streams, whose device is the test. */
async function rogueStreams(options: EndOptions & { isReading?: boolean } = {}) {
  const accepted: Heard[] = []
  let streams: Streams | undefined
  const device = await rogueDevice({
    ...options,
    onRecord: (record: ChannelRecord) => void streams?.take(record),
  })
  streams = new Streams(device.end.channel, (stream) => {
    const heard = new Heard()
    heard.stream = stream
    heard.isReading = options.isReading ?? true
    accepted.push(heard)
    return heard
  })
  return { ...device, accepted, streams }
}

const ONE = u32(1)

t.test('a device that breaks a rule of streams loses its channel', async (t) => {
  const data = (bytes: number) => [RECORD.data, concat(ONE, randomBytes(bytes))] as const
  const cases: Array<[string, ReadonlyArray<readonly [number, Uint8Array]>]> = [
    ['no number', [[RECORD.open, utf8('abc')]]],
    ['a number with more behind it', [[RECORD.open, concat(ONE, utf8('x'))]]],
    ['the number 0', [[RECORD.open, u32(0)]]],
    ['a number that is not the next', [[RECORD.open, u32(2)]]],
    [
      'the same number twice',
      [
        [RECORD.open, ONE],
        [RECORD.open, ONE],
      ],
    ],
    ['bytes of a stream that was not opened', [data(1)]],
    [
      'bytes of the stream 0',
      [
        [RECORD.open, ONE],
        [RECORD.data, concat(u32(0), utf8('x'))],
      ],
    ],
    [
      'bytes of the next stream',
      [
        [RECORD.open, ONE],
        [RECORD.data, concat(u32(2), utf8('x'))],
      ],
    ],
    ['an empty piece', [[RECORD.open, ONE], data(0)]],
    ['bytes after the end', [[RECORD.open, ONE], [RECORD.end, ONE], data(1)]],
    [
      'a second end',
      [
        [RECORD.open, ONE],
        [RECORD.end, ONE],
        [RECORD.end, ONE],
      ],
    ],
    [
      'an end with a body',
      [
        [RECORD.open, ONE],
        [RECORD.end, concat(ONE, utf8('x'))],
      ],
    ],
    [
      'a reset with a body',
      [
        [RECORD.open, ONE],
        [RECORD.reset, concat(ONE, utf8('x'))],
      ],
    ],
    [
      'a credit without a number of bytes',
      [
        [RECORD.open, ONE],
        [RECORD.credit, ONE],
      ],
    ],
    [
      'a credit of nothing',
      [
        [RECORD.open, ONE],
        [RECORD.credit, concat(ONE, u32(0))],
      ],
    ],
    [
      'a credit beyond the window',
      [
        [RECORD.open, ONE],
        [RECORD.credit, concat(ONE, u32(1))],
      ],
    ],
    [
      'a credit that overflows',
      [
        [RECORD.open, ONE],
        [RECORD.credit, concat(ONE, u32(0xffff_ffff))],
      ],
    ],
    ['a credit of the channel without a number of bytes', [[RECORD.credit, u32(0)]]],
    ['a credit of the channel of nothing', [[RECORD.credit, concat(u32(0), u32(0))]]],
    ['a credit of the channel beyond its window', [[RECORD.credit, concat(u32(0), u32(1))]]],
    ['a credit of the channel that is too long', [[RECORD.credit, concat(u32(0), u32(1), ONE)]]],
    [
      'too many streams',
      Array.from({ length: MAX_STREAMS + 1 }, (_, i) => [RECORD.open, u32(i + 1)] as const),
    ],
  ]
  for (const [what, records] of cases) {
    const { end, say, accepted } = await rogueStreams()
    for (const [type, body] of records) await say(type, body)
    t.match(await end.over, { how: 'left', reason: 'protocol' }, what)
    t.same(
      accepted.flatMap(({ pieces }) => pieces),
      [],
      `${what}: no byte was heard`,
    )
    t.ok(accepted.length <= MAX_STREAMS, what)
  }
})

t.test('a device cannot send more than there is credit for, in pieces of any size', async (t) => {
  for (const length of [1, 37, 38, 1000, 16_357, 16_358, 60_000]) {
    const { end, say, accepted } = await rogueStreams({ isReading: false })
    await say(RECORD.open, ONE)
    let sent = 0
    while (end.channel.isOpen && sent++ <= STREAM_WINDOW / 64)
      await say(RECORD.data, concat(ONE, randomBytes(length)))
    t.match(await end.over, { text: 'more was sent than there was credit for' }, `${length}`)
    t.ok((accepted[0]?.bytes ?? 0) <= STREAM_WINDOW)
    t.ok((accepted[0]?.pieces.length ?? 0) <= STREAM_WINDOW / 64, 'small pieces are few, too')
  }
})

t.test('a device that goes on after a reset is not heard, and loses nothing', async (t) => {
  const { end, say, accepted, streams } = await rogueStreams()
  await say(RECORD.open, ONE)
  await eventually(() => accepted.length === 1, 'it is open')
  accepted[0]?.stream?.reset()
  for (const [type, body] of [
    [RECORD.data, concat(ONE, utf8('x'))],
    [RECORD.credit, concat(ONE, u32(9))],
    [RECORD.end, ONE],
    [RECORD.reset, ONE],
  ] as const)
    await say(type, body)
  await say(RECORD.open, u32(2))
  await eventually(() => accepted.length === 2, 'the next one opens')
  t.same([accepted[0]?.pieces, accepted[0]?.ended, accepted[0]?.closes], [[], 0, [true]])
  t.same([end.ends, streams.size], [[], 1])
})

t.test('all streams together have 512 KiB under way, whoever of them writes', async (t) => {
  const sent: number[] = []
  const { end, say, accepted } = await rogueStreams({
    link: { send: (frame) => void sent.push(frame.length) },
  })
  for (let i = 1; i <= MAX_STREAMS; i++) await say(RECORD.open, u32(i))
  await eventually(() => accepted.length === MAX_STREAMS, 'all are open')
  const underWay = () => sent.reduce((sum, size) => sum + size, 0)
  for (const { stream } of accepted) void stream?.write(randomBytes(STREAM_WINDOW))
  await eventually(() => underWay() === CHANNEL_WINDOW, 'the window is full')
  // What goes out on this ping goes out behind all that was to come before it.
  await end.channel.send(RECORD.ping, new Uint8Array(0))
  t.equal(underWay(), CHANNEL_WINDOW + 64)
  await say(RECORD.credit, concat(u32(0), u32(CHANNEL_WINDOW / 2)))
  await eventually(() => underWay() === 1.5 * CHANNEL_WINDOW + 64, 'it goes on with new credit')
  // One that waits can be broken off, and is not waited for.
  const waiting = accepted[0]?.stream?.write(randomBytes(10))
  accepted[0]?.stream?.reset()
  await waiting
  await eventually(() => underWay() === 1.5 * CHANNEL_WINDOW + 2 * 64, 'the reset goes out')
})

t.test('streams that wait for the channel take turns', async (t) => {
  const { say, accepted, answers } = await rogueStreams()
  for (let i = 1; i <= MAX_STREAMS; i++) await say(RECORD.open, u32(i))
  await eventually(() => accepted.length === MAX_STREAMS, 'all are open')
  for (const { stream } of accepted) void stream?.write(randomBytes(10 * 16_357))
  const pieces = new Map<number, number>()
  let count = 0
  const take = (all: number): Promise<unknown> =>
    until(
      `${all} pieces have come`,
      async () => {
        for (const record of await answers()) {
          if (record[0] !== RECORD.data) continue
          const id = readU32(record, 7)
          pieces.set(id, (pieces.get(id) ?? 0) + 1)
          count++
        }
        return count >= all
      },
      30_000,
      5,
    )
  // Eight pieces for each credit, and 32 streams that want them.
  await take(32)
  for (let i = 1; i <= 16; i++) {
    await say(RECORD.credit, concat(u32(0), u32(CHANNEL_WINDOW / 4)))
    await take(32 + 8 * i)
  }
  const each = Array.from({ length: MAX_STREAMS }, (_, i) => pieces.get(i + 1) ?? 0)
  t.ok(Math.min(...each) >= 4, each.join(' '))
})

t.test('on a slow line many streams go on for minutes, and no record is late', async (t) => {
  const clock = new ManualClock()
  const line: Bytes[] = []
  const both = await pair(undefined, {
    clock,
    // The way down is a line of 30 kB/s, with room for all that the daemon gives it.
    daemonLink: { send: (frame) => void line.push(frame) },
  })
  const ours = Array.from({ length: MAX_STREAMS }, () => both.open())
  await eventually(() => both.accepted.length === MAX_STREAMS, 'all are open')
  const size = 320_000
  for (const { stream } of both.accepted) void stream?.write(randomBytes(size))
  const most = { waiting: 0 }
  const queued = () => line.reduce((sum, { length }) => sum + length, 0)
  await eventually(() => queued() >= CHANNEL_WINDOW - 16_384, 'the line is full')
  await eventually(() => {
    for (const frame of line.splice(0, 4)) {
      clock.move(frame.length / 30)
      both.device.channel.receive(frame)
    }
    most.waiting = Math.max(most.waiting, queued())
    for (const { channel } of [both.device, both.daemon]) channel.check()
    return ours.every(({ bytes }) => bytes === size) || both.device.ends.length > 0
  }, 'all has come')
  t.same([...both.device.ends, ...both.daemon.ends], [])
  t.ok(clock.now() > 5 * 60_000, `${clock.now()}`)
  t.ok(most.waiting <= CHANNEL_WINDOW + 32 * 64, `${most.waiting}`)
})

t.test('credit comes back for all that was used up, and for nothing else', async (t) => {
  const { say, accepted, answers } = await rogueStreams({ isReading: false })
  await say(RECORD.open, ONE)
  const returned = async () => {
    const sums = { channel: 0, stream: 0 }
    for (const record of await answers())
      if (record[0] === RECORD.credit)
        sums[readU32(record, 7) === 0 ? 'channel' : 'stream'] += readU32(record, 7 + 4)
    return sums
  }
  // 16 records of 16 KiB are the whole window.
  for (let i = 0; i < 16; i++) await say(RECORD.data, concat(ONE, randomBytes(16_357)))
  const [heard] = accepted
  await eventually(() => heard?.pieces.length === 16, 'all has come')
  await accepted[0]?.stream?.write(utf8('x'))
  t.same(await returned(), { channel: STREAM_WINDOW, stream: 0 }, 'the channel has what has come')
  t.throws(() => heard?.stream?.consumed(16 * 16_357 + 1), RangeError)
  t.throws(() => heard?.stream?.consumed(-1), RangeError)
  t.throws(() => heard?.stream?.consumed(Number.NaN), RangeError)
  heard?.stream?.consumed(0)
  for (let i = 0; i < 16_357; i++) heard?.stream?.consumed(16)
  t.throws(() => heard?.stream?.consumed(1), RangeError)
  await say(RECORD.ping)
  await accepted[0]?.stream?.write(utf8('x'))
  t.same(await returned(), { channel: 0, stream: STREAM_WINDOW })
})

t.test('whatever both do, each gets the beginning of what the other wrote', async (t) => {
  const step = fc.record({
    isDevice: fc.boolean(),
    stream: fc.nat(2),
    action: fc.constantFrom('write', 'write', 'write', 'end', 'consume', 'consume', 'reset'),
    size: fc.nat(90_000),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const both = await pair((_, heard) => (heard.isReading = false))
      const ours = [both.open(false), both.open(false), both.open(false)]
      await eventually(() => both.accepted.length === 3, 'three are open')
      const written = { true: ['', '', ''], false: ['', '', ''] }
      const isEnding = new Set<Stream>()
      const read = new Map<Heard, number>()
      for (const [i, { isDevice, stream: n, action, size }] of steps.entries()) {
        const heard = (isDevice ? ours : both.accepted)[n]
        const stream = heard?.stream
        if (heard === undefined || stream === undefined) throw new Error('no stream')
        if (action === 'write' && !isEnding.has(stream)) {
          const text = String.fromCharCode(65 + (i % 26)).repeat(size)
          written[`${isDevice}`][n] += text
          void stream.write(utf8(text))
        } else if (action === 'end') {
          isEnding.add(stream)
          stream.end()
        } else if (action === 'reset') stream.reset()
        else {
          const { bytes } = heard
          stream.consumed(bytes - (read.get(heard) ?? 0))
          read.set(heard, bytes)
        }
        await new Promise(setImmediate)
      }
      both.device.channel.close('done')
      await Promise.all([both.device.over, both.daemon.over])
      t.same(both.daemon.ends, [{ how: 'closed', reason: 'done', text: '' }])
      for (const [isDevice, ends] of [
        [true, both.accepted],
        [false, ours],
      ] as const)
        for (const [n, { text, ended }] of ends.entries()) {
          const all = written[`${isDevice}`][n] ?? ''
          if (ended > 0 ? text !== all : !all.startsWith(text)) throw new Error('bytes are lost')
        }
    }),
    { numRuns: 40 },
  )
})
