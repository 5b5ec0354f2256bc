/** Does the log say what happened to each request, once, and never a secret? */
import t from 'tap'
import { renderMetrics } from '../../src/admin/measurements.ts'
import { client, cookie, HTTPS, ORIGIN } from '../helpers/door.ts'
import { startWorkspace, token } from '../helpers/gateway.ts'
import { exchange, send, upgrade } from '../helpers/wire.ts'

t.test('a request is one line with these fields', async (t) => {
  const { port, logLine, logLines } = await startWorkspace(t)
  const headers = [
    client('203.0.113.9'),
    `Authorization: Bearer ${await token()}`,
    'Host: Houston.hubify.com:80',
    'Content-Length: 2',
  ]
  const answer = await send(port, 'POST /api/v1/x?q=1', headers, 'hi')
  const id = answer.headers['x-request-id']
  const { ms, upstreamMs, time, bytes, ...line } = await logLine(
    (candidate) => candidate['id'] === id,
  )
  t.strictSame(line, {
    level: 'info',
    id,
    client: '203.0.113.9',
    host: 'houston.hubify.com',
    method: 'POST',
    path: '/api/v1/x',
    route: 'api',
    stage: 'upstream',
    status: 200,
    user: 'alice',
    msg: 'request',
  })
  t.match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
  t.equal(bytes, JSON.stringify({ method: 'POST', url: '/v1/x?q=1', body: 2 }).length)
  t.ok(Number(ms) >= Number(upstreamMs) && Number(upstreamMs) > 0)
  t.equal(logLines().filter((candidate) => candidate['id'] === id).length, 1)
})

t.test('a refusal is one line with its code and the stage that refused', async (t) => {
  const { port, logLine, logLines } = await startWorkspace(t)
  const rows: Array<[requestLine: string, headers: string[], expected: object]> = [
    [
      'GET /.env',
      [],
      {
        stage: 'sensitive-files',
        code: 'sensitive-file',
        status: 403,
        client: '203.0.113.9',
        host: 'houston.hubify.com',
        path: '/.env',
        route: 'dashboard',
      },
    ],
    [
      'GET /terminal',
      [],
      { stage: 'authentication', code: 'sign-in-required', status: 401, route: 'terminal' },
    ],
    [
      'TRACE /x',
      [],
      {
        stage: 'listener',
        code: 'method-not-allowed',
        status: 405,
        client: '203.0.113.9',
        method: 'TRACE',
      },
    ],
    ['GET //x', [], { stage: 'target', code: 'bad-target', status: 400, client: '203.0.113.9' }],
    [
      'GET /',
      ['Host: evil.example'],
      { stage: 'host', code: 'host-not-served', status: 421, host: 'evil.example' },
    ],
  ]
  for (const [requestLine, headers, expected] of rows) {
    const answer = await send(port, requestLine, [client('203.0.113.9'), ...headers])
    const id = answer.headers['x-request-id']
    const line = await logLine((candidate) => candidate['id'] === id)
    t.match(line, { ...expected, msg: 'request', level: 'info', bytes: answer.body.length })
    t.notOk('user' in line)
    t.equal(logLines().filter((candidate) => candidate['id'] === id).length, 1)
  }
})

t.test('an address is written in one way, also for bytes that are no request', async (t) => {
  const { port, logLine } = await startWorkspace(t, { GATEWAY_HOST: '::' })
  await exchange(port, 'garbage\r\n\r\n')
  const line = await logLine(({ stage }) => stage === 'listener')
  t.equal(line['client'], '127.0.0.1')
  t.match(line, { reason: 'HPE_INVALID_METHOD', status: 400 })
})

t.test('a WebSocket is one line when it ends, with the bytes of both directions', async (t) => {
  const { port, logLine, services } = await startWorkspace(t)
  const headers = [`Authorization: Bearer ${await token()}`]
  const { answer, socket } = await upgrade(port, '/socket?x=1', headers)
  socket.destroy()
  const line = await logLine(({ id }) => id === answer.headers['x-request-id'])
  t.match(line, {
    websocket: true,
    status: 101,
    stage: 'upstream',
    path: '/socket',
    user: 'alice',
    bytes: 0,
    bytesIn: 0,
  })
  t.equal(services.dashboard.requests.length, 1)
})

