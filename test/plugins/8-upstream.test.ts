/** Does a request that may pass reach its service, and do services that misbehave end in a clear answer? */
import t from 'tap'
import { assertRefused, cookie, DOORS, HTTPS, knock, ORIGIN } from '../helpers/door.ts'
import { startTestGateway, startWorkspace, token } from '../helpers/gateway.ts'
import {
  closedPort,
  startRawUpstream,
  startUpstream,
  switchingProtocols,
} from '../helpers/upstream.ts'
import { clientFrame, open, send, serverFrame, upgrade } from '../helpers/wire.ts'

const bearer = async () => `Authorization: Bearer ${await token()}`

t.test('a service that is not there is answered 502, in words that name no address', async (t) => {
  const dead = await closedPort()
  const gateway = await startTestGateway(t, {
    GATEWAY_DASHBOARD_URL: `http://127.0.0.1:${dead}`,
    GATEWAY_API_URL: 'unix:/nonexistent/openclaw.sock',
  })
  for (const door of DOORS) {
    for (const target of ['/', '/api/x']) {
      const answer = await knock(gateway.port, door, target, [await bearer()])
      await assertRefused(t, { ...gateway, dials: () => 0 }, answer, {
        code: 'upstream-unreachable',
        stage: 'upstream',
      })
      t.notMatch(answer.raw, /127\.0\.0\.1|ECONNREFUSED|ENOENT|openclaw|nonexistent/)
      t.notMatch(answer.raw, String(dead))
    }
  }
})

t.test(
  'a service that says nothing is answered 504 when the time for its first byte is over',
  async (t) => {
    const silent = await startRawUpstream(t, () => {})
    const gateway = await startTestGateway(t, {
      GATEWAY_DASHBOARD_URL: silent.url,
      GATEWAY_FIRST_BYTE_SECONDS: '1',
      GATEWAY_DRAIN_SECONDS: '0',
    })
    const answer = await send(gateway.port, 'GET /', [await bearer()])
    await assertRefused(t, { ...gateway, dials: silent.dials }, answer, {
      code: 'upstream-timeout',
      stage: 'upstream',
      dials: 1,
    })
  },
)

t.test('an answer that is no HTTP, or none at all, is answered 502', async (t) => {
  for (const reply of [
    '',
    'garbage\r\n\r\n',
    'HTTP/1.1 2000 OK\r\n\r\n',
    'HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n',
  ]) {
    const odd = await startRawUpstream(t, (socket) => socket.once('data', () => socket.end(reply)))
    const gateway = await startTestGateway(t, { GATEWAY_DASHBOARD_URL: odd.url })
    for (const door of DOORS) {
      const answer = await knock(gateway.port, door, '/', [await bearer()])
      t.equal(answer.status, 502, `${door} ${JSON.stringify(reply)}`)
      t.equal(answer.headers['x-gateway-error'], 'upstream-unreachable')
    }
    t.equal(odd.dials(), 2, 'each was tried once')
  }
})

t.test('a service with too many requests under way is answered 503 at once', async (t) => {
  const workspace = await startWorkspace(t)
  const { dashboard } = workspace.running.parts.services
  dashboard.inFlight += 1024
  const answer = await send(workspace.port, 'GET /', [await bearer()])
  dashboard.inFlight -= 1024
  await assertRefused(t, workspace, answer, { code: 'upstream-busy', stage: 'upstream' })
  t.equal(answer.headers['retry-after'], '1')
  t.equal((await send(workspace.port, 'GET /', [await bearer()])).status, 200)
  t.equal(dashboard.inFlight, 0)
})

t.test('a request is sent to a service once, whatever it answers', async (t) => {
  for (const status of [500, 502, 503, 429, 401, 403]) {
    const service = await startUpstream(t, (_request, response) => {
      response.writeHead(status, { 'Retry-After': '0' }).end('its own words')
    })
    const gateway = await startTestGateway(t, { GATEWAY_DASHBOARD_URL: service.url })
    const answer = await send(gateway.port, 'GET /', [await bearer()])
    t.equal(answer.status, status)
    t.match(answer.body, 'its own words')
    t.equal(answer.headers['x-gateway-error'], undefined, 'nobody takes it for ours')
    t.equal(service.requests.length, 1)
  }
})

