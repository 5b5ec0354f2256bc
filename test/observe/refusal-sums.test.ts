/** Does a flood leave the log readable, with everything counted and a sample of it explained? */
import { mock } from 'node:test'
import t, { type Test } from 'tap'
import { openLog } from '../../src/observe/log.ts'
import { RefusalSums } from '../../src/observe/refusal-sums.ts'
import { signInPage } from '../helpers/door.ts'
import { token } from '../helpers/gateway.ts'
import { startOperated } from '../helpers/operations.ts'
import { eventually } from '../helpers/waiting.ts'
import { exchange, send } from '../helpers/wire.ts'

type Line = Record<string, unknown>

/** Sums on a clock that the test moves. */
function start(t: Test) {
  mock.timers.enable({ apis: ['setInterval'] })
  t.teardown(() => mock.timers.reset())
  const lines: Line[] = []
  const write = (line: string): void => {
    const { time: _time, level: _level, ...fields } = JSON.parse(line) as Line
    lines.push(fields)
  }
  let records = 0
  const sums = new RefusalSums(openLog('info', { write }))
  return {
    sums,
    lines,
    records: () => records,
    /** @returns whether it is in a sum */
    add: (client: string, code: 'rate-limited' | 'sensitive-file' = 'rate-limited') =>
      sums.add(client, { code, stage: 'rate-limit', status: 429 }, () => {
        records++
        return `,"id":"${records}","client":"${client}","code":"${code}"`
      }),
  }
}

const summed = (id: number, client: string, count: number, code = 'rate-limited') => ({
  ...{ id: String(id), client, code, count },
  msg: 'requests refused',
})

t.test(
  'the first has its own line, all others of a second are one line with a sample',
  async (t) => {
    const { add, lines, records } = start(t)
    t.equal(add('a'), false)
    const all = Array.from({ length: 5000 }, () => add('a'))
    t.notOk(all.includes(false))
    t.equal(records(), 1, 'one is recorded')
    mock.timers.tick(999)
    t.same(lines, [])
    mock.timers.tick(1)
    t.same(lines, [summed(1, 'a', 5000)])
    add('a')
    add('a')
    t.equal(records(), 2, 'and another one in the next second')
    mock.timers.tick(1000)
    t.same(lines.slice(1), [summed(2, 'a', 2)])
  },
)

t.test('each client and each code has a sum', async (t) => {
  const { add, lines } = start(t)
  for (const client of ['a', 'b', 'a', 'b', 'b'])
    for (const code of ['rate-limited', 'sensitive-file'] as const) add(client, code)
  mock.timers.tick(1000)
  t.same(lines, [
    summed(1, 'a', 1),
    summed(2, 'a', 1, 'sensitive-file'),
    summed(3, 'b', 2),
    summed(4, 'b', 2, 'sensitive-file'),
  ])
})

t.test('after a second without any, the next one has its own line', async (t) => {
  const { add, lines } = start(t)
  add('a')
  mock.timers.tick(1000)
  t.equal(add('a'), false)
  add('a')
  mock.timers.tick(1000)
  t.equal(add('a'), true, 'a flood goes on')
  mock.timers.tick(2000)
  t.equal(add('a'), false, 'a flood is over')
  t.same(
    lines.map(({ count }) => count),
    [1, 1],
  )
})

t.test('clients without number share a sum, and the table is bounded', async (t) => {
  const { add, lines } = start(t)
  const all = Array.from({ length: 9000 }, (_, i) => add(`c${i}`))
  t.equal(all.indexOf(true), 1000)
  t.equal(all.lastIndexOf(false), 999)
  add('c1')
  mock.timers.tick(1000)
  t.same(
    lines,
    [summed(2, 'c1', 1), { ...summed(1, 'c1000', 8000), shared: true }],
    'the one that is known keeps its own',
  )
  mock.timers.tick(1000)
  t.equal(add('c5000'), false, 'there is room again')
})

t.test('what is not written yet is written at the end', async (t) => {
  const { add, lines, sums } = start(t)
  add('a')
  add('a')
  sums.close()
  t.same(lines, [summed(1, 'a', 1)])
  mock.timers.tick(5000)
  t.equal(lines.length, 1)
})

/** The log lines of refusals with a code, and for how many refusals they stand. */
function refusals(lines: readonly Line[], code: string) {
  const found = lines.filter((line) => line['code'] === code)
  const count = found.reduce((sum, line) => sum + Number(line['count'] ?? 1), 0)
  return { found, count }
}

const FLOOD = 300

for (const [code, target, status] of [
  ['rate-limited', 'GET /', 429],
  ['sensitive-file', 'GET /.env', 403],
] as const)
  t.test(`a flood of ${code} is summed up, counted and explained by a sample`, async (t) => {
    const gateway = await startOperated(t, {
      GATEWAY_RATE_LIMIT: '10',
      GATEWAY_LOG_REFUSALS: 'summed',
    })
    const { port, logLines, ask, dials } = gateway
    for (let i = 0; i < 10; i++) await send(port, 'GET /')
    let last = ''
    for (let i = 0; i < FLOOD; i++) {
      const answer = await send(port, target)
      t.equal(answer.status, status)
      last = answer.headers['x-request-id'] ?? ''
    }
    await eventually(() => refusals(logLines(), code).count === FLOOD, 'all are in the log')
    const { found } = refusals(logLines(), code)
    t.ok(found.length < FLOOD / 4, `${found.length} lines`)
    t.match(found[0], { msg: 'request', client: '127.0.0.1', status })
    t.notOk('count' in (found[0] ?? {}))
    for (const line of found.slice(1)) {
      t.match(line, { msg: 'requests refused', client: '127.0.0.1', status, id: /^[0-9a-f-]{36}$/ })
      t.equal((await ask(`/explain/${String(line['id'])}`)).status, 200)
    }
    const { body } = await ask('/metrics')
    t.match(body, `gateway_refusals_total{code="${code}"} ${FLOOD}\n`)
    if (!found.some(({ id }) => id === last)) {
      const unknown = await ask(`/explain/${last}`)
      t.equal(unknown.status, 404)
      t.match(unknown.body, /refused in one second/)
    }
    t.equal(dials(), 0)
  })

