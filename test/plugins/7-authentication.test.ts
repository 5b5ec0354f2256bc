/** Who may use a route: signed in, and with a cookie only from a page that belongs here? */
import t from 'tap'
import { assertRefused, cookie, DOORS, HTTPS, knock, NAVIGATION, ORIGIN } from '../helpers/door.ts'
import { startWorkspace, token } from '../helpers/gateway.ts'
import { send } from '../helpers/wire.ts'

const required = { code: 'sign-in-required', stage: 'authentication' } as const
const foreign = { code: 'origin-not-allowed', stage: 'authentication' } as const

t.test('nobody gets past the door of any service without a credential', async (t) => {
  const workspace = await startWorkspace(t, { GATEWAY_CONTROL_UI: '/chat' })
  for (const target of [
    '/',
    '/x',
    '/api',
    '/api/v1/x',
    '/terminal',
    '/terminal/ws',
    '/terminal/w',
    '/chat',
    '/healthz',
    '/_gateway/x',
    '/_gateway',
  ])
    for (const door of DOORS) {
      if (door === 'upgrade' && target.startsWith('/_gateway')) continue // 400: no WebSocket there
      const answer = await knock(workspace.port, door, target)
      await assertRefused(t, workspace, answer, required)
      t.equal(answer.headers['www-authenticate'], 'Bearer realm="workspace"')
    }
})

