/** Are many requests on one connection answered each, in order, and without anything piling up? */
import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import t from 'tap'
import { startBefore } from '../helpers/gateway.ts'
import { startUpstream } from '../helpers/upstream.ts'
import { eventually, within } from '../helpers/waiting.ts'
import { gather, handshake, open, requestBytes } from '../helpers/wire.ts'

t.test(
  'a thousand requests use one connection on either side and leave no listener behind',
  async (t) => {
    const service = await startUpstream(t, (request, response) => {
      request.resume()
      request.on('end', () => response.end(request.url))
    })
    const gateway = await startBefore(t, service)
    const serverSide: Socket[] = []
    gateway.running.app.server.on('connection', (socket) => serverSide.push(socket))
    const warnings: Error[] = []
    process.on('warning', (warning) => warnings.push(warning))
    const socket = await open(gateway.port)
    const received = gather(socket)
    const listeners = () =>
      (serverSide[0]?.eventNames() ?? []).reduce(
        (sum, name) => sum + (serverSide[0]?.listenerCount(name) ?? 0),
        0,
      )
    let baseline = 0
    for (let i = 0; i < 1000; i++) {
      const isPost = i % 3 === 0
      socket.write(
        requestBytes(
          `${isPost ? 'POST' : 'GET'} /n${i}.`,
          [gateway.auth, ...(isPost ? ['Content-Length: 3'] : [])],
          isPost ? 'abc' : '',
        ),
      )
      await received.until(
        (soFar) => soFar.endsWith(`/n${i}.`) || soFar.includes(`/n${i}.\r\n0\r\n\r\n`),
      )
      if (i === 10) baseline = listeners()
    }
    t.equal(received.text().split('HTTP/1.1 200').length - 1, 1000)
    t.equal(listeners(), baseline)
    t.equal(serverSide.length, 1)
    t.ok(service.dials() <= 3, `${service.dials()} connections to the service`)
    t.same(warnings, [])
    socket.destroy()
    await gateway.settled()
  },
)

t.test('pipelined requests are answered in order, whichever service is faster', async (t) => {
  const held = new Map<string, ServerResponse>()
  const service = await startUpstream(t, (request, response) =>
    held.set(request.url ?? '', response),
  )
  const gateway = await startBefore(t, service)
  const socket = await open(gateway.port)
  const received = gather(socket)
  const paths = Array.from({ length: 20 }, (_, i) => `/p${i}.`)
  socket.write(paths.map((path) => requestBytes(`GET ${path}`, [gateway.auth])).join(''))
  await eventually(() => held.size === paths.length, 'all at the service')
  for (const path of paths.toReversed()) held.get(path)?.end(`answer to ${path}`)
  const text = await received.until((soFar) => soFar.includes('answer to /p19.'))
  t.same(
    [...text.matchAll(/answer to (\/p\d+\.)/g)].map(([, path]) => path),
    paths,
  )
  socket.destroy()
  await gateway.settled()
})

t.test('a client that leaves takes its whole pipeline with it', async (t) => {
  const gone: string[] = []
  const service = await startUpstream(t, (request, response) => {
    request.socket.on('close', () => gone.push(request.url ?? ''))
    if (request.url === '/p1.') response.write('x'.repeat(1_000_000))
  })
  const gateway = await startBefore(t, service)
  const socket = await open(gateway.port)
  socket.write([0, 1, 2].map((i) => requestBytes(`GET /p${i}.`, [gateway.auth])).join(''))
  await eventually(
    () => gateway.underWay() === 3 && service.requests.length === 3,
    'all at the service',
  )
  socket.resetAndDestroy()
  await eventually(() => gone.length === 3, 'all given up')
  await gateway.settled()
  t.equal(gone.length, 3)
})

t.test('a bad request behind a good one ends the connection and reaches nobody', async (t) => {
  for (const bad of [
    'GET /x HTTP/9.9\r\n\r\n',
    'nonsense\r\n\r\n',
    'GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n',
    'CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n',
  ]) {
    const service = await startUpstream(t)
    const gateway = await startBefore(t, service)
    const socket = await open(gateway.port)
    const received = gather(socket)
    socket.write(requestBytes('GET /good', [gateway.auth]) + bad)
    const { text } = await received.over
    t.ok(service.requests.length <= 1)
    t.notMatch(text, /^HTTP\/1\.1 [45].*HTTP\/1\.1 200/s, 'not the wrong answer for the good one')
    await gateway.settled()
  }
})

t.test(
  'an upgrade behind a request that is not answered yet does not leave a dead connection',
  async (t) => {
    for (const headers of [[], ['signed in']]) {
      const service = await startUpstream(t)
      const gateway = await startBefore(t, service)
      const auth = headers.length === 0 ? [] : [gateway.auth]
      const socket = await open(gateway.port)
      const received = gather(socket)
      socket.write(
        requestBytes('GET /first', auth) + requestBytes('GET /api/ws', [...auth, ...handshake()]),
      )
      // The text is whole when the connection is over, too.
      const answered = received.until((soFar) => soFar.includes('HTTP/1.1 101'))
      t.ok(await within(20_000, answered), headers[0] ?? 'signed out')
      socket.destroy()
      await gateway.settled()
    }
  },
)