t.test('an id of the client’s own is not taken', async (t) => {
  const { port, services } = await startWorkspace(t)
  const headers = [
    `Authorization: Bearer ${await token()}`,
    'X-Request-Id: chosen',
    'Request-Id: chosen',
  ]
  const answer = await send(port, 'GET /', headers)
  t.not(answer.headers['x-request-id'], 'chosen')
  t.equal(services.dashboard.requests[0]?.headers['x-request-id'], answer.headers['x-request-id'])
})

t.test('no token, cookie, password or query value is ever in a log line', async (t) => {
  const workspace = await startWorkspace(t, {
    GATEWAY_LOG_LEVEL: 'trace',
    GATEWAY_OPENCLAW_TOKEN: 'openclaw-secret-4711',
    GATEWAY_CONTROL_UI: '/chat',
  })
  const { port, logLines } = workspace
  const good = await token()
  const other = await token({ subject: 'bob' })
  const expired = await token({ ttlSeconds: -3600 })
  const forged = await token({ secret: 'another-key-that-is-not-houstons-own' })
  const tokens = [good, other, expired, forged, 'garbage-secret-1', `hub_${'s3cr3t'.repeat(6)}`]
  const form = ['Content-Type: application/x-www-form-urlencoded']
  const ids: Array<string | undefined> = []
  for (const secret of tokens) {
    const basic = Buffer.from(`user:${secret}`).toString('base64')
    const rows: Array<[requestLine: string, headers: string[], body?: string]> = [
      ['GET /', [`X-Workspace-Token: ${secret}`]],
      ['GET /api/x', [`Authorization: Bearer ${secret}`]],
      ['GET /terminal/', [`Authorization: Basic ${basic}`, cookie(good), HTTPS]],
      ['GET /', [`Authorization: ${secret}`]],
      ['GET /', [`Proxy-Authorization: Basic ${basic}`]],
      ['GET /', [cookie(secret), HTTPS]],
      ['GET /', [`Cookie: workspace_session=${secret}`, 'Host: localhost']],
      [
        'GET /',
        [
          `Cookie: a=${secret}; __Host-workspace_session=${secret}; __Host-workspace_session=${secret}`,
          HTTPS,
        ],
      ],
      [`GET /?token=${secret}&x=${secret}`, []],
      [`GET /_gateway/sign-in?token=${secret}`, []],
      [`GET /_gateway/sign-in?token=${secret}&token=${secret}`, []],
      [`GET //x?token=${secret}`, []],
      [`GET /x?token=${secret}#${secret}`, []],
      [`GET http://houston.hubify.com/?token=${secret}`, []],
      [`GET /.env?token=${secret}`, []],
      [`TRACE /?token=${secret}`, []],
      [`GET /?token=${secret}`, ['Host: evil.example']],
      [`GET /?token=${secret}`, ['X-Forwarded-For: garbage']],
      [
        'POST /_gateway/sign-in',
        [...form, `Content-Length: ${`token=${secret}`.length}`],
        `token=${secret}`,
      ],
      [
        'POST /_gateway/sign-in',
        ['Content-Type: application/json', `Content-Length: ${secret.length}`],
        secret,
      ],
      ['POST /api/x', [`X-Workspace-Token: ${good}`, `Content-Length: ${secret.length}`], secret],
      [
        'POST /_gateway/sign-out',
        [
          cookie(secret),
          HTTPS,
          `Origin: ${ORIGIN}`,
          `Referer: ${ORIGIN}/?t=${secret}`,
          'Content-Length: 0',
        ],
      ],
      ['GET /', [`X-Forwarded-For: ${secret}`]],
      ['GET /', [`Expect: ${secret}`]],
    ]
    for (const [requestLine, headers, body] of rows)
      ids.push((await send(port, requestLine, headers, body)).headers['x-request-id'])
    const opened = await upgrade(port, `/terminal/ws?token=${secret}`, [
      `X-Workspace-Token: ${good}`,
      `Authorization: Basic ${basic}`,
      'Sec-WebSocket-Protocol: tty',
    ])
    opened.socket.destroy()
    await opened.closed
    await exchange(
      port,
      `GET /?token=${secret} HTTP/1.1\r\nX A: ${secret}\r\nCookie: ${secret}\r\n\r\n`,
    )
  }
  for (const wanted of ids) await workspace.logLine(({ id }) => id === wanted)
  const text = JSON.stringify(logLines())
  for (const secret of [...tokens, 'openclaw-secret-4711']) {
    t.notOk(text.includes(secret), 'a secret')
    t.notOk(text.includes(secret.slice(-20)), 'the end of a secret')
    t.notOk(text.includes(Buffer.from(`user:${secret}`).toString('base64')), 'a password')
  }
})

