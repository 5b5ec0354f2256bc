/** Does `/api` reach OpenClaw in the form that OpenClaw takes, with its own token and without ours? */
import t from 'tap'
import { client, cookie, HTTPS, knock, ORIGIN, pairs } from '../helpers/door.ts'
import { startTestGateway, startWorkspace, token } from '../helpers/gateway.ts'
import { startUpstream } from '../helpers/upstream.ts'
import { send, upgrade } from '../helpers/wire.ts'

t.test('/api is removed from the path of requests and WebSockets', async (t) => {
  const { port, services } = await startWorkspace(t)
  const bearer = `Authorization: Bearer ${await token()}`
  for (const [target, arrives] of [
    ['/api', '/'],
    ['/api/', '/'],
    ['/api?x=1', '/?x=1'],
    ['/api/v1/models', '/v1/models'],
    ['/api/v1/chat?stream=true&x=%2F', '/v1/chat?stream=true&x=%2F'],
    ['/api/api', '/api'],
  ] as const) {
    t.equal((await send(port, `GET ${target}`, [bearer])).status, 200)
    t.equal(services.api.requests.at(-1)?.url, arrives)
    t.equal((await knock(port, 'upgrade', target, [bearer])).status, 101)
    t.equal(services.api.requests.at(-1)?.url, arrives)
  }
})

t.test('/api is kept with GATEWAY_API_PREFIX=keep', async (t) => {
  const { port, services } = await startWorkspace(t, { GATEWAY_API_PREFIX: 'keep' })
  const bearer = `Authorization: Bearer ${await token()}`
  for (const target of ['/api', '/api/', '/api/v1/models?x=1']) {
    t.equal((await send(port, `GET ${target}`, [bearer])).status, 200)
    t.equal(services.api.requests.at(-1)?.url, target)
    t.equal((await knock(port, 'upgrade', target, [bearer])).status, 101)
    t.equal(services.api.requests.at(-1)?.url, target)
  }
})

