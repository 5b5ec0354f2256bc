/** Does the dashboard see the request as the client sent it, and only the gateway's word on who sent it? */
import t from 'tap'
import { client, cookie, HTTPS, pairs, toldOf } from '../helpers/door.ts'
import { startTestGateway, startWorkspace, token } from '../helpers/gateway.ts'
import { startUpstream } from '../helpers/upstream.ts'
import { send } from '../helpers/wire.ts'

t.test(
  'the dashboard gets the user, the client address and the scheme, in exactly these headers',
  async (t) => {
    const { port, services } = await startWorkspace(t)
    const answer = await send(port, 'GET /logs?x=1', [
      `Cookie: a=b; __Host-workspace_session=${await token()}; c="d;e"`,
      HTTPS,
      client('203.0.113.9'),
      'Accept: text/html',
      'Accept-Encoding: br, gzip',
      'Sec-Fetch-Mode: navigate',
      'X-Custom: kept',
    ])
    t.equal(answer.status, 200)
    t.same(pairs(services.dashboard.requests[0]?.rawHeaders ?? []), [
      'accept-encoding: br, gzip',
      'accept: text/html',
      'cookie: a=b; c="d;e"',
      'host: houston.hubify.com',
      'sec-fetch-mode: navigate',
      'x-custom: kept',
      ...toldOf(answer.headers['x-request-id']),
    ])
    t.equal(services.dashboard.requests[0]?.url, '/logs?x=1')
  },
)

t.test('Host arrives as the client sent it, port included', async (t) => {
  const { port, services } = await startWorkspace(t)
  const bearer = `Authorization: Bearer ${await token()}`
  for (const [host, forwardedPort] of [
    ['houston.hubify.com', '80'],
    ['Houston.Hubify.com:8443', '8443'],
    ['localhost:3000', '3000'],
    ['[::1]:3000', '3000'],
    ['[::1]', '80'],
  ] as const) {
    await send(port, 'GET /', [`Host: ${host}`, bearer])
    t.match(services.dashboard.requests.at(-1)?.headers, {
      host,
      'x-forwarded-host': host,
      'x-forwarded-port': forwardedPort,
      'x-forwarded-proto': 'http',
    })
  }
})

t.test('no header that only a proxy may send passes from a client, in any spelling', async (t) => {
  const { port, services } = await startWorkspace(t)
  const names = [
    'Forwarded',
    'X-Forwarded-For',
    'X-Forwarded-User',
    'X-Forwarded-Email',
    'X-Forwarded-Groups',
    'X-Forwarded-Preferred-Username',
    'X-Forwarded-Host',
    'X-Forwarded-Port',
    'X-Forwarded-Prefix',
    'X-Forwarded-Server',
    'X-Forwarded-Uri',
    'X-Forwarded-Method',
    'X-Forwarded-Scheme',
    'X-Forwarded-Ssl',
    'X-Forwarded-Access-Token',
    'X-Forwarded-Anything-New',
    'X-Real-IP',
    'X-Original-URL',
    'X-Original-Host',
    'X-Original-Method',
    'X-Rewrite-URL',
    'X-HTTP-Method-Override',
    'X-Workspace',
    'X-Workspace-User',
    'X-Workspace-Anything',
    'X-Middleware-Subrequest',
    'X-Middleware-Rewrite',
    'Fly-Client-IP',
    'Fly-Forwarded-Proto',
    'Tailscale-User-Login',
    'Proxy-Authorization',
    'Proxy-Connection',
    'Keep-Alive',
    'TE',
    'Trailer',
    'X_Forwarded_User',
    'X_Workspace',
    'X-Forwarded_User',
    'Any_Thing',
  ]
  const spellings = names.flatMap((name) => [name, name.toLowerCase(), name.toUpperCase()])
  const bearer = `X-Workspace-Token: ${await token()}`
  for (let i = 0; i < spellings.length; i += 40) {
    const fields = spellings.slice(i, i + 40).map((name) => `${name}: 192.0.2.66`)
    t.equal((await send(port, 'GET /', [bearer, ...fields, client('203.0.113.9')])).status, 200)
    t.notMatch(services.dashboard.requests.at(-1)?.rawHeaders.join(), '192.0.2.66')
  }
})

