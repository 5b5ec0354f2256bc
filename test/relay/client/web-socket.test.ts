/** Does a device speak the WebSocket protocol with its workspace, and with nobody who breaks it? */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { WebSocketServer, type WebSocket } from 'ws'
import { openWebSocket, type RemoteSocketRequest } from '../../../src/relay/client/web-socket.ts'
import type { StreamEvents } from '../../../src/relay/protocol/streams.ts'
import { memoryStream } from '../../helpers/memory-stream.ts'
import { failure, pairing, watch } from '../../helpers/remote-device.ts'
import { startRelayDaemon } from '../../helpers/relay-daemon.ts'
import { startTinyRelay } from '../../helpers/tiny-relay.ts'
import { Arrivals, eventually, standsStill } from '../../helpers/waiting.ts'

/** What a WebSocket of a device has heard. */
function listener() {
  const messages: Array<Uint8Array | string> = []
  const closes: Array<readonly [code: number, reason: string]> = []
  const arrivals = new Arrivals()
  return {
    messages,
    closes,
    onMessage(message: Uint8Array | string) {
      messages.push(message)
      arrivals.wake()
    },
    onClose(code: number, reason: string) {
      closes.push([code, reason])
      arrivals.wake()
    },
    heard: async (count: number) => arrivals.until(() => messages[count - 1]),
    closed: async () => arrivals.until(() => closes[0]),
  }
}

/** A device that is connected with a WebSocket server of ws. */
async function startEcho(t: Test, serve: (socket: WebSocket) => void) {
  const server = createServer((_request, response) => response.writeHead(404).end())
  const sockets = new WebSocketServer({ server, perMessageDeflate: true })
  sockets.on('connection', serve)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const relay = await startTinyRelay()
  const target = (server.address() as AddressInfo).port
  const daemon = await startRelayDaemon(relay.url, { target, kind: 'service' })
  t.teardown(async () => {
    for (const socket of sockets.clients) socket.terminate()
    server.close()
    daemon.close()
    await relay.close()
  })
  const { remote } = watch(t, await pairing(await daemon.offer()))
  await remote.whenOpen()
  return { remote, sockets }
}

t.test('messages of every length and kind go both ways', async (t) => {
  const { remote } = await startEcho(t, (socket) => {
    socket.on('message', (data: Buffer, isBinary) => socket.send(data, { binary: isBinary }))
  })
  const heard = listener()
  const socket = await remote.openWebSocket({ path: '/echo', protocols: [] }, heard)
  t.equal(socket.protocol, '')
  const messages = [
    ...[0, 1, 125, 126, 127, 65_535, 65_536, 1_000_000].map((length) =>
      new Uint8Array(length).fill(7),
    ),
    ...['', 'größe', '\ufeffx', 'x'.repeat(70_000)],
  ]
  for (const message of messages) void socket.send(message)
  await heard.heard(messages.length)
  t.strictSame(heard.messages, messages)
  socket.close(4000, 'enough')
  t.same(await heard.closed(), [4000, 'enough'])
})

t.test('a subprotocol is chosen among those that are offered', async (t) => {
  const { remote } = await startEcho(t, () => {})
  const socket = await remote.openWebSocket({ path: '/', protocols: ['tty', 'b'] }, listener())
  t.equal(socket.protocol, 'tty')
})

t.test('messages in pieces are one, and a ping in between is answered', async (t) => {
  const pongs: string[] = []
  const { remote } = await startEcho(t, (socket) => {
    socket.on('pong', (data) => pongs.push(String(data)))
    socket.send('one ', { fin: false })
    socket.ping('are you there')
    socket.send('and ', { fin: false })
    socket.send('two', { fin: true })
    socket.close(1001, 'going')
  })
  const heard = listener()
  await remote.openWebSocket({ path: '/' }, heard)
  t.same(await heard.closed(), [1001, 'going'])
  t.same(heard.messages, ['one and two'])
  await eventually(() => pongs.length === 1, 'the pong')
  t.same(pongs, ['are you there'])
})

t.test('a listener that is slow holds the sender up', async (t) => {
  let sent = 0
  const { remote } = await startEcho(t, (socket) => {
    const more = () => {
      if (++sent < 60) socket.send(new Uint8Array(500_000), more)
    }
    more()
  })
  const go = Promise.withResolvers<void>()
  let heard = 0
  const socket = await remote.openWebSocket(
    { path: '/' },
    {
      async onMessage() {
        heard++
        await go.promise
      },
      onClose() {},
    },
  )
  await standsStill(() => sent, 'what was sent')
  t.ok(sent < 40, `${sent} messages`)
  t.equal(heard, 1)
  go.resolve()
  await eventually(() => heard === 59, 'all are heard')
  socket.close()
})