t.test('every method passes with its body, whatever its type', async (t) => {
  const { port, services } = await startWorkspace(t)
  const bearer = `Authorization: Bearer ${await token()}`
  for (const method of ['POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'GET'])
    for (const type of [
      'application/json',
      'text/plain',
      'application/x-www-form-urlencoded',
      'multipart/form-data; boundary=x',
      'no type at all',
      '',
    ]) {
      const body = '{"not": json'
      const headers = [bearer, `Content-Type: ${type}`, `Content-Length: ${body.length}`]
      t.equal(
        (await send(port, `${method} /api/x`, headers, body)).status,
        200,
        `${method} ${type}`,
      )
      t.match(services.api.requests.at(-1), { method, body, headers: { 'content-type': type } })
    }
})

const HOSTILE = [
  'Forwarded: for=1.2.3.4',
  'X-Forwarded-User: root',
  'X-Forwarded-Host: evil.example',
  'X-Forwarded-Proto: https',
  'X-Real-IP: 1.2.3.4',
  'X-Workspace: research',
  'X-Workspace-User: root',
  'X_Forwarded_For: 1.2.3.4',
  'Fly-Client-IP: 1.2.3.4',
]

t.test(
  'in local mode OpenClaw gets no forwarding header, because one makes it refuse the request',
  async (t) => {
    const { port, services } = await startWorkspace(t)
    const answer = await send(port, 'GET /api/x', [
      `Authorization: Bearer ${await token()}`,
      client('203.0.113.9'),
      ...HOSTILE,
      'Accept: application/json',
      'User-Agent: test',
      'Cookie: a=b',
    ])
    t.equal(answer.status, 200)
    t.same(pairs(services.api.requests[0]?.rawHeaders ?? []), [
      'accept: application/json',
      'cookie: a=b',
      'host: houston.hubify.com',
      'user-agent: test',
      `x-request-id: ${answer.headers['x-request-id']}`,
    ])
  },
)

t.test('in trusted-proxy mode OpenClaw gets the user and the client address', async (t) => {
  const { port, services } = await startWorkspace(t, { GATEWAY_OPENCLAW_MODE: 'trusted-proxy' })
  const headers = [`X-Workspace-Token: ${await token()}`, client('203.0.113.9'), ...HOSTILE]
  const answer = await send(port, 'GET /api/x', headers)
  const expected = [
    'host: houston.hubify.com',
    'x-forwarded-for: 203.0.113.9',
    'x-forwarded-host: houston.hubify.com',
    'x-forwarded-proto: https',
    'x-forwarded-user: alice',
    `x-request-id: ${answer.headers['x-request-id']}`,
  ]
  t.same(pairs(services.api.requests[0]?.rawHeaders ?? []), expected)
  const { socket, answer: switched } = await upgrade(port, '/api/ws', [
    ...headers,
    `Origin: ${ORIGIN}`,
  ])
  t.equal(switched.status, 101)
  socket.destroy()
  const fields = pairs(services.api.requests[1]?.rawHeaders ?? []).filter((line) =>
    /^(?:x-|forwarded|host)/.test(line),
  )
  t.same(fields, expected.with(5, `x-request-id: ${switched.headers['x-request-id']}`))
})

t.test('OpenClaw’s token is sent, unless the client sent a token of OpenClaw’s', async (t) => {
  const { port, services, logLines } = await startWorkspace(t, {
    GATEWAY_OPENCLAW_TOKEN: 'openclaw-own',
    GATEWAY_CONTROL_UI: '/chat',
  })
  const good = await token()
  const signedIn = [cookie(good), HTTPS, `Origin: ${ORIGIN}`]
  const rows: Array<[headers: string[], sent: string | undefined]> = [
    [[`Authorization: Bearer ${good}`], 'Bearer openclaw-own'],
    [[`X-Workspace-Token: ${good}`], 'Bearer openclaw-own'],
    [signedIn, 'Bearer openclaw-own'],
    [[...signedIn, 'Authorization: Basic dXNlcjpwYXNz'], 'Bearer openclaw-own'],
    [[`X-Workspace-Token: ${good}`, `Authorization: Bearer ${good}`], 'Bearer openclaw-own'],
    [[...signedIn, 'Authorization: Bearer hook-secret'], 'Bearer hook-secret'],
    [[`X-Workspace-Token: ${good}`, 'Authorization: Bearer hook-secret'], 'Bearer hook-secret'],
    [[...signedIn, 'X-OpenClaw-Token: hook-secret'], undefined],
  ]
  for (const target of ['/api/x', '/chat'])
    for (const door of ['request', 'upgrade'] as const)
      for (const [headers, sent] of rows) {
        const answer = await knock(port, door, target, headers)
        t.equal(answer.status, door === 'upgrade' ? 101 : 200)
        const { rawHeaders = [] } = services.api.requests.at(-1) ?? {}
        const values = rawHeaders.filter(
          (_, i) => rawHeaders[i - 1]?.toLowerCase() === 'authorization' && i % 2 === 1,
        )
        t.same(
          values,
          sent === undefined ? [] : [sent],
          `${door} ${headers.map((line) => line.slice(0, 30)).join()}`,
        )
        t.notMatch(answer.raw, 'openclaw-own', 'never to a client')
      }
  for (const target of ['/', '/terminal/']) await send(port, `GET ${target}`, signedIn)
  for (const service of [services.dashboard, services.terminal])
    t.notMatch(JSON.stringify(service.requests), 'openclaw-own', 'nor to another service')
  t.notMatch(JSON.stringify(logLines()), 'openclaw-own')
})

t.test('a response of OpenClaw never acts as a page of the workspace', async (t) => {
  const service = await startUpstream(t, ({ url }, response) => {
    const type = decodeURIComponent(url?.slice(1) ?? '')
    response
      .writeHead(200, { 'Content-Type': type, 'Content-Security-Policy': "default-src 'self'" })
      .end()
  })
  const bearer = `Authorization: Bearer ${await token()}`
  const gateway = await startTestGateway(t, {
    GATEWAY_API_URL: service.url,
    GATEWAY_CONTROL_UI: '/chat',
  })
  for (const [type, isolated] of [
    ['text/html', true],
    ['Text/HTML; charset=utf-8', true],
    ['application/xhtml+xml', true],
    ['image/svg+xml', true],
    ['text/xml', true],
    ['application/json', false],
    ['text/event-stream', false],
    ['text/plain', false],
  ] as const) {
    const answer = await send(gateway.port, `GET /api/${encodeURIComponent(type)}`, [bearer])
    t.equal(answer.status, 200)
    const policies = (answer.headers['content-security-policy'] ?? '').split('\n')
    t.equal(policies.includes('sandbox'), isolated, type)
    t.ok(policies.includes("default-src 'self'"), 'its own policy stays')
  }
  const worker = await send(gateway.port, 'GET /api/text%2Fjavascript', [
    bearer,
    'Service-Worker: script',
  ])
  t.equal(worker.status, 404)
  t.equal(worker.headers['x-gateway-error'], 'not-found')
})
