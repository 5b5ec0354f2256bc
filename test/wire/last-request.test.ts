/** Is nothing read after a refusal that closes its connection, and nothing sent after a truncated response? */
import type { ServerResponse } from 'node:http'
import { once } from 'node:events'
import t, { type Test } from 'tap'
import { startBefore, startWorkspace, token } from '../helpers/gateway.ts'
import { startRawUpstream, startUpstream } from '../helpers/upstream.ts'
import { eventually } from '../helpers/waiting.ts'
import { gather, handshake, open, requestBytes, send } from '../helpers/wire.ts'

const bytesOf = (requestLine: string, headers: readonly string[], body = '') =>
  `${[requestLine, 'Host: houston.hubify.com', ...headers].join('\r\n')}\r\n\r\n${body}`

const statusesOf = (text: string) =>
  [...text.matchAll(/HTTP\/1\.1 ([0-9]{3}) /g)].map(([, status]) => Number(status))

/** Sends the given pieces separately, and reads to the end. */
async function tell(port: number, pieces: readonly string[]): Promise<string> {
  const socket = await open(port)
  const { over } = gather(socket)
  socket.setNoDelay(true)
  for (const piece of pieces)
    await new Promise<void>((resolve) => {
      socket.write(piece, 'latin1', () => resolve())
    })
  return (await over).text
}

t.test('requests that are pipelined after a refusal that closes reach no service', async (t) => {
  const workspace = await startWorkspace(t)
  const bearer = `Authorization: Bearer ${await token()}`
  await send(workspace.port, 'GET /known', [bearer]) // the token is verified once, so that later requests need not wait for that
  const seen = () =>
    Object.values(workspace.services).flatMap(({ requests }) => requests.map(({ url }) => url))
  const get = (...headers: string[]) => bytesOf('GET / HTTP/1.1', [bearer, ...headers])
  const post = (headers: string[], body: string) =>
    bytesOf('POST / HTTP/1.1', [bearer, ...headers], body)
  const rows: Array<[what: string, bytes: string, status: number]> = [
    [
      'a transfer coding in HTTP/1.0',
      bytesOf(
        'POST / HTTP/1.0',
        [bearer, 'Connection: keep-alive', 'Transfer-Encoding: chunked'],
        '0\r\n\r\n',
      ),
      400,
    ],
    ['two codings', post(['Transfer-Encoding: gzip, chunked'], '0\r\n\r\n'), 400],
    ['another version', bytesOf('GET / HTTP/2.0', [bearer]), 400],
    ['too many fields', get(...Array.from({ length: 120 }, (_, i) => `X-${i}: 1`)), 431],
    ['a bad expectation', get('Expect: banana'), 417],
    ['a method that nobody knows', bytesOf('PROPFIND / HTTP/1.1', [bearer]), 405],
    ['CONNECT', bytesOf('CONNECT a:1 HTTP/1.1', [bearer]), 405],
    ['a handshake of version 8', get(...handshake(['Sec-WebSocket-Version: 8'])), 426],
    ['a handshake with a bad key', get(...handshake(['Sec-WebSocket-Key: x'])), 400],
    ['a handshake with a body', get(...handshake(['Content-Length: 4'])), 400],
    ['a handshake of nobody’s', bytesOf('GET / HTTP/1.1', handshake()), 401],
    [
      'a refusal instead of 100',
      bytesOf('POST / HTTP/1.1', ['Expect: 100-continue', 'Content-Length: 5'], 'hello'),
      401,
    ],
    ['bytes that are no request', 'garbage\r\n\r\n', 400],
    ['two lengths', post(['Content-Length: 3', 'Content-Length: 4'], 'abcd'), 400],
    [
      'a refusal that the client asked to be the last',
      bytesOf('GET / HTTP/1.1', ['Connection: close']),
      401,
    ],
  ]
  for (const [what, bytes, status] of rows)
    for (const inner of [
      bytesOf('GET /inner HTTP/1.1', [bearer]),
      bytesOf('POST /inner HTTP/1.1', [bearer, 'Content-Length: 2'], 'hi'),
      bytesOf('GET /inner HTTP/1.1', handshake([bearer])),
    ])
      for (const pieces of [[bytes + inner + inner], [bytes, inner]])
        await t.test(`${what}, ${pieces.length} packets`, async (t) => {
          const text = await tell(workspace.port, pieces)
          t.same(statusesOf(text), [status])
          t.same(seen(), ['/known'])
        })
})

t.test('the same holds while refusals wait, and when the token is not verified yet', async (t) => {
  const workspace = await startWorkspace(t)
  const { waitingRoom } = workspace.running.parts
  const bearer = `Authorization: Bearer ${await token()}`
  for (let i = 0; i < 200; i++) waitingRoom.add(() => {})
  const text = await tell(workspace.port, [
    bytesOf('GET / HTTP/1.1', [bearer, 'Expect: banana']) +
      bytesOf('GET /inner HTTP/1.1', [bearer]),
  ])
  t.same(statusesOf(text), [417])
  const expecting = await tell(workspace.port, [
    bytesOf(
      'POST / HTTP/1.1',
      ['Authorization: Bearer a.b.c', 'Expect: 100-continue', 'Content-Length: 2'],
      'hi',
    ) + bytesOf('GET /inner HTTP/1.1', [bearer]),
  ])
  t.same(statusesOf(expecting), [401])
  t.equal(workspace.dials(), 0)
})

