/** Does every phase of a connection have a time limit, also behind a trusted proxy? The tests move the clock, and never wait. */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect as dial, type Socket } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { SERVER_OPTIONS } from '../../src/http/server.ts'
import {
  DECISION_MS,
  BEGUN_MS,
  IDLE_MS,
  LINGER_MS,
  MAX_UNDER_WAY,
  MAX_WAITING,
  MAX_WAITING_WHEN_FULL,
  UNREAD_MS,
  UNREAD_RELAYED_MS,
} from '../../src/http/client-connection.ts'
import { MAX_WAITING_IN_ALL } from '../../src/limits/waiting-requests.ts'
import { OWN_BODY_MS } from '../../src/request/own-body.ts'
import { DISCARD_MS } from '../../src/request/discard-body.ts'
import { MIN_BYTES_PER_WINDOW, WINDOW_MS } from '../../src/services/request-body.ts'
import { CONNECT_MS } from '../../src/services/service.ts'
import { startBefore, startWorkspace, token, type TestGateway } from '../helpers/gateway.ts'
import { temporaryFolder } from '../helpers/process.ts'
import { startUpstream } from '../helpers/upstream.ts'
import { eventually } from '../helpers/waiting.ts'
import { gather, handshake, open, requestBytes, send, type Received } from '../helpers/wire.ts'

/** Moves the monotonic clock forward. */
const realNow = performance.now.bind(performance)
let skipped = 0
performance.now = () => realNow() + skipped

/** The peers in these tests are trusted proxies, because loopback is one by default. */
const FORWARDED = 'X-Forwarded-For: 203.0.113.7'

const FORM = 'Content-Type: application/x-www-form-urlencoded'

/** Waits until the watchdog has checked everything once more. */
async function sweep({ running }: TestGateway): Promise<void> {
  const { watchdog } = running.parts
  const looked = Promise.withResolvers<void>()
  // The watchdog checks its list from the end, so all earlier entries are checked after this one, in the same turn.
  const one = { place: -1, check: () => looked.resolve() }
  watchdog.add(one)
  await looked.promise
  watchdog.delete(one)
}

/** Opens a client, and returns the gateway's side of its connection too. Only one may be opened at a time. */
async function connect(t: Test, { port, running }: TestGateway) {
  const accepted = once(running.app.server, 'connection') as Promise<[Socket]>
  const socket = await open(port)
  t.teardown(() => socket.destroy())
  const [side] = await accepted
  return { socket, side }
}

/** The same over a Unix socket, because the kernel buffers far less there for a client that does not read than over TCP. */
async function startUnix(t: Test, service: { url: string }) {
  const path = join(temporaryFolder(t), 'gateway')
  const gateway = await startBefore(t, service, {
    GATEWAY_SOCKET: path,
    GATEWAY_HOST: undefined,
    GATEWAY_PORT: undefined,
  })
  const { app } = gateway.running
  return {
    ...gateway,
    /** A client that never reads. */
    async connectDeaf() {
      const accepted = once(app.server, 'connection') as Promise<[Socket]>
      const socket = dial(path).pause()
      socket.on('error', () => {})
      t.teardown(() => socket.destroy())
      const [side] = await accepted
      return { socket, side }
    },
  }
}

/** Moves the clock forward, and lets the watchdog check before and after. */
async function pass(gateway: TestGateway, milliseconds: number): Promise<void> {
  await sweep(gateway)
  skipped += milliseconds
  await sweep(gateway)
}

/** Asserts that a connection stays open until a time limit, and is closed after it. */
async function endsAfter(
  t: Test,
  gateway: TestGateway,
  sides: readonly Socket[],
  bound: number,
): Promise<void> {
  await pass(gateway, bound - 2000)
  t.notOk(
    sides.some(({ destroyed }) => destroyed),
    `open before ${bound} ms`,
  )
  await pass(gateway, 4000)
  await eventually(() => sides.every(({ destroyed }) => destroyed), `closed after ${bound} ms`)
}

t.test('sign-in forms that do not arrive get a 408, each of many', async (t) => {
  const gateway = await startBefore(t, await startUpstream(t))
  const bytes = requestBytes(
    'POST /_gateway/sign-in',
    [FORWARDED, FORM, 'Content-Length: 100'],
    't',
  )
  const clients: Array<{ socket: Socket; side: Socket; received: Received }> = []
  for (let i = 0; i < 100; i++) {
    const client = await connect(t, gateway)
    clients.push({ ...client, received: gather(client.socket) })
  }
  for (const { socket } of clients) socket.write(bytes)
  await eventually(() => clients.every(({ side }) => side.bytesRead === bytes.length), 'all read')
  await pass(gateway, OWN_BODY_MS - 3000)
  t.notOk(clients.some(({ side }) => side.destroyed))
  // A form that arrives byte by byte gets no more time than the others.
  for (const { socket } of clients.slice(0, 10)) socket.write('o')
  await pass(gateway, 4000)
  for (const { received } of clients)
    t.match((await received.over).text, /^HTTP\/1\.1 408 [^]*request-timeout[^]*Connection: close/)
  t.equal(gateway.service.dials(), 0)
})

