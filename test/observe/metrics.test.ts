/** Is what happens counted, in a form that Prometheus reads, with a bounded number of series? */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import t from 'tap'
import { ERRORS, type ErrorCode } from '../../src/answers/errors.ts'
import { renderMetrics } from '../../src/admin/measurements.ts'
import { METRICS, RequestMetrics } from '../../src/observe/metrics.ts'
import { STAGES } from '../../src/request/outcome.ts'
import { ROUTE_WORDS, type RouteName } from '../../src/rules/site-map.ts'
import { client, cookie, HTTPS, TYPED, signIn } from '../helpers/door.ts'
import { token } from '../helpers/gateway.ts'
import { startTestKeeper } from '../helpers/kept-terminals.ts'
import { startOperated } from '../helpers/operations.ts'
import { startTtyd } from '../helpers/ttyd.ts'
import { exchange, open, requestBytes, send, upgrade } from '../helpers/wire.ts'
import { leaveUnanswered } from '../helpers/upstream.ts'
import { parseExposition as parse } from '../helpers/exposition.ts'
import { eventually, later } from '../helpers/waiting.ts'

t.test('requests are counted by route, stage and status class, refusals by code', async (t) => {
  const gateway = await startOperated(t, {
    GATEWAY_TERMINAL_URL: 'unix:/nonexistent/ttyd.sock',
  })
  const { port, logLines, logLine, ask } = gateway
  const bearer = `Authorization: Bearer ${await token()}`
  const rows: Array<[target: string, headers: string[], labels: string]> = [
    ['GET /', [bearer], 'route="dashboard",stage="upstream",status="2xx"'],
    ['POST /api/x', [bearer], 'route="api",stage="upstream",status="2xx"'],
    ['GET /terminal/', [bearer], 'route="terminal",stage="upstream",status="5xx"'],
    ['GET /terminal/', [], 'route="terminal",stage="authentication",status="4xx"'],
    ['GET /.env', [], 'route="dashboard",stage="sensitive-files",status="4xx"'],
    ['GET //x', [], 'route="none",stage="target",status="4xx"'],
    ['GET /health', [], 'route="health",stage="health",status="2xx"'],
    ['GET /_gateway/live', [], 'route="gateway",stage="probe",status="2xx"'],
    [
      `GET /_gateway/sign-in?token=${await token()}`,
      TYPED,
      'route="gateway",stage="sign-in",status="3xx"',
    ],
  ]
  for (const [target, headers, labels] of rows) {
    const id = (await send(port, target, headers)).headers['x-request-id']
    await logLine((line) => line['id'] === id)
    const values = parse((await ask('/metrics')).body)
    t.equal(values.get(`gateway_requests_total{${labels}}`), 1, labels)
  }
  await exchange(port, 'garbage\r\n\r\n')
  await logLine(({ reason }) => reason === 'HPE_INVALID_METHOD')
  const values = parse((await ask('/metrics')).body)
  t.equal(
    values.get('gateway_requests_total{route="none",stage="listener",status="4xx"}'),
    1,
    'bytes that are no request are counted too',
  )
  for (const code of Object.keys(ERRORS)) {
    const lines = logLines().filter((line) => line['code'] === code)
    t.equal(values.get(`gateway_refusals_total{code="${code}"}`), lines.length, code)
  }
})

t.test('time is split between the gateway and the service', async (t) => {
  const { port, logLine, ask, services } = await startOperated(t)
  const server = services.dashboard.server.removeAllListeners('request')
  server.on('request', (_request, response) => {
    later(30, () => response.end('slow'))
  })
  const bearer = `Authorization: Bearer ${await token()}`
  const answer = await send(port, 'GET /', [bearer])
  await logLine(({ id }) => id === answer.headers['x-request-id'])
  await send(port, 'GET /.env')
  await logLine(({ code }) => code === 'sensitive-file')
  const values = parse((await ask('/metrics')).body)
  const of = (name: string) => values.get(`${name}{route="dashboard"}`) ?? NaN
  t.equal(of('gateway_upstream_seconds_count'), 1, 'the refused one asked no service')
  t.equal(of('gateway_decision_seconds_count'), 2)
  t.ok(of('gateway_upstream_seconds_sum') >= 0.029)
  t.ok(of('gateway_decision_seconds_sum') > 0)
  const bucket = (name: string, le: string) =>
    values.get(`${name}_bucket{route="dashboard",le="${le}"}`)
  t.equal(bucket('gateway_upstream_seconds', '0.025'), 0)
  t.equal(bucket('gateway_upstream_seconds', '+Inf'), 1)
  t.equal(bucket('gateway_upstream_seconds', '900'), 1)
  const bounds = [...values.keys()].filter((key) => key.startsWith('gateway_upstream_seconds_b'))
  const counts = bounds.map((key) => values.get(key) ?? NaN)
  t.same(
    counts,
    counts.toSorted((a, b) => a - b),
    'cumulative',
  )
})

