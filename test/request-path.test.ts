/** Does every request pass the same stages in the same order, and which routes are exempt from what? */
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { ServerResponse } from 'node:http'
import type { FastifyInstance, RouteOptions } from 'fastify'
import * as fc from 'fast-check'
import t from 'tap'
import type { ErrorCode } from '../src/answers/errors.ts'
import { assertRefused, client, cookie, DOORS, HTTPS, knock } from './helpers/door.ts'
import { startTestGateway, startWorkspace, token } from './helpers/gateway.ts'
import { closedPort, startUpstream } from './helpers/upstream.ts'
import { eventually, watchForCrashes } from './helpers/waiting.ts'
import { exchange, gather, handshake, open, send, upgrade } from './helpers/wire.ts'

/** The `onRequest` hooks that every request meets, in order. */
const HOOKS = [
  'onRequest', // @fastify/websocket tells upgrades from plain requests
  'beginExchange',
  'endConnectionAfterAnswer',
  'passStages',
]

/** The decisions that every request meets in the last of them, in order: the request path. */
const STAGES = [
  'checkMessage', // 0
  'checkTarget', // 1
  'findClient', // 2
  'checkHost', // 3
  'refuseSensitiveFile', // 4
  'findAndVerify', // 5
  'spendBudget', // 6
  'authenticate', // 7
]

t.test('every route runs the nine stages in the same order', async (t) => {
  const { running } = await startTestGateway(t, { GATEWAY_CONTROL_UI: '/chat' })
  t.same(
    running.app.stages.map(({ decide }) => decide.name),
    STAGES,
  )
  const tree = running.app.printRoutes({ includeHooks: true, commonPrefix: false })
  const chains = [...tree.matchAll(/\(onRequest\) (\[.*\])/g)].map(
    ([, list = '']) => JSON.parse(list) as string[],
  )
  t.ok(chains.length >= 6, 'the tree lists the routes')
  for (const chain of chains) {
    const own = chain.map((name) => name.replace(/\(\)$/, ''))
    t.same(
      own.slice(0, HOOKS.length).map((name, i) => (i === 0 ? 'onRequest' : name)),
      HOOKS,
    )
    t.ok(
      ['', 'keepBodyOpaque', 'keepBodyOpaque,refuseForeignGateway'].includes(
        own.slice(HOOKS.length).join(),
      ),
      `nothing decides after the stages: ${own.slice(HOOKS.length).join()}`,
    )
  }
})

t.test(
  'only the routes listed here are open to everybody, uncounted, or served for any host',
  async (t) => {
    const routes: RouteOptions[] = []
    const watch = (message: unknown) => {
      const { fastify } = message as { fastify: FastifyInstance }
      fastify.addHook('onRoute', (route) => {
        routes.push(route)
      })
    }
    subscribe('fastify.initialization', watch)
    t.teardown(() => unsubscribe('fastify.initialization', watch))
    await startTestGateway(t, { GATEWAY_CONTROL_UI: '/chat' })
    const having = (
      flag: 'public' | 'uncounted' | 'anyHost' | 'upgrades',
      value: true | 'without-credential' | 'signed-in' | 'sign-in' = true,
    ) =>
      routes
        .filter(({ config }) => config?.[flag] === value)
        .flatMap(({ method, url }) => [method].flat().map((one) => `${one} ${url}`))
        .toSorted()
    const allOf = (path: string) =>
      ['DELETE', 'GET', 'HEAD', 'OPTIONS', 'PATCH', 'POST', 'PUT'].map((one) => `${one} ${path}`)
    t.same(
      [...new Set(having('public'))],
      [
        ...[
          'assets/:file',
          'live',
          'ready',
          'remote',
          'remote/',
          'remote/:file',
          'signed-out',
        ].flatMap((path) => [`GET /_gateway/${path}`, `HEAD /_gateway/${path}`]),
        ...['GET', 'HEAD', 'POST'].map((method) => `${method} /_gateway/sign-in`),
        ...allOf('/wrong-method'), // 405; no request can name it
        ...allOf('/health'),
      ].toSorted(),
    )
    t.same(
      having('uncounted'),
      [
        ...['GET', 'HEAD'].map((method) => `${method} /_gateway/assets/:file`),
        ...allOf('/health'),
      ].toSorted(),
    )
    t.same(having('uncounted', 'without-credential'), [
      'GET /_gateway/live',
      'GET /_gateway/ready',
      'GET /_gateway/signed-out',
      'HEAD /_gateway/live',
      'HEAD /_gateway/ready',
      'HEAD /_gateway/signed-out',
    ])
    t.same(having('uncounted', 'signed-in'), ['POST /_gateway/renew', 'POST /_gateway/sign-out'])
    t.same(having('uncounted', 'sign-in'), [
      'GET /_gateway/sign-in',
      'HEAD /_gateway/sign-in',
      'POST /_gateway/sign-in',
    ])
    t.same(having('anyHost'), allOf('/health'))
    t.same(
      [...new Set(having('upgrades').map((route) => route.replace(/^\S+ |\/$/g, '')))],
      ['', '/api', '/chat', '/terminal'],
    )
  },
)