t.test('no method, user agent or header of trust gets past the door', async (t) => {
  const workspace = await startWorkspace(t)
  for (const method of ['POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])
    await assertRefused(
      t,
      workspace,
      await send(workspace.port, `${method} /api/x`, ['Content-Length: 0']),
      required,
    )
  for (const line of [
    'User-Agent: GoogleHC/1.0',
    'User-Agent: kube-probe/1.30',
    'User-Agent: Consul Health Check',
    'X-Forwarded-User: alice',
    'X-Workspace: houston',
    'X-Workspace-User: alice',
    'X-Auth-Request-User: alice',
    'Remote-User: alice',
    'Tailscale-User-Login: alice',
    'X-Original-URL: /health',
    'X-Original-URI: /health',
    'X-Rewrite-URL: /health',
    'X-Forwarded-Uri: /health',
    'X-Forwarded-Prefix: /health',
    'X-HTTP-Method-Override: GET',
    'X-Middleware-Subrequest: middleware:middleware:middleware:middleware:middleware',
    'Access-Control-Request-Method: GET',
    'X-OpenClaw-Token: x',
    'Fly-Forwarded-Proto: https',
    'Sec-Fetch-Site: same-origin',
    `Origin: ${ORIGIN}`,
    `Referer: ${ORIGIN}/`,
  ])
    for (const door of DOORS)
      await assertRefused(
        t,
        workspace,
        await knock(workspace.port, door, '/api/x', [line]),
        required,
      )
})

t.test('a page navigation gets the sign-in page, a program a problem document', async (t) => {
  const workspace = await startWorkspace(t)
  const pages = [
    NAVIGATION,
    ['Sec-Fetch-Mode: navigate'],
    ['Accept: text/html'],
    ['Accept: text/html,application/xhtml+xml,*/*;q=0.8'],
  ]
  for (const headers of pages) {
    const answer = await send(workspace.port, 'GET /logs?x=1', headers)
    await assertRefused(t, workspace, answer, { ...required, page: true })
    t.match(answer.body, '<form method="post" action="/_gateway/sign-in">')
    t.match(
      answer.headers['content-security-policy'],
      /default-src 'none'.*form-action 'self'.*frame-ancestors 'none'/,
    )
    t.equal(answer.headers['cache-control'], 'no-store')
    t.equal(answer.headers['www-authenticate'], 'Bearer realm="workspace"')
  }
  const programs = [
    [],
    ['Accept: */*'],
    ['Accept: application/json'],
    ['Accept: text/html', 'Sec-Fetch-Mode: cors'],
    ['Accept: text/html', 'Sec-Fetch-Mode: no-cors'],
  ]
  for (const headers of programs)
    await assertRefused(t, workspace, await send(workspace.port, 'GET /logs', headers), required)
  const posted = await send(workspace.port, 'POST /logs', [
    'Accept: text/html',
    'Content-Length: 0',
  ])
  await assertRefused(t, workspace, posted, required)
})

t.test(
  'a page navigation goes to the sign-in address when one is set, with the address to come back to',
  async (t) => {
    const workspace = await startWorkspace(t, {
      GATEWAY_LOGIN_URL: 'https://hubify.com/login?app=workspace',
    })
    const dials = workspace.dials
    const returnTo = async (target: string, headers: string[] = [HTTPS]) => {
      const answer = await send(workspace.port, `GET ${target}`, [...NAVIGATION, ...headers])
      t.equal(answer.status, 302)
      t.equal(answer.headers['x-gateway-error'], 'sign-in-required')
      t.equal(answer.headers['cache-control'], 'no-store')
      t.equal(answer.body, '')
      const location = new URL(answer.headers['location'] ?? '')
      t.equal(`${location.origin}${location.pathname}`, 'https://hubify.com/login')
      t.equal(location.searchParams.get('app'), 'workspace')
      return location.searchParams.getAll('return_to')
    }
    t.same(await returnTo('/'), [`${ORIGIN}/`])
    t.same(await returnTo('/logs?a=1&b=%2F#'.replace('#', '')), [`${ORIGIN}/logs?a=1&b=%2F`])
    t.same(await returnTo('/terminal/'), [`${ORIGIN}/terminal/`])
    t.same(await returnTo('/caf%C3%A9'), [`${ORIGIN}/caf%C3%A9`])
    t.same(await returnTo('/a?return_to=https://evil.example'), [
      `${ORIGIN}/a?return_to=https://evil.example`,
    ])
    t.same(await returnTo('/', ['Host: localhost:8080']), ['http://localhost:8080/'])
    t.equal(dials(), 0)

    await assertRefused(t, workspace, await send(workspace.port, 'GET /api/x'), required)
    await assertRefused(
      t,
      workspace,
      await knock(workspace.port, 'upgrade', '/', NAVIGATION),
      required,
    )
  },
)

t.test(
  'a browser whose session has ended is sent to sign in again, and its cookie is taken back',
  async (t) => {
    const loginUrl = 'https://hubify.com/login'
    const workspace = await startWorkspace(t, { GATEWAY_LOGIN_URL: loginUrl })
    for (const bad of [await token({ ttlSeconds: -3600 }), 'garbage']) {
      const answer = await send(workspace.port, 'GET /logs', [...NAVIGATION, HTTPS, cookie(bad)])
      t.equal(answer.status, 302)
      t.match(answer.headers['location'], `${loginUrl}?return_to=`)
      t.match(answer.headers['set-cookie'], /^__Host-workspace_session=; Max-Age=0; /)
    }
    t.equal(workspace.dials(), 0)
  },
)

t.test(
  'a cookie that is no longer good is taken back, a Bearer leaves cookies alone',
  async (t) => {
    const workspace = await startWorkspace(t)
    const expired = await token({ ttlSeconds: -3600 })
    const refusal = { code: 'token-expired', stage: 'authentication' } as const
    const taken = await send(workspace.port, 'GET /', [HTTPS, cookie(expired)])
    await assertRefused(t, workspace, taken, refusal)
    t.match(taken.headers['set-cookie'], /^__Host-workspace_session=; Max-Age=0; .*; Secure$/)
    t.match(taken.headers['www-authenticate'], /error="invalid_token"/)
    const left = await send(workspace.port, 'GET /', [`Authorization: Bearer ${expired}`])
    await assertRefused(t, workspace, left, refusal)
    t.equal(left.headers['set-cookie'], undefined)
    const page = await send(workspace.port, 'GET /', [HTTPS, cookie(expired), ...NAVIGATION])
    await assertRefused(t, workspace, page, { ...refusal, page: true })
    t.match(page.body, 'Your session has ended')
  },
)

/** `Origin` values that are not the workspace's own. */
const FOREIGN_ORIGINS = [
  'null',
  'https://evil.example',
  'https://research.hubify.com',
  'https://hubify.com',
  'https://x.houston.hubify.com',
  'https://houston.hubify.com.evil.example',
  'https://evilhouston.hubify.com',
  'https://houston.hubify.com:8443',
  'https://houston.hubify.com:443',
  'http://houston.hubify.com',
  'HTTPS://HOUSTON.HUBIFY.COM',
  'https://houston.hubify.com/',
  'https://houston.hubify.com.',
  'https://houston.hubify.com https://evil.example',
  'https://houston.hubify.com, https://evil.example',
  'https://evil.example/https://houston.hubify.com',
  'https://houston.hubify.com@evil.example',
  'houston.hubify.com',
  '//houston.hubify.com',
  'wss://houston.hubify.com',
  'file://',
  'https://localhost',
  'http://127.0.0.1',
  '',
]

t.test(
  'a cookie acts only for pages of this origin: anything that changes something, and every upgrade',
  async (t) => {
    const workspace = await startWorkspace(t)
    const signedIn = [cookie(await token()), HTTPS]
    const attempt = async (headers: string[]) => [
      ...(await Promise.all(
        ['POST', 'PUT', 'PATCH', 'DELETE'].map((method) =>
          send(workspace.port, `${method} /api/x`, [...signedIn, ...headers, 'Content-Length: 0']),
        ),
      )),
      await knock(workspace.port, 'upgrade', '/', [...signedIn, ...headers]),
      await knock(workspace.port, 'upgrade', '/terminal/ws', [
        ...signedIn,
        ...headers,
        'Sec-WebSocket-Protocol: tty',
      ]),
    ]
    const refused: string[][] = [
      ...FOREIGN_ORIGINS.map((origin) => [`Origin: ${origin}`]),
      ...FOREIGN_ORIGINS.filter((origin) => origin !== 'null').map((origin) => [
        `Origin: ${origin}`,
        'Sec-Fetch-Site: same-origin',
      ]),
      ...['same-site', 'cross-site', 'none', 'Same-Origin'].map((site) => [
        'Origin: null',
        `Sec-Fetch-Site: ${site}`,
      ]),
      ['Origin: null', 'Origin: null', 'Sec-Fetch-Site: same-origin'],
      [],
      ['Sec-Fetch-Site: same-site'],
      ['Sec-Fetch-Site: cross-site'],
      ['Sec-Fetch-Site: none'],
      ['Sec-Fetch-Site: Same-Origin, same-origin'],
      [`Referer: ${ORIGIN}/`],
      [`Origin: ${ORIGIN}`, `Origin: ${ORIGIN}`],
      [`Origin: ${ORIGIN}`, 'Origin: https://evil.example'],
    ]
    for (const headers of refused)
      for (const answer of await attempt(headers))
        await assertRefused(t, workspace, answer, foreign)
    for (const headers of [
      [`Origin: ${ORIGIN}`],
      ['Sec-Fetch-Site: same-origin'],
      ['Origin: null', 'Sec-Fetch-Site: same-origin'], // under Referrer-Policy: no-referrer (contract, section 3)
      [`Origin: ${ORIGIN}`, 'Sec-Fetch-Site: same-site'],
    ])
      t.same(
        (await attempt(headers)).map(({ status }) => status),
        [200, 200, 200, 200, 101, 101],
        headers.join(),
      )
  },
)

t.test('a cookie may come from anywhere with what changes nothing', async (t) => {
  const { port } = await startWorkspace(t)
  const signedIn = [cookie(await token()), HTTPS]
  for (const method of ['GET', 'HEAD', 'OPTIONS'])
    for (const headers of [[], ['Origin: https://evil.example'], ['Sec-Fetch-Site: cross-site']])
      t.equal((await send(port, `${method} /`, [...signedIn, ...headers])).status, 200)
})

t.test('a Bearer needs no Origin, but a foreign one is refused on an upgrade', async (t) => {
  const workspace = await startWorkspace(t)
  const good = await token()
  for (const line of [`Authorization: Bearer ${good}`, `X-Workspace-Token: ${good}`]) {
    for (const origin of FOREIGN_ORIGINS) {
      const dials = workspace.dials()
      const answer = await knock(workspace.port, 'upgrade', '/', [line, HTTPS, `Origin: ${origin}`])
      await assertRefused(t, workspace, answer, { ...foreign, dials })
    }
    t.equal((await knock(workspace.port, 'upgrade', '/', [line])).status, 101)
    t.equal(
      (await knock(workspace.port, 'upgrade', '/', [line, HTTPS, `Origin: ${ORIGIN}`])).status,
      101,
    )
    const posted = await send(workspace.port, 'POST /', [
      line,
      'Origin: https://evil.example',
      'Content-Length: 0',
    ])
    t.equal(posted.status, 200, 'a program says what it likes')
  }
})

t.test('the own origin is the one that the client used: scheme, host and port', async (t) => {
  const { port } = await startWorkspace(t)
  const good = await token()
  const rows: Array<[host: string, proto: string, origin: string, status: number]> = [
    ['localhost:8080', 'http', 'http://localhost:8080', 200],
    ['localhost:8080', 'http', 'http://localhost', 403],
    ['localhost:8080', 'http', 'https://localhost:8080', 403],
    ['localhost:8080', 'http', 'http://127.0.0.1:8080', 403],
    ['localhost:80', 'http', 'http://localhost', 200],
    ['[::1]:8080', 'http', 'http://[::1]:8080', 200],
    ['houston.hubify.com:443', 'https', ORIGIN, 200],
    ['HOUSTON.hubify.com', 'https', ORIGIN, 200],
    ['houston.hubify.com', 'http', 'http://houston.hubify.com', 200],
    ['houston.hubify.com', 'http', ORIGIN, 403],
    ['localhost', 'https', ORIGIN, 403],
  ]
  for (const [host, proto, origin, status] of rows) {
    const both = `Cookie: __Host-workspace_session=${good}; workspace_session=${good}`
    const headers = [`Host: ${host}`, `X-Forwarded-Proto: ${proto}`, both, `Origin: ${origin}`]
    const answer = await send(port, 'POST /', [...headers, 'Content-Length: 0'])
    t.equal(answer.status, status, `${origin} at ${proto}://${host}`)
  }
})

t.test('an allowed origin may ask, act and open sockets; its neighbours may not', async (t) => {
  const workspace = await startWorkspace(t, {
    GATEWAY_ALLOWED_ORIGINS: 'https://app.example.com,http://localhost:5173',
  })
  const { port, services } = workspace
  const signedIn = [cookie(await token()), HTTPS]
  const allowed = 'Origin: https://app.example.com'

  const asked = [
    allowed,
    'Access-Control-Request-Method: PUT',
    'Access-Control-Request-Headers: content-type, x-thing',
  ]
  const preflight = await send(port, 'OPTIONS /api/x', asked)
  t.equal(preflight.status, 204)
  t.match(preflight.headers, {
    'access-control-allow-origin': 'https://app.example.com',
    'access-control-allow-credentials': 'true',
    'access-control-allow-methods': 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS',
    'access-control-allow-headers': 'content-type, x-thing',
    vary: /Origin/,
  })
  t.equal(workspace.dials(), 0, 'a preflight is never forwarded')
  const odd = await send(port, 'OPTIONS /api/x', [
    allowed,
    'Access-Control-Request-Method: PUT',
    'Access-Control-Request-Headers: <b>',
  ])
  t.notMatch(odd.raw, '<b>')

  for (const origin of [
    'https://app.example.com.evil.example',
    'http://app.example.com',
    'https://app.example.com:444',
    'https://x.app.example.com',
    'null',
    '*',
  ]) {
    const answer = await send(port, 'OPTIONS /api/x', [
      `Origin: ${origin}`,
      'Access-Control-Request-Method: PUT',
    ])
    await assertRefused(t, workspace, answer, required)
    t.equal(answer.headers['access-control-allow-origin'], undefined)
    const posted = await send(port, 'POST /api/x', [
      ...signedIn,
      `Origin: ${origin}`,
      'Content-Length: 0',
    ])
    await assertRefused(t, workspace, posted, foreign)
    await assertRefused(
      t,
      workspace,
      await knock(port, 'upgrade', '/', [...signedIn, `Origin: ${origin}`]),
      foreign,
    )
  }

  for (const request of ['GET /api/x', 'POST /api/x']) {
    const answer = await send(port, request, [...signedIn, allowed, 'Content-Length: 0'])
    t.equal(answer.status, 200)
    t.match(answer.headers, {
      'access-control-allow-origin': 'https://app.example.com',
      'access-control-allow-credentials': 'true',
      vary: 'Origin',
    })
  }
  t.equal(services.api.requests.at(-1)?.headers.origin, 'https://app.example.com')
  t.equal((await knock(port, 'upgrade', '/', [...signedIn, allowed])).status, 101)
  const own = await send(port, 'GET /api/x', [...signedIn, `Origin: ${ORIGIN}`])
  t.equal(own.headers['access-control-allow-origin'], undefined)
})

t.test('an allowed origin can read why it was refused', async (t) => {
  const workspace = await startWorkspace(t, { GATEWAY_ALLOWED_ORIGINS: 'https://app.example.com' })
  const answer = await send(workspace.port, 'GET /api/x', ['Origin: https://app.example.com'])
  await assertRefused(t, workspace, answer, required)
  t.match(answer.headers, {
    'access-control-allow-origin': 'https://app.example.com',
    'access-control-allow-credentials': 'true',
    vary: 'Origin',
  })
})

t.test('an ordinary OPTIONS reaches the service only with a credential', async (t) => {
  const workspace = await startWorkspace(t)
  await assertRefused(t, workspace, await send(workspace.port, 'OPTIONS /api/x'), required)
  const answer = await send(workspace.port, 'OPTIONS /api/x', [
    `Authorization: Bearer ${await token()}`,
  ])
  t.equal(answer.status, 200)
  t.equal(workspace.services.api.requests[0]?.method, 'OPTIONS')
})

t.test('guessing at the door is not free', async (t) => {
  const workspace = await startWorkspace(t, { GATEWAY_RATE_LIMIT: '3' })
  for (const bad of [
    'a.b.c',
    'hub_x',
    await token({ secret: 'another-key-that-is-not-houstons-own' }),
  ]) {
    const answer = await send(workspace.port, 'GET /', [`Authorization: Bearer ${bad}`])
    await assertRefused(t, workspace, answer, { code: 'token-invalid', stage: 'authentication' })
  }
  const answer = await send(workspace.port, 'GET /', [`Authorization: Bearer ${await token()}`])
  await assertRefused(t, workspace, answer, { code: 'rate-limited', stage: 'rate-limit' })
})
