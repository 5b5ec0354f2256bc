/** Can an answer of one service act as a page of the workspace, where the dashboard’s session lives? */
import t, { type Test } from 'tap'
import { assertRefused, cookie, DOORS, HTTPS, knock, NAVIGATION, ORIGIN } from '../helpers/door.ts'
import { startBefore, startWorkspace, token } from '../helpers/gateway.ts'
import { startUpstream, switchingProtocols } from '../helpers/upstream.ts'
import { send, type RawAnswer } from '../helpers/wire.ts'

/** A gateway before one service that answers with the status, type and policy that the query asks for. */
async function startBeforeAnswers(t: Test, overrides: Record<string, string> = {}) {
  const service = await startUpstream(t, (request, response) => {
    const asked = new URL(request.url ?? '/', 'http://x').searchParams
    for (const type of asked.getAll('type')) response.appendHeader('Content-Type', type)
    for (const policy of asked.getAll('policy'))
      response.appendHeader('Content-Security-Policy', policy)
    response.statusCode = Number(asked.get('status') ?? 200)
    response.end('<script>alert(document.domain)</script>')
  })
  const gateway = await startBefore(t, service, { GATEWAY_CONTROL_UI: '/chat', ...overrides })
  const ask = (target: string, answer: Record<string, string | string[]>, method = 'GET') => {
    const query = new URLSearchParams()
    for (const [name, values] of Object.entries(answer))
      for (const value of [values].flat()) query.append(name, value)
    return send(gateway.port, `${method} ${target}?${query.toString()}`, [gateway.auth])
  }
  return { ...gateway, ask }
}

/** Every policy of an answer, one for each field. */
const policies = ({ headers }: RawAnswer) => headers['content-security-policy']?.split('\n')

t.test(
  'a document below a stripped /api is sandboxed, in addition to the service’s own policy',
  async (t) => {
    const { ask } = await startBeforeAnswers(t)
    for (const type of [
      'text/html',
      'text/html; charset=utf-8',
      'Image/SVG+XML',
      'application/xhtml+xml',
      'application/xml',
    ]) {
      t.same(policies(await ask('/api/x', { type })), ["frame-ancestors 'self'", 'sandbox'], type)
      t.same(policies(await ask('/api', { type, policy: "default-src 'self'" })), [
        "default-src 'self'",
        "frame-ancestors 'self'",
        'sandbox',
      ])
      t.same(
        policies(
          await ask('/api/x', {
            type,
            policy: ['sandbox allow-scripts allow-same-origin', "script-src 'unsafe-inline'"],
          }),
        ),
        [
          'sandbox allow-scripts allow-same-origin',
          "script-src 'unsafe-inline'",
          "frame-ancestors 'self'",
          'sandbox',
        ],
        'a policy of the service’s cannot loosen it',
      )
    }
    t.same(policies(await ask('/api/x', { type: ['text/plain', 'text/html'] })), [
      "frame-ancestors 'self'",
      'sandbox',
    ])
  },
)

t.test('errors and responses to HEAD are sandboxed too', async (t) => {
  const { ask } = await startBeforeAnswers(t)
  for (const status of ['200', '201', '401', '404', '500'])
    t.ok(policies(await ask('/api/x', { type: 'text/html', status }))?.includes('sandbox'), status)
  t.ok(policies(await ask('/api/x', { type: 'text/html' }, 'HEAD'))?.includes('sandbox'))
})

t.test('a stored page stays sandboxed after it is revalidated', async (t) => {
  const { ask } = await startBeforeAnswers(t)
  for (const type of [[], 'text/plain'])
    t.equal(policies(await ask('/api/x', { type, status: '304' })), undefined, 'nothing replaced')
  for (const answer of [
    { type: 'text/html', status: '304' },
    { policy: 'default-src *', status: '304' },
    { policy: 'default-src *', type: 'text/plain', status: '304' },
    { type: 'text/plain', status: '206' },
  ])
    t.ok(policies(await ask('/api/x', answer))?.includes('sandbox'), JSON.stringify(answer))
  for (const target of ['/x', '/terminal/', '/chat/'])
    t.equal(policies(await ask(target, { status: '304' })), undefined, target)
})