t.test(
  'each event of the server that begins a request has one listener, `upgrade` too',
  async (t) => {
    const { running } = await startTestGateway(t)
    for (const event of [
      'upgrade',
      'request',
      'connect',
      'checkContinue',
      'checkExpectation',
      'clientError',
    ])
      t.equal(running.app.server.listenerCount(event), 1, event)
  },
)

t.test('a request that is wrong in several ways is answered by the earliest stage', async (t) => {
  const services = await startWorkspace(t, { GATEWAY_RATE_LIMIT: '1' })
  const nobody = `http://127.0.0.1:${await closedPort()}`
  const dead = await startWorkspace(t, { GATEWAY_DASHBOARD_URL: nobody })
  const good = await token()
  const bad = `Authorization: Bearer ${await token({ secret: 'another-key-that-is-not-houstons-own' })}`
  const spent = client('203.0.113.50')
  await send(services.port, 'GET /', [spent])

  const evilHost = 'Host: evil.example'
  const garbage = client('not-an-address')
  const rows: Array<{
    stage: string
    code: ErrorCode
    target: string
    headers: string[]
    on?: typeof dead
  }> = [
    {
      stage: 'listener',
      code: 'expectation-failed',
      target: '//x/.env',
      headers: ['Expect: banana', garbage, evilHost, bad],
    },
    { stage: 'target', code: 'bad-target', target: '//x/.env', headers: [garbage, evilHost, bad] },
    { stage: 'target', code: 'bad-target', target: '/health/../.env', headers: [spent, evilHost] },
    {
      stage: 'client-address',
      code: 'bad-request',
      target: '/.env',
      headers: [garbage, evilHost, bad],
    },
    { stage: 'host', code: 'host-not-served', target: '/.env', headers: [spent, evilHost, bad] },
    { stage: 'sensitive-files', code: 'sensitive-file', target: '/.env', headers: [spent, bad] },
    {
      stage: 'sensitive-files',
      code: 'sensitive-file',
      target: '/api/x?path=/data/.env',
      headers: [spent],
    },
    { stage: 'rate-limit', code: 'rate-limited', target: '/', headers: [spent, bad] },
    { stage: 'rate-limit', code: 'rate-limited', target: '/_gateway/nothing', headers: [spent] },
    {
      stage: 'rate-limit',
      code: 'rate-limited',
      target: '/_gateway/sign-in',
      headers: [spent],
    },
    { stage: 'authentication', code: 'token-invalid', target: '/', headers: [bad], on: dead },
    { stage: 'authentication', code: 'sign-in-required', target: '/', headers: [], on: dead },
    {
      stage: 'upstream',
      code: 'upstream-unreachable',
      target: '/',
      headers: [`Authorization: Bearer ${good}`],
      on: dead,
    },
  ]
  for (const door of DOORS) {
    for (const { stage, code, target, headers, on = services } of rows) {
      await t.test(`${door} ${target}: ${code} comes from the stage ${stage}`, async (t) => {
        await assertRefused(t, on, await knock(on.port, door, target, headers), { code, stage })
      })
    }
  }
  t.equal(services.dials() + dead.dials(), 0)
})