t.test('a form that arrives in time signs in, and one that is too large is refused', async (t) => {
  const { port, dials } = await startWorkspace(t)
  const body = `token=${await token()}`
  const length = `Content-Length: ${body.length}`
  t.equal((await send(port, 'POST /_gateway/sign-in', [FORM, length], body)).status, 303)
  const large = `token=${'x'.repeat(17_000)}`
  const chunked = `${large.length.toString(16)}\r\n${large}\r\n0\r\n\r\n`
  for (const [framing, bytes] of [
    [`Content-Length: ${large.length}`, large],
    ['Transfer-Encoding: chunked', chunked],
  ] as const)
    t.equal((await send(port, 'POST /_gateway/sign-in', [FORM, framing], bytes)).status, 413)
  t.equal(dials(), 0)
})

t.test(
  'a connection whose client does not read a refusal is closed after ten seconds',
  async (t) => {
    const gateway = await startUnix(t, await startUpstream(t))
    const { socket, side } = await gateway.connectDeaf()
    socket.write(requestBytes('GET /.env', [FORWARDED]).repeat(3000))
    await eventually(() => side.writableLength > 0, 'the kernel takes no more')
    await endsAfter(t, gateway, [side], UNREAD_MS)
  },
)

t.test('a complete response of a service may stay unread for five minutes', async (t) => {
  const service = await startUpstream(t, (_request, response) =>
    response.end(Buffer.alloc(400_000)),
  )
  const gateway = await startUnix(t, service)
  const { socket, side } = await gateway.connectDeaf()
  socket.write(requestBytes('GET /', [gateway.auth, FORWARDED]))
  await eventually(() => gateway.underWay() === 0 && side.writableLength > 0, 'the relay is done')
  await endsAfter(t, gateway, [side], UNREAD_RELAYED_MS)
})

t.test('a client must also read the response of a refused handshake', async (t) => {
  const service = await startUpstream(t, undefined, (_request, socket) => {
    socket.end(`HTTP/1.1 403 Forbidden\r\nContent-Length: 400000\r\n\r\n${'x'.repeat(400_000)}`)
  })
  const gateway = await startUnix(t, service)
  const { socket, side } = await gateway.connectDeaf()
  socket.write(requestBytes('GET /api/ws', handshake([gateway.auth, FORWARDED])))
  await eventually(() => side.writableLength > 0, 'the kernel takes no more')
  await endsAfter(t, gateway, [side], UNREAD_MS)
})

t.test('a long refusal of a handshake arrives completely', async (t) => {
  const service = await startUpstream(t, undefined, (_request, socket) => {
    socket.end(`HTTP/1.1 403 Forbidden\r\nContent-Length: 400000\r\n\r\n${'x'.repeat(400_000)}`)
  })
  const gateway = await startBefore(t, service)
  const socket = await open(gateway.port)
  const received = gather(socket)
  socket.write(requestBytes('GET /api/ws', handshake([gateway.auth])))
  const { text } = await received.over
  t.match(text.slice(0, 100), /^HTTP\/1\.1 403 /)
  t.ok(text.endsWith('x'.repeat(400_000)), `${text.length} bytes`)
})

t.test('an open WebSocket may be idle', async (t) => {
  const gateway = await startBefore(t, await startUpstream(t))
  const { socket, side } = await connect(t, gateway)
  const received = gather(socket)
  socket.write(requestBytes('GET /api/ws', handshake([gateway.auth])))
  await received.until((text) => text.includes(' 101 '))
  await pass(gateway, 2 * UNREAD_RELAYED_MS)
  t.notOk(side.destroyed)
})

t.test(
  'a client that does not close its connection after the last response is disconnected',
  async (t) => {
    const gateway = await startBefore(t, await startUpstream(t))
    for (const bytes of ['CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n', 'garbage\r\n\r\n']) {
      const accepted = once(gateway.running.app.server, 'connection') as Promise<[Socket]>
      const socket = dial({ port: gateway.port, host: '127.0.0.1', allowHalfOpen: true })
      socket.on('error', () => {})
      t.teardown(() => socket.destroy())
      const [side] = await accepted
      socket.resume()
      socket.write(bytes)
      await once(socket, 'end')
      t.notOk(side.destroyed, 'the client may still be sending')
      await pass(gateway, LINGER_MS + 1)
      await eventually(() => side.destroyed, 'cut')
    }
  },
)