t.test('a failure of a service is a warning with its cause, for the operator alone', async (t) => {
  const { port, logLine } = await startWorkspace(t, {
    GATEWAY_DASHBOARD_URL: 'unix:/nonexistent/dashboard.sock',
  })
  const answer = await send(port, 'GET /', [`Authorization: Bearer ${await token()}`])
  t.equal(answer.status, 502)
  const line = await logLine(({ id }) => id === answer.headers['x-request-id'])
  t.match(line, {
    level: 'warn',
    code: 'upstream-unreachable',
    reason: 'ENOENT',
    err: { code: 'ENOENT' },
  })
  t.notMatch(answer.raw, 'ENOENT')
})

t.test('names that would break out of a log line are text in it', async (t) => {
  const { port, logLine } = await startWorkspace(t)
  const headers = [`Authorization: Bearer ${await token({ subject: 'al"ice\u2028\u{1f600}' })}`]
  const answer = await send(port, 'GET /%22%7d%e2%80%a8', headers)
  const line = await logLine(({ id }) => id === answer.headers['x-request-id'])
  t.match(line, { user: 'al"ice\u2028\u{1f600}', path: '/"}\u2028' })
})

t.test('a probe that succeeded is counted, but neither logged nor remembered', async (t) => {
  const gateway = await startWorkspace(t, { GATEWAY_LOG_PROBES: undefined })
  const { port, logLine, logLines, running } = gateway
  const quiet: string[] = []
  for (const path of ['/health', '/_gateway/live', '/_gateway/ready'])
    for (const method of ['GET', 'HEAD']) {
      const answer = await send(port, `${method} ${path}`)
      t.equal(answer.status, 200)
      quiet.push(answer.headers['x-request-id'] ?? '')
    }
  const loud = [
    await send(port, 'POST /health'),
    await send(port, 'POST /_gateway/live'),
    await send(port, 'GET /_gateway/ready', ['Authorization: Bearer eyJ.wrong.one']),
    await send(port, 'GET /_gateway/ready', [`Authorization: Bearer ${await token()}`]),
  ]
  for (const { headers } of loud) {
    await logLine(({ id }) => id === headers['x-request-id'])
    t.ok(running.parts.decisions.find(headers['x-request-id'] ?? ''))
  }
  t.equal(logLines().filter(({ msg }) => msg === 'request').length, loud.length)
  for (const id of quiet) t.equal(running.parts.decisions.find(id), undefined)
  const metrics = renderMetrics(running.parts)
  t.match(metrics, 'gateway_requests_total{route="health",stage="health",status="2xx"} 2')
  t.match(metrics, 'gateway_requests_total{route="gateway",stage="probe",status="2xx"} 6')
})

t.test(
  'a probe is logged when the stats server does not answer, whatever its status',
  async (t) => {
    const { port, logLine } = await startWorkspace(t, {
      GATEWAY_LOG_PROBES: undefined,
      GATEWAY_HEALTH_URL: 'unix:/nonexistent/stats.sock',
    })
    const { status, headers } = await send(port, 'GET /health')
    t.equal(status, 200)
    const line = await logLine(({ id }) => id === headers['x-request-id'])
    t.match(line, { code: 'upstream-unreachable', stage: 'health' })
  },
)