t.test('a cut connection is told as one', async (t) => {
  const { remote, sockets } = await startEcho(t, () => {})
  const heard = listener()
  await remote.openWebSocket({ path: '/' }, heard)
  for (const socket of sockets.clients) socket.terminate()
  t.same(await heard.closed(), [1006, ''])
})

t.test('a handshake that is refused says how', async (t) => {
  const { remote, sockets } = await startEcho(t, () => {})
  sockets.options.verifyClient = (_info, verdict) =>
    verdict(false, 429, 'slowly', { 'Retry-After': '7' })
  await t.rejects(remote.openWebSocket({ path: '/' }, listener()), {
    ...failure('refused'),
    status: 429,
  })
})

const ACCEPT = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'

/** A handshake that was accepted, with a stream whose other end the test has. */
async function accepted(request: Partial<RemoteSocketRequest> = {}) {
  const stream = memoryStream()
  const heard = listener()
  const opening = openWebSocket(stream.way, { path: '/ws', ...request }, heard)
  opening.catch(() => {})
  const [, key = ''] = await stream.until(/Sec-WebSocket-Key: (.*)\r\n/)
  return { stream, heard, opening, key }
}

const acceptOf = (key: string) =>
  createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')

t.test('a handshake asks for what RFC 6455 says', async (t) => {
  const { stream, key } = await accepted({ protocols: ['tty'] })
  t.match(stream.sent, /^GET \/ws HTTP\/1\.1\r\nHost: houston\.hubify\.com\r\n/)
  t.match(
    stream.sent,
    '\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n',
  )
  t.match(stream.sent, '\r\nSec-WebSocket-Protocol: tty\r\n')
  t.equal(Buffer.from(key, 'base64').length, 16)
  t.not((await accepted()).key, key)
})

t.test('an answer that does not fit the handshake is refused', async (t) => {
  for (const answer of [
    () => `${ACCEPT}\r\n`,
    () => `${ACCEPT}Sec-WebSocket-Accept: x\r\n\r\n`,
    (key: string) => `${ACCEPT}Sec-WebSocket-Accept: ${acceptOf(`${key}x`)}\r\n\r\n`,
    (key: string) =>
      `HTTP/1.1 101 X\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${acceptOf(key)}\r\n\r\n`,
    (key: string) =>
      `HTTP/1.1 101 X\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${acceptOf(key)}\r\n\r\n`,
    (key: string) =>
      `${ACCEPT}Sec-WebSocket-Accept: ${acceptOf(key)}\r\nSec-WebSocket-Protocol: other\r\n\r\n`,
    (key: string) =>
      `${ACCEPT}Sec-WebSocket-Accept: ${acceptOf(key)}\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n`,
  ]) {
    const { stream, opening, key } = await accepted({ protocols: ['tty'] })
    stream.send(answer(key))
    await t.rejects(opening, failure('bad-answer'), answer(key))
    t.equal(stream.ended, 'reset')
  }
})

/** The payloads of the masked frames that a device has sent. */
function framesIn(sent: string): string[] {
  const bytes = Buffer.from(sent.slice(sent.indexOf('\r\n\r\n') + 4), 'latin1')
  const frames: string[] = []
  for (let at = 0; at < bytes.length;) {
    const length = (bytes[at + 1] ?? 0) & 0x7f
    const key = bytes.subarray(at + 2, at + 6)
    const payload = bytes
      .subarray(at + 6, at + 6 + length)
      .map((byte, i) => byte ^ (key[i % 4] ?? 0))
    frames.push(`${bytes[at]} ${Buffer.from(payload).toString('hex')}`)
    at += 6 + length
  }
  return frames
}

