/** Does health answer a prober fast, whatever happens behind, and spare the stats server? */
import { once } from 'node:events'
import t from 'tap'
import { assertRefused, client, cookie, NAVIGATION, pairs } from '../helpers/door.ts'
import { startTestGateway, startWorkspace } from '../helpers/gateway.ts'
import { closedPort, startRawUpstream, startUpstream } from '../helpers/upstream.ts'
import { SOON_MS } from '../helpers/waiting.ts'
import { exchange, open, send } from '../helpers/wire.ts'

t.test('the stats server’s own answer is passed on, to anybody', async (t) => {
  const statuses = [200]
  const service = await startUpstream(t, (_request, response) => {
    response.writeHead(statuses[0] ?? 200, { 'Content-Type': 'application/json' })
    response.end(statuses[0] === 204 ? undefined : '{"cpu":0.5}')
  })
  for (const status of [200, 203, 204]) {
    statuses[0] = status
    const gateway = await startTestGateway(t, { GATEWAY_HEALTH_URL: service.url })
    for (const target of ['/health', '/health?x=1', '/health?', '/health']) {
      const answer = await send(
        gateway.port,
        `GET ${target}`,
        target === '/health?' ? NAVIGATION : [],
      )
      t.equal(answer.status, status)
      t.equal(answer.headers['x-gateway-error'], undefined)
      t.equal(answer.headers['cache-control'], 'no-store')
      if (status === 204) continue
      t.equal(answer.body, '{"cpu":0.5}')
      t.equal(answer.headers['content-type'], 'application/json')
    }
    const head = await send(gateway.port, 'HEAD /health')
    t.equal(head.status, status)
    t.equal(head.body, '')
  }
})

t.test(
  'the stats server sees a plain GET with fixed fields, and nothing of the prober’s',
  async (t) => {
    const { port, services } = await startWorkspace(t)
    const answer = await send(port, 'HEAD /health?token=secret', [
      client('203.0.113.9'),
      'User-Agent: Caddy',
      'If-None-Match: "x"',
      'Range: bytes=0-1',
      'Accept-Encoding: gzip',
      'Authorization: Basic dXNlcjpwYXNz',
      cookie('x'),
      'X-Request-Id: chosen',
      'Accept: text/html',
      'Host: stranger.example',
      'X-Forwarded-Host: stranger.example',
      'X-Anything: else',
      'Content-Length: 0',
    ])
    t.equal(answer.status, 200)
    t.match(services.health.requests, [{ method: 'GET', url: '/health', body: '' }])
    t.same(pairs(services.health.requests[0]?.rawHeaders ?? []), [
      'accept: */*',
      'host: houston.hubify.com',
      'user-agent: workspace-gateway',
    ])
  },
)

t.test('a stranger cannot make the probe of Caddy fail', async (t) => {
  // A stats server that answers its own hosts and users alone, as one with an allow-list does.
  const service = await startUpstream(t, ({ headers }, response) => {
    const isFair =
      headers.host === 'houston.hubify.com' && headers['user-agent'] !== 'a banned robot'
    response.writeHead(isFair ? 200 : 421).end('{}')
  })
  const { port } = await startTestGateway(t, {
    GATEWAY_HEALTH_URL: service.url,
    GATEWAY_HEALTH_STRICT: 'true',
  })
  const stranger = ['Host: stranger.example', 'User-Agent: a banned robot']
  t.equal((await send(port, 'GET /health', stranger)).status, 200)
  t.equal((await send(port, 'GET /health', ['User-Agent: Caddy'])).status, 200)
  t.equal(service.requests.length, 1, 'the stranger’s probe was shared')
})

t.test('a probe that meets a kept connection just being closed is sent once more', async (t) => {
  const asked: string[] = []
  const service = await startRawUpstream(t, (socket) => {
    let isFirst = true
    socket.on('data', (bytes: Buffer) => {
      asked.push(bytes.toString('latin1'))
      if (isFirst) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}')
      else socket.destroy()
      isFirst = false
    })
  })
  const { port } = await startTestGateway(t, {
    GATEWAY_HEALTH_URL: service.url,
    GATEWAY_HEALTH_STRICT: 'true',
  })
  t.equal((await send(port, 'GET /health')).status, 200)
  while (asked.length === 1) t.equal((await send(port, 'GET /health')).status, 200)
  t.equal(asked.length, 3, 'two probes, and one of them twice')
  t.equal(service.dials(), 2)
})

