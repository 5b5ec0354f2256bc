/** Is a recent request explained, stage by stage and without any secret of the client? */
import t from 'tap'
import { rejectionOf } from '../../src/observe/record.ts'
import { explainDecision, type Explanation, type Step } from '../../src/observe/explanation.ts'
import { client, cookie, HTTPS } from '../helpers/door.ts'
import { startWorkspace, token } from '../helpers/gateway.ts'
import { leaveUnanswered } from '../helpers/upstream.ts'
import { exchange, open, requestBytes, send, upgrade } from '../helpers/wire.ts'

const ID = '00000000-0000-4000-8000-000000000000'

/** Sends a request and returns the explanation of its response. */
async function asked(
  { port, logLine, running }: Awaited<ReturnType<typeof startWorkspace>>,
  requestLine: string,
  headers: readonly string[] = [],
): Promise<Explanation> {
  const answer = await send(port, requestLine, headers)
  const id = answer.headers['x-request-id'] ?? ''
  await logLine((line) => line['id'] === id)
  const decision = running.parts.decisions.find(id)
  if (decision === undefined) throw new Error('not remembered')
  return explainDecision(decision)
}

/** The steps of an explanation as text: `stage result: detail`. */
const told = ({ chain }: { chain: readonly Step[] }) =>
  chain.map(({ stage, result, detail }) => `${stage} ${result}${detail && `: ${detail}`}`)

t.test('a request that passed is explained stage by stage', async (t) => {
  const workspace = await startWorkspace(t, { GATEWAY_RATE_LIMIT: '10' })
  const explanation = await asked(workspace, 'POST /api/v1/x?q=1', [
    client('203.0.113.9'),
    HTTPS,
    `Authorization: Bearer ${await token()}`,
    'traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
    'Content-Length: 0',
  ])
  t.same(told(explanation), [
    'listener passed: POST',
    'target passed: /api/v1/x belongs to api',
    'client-address passed: 203.0.113.9, told by the trusted proxy 127.0.0.1',
    'host passed: houston.hubify.com',
    'sensitive-files passed: names none',
    'credential passed: Authorization, good',
    'rate-limit passed: address budget, 9 left for 60 s',
    'authentication passed: signed in as alice',
    'upstream answered: 200 from api',
  ])
  t.match(explanation, {
    time: /^\d{4}-\d\d-\d\dT/,
    client: '203.0.113.9',
    peer: '127.0.0.1',
    scheme: 'https',
    method: 'POST',
    path: '/api/v1/x',
    route: 'api',
    user: 'alice',
    status: 200,
    code: undefined,
    trace: '0af7651916cd43dd8448eb211c80319c',
    websocket: false,
  })
  t.ok(explanation.ms >= (explanation.upstreamMs ?? Infinity))
  t.ok(Math.abs(Date.parse(explanation.time) - Date.now()) < 60_000)
})