t.test('frames that break a rule end the connection with the code that says so', async (t) => {
  for (const [frames, code] of [
    ['\x81\x81\0\0\0\0x', 1002], // masked
    ['\xc1\x01x', 1002], // a reserved bit
    ['\x83\x01x', 1002], // an opcode that is none
    ['\x8b\x00', 1002],
    ['\x80\x01x', 1002], // a piece of nothing
    ['\x01\x01x\x81\x01x', 1002], // a message within another
    ['\x09\x00', 1002], // a ping in pieces
    ['\x89\x7e\x00\x7e' + 'x'.repeat(126), 1002], // a long ping
    ['\x81\x7e\x00\x01x', 1002], // a length that is not the shortest
    ['\x81\x7f\0\0\0\0\0\0\xff\xff', 1002],
    ['\x82\x7f\0\0\0\0\0\x10\0\x01', 1009], // longer than a message may be
    ['\x82\x7f\0\0\0\x01\0\0\0\0', 1009],
    ['\x81\x01\xff', 1007], // a text that is none
    ['\x88\x01\x03', 1002], // a close without a code
    ['\x88\x02\x03\xed', 1002], // 1005 is never sent
    ['\x88\x03\x03\xe8\xff', 1007],
  ] as const) {
    const { stream, opening, heard, key } = await accepted()
    stream.send(`${ACCEPT}Sec-WebSocket-Accept: ${acceptOf(key)}\r\n\r\n`)
    await opening
    stream.send(frames)
    t.same(await heard.closed(), [1006, ''], JSON.stringify(frames.slice(0, 20)))
    t.match(framesIn(stream.sent).at(-1), new RegExp(`^136 ${code.toString(16).padStart(4, '0')}`))
    t.same(heard.messages, [])
    t.equal(stream.ended, 'end')
  }
})

t.test('pieces that are too long together are refused too', async (t) => {
  const { stream, opening, heard, key } = await accepted({ maxMessageBytes: 10 })
  stream.send(`${ACCEPT}Sec-WebSocket-Accept: ${acceptOf(key)}\r\n\r\n\x01\x06abcdef\x80\x05abcde`)
  await opening
  await heard.closed()
  t.match(framesIn(stream.sent).at(-1), /^136 03f1/)
  t.same(heard.messages, [])
})

t.test('a message in very many pieces is put together', async (t) => {
  const { stream, opening, heard, key } = await accepted()
  stream.send(`${ACCEPT}Sec-WebSocket-Accept: ${acceptOf(key)}\r\n\r\n`)
  await opening
  stream.send(`\x01\x01x${'\x00\x01x'.repeat(200_000)}\x80\x00`)
  await heard.heard(1)
  t.ok(heard.messages[0] === 'x'.repeat(200_001))
  t.same(heard.closes, [])
})

t.test('while nothing can be sent, only the last ping is to be answered', async (t) => {
  const memory = memoryStream()
  const go = Promise.withResolvers<void>()
  const held = {
    ...memory.way,
    open(events: StreamEvents) {
      const stream = memory.way.open(events)
      const write = async (bytes: Uint8Array) => {
        await stream.write(bytes)
        if (!memory.sent.endsWith('\r\n\r\n')) await go.promise
      }
      return { ...stream, write }
    },
  }
  const opening = openWebSocket(held, { path: '/ws' }, listener())
  const [, key = ''] = await memory.until(/Sec-WebSocket-Key: (.*)\r\n/)
  memory.send(`${ACCEPT}Sec-WebSocket-Accept: ${acceptOf(key)}\r\n\r\n`)
  await opening
  const pings = Array.from({ length: 1000 }, (_, i) => `\x89\x04${String(i).padStart(4, '0')}`)
  const before = memory.consumed
  memory.send(pings.join(''))
  await eventually(() => memory.consumed - before === 6000, 'all pings are read')
  await standsStill(() => memory.sent.length, 'what was sent')
  go.resolve()
  await standsStill(() => memory.sent.length, 'what was sent')
  const pong = (text: string) => `138 ${Buffer.from(text).toString('hex')}`
  t.same(framesIn(memory.sent), [pong('0000'), pong('0999')])
})

t.test('a close is answered once, and one that is not answered ends after a while', async (t) => {
  const first = await accepted()
  first.stream.send(
    `${ACCEPT}Sec-WebSocket-Accept: ${acceptOf(first.key)}\r\n\r\n\x81\x02hi\x88\x00`,
  )
  await first.opening
  t.same(await first.heard.closed(), [1005, ''])
  t.same(first.heard.messages, ['hi'], 'what came with the handshake is heard')
  t.same(framesIn(first.stream.sent), ['136 '])
  const second = await accepted()
  second.stream.send(`${ACCEPT}Sec-WebSocket-Accept: ${acceptOf(second.key)}\r\n\r\n`)
  const socket = await second.opening
  socket.close()
  socket.close()
  await socket.send('too late')
  t.same(second.stream.clock.pauses(), [5000])
  second.stream.clock.advance(5000)
  t.same(await second.heard.closed(), [1006, ''])
  t.same(framesIn(second.stream.sent), ['136 03e8'])
})