t.test('without a stats server the workspace is degraded, not gone', async (t) => {
  const answers = {
    'nobody there': `http://127.0.0.1:${await closedPort()}`,
    'an error': (
      await startUpstream(t, (_request, response) => response.writeHead(500).end('boom'))
    ).url,
    unavailable: (await startUpstream(t, (_request, response) => response.writeHead(503).end()))
      .url,
    'a redirect': (
      await startUpstream(t, (_request, response) =>
        response.writeHead(302, { Location: 'http://127.0.0.1:1/' }).end(),
      )
    ).url,
    'not found': (await startUpstream(t, (_request, response) => response.writeHead(404).end()))
      .url,
    garbage: (
      await startRawUpstream(t, (socket) =>
        socket.once('data', () => socket.end('garbage\r\n\r\n')),
      )
    ).url,
    'a cut answer': (
      await startRawUpstream(t, (socket) =>
        socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{')),
      )
    ).url,
    'an endless answer': (
      await startUpstream(t, (_request, response) => {
        const timer = setInterval(() => response.write('x'.repeat(20_000)), 1)
        response.on('close', () => clearInterval(timer))
      })
    ).url,
    silence: (await startRawUpstream(t, () => {})).url,
    'silence after a head': (
      await startRawUpstream(t, (socket) =>
        socket.once('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n')),
      )
    ).url,
    'a missing socket': 'unix:/nonexistent/stats.sock',
  }
  for (const [what, url] of Object.entries(answers)) {
    await t.test(what, async (t) => {
      const gateway = await startTestGateway(t, {
        GATEWAY_HEALTH_URL: url,
        GATEWAY_DRAIN_SECONDS: '0',
      })
      const startedAt = performance.now()
      const answer = await send(gateway.port, 'GET /health')
      t.ok(performance.now() - startedAt < SOON_MS, 'at once')
      t.equal(answer.status, 200)
      t.same(JSON.parse(answer.body), { status: 'degraded', stats: 'unreachable' })
      t.equal(answer.headers['content-type'], 'application/json')
      t.match(answer.headers['x-gateway-error'], /^upstream-(?:unreachable|timeout)$/)
      t.notMatch(answer.raw, /127\.0\.0\.1|ECONN|boom|nonexistent/)
      const line = await gateway.logLine(({ id }) => id === answer.headers['x-request-id'])
      t.match(line, {
        stage: 'health',
        status: 200,
        route: 'health',
        code: answer.headers['x-gateway-error'] ?? 'none',
      })
      const head = await send(gateway.port, 'HEAD /health')
      t.equal(head.status, 200)
      t.equal(head.body, '')
    })
  }
})

t.test('when it is strict, health fails with the stats server', async (t) => {
  const dead = `http://127.0.0.1:${await closedPort()}`
  const silent = await startRawUpstream(t, () => {})
  const failing = await startUpstream(t, (_request, response) => response.writeHead(500).end())
  for (const [url, code] of [
    [dead, 'upstream-unreachable'],
    [failing.url, 'upstream-unreachable'],
    [silent.url, 'upstream-timeout'],
  ] as const) {
    const gateway = await startTestGateway(t, {
      GATEWAY_HEALTH_URL: url,
      GATEWAY_HEALTH_STRICT: 'true',
      GATEWAY_DRAIN_SECONDS: '0',
    })
    const startedAt = performance.now()
    const answer = await send(gateway.port, 'GET /health')
    t.ok(performance.now() - startedAt < SOON_MS, 'at once')
    await assertRefused(t, { ...gateway, dials: () => 0 }, answer, { code, stage: 'health' })
  }
  const { port } = await startWorkspace(t, { GATEWAY_HEALTH_STRICT: 'true' })
  t.equal((await send(port, 'GET /health')).status, 200)
})

