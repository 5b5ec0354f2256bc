/** Do frames of every kind and size pass both ways, byte for byte, with nothing made up in between? */
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import t, { type Test } from 'tap'
import { startPairs } from '../helpers/socket-pairs.ts'
import { WebSocket } from 'ws'
import { startBefore } from '../helpers/gateway.ts'
import { startUpstream } from '../helpers/upstream.ts'
import { eventually } from '../helpers/waiting.ts'
import { clientFrame, serverFrame } from '../helpers/wire.ts'

const digest = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')

/** Opens one WebSocket, of which the test holds both ends. */
async function startPair(t: Test) {
  const gateway = await startPairs(t)
  return { gateway, ...(await gateway.connect()) }
}

/** Frames of all kinds: data and control, whole and in parts, of lengths around every change of form. */
function allKinds(frame: typeof clientFrame): Buffer[] {
  const sizes = [0, 1, 125, 126, 127, 65_535, 65_536, 65_537, 1_000_000]
  return [
    ...sizes.flatMap((size) => [frame(2, randomBytes(size)), frame(1, 'é'.repeat(size >> 1))]),
    frame(1, 'one ', false),
    frame(9, 'ping between'),
    frame(0, 'two ', false),
    frame(10, ''),
    frame(0, 'three'),
    frame(9, ''),
    frame(9, randomBytes(125)),
    frame(10, 'pong nobody asked for'),
  ]
}

t.test('frames of all kinds and sizes pass both ways, whatever pieces they come in', async (t) => {
  const { client, service, heard, heardBytes, gateway } = await startPair(t)
  const sent = Buffer.concat(allKinds(clientFrame))
  const told = Buffer.concat(allKinds(serverFrame))
  for (const [from, bytes] of [
    [client.socket, sent],
    [service, told],
  ] as const) {
    let at = 0
    for (const size of [1, 1, 1, 2, 3, 5, 7, 11, 100, 1000]) {
      from.write(bytes.subarray(at, at + size))
      at += size
      await new Promise(setImmediate)
    }
    from.write(bytes.subarray(at))
  }
  await client.until(told.length)
  await eventually(() => heardBytes() >= sent.length, 'all heard')
  t.equal(digest(client.received()), digest(told))
  t.equal(digest(heard()), digest(sent))
  client.socket.destroy()
  await gateway.settled()
})

t.test('a message of 16 MiB passes both ways, whole', async (t) => {
  const { client, service, heard, heardBytes, gateway } = await startPair(t)
  const large = randomBytes(16 * 1024 * 1024)
  const up = clientFrame(2, large)
  const down = serverFrame(2, large)
  client.socket.write(up)
  service.write(down)
  await Promise.all([
    client.until(down.length),
    eventually(() => heardBytes() === up.length, 'heard', 60_000),
  ])
  t.equal(digest(client.received()), digest(down))
  t.equal(digest(heard()), digest(up))
  client.socket.destroy()
  await gateway.settled()
})

t.test('compressed messages and pings work from end to end', async (t) => {
  const service = await startUpstream(t)
  const { port, auth, settled } = await startBefore(t, service)
  const socket = new WebSocket(`ws://127.0.0.1:${port}/terminal/ws`, ['other', 'tty'], {
    headers: { Authorization: auth.slice('Authorization: '.length), Host: 'houston.hubify.com' },
    perMessageDeflate: { threshold: 0 },
  })
  await once(socket, 'open')
  t.match(socket.extensions, 'permessage-deflate')
  const text = 'compressible '.repeat(100_000)
  socket.send(text)
  const [echo] = (await once(socket, 'message')) as [Buffer]
  t.equal(String(echo), text)
  socket.ping('are you there')
  const [pong] = (await once(socket, 'pong')) as [Buffer]
  t.equal(String(pong), 'are you there')
  socket.close(1000, 'done')
  const [code] = (await once(socket, 'close')) as [number]
  t.equal(code, 1000)
  await settled()
})

