/** Do WebSockets pass unchanged, frame by frame? The cases are those of the Autobahn test suite, tested end to end. */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import t, { type Test } from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import { startBefore } from '../helpers/gateway.ts'
import { startUpstream, switchingProtocols } from '../helpers/upstream.ts'
import { eventually } from '../helpers/waiting.ts'
import { clientFrame, serverFrame, upgrade } from '../helpers/wire.ts'

const CONTINUATION = 0
const TEXT = 1
const BINARY = 2
const CLOSE = 8
const PING = 9
const PONG = 10

const MIB = 1024 * 1024
const SIZES = [0, 125, 126, 127, 128, 65_535, 65_536, MIB]

/** Opens a raw WebSocket through a gateway, to an echo or to the test's own service. */
async function openRaw(t: Test, service?: Parameters<typeof startUpstream>[2]) {
  const gateway = await startBefore(t, await startUpstream(t, undefined, service))
  return { gateway, ...(await upgrade(gateway.port, '/', [gateway.auth])) }
}

/** A service that records received bytes and sends the bytes that the test gives it. */
function byteService() {
  const service = {
    received: Buffer.alloc(0),
    socket: undefined as Socket | undefined,
    onUpgrade: ((request, socket) => {
      service.socket = socket as Socket
      socket.on(
        'data',
        (chunk: Buffer) => (service.received = Buffer.concat([service.received, chunk])),
      )
      socket.on('end', () => socket.end())
      socket.write(switchingProtocols(request))
    }) satisfies Parameters<typeof startUpstream>[2],
  }
  return service
}

/** Writes bytes in pieces of a given size. Each piece is sent before the next is written. */
async function chop(socket: Socket, bytes: Buffer, size: number): Promise<void> {
  socket.setNoDelay(true)
  for (let at = 0; at < bytes.length; at += size) {
    socket.write(bytes.subarray(at, at + size))
    await new Promise(setImmediate)
  }
}

/** A payload in which a lost, doubled or reordered byte is visible: ASCII text that is not periodic in any chunk size. */
function payload(opcode: number, size: number): Buffer {
  return opcode === BINARY
    ? randomBytes(size)
    : Buffer.from(
        randomBytes(Math.ceil(size / 2))
          .toString('hex')
          .slice(0, size),
      )
}

function closePayload(code: number, reason: string | Buffer = ''): Buffer {
  return Buffer.concat([Buffer.from([code >> 8, code & 0xff]), Buffer.from(reason)])
}

t.test('messages of every length class are echoed as one frame of the same kind', async (t) => {
  const { socket, until, received } = await openRaw(t)
  const expected: Buffer[] = []
  for (const opcode of [TEXT, BINARY])
    for (const size of SIZES) {
      const data = payload(opcode, size)
      socket.write(clientFrame(opcode, data))
      expected.push(serverFrame(opcode, data))
    }
  const all = Buffer.concat(expected)
  await until(all.length)
  t.ok(all.equals(received()), 'byte for byte, in order')
  socket.destroy()
})

t.test('frames may arrive in pieces of any size', async (t) => {
  const rows: Array<[piece: number, sizes: number[]]> = [
    [1, [0, 1, 125, 126, 127, 128, 2000]],
    [997, [65_535, 65_536, MIB]],
    [1000, [65_535, 65_536, MIB]],
  ]
  for (const [piece, sizes] of rows) {
    const { socket, until, received } = await openRaw(t)
    const expected: Buffer[] = []
    for (const opcode of [TEXT, BINARY])
      for (const size of sizes) {
        const data = payload(opcode, size)
        expected.push(serverFrame(opcode, data))
        await chop(socket, clientFrame(opcode, data), piece)
      }
    const all = Buffer.concat(expected)
    await until(all.length)
    t.ok(all.equals(received()), `pieces of ${piece}`)
    socket.destroy()
  }
})

