/** Is the eleventh request refused, in one budget for each client address, whatever it looks like? */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { assertRefused, client, cookie, DOORS, HTTPS, knock, ORIGIN } from '../helpers/door.ts'
import { startWorkspace, token } from '../helpers/gateway.ts'
import { handshake, exchange, send } from '../helpers/wire.ts'

/** The limits of production. */
const TEN = { GATEWAY_RATE_LIMIT: undefined }
const limited = { code: 'rate-limited', stage: 'rate-limit' } as const

t.test(
  'the eleventh request within a minute is answered 429, and says when to come back',
  async (t) => {
    const workspace = await startWorkspace(t, TEN)
    const headers = [client('203.0.113.9'), `Authorization: Bearer ${await token()}`]
    for (let left = 9; left >= 0; left--) {
      const answer = await send(workspace.port, 'GET /api/x', headers)
      t.equal(answer.status, 200)
      t.match(
        answer.headers['ratelimit'],
        new RegExp(`^"address";r=${left};t=(?:[1-9]|[1-5][0-9]|60)$`),
      )
      t.equal(answer.headers['ratelimit-policy'], '"address";q=10;w=60')
    }
    const dials = workspace.dials()
    for (const door of DOORS) {
      const answer = await knock(workspace.port, door, '/api/x', headers)
      const line = await assertRefused(t, workspace, answer, { ...limited, dials })
      t.match(line, { client: '203.0.113.9', route: 'api' })
      t.match(answer.headers['retry-after'], /^(?:[1-9]|[1-5][0-9]|60)$/)
      t.equal(answer.headers['ratelimit'], `"address";r=0;t=${answer.headers['retry-after']}`)
      t.equal(answer.headers['ratelimit-policy'], '"address";q=10;w=60')
    }
    t.equal(
      (await send(workspace.port, 'GET /api/x', [client('203.0.113.10'), ...headers.slice(1)]))
        .status,
      200,
    )
  },
)

t.test('of fifty requests at once exactly ten pass', async (t) => {
  const { port, services } = await startWorkspace(t, TEN)
  const headers = [client('203.0.113.9'), `Authorization: Bearer ${await token()}`]
  const answers = await Promise.all(Array.from({ length: 50 }, () => send(port, 'GET /', headers)))
  t.equal(answers.filter(({ status }) => status === 200).length, 10)
  t.equal(answers.filter(({ status }) => status === 429).length, 40)
  t.equal(services.dashboard.requests.length, 10)
})

t.test(
  'of thirty requests and upgrades at once, signed in or not, exactly ten are not 429',
  async (t) => {
    const { port } = await startWorkspace(t, TEN)
    const bearer = `Authorization: Bearer ${await token()}`
    const answers = await Promise.all(
      Array.from({ length: 30 }, (_, i) =>
        knock(port, i % 2 === 0 ? 'request' : 'upgrade', '/', [
          client('203.0.113.9'),
          ...(i % 3 === 0 ? [] : [bearer]),
        ]),
      ),
    )
    t.equal(answers.filter(({ status }) => status !== 429).length, 10)
  },
)

t.test('requests in one packet are counted one by one', async (t) => {
  const { port } = await startWorkspace(t, TEN)
  const one = 'GET /api/x HTTP/1.1\r\nHost: houston.hubify.com\r\nX-Forwarded-For: 203.0.113.9\r\n'
  const received = await exchange(port, `${`${one}\r\n`.repeat(11)}${one}Connection: close\r\n\r\n`)
  const statuses = [...received.matchAll(/HTTP\/1\.1 ([0-9]+) /g)].map(([, status]) => status)
  t.same(statuses, [...Array.from({ length: 10 }, () => '401'), '429', '429'])
})