t.test('JSON, event streams and downloads below /api stay as they are', async (t) => {
  const { ask } = await startBeforeAnswers(t)
  for (const type of [
    'application/json',
    'text/event-stream',
    'text/plain',
    'application/octet-stream',
    'image/png',
  ]) {
    t.same(policies(await ask('/api/x', { type })), ["frame-ancestors 'self'"], type)
    t.same(policies(await ask('/api/x', { type, policy: "default-src 'none'" })), [
      "default-src 'none'",
      "frame-ancestors 'self'",
    ])
  }
  const untyped = await ask('/api/x', {})
  t.same(policies(untyped), ["frame-ancestors 'self'"])
  t.equal(
    untyped.headers['x-content-type-options'],
    'nosniff',
    'what has no type is not guessed to be a page',
  )
})

t.test('pages of the dashboard, the terminal and the control UI are not sandboxed', async (t) => {
  const { ask } = await startBeforeAnswers(t)
  for (const target of ['/', '/x', '/terminal/', '/chat/', '/apix'])
    t.same(policies(await ask(target, { type: 'text/html' })), ["frame-ancestors 'self'"], target)
  const kept = await startBeforeAnswers(t, { GATEWAY_API_PREFIX: 'keep' })
  t.same(
    policies(await kept.ask('/api/', { type: 'text/html' })),
    ["frame-ancestors 'self'"],
    'an operator’s choice',
  )
})

/** What a service says for the whole origin, and what is left of it on an isolated route. */
const FOR_THE_ORIGIN = [
  ['Clear-Site-Data', '"*"'],
  ['NEL', '{"report_to":"x","max_age":1}'],
  ['Report-To', '{"group":"x","endpoints":[{"url":"https://evil.example"}]}'],
  ['Reporting-Endpoints', 'default="https://evil.example"'],
  ['Alt-Svc', 'h2="evil.example:443"'],
  ['Set-Cookie', 'a=1; Path=/; HttpOnly'],
  ['Set-Cookie', '__Host-a=1; Path=/; Secure'],
  ['Access-Control-Allow-Origin', 'https://evil.example'],
  ['Access-Control-Allow-Credentials', 'true'],
  ['WWW-Authenticate', 'Basic realm="ttyd"'],
] as const
const GONE = [
  ...['clear-site-data', 'nel', 'report-to', 'reporting-endpoints', 'alt-svc'],
  ...['access-control-allow-credentials', 'www-authenticate'],
]
const LINES = FOR_THE_ORIGIN.map(([name, value]) => `${name}: ${value}\r\n`).join('')

t.test(
  'a service below a stripped /api does not decide for the origin: not in a response, a refused handshake or a 101',
  async (t) => {
    const service = await startUpstream(
      t,
      (_request, response) => {
        for (const [name, value] of FOR_THE_ORIGIN) response.appendHeader(name, value)
        response.end('x')
      },
      (request, socket) => {
        if (request.url?.includes('refuse') === true)
          socket.end(
            `HTTP/1.1 403 Forbidden\r\n${LINES}Content-Type: text/html\r\nContent-Length: 0\r\n\r\n`,
          )
        else socket.write(switchingProtocols(request, LINES))
      },
    )
    const gateway = await startBefore(t, service, { GATEWAY_CONTROL_UI: '/chat' })
    const ask = async (door: 'request' | 'upgrade', target: string) =>
      knock(gateway.port, door, target, [gateway.auth])
    for (const [door, target, status] of [
      ['request', '/api', 200],
      ['request', '/api/x', 200],
      ['upgrade', '/api/refuse', 403],
      ['upgrade', '/api/ws', 101],
    ] as const) {
      const answer = await ask(door, target)
      t.equal(answer.status, status, `${door} ${target}`)
      for (const name of GONE) t.equal(answer.headers[name], undefined, `${target}: ${name}`)
      t.equal(answer.headers['set-cookie'], 'a=1; Path=/api; HttpOnly')
    }
    t.ok(policies(await ask('upgrade', '/api/refuse'))?.includes('sandbox'))
    for (const [door, target] of [
      ['request', '/'],
      ['request', '/chat/'],
      ['upgrade', '/refuse'],
      ['upgrade', '/ws'],
    ] as const) {
      const answer = await ask(door, target)
      for (const name of GONE) t.type(answer.headers[name], 'string', `${door} ${target}: ${name}`)
      t.match(answer.headers['set-cookie'], 'a=1; Path=/; HttpOnly')
    }
  },
)

