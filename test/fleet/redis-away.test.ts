/** What becomes of requests, and of what was taken, while the Redis is away? With a real Redis that is killed, hangs or refuses. */
import t from 'tap'
import type { RedisStore } from '../../src/fleet/redis-store.ts'
import { KEY, MINUTE, openStore, USER, whyAway } from '../helpers/redis-limits.ts'
import { NO_REDIS, startRedis } from '../helpers/redis.ts'
import { until } from '../helpers/waiting.ts'

/** Everything that a store is asked. */
const requests = (store: RedisStore) => [
  store.take(MINUTE, USER, 'other'),
  store.look(MINUTE, USER),
  store.giveBack(MINUTE, USER),
  store.probe(),
]

/** Settings of a Redis that keeps what it is told. */
const KEPT = ['--appendonly', 'yes']

t.test('with a Redis', { skip: NO_REDIS }, async (t) => {
  t.test('a Redis that is killed and comes back has what was taken', async (t) => {
    const redis = await startRedis(t, KEPT)
    const { store } = openStore(t, redis.url)
    const { usage } = await store.take(MINUTE, USER, 'a')
    await redis.kill()
    for (const asked of requests(store)) t.match(await whyAway(asked), /Error/)
    await redis.startAgain()
    await until('it is back', async () => {
      await store.probe()
      return true
    })
    t.same((await store.look(MINUTE, USER)).grants, usage.grants, 'and nothing else')
    t.equal((await store.take(MINUTE, USER, 'a')).outcome, 'repeated')
    t.equal((await store.take(MINUTE, USER, 'b')).outcome, 'taken')
    t.equal((await store.take(MINUTE, USER, 'c')).outcome, 'refused')
  })

  t.test('one that hangs keeps nobody waiting, and is used when it answers', async (t) => {
    const redis = await startRedis(t)
    const { store } = openStore(t, redis.url)
    await store.take(MINUTE, USER, 'a')
    process.kill(redis.pid, 'SIGSTOP')
    t.match(await whyAway(store.take(MINUTE, USER, 'b')), 'no answer within 2000 ms')
    process.kill(redis.pid, 'SIGCONT')
    t.match(await until('it answers', () => store.take(MINUTE, USER, 'b')), {
      outcome: /taken|repeated/,
    })
    t.equal((await store.look(MINUTE, USER)).grants.length, 2, 'one point, whichever has taken it')
  })

  t.test('a point whose answer was lost is not taken twice', async (t) => {
    const redis = await startRedis(t)
    const { store } = openStore(t, redis.url)
    await store.probe()
    redis.wire.withhold()
    const lost = store.take(MINUTE, USER, 'a')
    await until('it is taken', () => redis.does('EXISTS', KEY))
    redis.wire.cut()
    t.match(await whyAway(lost), /Error/)
    const again = await until('it is back', () => store.take(MINUTE, USER, 'a'))
    t.equal(again.outcome, 'repeated')
    t.equal(again.usage.grants.length, 1)
  })

  t.test('a point that was given back while the answer was lost is given back once', async (t) => {
    const redis = await startRedis(t)
    const { store } = openStore(t, redis.url)
    await store.take(MINUTE, USER, 'a')
    await store.take(MINUTE, USER, 'b')
    redis.wire.withhold()
    const lost = store.giveBack(MINUTE, USER, 'a')
    await until('it is gone', async () => (await redis.does('ZCARD', KEY)) === 1)
    redis.wire.cut()
    t.match(await whyAway(lost), /Error/)
    const again = await until('it is back', () => store.giveBack(MINUTE, USER, 'a'))
    t.equal(again.returned, undefined)
    t.same(again.usage.grants.length, 1)
  })

  t.test('a command that is not allowed is told, and nothing is taken', async (t) => {
    const redis = await startRedis(t)
    const { store } = openStore(t, redis.url)
    for (const command of ['eval', 'zadd']) {
      await redis.refuses(command)
      t.match(
        await whyAway(store.take(MINUTE, USER, 'a')),
        /NOPERM|can't run this command/,
        command,
      )
      t.match(await whyAway(store.probe()), /NOPERM|can't run this command/, command)
      await redis.refuses(undefined)
    }
    t.same((await store.look(MINUTE, USER)).grants, [])
    await store.probe()
  })

  t.test('a Redis that can only be read is away, also for the probe', async (t) => {
    const redis = await startRedis(t)
    const { store } = openStore(t, redis.url)
    await store.take(MINUTE, USER, 'a')
    await redis.does('CONFIG', 'SET', 'replica-serve-stale-data', 'yes')
    await redis.does('REPLICAOF', '127.0.0.1', '1')
    t.match(await whyAway(store.take(MINUTE, USER, 'b')), 'READONLY')
    t.match(await whyAway(store.probe()), 'READONLY')
    t.equal((await store.look(MINUTE, USER)).grants.length, 1, 'it can be looked at')
    await redis.does('REPLICAOF', 'NO', 'ONE')
    await store.probe()
    t.equal((await store.take(MINUTE, USER, 'b')).usage.grants.length, 2)
  })

  t.test('one whose memory is full is away, also for the probe', async (t) => {
    const redis = await startRedis(t)
    const { store } = openStore(t, redis.url)
    await store.take(MINUTE, USER, 'a')
    await redis.does('CONFIG', 'SET', 'maxmemory', '1')
    t.match(await whyAway(store.take(MINUTE, USER, 'b')), 'OOM')
    t.match(await whyAway(store.probe()), 'OOM')
    await redis.does('CONFIG', 'SET', 'maxmemory', '0')
    await store.probe()
    t.equal((await store.look(MINUTE, USER)).grants.length, 1)
  })

  t.test('no password is in an error or in the log', async (t) => {
    const redis = await startRedis(t)
    await redis.does('ACL', 'SETUSER', 'limits', 'on', '>right', '~*', '+@all')
    const to = (password: string) => redis.url.replace('//', `//limits:${password}@`)
    const { store, log } = openStore(t, to('hunter2'), undefined, 'debug')
    for (const asked of requests(store)) {
      const why = await whyAway(asked)
      t.match(why, 'WRONGPASS')
      t.notMatch(why, 'hunter2')
    }
    t.notMatch(log(), 'hunter2')
    t.equal((await openStore(t, to('right')).store.take(MINUTE, USER, 'a')).outcome, 'taken')
  })

  t.test('the end waits for what is under way, and nothing is asked after it', async (t) => {
    const redis = await startRedis(t)
    const { store } = openStore(t, redis.url)
    const first = store.take(MINUTE, USER, 'a') // the connection is not there yet
    const closed = store.close()
    t.equal((await first).outcome, 'taken')
    await closed
    for (const asked of requests(store)) t.equal(await whyAway(asked), 'the store is closed')
    t.equal(await redis.does('ZCARD', KEY), 1)
    await until('the connection is closed', async () =>
      /connected_clients:1\b/.test(String(await redis.does('INFO', 'clients'))),
    )
  })

  t.test('it is said once what the Redis does not keep', async (t) => {
    for (const [settings, expected] of [
      [[], ['appendonly']],
      [KEPT, []],
      [
        ['--maxmemory', '100mb', '--maxmemory-policy', 'allkeys-lru'],
        ['appendonly', 'noeviction'],
      ],
      [[...KEPT, '--maxmemory', '100mb', '--maxmemory-policy', 'volatile-ttl'], ['noeviction']],
      [[...KEPT, '--maxmemory', '100mb', '--maxmemory-policy', 'noeviction'], []],
      [[...KEPT, '--maxmemory-policy', 'allkeys-lru'], []],
    ] as const) {
      const redis = await startRedis(t, settings)
      const { store, log } = openStore(t, redis.url)
      await Promise.all([store.take(MINUTE, USER, 'a'), store.probe()])
      await store.probe()
      await store.close()
      const lines = log().split('\n').slice(0, -1)
      t.equal(lines.length, expected.length, log())
      for (const [i, word] of expected.entries())
        t.match(lines[i], new RegExp(`"level":40.*"setting":"LIMITS_STORE_URL".*${word}`))
      await redis.kill()
    }
  })

  t.test('a Redis that does not say what it keeps is used without a warning', async (t) => {
    const redis = await startRedis(t)
    await redis.refuses('info')
    const { store, log } = openStore(t, redis.url, undefined, 'debug')
    await store.take(MINUTE, USER, 'a')
    await store.close()
    t.match(log(), /^\{"level":20.*does not say/)
    t.equal(log().split('\n').length, 2)
  })
})