t.test('an upgrade on a route without WebSockets is refused, signed in or not', async (t) => {
  const workspace = await startWorkspace(t)
  const bearer = `Authorization: Bearer ${await token()}`
  for (const target of [
    '/health',
    '/_gateway/live',
    '/_gateway/ready',
    '/_gateway/sign-in',
    '/_gateway/renew',
    '/_gateway/sign-out',
    '/_gateway/signed-out',
    '/_gateway/x',
  ])
    for (const headers of [[], [bearer]]) {
      const answer = await knock(workspace.port, 'upgrade', target, headers)
      await assertRefused(t, workspace, answer, { code: 'bad-request', stage: 'authentication' })
    }
})

t.test('a cookie with a foreign origin is refused before its service is dialled', async (t) => {
  const workspace = await startWorkspace(t)
  const headers = [cookie(await token()), HTTPS, 'Origin: https://research.hubify.com']
  const posted = await send(workspace.port, 'POST /', [...headers, 'Content-Length: 0'])
  await assertRefused(t, workspace, posted, { code: 'origin-not-allowed', stage: 'authentication' })
  const upgraded = await knock(workspace.port, 'upgrade', '/', headers)
  await assertRefused(t, workspace, upgraded, {
    code: 'origin-not-allowed',
    stage: 'authentication',
  })
})

t.test(
  'connections that are cut at any moment never end the process, and leave nothing behind',
  async (t) => {
    const workspace = await startWorkspace(t)
    const bearer = `Authorization: Bearer ${await token()}`
    const fatal: unknown[] = []
    const note = (error: unknown) => fatal.push(error)
    process.on('uncaughtExceptionMonitor', note)
    process.on('unhandledRejection', note)
    t.teardown(() => {
      process.off('uncaughtExceptionMonitor', note)
      process.off('unhandledRejection', note)
    })
    const lines = (requestLine: string, headers: string[]) =>
      `${[requestLine, 'Host: houston.hubify.com', ...headers].join('\r\n')}\r\n\r\n`
    const openings = [
      lines('GET / HTTP/1.1', [bearer]),
      lines('GET / HTTP/1.1', handshake([bearer])),
      lines('GET /terminal/ws HTTP/1.1', handshake([bearer, 'Sec-WebSocket-Protocol: tty'])),
      lines('GET / HTTP/1.1', handshake()),
      lines('GET / HTTP/1.1', handshake(['Upgrade: h2c'])),
      lines('POST / HTTP/1.1', [bearer, 'Content-Length: 100', 'Expect: 100-continue']),
      lines('POST / HTTP/1.1', [bearer, 'Transfer-Encoding: chunked']) + '5\r\nab',
      lines('POST /_gateway/sign-in HTTP/1.1', [
        'Content-Type: application/x-www-form-urlencoded',
        'Content-Length: 9',
      ]) + 'token',
      'CONNECT a.example:443 HTTP/1.1\r\n\r\n',
      'garbage\r\n\r\n',
      'GET / HTTP/1.1\r\nHost',
    ]
    for (const bytes of openings) {
      for (const cutAt of ['now', 'at the first byte']) {
        const socket = await open(workspace.port)
        socket.write(bytes)
        if (cutAt !== 'now' && /^(?:GET|POST) \/ .*Bearer/s.test(bytes) && bytes.startsWith('GET'))
          await new Promise((resolve) => {
            socket.once('data', resolve)
            socket.once('close', resolve)
          })
        socket.resetAndDestroy()
      }
    }
    const answer = await send(workspace.port, 'GET /', [bearer])
    t.equal(answer.status, 200, 'the next request is served')
    const { socket, answer: switched, closed } = await upgrade(workspace.port, '/', [bearer])
    t.equal(switched.status, 101, 'the next upgrade is served')
    socket.destroy()
    await closed
    t.same(fatal, [])
  },
)