t.test('no other spelling of a request opens another budget', async (t) => {
  const workspace = await startWorkspace(t, { GATEWAY_RATE_LIMIT: '1' })
  const bearer = `Authorization: Bearer ${await token()}`
  const from = client('203.0.113.9')
  t.equal((await send(workspace.port, 'GET /', [from, bearer])).status, 200)
  const dials = workspace.dials()
  const variants: Array<[requestLine: string, headers: string[]]> = [
    ['GET /', []],
    ['HEAD /', []],
    ['POST /', ['Content-Length: 0']],
    ['DELETE /api/x', []],
    ['OPTIONS /', []],
    ['OPTIONS /', [`Origin: ${ORIGIN}`, 'Access-Control-Request-Method: PUT']],
    ['GET /?x=1', []],
    ['GET /A', []],
    ['GET /a/', []],
    ['GET /a%62', []],
    ['GET /healthz', []],
    ['GET /health/', []],
    ['GET /HEALTH', []],
    ['GET /?/health', []],
    ['GET /api/health', []],
    ['GET /terminal/', []],
    ['GET /_gateway/sign-in', []],
    ['POST /_gateway/sign-in', ['Content-Length: 0']],
    ['POST /_gateway/sign-out', ['Content-Length: 0']],
    ['PUT /_gateway/sign-in', ['Content-Length: 0']],
    ['GET /_gateway/nothing', []],
    ['GET /', ['User-Agent: GoogleHC/1.0']],
    ['GET /', ['User-Agent: kube-probe/1.30']],
    ['GET /', ['Host: localhost']],
    ['GET /', ['Host: 127.0.0.1']],
    ['GET /', ['RSC: 1']],
    ['GET /', [HTTPS]],
    ['GET /', ['X-Real-IP: 1.2.3.4']],
    [
      'GET /',
      [
        'X-Forwarded-Host: x',
        'Forwarded: for=1.2.3.4',
        'Fly-Client-IP: 1.2.3.4',
        'True-Client-IP: 1.2.3.4',
      ],
    ],
  ]
  for (const [requestLine, headers] of variants) {
    const answer = await send(workspace.port, requestLine, [from, bearer, ...headers])
    t.equal(answer.status, 429, `${requestLine} ${headers.join()}`)
  }
  const bobs = `Authorization: Bearer ${await token({ subject: 'bob' })}`
  t.equal((await send(workspace.port, 'GET /', [from, bobs])).status, 429, 'nor does another token')
  t.equal((await send(workspace.port, 'GET /', [from])).status, 429, 'nor none')
  t.equal(workspace.dials(), dials)
})

t.test('a client that writes X-Forwarded-For itself gets no other budget', async (t) => {
  const { port } = await startWorkspace(t, TEN)
  const statuses: number[] = []
  for (let i = 0; i < 30; i++) {
    const spoofed = [client(`198.51.100.${i}, 203.0.113.9`), client('203.0.113.9')]
    statuses.push((await send(port, 'GET /', [spoofed[i % 2] ?? ''])).status)
  }
  t.equal(statuses.filter((status) => status === 401).length, 10)
  t.equal(statuses.filter((status) => status === 429).length, 20)
  t.equal(
    (await send(port, 'GET /', [client('198.51.100.1')])).status,
    401,
    'whose name was used is not affected',
  )
})

t.test('with no trusted proxy the peer is the client, whatever it says', async (t) => {
  const { port } = await startWorkspace(t, {
    GATEWAY_RATE_LIMIT: '2',
    GATEWAY_TRUSTED_PROXIES: 'none',
  })
  const statuses: number[] = []
  for (let i = 0; i < 4; i++)
    statuses.push((await send(port, 'GET /', [client(`198.51.100.${i}`)])).status)
  t.same(statuses, [401, 401, 429, 429])
})

