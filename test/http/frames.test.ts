/** Are the boundaries of WebSocket frames found exactly, and are illegal frames rejected? */
import * as fc from 'fast-check'
import t from 'tap'
import {
  binaryMessage,
  closeFrame,
  FrameFollower,
  type FrameSender,
} from '../../src/http/frames.ts'

interface Frame {
  fin: boolean
  rsv: number
  opcode: number
  /** The length of the payload in bytes. */
  length: number
  /** The number of bytes in which the length is encoded; by default the shortest encoding. */
  lengthBytes?: 0 | 2 | 8
}

/** Builds a frame. */
function bytesOf(sender: FrameSender, { fin, rsv, opcode, length, lengthBytes }: Frame): Buffer {
  const spelled = lengthBytes ?? (length > 65_535 ? 8 : length > 125 ? 2 : 0)
  const mask = sender === 'client' ? 0x80 : 0
  const head = Buffer.alloc(2 + spelled + (mask === 0 ? 0 : 4), 0xa5)
  head[0] = (fin ? 0x80 : 0) | (rsv << 4) | opcode
  head[1] = mask | (spelled === 8 ? 127 : spelled === 2 ? 126 : length)
  if (spelled === 2) head.writeUInt16BE(length, 2)
  if (spelled === 8) head.writeBigUInt64BE(BigInt(length), 2)
  return Buffer.concat([head, Buffer.alloc(length, 0xff)])
}

const data = fc.record({
  fin: fc.boolean(),
  rsv: fc.nat(7),
  opcode: fc.constantFrom(0, 1, 2),
  length: fc.oneof(fc.nat(130), fc.constantFrom(0, 1, 125, 126, 127, 65_535, 65_536)),
})
const control = fc.record({
  fin: fc.constant(true),
  rsv: fc.constant(0),
  opcode: fc.constantFrom(8, 9, 10),
  length: fc.nat(125),
})
const frames = fc.array(fc.oneof({ weight: 3, arbitrary: data }, control), {
  minLength: 1,
  maxLength: 8,
})
const sender = fc.constantFrom<FrameSender>('client', 'server')

/** Splits bytes at relative positions. */
function cut(bytes: Buffer, positions: readonly number[]): Buffer[] {
  const ends = positions.map((one) => one % (bytes.length + 1)).toSorted((a, b) => a - b)
  return [...ends, bytes.length].map((end, i) => bytes.subarray(ends[i - 1] ?? 0, end))
}

t.test('the ends of legal frames are found exactly, however the bytes are split', async () => {
  fc.assert(
    fc.property(sender, frames, fc.array(fc.nat(), { maxLength: 20 }), (from, list, positions) => {
      const all = list.map((frame) => bytesOf(from, frame))
      const ends = new Set([0])
      for (let at = 0, i = 0; i < all.length; i++) ends.add((at += all[i]?.length ?? 0))
      const follower = new FrameFollower(from)
      let at = 0
      for (const chunk of cut(Buffer.concat(all), positions)) {
        if (follower.follow(chunk) !== chunk.length) return false
        at += chunk.length
        if (follower.atBoundary !== ends.has(at)) return false
      }
      return follower.atBoundary
    }),
    { numRuns: 300 },
  )
})

t.test('only after the last byte of a frame is the follower at a boundary', async (t) => {
  for (const from of ['client', 'server'] as const) {
    for (const length of [0, 1, 125, 126, 300]) {
      const bytes = bytesOf(from, { fin: true, rsv: 0, opcode: 2, length })
      const follower = new FrameFollower(from)
      t.ok(follower.atBoundary, 'before the first byte')
      const boundaries = [...bytes].map((byte) => {
        follower.follow(Buffer.from([byte]))
        return follower.atBoundary
      })
      t.equal(boundaries.indexOf(true), bytes.length - 1, `${length} bytes from the ${from}`)
    }
  }
})

t.test('told to stop at a frame’s end, only the rest of the current frame is read', async () => {
  fc.assert(
    fc.property(sender, frames, fc.nat(), (from, list, position) => {
      const all = list.map((frame) => bytesOf(from, frame))
      const bytes = Buffer.concat(all)
      const start = position % (bytes.length + 1)
      const follower = new FrameFollower(from)
      follower.follow(bytes.subarray(0, start))
      let end = 0
      for (const one of all) if (end < start) end += one.length
      const taken = follower.follow(bytes.subarray(start), 'frame')
      return taken === end - start && follower.atBoundary
    }),
    { numRuns: 300 },
  )
})

t.test('told to stop at a frame’s end, nothing is read between two frames', async (t) => {
  const follower = new FrameFollower('server')
  const frame = bytesOf('server', { fin: true, rsv: 0, opcode: 1, length: 3 })
  t.equal(follower.follow(frame, 'frame'), 0)
  t.equal(follower.follow(frame), frame.length)
  t.equal(follower.follow(frame, 'frame'), 0)
  t.equal(follower.follow(Buffer.alloc(0), 'frame'), 0)
  t.ok(follower.atBoundary)
})