t.test('the gateway makes up no pong and no close: a ping waits for the other end', async (t) => {
  const { client, service, heard, heardBytes, gateway } = await startPair(t)
  const ping = clientFrame(9, 'ping')
  client.socket.write(ping)
  await eventually(() => heardBytes() === ping.length, 'heard')
  service.write(serverFrame(9, 'ping'))
  await client.until(6)
  // Whatever the gateway had made up would be before what comes behind the ping.
  const more = clientFrame(1, 'more')
  client.socket.write(more)
  service.write(serverFrame(1, 'more'))
  await eventually(() => heardBytes() >= ping.length + more.length, 'heard more')
  await client.until(12)
  t.equal(digest(heard()), digest(Buffer.concat([ping, more])))
  t.equal(client.received().length, 12)
  client.socket.destroy()
  await gateway.settled()
})

t.test('close codes and reasons pass unchanged, both ways', async (t) => {
  for (const code of [
    1000, 1001, 1002, 1008, 1009, 1011, 1012, 1013, 3000, 3999, 4000, 4401, 4999,
  ]) {
    const payload = Buffer.concat([
      Buffer.from([code >> 8, code & 0xff]),
      Buffer.from(`because ${code}`),
    ])
    const first = await startPair(t)
    first.client.socket.write(clientFrame(8, payload))
    await eventually(() => first.heardBytes() === payload.length + 6, 'heard')
    first.service.end(serverFrame(8, payload))
    await first.client.until(payload.length + 2)
    t.ok(first.client.received().equals(serverFrame(8, payload)), `${code}`)
    await first.client.closed
    await first.gateway.settled()
    await first.gateway.running.close()
  }
})

t.test('what is no frame ends the connection and does not pass', async (t) => {
  const bad: ReadonlyArray<readonly [string, Buffer]> = [
    ['a request', Buffer.from('GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n')],
    ['a frame without a mask', serverFrame(1, 'hidden')],
    ['a reserved opcode', clientFrame(3, 'hidden')],
    ['a reserved control opcode', clientFrame(11, 'hidden')],
    ['a long ping', clientFrame(9, Buffer.alloc(126))],
    ['a ping in parts', clientFrame(9, 'hidden', false)],
    [
      'a length beyond counting',
      Buffer.from([0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4]),
    ],
  ]
  for (const [name, bytes] of bad) {
    const { client, heard, gateway } = await startPair(t)
    client.socket.write(Buffer.concat([clientFrame(1, 'fine'), bytes]))
    await client.closed
    t.equal(client.received().readUInt16BE(2), 1002, name)
    t.notMatch(heard().toString('latin1'), 'hidden')
    const { reason } = await gateway.logLine(({ websocket }) => websocket === true)
    t.equal(reason, 'illegal frame from the client')
    await gateway.settled()
    await gateway.running.close()
  }
  for (const bytes of [
    clientFrame(1, 'hidden'),
    serverFrame(5, 'hidden'),
    Buffer.from('HTTP/1.1 200 OK\r\n\r\nhidden'),
  ]) {
    const { client, service, gateway } = await startPair(t)
    service.write(bytes)
    await client.closed
    t.equal(client.received().readUInt16BE(2), 1011, 'the client is not to blame')
    t.notMatch(client.received().toString('latin1'), 'hidden')
    const { reason } = await gateway.logLine(({ websocket }) => websocket === true)
    t.equal(reason, 'illegal frame from the server')
    await gateway.settled()
    await gateway.running.close()
  }
})

t.test(
  'a frame that turns illegal in the middle of its header gets no goodbye into it',
  async (t) => {
    const { client, service, gateway } = await startPair(t)
    const [first, ...rest] = clientFrame(1, 'hidden')
    service.write(Buffer.from([first ?? 0]))
    await client.until(1)
    service.write(Buffer.from(rest))
    await client.closed
    t.same(client.received(), Buffer.from([first ?? 0]))
    await gateway.settled()
  },
)
