/** Does a device reach a service that is not our gateway only by the rules for hosts and origins, and does it get the whole response? */
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import t, { type Test } from 'tap'
import { parseServiceUrl } from '../../../src/config/values.ts'
import { connectionToService } from '../../../src/relay/target/service-connection.ts'
import { temporaryFolder } from '../../helpers/process.ts'
import {
  closedPort,
  leaveUnanswered,
  startUpstream,
  type Upstream,
} from '../../helpers/upstream.ts'
import { eventually, standsStill } from '../../helpers/waiting.ts'
import { clientFrame, dechunk, handshake, parseAnswer, serverFrame } from '../../helpers/wire.ts'

const PAGE = 'https://houston.hubify.com'
const FRIEND = 'https://app.example.com'

/** What opens connections to a service, with a daemon's lists. */
function connector(t: Test, url: string, lists: object = {}, headMs?: number): () => Duplex {
  const hubcodeHome = temporaryFolder(t)
  writeFileSync(join(hubcodeHome, 'config.json'), JSON.stringify(lists))
  const target = parseServiceUrl(url)
  const connect = connectionToService(
    { target, hubcodeHome, pageUrl: `${PAGE}/_gateway/remote/` },
    headMs,
  )
  return () => {
    const stream = connect()
    t.teardown(() => stream.destroy())
    return stream
  }
}

async function start(
  t: Test,
  lists: object = {},
  listener?: Parameters<typeof startUpstream>[1],
): Promise<{ service: Upstream; open: () => Duplex }> {
  const service = await startUpstream(t, listener)
  return { service, open: connector(t, service.url, lists) }
}

/** The bytes of a request's head. */
const head = (line: string, ...fields: string[]) =>
  `${[`${line} HTTP/1.1`, ...fields].join('\r\n')}\r\n\r\n`

const text = async (stream: Duplex) => Buffer.concat(await stream.toArray()).toString('latin1')

/** Sends bytes, ends the device's side, and reads until the stream has ended. */
async function ask(stream: Duplex, bytes: string) {
  stream.end(Buffer.from(bytes, 'latin1'))
  return parseAnswer(await text(stream))
}

t.test('a request reaches the service as its own, and its response comes back whole', async (t) => {
  const { service, open } = await start(t)
  const answer = await ask(
    open(),
    head(
      'POST /api/x?y=1',
      ...['Host: houston.hubify.com', `Origin: ${PAGE}`, 'Content-Length: 5', 'X-Mine: 1'],
      ...['Authorization: Bearer of-the-daemon', 'X-Forwarded-For: 9.9.9.9', 'X-Real-IP: 9.9.9.9'],
      'Cookie: __Host-workspace_session=secret; theirs=1',
    ) + 'hello',
  )
  t.equal(answer.status, 200)
  t.same(JSON.parse(answer.body), { method: 'POST', url: '/api/x?y=1', body: 5 })
  t.equal(answer.headers['connection'], 'close')
  const [seen] = service.requests
  t.match(seen?.headers, {
    host: 'localhost',
    origin: 'http://localhost',
    authorization: 'Bearer of-the-daemon',
    cookie: 'theirs=1',
    'x-mine': '1',
  })
  t.equal(seen?.headers['x-forwarded-for'], undefined)
  t.equal(seen?.headers['x-real-ip'], undefined)
  t.equal(service.dials(), 1)
})

t.test('bodies of any framing and size pass, in both directions', async (t) => {
  const { open } = await start(t, {}, (request, response) => {
    request.pipe(response)
  })
  const chunked = head('POST /', 'Host: localhost', 'Transfer-Encoding: chunked')
  const small = await ask(open(), `${chunked}5\r\nhello\r\n3\r\n!!!\r\n0\r\n\r\n`)
  t.equal(dechunk(small.body), 'hello!!!')
  const size = 4 * 1024 * 1024
  const large = open()
  const whole = text(large)
  large.write(head('POST /', 'Host: localhost', `Content-Length: ${size}`))
  large.end(Buffer.alloc(size, 'x'))
  t.equal((await whole).match(/x/g)?.length, size)
  for (const method of ['POST', 'PUT', 'DELETE', 'GET', 'HEAD', 'OPTIONS', 'PATCH'])
    t.equal((await ask(open(), head(`${method} /`, 'Host: localhost'))).status, 200, method)
})