t.test('a service that never answers and a client that leaves are counted as such', async (t) => {
  const { port, logLine, ask, services } = await startOperated(t)
  const arrived = leaveUnanswered(services.dashboard)
  const socket = await open(port)
  socket.write(requestBytes('GET /', [`Authorization: Bearer ${await token()}`]))
  await arrived
  const during = parse((await ask('/metrics')).body)
  t.equal(during.get('gateway_in_flight_requests{service="dashboard"}'), 1)
  socket.destroy()
  await logLine(({ reason }) => reason === 'client left')
  const values = parse((await ask('/metrics')).body)
  t.equal(values.get('gateway_requests_total{route="dashboard",stage="upstream",status="none"}'), 1)
  t.equal(values.get('gateway_upstream_seconds_count{route="dashboard"}'), 1)
  t.equal(values.get('gateway_in_flight_requests{service="dashboard"}'), 0)
})

t.test('gauges are read when the metrics are asked for', async (t) => {
  const keeper = await startTestKeeper(t, await startTtyd(t, 'user:password'))
  const settings = { GATEWAY_TERMINAL_URL: keeper.url }
  const { port, ask, parts, logLine } = await startOperated(t, settings)
  const good = await token()
  const { socket } = await upgrade(port, '/', [client('203.0.113.1'), `X-Workspace-Token: ${good}`])
  await send(port, 'GET /', [client('203.0.113.2')])
  await send(port, 'GET /', [client('203.0.113.3'), cookie(good), HTTPS])
  const apiToken = { name: 'ci', subject: 'alice', rate: 5, expiresAt: undefined }
  const { token: secret } = parts.apiTokens.create(apiToken)
  for (const path of ['/api/a', '/not-in-its-scopes'])
    await send(port, `GET ${path}`, [`Authorization: Bearer ${secret}`])
  await parts.factors.prove('alice', {
    ...{ sessionId: 's', purpose: 'verify' },
    proof: { kind: 'code', code: '123456' },
  })
  await logLine(({ path }) => path === '/not-in-its-scopes') // a request is counted when it has ended
  const values = parse((await ask('/metrics')).body)
  t.equal(values.get('gateway_api_token_requests_total{token="ci"}'), 2)
  const factors = 'gateway_second_factors_total{factor="totp",result="not-enrolled"}'
  t.equal(values.get(factors), 1)
  t.equal(values.get('gateway_second_factor_locks_total'), 0)
  t.equal(values.get('gateway_limiter_keys{table="tokens"}'), 1)
  t.equal(values.get('gateway_open_websockets'), 1)
  t.equal(values.get('gateway_terminals{state="attached"}'), 0)
  t.equal(values.get('gateway_limiter_keys{table="addresses"}'), 2)
  t.equal(values.get('gateway_limiter_keys{table="sessions"}'), 1)
  t.equal(values.get('gateway_remembered_tokens'), 2)
  t.equal(values.get('gateway_draining'), 0)
  t.ok((values.get('process_resident_memory_bytes') ?? 0) > 1e7)
  t.ok((values.get('process_cpu_seconds_total') ?? 0) > 0)
  const startedAt = (values.get('process_start_time_seconds') ?? 0) * 1000
  t.ok(Math.abs(startedAt + process.uptime() * 1000 - Date.now()) < 1000)
  for (const quantile of ['0.5', '0.99', '1'])
    t.ok((values.get(`gateway_event_loop_delay_seconds{quantile="${quantile}"}`) ?? -1) >= 0)
  const names = new Set(
    [...values.keys()].map((key) => key.replace(/\{.*|_(?:bucket|sum|count)(?=\{)/g, '')),
  )
  t.same([...names].toSorted(), Object.keys(METRICS).toSorted(), 'every metric that is declared')
  socket.destroy()
  parts.drain.begin()
  t.equal(parse((await ask('/metrics')).body).get('gateway_draining'), 1)
})

t.test('sessions and their keys are counted, and named by nothing secret', async (t) => {
  const { port, ask, parts } = await startOperated(t)
  const { kid } = parts.keys.signing
  const read = async () => parse((await ask('/metrics')).body)
  t.equal((await read()).get(`gateway_tokens_verified_total{kid="${kid}"}`), 0)
  const line = await signIn(port, await token())
  for (let i = 0; i < 3; i++) await send(port, 'GET /', [HTTPS, line])
  await send(port, 'GET /', [`Authorization: Bearer ${await token()}`])
  const during = await read()
  t.equal(
    during.get(`gateway_tokens_verified_total{kid="${kid}"}`),
    5,
    'the ticket, and each request',
  )
  t.equal(during.get('gateway_sessions{kind="browser"}'), 1)
  t.equal(during.get('gateway_sessions{kind="program"}'), 1)
  t.equal(during.get('gateway_sessions_started_total'), 1)
  t.match(JSON.parse((await ask('/status')).body), { sessions: { browser: 1, program: 1 } })
  parts.sessions.endAll('revoked', 'alice')
  const after = await read()
  t.equal(after.get('gateway_sessions{kind="browser"}'), 0)
  t.equal(after.get('gateway_sessions_ended_total{cause="revoked"}'), 2)
  t.equal(after.get('gateway_sessions_ended_total{cause="expired"}'), 0)
  t.notMatch((await ask('/metrics')).body, /alice|test-key/)
})

t.test('a delay of the event loop is reported once', async (t) => {
  const { parts } = await startOperated(t)
  const worst = () =>
    parse(renderMetrics(parts)).get('gateway_event_loop_delay_seconds{quantile="1"}') ?? NaN
  // Of the same kind as the gateway's, to see when that has looked: reading the gateway's own starts it anew.
  const monitor = monitorEventLoopDelay({ resolution: 20 })
  monitor.enable()
  t.teardown(() => monitor.disable())
  const looks = async () => {
    const before = monitor.count
    await eventually(() => monitor.count >= before + 3, 'the monitors have looked')
  }
  worst()
  await looks()
  const until = performance.now() + 200
  while (performance.now() < until);
  await looks()
  t.ok(worst() > 0.1)
  let now = NaN
  for (let i = 0; i < 20 && !(now < 0.1); i++) {
    await looks()
    now = worst()
  }
  t.ok(now < 0.1, 'since it was last asked')
})

t.test('no value that a client chooses becomes a series', async (t) => {
  const { port, parts, logLine } = await startOperated(t)
  const bearer = `Authorization: Bearer ${await token()}`
  const series = () => parse(renderMetrics(parts)).size
  const ask = async (i: number) => {
    const headers = [bearer, `Host: h${i}.localhost`, client(`203.0.113.${i}`)]
    const answer = await send(port, `GET /path-${i}/${'x'.repeat(i)}?q=${i}`, headers)
    await logLine(({ id }) => id === answer.headers['x-request-id'])
  }
  await ask(1)
  const before = series()
  for (let i = 2; i < 50; i++) await ask(i)
  t.equal(series(), before)
  t.notMatch(renderMetrics(parts), /path-|localhost|203\.0|alice/)
})

t.test('every route, stage, status class and code is counted in a series of its own', async (t) => {
  const routes = [...Object.keys(ROUTE_WORDS), undefined] as Array<RouteName | undefined>
  const codes = [...Object.keys(ERRORS), undefined] as Array<ErrorCode | undefined>
  const metrics = new RequestMetrics()
  for (const route of routes)
    for (const stage of STAGES)
      for (const status of [0, 100, 200, 300, 400, 500])
        metrics.count(route, stage, status, undefined, 1, 1)
  for (const code of codes) metrics.count('api', 'upstream', 200, code, 1, 1)
  const values = parse(`${metrics.lines().join('\n')}\n`)
  const counts = [...values].filter(([name]) => name.startsWith('gateway_requests_total'))
  t.equal(counts.length, routes.length * STAGES.length * 6)
  for (const [name, count] of counts)
    t.equal(count, name.includes('"api",stage="upstream",status="2xx"') ? codes.length + 1 : 1)
  for (const route of routes) {
    const histogram = `gateway_decision_seconds_count{route="${route ?? 'none'}"}`
    const extra = route === 'api' ? codes.length : 0
    t.equal(values.get(histogram), STAGES.length * 6 + extra, histogram)
  }
  for (const code of Object.keys(ERRORS))
    t.equal(values.get(`gateway_refusals_total{code="${code}"}`), 1, code)
})

t.test('a status above 599 counts as 5xx', async (t) => {
  const metrics = new RequestMetrics()
  metrics.count('api', 'upstream', 999, undefined, 1, 1)
  metrics.count('api', 'upstream', 100, undefined, 1e9, 1e9)
  const lines = metrics.lines()
  t.ok(lines.includes('gateway_requests_total{route="api",stage="upstream",status="5xx"} 1'))
  t.ok(lines.includes('gateway_requests_total{route="api",stage="upstream",status="1xx"} 1'))
  t.ok(lines.includes('gateway_upstream_seconds_bucket{route="api",le="900"} 1'))
  t.ok(lines.includes('gateway_upstream_seconds_bucket{route="api",le="+Inf"} 2'))
})
