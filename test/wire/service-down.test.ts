/** Which response does a client get when a service is down, silent or breaks off, and does the gateway recover? */
import { once } from 'node:events'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { startBefore } from '../helpers/gateway.ts'
import { temporaryFolder } from '../helpers/process.ts'
import {
  closedPort,
  startDeafUpstream,
  startRawUpstream,
  startUpstream,
} from '../helpers/upstream.ts'
import { eventually, watchForCrashes } from '../helpers/waiting.ts'
import { gather, open, requestBytes, send, type RawAnswer } from '../helpers/wire.ts'

const crashes = watchForCrashes()

const INNER =
  /127\.0\.0\.1|localhost|:\d{4,5}\b|undici|ECONN|UND_ERR|node:|\.sock|\/tmp|Error:|parser|socket/i

function tellsNothing(t: Test, answer: RawAnswer): void {
  t.notMatch(answer.body, INNER)
  t.notMatch(
    Object.entries(answer.headers)
      .filter(([name]) => name !== 'date')
      .flat()
      .join('\n'),
    INNER,
  )
}

t.test('a service that is down is a 502 that does not reveal the service’s address', async (t) => {
  const url = `http://127.0.0.1:${await closedPort()}`
  const gateway = await startBefore(t, { url })
  const { port, auth } = gateway
  for (const headers of [[], ['Accept: text/html'], ['Connection: keep-alive, X']]) {
    for (const line of ['GET /', 'POST /a', 'DELETE /api/x', 'GET /terminal/']) {
      const answer = await send(port, line, [auth, 'Connection: close', ...headers])
      t.equal(answer.status, 502)
      t.equal(answer.headers['x-gateway-error'], 'upstream-unreachable')
      tellsNothing(t, answer)
    }
  }
  const head = await send(port, 'HEAD /', [auth])
  t.equal(head.status, 502)
  t.equal(head.body, '')
  await gateway.settled()
})

t.test(
  'a client that disconnects during an upload to a service that is down does no harm',
  async (t) => {
    const url = `http://127.0.0.1:${await closedPort()}`
    const gateway = await startBefore(t, { url })
    for (let i = 0; i < 40; i++) {
      const socket = await open(gateway.port)
      const received = gather(socket)
      socket.write(
        requestBytes('POST /', [gateway.auth, 'Content-Length: 100000'], 'x'.repeat(i * 1000)),
      )
      if (i % 2 === 0)
        t.match(await received.until((soFar) => soFar.includes('502')), /^HTTP\/1\.1 502/)
      if (i % 4 < 2) socket.resetAndDestroy()
      else socket.destroy()
      await received.over
    }
    await gateway.settled()
    t.equal((await send(gateway.port, 'GET /', [gateway.auth])).status, 502)
  },
)

t.test('after a 502, the rest of the body is read, and the connection stays open', async (t) => {
  const url = `http://127.0.0.1:${await closedPort()}`
  const gateway = await startBefore(t, { url })
  const socket = await open(gateway.port)
  const received = gather(socket)
  const body = 'x'.repeat(600_000)
  for (let round = 1; round <= 3; round++) {
    socket.write(requestBytes('POST /', [gateway.auth, `Content-Length: ${body.length}`], body))
    const text = await received.until((soFar) => soFar.split('HTTP/1.1 502').length - 1 === round)
    t.equal(text.split('HTTP/1.1 502').length - 1, round)
  }
  socket.destroy()
})

t.test('a Unix socket without a listener is a 502; one with a listener works', async (t) => {
  const folder = temporaryFolder(t)
  const path = join(folder, 'service.sock')
  const gateway = await startBefore(t, { url: `unix:${path}` })
  const down = await send(gateway.port, 'GET /', [gateway.auth])
  t.equal(down.status, 502)
  tellsNothing(t, down)
  const server = createServer((socket) => {
    socket.once('data', () =>
      socket.end('HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello'),
    )
  }).listen(path)
  t.teardown(() => server.close())
  await once(server, 'listening')
  const up = await send(gateway.port, 'GET /', [gateway.auth])
  t.equal(up.body, 'hello')
})