t.test('a second request behind a handshake never reaches a service', async (t) => {
  const workspace = await startWorkspace(t)
  const bearer = `Authorization: Bearer ${await token()}`
  const smuggled = 'GET /smuggled HTTP/1.1\r\nHost: houston.hubify.com\r\n\r\n'
  const refused = await exchange(
    workspace.port,
    `GET / HTTP/1.1\r\nHost: houston.hubify.com\r\n${handshake().join('\r\n')}\r\n\r\n${smuggled}`,
  )
  t.equal(refused.match(/HTTP\/1\.1 /g)?.length, 1, 'one answer, then the end')
  t.equal(workspace.dials(), 0)
  const taken = await upgrade(workspace.port, '/', [bearer], Buffer.from(smuggled))
  await taken.closed
  t.notOk(workspace.services.dashboard.requests.some(({ url }) => url === '/smuggled'))
})

t.test(
  'nothing takes a connection over while an earlier request on it is being answered',
  async (t) => {
    const bearer = `Authorization: Bearer ${await token()}`
    const pending: ServerResponse[] = []
    const service = await startUpstream(t, (_request, response) => {
      pending.push(response)
    })
    const gateway = await startTestGateway(t, {
      GATEWAY_DASHBOARD_URL: service.url,
      GATEWAY_HEALTH_URL: service.url,
    })
    const connections = () =>
      new Promise<number>((resolve) => {
        gateway.running.app.server.getConnections((_error, count) => resolve(count))
      })
    const head = (lines: readonly string[]) =>
      `${[...lines, 'Host: houston.hubify.com'].join('\r\n')}\r\n\r\n`
    const firsts = {
      'a slow request': head(['GET / HTTP/1.1', bearer]),
      'a refused request': head(['GET / HTTP/1.1']),
      health: head(['GET /health HTTP/1.1']),
    }
    const seconds = {
      'an upgrade': head(['GET /second HTTP/1.1', ...handshake([bearer])]),
      'an upgrade without a credential': head(['GET /second HTTP/1.1', ...handshake()]),
      CONNECT: head(['CONNECT a.example:443 HTTP/1.1', bearer]),
    }
    for (const [first, firstBytes] of Object.entries(firsts)) {
      for (const [second, secondBytes] of Object.entries(seconds)) {
        await t.test(`${second} behind ${first}`, async (t) => {
          const socket = await open(gateway.port)
          const { over } = gather(socket)
          socket.write(firstBytes + secondBytes)
          const answerAll = () => {
            for (const response of pending.splice(0)) response.end('first')
          }
          service.server.on('request', answerAll)
          const { text } = await over
          service.server.off('request', answerAll)
          const statuses = [...text.matchAll(/HTTP\/1\.1 ([0-9]+) /g)].map(([, status]) => status)
          const ok = first === 'a refused request' ? '401' : '200'
          // Node hands a CONNECT over with its socket, so it cannot wait for its turn: it is answered at once, or cut.
          const possible = second === 'CONNECT' ? ['', ok, `${ok},405`] : [`${ok},400`]
          t.ok(possible.includes(statuses.join()), `${statuses.join()}, then the end`)
          t.notOk(service.requests.some(({ url }) => url === '/second'))
        })
      }
    }
    await eventually(
      () => gateway.running.parts.services.dashboard.inFlight === 0,
      'no request left',
    )
    while ((await connections()) > 0) await new Promise(setImmediate) // the server may see the last connection end after the client
    t.pass('no connection stays behind')
  },
)

