/** Is everything that is not HTTP as the gateway speaks it refused with a problem document, and the connection closed? */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import t from 'tap'
import { ERRORS, type ErrorCode } from '../../src/answers/errors.ts'
import { IDLE_MS } from '../../src/http/client-connection.ts'
import { assertRefused, DOORS, knockWith } from '../helpers/door.ts'
import { startWorkspace, token } from '../helpers/gateway.ts'
import { eventually, watchForCrashes } from '../helpers/waiting.ts'
import { exchange, gather, handshake, open, parseAnswer, send } from '../helpers/wire.ts'

const HOST_LINE = 'Host: houston.hubify.com'

/** A whole request as bytes. */
const bytesOf = (requestLine: string, headers: readonly string[], body = '') =>
  `${[requestLine, HOST_LINE, ...headers].join('\r\n')}\r\n\r\n${body}`

t.test(
  'bytes that are no request are refused, the connection closes, and the next one is served',
  async (t) => {
    const workspace = await startWorkspace(t)
    const bearer = `Authorization: Bearer ${await token()}`
    const get = (...headers: string[]) => bytesOf('GET / HTTP/1.1', [bearer, ...headers])
    const post = (headers: string[], body: string) =>
      bytesOf('POST / HTTP/1.1', [bearer, ...headers], body)
    const rows: Array<[what: string, bytes: string, code?: ErrorCode]> = [
      ['a TLS hello', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n'],
      ['zeros', '\0\0\0\0\r\n\r\n'],
      ['words', 'hello there\r\n\r\n'],
      ['HTTP/0.9', 'GET /\r\n\r\n'],
      ['the version HTTP/0.9', bytesOf('GET / HTTP/0.9', [bearer])],
      ['the version HTTP/1.2', bytesOf('GET / HTTP/1.2', [bearer])],
      ['the version HTTP/2.0', bytesOf('GET / HTTP/2.0', [bearer])],
      ['the version HTTP/11', bytesOf('GET / HTTP/11', [bearer])],
      ['the version http/1.1', bytesOf('GET / http/1.1', [bearer])],
      ['the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
      ['an unknown method', bytesOf('FOO / HTTP/1.1', [bearer])],
      ['a method in lower case', bytesOf('get / HTTP/1.1', [bearer])],
      ['lines that end without CR', get().replaceAll('\r', '')],
      ['a head that ends without CR', get().replace(/\r\n\r\n$/, '\r\n\n')],
      ['a CR in a value', get('X-A: b\rc')],
      ['a NUL in a value', get('X-A: b\0c')],
      ['a folded field', get('X-A: b\r\n c')],
      ['a space before the colon', get('X-A : b')],
      ['a space before a name', get(' X-A: b')],
      ['a field without a colon', get('X-A')],
      ['an empty name', get(': b')],
      ['a name with a bracket', get('X(A): b')],
      [
        'Content-Length and Transfer-Encoding',
        post(['Content-Length: 5', 'Transfer-Encoding: chunked'], '0\r\n\r\n'),
      ],
      [
        'Transfer-Encoding and Content-Length',
        post(['Transfer-Encoding: chunked', 'Content-Length: 5'], '0\r\n\r\n'),
      ],
      ['two lengths', post(['Content-Length: 3', 'Content-Length: 4'], 'abcd')],
      ['one length twice', post(['Content-Length: 3', 'Content-Length: 3'], 'abc')],
      ['a list of lengths', post(['Content-Length: 3, 3'], 'abc')],
      ['a signed length', post(['Content-Length: +3'], 'abc')],
      ['a negative length', post(['Content-Length: -3'], 'abc')],
      ['a hexadecimal length', post(['Content-Length: 0x3'], 'abc')],
      ['an empty length', post(['Content-Length: '], 'abc')],
      ['a length beyond all numbers', post(['Content-Length: 99999999999999999999'], 'abc')],
      ['a coding before chunked', post(['Transfer-Encoding: gzip, chunked'], '0\r\n\r\n')],
      ['chunked twice', post(['Transfer-Encoding: chunked, chunked'], '0\r\n\r\n')],
      [
        'chunked on two lines',
        post(['Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'], '0\r\n\r\n'),
      ],
      ['identity', post(['Transfer-Encoding: identity'], 'abc')],
      ['an unknown coding', post(['Transfer-Encoding: xchunked'], '0\r\n\r\n')],
      ['chunked with a parameter', post(['Transfer-Encoding: chunked;q=1'], '0\r\n\r\n')],
      ['an empty coding', post(['Transfer-Encoding: '], '0\r\n\r\n')],
      ['chunked before another coding', post(['Transfer-Encoding: chunked, gzip'], '0\r\n\r\n')],
      [
        'chunked on HTTP/1.0',
        bytesOf('POST / HTTP/1.0', [bearer, 'Transfer-Encoding: chunked'], '0\r\n\r\n'),
      ],
      ['a head of more than 16 KiB', get(`X-A: ${'a'.repeat(17_000)}`), 'headers-too-large'],
      [
        'an address of more than 16 KiB',
        bytesOf(`GET /${'a'.repeat(17_000)} HTTP/1.1`, [bearer]),
        'headers-too-large',
      ],
      [
        '101 fields',
        get(...Array.from({ length: 99 }, (_, i) => `X-${i}: 1`)),
        'headers-too-large',
      ],
      [
        '2,000 short fields',
        get(...Array.from({ length: 2000 }, () => 'A: b')),
        'headers-too-large',
      ],
      ['an expectation', get('Expect: banana'), 'expectation-failed'],
      ['two expectations', get('Expect: 100-continue, banana'), 'expectation-failed'],
      [
        'two expectations on two lines',
        get('Expect: 100-continue', 'Expect: 100-continue'),
        'expectation-failed',
      ],
    ]
    for (const [what, bytes, code = 'bad-request'] of rows) {
      await t.test(`${what} is answered ${ERRORS[code].status}`, async (t) => {
        const answer = parseAnswer(await exchange(workspace.port, bytes))
        await assertRefused(t, workspace, answer, { code, stage: 'listener' })
        t.equal(answer.headers['connection'], 'close', 'says once that the connection ends')
        t.match(answer.body, `"code":"${code}"`)
        t.equal(Number(answer.headers['content-length']), answer.body.length, 'nothing follows')
      })
    }
    t.equal((await send(workspace.port, 'GET /', [bearer])).status, 200, 'the next one is served')
  },
)

t.test('100 fields and a head just below 16 KiB are served', async (t) => {
  const { port } = await startWorkspace(t)
  const bearer = `Authorization: Bearer ${await token()}`
  const fields = Array.from({ length: 97 }, (_, i) => `X-${i}: 1`) // and Host, Connection, Authorization
  t.equal((await send(port, 'GET /', [bearer, ...fields])).status, 200)
  t.equal((await send(port, 'GET /', [bearer, `X-A: ${'a'.repeat(15_000)}`])).status, 200)
})

t.test(
  'a method that is not allowed is answered 405 with the allowed ones, as a request and as an upgrade',
  async (t) => {
    const workspace = await startWorkspace(t)
    const bearer = `Authorization: Bearer ${await token()}`
    for (const door of DOORS) {
      for (const requestLine of [
        'TRACE / HTTP/1.1',
        'TRACE /health HTTP/1.1',
        'PROPFIND / HTTP/1.1',
        'PURGE /api HTTP/1.1',
        'M-SEARCH / HTTP/1.1',
        'QUERY / HTTP/1.1',
        'CONNECT houston.hubify.com:443 HTTP/1.1',
        'CONNECT / HTTP/1.1',
      ]) {
        const answer = await knockWith(workspace.port, door, requestLine, [bearer])
        const line = await assertRefused(t, workspace, answer, {
          code: 'method-not-allowed',
          stage: 'listener',
        })
        t.equal(line['method'], requestLine.split(' ')[0])
        t.equal(answer.headers['allow'], 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS')
        t.equal(answer.headers['connection'], 'close')
      }
    }
  },
)

t.test('a WebSocket handshake is refused unless it is one of version 13', async (t) => {
  const workspace = await startWorkspace(t)
  const bearer = `Authorization: Bearer ${await token()}`
  const rows: Array<[what: string, requestLine: string, headers: string[], code?: ErrorCode]> = [
    ['a POST', 'POST / HTTP/1.1', []],
    ['a HEAD', 'HEAD / HTTP/1.1', []],
    ['an OPTIONS', 'OPTIONS / HTTP/1.1', []],
    ['a body with a length', 'GET / HTTP/1.1', ['Content-Length: 5']],
    ['a body in chunks', 'GET / HTTP/1.1', ['Transfer-Encoding: chunked']],
    ['HTTP/1.0', 'GET / HTTP/1.0', []],
    ['version 8', 'GET / HTTP/1.1', ['Sec-WebSocket-Version: 8'], 'upgrade-required'],
    ['version 0', 'GET / HTTP/1.1', ['Sec-WebSocket-Version: 0'], 'upgrade-required'],
    ['version 013', 'GET / HTTP/1.1', ['Sec-WebSocket-Version: 013'], 'upgrade-required'],
    ['a list of versions', 'GET / HTTP/1.1', ['Sec-WebSocket-Version: 13, 8'], 'upgrade-required'],
    [
      'two versions',
      'GET / HTTP/1.1',
      ['Sec-WebSocket-Version: 13', 'Sec-WebSocket-Version: 13'],
      'upgrade-required',
    ],
    ['an empty version', 'GET / HTTP/1.1', ['Sec-WebSocket-Version: '], 'upgrade-required'],
    ['an empty key', 'GET / HTTP/1.1', ['Sec-WebSocket-Key: ']],
    ['a short key', 'GET / HTTP/1.1', ['Sec-WebSocket-Key: AAAA']],
    ['a long key', 'GET / HTTP/1.1', [`Sec-WebSocket-Key: ${'A'.repeat(24)}`]],
    ['a key that is no base64', 'GET / HTTP/1.1', ['Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!==']],
    [
      'two keys',
      'GET / HTTP/1.1',
      [
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
      ],
    ],
  ]
  for (const [what, requestLine, headers, code = 'bad-request'] of rows) {
    await t.test(`${what} is answered ${ERRORS[code].status}`, async (t) => {
      const answer = await knockWith(workspace.port, 'upgrade', requestLine, [bearer, ...headers])
      if (requestLine.startsWith('HEAD')) {
        t.equal(answer.status, 400)
        t.equal(answer.headers['x-gateway-error'], 'bad-request')
        t.equal(workspace.dials(), 0)
        return
      }
      await assertRefused(t, workspace, answer, { code, stage: 'listener' })
      t.equal(answer.headers['connection'], 'close')
      if (code === 'upgrade-required') t.equal(answer.headers['sec-websocket-version'], '13')
    })
  }
  await t.test('a handshake without version or key', async (t) => {
    for (const missing of ['Sec-WebSocket-Version', 'Sec-WebSocket-Key']) {
      const lines = handshake([bearer]).filter((line) => !line.startsWith(missing))
      const answer = parseAnswer(await exchange(workspace.port, bytesOf('GET / HTTP/1.1', lines)))
      const code = missing.endsWith('Key') ? 'bad-request' : 'upgrade-required'
      await assertRefused(t, workspace, answer, { code, stage: 'listener' })
    }
  })
})

t.test('an offer of another protocol is ignored, and the client never hangs', async (t) => {
  const bearer = `Authorization: Bearer ${await token()}`
  const settings = ['Connection: Upgrade, HTTP2-Settings', 'HTTP2-Settings: AAMAAABkAAQAAP__']
  for (const offer of [
    ['Upgrade: h2c', ...settings],
    ['Upgrade: h2c'],
    ['Upgrade: foo'],
    ['Upgrade: TLS/1.0'],
    ['Upgrade: websocket, h2c'],
    ['Upgrade: h2c, websocket'],
    ['Upgrade: websocket', 'Upgrade: websocket'],
    ['Upgrade: '],
    ['Upgrade: websocket/13'],
  ])
    await t.test(offer.join(), async (t) => {
      const { port, services } = await startWorkspace(t)
      const lines = handshake([bearer, ...offer])
      const plain = parseAnswer(await exchange(port, bytesOf('GET / HTTP/1.1', lines)))
      t.equal(plain.status, 200)
      t.equal(plain.headers['connection'], 'close')
      t.equal((await exchange(port, bytesOf('GET / HTTP/1.0', lines))).slice(9, 12), '200')
      const health = await exchange(port, bytesOf('GET /health HTTP/1.1', lines))
      t.match(health, /^HTTP\/1\.1 200 /)
      const refused = parseAnswer(await exchange(port, bytesOf('GET / HTTP/1.1', handshake(offer))))
      t.equal(refused.status, 401)

      // A body is read as ever, in one packet with the head or behind it.
      const head = bytesOf('POST / HTTP/1.1', [...lines, 'Content-Length: 5'])
      t.match(await exchange(port, `${head}hello`), /"body":5/)
      const later = await open(port)
      const received = gather(later)
      later.write(head)
      await eventually(() => services.dashboard.dials() > 0, 'dialled')
      later.write('hel')
      await new Promise(setImmediate)
      later.write('lo')
      t.match((await received.over).text, /"body":5/)

      // What was sent behind it is neither answered nor waited for.
      const behind = bytesOf('GET /behind HTTP/1.1', [bearer])
      t.equal(
        (await exchange(port, bytesOf('GET / HTTP/1.1', lines) + behind)).split('HTTP/1.1 ').length,
        2,
      )
      const two = await open(port)
      const answers = gather(two)
      two.write(bytesOf('GET / HTTP/1.1', lines))
      await answers.until((text) => text.includes('\r\n\r\n'))
      two.write(behind)
      t.equal((await answers.over).text.split('HTTP/1.1 ').length, 2)

      for (const { url, headers } of services.dashboard.requests) {
        t.equal(url, '/')
        t.notOk('upgrade' in headers || 'http2-settings' in headers)
      }
    })
})

t.test(
  'an Upgrade field that Connection does not name is no upgrade, and is not forwarded',
  async (t) => {
    const { port, services } = await startWorkspace(t)
    const bearer = `Authorization: Bearer ${await token()}`
    for (const upgrade of ['h2c', 'websocket'])
      t.equal((await send(port, 'GET /', [bearer, `Upgrade: ${upgrade}`])).status, 200)
    for (const { headers } of services.dashboard.requests) t.notOk('upgrade' in headers)
  },
)

t.test(
  'a request that waits for 100 Continue is refused without one, and the connection closes',
  async (t) => {
    const workspace = await startWorkspace(t)
    const answer = parseAnswer(
      await exchange(
        workspace.port,
        bytesOf('POST / HTTP/1.1', ['Expect: 100-continue', 'Content-Length: 1000000']),
      ),
    )
    await assertRefused(t, workspace, answer, { code: 'sign-in-required', stage: 'authentication' })
    t.equal(answer.headers['connection'], 'close')
  },
)

t.test('100 Continue is sent once, after the decision', async (t) => {
  const { port, services } = await startWorkspace(t)
  const bearer = `Authorization: Bearer ${await token()}`
  const socket = await open(port)
  socket.setEncoding('latin1')
  socket.write(
    bytesOf('POST / HTTP/1.1', [
      bearer,
      'Expect: 100-continue',
      'Content-Length: 5',
      'Connection: close',
    ]),
  )
  const [first] = (await once(socket, 'data')) as [string]
  t.equal(first, 'HTTP/1.1 100 Continue\r\n\r\n')
  socket.write('hello')
  let rest = ''
  socket.on('data', (chunk: string) => (rest += chunk))
  await once(socket, 'close')
  t.match(rest, /^HTTP\/1\.1 200 /)
  t.equal(services.dashboard.requests[0]?.body, 'hello')
  t.notOk('expect' in (services.dashboard.requests[0]?.headers ?? {}), 'it is not forwarded')
})

t.test('a head that does not arrive in time is answered 408', async (t) => {
  const workspace = await startWorkspace(t)
  t.equal(workspace.running.app.server.headersTimeout, 10_000)
  workspace.running.app.server.headersTimeout = 100
  const answer = parseAnswer(
    await exchange(workspace.port, 'GET / HTTP/1.1\r\nHost: houston.hubify.com\r\nX-Slow: '),
  )
  await assertRefused(t, workspace, answer, { code: 'request-timeout', stage: 'listener' })
  t.equal(answer.headers['connection'], 'close')
})

t.test('a handshake whose end arrives after its 408 reaches nobody', async (t) => {
  const workspace = await startWorkspace(t)
  const { server } = workspace.running.app
  server.headersTimeout = 100
  const lines = handshake([`Authorization: Bearer ${await token()}`])
  const bytes = bytesOf('GET /api/ws HTTP/1.1', lines)
  const accepted = once(server, 'connection') as Promise<[Socket]>
  const client = connect({ port: workspace.port, host: '127.0.0.1', allowHalfOpen: true })
  client.on('error', () => client.destroy())
  t.teardown(() => client.destroy())
  const [side] = await accepted
  const closed = once(side, 'close')
  // The client does not close its own side when the gateway has closed the other.
  let received = ''
  client.on('data', (chunk: Buffer) => (received += chunk.toString('latin1')))
  client.write(bytes.slice(0, -2))
  await eventually(() => received.includes('request-timeout'), 'the 408')
  client.write(bytes.slice(-2))
  await closed
  t.equal(side.bytesRead, bytes.length, 'all of it was read')
  t.equal(workspace.dials(), 0)
  t.equal(received.split('HTTP/1.1 ').length, 2, 'one response')
})

t.test(
  'a broken chunk in a body ends the connection, and the service never sees a whole request',
  async (t) => {
    const { port, services } = await startWorkspace(t)
    const bearer = `Authorization: Bearer ${await token()}`
    for (const chunks of [
      'zz\r\nab\r\n0\r\n\r\n',
      '-1\r\nab\r\n',
      '5\r\nabcdefgh\r\n0\r\n\r\n',
      '5;\nabcde\r\n',
    ]) {
      const received = await exchange(
        port,
        bytesOf('POST / HTTP/1.1', [bearer, 'Transfer-Encoding: chunked'], chunks),
      )
      t.match(received, /^(?:HTTP\/1\.1 400 |$)/, JSON.stringify(chunks))
      t.ok((received.match(/HTTP\/1\.1 /g)?.length ?? 0) <= 1)
    }
    t.notOk(services.dashboard.requests.some(({ body }) => body.includes('abcdefgh')))
    t.equal((await send(port, 'GET /', [bearer])).status, 200, 'the next one is served')
  },
)

t.test('connections beyond the cap are closed when they arrive', async (t) => {
  const { port, running } = await startWorkspace(t)
  const { server } = running.app
  t.equal(server.maxConnections, 10_000)
  server.maxConnections = 2
  const held = [await open(port), await open(port)]
  t.equal(await exchange(port, 'GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n'), '')
  for (const socket of held) socket.destroy()
})

t.test('a connection is kept longer than the proxy in front keeps it', async (t) => {
  const { port, running } = await startWorkspace(t)
  t.ok(IDLE_MS > 120_000)
  t.equal(running.app.server.keepAliveTimeout, 0, 'Node ends none of them')
  const socket = await open(port)
  socket.setEncoding('latin1')
  for (let i = 0; i < 3; i++) {
    socket.write('GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n')
    const [answer] = (await once(socket, 'data')) as [string]
    t.match(answer, /^HTTP\/1\.1 200 /)
  }
  socket.destroy()
})

t.test(
  'garbage behind a served request closes the connection without a second response in the middle of the first',
  async (t) => {
    const { port } = await startWorkspace(t)
    const bearer = `Authorization: Bearer ${await token()}`
    const received = await exchange(port, bytesOf('GET / HTTP/1.1', [bearer]) + 'garbage\r\n\r\n')
    const heads = received.split('HTTP/1.1 ').slice(1)
    t.ok(heads.length <= 2)
    t.ok(heads.every((head) => /^(?:200|400) /.test(head)))
  },
)

t.test('one address may hold 256 connections, a trusted proxy as many as it needs', async (t) => {
  const direct = await startWorkspace(t, { GATEWAY_TRUSTED_PROXIES: 'none' })
  const health = 'GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'
  const held = await Promise.all(Array.from({ length: 256 }, () => open(direct.port)))
  t.equal(await exchange(direct.port, health), '', 'one more is closed')
  const [first] = held
  first?.destroy()
  let answer = ''
  while (answer === '') answer = await exchange(direct.port, health)
  t.match(answer, /^HTTP\/1\.1 200 /, 'as soon as one has ended, another is served')
  for (const socket of held) socket.destroy()

  const proxied = await startWorkspace(t)
  const many = await Promise.all(Array.from({ length: 300 }, () => open(proxied.port)))
  t.match(await exchange(proxied.port, health), /^HTTP\/1\.1 200 /)
  for (const socket of many) socket.destroy()
})

t.test(
  'the 431 for too many cookies makes the browser drop them, the one for a long address does not',
  async (t) => {
    const { port } = await startWorkspace(t)
    const cookies = Array.from({ length: 8 }, (_, i) => `bomb${i}=${'x'.repeat(2500)}`).join('; ')
    const bombed = await send(port, 'GET /', [`Cookie: ${cookies}`])
    t.equal(bombed.status, 431)
    t.equal(bombed.headers['clear-site-data'], '"cookies"')
    const long = await send(port, `GET /?${'x'.repeat(17_000)}`, ['Cookie: a=b'])
    t.equal(long.status, 431)
    t.equal(long.headers['clear-site-data'], undefined, 'a link must not sign people out')
  },
)

t.test('an error in a callback of the server closes that connection, and no other', async (t) => {
  const crashes = watchForCrashes()
  const workspace = await startWorkspace(t)
  const { parts } = workspace.running
  const rows: Array<[what: string, object: object, method: string]> = [
    ['bytes that are no request', parts.metrics, 'count'],
    ['a connection', parts.watchdog, 'add'],
  ]
  for (const [what, object, method] of rows) {
    const real: unknown = Reflect.get(object, method)
    Reflect.set(object, method, () => {
      Reflect.set(object, method, real)
      throw new Error(`a fault of ours: ${what}`)
    })
    const { over } = gather(
      await open(workspace.port).then((socket) => {
        socket.write('garbage\r\n\r\n')
        return socket
      }),
    )
    t.equal((await over).text, '', what)
    await workspace.logLine(
      ({ msg, err }) => msg === 'a connection failed' && JSON.stringify(err).includes(what),
    )
  }
  t.equal((await send(workspace.port, 'GET /.env')).status, 403)
  t.same(crashes, [])
})