/** A legal sequence of frames: messages in one or several frames, with control frames between them and within them. */
const messages = fc
  .array(fc.array(fc.array(control, { maxLength: 2 }), { minLength: 1, maxLength: 4 }), {
    minLength: 1,
    maxLength: 4,
  })
  .map((list) =>
    list.flatMap((fragments) =>
      fragments.flatMap((controls, i) => [
        ...controls.filter(({ opcode }) => opcode !== 8),
        { fin: i === fragments.length - 1, rsv: 0, opcode: i === 0 ? 2 : 0, length: 7 * i },
      ]),
    ),
  )

t.test(
  'the ends of messages are found exactly, however they are fragmented and split',
  async () => {
    fc.assert(
      fc.property(
        sender,
        messages,
        fc.array(fc.nat(), { maxLength: 20 }),
        (from, list, positions) => {
          const ends = new Set([0])
          let at = 0
          let isOpen = false
          for (const frame of list) {
            at += bytesOf(from, frame).length
            if (frame.opcode < 8) isOpen = !frame.fin
            if (!isOpen) ends.add(at)
          }
          const bytes = Buffer.concat(list.map((frame) => bytesOf(from, frame)))
          const follower = new FrameFollower(from)
          let seen = 0
          for (const chunk of cut(bytes, positions)) {
            follower.follow(chunk)
            seen += chunk.length
            if (follower.isBetweenMessages !== ends.has(seen)) return false
          }
          return follower.isBetweenMessages
        },
      ),
      { numRuns: 300 },
    )
  },
)

t.test(
  'told to stop at a message’s end, only the rest of the current message is read',
  async () => {
    fc.assert(
      fc.property(sender, messages, fc.nat(), (from, list, position) => {
        const all = list.map((frame) => bytesOf(from, frame))
        const bytes = Buffer.concat(all)
        const start = position % (bytes.length + 1)
        const follower = new FrameFollower(from)
        follower.follow(bytes.subarray(0, start))
        let end = start
        const probe = new FrameFollower(from)
        probe.follow(bytes.subarray(0, start))
        while (!probe.isBetweenMessages) probe.follow(bytes.subarray(end, ++end))
        const taken = follower.follow(bytes.subarray(start), 'message')
        return taken === end - start && follower.isBetweenMessages
      }),
      { numRuns: 200 },
    )
  },
)

t.test('told to stop at a message’s end, nothing is read of a close frame within it', async (t) => {
  const begun = bytesOf('server', { fin: false, rsv: 4, opcode: 1, length: 3 })
  const ping = bytesOf('server', { fin: true, rsv: 0, opcode: 9, length: 3 })
  const close = bytesOf('server', { fin: true, rsv: 0, opcode: 8, length: 2 })
  const follower = new FrameFollower('server')
  follower.follow(begun)
  t.equal(follower.follow(Buffer.concat([ping, close]), 'message'), ping.length)
  t.ok(follower.atBoundary)
  t.notOk(follower.isBetweenMessages)
  t.equal(follower.follow(close), close.length, 'it is an ordinary frame otherwise')
  t.ok(follower.atBoundary)
  t.notOk(follower.isBetweenMessages, 'nothing may follow it')
  const within = new FrameFollower('server')
  within.follow(begun.subarray(0, 2))
  const payload = Buffer.concat([Buffer.from([0x88, 0x88, 0x88]), close])
  t.equal(within.follow(payload, 'message'), 3, 'a payload may look like one')
})

t.test('a message of the gateway is one legal frame, whatever its length', async (t) => {
  for (const length of [0, 1, 125, 126, 300, 65_535]) {
    const payload = Buffer.alloc(length, 'x')
    const frame = binaryMessage(payload)
    const follower = new FrameFollower('server')
    t.equal(follower.follow(frame), frame.length)
    t.ok(follower.isBetweenMessages)
    t.equal(frame[0], 0x82, 'binary, whole and not compressed')
    t.ok(frame.subarray(frame.length - length).equals(payload))
  }
  t.throws(() => binaryMessage(Buffer.alloc(65_536)))
})