t.test('a service cannot speak in the gateway’s name', async (t) => {
  const service = await startUpstream(t, (_request, response) => {
    response
      .writeHead(200, {
        'X-Gateway-Error': 'rate-limited',
        'X-Request-Id': 'forged',
        'Set-Cookie': [
          '__Host-workspace_session=evil; Path=/; Secure',
          'a=b; Domain=hubify.com; Path=/',
          'c=d',
        ],
        Location: 'http://localhost:1/x',
      })
      .end()
  })
  const gateway = await startTestGateway(t, { GATEWAY_DASHBOARD_URL: service.url })
  const answer = await send(gateway.port, 'GET /', [await bearer()])
  t.equal(answer.headers['x-gateway-error'], undefined)
  t.not(answer.headers['x-request-id'], 'forged')
  t.equal(answer.headers['set-cookie'], 'a=b; Path=/\nc=d')
})

t.test(
  'signed-in answers are private, framed only here and typed as said, where the service said nothing',
  async (t) => {
    const said = {
      'Cache-Control': 'public, max-age=31536000, immutable',
      'Content-Security-Policy': "default-src 'self'; frame-ancestors 'none'",
      'Referrer-Policy': 'origin',
      'X-Content-Type-Options': 'nosniff',
    }
    const service = await startUpstream(t, ({ url }, response) => {
      response.writeHead(200, url === '/said' ? said : {}).end()
    })
    const gateway = await startTestGateway(t, { GATEWAY_DASHBOARD_URL: service.url })
    const silent = await send(gateway.port, 'GET /x.css', [await bearer()])
    t.match(silent.headers, {
      'cache-control': 'private, no-store',
      'content-security-policy': "frame-ancestors 'self'",
      'referrer-policy': 'same-origin',
      'x-content-type-options': 'nosniff',
    })
    const spoken = await send(gateway.port, 'GET /said', [await bearer()])
    for (const [name, value] of Object.entries(said))
      t.equal(spoken.headers[name.toLowerCase()], value)
  },
)

t.test(
  'prefetches of Next.js to another route get an empty 404, to the dashboard they pass',
  async (t) => {
    const workspace = await startWorkspace(t, { GATEWAY_CONTROL_UI: '/chat' })
    const headers = [await bearer()]
    for (const field of ['RSC: 1', 'Next-Router-Prefetch: 1', 'Next-Router-Prefetch: 2']) {
      for (const target of ['/terminal', '/terminal/', '/api/x', '/chat']) {
        const answer = await send(workspace.port, `GET ${target}?_rsc=abc`, [...headers, field])
        t.equal(answer.status, 404)
        t.equal(answer.body, '')
        t.equal(answer.headers['content-length'], '0')
        t.equal(answer.headers['x-gateway-error'], 'not-found')
        const line = await workspace.logLine(({ id }) => id === answer.headers['x-request-id'])
        t.match(line, { stage: 'upstream', status: 404, code: 'not-found', reason: 'prefetch' })
      }
    }
    t.equal(workspace.dials(), 0)
    t.equal((await send(workspace.port, 'GET /logs', [...headers, 'RSC: 1'])).status, 200)
    t.match(workspace.services.dashboard.requests[0]?.headers, { rsc: '1' })
    const nobody = await send(workspace.port, 'GET /terminal', ['RSC: 1'])
    t.equal(nobody.status, 401, 'the door comes first')
  },
)

t.test(
  'the service’s refusal of a handshake reaches the client as an answer, and the connection ends',
  async (t) => {
    const service = await startUpstream(t, undefined, (_request, socket) => {
      socket.end(
        'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm="ttyd"\r\nContent-Length: 5\r\n\r\nnope!',
      )
    })
    const gateway = await startTestGateway(t, { GATEWAY_DASHBOARD_URL: service.url })
    const refused = await upgrade(gateway.port, '/', [await bearer()])
    await refused.closed
    t.equal(refused.answer.status, 401)
    t.equal(refused.answer.headers['www-authenticate'], 'Basic realm="ttyd"')
    t.equal(refused.answer.headers['x-gateway-error'], undefined)
    t.equal(refused.received().toString(), 'nope!')
  },
)