t.test(
  'twenty probers at once are one request to the stats server, whose answer they share for a second',
  async (t) => {
    const { port, services } = await startWorkspace(t)
    const answers = await Promise.all(Array.from({ length: 20 }, () => send(port, 'GET /health')))
    t.ok(answers.every(({ status, body }) => status === 200 && body === answers[0]?.body))
    t.equal(new Set(answers.map(({ headers }) => headers['x-request-id'])).size, 20)
    t.equal(services.health.dials(), 1)
    t.equal(services.health.requests.length, 1)
    const startedAt = performance.now()
    let asked = 0
    while (services.health.requests.length === 1) {
      await send(port, 'GET /health')
      asked++
    }
    t.ok(performance.now() - startedAt > 500, 'later probers share it too')
    t.ok(asked > 1)
  },
)

t.test('twenty probers wait for a slow stats server together', async (t) => {
  let asked = ''
  const slow = await startRawUpstream(t, (socket) => {
    socket.on('data', (chunk: Buffer) => (asked += chunk.toString('latin1')))
  })
  const gateway = await startTestGateway(t, {
    GATEWAY_HEALTH_URL: slow.url,
    GATEWAY_DRAIN_SECONDS: '0',
  })
  const startedAt = performance.now()
  const answers = await Promise.all(
    Array.from({ length: 20 }, () => send(gateway.port, 'GET /health')),
  )
  t.ok(performance.now() - startedAt < SOON_MS)
  t.ok(answers.every(({ status }) => status === 200))
  t.equal(asked.match(/GET \/health/g)?.length, 1)
})

t.test('a stats server that comes back is noticed', async (t) => {
  const statuses = [500]
  const service = await startUpstream(t, (_request, response) =>
    response.writeHead(statuses[0] ?? 500).end('{}'),
  )
  const { port } = await startTestGateway(t, { GATEWAY_HEALTH_URL: service.url })
  t.match((await send(port, 'GET /health')).body, 'degraded')
  statuses[0] = 200
  let answer = await send(port, 'GET /health')
  while (answer.body.includes('degraded')) answer = await send(port, 'GET /health')
  t.equal(answer.body, '{}')
})

t.test('any other method is answered 405', async (t) => {
  const workspace = await startWorkspace(t)
  for (const method of ['POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']) {
    const answer = await send(workspace.port, `${method} /health`, ['Content-Length: 0'])
    await assertRefused(t, workspace, answer, { code: 'method-not-allowed', stage: 'health' })
    t.equal(answer.headers['allow'], 'GET, HEAD')
    for (const type of ['application/json', 'text/plain', 'application/xml']) {
      const headers = [`Content-Type: ${type}`, 'Content-Length: 8']
      const again = await send(workspace.port, `${method} /health`, headers, '{"broken')
      t.equal(again.status, 405, `whatever its body: ${type}`)
    }
  }
})

t.test('only its exact address is health', async (t) => {
  const workspace = await startWorkspace(t)
  for (const target of ['/health/', '/healthz', '/Health', '/health;x', '/health/x', '/x/health']) {
    const answer = await send(workspace.port, `GET ${target}`)
    await assertRefused(t, workspace, answer, { code: 'sign-in-required', stage: 'authentication' })
  }
})

t.test('a browser is not sent to sign in, and no credential matters', async (t) => {
  const { port } = await startWorkspace(t, { GATEWAY_LOGIN_URL: 'https://hubify.com/login' })
  for (const headers of [
    NAVIGATION,
    ['Authorization: Bearer a.b.c'],
    ['X-Workspace-Token: x', 'X-Workspace-Token: y'],
    [cookie('x'), cookie('y')],
  ])
    t.equal((await send(port, 'GET /health', headers)).status, 200, headers.join())
})

t.test('a prober that leaves early harms nobody', async (t) => {
  const { port, services } = await startWorkspace(t)
  const socket = await open(port)
  socket.write('GET /health HTTP/1.1\r\nHost: x\r\n\r\n')
  socket.resetAndDestroy()
  await once(socket, 'close')
  t.match(await exchange(port, 'GET /health HTTP/1.0\r\n\r\n'), /^HTTP\/1\.1 200 /)
  t.ok(services.health.dials() <= 1)
})
