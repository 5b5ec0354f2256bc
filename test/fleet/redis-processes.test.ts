/** Do many processes on one Redis allow together what the policy allows, whatever their clocks say? With real processes. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import t, { type Test } from 'tap'
import { PROVISION, type LimitPolicy } from '../../src/config/limit-policies.ts'
import type { Round, RoundAnswer } from '../helpers/limit-caller.ts'
import { MINUTE } from '../helpers/redis-limits.ts'
import { NO_REDIS, startRedis } from '../helpers/redis.ts'

const CALLER = new URL('../helpers/limit-caller.ts', import.meta.url)

/** How many callers each process has. */
const CALLERS = 25

/** A process with callers. It ends with the test. @param aheadMs how much its clock is ahead, in milliseconds */
function startProcess(t: Test, url: string, aheadMs = 0) {
  const shift = `const { now } = Date; Date.now = () => now() + ${aheadMs}
    globalThis.Date = new Proxy(Date, {
      construct: (real, args) => Reflect.construct(real, args.length === 0 ? [real.now()] : args),
    })`
  const execArgv = ['--import', `data:text/javascript,${encodeURIComponent(shift)}`]
  const child = fork(CALLER, [url], { execArgv })
  const ended = once(child, 'close')
  t.teardown(async () => {
    child.kill('SIGKILL')
    await ended
  })
  return async (round: Round): Promise<RoundAnswer> => {
    const answered = once(child, 'message') as Promise<[RoundAnswer]>
    child.send(round)
    return (await answered)[0]
  }
}

const idsOf = (name: string) => Array.from({ length: CALLERS }, (_, i) => `${name}-${i}`)

t.test('with a Redis', { skip: NO_REDIS }, async (t) => {
  t.test('50 callers at once in two processes get the points, and never one more', async (t) => {
    const redis = await startRedis(t)
    const [a, b] = [startProcess(t, redis.url), startProcess(t, redis.url)]
    const of = (...windows: readonly (readonly [number, number])[]): LimitPolicy => ({
      name: windows.join('-').replaceAll(',', '-'),
      windows: windows.map(([points, seconds]) => ({ points, seconds })),
      storeAway: 'refuse',
    })
    for (const [policy, points] of [
      [PROVISION, 1],
      [MINUTE, 2],
      [of([40, 60], [17, 3600]), 17],
      [of([49, 3600]), 49],
      [of([1000, 3600]), 50],
    ] as const)
      for (let round = 0; round < 10; round++) {
        const user = `user ${round}`
        const answers = await Promise.all([
          a({ policy, user, ids: idsOf('a') }),
          b({ policy, user, ids: idsOf('b') }),
        ])
        const takings = answers.flatMap((answer) => answer.takings)
        const of50 = `${policy.name}, round ${round}`
        t.equal(takings.filter(({ outcome }) => outcome === 'taken').length, points, of50)
        t.equal(takings.filter(({ outcome }) => outcome === 'refused').length, 50 - points, of50)
        t.equal(Math.max(...takings.map(({ usage }) => usage.grants.length)), points, of50)
        t.equal(
          await redis.does('ZCARD', `workspace-gateway:limits:${policy.name}:${user}`),
          points,
          of50,
        )
      }
  })

  t.test('who asks for the same grant at two processes gets it once', async (t) => {
    const redis = await startRedis(t)
    const [a, b] = [startProcess(t, redis.url), startProcess(t, redis.url)]
    for (let round = 0; round < 10; round++) {
      const asked = { policy: MINUTE, user: `user ${round}`, ids: idsOf('same') }
      const [first, second] = await Promise.all([a(asked), b(asked)])
      const takings = [...first.takings, ...second.takings]
      t.equal(takings.filter(({ outcome }) => outcome === 'taken').length, 2)
      t.equal(takings.filter(({ outcome }) => outcome === 'repeated').length, 2)
    }
  })

  t.test('the clock of Redis counts, and not those of the processes', async (t) => {
    const redis = await startRedis(t)
    const hours = 5 * 3_600_000
    const early = startProcess(t, redis.url, -hours)
    const late = startProcess(t, redis.url, hours)
    const took: RoundAnswer[] = []
    for (const [i, process] of [early, late, early, late, early].entries())
      took.push(await process({ policy: MINUTE, user: 'person', ids: [String(i)] }))
    t.ok(Math.abs((took[1]?.now ?? 0) - (took[0]?.now ?? 0) - 2 * hours) < 60_000, 'two clocks')
    const [seconds] = (await redis.does('TIME')) as string[]
    for (const { takings } of took)
      for (const { now, grants } of takings.map(({ usage }) => usage))
        for (const time of [now, ...grants.map(({ at }) => at)])
          t.ok(Math.abs(time - Number(seconds) * 1000) < 60_000, `${time}`)
    t.same(
      took.flatMap(({ takings }) => takings.map(({ outcome }) => outcome)),
      ['taken', 'taken', 'refused', 'refused', 'refused'],
    )
  })
})