t.test('the service responds to pings, and unsolicited pongs do no harm', async (t) => {
  const { socket, until, received } = await openRaw(t)
  const expected: Buffer[] = []
  for (const data of [
    Buffer.alloc(0),
    Buffer.from('Hello'),
    Buffer.from([0, 0xff, 0xfe, 0xc0]),
    randomBytes(125),
  ]) {
    socket.write(
      Buffer.concat([clientFrame(PONG, data), clientFrame(PING, data), clientFrame(PONG, '')]),
    )
    expected.push(serverFrame(PONG, data))
  }
  await chop(socket, clientFrame(PING, 'piece by piece'), 1)
  expected.push(serverFrame(PONG, 'piece by piece'))
  for (let i = 0; i < 10; i++) {
    socket.write(clientFrame(PING, `ping ${i}`))
    expected.push(serverFrame(PONG, `ping ${i}`))
  }
  const all = Buffer.concat(expected)
  await until(all.length)
  t.ok(all.equals(received()))
  socket.destroy()
})

t.test('the service’s pings reach the client, and the client’s pongs the service', async (t) => {
  const service = byteService()
  const { socket, until } = await openRaw(t, service.onUpgrade)
  const ping = serverFrame(PING, randomBytes(125))
  service.socket?.write(ping)
  t.ok(ping.equals(await until(ping.length)))
  const pong = clientFrame(PONG, ping.subarray(2))
  socket.write(pong)
  await eventually(() => service.received.length === pong.length, 'the pong at the service')
  t.ok(pong.equals(service.received))
  socket.destroy()
})

t.test(
  'fragments stay fragments, with control frames in the same places between them',
  async (t) => {
    const euro = Buffer.from('κόσμε€𝄞')
    const fragments = [
      clientFrame(TEXT, euro.subarray(0, 1), false), // splits a character
      clientFrame(PING, 'between'),
      clientFrame(CONTINUATION, '', false),
      clientFrame(CONTINUATION, euro.subarray(1, 7), false),
      clientFrame(PONG, 'unasked'),
      clientFrame(PING, randomBytes(125)),
      clientFrame(CONTINUATION, euro.subarray(7)),
      clientFrame(BINARY, '', false),
      clientFrame(CONTINUATION, payload(BINARY, 70_000), false),
      clientFrame(CONTINUATION, ''),
    ]
    const sent = Buffer.concat(fragments)
    for (const piece of [1, 997, sent.length]) {
      const service = byteService()
      const { socket } = await openRaw(t, service.onUpgrade)
      if (piece === 1) await chop(socket, sent.subarray(0, 600), 1)
      await chop(socket, piece === 1 ? sent.subarray(600) : sent, Math.max(piece, 500))
      await eventually(() => service.received.length >= sent.length, 'everything at the service')
      t.ok(sent.equals(service.received), `pieces of ${piece}`)
      socket.destroy()
    }
    const { socket, until, received } = await openRaw(t)
    socket.write(Buffer.concat(fragments.slice(0, 7)))
    const ponged = Buffer.concat([serverFrame(PONG, 'between')])
    const whole = serverFrame(TEXT, euro)
    await until(ponged.length + 127 + whole.length)
    t.ok(
      ponged.equals(received().subarray(0, ponged.length)),
      'the pong comes before the message is complete',
    )
    t.ok(whole.equals(received().subarray(ponged.length + 127)), 'the echo is the whole message')
    socket.destroy()
  },
)