t.test('a session and an API token do not hide behind others at their address', async (t) => {
  const { port, logLines, parts } = await startOperated(t, {
    GATEWAY_SESSION_RATE_LIMIT: '1',
    GATEWAY_LOG_REFUSALS: 'summed',
  })
  const alice = await signInPage(port, await token())
  const bob = await signInPage(port, await token({ subject: 'bob' }))
  const apiToken = (name: string) => {
    const expiresAt = Date.now() + 86_400_000
    const made = parts.apiTokens.create({
      ...{ name, subject: 'alice', scopes: ['dashboard'], expiresAt, rate: 1 },
    })
    return [`Authorization: Bearer ${made.token}`]
  }
  const all = [alice, bob, apiToken('first'), apiToken('second')]
  for (const lines of all) t.equal((await send(port, 'GET /', lines)).status, 200)
  for (let i = 0; i < FLOOD; i++) await send(port, 'GET /', alice)
  for (const lines of all.slice(1)) t.equal((await send(port, 'GET /', lines)).status, 429)
  await eventually(() => refusals(logLines(), 'rate-limited').count === FLOOD + 3, 'all')
  const own = refusals(logLines(), 'rate-limited').found.filter(({ msg }) => msg === 'request')
  t.same(
    own.map(({ token: name }) => name),
    [undefined, undefined, 'first', 'second'],
    'of each session too',
  )
})

t.test('guesses at the sign-in do not hide behind a flood of anything else', async (t) => {
  const { port, logLines } = await startOperated(t, {
    GATEWAY_RATE_LIMIT: '1',
    GATEWAY_LOG_REFUSALS: 'summed',
  })
  const guess = 'GET /_gateway/sign-in?token=guessed'
  await send(port, 'GET /')
  for (let i = 0; i < FLOOD; i++) await send(port, i % 100 === 99 ? guess : 'GET /')
  await eventually(() => refusals(logLines(), 'rate-limited').count === FLOOD, 'all')
  const { found } = refusals(logLines(), 'rate-limited')
  const guesses = found.filter(({ stage }) => stage === 'sign-in')
  t.equal(refusals(guesses, 'rate-limited').count, 3)
})

t.test('refusals within the limit have a line each', async (t) => {
  const { port, logLines } = await startOperated(t, { GATEWAY_LOG_REFUSALS: 'summed' })
  for (let i = 0; i < 20; i++) await send(port, 'GET /.env')
  await eventually(() => refusals(logLines(), 'sensitive-file').found.length === 20, 'each')
})

t.test('GATEWAY_LOG_REFUSALS=each brings every line back', async (t) => {
  const gateway = await startOperated(t, {
    GATEWAY_RATE_LIMIT: '1',
    GATEWAY_LOG_REFUSALS: 'each',
  })
  const { port, logLines, ask } = gateway
  const ids: string[] = []
  for (let i = 0; i < 30; i++) ids.push((await send(port, 'GET /')).headers['x-request-id'] ?? '')
  const lines = () => refusals(logLines(), 'rate-limited').found
  await eventually(() => lines().length === 29, 'each')
  t.same(
    lines().map(({ id }) => id),
    ids.slice(1),
  )
  for (const id of ids.slice(-3)) t.equal((await ask(`/explain/${id}`)).status, 200)
})

t.test('bytes that are no request are summed up too: they cost no budget', async (t) => {
  const { port, logLines, ask } = await startOperated(t, { GATEWAY_LOG_REFUSALS: 'summed' })
  for (let i = 0; i < FLOOD; i++) await exchange(port, 'garbage\r\n\r\n')
  await eventually(() => refusals(logLines(), 'bad-request').count === FLOOD, 'all are in the log')
  t.ok(refusals(logLines(), 'bad-request').found.length < FLOOD / 4)
  t.match((await ask('/metrics')).body, `gateway_refusals_total{code="bad-request"} ${FLOOD}\n`)
})

t.test('neither do refusals at /health, nor wrong credentials there', async (t) => {
  const { port, logLines } = await startOperated(t, {
    GATEWAY_LOG_REFUSALS: 'summed',
    GATEWAY_LOG_PROBES: 'false',
  })
  for (let i = 0; i < FLOOD; i++) {
    t.equal((await send(port, 'POST /health')).status, 405)
    t.equal((await send(port, 'GET /health', ['Authorization: Bearer x.y.z'])).status, 200)
  }
  const lines = () => refusals(logLines(), 'method-not-allowed')
  await eventually(() => lines().count === FLOOD, 'all are in the log')
  t.ok(lines().found.length < FLOOD / 4)
  t.same(
    logLines().filter(({ stage, status }) => stage === 'health' && status === 200),
    [],
  )
  await send(port, 'GET /health', [`Authorization: Bearer ${await token()}`])
  await eventually(
    () => logLines().some(({ stage, status }) => stage === 'health' && status === 200),
    'a good one is logged',
  )
})

t.test('a gateway that stops writes what it has summed', async (t) => {
  const { port, logLines, running } = await startOperated(t, {
    GATEWAY_RATE_LIMIT: '1',
    GATEWAY_LOG_REFUSALS: 'summed',
  })
  for (let i = 0; i < 41; i++) await send(port, 'GET /')
  await running.close()
  t.equal(refusals(logLines(), 'rate-limited').count, 40)
})
