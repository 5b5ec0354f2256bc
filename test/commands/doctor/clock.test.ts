/** Is a wrong clock noticed by what the services say? */
import t from 'tap'
import { examineClock } from '../../../src/commands/doctor/clock.ts'
import { examineAnswers } from '../../../src/commands/doctor/service-answers.ts'
import { Examination } from '../../../src/commands/doctor/examination.ts'
import { loadConfig } from '../../../src/config/load.ts'
import { testSettings } from '../../helpers/gateway.ts'
import { startUpstream } from '../../helpers/upstream.ts'

const NOW = Date.UTC(2026, 6, 1)

function judged(aheadMs: Record<string, number>, now = NOW) {
  const examination = new Examination(loadConfig(testSettings()), [])
  for (const [name, ms] of Object.entries(aheadMs)) examination.clocks.set(name, ms)
  return examineClock(examination, now)[0]
}

t.test('clocks are compared with the leeway of tokens', async (t) => {
  t.match(judged({ dashboard: 500, stats: -900 }), { verdict: 'pass' })
  t.match(judged({ dashboard: 500, stats: -8000 }), {
    verdict: 'warn',
    detail: /stats is 8 s behind/,
  })
  t.match(judged({ dashboard: 31_000 }), { verdict: 'fail', remedy: /NTP/ })
  t.match(judged({}), { verdict: 'skip' })
})

t.test('a clock that was never set is a fault without any comparison', async (t) => {
  t.match(judged({ dashboard: 0 }, 0), { verdict: 'fail', detail: /1970-01-01/ })
})

t.test('the time is read from the Date header of a response', async (t) => {
  const { url } = await startUpstream(t, (_request, response) => {
    response.setHeader('Date', new Date(Date.now() + 3_600_000).toUTCString())
    response.end()
  })
  const config = loadConfig(testSettings({ GATEWAY_DASHBOARD_URL: url }))
  const examination = new Examination(config, [])
  await examineAnswers('dashboard', examination)
  t.match(examineClock(examination)[0], {
    verdict: 'fail',
    detail: /the dashboard is 3\d\d\d s ahead/,
  })
})