t.test(
  'an error in a frame’s content is for the service, and its close frame arrives unchanged',
  async (t) => {
    const invalid = Buffer.from([0xce, 0xba, 0xe1, 0xbd, 0xb9, 0xed, 0xa0, 0x80, 0x65])
    const rows: Array<[what: string, frames: Buffer, code: number]> = [
      ['invalid UTF-8', clientFrame(TEXT, invalid), 1007],
      ['a surrogate', clientFrame(TEXT, Buffer.from([0xed, 0xa0, 0x80])), 1007],
      ['overlong', clientFrame(TEXT, Buffer.from([0xc0, 0xaf])), 1007],
      [
        'invalid across fragments',
        Buffer.concat([
          clientFrame(TEXT, invalid.subarray(0, 6), false),
          clientFrame(CONTINUATION, invalid.subarray(6)),
        ]),
        1007,
      ],
      ['invalid reason of a close', clientFrame(CLOSE, closePayload(1000, invalid)), 1007],
      ['RSV1 without an extension', clientFrame(0x40 | TEXT, 'x'), 1002],
      ['RSV2', clientFrame(0x20 | TEXT, 'x'), 1002],
      ['RSV3', clientFrame(0x10 | BINARY, 'x'), 1002],
      ['RSV on a ping', clientFrame(0x70 | PING, 'x'), 1002],
      ['a continuation of nothing', clientFrame(CONTINUATION, 'x'), 1002],
      [
        'a message within a message',
        Buffer.concat([clientFrame(TEXT, 'a', false), clientFrame(TEXT, 'b')]),
        1002,
      ],
      ['a close with half a code', clientFrame(CLOSE, 'x'), 1002],
    ]
    for (const [what, frames, code] of rows) {
      const passed = byteService()
      const raw = await openRaw(t, passed.onUpgrade)
      raw.socket.write(frames)
      await eventually(() => passed.received.length >= frames.length, what)
      t.ok(frames.equals(passed.received), `${what} passes as it came`)
      raw.socket.destroy()

      const { socket, closed, received } = await openRaw(t)
      const good = clientFrame(TEXT, 'before')
      socket.write(Buffer.concat([good, frames]))
      await closed
      const verdict = Buffer.concat([
        serverFrame(TEXT, 'before'),
        serverFrame(CLOSE, closePayload(code)),
      ])
      t.ok(verdict.equals(received()), `${what}: ${code} from the service, once`)
    }
  },
)