t.test('an IPv6 /64 is one client, and IPv4 in IPv6 is the IPv4 client', async (t) => {
  const { port } = await startWorkspace(t, { GATEWAY_RATE_LIMIT: '1' })
  const rows: Array<[address: string, status: number]> = [
    ['2001:db8:1:2::1', 401],
    ['2001:db8:1:2::2', 429],
    ['2001:db8:1:2:ffff:ffff:ffff:ffff', 429],
    ['2001:DB8:0001:0002:0:0:0:9', 429],
    ['[2001:db8:1:2::3]:1234', 429],
    ['2001:db8:1:3::1', 401],
    ['203.0.113.9', 401],
    ['::ffff:203.0.113.9', 429],
    ['::ffff:cb00:7109', 429],
    ['0:0:0:0:0:ffff:203.0.113.9', 429],
    ['203.0.113.9:4711', 429],
    ['::ffff:203.0.113.10', 401],
    ['203.0.113.10', 429],
  ]
  for (const [address, status] of rows)
    t.equal((await send(port, 'GET /', [client(address)])).status, status, address)
})

t.test('every refusal costs its address one request', async (t) => {
  const rows: Array<[what: string, requestLine: string, headers: string[]]> = [
    ['a bad target', 'GET //x', []],
    ['a sensitive file', 'GET /.env', []],
    ['a foreign host', 'GET /', ['Host: evil.example']],
    ['a bad expectation', 'GET /', ['Expect: banana']],
    ['a bad method', 'TRACE /', []],
    ['a bad coding', 'POST /', ['Transfer-Encoding: gzip, chunked']],
    ['too many fields', 'GET /', Array.from({ length: 101 }, () => 'A: b')],
    ['a bad upgrade', 'GET /', handshake(['Sec-WebSocket-Version: 8'])],
    ['no credential', 'GET /', []],
    ['a bad one', 'GET /', ['Authorization: Bearer a.b.c']],
    ['two of them', 'GET /', ['X-Workspace-Token: a', 'X-Workspace-Token: b']],
    ['an unknown address of the gateway', 'GET /_gateway/x', []],
    ['a failed sign-in', 'GET /_gateway/sign-in?token=x', []],
  ]
  for (const [what, requestLine, headers] of rows) {
    await t.test(what, async (t) => {
      const { port } = await startWorkspace(t, { GATEWAY_RATE_LIMIT: '3' })
      const from = client('203.0.113.9')
      for (let i = 0; i < 3; i++)
        t.not((await send(port, requestLine, [from, ...headers])).status, 429)
      t.equal((await send(port, 'GET /', [from])).status, 429)
      t.equal((await send(port, 'GET /', [client('203.0.113.10')])).status, 401)
    })
  }
})

t.test('a proxy that sends garbage for an address is counted itself', async (t) => {
  const { port } = await startWorkspace(t, { GATEWAY_RATE_LIMIT: '3' })
  for (let i = 0; i < 3; i++) t.equal((await send(port, 'GET /', [client('garbage')])).status, 400)
  t.equal((await send(port, 'GET /')).status, 429)
})

t.test('health is never counted', async (t) => {
  const { port } = await startWorkspace(t, { GATEWAY_RATE_LIMIT: '1' })
  const from = client('203.0.113.9')
  for (let i = 0; i < 20; i++) {
    const answer = await send(port, i % 2 === 0 ? 'GET /health' : 'HEAD /health?x=1', [from])
    t.equal(answer.status, 200)
    t.equal(answer.headers['ratelimit'], undefined)
  }
  t.equal((await send(port, 'GET /', [from])).status, 401, 'the budget is untouched')
  t.equal(
    (await send(port, 'GET /health', [from])).status,
    200,
    'and its end does not concern health',
  )
})