t.test('a device that ends its side behind the request still gets the response', async (t) => {
  const { promise: asked, resolve } = Promise.withResolvers<() => void>()
  const { open } = await start(t, {}, (_request, response) =>
    resolve(() => response.end('late but whole')),
  )
  const stream = open()
  const answer = ask(stream, head('GET /', 'Host: localhost'))
  const answerNow = await asked
  answerNow()
  t.match((await answer).body, 'late but whole')
})

t.test('hosts: the page’s, this machine’s, and those of daemon.allowedHosts', async (t) => {
  const { service, open } = await start(t, { daemon: { allowedHosts: ['.example.com', 'mac'] } })
  const served = ['houston.hubify.com', 'localhost:6767', 'a.localhost', '127.0.0.1', '[::1]:1']
  for (const host of [...served, 'example.com', 'a.example.com', 'MAC'])
    t.equal((await ask(open(), head('GET /', `Host: ${host}`))).status, 200, host)
  const before = service.dials()
  for (const host of ['evil.test', 'badexample.com', 'example.com.evil.test', 'hubify.com', ''])
    for (const more of [[], handshake()]) {
      const answer = await ask(open(), head('GET /', `Host: ${host}`, ...more))
      t.match(answer, { status: 421, headers: { 'x-gateway-error': 'host-not-served' } }, host)
    }
  t.equal(service.dials(), before)
})

t.test('origins: none, the page’s, and those of the daemon’s list, which may read', async (t) => {
  const { service, open } = await start(t, { daemon: { cors: { allowedOrigins: [FRIEND] } } })
  const own = await ask(open(), head('GET /', 'Host: localhost', `Origin: ${PAGE}`))
  t.equal(own.headers['access-control-allow-origin'], undefined)
  const friend = await ask(open(), head('POST /', 'Host: localhost', `Origin: ${FRIEND}`))
  t.equal(friend.headers['access-control-allow-origin'], FRIEND)
  t.equal(service.requests[1]?.headers.origin, FRIEND, 'the daemon decides about it too')
  const before = service.dials()
  const foreign = ['https://evil.test', 'null', `${FRIEND}:444`, 'http://app.example.com', '*']
  for (const origin of foreign)
    for (const more of [[], handshake()]) {
      const fields = ['Host: localhost', `Origin: ${origin}`, ...more]
      const answer = await ask(open(), head('GET /', ...fields))
      t.match(answer, { status: 403, headers: { 'x-gateway-error': 'origin-not-allowed' } }, origin)
    }
  const twice = await ask(
    open(),
    head('GET /', 'Host: a.localhost', ...[PAGE, FRIEND].map((one) => `Origin: ${one}`)),
  )
  t.equal(twice.status, 403)
  t.equal(service.dials(), before)
})

t.test('what is not one well-formed request of HTTP/1.1 never reaches the service', async (t) => {
  const { service, open } = await start(t)
  const host = 'Host: localhost'
  const rows: Array<[what: string, bytes: string, status: number]> = [
    ['no host', head('GET /'), 421],
    ['two hosts', head('GET /', host, host), 421],
    ['absolute form', head('GET http://evil.test/', host), 400],
    ['dot segments', head('GET /a/../b', host), 400],
    ['encoded dot segments', head('GET /a/%2e%2e/b', host), 400],
    ['a leading //', head('GET //evil.test/', host), 400],
    ['a backslash', head('GET /a\\b', host), 400],
    ['two framings', head('POST /', host, 'Content-Length: 5', 'Transfer-Encoding: chunked'), 400],
    ['two lengths', head('POST /', host, 'Content-Length: 5', 'Content-Length: 6'), 400],
    ['another coding', head('POST /', host, 'Transfer-Encoding: gzip, chunked'), 400],
    ['a bare LF', `GET / HTTP/1.1\n${host}\n\n`, 400],
    ['a space before the colon', head('GET /', 'Host : localhost'), 400],
    ['another method', head('TRACE /', host), 405],
    ['a tunnel', head('CONNECT evil.test:443', host), 405],
    ['another expectation', head('GET /', host, 'Expect: more'), 417],
    [
      'a wrong version of WebSocket',
      head('GET /', host, ...handshake(['Sec-WebSocket-Version: 8'])),
      426,
    ],
    [
      'too many fields',
      head('GET /', host, ...Array.from({ length: 101 }, (_, i) => `X-${i}: 1`)),
      431,
    ],
    ['too much', head('GET /', host, `X: ${'x'.repeat(20_000)}`), 431],
    ['no HTTP', 'hello, is this the daemon?\r\n\r\n', 400],
  ]
  for (const [what, bytes, status] of rows) {
    const answer = await ask(open(), bytes)
    t.equal(answer.status, status, what)
    t.ok(answer.headers['x-gateway-error'], what)
  }
  const ended = open()
  ended.end()
  t.equal(await text(ended), '')
  t.equal(service.dials(), 0)
})

