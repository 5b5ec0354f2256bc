/** Do the metrics say what the limits have decided, and nothing else? */
import t from 'tap'
import { RateLimitCounts, rateLimitLines } from '../../src/observe/rate-limit-metrics.ts'
import { parseExposition } from '../helpers/exposition.ts'
import { client, cookie, HTTPS, ORIGIN } from '../helpers/door.ts'
import { token } from '../helpers/gateway.ts'
import { startOperated } from '../helpers/operations.ts'
import { basic, startTtyd } from '../helpers/ttyd.ts'
import { send } from '../helpers/wire.ts'

/** The values of the metrics of limits, by name with labels. */
const valuesOf = (counts: RateLimitCounts) =>
  Object.fromEntries(parseExposition(`${rateLimitLines(counts).join('\n')}\n`))

const PROVISION = {
  name: 'provision',
  windows: [
    { points: 1, seconds: 3600 },
    { points: 3, seconds: 86_400 },
  ],
}

t.test('a policy is there from the start, with every window', async (t) => {
  const counts = new RateLimitCounts([PROVISION, { name: 'token', windows: [{ seconds: 60 }] }])
  t.same(valuesOf(counts), {
    'rate_limit_decisions_total{policy="provision",result="allowed"}': 0,
    'rate_limit_decisions_total{policy="provision",result="refused"}': 0,
    'rate_limit_decisions_total{policy="token",result="allowed"}': 0,
    'rate_limit_decisions_total{policy="token",result="refused"}': 0,
    'rate_limit_refusals_total{policy="provision",window="3600"}': 0,
    'rate_limit_refusals_total{policy="provision",window="86400"}': 0,
    'rate_limit_refusals_total{policy="token",window="60"}': 0,
    'rate_limit_points{policy="provision",window="3600"}': 1,
    'rate_limit_points{policy="provision",window="86400"}': 3,
  })
})

t.test('a refusal is one decision, and counts in each window that was full', async (t) => {
  const counts = new RateLimitCounts([PROVISION])
  counts.allow('provision')
  counts.allow('provision')
  counts.refuse('provision', [3600])
  counts.refuse('provision', [3600])
  counts.refuse('provision', [3600, 86_400])
  t.match(valuesOf(counts), {
    'rate_limit_decisions_total{policy="provision",result="allowed"}': 2,
    'rate_limit_decisions_total{policy="provision",result="refused"}': 3,
    'rate_limit_refusals_total{policy="provision",window="3600"}': 3,
    'rate_limit_refusals_total{policy="provision",window="86400"}': 1,
  })
})

t.test('whatever is not known beforehand makes no series', async (t) => {
  const counts = new RateLimitCounts([PROVISION])
  const before = Object.keys(valuesOf(counts))
  for (let i = 0; i < 100; i++) {
    counts.allow(`p${i}`)
    counts.refuse(`p${i}`, [3600])
    counts.refuse('provision', [i])
  }
  t.same(Object.keys(valuesOf(counts)), before)
  t.equal(counts.all.length, 1)
  t.equal(counts.all[0]?.full.size, 2)
})

t.test('other policies take the place of those before; what stays goes on', async (t) => {
  const counts = new RateLimitCounts([PROVISION, { ...PROVISION, name: 'gone' }])
  counts.allow('provision')
  counts.refuse('provision', [3600, 86_400])
  counts.allow('gone')
  const day = { points: 7, seconds: 86_400 }
  counts.use([
    { name: 'provision', windows: [{ points: 1, seconds: 60 }, day] },
    { name: 'new', windows: [day] },
  ])
  counts.refuse('provision', [60])
  t.same(valuesOf(counts), {
    'rate_limit_decisions_total{policy="provision",result="allowed"}': 1,
    'rate_limit_decisions_total{policy="provision",result="refused"}': 2,
    'rate_limit_decisions_total{policy="new",result="allowed"}': 0,
    'rate_limit_decisions_total{policy="new",result="refused"}': 0,
    'rate_limit_refusals_total{policy="provision",window="60"}': 1,
    'rate_limit_refusals_total{policy="provision",window="86400"}': 1,
    'rate_limit_refusals_total{policy="new",window="86400"}': 0,
    'rate_limit_points{policy="provision",window="60"}': 1,
    'rate_limit_points{policy="provision",window="86400"}': 7,
    'rate_limit_points{policy="new",window="86400"}': 7,
  })
})

t.test('the gateway counts what its answers say', async (t) => {
  const { port, ask, parts } = await startOperated(t, {
    GATEWAY_RATE_LIMIT: '3',
    GATEWAY_SESSION_RATE_LIMIT: '5',
    GATEWAY_RATE_LIMIT_SECONDS: '120',
  })
  const { token: secret } = parts.apiTokens.create({
    ...{ name: 'ci', subject: 'alice', rate: 2, expiresAt: undefined },
  })
  const browser = [cookie(await token()), HTTPS, `Origin: ${ORIGIN}`]
  const told: Record<string, number> = {}
  for (const [times, headers] of [
    [4, [client('203.0.113.1')]],
    [2, [client('203.0.113.2'), `Authorization: Bearer ${await token()}`]],
    [8, browser],
    [6, [client('203.0.113.3'), `Authorization: Bearer ${secret}`]],
  ] as const)
    for (let i = 0; i < times; i++) {
      const { status, headers: fields } = await send(port, 'GET /api/x', headers)
      const [, policy] = /^"([a-z]+)"/.exec(fields['ratelimit'] ?? '') ?? []
      const key = `${policy} ${status === 429 ? 'refused' : 'allowed'}`
      told[key] = (told[key] ?? 0) + 1
    }
  t.same(told, {
    ...{ 'address allowed': 5, 'address refused': 1 },
    ...{ 'session allowed': 5, 'session refused': 3 },
    ...{ 'token allowed': 2, 'token refused': 4 },
  })
  const values = parseExposition((await ask('/metrics')).body)
  for (const [policy, seconds, points] of [
    ['address', 120, 3],
    ['session', 120, 5],
    ['token', 60, undefined],
  ] as const) {
    const decisions = (result: string) =>
      values.get(`rate_limit_decisions_total{policy="${policy}",result="${result}"}`)
    t.equal(decisions('allowed'), told[`${policy} allowed`], policy)
    t.equal(decisions('refused'), told[`${policy} refused`], policy)
    const window = `{policy="${policy}",window="${seconds}"}`
    t.equal(values.get(`rate_limit_refusals_total${window}`), told[`${policy} refused`])
    t.equal(values.get(`rate_limit_points${window}`), points)
  }
})

t.test('a password that is tried costs the address, and its refusal counts there', async (t) => {
  const ttyd = await startTtyd(t, 'user:password')
  const { port, ask } = await startOperated(t, {
    GATEWAY_TERMINAL_URL: ttyd.url,
    GATEWAY_RATE_LIMIT: '2',
    GATEWAY_SESSION_RATE_LIMIT: '100',
  })
  const browser = [cookie(await token()), HTTPS, `Origin: ${ORIGIN}`, client('203.0.113.1')]
  const statuses = []
  for (let i = 0; i < 4; i++)
    statuses.push(
      (await send(port, 'GET /terminal/', [...browser, `Authorization: ${basic(`user:${i}`)}`]))
        .status,
    )
  t.same(statuses, [401, 401, 429, 429])
  const values = parseExposition((await ask('/metrics')).body)
  const decisions = (labels: string) => values.get(`rate_limit_decisions_total{${labels}}`)
  t.equal(decisions('policy="session",result="allowed"'), 4)
  t.equal(decisions('policy="address",result="refused"'), 2)
})