t.test(
  'a signed-in browser that loads the dashboard or the control UI spends its session’s own budget',
  async (t) => {
    const workspace = await startWorkspace(t, {
      GATEWAY_RATE_LIMIT: '2',
      GATEWAY_SESSION_RATE_LIMIT: '5',
      GATEWAY_CONTROL_UI: '/chat',
    })
    const good = await token()
    const from = [client('203.0.113.9'), HTTPS]
    const signedIn = [...from, cookie(good)]
    for (const request of ['GET /', 'HEAD /x', 'GET /chat', 'GET /_next/x.js', 'GET /chat/x'])
      t.match(
        (await send(workspace.port, request, signedIn)).headers['ratelimit-policy'],
        '"session";q=5;w=60',
        request,
      )
    const dials = workspace.dials()
    const spent = await send(workspace.port, 'GET /', signedIn)
    await assertRefused(t, workspace, spent, { ...limited, dials })
    t.match(spent.headers['ratelimit'], '"session";r=0;')
    t.equal(
      (await send(workspace.port, 'GET /', [...signedIn, client('203.0.113.77')])).status,
      429,
      'from anywhere',
    )
    const second = [...from, cookie(await token())]
    t.equal(
      (await send(workspace.port, 'GET /', second)).status,
      200,
      'another session has its own',
    )

    t.match(
      (await send(workspace.port, 'GET /', from)).headers['ratelimit'],
      '"address";r=1;',
      'the address’s is untouched',
    )
  },
)

t.test('all else spends the address’s budget, signed in or not', async (t) => {
  const { port } = await startWorkspace(t, { GATEWAY_CONTROL_UI: '/chat' })
  const good = await token()
  const bad = await token({ secret: 'another-key-that-is-not-houstons-own' })
  const browser = [HTTPS, cookie(good), `Origin: ${ORIGIN}`]
  const rows: Array<[requestLine: string, headers: string[]]> = [
    ['GET /', [`Authorization: Bearer ${good}`]],
    ['GET /', [`X-Workspace-Token: ${good}`]],
    ['GET /chat', [`Authorization: Bearer ${good}`]],
    ['POST /', [...browser, 'Content-Length: 0']],
    ['OPTIONS /', browser],
    ['DELETE /chat/x', browser],
    ['GET /api/x', browser],
    ['GET /terminal/', browser],
    ['GET /_gateway/sign-in', browser],
    ['POST /_gateway/sign-out', [...browser, 'Content-Length: 0']],
    ['GET /', [HTTPS, cookie(bad)]],
    ['GET /', [HTTPS, cookie(await token({ ttlSeconds: -3600 }))]],
    ['GET /', [HTTPS, `Cookie: workspace_session=${good}`]],
    [
      'GET /',
      [HTTPS, `Cookie: __Host-workspace_session=${good}; __Host-workspace_session=${good}`],
    ],
    ['GET /', [`Authorization: Bearer ${bad}`, HTTPS, cookie(good)]],
  ]
  for (const [requestLine, headers] of rows) {
    const answer = await send(port, requestLine, headers)
    t.match(answer.headers['ratelimit'], '"address";', `${requestLine} ${answer.status}`)
  }
})

t.test(
  'an operator can give the session budget to the API: then it holds for every valid credential',
  async (t) => {
    const { port } = await startWorkspace(t, {
      GATEWAY_RATE_LIMIT: '1',
      GATEWAY_SESSION_RATE_LIMIT: '50',
      GATEWAY_SESSION_ROUTES: 'api',
    })
    const good = await token()
    const from = client('203.0.113.9')
    const browser = [from, HTTPS, cookie(good), `Origin: ${ORIGIN}`]
    for (const headers of [
      [from, `Authorization: Bearer ${good}`],
      [from, `X-Workspace-Token: ${good}`],
      browser,
    ]) {
      for (const method of ['GET', 'POST', 'DELETE']) {
        const answer = await send(port, `${method} /api/x`, [...headers, 'Content-Length: 0'])
        t.equal(answer.status, 200)
        t.match(answer.headers['ratelimit'], '"session";')
      }
      t.equal((await knock(port, 'upgrade', '/api/ws', headers)).status, 101)
    }
    t.match(
      (await send(port, 'GET /api/x', [from])).headers['ratelimit'],
      '"address";',
      'nobody is no session',
    )
    t.equal((await send(port, 'GET /', browser)).status, 429, 'the dashboard is off the list now')
  },
)