/** A connection on which one request was answered, and which the watchdog has seen idle. */
async function startIdle(t: Test) {
  const gateway = await startBefore(t, await startUpstream(t))
  const { socket, side } = await connect(t, gateway)
  const received = gather(socket)
  socket.write(requestBytes('GET /.env', [FORWARDED]))
  await received.until((text) => text.includes('}\n'))
  await sweep(gateway)
  return { gateway, socket, side, received }
}

t.test('an idle connection is closed', async (t) => {
  const { gateway, side } = await startIdle(t)
  await endsAfter(t, gateway, [side], IDLE_MS)
})

t.test('empty lines do not keep a connection open', async (t) => {
  const { gateway, socket, side } = await startIdle(t)
  const { bytesRead } = side
  socket.write('\r\n')
  await eventually(() => side.bytesRead > bytesRead, 'read')
  await endsAfter(t, gateway, [side], IDLE_MS + BEGUN_MS)
})

t.test('a request that begins at the last moment is answered', async (t) => {
  const { gateway, socket, side, received } = await startIdle(t)
  await pass(gateway, IDLE_MS - 5000)
  const { bytesRead } = side
  socket.write('GET /.env HTTP/1.1\r\n')
  await eventually(() => side.bytesRead > bytesRead, 'begun')
  await pass(gateway, 6000)
  t.notOk(side.destroyed)
  socket.write(`Host: houston.hubify.com\r\n${FORWARDED}\r\n\r\n`)
  await received.until((text) => text.split('HTTP/1.1 403').length === 3)
})

t.test('a request that the gateway never answers does not keep its connection open', async (t) => {
  const gateway = await startBefore(t, await startUpstream(t))
  gateway.running.parts.waitingRoom.add = () => {} // a simulated bug: the refusal is never written
  const { socket, side } = await connect(t, gateway)
  socket.write(requestBytes('GET /.env', [FORWARDED]))
  await eventually(() => side.bytesRead > 0, 'read')
  await endsAfter(t, gateway, [side], DECISION_MS)
})

t.test('a client that reads slowly is not disconnected', async (t) => {
  const total = 4_000_000
  const service = await startUpstream(t, (_request, response) => response.end(Buffer.alloc(total)))
  const gateway = await startUnix(t, service)
  const { socket, side } = await gateway.connectDeaf()
  socket.write(requestBytes('GET /', [gateway.auth, FORWARDED]))
  let read = 0
  let passes = 0
  socket.on('readable', () => {})
  while (read < total) {
    const piece = socket.read() as Buffer | null
    if (piece === null) await once(socket, 'readable')
    else read += piece.length
    if (read > (passes + 1) * 600_000) {
      passes++
      await pass(gateway, UNREAD_RELAYED_MS - 10_000)
    }
    if (side.destroyed) break
  }
  t.ok(read >= total)
})

t.test('docs/connections.md states the time limits of the code', async (t) => {
  const page = readFileSync('docs/connections.md', 'utf8')
  const seconds: Record<string, number> = {
    headersTimeout: SERVER_OPTIONS.headersTimeout ?? 0,
    keepAliveInitialDelay: SERVER_OPTIONS.keepAliveInitialDelay ?? 0,
    ...{ DECISION_MS, OWN_BODY_MS, WINDOW_MS, DISCARD_MS, CONNECT_MS },
    ...{ UNREAD_MS, UNREAD_RELAYED_MS, LINGER_MS, IDLE_MS, BEGUN_MS },
  }
  const named = new Set<string>()
  for (const row of page.split('\n').filter((line) => /^\| .*`[A-Za-z_]+` \|$/.test(line))) {
    for (const [, name = ''] of (row.split('|').at(-2) ?? '').matchAll(/`(\w+)`/g)) {
      t.match(row, `${(seconds[name] ?? NaN) / 1000} s`, name)
      named.add(name)
    }
  }
  t.same([...named].toSorted(), Object.keys(seconds).toSorted())
  t.match(page, `${MIN_BYTES_PER_WINDOW / 1024} KiB in each`)
  t.match(page.replaceAll('\n', ' '), `At most ${MAX_UNDER_WAY} requests`)
  t.match(page, `When ${MAX_WAITING} more`)
  t.match(page, `When more than ${MAX_WAITING_IN_ALL.toLocaleString('en')} requests`)
  t.match(page, `of which more than ${MAX_WAITING_WHEN_FULL} wait`)
})