t.test('requests before invalid bytes get their responses, in order', async (t) => {
  const workspace = await startWorkspace(t)
  const bearer = `Authorization: Bearer ${await token()}`
  const good = (i: number) => bytesOf(`GET /n${i} HTTP/1.1`, [bearer])
  const text = await tell(workspace.port, [
    good(0) + bytesOf('GET /.env HTTP/1.1', []) + good(1) + good(2) + 'garbage\r\n\r\n' + good(3),
  ])
  t.same(statusesOf(text), [200, 403, 200, 200, 400])
  t.same(workspace.services.dashboard.requests.map(({ url }) => url).toSorted(), [
    '/n0',
    '/n1',
    '/n2',
  ])
  t.match(text, /400 [^]*Connection: close/)
  const broken = await tell(workspace.port, [
    good(4) + bytesOf('POST /.env HTTP/1.1', ['Transfer-Encoding: chunked'], 'zz\r\n') + good(5),
  ])
  t.same(statusesOf(broken), [200], 'one whose body is broken ends the connection in its turn')
  t.notOk(workspace.services.dashboard.requests.some(({ url }) => url === '/n5'))
})

t.test('endless garbage gets one response and one log line', async (t) => {
  const pending: ServerResponse[] = []
  const service = await startUpstream(t, (_request, response) => pending.push(response))
  const gateway = await startBefore(t, service)
  const socket = await open(gateway.port)
  const received = gather(socket)
  socket.write(requestBytes('GET /slow', [gateway.auth]) + 'garbage\r\n\r\n')
  await gateway.logLine(({ code }) => code === 'bad-request')
  await eventually(() => pending.length === 1, 'at the service')
  for (let i = 0; i < 50; i++) {
    socket.write('more garbage\r\n\r\n')
    await new Promise(setImmediate)
  }
  pending[0]?.end('slow')
  const { text } = await received.over
  t.same(statusesOf(text), [200, 400])
  t.equal(gateway.logLines().filter(({ code }) => code === 'bad-request').length, 1)
})

t.test('a response that closes because the gateway stops is the last one', async (t) => {
  const workspace = await startWorkspace(t)
  const bearer = `Authorization: Bearer ${await token()}`
  workspace.running.parts.drain.begin()
  const requests = ['/one', '/two'].map((path) => bytesOf(`GET ${path} HTTP/1.1`, [bearer]))
  t.same(statusesOf(await tell(workspace.port, [requests.join('')])), [200])
  t.same(
    workspace.services.dashboard.requests.map(({ url }) => url),
    ['/one'],
  )
})

/** A service whose responses break off, except on `/whole`, which waits for the test. */
async function startCutting(t: Test) {
  const held: Array<() => void> = []
  const seen: string[] = []
  const service = await startRawUpstream(t, (socket) => {
    socket.on('data', (bytes: Buffer) => {
      const path = /^[A-Z]+ (\S+)/.exec(bytes.toString('latin1'))?.[1] ?? ''
      seen.push(path)
      if (path.startsWith('/whole'))
        held.push(() => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole'))
      else socket.end('HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\npart')
    })
  })
  return { ...service, held, seen }
}

t.test('a truncated response after another one closes the connection in order', async (t) => {
  for (const version of ['1.1', '1.0']) {
    const service = await startCutting(t)
    const gateway = await startBefore(t, service)
    const socket = await open(gateway.port)
    const received = gather(socket)
    const request = (path: string) =>
      bytesOf(`GET ${path} HTTP/${version}`, [gateway.auth, 'Connection: keep-alive'])
    socket.write(request('/whole') + request('/cut') + request('/whole-behind'))
    await eventually(() => service.held.length > 0, 'the first is at the service')
    if (version === '1.1') {
      await gateway.logLine(({ path }) => path === '/cut')
      t.equal(received.text(), '', 'the first answer comes first')
    }
    for (const letGo of service.held) letGo()
    const { text } = await received.over
    t.match(text, /^HTTP\/1\.1 200 OK[^]*whole/, version)
    t.equal(statusesOf(text.replace(/^[^]*?\r\n\r\nwhole/, '')).length <= 1, true)
    await gateway.settled()
  }
})

t.test(
  'a connection has at most 32 requests in flight, and is then not read further',
  async (t) => {
    const pending: ServerResponse[] = []
    const service = await startUpstream(t, (_request, response) => pending.push(response))
    const gateway = await startBefore(t, service)
    await send(gateway.port, 'GET /.env', [gateway.auth])
    const socket = await open(gateway.port)
    const received = gather(socket)
    const COUNT = 5000
    socket.write(
      Array.from({ length: COUNT }, (_, i) => requestBytes(`GET /n${i}.`, [gateway.auth])).join(''),
    )
    await eventually(() => pending.length === 32, '32 at the service')
    t.ok(socket.writableLength > 0 || socket.bytesWritten > 0)
    let most = 0
    let answered = 0
    while (answered < COUNT) {
      await eventually(() => pending.length > 0, 'the next')
      most = Math.max(most, pending.length)
      for (const response of pending.splice(0)) {
        response.end('x')
        answered++
      }
    }
    t.equal(most, 32)
    const text = await received.until((soFar) => statusesOf(soFar).length === COUNT)
    t.equal(statusesOf(text).length, COUNT)
    socket.destroy()
    await once(socket, 'close')
    await gateway.settled()
  },
)