t.test('with no session routes everything spends the address’s budget', async (t) => {
  const { port } = await startWorkspace(t, { GATEWAY_SESSION_ROUTES: 'none' })
  const answer = await send(port, 'GET /', [HTTPS, cookie(await token())])
  t.match(answer.headers['ratelimit'], '"address";')
})

t.test('after Retry-After it is served again, and no earlier', async (t) => {
  const { port } = await startWorkspace(t, {
    GATEWAY_RATE_LIMIT: '2',
    GATEWAY_RATE_LIMIT_SECONDS: '1',
  })
  const from = client('203.0.113.9')
  const startedAt = performance.now()
  t.equal((await send(port, 'GET /', [from])).status, 401)
  t.equal((await send(port, 'GET /', [from])).status, 401)
  const refused = await send(port, 'GET /', [from])
  t.equal(refused.status, 429)
  t.equal(refused.headers['retry-after'], '1')
  let answer = refused
  while (answer.status === 429) answer = await send(port, 'GET /', [from])
  const waited = performance.now() - startedAt
  t.ok(waited >= 1000, `not before the window is over (${waited})`)
  t.ok(waited < 2500, `asking in the meantime does not make it longer (${waited})`)
})

t.test('budgets survive a restart', async (t) => {
  const stateDir = mkdtempSync(join(tmpdir(), 'workspace-gateway-test-'))
  t.teardown(() => rmSync(stateDir, { recursive: true, force: true }))
  const settings = {
    GATEWAY_STATE_DIR: stateDir,
    GATEWAY_RATE_LIMIT: '3',
    GATEWAY_SESSION_RATE_LIMIT: '1',
  }
  const from = client('203.0.113.9')
  const good = await token()
  const browser = [HTTPS, cookie(good), client('203.0.113.20')]

  const first = await startWorkspace(t, settings)
  for (let i = 0; i < 2; i++) t.equal((await send(first.port, 'GET /', [from])).status, 401)
  t.equal((await send(first.port, 'GET /', browser)).status, 200)
  await first.running.close()

  const second = await startWorkspace(t, settings)
  t.equal((await send(second.port, 'GET /', [from])).status, 401, 'the third of three')
  await assertRefused(t, second, await send(second.port, 'GET /', [from]), limited)
  await assertRefused(t, second, await send(second.port, 'GET /', browser), limited)
  t.equal((await send(second.port, 'GET /', [client('203.0.113.10')])).status, 401)
})

t.test('a refused upload is answered while it is still being sent', async (t) => {
  const { port } = await startWorkspace(t, { GATEWAY_RATE_LIMIT: '1' })
  const from = client('203.0.113.9')
  await send(port, 'GET /', [from])
  const body = 'x'.repeat(3_000_000)
  const answer = await send(port, 'POST /api/x', [from, `Content-Length: ${body.length}`], body)
  t.equal(answer.status, 429)
  t.equal(answer.headers['x-gateway-error'], 'rate-limited')
})

t.test('the budget is the same on one connection and on many', async (t) => {
  const { port, running } = await startWorkspace(t, TEN)
  const { server } = running.app
  let connections = 0
  server.on('connection', () => connections++)
  const one = 'GET /x HTTP/1.1\r\nHost: houston.hubify.com\r\nX-Forwarded-For: 203.0.113.9\r\n'
  await exchange(port, `${`${one}\r\n`.repeat(4)}${one}Connection: close\r\n\r\n`)
  for (let i = 0; i < 5; i++)
    t.equal((await send(port, 'GET /', [client('203.0.113.9')])).status, 401)
  t.equal((await send(port, 'GET /', [client('203.0.113.9')])).status, 429)
  t.equal(connections, 7)
})