t.test('a stream has one request: a second one behind it is not forwarded', async (t) => {
  const { promise: held, resolve: hold } = Promise.withResolvers<() => void>()
  const { service, open } = await start(t, {}, (request, response) => {
    if (request.url === '/1') hold(() => response.end('one'))
    else response.end()
  })
  const stream = open()
  stream.write(head('GET /1', 'Host: localhost') + head('GET /2', 'Host: localhost'))
  const release = await held
  await ask(open(), head('GET /3', 'Host: localhost'))
  release()
  t.match(await text(stream), /one$/)
  t.same(
    service.requests.map(({ url }) => url),
    ['/1', '/3'],
  )
})

t.test('a WebSocket is joined with the service, and ends with either side', async (t) => {
  const { service, open } = await start(t)
  const stream = open()
  const chunks: Buffer[] = []
  stream.on('data', (chunk: Buffer) => chunks.push(chunk))
  const received = () => Buffer.concat(chunks)
  stream.write(head('GET /ws', 'Host: houston.hubify.com', `Origin: ${PAGE}`, ...handshake()))
  stream.write(clientFrame(1, 'hello')) // behind the handshake at once
  const echo = serverFrame(1, 'hello')
  await eventually(() => received().includes(echo), 'the echo')
  t.match(received().toString('latin1'), /^HTTP\/1\.1 101 Switching Protocols\r\n/)
  t.match(service.requests[0]?.headers, { host: 'localhost', origin: 'http://localhost' })
  stream.write(clientFrame(8, Buffer.from([0x03, 0xe8])))
  await once(stream, 'end')

  let isServiceClosed = false
  const second = await startUpstream(t, undefined, (_request, socket) => {
    socket.on('close', () => (isServiceClosed = true))
    socket.write(
      'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n',
    )
  })
  const left = connector(t, second.url)()
  left.write(head('GET /ws', 'Host: localhost', ...handshake()))
  await once(left, 'data')
  left.destroy()
  await eventually(() => isServiceClosed, 'the end of the service’s side')
})

t.test('a handshake that the service refuses gets the service’s own response', async (t) => {
  const service = createHttpServer((_request, response) => {
    response.writeHead(403, { 'X-Theirs': '1' }).end('not here')
  })
  service.listen(0, '127.0.0.1')
  await once(service, 'listening')
  t.teardown(() => service.close())
  const { port } = service.address() as { port: number }
  const open = connector(t, `http://127.0.0.1:${port}`)
  const answer = await ask(open(), head('GET /ws', 'Host: localhost', ...handshake()))
  t.match(answer, { status: 403, headers: { 'x-theirs': '1' } })
  t.equal(answer.headers['x-gateway-error'], undefined)
  t.match(answer.body, 'not here')
})

t.test(
  'a service that is away is told as 502, and one that breaks off is not taken for whole',
  async (t) => {
    const away = connector(t, `http://127.0.0.1:${await closedPort()}`)
    for (const more of [[], handshake()]) {
      const answer = await ask(away(), head('GET /', 'Host: localhost', ...more))
      t.match(answer, { status: 502, headers: { 'x-gateway-error': 'upstream-unreachable' } })
      t.match(JSON.parse(answer.body), { detail: /^The service does not answer/ })
    }
    const { open } = await start(t, {}, (_request, response) => {
      response.writeHead(200, { 'Content-Length': '100' })
      response.write('half')
      setImmediate(() => response.destroy())
    })
    const stream = open()
    stream.write(head('GET /', 'Host: localhost'))
    stream.resume()
    await once(stream, 'close')
    t.notOk(stream.readableEnded, 'broken off')
  },
)