t.test('illegal frames are rejected, and nothing is relayed after one', async (t) => {
  const illegal: ReadonlyArray<
    readonly [from: FrameSender, bytes: readonly number[], why: string]
  > = [
    ['client', [0x81, 0x05], 'a client that does not mask'],
    ['client', [0x81, 0x00], 'nor an empty frame'],
    ['client', [0x89, 0x00], 'nor a ping'],
    ['server', [0x81, 0x85], 'a server that masks'],
    ['server', [0x88, 0x80], 'even its close'],
    ...[3, 4, 5, 6, 7, 11, 12, 13, 14, 15].flatMap((opcode) => [
      ['client', [0x80 | opcode, 0x80], `reserved opcode ${opcode}`] as const,
      ['server', [0x80 | opcode, 0x00], `reserved opcode ${opcode}`] as const,
      ['server', [opcode, 0x00], `reserved opcode ${opcode}, fragmented`] as const,
    ]),
    ...[8, 9, 10].flatMap((opcode) => [
      ['client', [opcode, 0x80], `fragmented control ${opcode}`] as const,
      ['server', [0x80 | opcode, 126], `control ${opcode} of more than 125 bytes`] as const,
      ['client', [0x80 | opcode, 0x80 | 127], `control ${opcode} with a long length`] as const,
    ]),
    ['server', [0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], 'a length with the highest bit'],
    ['server', [0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 'the longest length'],
    ['server', [0x82, 127, 0, 0x20, 0, 0, 0, 0, 0, 0], 'a length of 2^53'],
    ['client', [0x82, 255, 0, 0x20, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4], 'a length of 2^53, masked'],
    ['server', [...Buffer.from('HTTP/1.1 200 OK\r\n')], 'an HTTP answer'],
  ]
  for (const [from, bytes, why] of illegal) {
    for (const whole of [true, false]) {
      const follower = new FrameFollower(from)
      const results = whole
        ? [follower.follow(Buffer.from(bytes))]
        : bytes.map((byte) => follower.follow(Buffer.from([byte])))
      t.ok(results.includes(-1), `${why} (${from})`)
      t.notOk(follower.atBoundary)
      t.equal(follower.follow(bytesOf(from, { fin: true, rsv: 0, opcode: 1, length: 1 })), -1)
      t.equal(follower.follow(Buffer.alloc(100, 0x81), 'frame'), -1, 'for good')
    }
  }
  const longest = new FrameFollower('server')
  t.equal(longest.follow(Buffer.from([0x82, 127, 0, 0x1f, 255, 255, 255, 255, 255, 255])), 10)
  t.notOk(longest.atBoundary, '2^53-1 bytes are awaited')
})

t.test('an HTTP request after a handshake is not a frame, whatever its method', async (t) => {
  for (const method of [
    ...['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE', 'CONNECT', 'get'],
    ...[
      'PROPFIND',
      'MKCOL',
      'COPY',
      'MOVE',
      'LOCK',
      'UNLOCK',
      'SEARCH',
      'REPORT',
      'PURGE',
      'PRI',
      'QUERY',
    ],
    ...['\r\nGET', ' GET', 'A', 'AA', '\x16\x03\x01'],
  ]) {
    const follower = new FrameFollower('client')
    t.equal(
      follower.follow(Buffer.from(`${method} /x HTTP/1.1\r\n\r\n`)),
      -1,
      JSON.stringify(method),
    )
    const afterFrame = new FrameFollower('client')
    const ping = bytesOf('client', { fin: true, rsv: 0, opcode: 9, length: 0 })
    t.equal(afterFrame.follow(Buffer.concat([ping, Buffer.from(`${method} / HTTP/1.1\r\n`)])), -1)
  }
})

t.test('a length that is encoded in more bytes than necessary is accepted', async (t) => {
  for (const lengthBytes of [2, 8] as const) {
    const follower = new FrameFollower('client')
    const bytes = bytesOf('client', { fin: true, rsv: 0, opcode: 2, length: 5, lengthBytes })
    t.equal(follower.follow(bytes), bytes.length)
    t.ok(follower.atBoundary)
  }
})

t.test('a close frame of the gateway is legal, masked or not', async () => {
  const mask = fc.option(fc.uint8Array({ minLength: 4, maxLength: 4 }), { nil: undefined })
  const reason = fc.string({ maxLength: 123 })
  fc.assert(
    fc.property(fc.integer({ min: 1000, max: 4999 }), reason, mask, (code, text, key) => {
      const frame = closeFrame(code, text, key)
      const follower = new FrameFollower(key === undefined ? 'server' : 'client')
      if (follower.follow(frame) !== frame.length || !follower.atBoundary) return false
      const payload = frame
        .subarray(key === undefined ? 2 : 6)
        .map((byte, i) => byte ^ (key?.[i % 4] ?? 0))
      return (
        frame[0] === 0x88 &&
        payload.length === ((frame[1] ?? 0) & 0x7f) &&
        ((payload[0] ?? 0) << 8) + (payload[1] ?? 0) === code &&
        Buffer.from(payload.subarray(2)).toString() === text
      )
    }),
  )
})

t.test('a close reason that is too long is truncated, so that the frame stays legal', async (t) => {
  const frame = closeFrame(1011, 'x'.repeat(500))
  t.equal(frame.length, 127)
  t.equal(new FrameFollower('server').follow(frame), 127)
})