t.test(
  'no client without a credential makes the gateway dial a service, whatever it sends',
  async (t) => {
    const workspace = await startWorkspace(t, { GATEWAY_CONTROL_UI: '/chat' })
    const { dashboard, api, terminal } = workspace.services
    const crashes = watchForCrashes()
    const foreign = await token({ secret: 'another-key-that-is-not-houstons-own' })
    const words = (...lists: string[]) =>
      fc.constantFrom(...lists.flatMap((list) => list.split('|')))
    const path = words(
      '/|/terminal|/terminal/ws|/api/x|/chat|/health|/_gateway/sign-in|/_gateway/sign-out|/_gateway/renew|/_gateway/signed-out|/x?y=z',
    )
    const pieces = words(
      '/|//|terminal|ws|api|chat|health|_gateway|sign-in|.|..|%2e|%2f|%5c|\\|#|?|&|;|%00|%ff|.env|*|http://|@|token=x|%25| ',
    )
    const target = fc.oneof(
      { weight: 4, arbitrary: path },
      { weight: 1, arbitrary: fc.array(pieces, { maxLength: 6 }).map((some) => some.join('')) },
    )
    const credential = fc.constantFrom(
      ...[
        'Authorization: Basic eDp5',
        'Authorization: Bearer x',
        'Authorization: Bearer hub_x',
        'X-Workspace-Token: ',
      ],
      ...[
        `Authorization: Bearer ${foreign}`,
        `X-Workspace-Token: ${foreign}`,
        `Cookie: __Host-workspace_session=${foreign}`,
      ],
    )
    const harmless = words(
      'Connection: close|Connection: X-Forwarded-For|X-Forwarded-For: 203.0.113.9|X-Forwarded-Proto: https|X-Forwarded-User: alice',
      'Origin: null|Origin: https://houston.hubify.com|Sec-Fetch-Site: same-origin|Sec-Fetch-Mode: navigate|Accept: text/html',
      'RSC: 1|Access-Control-Request-Method: PUT|X-HTTP-Method-Override: GET|X-Original-URL: /health|Expect: 100-continue',
      'Content-Length: 0|Content-Length: 5|Transfer-Encoding: chunked|Upgrade: websocket|Content-Type: x',
    )
    const wrong = words(
      'Host: evil.example|Host: |Content-Length: -1|Transfer-Encoding: gzip, chunked|Expect: x|Upgrade: h2c|X-Forwarded-For: x',
      'A B: c|: c|A: b\0c| folded|Sec-WebSocket-Version: 8|Sec-WebSocket-Key: x',
    )
    const request = fc.record({
      method: words('GET|GET|GET|GET|HEAD|POST|PUT|OPTIONS|CONNECT|TRACE|get'),
      target,
      version: words('HTTP/1.1|HTTP/1.1|HTTP/1.1|HTTP/1.1|HTTP/1.1|HTTP/1.0|HTTP/2.0'),
      upgrade: fc.constantFrom([], [], handshake(), handshake(['Sec-WebSocket-Protocol: tty'])),
      lines: fc.array(
        fc.oneof(
          { weight: 6, arbitrary: harmless },
          { weight: 3, arbitrary: credential },
          { weight: 1, arbitrary: wrong },
        ),
        { maxLength: 4 },
      ),
      body: words('|||hello|5\r\nhello\r\n0\r\n\r\n|GET /x HTTP/1.1\r\n\r\n'),
    })
    /** A request in which only one line is wrong. */
    const certain = (line: string) => ({
      ...{ method: 'GET', target: '/', version: 'HTTP/1.1', upgrade: [], lines: [line], body: '' },
    })
    const seen = new Set<number>()
    const isRefused = (status: number) => {
      seen.add(status)
      return [200, 400, 401, 403, 404, 405, 413, 417, 421, 426].includes(status)
    }
    await fc.assert(
      fc.asyncProperty(fc.array(request, { minLength: 1, maxLength: 3 }), async (requests) => {
        const bytes = requests.map((one) => {
          const head = [`${one.method} ${one.target} ${one.version}`, 'Host: houston.hubify.com']
          return `${[...head, ...one.upgrade, ...one.lines].join('\r\n')}\r\n\r\n${one.body}`
        })
        const socket = await open(workspace.port)
        const { over } = gather(socket)
        socket.end(Buffer.from(bytes.join(''), 'latin1'))
        const { text } = await over
        const statuses = [...text.matchAll(/^HTTP\/1\.1 ([0-9]{3}) /gm)].map((match) =>
          Number(match[1]),
        )
        const dials = dashboard.dials() + api.dials() + terminal.dials()
        return statuses.every(isRefused) && dials === 0 && crashes.length === 0
      }),
      // One of each refusal that must be among them, whatever is drawn.
      { numRuns: 500, examples: [[[certain('Expect: x')]], [[certain('Host: evil.example')]]] },
    )
    for (const status of [200, 400, 401, 405, 417, 421])
      t.ok(seen.has(status), `some are answered ${status}`)
  },
)
