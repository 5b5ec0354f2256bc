/** Do bodies pass unchanged in both directions, whatever their framing, method and type? */
import { createHash, randomBytes } from 'node:crypto'
import t from 'tap'
import { startBefore } from '../helpers/gateway.ts'
import { startRawUpstream, startUpstream } from '../helpers/upstream.ts'
import { dechunk, gather, open, requestBytes, send } from '../helpers/wire.ts'

const BYTES = randomBytes(300_000).toString('latin1')
const digest = (text: string) => createHash('sha256').update(text, 'latin1').digest('hex')

function chunked(text: string, size = 7777): string {
  let coded = ''
  for (let at = 0; at < text.length; at += size) {
    const part = text.slice(at, at + size)
    coded += `${part.length.toString(16)}\r\n${part}\r\n`
  }
  return `${coded}0\r\n\r\n`
}

t.test('a request body reaches the service byte for byte', async (t) => {
  const gateway = await startBefore(t, await startUpstream(t))
  const { port, auth, service } = gateway
  for (const method of ['POST', 'PUT', 'PATCH', 'DELETE', 'GET', 'OPTIONS']) {
    for (const body of ['', 'x', BYTES]) {
      const seen = service.requests.length
      const answer = await send(
        port,
        `${method} /b?x=1`,
        [auth, `Content-Length: ${body.length}`],
        body,
      )
      t.equal(answer.status, 200, `${method} ${body.length}`)
      const request = service.requests[seen]
      t.equal(request?.method, method)
      t.equal(digest(request?.body ?? ''), digest(body))
      if (body !== '') t.equal(request?.headers['content-length'], String(body.length))

      const again = service.requests.length
      const coded = await send(
        port,
        `${method} /c`,
        [auth, 'Transfer-Encoding: chunked'],
        chunked(body),
      )
      t.equal(coded.status, 200, `${method} chunked ${body.length}`)
      t.equal(digest(service.requests[again]?.body ?? ''), digest(body))
      t.equal(service.requests.length, again + 1)
    }
  }
  await gateway.settled()
})

t.test('any content type passes, valid or not, also text of more than a megabyte', async (t) => {
  const { port, auth, service } = await startBefore(t, await startUpstream(t))
  const large = 'é\n'.repeat(500_000)
  const types = [
    'text/plain',
    'text/plain;charset=utf-8',
    'application/json',
    'nonsense',
    'a/b; =',
    '; ;',
    '*/*',
    '"',
    'multipart/form-data',
  ]
  for (const type of types) {
    const seen = service.requests.length
    const answer = await send(
      port,
      'POST /t',
      [auth, `Content-Type: ${type}`, `Content-Length: ${large.length}`],
      large,
    )
    t.equal(answer.status, 200, type)
    t.equal(service.requests[seen]?.body.length, large.length)
    t.equal(service.requests[seen]?.headers['content-type'], type)
  }
  const bad = await send(
    port,
    'POST /t',
    [auth, 'Content-Type: application/json', 'Content-Length: 1'],
    '{',
  )
  t.equal(bad.status, 200, 'JSON is the service’s to read')
})

t.test('a response body reaches the client byte for byte, in every framing', async (t) => {
  const service = await startRawUpstream(t, (socket) => {
    socket.once('data', (head) => {
      const path = /^GET (\S+)/.exec(String(head))?.[1]
      socket.write('HTTP/1.1 200 OK\r\nConnection: close\r\n', 'latin1')
      if (path === '/length')
        socket.end(`Content-Length: ${BYTES.length}\r\n\r\n${BYTES}`, 'latin1')
      if (path === '/chunked')
        socket.end(`Transfer-Encoding: chunked\r\n\r\n${chunked(BYTES)}`, 'latin1')
      if (path === '/close') socket.end(`\r\n${BYTES}`, 'latin1')
      if (path === '/empty') socket.end('Content-Length: 0\r\n\r\n')
    })
  })
  const { port, auth } = await startBefore(t, service)
  t.equal(digest((await send(port, 'GET /length', [auth])).body), digest(BYTES))
  for (const path of ['/chunked', '/close']) {
    t.equal(
      digest(dechunk((await send(port, `GET ${path}`, [auth])).body) ?? ''),
      digest(BYTES),
      path,
    )
    const old = await send(port, `GET ${path} HTTP/1.0`, [auth])
    t.equal(digest(old.body), digest(BYTES), `${path}: HTTP/1.0 gets no chunks`)
  }
  t.equal((await send(port, 'GET /empty', [auth])).headers['content-length'], '0')
})

t.test('HEAD, 204 and 304 have no body, and the connection stays usable', async (t) => {
  const service = await startUpstream(t, (request, response) => {
    const status = Number(/\d+/.exec(request.url ?? '')?.[0] ?? 200)
    if (status === 200) response.setHeader('Content-Length', 1234)
    if (status === 304) response.setHeader('ETag', '"e"')
    response.writeHead(status)
    response.end(status === 200 && request.method === 'GET' ? 'x'.repeat(1234) : undefined)
  })
  const { port, auth } = await startBefore(t, service)
  const socket = await open(port)
  const received = gather(socket)
  const steps = [
    ['HEAD /200', 'content-length: 1234'],
    ['GET /204', 'HTTP/1.1 204'],
    ['GET /304', 'etag: "e"'],
    ['HEAD /404', 'HTTP/1.1 404'],
  ] as const
  let answers = 0
  for (const [line, part] of steps) {
    socket.write(requestBytes(line, [auth]))
    answers++
    const text = await received.until(
      (soFar) => soFar.split('HTTP/1.1 ').length - 1 === answers && soFar.endsWith('\r\n\r\n'),
    )
    t.match(text.toLowerCase(), part.toLowerCase(), line)
  }
  socket.write(requestBytes('GET /200', [auth]))
  t.ok(
    (await received.until((soFar) => soFar.endsWith('x'.repeat(1234)))).endsWith('x'.repeat(1234)),
  )
  socket.destroy()
})

t.test('trailers from either side do no harm', async (t) => {
  const service = await startUpstream(t, (_request, response) => {
    response.writeHead(200, { Trailer: 'Checksum', 'Transfer-Encoding': 'chunked' })
    response.write('body')
    response.addTrailers({ Checksum: 'abc', 'Set-Cookie': 'workspace_session=x' })
    response.end()
  })
  const { port, auth } = await startBefore(t, service)
  const answer = await send(port, 'GET /', [auth])
  t.equal(answer.status, 200)
  t.equal(dechunk(answer.body), 'body')
  t.notMatch(answer.raw, 'workspace_session')

  const echo = await startUpstream(t)
  const second = await startBefore(t, echo)
  const withTrailer = await send(
    second.port,
    'POST /',
    [second.auth, 'Transfer-Encoding: chunked', 'Trailer: X-Forwarded-User'],
    '3\r\nabc\r\n0\r\nX-Forwarded-User: root\r\nX-Other: 9\r\n\r\n',
  )
  t.equal(withTrailer.status, 200)
  t.equal(echo.requests[0]?.body, 'abc')
  t.equal(echo.requests[0]?.headers['x-forwarded-user'], 'alice')
})