t.test('OpenClaw’s own address in a response header becomes a path below /api', async (t) => {
  const service = await startUpstream(t, (request, response) => {
    const own = `http://localhost:${service.port}/x?a=b`
    response.setHeader('Location', own)
    response.setHeader('Content-Location', own)
    response.setHeader('Refresh', `5; url="${own}"`)
    response.setHeader('X-Path', request.url ?? '')
    response.end()
  })
  const { port, auth } = await startBefore(t, service)
  for (const [target, prefix] of [
    ['/api/y', '/api'],
    ['/y', ''],
  ] as const) {
    const { headers } = await send(port, `GET ${target}`, [auth])
    t.equal(headers['location'], `${prefix}/x?a=b`)
    t.equal(headers['content-location'], `${prefix}/x?a=b`)
    t.equal(headers['refresh'], `5; url="${prefix}/x?a=b"`)
  }
})

t.test(
  'no service worker is served below /api and /terminal; the dashboard and the control UI may serve one',
  async (t) => {
    const workspace = await startWorkspace(t, { GATEWAY_CONTROL_UI: '/chat' })
    const signedIn = [cookie(await token()), HTTPS]
    const fetches = [
      ['Service-Worker: script'],
      ['Sec-Fetch-Dest: serviceworker'],
      ['service-worker: script', 'Sec-Fetch-Dest: serviceworker'],
    ]
    for (const fields of fetches)
      for (const target of ['/api/sw.js', '/api', '/terminal/sw.js', '/terminal']) {
        const answer = await send(workspace.port, `GET ${target}`, [...signedIn, ...fields])
        t.match(answer, {
          status: 404,
          headers: { 'x-gateway-error': 'not-found', 'content-length': '0' },
        })
        t.equal(workspace.dials(), 0)
        const refused = await send(workspace.port, `GET ${target}`, fields)
        await assertRefused(t, workspace, refused, {
          code: 'sign-in-required',
          stage: 'authentication',
        })
      }
    for (const fields of fetches) {
      await send(workspace.port, 'GET /sw.js', [...signedIn, ...fields])
      t.equal(workspace.services.dashboard.requests.at(-1)?.url, '/sw.js')
      await send(workspace.port, 'GET /chat/sw.js', [...signedIn, ...fields])
      t.equal(workspace.services.api.requests.at(-1)?.url, '/chat/sw.js')
    }
    t.equal(
      workspace.services.dashboard.requests[0]?.headers['service-worker'],
      'script',
      'as the browser said it',
    )
  },
)

t.test(
  'gatewayUrl is refused below /chat in every spelling, as a request and as an upgrade',
  async (t) => {
    const workspace = await startWorkspace(t, { GATEWAY_CONTROL_UI: '/chat' })
    const signedIn = [cookie(await token()), HTTPS, `Origin: ${ORIGIN}`]
    for (const query of [
      'gatewayUrl=wss://evil.example',
      'gatewayUrl',
      'gatewayurl=x',
      'GATEWAYURL=x',
      '%67atewayUrl=x',
      'gateway%55rl=x',
      '%67%61%74%65%77%61%79%55%72%6c=x',
      '+gatewayUrl+=x',
      'a=1&b&gatewayUrl=x',
      'gatewayUrl=&gatewayUrl=x',
    ])
      for (const target of ['/chat', '/chat/', '/chat/settings', '/chat/ws'])
        for (const door of DOORS) {
          const answer = await knock(workspace.port, door, `${target}?${query}`, signedIn)
          t.match(
            answer,
            { status: 400, headers: { 'x-gateway-error': 'bad-request' } },
            `${door} ${target}?${query}`,
          )
          t.equal(workspace.dials(), 0)
        }
    const page = await send(workspace.port, 'GET /chat/?gatewayUrl=wss://evil.example', [
      ...signedIn,
      ...NAVIGATION,
    ])
    t.match(page.headers['content-type'], 'text/html')
    t.notMatch(page.raw, 'evil', 'nor is it repeated')
  },
)

t.test('similar names pass, and on other routes gatewayUrl has no meaning', async (t) => {
  const { port, services } = await startWorkspace(t, { GATEWAY_CONTROL_UI: '/chat' })
  const headers = [`Authorization: Bearer ${await token()}`]
  for (const target of [
    '/chat?a=gatewayUrl',
    '/chat/?gatewayUrls=x',
    '/chat/?session=gatewayUrl%3D',
    '/chat/gatewayUrl',
  ]) {
    t.equal((await send(port, `GET ${target}`, headers)).status, 200)
    t.equal(services.api.requests.at(-1)?.url, target)
  }
  await send(port, 'GET /settings?gatewayUrl=x', headers)
  t.equal(services.dashboard.requests[0]?.url, '/settings?gatewayUrl=x')
})