t.test(
  'an illegal frame is closed with 1002 by the gateway, and never reaches the service',
  async (t) => {
    const unmasked = serverFrame(TEXT, 'not masked')
    for (const [what, bytes] of [
      ...[3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map(
        (opcode) => [`opcode ${opcode}`, clientFrame(opcode, 'x')] as const,
      ),
      ['a ping of 126 bytes', clientFrame(PING, randomBytes(126))],
      ['a fragmented ping', clientFrame(PING, 'x', false)],
      ['an unmasked frame', unmasked],
    ] as const) {
      const service = byteService()
      const { socket, closed, received } = await openRaw(t, service.onUpgrade)
      const good = clientFrame(TEXT, 'before')
      socket.write(good)
      await eventually(() => service.received.length === good.length, 'the good frame')
      socket.write(bytes)
      await closed
      t.equal(received()[0], 0x80 | CLOSE, what)
      t.equal(received().readUInt16BE(2), 1002)
      t.notOk(service.received.includes(bytes.subarray(0, 4)))
    }
  },
)

t.test('close codes and reasons, legal or not, pass unchanged in both directions', async (t) => {
  const payloads = [
    Buffer.alloc(0),
    Buffer.from('x'),
    ...[
      1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000,
      4401, 4999,
    ].map((code) => closePayload(code, `reason ${code}`)),
    ...[0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535].map((code) =>
      closePayload(code),
    ),
    closePayload(1000, randomBytes(123)),
  ]
  for (const data of payloads) {
    const service = byteService()
    const { socket, until, closed } = await openRaw(t, service.onUpgrade)
    const toService = clientFrame(CLOSE, data)
    const toClient = serverFrame(CLOSE, data)
    socket.write(toService)
    await eventually(
      () => service.received.length >= toService.length,
      'the close frame at the service',
    )
    t.ok(toService.equals(service.received))
    service.socket?.end(toClient)
    t.ok(toClient.equals(await until(toClient.length)))
    socket.end()
    await closed
  }
})

t.test(
  'the echo’s close frame returns: the same code for legal codes, 1002 for others',
  async (t) => {
    for (const [codes, answer] of [
      [[1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999], undefined],
      [[0, 999, 1004, 1005, 1006, 1100, 2000, 2999, 5000, 65_535], 1002],
    ] as const)
      for (const code of codes) {
        const { socket, received, closed } = await openRaw(t)
        socket.on('data', () => socket.end())
        socket.write(clientFrame(CLOSE, closePayload(code)))
        await closed
        t.ok(serverFrame(CLOSE, closePayload(answer ?? code)).equals(received()), String(code))
      }
  },
)

/** Opens a WebSocket as a browser would, through a gateway to an echo. */
async function openClient(
  t: Test,
  port: number,
  auth: string,
  options: { protocols?: string[]; deflate?: boolean } = {},
) {
  const client = new WebSocket(`ws://127.0.0.1:${port}/socket`, options.protocols ?? [], {
    headers: { Authorization: auth.slice('Authorization: '.length) },
    perMessageDeflate: options.deflate ?? false,
    maxPayload: 0,
  })
  t.teardown(() => client.terminate())
  await once(client, 'open')
  return client
}

t.test(
  'compressed messages of any size are echoed, with the compression context kept',
  async (t) => {
    const service = await startUpstream(t)
    const { port, auth } = await startBefore(t, service)
    const client = await openClient(t, port, auth, { deflate: true })
    t.match(client.extensions, 'permessage-deflate', 'agreed by client and service')
    const messages: Array<string | Buffer> = SIZES.flatMap((size) => [
      payload(TEXT, size).toString(),
      payload(BINARY, size),
      'so repetitive '.repeat(size / 14),
    ])
    const echoes: Array<string | Buffer> = []
    client.on('message', (data: Buffer, isBinary) => echoes.push(isBinary ? data : data.toString()))
    for (const message of messages) client.send(message)
    await eventually(() => echoes.length === messages.length, 'all echoes', 20_000)
    for (const [i, message] of messages.entries())
      t.ok(Buffer.from(message).equals(Buffer.from(echoes[i] ?? 'none')), `message ${i}`)
    client.send('in three ', { fin: false, compress: true })
    client.send('compressed ', { fin: false, compress: true })
    client.send('fragments', { fin: true, compress: true })
    await eventually(() => echoes.length > messages.length, 'the last echo')
    t.equal(echoes.at(-1), 'in three compressed fragments')
    client.close(4000, 'done')
    const [code, reason] = (await once(client, 'close')) as [number, Buffer]
    t.same([code, reason.toString()], [4000, 'done'])
  },
)

t.test('a thousand messages in both directions at once stay in order', async (t) => {
  const { port, auth } = await startBefore(t, await startUpstream(t))
  for (const deflate of [false, true]) {
    const client = await openClient(t, port, auth, { deflate })
    const echoes: string[] = []
    client.on('message', (data: Buffer) => echoes.push(data.toString()))
    const messages = Array.from({ length: 1000 }, (_, i) => `${i}:${'x'.repeat((i * 7919) % 3000)}`)
    for (const message of messages) client.send(message)
    await eventually(() => echoes.length === messages.length, 'all echoes')
    t.same(echoes, messages)
    client.terminate()
  }
})

t.test(
  'the client’s subprotocols reach the service, and the service’s choice reaches the client',
  async (t) => {
    for (const choice of ['first.v1', 'second.v2']) {
      const chooser = new WebSocketServer({ noServer: true, handleProtocols: () => choice })
      const service = await startUpstream(t, undefined, (request, socket, head) => {
        chooser.handleUpgrade(request, socket, head, (webSocket) =>
          webSocket.send(webSocket.protocol),
        )
      })
      const { port, auth } = await startBefore(t, service)
      const client = new WebSocket(`ws://127.0.0.1:${port}/`, ['first.v1', 'second.v2'], {
        headers: { Authorization: auth.slice('Authorization: '.length) },
      })
      const [said] = (await once(client, 'message')) as [Buffer]
      t.equal(client.protocol, choice)
      t.equal(said.toString(), choice)
      t.equal(service.requests[0]?.headers['sec-websocket-protocol'], 'first.v1,second.v2')
      client.close()
      await once(client, 'close')
    }
  },
)
