/** What does the limits service answer? Asked over real sockets, with a clock that the test moves. */
import { statSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { LimitPolicy } from '../../src/config/limit-policies.ts'
import {
  askLimits,
  BEARER,
  jsonOf,
  limitsFor,
  policiesOf,
  type LimitsChoices,
} from '../helpers/limits.ts'
import { temporaryFolder } from '../helpers/process.ts'
import { send, type RawAnswer } from '../helpers/wire.ts'

const START = Date.parse('2030-01-01T00:00:00Z')

const HOURLY: LimitPolicy = {
  name: 'hourly',
  windows: [{ points: 50, seconds: 3600 }],
  storeAway: 'allow',
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

/** A service whose clock the test moves, in seconds. */
async function atStart(t: Test, choices: LimitsChoices = {}) {
  let ms = START
  const limits = await limitsFor(t, { now: () => ms, ...choices })
  return Object.assign(limits, { pass: (seconds: number) => void (ms += seconds * 1000) })
}

/** The fields that every answer has. */
function ownFields(t: Test, { headers }: RawAnswer): void {
  t.match(headers['x-request-id'], UUID)
  t.equal(headers['cache-control'], 'no-store')
  t.equal(headers['x-content-type-options'], 'nosniff')
}

/** A window of the built-in policy as it is answered. */
function windowOf(seconds: number, used: number, nextSeconds: number | null) {
  const points = seconds === 3600 ? 1 : 3
  const left = points - used
  return { name: `provision-${seconds}`, points, seconds, used, left, nextSeconds }
}

t.test('a point is taken in both windows, and what is left is told', async (t) => {
  const limits = await atStart(t)
  const answer = await limits.ask('POST /v1/provision', { user: 'ada', grant: 'prov-1' })
  t.equal(answer.status, 200)
  ownFields(t, answer)
  t.equal(answer.headers['content-type'], 'application/json')
  t.equal(answer.headers['ratelimit'], '"provision-3600";r=0;t=3600, "provision-86400";r=2;t=86400')
  t.equal(
    answer.headers['ratelimit-policy'],
    '"provision-3600";q=1;w=3600, "provision-86400";q=3;w=86400',
  )
  t.equal(answer.headers['retry-after'], undefined)
  t.same(jsonOf(answer), {
    policy: 'provision',
    user: 'ada',
    grant: 'prov-1',
    repeated: false,
    windows: [windowOf(3600, 1, 3600), windowOf(86_400, 1, 86_400)],
  })
})

t.test('without an id the grant gets one of its own', async (t) => {
  const limits = await atStart(t, { policies: [HOURLY] })
  const [first, second] = [
    jsonOf(await limits.ask('POST /v1/hourly', { user: 'ada' })),
    jsonOf(await limits.ask('POST /v1/hourly', { user: 'ada' })),
  ]
  t.match(first['grant'], UUID)
  t.match(second['grant'], UUID)
  t.not(first['grant'], second['grant'])
})

t.test('a full window refuses, says which, and nothing is taken in the other', async (t) => {
  const limits = await atStart(t)
  await limits.ask('POST /v1/provision', { user: 'ada' })
  limits.pass(600.5)
  const answer = await limits.ask('POST /v1/provision', { user: 'ada' })
  t.equal(answer.status, 429)
  ownFields(t, answer)
  t.equal(answer.headers['content-type'], 'application/problem+json')
  t.equal(answer.headers['x-gateway-error'], 'rate-limited')
  t.equal(answer.headers['retry-after'], '3000', 'rounded up')
  t.equal(answer.headers['ratelimit'], '"provision-3600";r=0;t=3000, "provision-86400";r=2;t=85800')
  t.match(answer.headers['ratelimit-policy'], /^"provision-3600";q=1;w=3600, /)
  const document = jsonOf(answer)
  t.same(document, {
    type: 'urn:workspace-gateway:limits:rate-limited',
    title: 'The limit is reached',
    status: 429,
    code: 'rate-limited',
    detail: 'the window in refusedBy is full; nothing was taken in any window',
    instance: answer.headers['x-request-id'],
    policy: 'provision',
    refusedBy: ['provision-3600'],
    windows: [windowOf(3600, 1, 3000), windowOf(86_400, 1, 85_800)],
    retryAfter: 3000,
  })
})

t.test('Retry-After is true: a second earlier is too early, for both windows', async (t) => {
  const limits = await atStart(t)
  const ask = () => limits.ask('POST /v1/provision', { user: 'ada' })
  for (const _ of [1, 2]) {
    t.equal((await ask()).status, 200)
    limits.pass(3600)
  }
  t.equal((await ask()).status, 200)
  const both = await ask()
  t.same(jsonOf(both)['refusedBy'], ['provision-3600', 'provision-86400'])
  t.match(jsonOf(both)['detail'], /^the windows in refusedBy are full/)
  t.equal(both.headers['retry-after'], String(86_400 - 7200), 'the later of the two')
  limits.pass(3600)
  const long = await ask()
  t.same(jsonOf(long)['refusedBy'], ['provision-86400'])
  const wait = Number(long.headers['retry-after'])
  limits.pass(wait - 1)
  t.equal((await ask()).headers['retry-after'], '1')
  limits.pass(1)
  t.equal((await ask()).status, 200)
})

t.test('users do not share, nor do policies', async (t) => {
  const limits = await atStart(t, { policies: [HOURLY] })
  for (const user of ['ada', 'Ada', 'ada ', 'аda', 'ada\u200d', '__proto__', '名前', '../x', '"'])
    t.equal((await limits.ask('POST /v1/provision', { user })).status, 200, JSON.stringify(user))
  t.equal((await limits.ask('POST /v1/hourly', { user: 'ada' })).status, 200)
})

t.test('a lost answer can be asked for again: the same grant takes nothing more', async (t) => {
  const limits = await atStart(t)
  const body = { user: 'ada', grant: 'prov-1' }
  t.equal(jsonOf(await limits.ask('POST /v1/provision', body))['repeated'], false)
  limits.pass(10)
  const again = await limits.ask('POST /v1/provision', body)
  t.equal(again.status, 200)
  t.match(jsonOf(again), { grant: 'prov-1', repeated: true })
  t.same(jsonOf(again)['windows'], [windowOf(3600, 1, 3590), windowOf(86_400, 1, 86_390)])
  const other = await limits.ask('POST /v1/provision', { user: 'bob', grant: 'prov-1' })
  t.match(jsonOf(other), { repeated: false }, 'a grant belongs to its user')
})

t.test('GET shows what a user has taken, and takes nothing', async (t) => {
  const limits = await atStart(t)
  const unused = await limits.ask('GET /v1/provision?user=ada')
  t.equal(unused.status, 200)
  t.equal(unused.headers['ratelimit'], '"provision-3600";r=1;t=1, "provision-86400";r=3;t=1')
  t.same(jsonOf(unused), {
    policy: 'provision',
    user: 'ada',
    grants: [],
    windows: [windowOf(3600, 0, null), windowOf(86_400, 0, null)],
    allowed: true,
  })
  await limits.ask('POST /v1/provision', { user: 'ada', grant: 'a' })
  limits.pass(60)
  t.same(jsonOf(await limits.ask('GET /v1/provision?user=ada')), {
    policy: 'provision',
    user: 'ada',
    grants: [{ grant: 'a', at: '2030-01-01T00:00:00.000Z' }],
    windows: [windowOf(3600, 1, 3540), windowOf(86_400, 1, 86_340)],
    allowed: false,
  })
  t.same(limits.store.changes, ['take provision ada a'])
  const head = await limits.ask('HEAD /v1/provision?user=ada')
  t.equal(head.status, 200)
  t.equal(head.body, '')
  t.ok(Number(head.headers['content-length']) > 100)
})

t.test('a query is read as forms write it', async (t) => {
  const limits = await limitsFor(t)
  const cases: ReadonlyArray<readonly [query: string, user: string]> = [
    ['user=ada%40example.com', 'ada@example.com'],
    ['user=ada+lovelace', 'ada lovelace'],
    ['user=a%2Bb', 'a+b'],
    ['user=a=b', 'a=b'],
    ['user=%E5%90%8D%E5%89%8D', '名前'],
    ['%75ser=x', 'x'],
    ['user=a%26grant%3Db', 'a&grant=b'],
    [`user=${encodeURIComponent('😀'.repeat(128))}`, '😀'.repeat(128)],
  ]
  for (const [query, user] of cases)
    t.equal(jsonOf(await limits.ask(`GET /v1/provision?${query}`))['user'], user, query)
})

t.test('DELETE gives back the grant that is named, once, or else the youngest', async (t) => {
  const limits = await atStart(t, { policies: [HOURLY] })
  for (const grant of ['a', 'b', 'c', 'd']) {
    await limits.ask('POST /v1/hourly', { user: 'ada', grant })
    limits.pass(1)
  }
  const named = await limits.ask('DELETE /v1/hourly?user=ada&grant=b')
  t.equal(named.status, 200)
  t.same(jsonOf(named), {
    policy: 'hourly',
    user: 'ada',
    grant: 'b',
    windows: [{ name: 'hourly', points: 50, seconds: 3600, used: 3, left: 47, nextSeconds: 3596 }],
  })
  t.equal(named.headers['ratelimit'], '"hourly";r=47;t=3596')
  const twice = await limits.ask('DELETE /v1/hourly?user=ada&grant=b')
  t.equal(twice.status, 404)
  t.match(jsonOf(twice), { code: 'no-such-grant', detail: /of this id/ })
  t.match(jsonOf(await limits.ask('DELETE /v1/hourly', { user: 'ada' })), { grant: 'd' })
  t.match(jsonOf(await limits.ask('DELETE /v1/hourly', { user: 'ada', grant: 'a' })), {
    grant: 'a',
  })
  t.match(jsonOf(await limits.ask('DELETE /v1/hourly?user=ada')), { grant: 'c' })
  const empty = await limits.ask('DELETE /v1/hourly?user=ada')
  t.equal(empty.status, 404)
  t.match(jsonOf(empty), { code: 'no-such-grant', detail: 'the user has no grant in force' })
})

t.test('what was given back can be taken again at once', async (t) => {
  const limits = await atStart(t)
  await limits.ask('POST /v1/provision', { user: 'ada', grant: 'a' })
  t.equal((await limits.ask('POST /v1/provision', { user: 'ada' })).status, 429)
  await limits.ask('DELETE /v1/provision', { user: 'ada', grant: 'a' })
  t.equal((await limits.ask('POST /v1/provision', { user: 'ada' })).status, 200)
})

t.test('the port takes callers with a token alone, and tells others nothing', async (t) => {
  const limits = await limitsFor(t)
  const refused = async (line: string, fields: readonly string[], code: string) => {
    const answer = await askLimits(limits.port, line, { user: 'ada' }, fields)
    t.equal(answer.status, 401, `${line} ${fields.join()}`)
    t.match(jsonOf(answer), { code, type: `urn:workspace-gateway:limits:${code}` })
    t.equal(answer.headers['x-gateway-error'], code)
    t.match(answer.headers['www-authenticate'], /^Bearer realm="limits"/)
    ownFields(t, answer)
  }
  await refused('POST /v1/provision', [], 'token-required')
  await refused('POST /v1/provision', ['Authorization: Basic YTpi'], 'token-required')
  await refused('POST /v1/provision', ['Authorization: Bearer'], 'token-required')
  for (const token of [
    'x',
    `${BEARER.slice(22)}x`,
    BEARER.slice(22, -1),
    BEARER.slice(22).toUpperCase(),
  ])
    await refused('POST /v1/provision', [`Authorization: Bearer ${token}`], 'token-invalid')
  // Nobody finds out without a token which policies and methods there are.
  await refused('POST /v1/none', [], 'token-required')
  await refused('PUT /v1/provision', [], 'token-required')
  await refused('POST /healthz', [], 'token-required')
  await refused('GET /%zz', [], 'token-required')
  t.same(limits.store.changes, [])
  t.equal((await limits.ask('POST /v1/provision', { user: 'ada' })).status, 200)
  const spelt = BEARER.replace('Bearer ', 'bearer   ')
  t.equal(
    (await askLimits(limits.port, 'GET /v1/provision?user=a', undefined, [spelt])).status,
    200,
  )
})

t.test('tokens are replaced while callers ask', async (t) => {
  const limits = await limitsFor(t)
  const next = 'the-next-token-of-callers-0123456789'
  const ask = async (fields: readonly string[]) =>
    (await send(limits.port, 'GET /v1/provision?user=a', fields)).status
  const nextField = [`Authorization: Bearer ${next}`]
  t.equal(await ask(nextField), 401)
  limits.setTokens([BEARER.slice(22), next])
  t.equal(await ask([BEARER]), 200)
  t.equal(await ask(nextField), 200)
  limits.setTokens([next])
  t.equal(await ask([BEARER]), 401)
  t.equal(await ask(nextField), 200)
})

t.test('policies are replaced while callers ask, and counts stay', async (t) => {
  const limits = await atStart(t)
  t.equal((await limits.ask('POST /v1/hourly', { user: 'ada' })).status, 404)
  await limits.ask('POST /v1/provision', { user: 'ada', grant: 'a' })
  limits.setPolicies(
    policiesOf([
      HOURLY,
      { name: 'provision', windows: [{ points: 2, seconds: 60 }], storeAway: 'refuse' },
    ]),
  )
  t.equal((await limits.ask('POST /v1/hourly', { user: 'ada' })).status, 200)
  t.match(jsonOf(await limits.ask('GET /v1/provision?user=ada')), {
    grants: [{ grant: 'a' }],
    windows: [{ name: 'provision', used: 1, left: 1 }],
  })
  limits.setPolicies(policiesOf([]))
  t.equal((await limits.ask('POST /v1/hourly', { user: 'ada' })).status, 404)
})

t.test('a Unix socket needs no token, and only its owner can open it', async (t) => {
  const socket = join(temporaryFolder(t), 'limits.sock')
  const limits = await limitsFor(t, { env: { LIMITS_SOCKET: socket } })
  t.equal(statSync(socket).mode & 0o777, 0o600)
  const taken = await askLimits(socket, 'POST /v1/provision', { user: 'ada' })
  t.equal(taken.status, 200)
  t.equal((await limits.ask('POST /v1/provision', { user: 'ada' })).status, 429, 'they share')
  const wrong = ['Authorization: Bearer x']
  t.equal((await send(socket, 'GET /v1/provision?user=ada', wrong)).status, 200)
  await limits.close()
  t.throws(() => statSync(socket), 'the file is gone')
})

t.test('with a socket alone no port is open', async (t) => {
  const socket = join(temporaryFolder(t), 'limits.sock')
  const env = { LIMITS_SOCKET: socket, LIMITS_TOKEN: undefined, LIMITS_PORT: undefined }
  const limits = await limitsFor(t, { env })
  t.equal(limits.address, undefined)
  t.equal((await send(socket, 'GET /healthz')).status, 200)
})

t.test('health is open to everybody, and says which store there is', async (t) => {
  const limits = await limitsFor(t)
  const answer = await send(limits.port, 'GET /healthz')
  t.equal(answer.status, 200)
  t.same(jsonOf(answer), { status: 'ok', store: 'memory' })
  ownFields(t, answer)
  t.equal(answer.headers['ratelimit'], undefined)
  const head = await send(limits.port, 'HEAD /healthz?from=probe')
  t.equal(head.status, 200)
  t.equal(head.body, '')
})

t.test('what is not there is 404, and what is asked in the wrong way is 405', async (t) => {
  const limits = await limitsFor(t, { policies: [HOURLY] })
  const missing = [
    '/',
    '/v1',
    '/v1/',
    '/v1/none',
    '/v1/Provision',
    '/v1/provision/',
    '/v1/provision/x',
    '//v1/provision',
    '/v1//provision',
    '/v1/%70rovision',
    '/v1/provision%2Fx',
    '/v1/pro%2fvision',
    '/v1/../v1/provision',
    '/v1/provision;x',
    '/v1/provision#x',
    '/v1/provision?user=ada#x',
    '/v2/provision',
    '/V1/provision',
    `/v1/${'a'.repeat(64)}`,
    `/v1/${'a'.repeat(7000)}`,
    '/v1/__proto__',
    '/v1/constructor',
    '/%zz',
    '/v1/provision%00',
    'http://evil.example/v1/provision',
    'http://127.0.0.1/healthz',
    '*',
  ]
  for (const target of missing) {
    const answer = await limits.ask(`POST ${target}`, { user: 'ada' })
    t.equal(answer.status, 404, target)
    t.match(jsonOf(answer), { code: 'not-found', detail: /^the service has/ }, target)
    ownFields(t, answer)
  }
  for (const [line, allow] of [
    ['PUT /v1/provision', 'GET, HEAD, POST, DELETE'],
    ['PATCH /v1/hourly?user=ada', 'GET, HEAD, POST, DELETE'],
    ['OPTIONS /v1/provision', 'GET, HEAD, POST, DELETE'],
    ['TRACE /v1/provision', 'GET, HEAD, POST, DELETE'],
    ['PROPFIND /v1/provision', 'GET, HEAD, POST, DELETE'],
    ['QUERY /v1/provision', 'GET, HEAD, POST, DELETE'],
    ['POST /healthz', 'GET, HEAD'],
    ['DELETE /healthz', 'GET, HEAD'],
  ] as const) {
    const answer = await limits.ask(line)
    t.equal(answer.status, 405, line)
    t.equal(answer.headers['allow'], allow, line)
    t.match(jsonOf(answer), { code: 'method-not-allowed' }, line)
  }
  t.same(limits.store.changes, [])
})

t.test('every decision and refusal has a line in the log, and no line has the token', async (t) => {
  const limits = await limitsFor(t)
  await limits.ask('POST /v1/provision', { user: 'ada', grant: 'a' })
  await limits.ask('POST /v1/provision', { user: 'ada', grant: 'a' })
  await limits.ask('POST /v1/provision', { user: 'ada', grant: 'b' })
  await limits.ask('DELETE /v1/provision', { user: 'ada' })
  await limits.ask('DELETE /v1/provision', { user: 'ada', grant: 'z' })
  await limits.ask('GET /v1/provision?user=ada')
  await limits.ask('POST /v1/none', { user: 'ada' })
  await limits.ask('POST /v1/provision', {})
  const of = { policy: 'provision', user: 'ada' }
  const lines = limits.lines()
  const wanted: ReadonlyArray<Record<string, unknown>> = [
    { msg: 'decision', ...of, grant: 'a', result: 'allowed' },
    { msg: 'decision', ...of, grant: 'a', result: 'repeated' },
    { msg: 'decision', ...of, grant: 'b', result: 'refused', refusedBy: ['provision-3600'] },
    { msg: 'given back', ...of, grant: 'a' },
    { msg: 'refused', ...of, grant: 'z', code: 'no-such-grant', method: 'DELETE' },
    { msg: 'refused', code: 'not-found', method: 'POST' },
    { msg: 'refused', code: 'bad-request', detail: /^user takes/ },
  ]
  t.match(lines, wanted)
  t.equal(lines.length, wanted.length)
  for (const line of lines) t.match(line, { level: 'info', requestId: UUID })
  for (const { msg, ms } of lines.slice(0, 4)) t.ok(Number(ms) >= 0, String(msg))
  t.notMatch(JSON.stringify(lines), BEARER.slice(22))
})
