/** What does the limits service answer while its store is away? What the policy says, and it says so loudly. */
import t from 'tap'
import type { LimitPolicy } from '../../src/config/limit-policies.ts'
import { limitsExposition } from '../../src/fleet/limits-metrics.ts'
import { jsonOf, limitsFor } from '../helpers/limits.ts'
import { send } from '../helpers/wire.ts'

const OPEN: LimitPolicy = {
  name: 'open',
  windows: [{ points: 2, seconds: 60 }],
  storeAway: 'allow',
}

t.test('what a policy refuses without the store is 503, and takes nothing', async (t) => {
  const limits = await limitsFor(t)
  limits.store.isAway = true
  for (const [line, body] of [
    ['POST /v1/provision', { user: 'ada' }],
    ['DELETE /v1/provision', { user: 'ada' }],
    ['GET /v1/provision?user=ada', undefined],
  ] as const) {
    const answer = await limits.ask(line, body)
    t.equal(answer.status, 503, line)
    t.equal(answer.headers['retry-after'], '1')
    t.equal(answer.headers['ratelimit'], undefined)
    t.match(jsonOf(answer), { code: 'store-unavailable' })
    t.notMatch(answer.body, /cut by the test/)
    // A store that comes and goes has no line of its own each time.
    t.match(limits.lines().at(-1), { msg: 'refused', err: { message: 'cut by the test' } })
  }
  limits.store.isAway = false
  t.equal(jsonOf(await limits.ask('GET /v1/provision?user=ada'))['allowed'], true)
})

t.test(
  'what a policy allows without the store is counted here, and not carried over',
  async (t) => {
    const limits = await limitsFor(t, { policies: [OPEN] })
    const ask = async () => limits.ask('POST /v1/open', { user: 'ada' })
    t.notOk('counted' in jsonOf(await ask()))
    limits.store.isAway = true
    for (const left of [1, 0]) {
      const answer = jsonOf(await ask())
      t.match(answer, { repeated: false, counted: 'here', windows: [{ left }] })
    }
    const refused = await ask()
    t.equal(refused.status, 429)
    t.match(jsonOf(refused), { refusedBy: ['open'], counted: 'here' })
    t.match(refused.headers['retry-after'], /^(?:60|59)$/)
    t.equal((await limits.ask('GET /v1/open?user=ada')).status, 503)
    t.equal((await limits.ask('DELETE /v1/open?user=ada')).status, 503)
    limits.store.isAway = false
    const back = jsonOf(await ask())
    t.match(back, { windows: [{ used: 2, left: 0 }] })
    t.notOk('counted' in back)
  },
)

t.test('the probe, the metrics and the log say it, and the probe stays 200', async (t) => {
  const limits = await limitsFor(t, { policies: [OPEN] })
  const isAwayIn = () => {
    const { counts, isStoreAway, isDraining } = limits
    return limitsExposition({ counts, isStoreAway, isDraining, eventLoopDelay: {} })
      .split('\n')
      .includes('limits_store_away 1')
  }
  t.notOk(isAwayIn())
  limits.store.isAway = true
  await limits.ask('POST /v1/open', { user: 'ada' })
  const health = await send(limits.port, 'GET /healthz')
  t.equal(health.status, 200)
  t.same(jsonOf(health), { status: 'degraded', store: 'away' })
  t.ok(isAwayIn())
  t.match(limits.lines(), [
    { level: 'error', err: { message: 'cut by the test' } },
    { msg: 'decision', counted: 'here' },
  ])
  limits.store.isAway = false
  await limits.ask('POST /v1/open', { user: 'ada' })
  t.same(jsonOf(await send(limits.port, 'GET /healthz')), { status: 'ok', store: 'memory' })
  t.notOk(isAwayIn())
})

t.test('a fault of the store is 500 with nothing of the cause, which is logged', async (t) => {
  const limits = await limitsFor(t, { policies: [OPEN] })
  limits.store.fault = new TypeError('secret inside')
  for (const line of ['POST /v1/open', 'DELETE /v1/open']) {
    const answer = await limits.ask(line, { user: 'ada' })
    t.equal(answer.status, 500)
    t.match(jsonOf(answer), { code: 'internal-error', detail: /under this request id/ })
    t.notMatch(answer.raw, /secret inside|TypeError/)
    t.match(limits.lines().at(-1), {
      level: 'error',
      msg: 'a request failed',
      err: { message: 'secret inside' },
      requestId: answer.headers['x-request-id'],
    })
  }
})