t.test('a service that accepts no connection within three seconds is a 504', async (t) => {
  const gateway = await startBefore(t, await startDeafUpstream(t))
  const begun = performance.now()
  const [get, post] = await Promise.all([
    send(gateway.port, 'GET /', [gateway.auth]),
    send(gateway.port, 'POST /', [gateway.auth, 'Content-Length: 2', 'Expect: 100-continue']),
  ])
  t.ok(performance.now() - begun < 20_000) // the kernel’s own limit is two minutes
  for (const answer of [get, post]) {
    t.equal(answer.status, 504, 'and no 100 before it')
    tellsNothing(t, answer)
  }
  await gateway.settled()
})

t.test('a service that does not start its response in time is a 504', async (t) => {
  let closed = 0
  const service = await startRawUpstream(t, (socket) => {
    socket.resume()
    socket.on('close', () => closed++)
  })
  const gateway = await startBefore(t, service, { GATEWAY_FIRST_BYTE_SECONDS: '1' })
  const [get, post, half] = await Promise.all([
    send(gateway.port, 'GET /', [gateway.auth]),
    send(gateway.port, 'POST /', [gateway.auth, 'Content-Length: 2'], 'ok'),
    send(gateway.port, 'GET /x', [gateway.auth]),
  ])
  for (const answer of [get, post, half]) {
    t.equal(answer.status, 504)
    t.equal(answer.headers['x-gateway-error'], 'upstream-timeout')
    tellsNothing(t, answer)
  }
  await eventually(() => closed === 3, 'connections to the service closed')
  await gateway.settled()
})

t.test('when a service breaks off a response, the client’s connection is closed too', async (t) => {
  const parts: Record<string, string> = {
    '/length': 'Content-Length: 100\r\n\r\nonly this',
    '/chunked': 'Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n',
    '/in-chunk': 'Transfer-Encoding: chunked\r\n\r\nff\r\nhello',
    '/no-last': 'Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n',
  }
  for (const how of ['end', 'destroy', 'resetAndDestroy'] as const) {
    let breakOff = () => {}
    const service = await startRawUpstream(t, (socket) => {
      socket.once('data', (head) => {
        const path = /^GET (\S+)/.exec(String(head))?.[1] ?? ''
        socket.write(`HTTP/1.1 200 OK\r\n${parts[path] ?? ''}`)
        breakOff = () => void socket[how]()
      })
    })
    const gateway = await startBefore(t, service)
    for (const path of Object.keys(parts)) {
      const socket = await open(gateway.port)
      const received = gather(socket)
      socket.write(requestBytes(`GET ${path}`, [gateway.auth]))
      await received.until((text) => text !== '')
      breakOff()
      const { text } = await received.over
      t.match(text, /^HTTP\/1\.1 200/, `${path} ${how}`)
      t.notMatch(text, /\r\n0\r\n\r\n$/, 'no clean end')
    }
    await gateway.settled()
  }
})

t.test('a request is sent once, whatever the service responds', async (t) => {
  const service = await startUpstream(t, (request, response) => {
    request.resume()
    if (request.url === '/reset') {
      request.on('end', () => request.socket.resetAndDestroy())
      return
    }
    if (request.url === '/hang-up') {
      request.socket.end()
      return
    }
    response.writeHead(Number(request.url?.slice(1)), { 'Retry-After': '30' })
    response.end('no')
  })
  const gateway = await startBefore(t, service)
  for (const status of [500, 502, 503, 504, 429, 408]) {
    const answer = await send(gateway.port, `GET /${status}`, [gateway.auth])
    t.equal(answer.status, status)
    t.equal(answer.headers['retry-after'], '30')
    t.equal(answer.headers['x-gateway-error'], undefined, 'the service said so, not the gateway')
  }
  t.equal(service.requests.length, 6)
  for (const method of ['POST', 'GET', 'PUT']) {
    for (const path of ['/reset', '/hang-up']) {
      const seen = service.requests.length
      const answer = await send(
        gateway.port,
        `${method} ${path}`,
        [gateway.auth, 'Content-Length: 4'],
        'once',
      )
      t.equal(answer.status, 502, `${method} ${path}`)
      tellsNothing(t, answer)
      t.equal(service.requests.length, seen + 1)
    }
  }
  await gateway.settled()
})

t.test('no error was uncaught', async (t) => {
  t.same(crashes, [])
})
