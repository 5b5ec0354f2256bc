/**
 * Does rate-limiter-flexible do what the store in Redis relies on? Some of it is not documented: which arguments a script has, and the
 * method that reads its answer. These tests fail on the day that the library changes it.
 */
import type { RedisClientType } from '@redis/client'
import { RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible'
import t from 'tap'
import type { LimitPolicy } from '../../src/config/limit-policies.ts'
import { StoreAwayError } from '../../src/fleet/limit-store.ts'
import { limitScript } from '../../src/fleet/redis-script.ts'
import { WindowsLimiter } from '../../src/fleet/redis-store.ts'
import { RedisConnection } from '../../src/services/redis-connection.ts'
import { NO_REDIS, startRedis } from '../helpers/redis.ts'

const MINUTE: LimitPolicy = {
  name: 'minute',
  windows: [
    { points: 2, seconds: 60 },
    { points: 3, seconds: 600 },
  ],
  storeAway: 'refuse',
}

/** A limiter whose Redis gives these answers, or fails with them. */
function limiterWith(...answers: readonly unknown[]) {
  const left = [...answers]
  const commands: unknown[] = []
  const client = {
    async sendCommand(command: unknown) {
      commands.push(command)
      const answer = left.shift()
      if (answer instanceof Error) throw answer
      return answer
    },
  }
  const limiter = new WindowsLimiter(MINUTE, 'the script', (ask) =>
    ask(client as unknown as RedisClientType),
  )
  return { limiter, commands }
}

/** What the script answers about a user with one grant. */
const answerOf = (consumed: number, outcome: string) => [
  ...[consumed, 7000, 5000, outcome],
  ...[[], ['a', '4000']],
]

/** What a promise is rejected with. */
const rejection = (asked: Promise<unknown>): Promise<unknown> =>
  asked.then(
    () => 'fulfilled',
    (error: unknown) => error,
  )

t.test('the script gets what it is to do, and the windows', async (t) => {
  const { limiter, commands } = limiterWith(
    answerOf(1, 'taken'),
    answerOf(1, 'seen'),
    answerOf(0, 'returned'),
  )
  await limiter.consume('person: x\nid', 1)
  await limiter.consume('person: x\n', 0)
  await limiter.reward('person: x\nid', 1)
  const sent = (act: string, id: string) => [
    ...['EVAL', 'the script', '1', 'workspace-gateway:limits:minute:person: x'],
    ...[act, '600', '3', '600', id, '2', '60000', '3', '600000'],
  ]
  t.same(commands, [sent('1', 'id'), sent('0', ''), sent('-1', 'id')])
})

t.test('the library decides by what the script says was consumed', async (t) => {
  const { limiter } = limiterWith(answerOf(3, 'taken'), answerOf(4, 'refused'))
  const allowed: unknown = await limiter.consume('person\nid', 1)
  t.ok(allowed instanceof RateLimiterRes)
  t.match(allowed, {
    ...{ consumedPoints: 3, remainingPoints: 0, msBeforeNext: 7000, isFirstInDuration: true },
    ...{ outcome: 'taken', usage: { now: 5000, grants: [{ id: 'a', at: 4000 }] } },
  })
  const refused = await rejection(limiter.consume('person\nid', 1))
  t.ok(refused instanceof RateLimiterRes)
  t.match(refused, {
    ...{ consumedPoints: 4, remainingPoints: 0, msBeforeNext: 7000, isFirstInDuration: false },
    ...{ outcome: 'refused', usage: { now: 5000, grants: [{ id: 'a', at: 4000 }] } },
  })
})

t.test('after a refusal the store is asked again, and nothing waits', async (t) => {
  const { limiter, commands } = limiterWith(answerOf(4, 'refused'), answerOf(3, 'taken'))
  await rejection(limiter.consume('person\nid', 1))
  t.match(await limiter.consume('person\nid', 1), { outcome: 'taken' })
  t.equal(commands.length, 2)
})

t.test('an error of the store is passed on as it is', async (t) => {
  const away = new StoreAwayError('away')
  const { limiter, commands } = limiterWith(away, away, away)
  for (const asked of [
    limiter.consume('person\nid', 1),
    limiter.consume('person\n', 0),
    limiter.reward('person\nid', 1),
  ])
    t.equal(await rejection(asked), away)
  t.equal(commands.length, 3)
})

t.test('what no script of ours has said is no answer', async (t) => {
  for (const nonsense of [
    ...['PONG', null, 1, [], [1, 7000, 5000], ['1', 7000, 5000, 'taken', [], []]],
    ...[
      [1, 7000, 5000, 'taken', [], 'a'],
      [1, 7000, 0.5, 'taken', [], []],
    ],
  ]) {
    const asked = limiterWith(nonsense).limiter.consume('person\nid', 1)
    t.ok((await rejection(asked)) instanceof StoreAwayError, JSON.stringify(nonsense))
  }
})

t.test('the library has the method that is replaced, and the numbers mean the same', async (t) => {
  const own: unknown = Reflect.get(RateLimiterRedis.prototype, '_getRateLimiterRes')
  if (typeof own !== 'function') throw new Error('the library reads answers in another way')
  const { limiter } = limiterWith(answerOf(1, 'taken'), answerOf(4, 'refused'))
  for (const asked of [limiter.consume('p\na', 1), rejection(limiter.consume('p\na', 1))]) {
    const result: unknown = await asked
    if (!(result instanceof RateLimiterRes)) throw new Error('no result')
    const plain: unknown = Reflect.apply(own, limiter, ['', 1, [result.consumedPoints, 7000]])
    t.same(JSON.stringify(result), JSON.stringify(plain))
  }
})

t.test('the numbers are those of the tightest window', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t)
  const connection = new RedisConnection(redis.url)
  t.teardown(() => connection.close())
  const script = limitScript("tonumber(redis.call('GET', 'clock'))")
  const limiter = new WindowsLimiter(MINUTE, script, (ask) => connection.ask(ask))
  const at = async (ms: number, key: string, points: number) => {
    await redis.does('SET', 'clock', String(1_800_000_000_000 + ms))
    const result: unknown = await limiter.consume(key, points).catch((error: unknown) => error)
    if (!(result instanceof RateLimiterRes)) throw result
    const { remainingPoints, consumedPoints, msBeforeNext, isFirstInDuration } = result
    return [remainingPoints, consumedPoints, msBeforeNext, isFirstInDuration]
  }
  t.same(await at(0, 'p\n', 0), [2, 1, 0, false], 'the short window never has the third point')
  t.same(await at(0, 'p\na', 1), [1, 2, 0, true])
  t.same(await at(1000, 'p\nb', 1), [0, 3, 59_000, false])
  t.same(await at(2000, 'p\nc', 1), [0, 4, 58_000, false], 'refused')
  t.same(await at(3000, 'p\n', 0), [0, 3, 57_000, false])
  t.same(await at(60_000, 'p\n', 0), [1, 2, 0, false])
  t.same(await at(60_500, 'p\nc', 1), [0, 3, 539_500, false], 'the longer wait of two full windows')
  t.same(await at(121_000, 'p\nd', 1), [0, 4, 479_000, false], 'the long window is full')
})