t.test('a refusal is explained at its stage, and later stages are not reached', async (t) => {
  const workspace = await startWorkspace(t, {
    GATEWAY_DASHBOARD_URL: 'unix:/nonexistent/dashboard.sock',
    GATEWAY_HEALTH_URL: 'unix:/nonexistent/stats.sock',
    GATEWAY_RATE_LIMIT: '3',
  })
  const bearer = `Authorization: Bearer ${await token()}`
  const expired = await token({ ttlSeconds: -3600 })
  const rows: Array<[requestLine: string, headers: string[], at: number, step: string]> = [
    ['TRACE /', [], 0, 'listener refused: 405 method-not-allowed; TRACE'],
    ['GET //x', [], 1, 'target refused: 400 bad-target; starts with a double slash'],
    [
      'GET /',
      [client('x')],
      2,
      'client-address refused: 400 bad-request; X-Forwarded-For of a trusted proxy is no address, or too long',
    ],
    ['GET /', ['Host: evil.example'], 3, 'host refused: 421 host-not-served'],
    ['GET /.env', [client('203.0.113.1')], 4, 'sensitive-files refused: 403 sensitive-file'],
    ['GET /', [client('203.0.113.2')], 7, 'authentication refused: 401 sign-in-required'],
    [
      'GET /',
      [client('203.0.113.3'), cookie(expired), HTTPS],
      7,
      'authentication refused: 401 token-expired; exp',
    ],
    [
      'GET /',
      [client('203.0.113.3'), bearer],
      8,
      'upstream failed: 502 upstream-unreachable; ENOENT',
    ],
    ['GET /health', [], 8, 'health answered: 200 upstream-unreachable; ENOENT'],
    ['GET /_gateway/live', [], 8, 'probe answered: 200'],
    ['GET /_gateway/sign-in', [client('203.0.113.4')], 8, 'sign-in answered: 200'],
  ]
  for (const [requestLine, headers, at, step] of rows) {
    const chain = told(await asked(workspace, requestLine, headers))
    t.equal(chain[at], step, requestLine)
    t.equal(chain.length, 9)
    for (const before of chain.slice(0, at)) t.match(before, / passed/)
    for (const after of chain.slice(at + 1)) t.match(after, / not reached$/)
  }
  const limited = [client('203.0.113.5')]
  for (let i = 0; i < 3; i++) await send(workspace.port, 'GET /', limited)
  t.equal(
    told(await asked(workspace, 'GET /', limited))[6],
    'rate-limit refused: 429 rate-limited; address budget, 0 left for 60 s',
  )
})

t.test('an API token is explained by its name, and never shown', async (t) => {
  const workspace = await startWorkspace(t)
  const { apiTokens } = workspace.running.parts
  const make = (name: string, addresses: string[] = []) =>
    apiTokens.create({ name, subject: 'alice', addresses, rate: 5, expiresAt: undefined }).token
  const [ci, home, gone] = [make('ci'), make('home', ['192.0.2.0/24']), make('gone')]
  apiTokens.revoke(apiTokens.named('gone')!)
  const bearer = (secret: string) => [`Authorization: Bearer ${secret}`]
  const rows: Array<
    [requestLine: string, headers: string[], token: string | undefined, steps: string[]]
  > = [
    [
      'GET /api/x',
      bearer(ci),
      'ci',
      [
        'credential passed: Authorization, API token ci, good',
        'rate-limit passed: token budget, 4 left for 60 s',
      ],
    ],
    ['GET /', bearer(ci), 'ci', ['authentication refused: 403 scope-missing']],
    [
      'GET /api/x',
      bearer(home),
      'home',
      [
        'credential passed: Authorization, API token home, address-not-allowed',
        'authentication refused: 403 address-not-allowed',
      ],
    ],
    [
      'GET /api/x',
      bearer(gone),
      undefined,
      ['authentication refused: 401 token-invalid; API token gone is revoked'],
    ],
    [`GET /?${ci}`, [], 'ci', ['credential refused: 400 token-in-url; API token ci']],
    [`GET /?${gone}`, [], undefined, ['authentication refused: 401 sign-in-required']],
  ]
  for (const [requestLine, headers, name, steps] of rows) {
    const explanation = await asked(workspace, requestLine, headers)
    t.equal(explanation.token, name)
    for (const step of steps) t.ok(told(explanation).includes(step), step)
    for (const secret of [ci, home, gone]) t.notMatch(JSON.stringify(explanation), secret)
  }
})

t.test('the finding of each stage is put into words', async (t) => {
  const workspace = await startWorkspace(t)
  const good = await token()
  const forged = await token({ secret: 'another-key-that-is-not-houstons-own' })
  const chainOf = async (target: string, headers: string[]) =>
    told(await asked(workspace, target, headers))
  const session = await chainOf('GET /', [cookie(good), HTTPS])
  t.equal(session[2], 'client-address passed: 127.0.0.1, a trusted proxy that named nobody else')
  t.equal(session[5], 'credential passed: session cookie, good')
  t.equal(session[6], 'rate-limit passed: session budget, 599 left for 60 s')
  const header = await chainOf('GET /', [`X-Workspace-Token: ${forged}`])
  t.equal(header[5], 'credential passed: X-Workspace-Token, token-invalid (signature)')
  const health = await chainOf('GET /health', ['Host: evil.example'])
  t.equal(health[3], 'host passed: evil.example')
  t.equal(health[5], 'credential passed: none of ours')
  t.equal(health[6], 'rate-limit passed: not counted')
  t.equal(health[7], 'authentication passed: open to everybody')

  const direct = await startWorkspace(t, { GATEWAY_TRUSTED_PROXIES: 'none' })
  t.equal(
    told(await asked(direct, 'GET /', [client('203.0.113.9')]))[2],
    'client-address passed: 127.0.0.1, the TCP peer, which is no trusted proxy',
  )
})

