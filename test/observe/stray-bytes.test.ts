/** Is a service that sends bytes which belong to no response logged, without being able to fill the log? */
import { mock } from 'node:test'
import t, { type Test } from 'tap'
import { StrayBytesLog } from '../../src/observe/stray-bytes.ts'
import { recordingLogger } from '../helpers/operations.ts'

const line = (service: string, bytes: number, connections: number) => ({
  level: 'warn',
  service,
  bytes,
  connections,
  msg: 'a service sent bytes that belong to no response',
})

/** A log on a clock that the test moves. */
function start(t: Test) {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  const { logger, lines } = recordingLogger()
  const written = () => lines().map(({ time: _time, ...fields }) => fields)
  return { log: new StrayBytesLog(logger), lines: written }
}

t.test('the first is logged at once, all others of a minute together at its end', async (t) => {
  const { log, lines } = start(t)
  log.note('api', 6)
  t.same(lines(), [line('api', 6, 1)])
  for (let i = 1; i <= 10_000; i++) log.note('api', 2)
  log.note('terminal', 1)
  mock.timers.tick(59_999)
  t.same(lines(), [line('api', 6, 1), line('terminal', 1, 1)], 'each service has its own line')
  mock.timers.tick(1)
  t.same(lines().slice(2), [line('api', 20_000, 10_000)])
  log.note('api', 3)
  mock.timers.tick(59_999)
  t.equal(lines().length, 3, 'that line has begun a minute too')
  mock.timers.tick(1)
  t.same(lines().slice(3), [line('api', 3, 1)])
})

t.test('a service that has been quiet for a minute is logged at once again', async (t) => {
  const { log, lines } = start(t)
  log.note('api', 1)
  mock.timers.tick(60_000)
  t.equal(lines().length, 1, 'a minute without such bytes has no line')
  log.note('api', 2)
  t.same(lines().slice(1), [line('api', 2, 1)])
})

t.test('at the end, what was gathered is logged, and nothing later', async (t) => {
  const { log, lines } = start(t)
  log.note('api', 1)
  log.note('api', 2)
  log.note('chat', 4)
  log.close()
  const all = [line('api', 1, 1), line('chat', 4, 1), line('api', 2, 1)]
  t.same(lines(), all)
  mock.timers.tick(600_000)
  t.same(lines(), all)
})