t.test('a body that breaks its framing ends the request, at the service too', async (t) => {
  const chunked = head('POST /', 'Host: localhost', 'Transfer-Encoding: chunked')
  for (const isAnswered of [false, true]) {
    let isClosed = false
    const { service, open } = await start(t, {}, (request, response) => {
      request.on('error', () => {})
      response.on('close', () => (isClosed = true))
      if (isAnswered) response.write('begun')
    })
    const stream = open()
    stream.write(`${chunked}5\r\nhello\r\n`)
    if (isAnswered) await once(stream, 'readable')
    else await eventually(() => service.requests.length === 1, 'the request')
    const received = text(stream)
    stream.write('no chunk\r\n')
    await t.rejects(received, 'nobody takes it for whole')
    await eventually(() => isClosed, 'the end of the service’s connection')
  }
})

t.test('a service that does not keep to HTTP is answered for, and left', async (t) => {
  const asked = head('GET /x', 'Host: localhost')
  const handshaken = head('GET /ws', 'Host: localhost', ...handshake())
  const switching = 'HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n'
  for (const [request, answer] of [
    [asked, 'HTTP/1.1 000 X\r\nContent-Length: 0\r\n\r\n'],
    [asked, 'HTTP/1.1 099 X\r\nContent-Length: 0\r\n\r\n'],
    [handshaken, 'HTTP/1.1 000 X\r\nContent-Length: 0\r\n\r\n'],
    [asked, switching], // nobody has asked for another protocol
  ] as const) {
    const connections = new Set<Socket>()
    const service = createServer((socket) => {
      connections.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => connections.delete(socket))
      socket.once('data', () => socket.write(answer))
    })
    service.listen(0, '127.0.0.1')
    await once(service, 'listening')
    t.teardown(() => service.close())
    const { port } = service.address() as AddressInfo
    const { status } = await ask(connector(t, `http://127.0.0.1:${port}`)(), request)
    t.equal(status, 502, answer)
    await eventually(() => connections.size === 0, 'the service is left')
  }
})

t.test('when the device leaves, the service’s connection is closed', async (t) => {
  for (const more of [[], handshake()]) {
    const service = await startUpstream(t, undefined, () => {}) // answers no handshake
    const open = connector(t, service.url)
    let isClosed = false
    service.server.on('connection', (socket) => socket.on('close', () => (isClosed = true)))
    const arrived = more.length === 0 ? leaveUnanswered(service) : undefined
    const stream = open()
    stream.write(head('GET /', 'Host: localhost', ...more))
    await arrived
    await eventually(() => service.dials() === 1, 'the request')
    stream.destroy()
    await eventually(() => isClosed, 'the end of the service’s connection')
  }
})

t.test('a device that does not read holds up the service, in bounded memory', async (t) => {
  let sent = 0
  const { open } = await start(t, {}, (_request, response) => {
    const piece = Buffer.alloc(64 * 1024)
    const more = () => {
      while (response.write(piece)) sent += piece.length
      sent += piece.length
    }
    response.on('drain', more)
    more()
  })
  const stream = open()
  stream.write(head('GET /', 'Host: localhost'))
  await once(stream, 'readable')
  await standsStill(() => sent, 'what the service could send')
  t.ok(sent < 32 * 1024 * 1024, `${sent} bytes`)
})

t.test('a stream on which no request comes is closed', async (t) => {
  const service = await startUpstream(t)
  const stream = connector(t, service.url, {}, 20)()
  stream.write('GET / HTTP/1.1\r\nHo')
  stream.resume()
  await once(stream, 'close')
  t.equal(service.dials(), 0)
})

t.test('the service may be a Unix socket, and its redirects become paths', async (t) => {
  const path = join(temporaryFolder(t), 'service.sock')
  const service = createHttpServer((request, response) => {
    response.writeHead(302, { Location: `http://${request.headers.host}/next` }).end()
  })
  service.listen(path)
  await once(service, 'listening')
  t.teardown(() => service.close())
  const answer = await ask(connector(t, `unix:${path}`)(), head('GET /', 'Host: localhost'))
  t.equal(answer.status, 302)
  t.equal(answer.headers['location'], '/next')
})

t.test('lists that cannot be read are an error at the start', async (t) => {
  const hubcodeHome = temporaryFolder(t)
  writeFileSync(join(hubcodeHome, 'config.json'), '{')
  const target = parseServiceUrl('http://127.0.0.1:6767')
  t.throws(() => connectionToService({ target, hubcodeHome, pageUrl: `${PAGE}/` }), {
    name: 'ConfigError',
  })
})