t.test('Connection can remove the client’s own headers, never the gateway’s', async (t) => {
  const { port, services } = await startWorkspace(t)
  const nominated = [
    'X-Forwarded-User',
    'X-Forwarded-For',
    'X-Workspace',
    'X-Request-Id',
    'Host',
    'Cookie',
    'X-Mine',
  ]
  const answer = await send(
    port,
    'POST /',
    [
      `X-Workspace-Token: ${await token()}`,
      client('203.0.113.9'),
      `Connection: close, ${nominated.join(', ')}, Content-Length`,
      'X-Mine: 1',
      'X-Other: 2',
      'Content-Length: 5',
    ],
    'hello',
  )
  t.equal(answer.status, 200)
  const seen = services.dashboard.requests[0]
  t.match(seen, {
    body: 'hello',
    headers: {
      host: 'houston.hubify.com',
      'x-forwarded-user': 'alice',
      'x-forwarded-for': '203.0.113.9',
      'x-workspace': 'houston',
      'x-request-id': answer.headers['x-request-id'],
      'x-other': '2',
    },
  })
  t.notOk('x-mine' in (seen?.headers ?? {}))
})

t.test(
  'each session cookie is removed, in any spelling, and the other cookies are unchanged',
  async (t) => {
    const { port, services } = await startWorkspace(t)
    const good = await token()
    const rows: Array<[lines: string[], arrives: string | undefined]> = [
      [[cookie(good)], undefined],
      [[`Cookie: a=b; __Host-workspace_session=${good}`], 'a=b'],
      [[`Cookie: __Host-workspace_session=${good}; a=b;c=d`], 'a=b;c=d'],
      [
        [
          `Cookie: a=b; __Host-workspace_session=${good}; workspace_session=x; __HOST-Workspace_Session=y`,
        ],
        'a=b',
      ],
      [[`Cookie: a=b`, cookie(good), 'Cookie: c="x y"; d'], 'a=b; c="x y"; d'],
    ]
    for (const [lines, arrives] of rows) {
      t.equal((await send(port, 'GET /', [...lines, HTTPS])).status, 200)
      t.equal(services.dashboard.requests.at(-1)?.headers.cookie, arrives)
    }
  },
)

t.test('a redirect to the address of the service becomes a path of the workspace', async (t) => {
  const locations: string[] = []
  const service = await startUpstream(t, (_request, response) => {
    response.writeHead(307, { Location: locations[0] }).end()
  })
  const gateway = await startTestGateway(t, { GATEWAY_DASHBOARD_URL: service.url })
  const bearer = `Authorization: Bearer ${await token()}`
  const at = `127.0.0.1:${service.port}`
  for (const [said, arrives] of [
    [`http://${at}/logs?x=1#y`, '/logs?x=1#y'],
    [`http://localhost:${service.port}/logs`, '/logs'],
    [`http://localhost:${service.port}`, '/'],
    [`http://localhost:${service.port}//evil.example`, '/.//evil.example'],
    ['/logs', '/logs'],
    ['https://elsewhere.example/x', 'https://elsewhere.example/x'],
    ['http://localhost:1/x', 'http://localhost:1/x'],
  ] as const) {
    locations[0] = said
    t.equal((await send(gateway.port, 'GET /', [bearer])).headers['location'], arrives, said)
  }
})

t.test('X-Nextjs-Data passes where Next.js’s router sends it', async (t) => {
  const { port, services } = await startWorkspace(t)
  const bearer = `Authorization: Bearer ${await token()}`
  await send(port, 'GET /_next/data/abc/logs.json', [bearer, 'X-Nextjs-Data: 1'])
  t.equal(services.dashboard.requests.at(-1)?.headers['x-nextjs-data'], '1')
  await send(port, 'GET /logs', [
    bearer,
    'X-Nextjs-Data: 1',
    'X-Nextjs-Rewrite: /x',
    'X-Matched-Path: /x',
    'X-Invoke-Path: /x',
  ])
  t.notMatch(
    Object.keys(services.dashboard.requests.at(-1)?.headers ?? {}).join(),
    /nextjs|matched|invoke/,
  )
})

t.test('the name of the signed-in user is sent in ASCII, whatever the name', async (t) => {
  const { port, services } = await startWorkspace(t)
  for (const [subject, named] of [
    ['alice@example.com', 'alice@example.com'],
    ['Zoë', 'Zo%C3%AB'],
    ['a b', 'a%20b'],
    ['x\u2028y', 'x%E2%80%A8y'],
  ] as const) {
    await send(port, 'GET /', [`Authorization: Bearer ${await token({ subject })}`])
    t.equal(services.dashboard.requests.at(-1)?.headers['x-forwarded-user'], named)
  }
})
