/** Does the gateway stop without losing a request, and without keeping anybody waiting? */
import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { assertRefused, knock } from '../helpers/door.ts'
import { startTestGateway, startWorkspace, token } from '../helpers/gateway.ts'
import { temporaryFolder } from '../helpers/process.ts'
import { startUpstream } from '../helpers/upstream.ts'
import { elapse, eventually, SOON_MS } from '../helpers/waiting.ts'
import {
  exchange,
  gather,
  open,
  requestBytes,
  send,
  serverFrame,
  upgrade,
} from '../helpers/wire.ts'

/** More than the kernel takes of an answer whose client does not read, less than a service is waited for with. */
const LENGTH = 400_000

const bearer = async () => `Authorization: Bearer ${await token()}`

/** A close frame as the client gets it. */
const goodbye = (code: number, reason: string) =>
  serverFrame(8, Buffer.concat([Buffer.from([code >> 8, code & 0xff]), Buffer.from(reason)]))

t.test(
  'while it stops, health says 503, answers end their connection, and no new socket opens',
  async (t) => {
    const workspace = await startWorkspace(t)
    const headers = [await bearer()]
    workspace.running.parts.drain.begin()

    const health = await send(workspace.port, 'GET /health', ['Connection: keep-alive'])
    await assertRefused(t, workspace, health, { code: 'draining', stage: 'health' })
    t.match(health.headers, { 'retry-after': '2', connection: 'close' })
    const head = await send(workspace.port, 'HEAD /health')
    t.equal(head.status, 503)
    t.equal(head.body, '')

    const socket = await knock(workspace.port, 'upgrade', '/', headers)
    await assertRefused(t, workspace, socket, { code: 'draining', stage: 'authentication' })

    const served = await send(workspace.port, 'GET /', [...headers, 'Connection: keep-alive'])
    t.equal(served.status, 200, 'what still arrives is served')
    t.equal(served.headers['connection'], 'close')
  },
)

t.test('with a successor on the same port, nobody is sent elsewhere', async (t) => {
  const workspace = await startWorkspace(t)
  const headers = [await bearer(), 'Connection: keep-alive']
  const { closed, received } = await upgrade(workspace.port, '/', headers.slice(0, 1))
  workspace.running.parts.drain.begin(true)
  await closed
  t.equal(received().readUInt16BE(2), 1012, 'sockets come back to the successor')

  for (const path of ['/health', '/_gateway/ready', '/']) {
    const answer = await send(workspace.port, `GET ${path}`, headers)
    t.equal(answer.status, 200, path)
    t.equal(answer.headers['connection'], 'close', 'the next request goes to the successor')
  }
  const refused = await send(workspace.port, 'GET /', ['Connection: keep-alive'])
  t.equal(refused.status, 401)
  t.equal(refused.headers['connection'], 'close')

  // A handshake that is refused stops a terminal's page for good; one that ends with 1012 makes it connect again.
  const late = await upgrade(workspace.port, '/', headers.slice(0, 1))
  t.equal(late.answer.status, 101)
  await late.closed
  t.equal(late.received().readUInt16BE(2), 1012)
})

t.test('open sockets are told to come back (1012), between two frames, and end', async (t) => {
  const workspace = await startWorkspace(t)
  const { answer, until, closed } = await upgrade(workspace.port, '/', [await bearer()])
  t.equal(answer.status, 101)
  const closing = workspace.running.close()
  const frame = goodbye(1012, 'restarting')
  t.same((await until(frame.length)).subarray(0, frame.length), frame)
  await Promise.all([closed, closing])
  t.equal(workspace.running.parts.openSockets.size, 0)
})

t.test('a request under way is finished, new connections are refused, idle ones end', async (t) => {
  const pending = Promise.withResolvers<ServerResponse>()
  const service = await startUpstream(t, (_request, response) => pending.resolve(response))
  const gateway = await startTestGateway(t, {
    GATEWAY_DASHBOARD_URL: service.url,
    GATEWAY_DRAIN_SECONDS: '10',
  })
  const idle = await open(gateway.port)
  idle.write('GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n')
  await once(idle, 'data')
  idle.resume()
  const answer = send(gateway.port, 'GET /', [await bearer(), 'Connection: keep-alive'])
  const response = await pending.promise
  const closing = gateway.running.close()
  await once(idle, 'close')
  t.equal(
    await exchange(gateway.port, 'GET /health HTTP/1.1\r\nHost: x\r\n\r\n').catch(() => 'refused'),
    'refused',
  )
  response.end('finished')
  t.match(await answer, { status: 200, body: /finished/ })
  await closing
})

t.test('an answer that its client is still reading arrives whole', async (t) => {
  const folder = temporaryFolder(t)
  for (const framing of ['Content-Length', 'Transfer-Encoding']) {
    const service = await startUpstream(t, (_request, response) => {
      if (framing === 'Content-Length') response.setHeader(framing, LENGTH)
      response.end(Buffer.alloc(LENGTH, 'x'))
    })
    // A Unix socket: the kernel takes far less for a client that does not read than over TCP.
    const path = join(folder, framing)
    const { running } = await startTestGateway(t, {
      GATEWAY_DASHBOARD_URL: service.url,
      GATEWAY_SOCKET: path,
      GATEWAY_HOST: undefined,
      GATEWAY_PORT: undefined,
      GATEWAY_DRAIN_SECONDS: '20',
    })
    let serverSide: Socket | undefined
    running.app.server.on('connection', (socket) => (serverSide = socket))
    const socket = connect(path).pause()
    socket.write(
      requestBytes('GET /', [await bearer(), 'X-Forwarded-For: 192.0.2.1', 'Accept: */*']),
    )
    await eventually(
      () => service.requests.length === 1 && running.parts.services.dashboard.inFlight === 0,
      'the service is done',
    )
    t.ok((serverSide?.writableLength ?? 0) > 0, 'and the client is not')
    const closing = running.close()
    await elapse(200, 'nothing may cut the connection within this')
    const received = gather(socket)
    socket.resume()
    const { text } = await received.over
    t.ok(text.length > LENGTH, `${framing}: ${text.length} bytes`)
    await closing
  }
})

t.test('what does not end by itself is cut when the time is over', async (t) => {
  const service = await startUpstream(t, (_request, response) => {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' }).write('data: 1\n\n')
  })
  const gateway = await startTestGateway(t, {
    GATEWAY_DASHBOARD_URL: service.url,
    GATEWAY_DRAIN_SECONDS: '1',
  })
  const socket = await open(gateway.port)
  socket.write(`GET / HTTP/1.1\r\nHost: houston.hubify.com\r\n${await bearer()}\r\n\r\n`)
  await once(socket, 'data')
  socket.resume()
  const startedAt = performance.now()
  await Promise.all([gateway.running.close(), once(socket, 'close')])
  const took = performance.now() - startedAt
  t.ok(took < SOON_MS, `took ${took} ms`)
})

t.test('closing twice is closing once', async (t) => {
  const { running, logLines } = await startWorkspace(t)
  await Promise.all([running.close(), running.close()])
  t.equal(logLines().filter(({ msg }) => msg === 'stopped').length, 1)
})