t.test('a tunnel opens only behind a real 101', async (t) => {
  const accept = 'Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA='
  for (const reply of [
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n${accept}\r\n\r\n`,
    'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n',
    'HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n',
  ]) {
    const service = await startRawUpstream(t, (socket) =>
      socket.once('data', () => socket.write(reply)),
    )
    const gateway = await startTestGateway(t, { GATEWAY_DASHBOARD_URL: service.url })
    const answer = await knock(gateway.port, 'upgrade', '/', [await bearer()])
    t.equal(answer.status, 502, reply.slice(0, 80))
    t.equal(answer.headers['x-gateway-error'], 'upstream-unreachable')
  }
  const plain = await startRawUpstream(t, (socket) =>
    socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')),
  )
  const gateway = await startTestGateway(t, { GATEWAY_DASHBOARD_URL: plain.url })
  const { answer, closed } = await upgrade(gateway.port, '/', [await bearer()])
  t.equal(answer.status, 200)
  await closed
})

t.test('what comes with either handshake arrives, in order', async (t) => {
  const service = await startUpstream(t, undefined, (request, socket) => {
    socket.write(
      Buffer.concat([Buffer.from(switchingProtocols(request)), serverFrame(1, 'welcome')]),
    )
    socket.on('data', (chunk: Buffer) => socket.write(serverFrame(2, chunk)))
  })
  const gateway = await startTestGateway(t, { GATEWAY_DASHBOARD_URL: service.url })
  const early = clientFrame(1, 'early')
  const { answer, until, socket } = await upgrade(gateway.port, '/', [await bearer()], early)
  t.equal(answer.status, 101)
  const expected = Buffer.concat([serverFrame(1, 'welcome'), serverFrame(2, early)])
  t.same(await until(expected.length), expected)
  socket.destroy()
})

t.test('the handshake that a service sees is the client’s', async (t) => {
  const { port, services } = await startWorkspace(t)
  const headers = [
    cookie(await token()),
    HTTPS,
    'X-Forwarded-For: 203.0.113.9',
    `Origin: ${ORIGIN}`,
    'Connection: keep-alive, Upgrade',
    'Sec-WebSocket-Protocol: chat, superchat',
    'Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits',
  ]
  const { answer, socket } = await upgrade(port, '/socket?x=1', headers)
  t.equal(answer.status, 101)
  t.match(answer.headers['x-request-id'], /^[0-9a-f-]{36}$/)
  socket.destroy()
  const [seen] = services.dashboard.requests
  t.equal(seen?.url, '/socket?x=1')
  t.match(seen?.headers, {
    host: 'houston.hubify.com',
    origin: ORIGIN,
    upgrade: 'websocket',
    connection: 'Upgrade',
    'sec-websocket-version': '13',
    'sec-websocket-protocol': 'chat, superchat',
    'sec-websocket-extensions': 'permessage-deflate; client_max_window_bits',
    'x-forwarded-for': '203.0.113.9',
    'x-forwarded-user': 'alice',
  })
})

t.test(
  'a session may hold 64 sockets open; one more is answered 503, until one of them ends',
  async (t) => {
    const workspace = await startWorkspace(t)
    const headers = [await bearer()]
    const held = await Promise.all(
      Array.from({ length: 64 }, () => upgrade(workspace.port, '/', headers)),
    )
    t.ok(held.every(({ answer }) => answer.status === 101))
    const dials = workspace.dials()
    const one = await knock(workspace.port, 'upgrade', '/', headers)
    await assertRefused(t, workspace, one, { code: 'upstream-busy', stage: 'upstream', dials })
    t.equal(one.headers['retry-after'], '5')
    const [first] = held
    first?.socket.destroy()
    await first?.closed
    await workspace.logLine(({ websocket, status }) => websocket === true && status === 101)
    let next = await upgrade(workspace.port, '/', headers)
    while (next.answer.status === 503) next = await upgrade(workspace.port, '/', headers)
    t.equal(next.answer.status, 101)
    for (const { socket } of [...held, next]) socket.destroy()
  },
)

t.test('a client that leaves takes its request with it', async (t) => {
  const begun = Promise.withResolvers<void>()
  const gone = Promise.withResolvers<void>()
  const service = await startUpstream(t, (_request, response) => {
    response.on('close', gone.resolve)
    begun.resolve()
  })
  const gateway = await startTestGateway(t, { GATEWAY_DASHBOARD_URL: service.url })
  const socket = await open(gateway.port)
  socket.write(`GET / HTTP/1.1\r\nHost: houston.hubify.com\r\n${await bearer()}\r\n\r\n`)
  await begun.promise
  socket.destroy()
  await gone.promise
  t.match(await gateway.logLine(({ msg }) => msg === 'request'), {
    stage: 'upstream',
    reason: 'client left',
  })
  t.equal(gateway.running.parts.services.dashboard.inFlight, 0)
})