t.test('a WebSocket is explained once it has ended', async (t) => {
  const { port, logLine, running } = await startWorkspace(t)
  const { answer, socket } = await upgrade(port, '/socket', [
    `Authorization: Bearer ${await token()}`,
  ])
  const id = answer.headers['x-request-id'] ?? ''
  t.equal(running.parts.decisions.find(id), undefined, 'not while it is open')
  socket.destroy()
  await logLine((line) => line['id'] === id)
  const decision = running.parts.decisions.find(id)
  if (decision === undefined) throw new Error('not remembered')
  const chain = told(explainDecision(decision))
  t.equal(chain[0], 'listener passed: GET, to become a WebSocket')
  t.equal(chain[8], 'upstream answered: 101 from dashboard')
})

t.test('bytes that are not a request are explained too', async (t) => {
  const { port, logLine, running } = await startWorkspace(t)
  await exchange(port, 'garbage\r\n\r\n')
  const { id } = await logLine(({ code }) => code === 'bad-request')
  const decision = running.parts.decisions.find(String(id))
  if (decision === undefined) throw new Error('not remembered')
  const explanation = explainDecision(decision)
  t.equal(told(explanation)[0], 'listener refused: 400 bad-request; HPE_INVALID_METHOD')
  t.match(explanation, { client: '127.0.0.1', method: undefined, path: undefined })
})

t.test('a client that left before there was a response is explained', async (t) => {
  const { port, logLine, running, services } = await startWorkspace(t)
  const arrived = leaveUnanswered(services.dashboard)
  const socket = await open(port)
  socket.write(requestBytes('GET /', [`Authorization: Bearer ${await token()}`]))
  await arrived
  socket.destroy()
  const { id } = await logLine(({ reason }) => reason === 'client left')
  const decision = running.parts.decisions.find(String(id))
  if (decision === undefined) throw new Error('not remembered')
  t.equal(told(explainDecision(decision))[8], 'upstream failed: no answer; client left')
})

t.test('a record contains no query, no token and no long path', async (t) => {
  const workspace = await startWorkspace(t)
  const good = await token()
  const rows: Array<[target: string, headers: string[]]> = [
    [`/?token=${good}`, []],
    [`/api/${good}/x`, []],
    [`/_gateway/sign-in?token=${good}`, []],
    ['/x?password=hunter2-hunter2', [`Authorization: Bearer ${good}`]],
    ['/', [`X-Workspace-Token: ${good}`, 'Authorization: Basic aHVudGVyMi1odW50ZXIy']],
    ['/', [cookie(good), HTTPS]],
  ]
  const all: unknown[] = []
  for (const [target, headers] of rows) all.push(await asked(workspace, `GET ${target}`, headers))
  const remembered = JSON.stringify(all)
  for (const secret of [good, good.slice(-20), 'hunter2', 'aHVudGVyMi1odW50ZXIy'])
    t.notOk(remembered.includes(secret))
  for (const { id } of all as Explanation[]) {
    const kept = JSON.stringify(workspace.running.parts.decisions.find(id))
    t.notMatch(kept, /\?|token=|hunter2|aHVudGVyMi/)
  }
  const { path } = await asked(workspace, `GET /${'a'.repeat(5000)}?x=y`)
  t.equal(path, `/${'a'.repeat(511)}…`)
  t.equal(explainDecision(rejectionOf(ID, undefined, 400, 'bad-request', 'x')).client, undefined)
})
