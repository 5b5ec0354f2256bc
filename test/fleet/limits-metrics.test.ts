/** What does the limits service count? Read as Prometheus would, after a few requests. */
import t from 'tap'
import type { LimitPolicy } from '../../src/config/limit-policies.ts'
import { LIMIT_ERRORS } from '../../src/fleet/limit-errors.ts'
import { LIMITS_METRICS, limitsExposition } from '../../src/fleet/limits-metrics.ts'
import { METRICS } from '../../src/observe/metrics.ts'
import { parseExposition } from '../helpers/exposition.ts'
import { limitsFor, policiesOf, type TestLimits } from '../helpers/limits.ts'
import { exchange, send } from '../helpers/wire.ts'

const OTHER: LimitPolicy = {
  name: 'other',
  windows: [{ points: 5, seconds: 60 }],
  storeAway: 'refuse',
}

function read({ counts, isStoreAway, isDraining }: TestLimits) {
  return parseExposition(
    limitsExposition({ counts, isStoreAway, isDraining, eventLoopDelay: { '0.5': 0.001 } }),
  )
}

t.test('decisions, refusals and errors are counted, each where it belongs', async (t) => {
  const limits = await limitsFor(t, { policies: [OTHER] })
  const body = { user: 'ada', grant: 'a' }
  await limits.ask('POST /v1/provision', body)
  await limits.ask('POST /v1/provision', body)
  await limits.ask('POST /v1/provision', { user: 'ada' })
  await limits.ask('DELETE /v1/provision', body)
  await limits.ask('DELETE /v1/provision', body)
  await limits.ask('GET /v1/provision?user=ada')
  await limits.ask('POST /v1/provision', {})
  await send(limits.port, 'GET /')
  await exchange(limits.port, 'GARBAGE\r\n\r\n')
  const values = read(limits)
  const wanted: Readonly<Record<string, number>> = {
    'rate_limit_decisions_total{policy="provision",result="allowed"}': 1,
    'rate_limit_decisions_total{policy="provision",result="refused"}': 1,
    'rate_limit_refusals_total{policy="provision",window="3600"}': 1,
    'rate_limit_refusals_total{policy="provision",window="86400"}': 0,
    'rate_limit_decisions_total{policy="other",result="allowed"}': 0,
    'limits_errors_total{code="rate-limited"}': 1,
    'limits_errors_total{code="no-such-grant"}': 1,
    'limits_errors_total{code="bad-request"}': 2,
    'limits_errors_total{code="token-required"}': 1,
    'limits_errors_total{code="internal-error"}': 0,
    'limits_store_seconds_count{act="take"}': 3,
    'limits_store_seconds_count{act="give-back"}': 2,
    'limits_store_seconds_count{act="look"}': 1,
    limits_store_away: 0,
    limits_draining: 0,
    'limits_event_loop_delay_seconds{quantile="0.5"}': 0.001,
  }
  for (const [name, value] of Object.entries(wanted)) t.equal(values.get(name), value, name)
  for (const code of Object.keys(LIMIT_ERRORS))
    t.ok(values.has(`limits_errors_total{code="${code}"}`), code)
  t.ok((values.get('process_resident_memory_bytes') ?? 0) > 0)
  limits.setPolicies(policiesOf([]))
  await limits.close()
  const after = read(limits)
  t.equal(after.get('rate_limit_decisions_total{policy="provision",result="allowed"}'), 1)
  t.notOk(after.has('rate_limit_decisions_total{policy="other",result="allowed"}'))
  t.equal(after.get('limits_draining'), 1)
})

t.test('every metric is declared, and the limits have the names of the gateway', async (t) => {
  const limits = await limitsFor(t)
  await limits.ask('POST /v1/provision', { user: 'ada' })
  const { counts } = limits
  const text = limitsExposition({
    ...{ counts, isStoreAway: false, isDraining: false },
    eventLoopDelay: {},
  })
  const declared = [...text.matchAll(/^# TYPE (\S+) /gm)].map(([, name = '']) => name)
  t.same(declared.toSorted(), Object.keys(LIMITS_METRICS).toSorted())
  for (const name of ['rate_limit_decisions_total', 'rate_limit_refusals_total'] as const)
    t.same(LIMITS_METRICS[name], METRICS[name], name)
})

t.test('what strangers send becomes no label', async (t) => {
  const limits = await limitsFor(t)
  await limits.ask('POST /v1/secret-name', { user: 'secret-user' })
  await limits.ask('POST /v1/provision', { user: 'secret-user', grant: 'secret-grant' })
  const { counts } = limits
  const text = limitsExposition({
    ...{ counts, isStoreAway: false, isDraining: false },
    eventLoopDelay: {},
  })
  t.notMatch(text, /secret/)
})
