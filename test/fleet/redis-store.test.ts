/** Does a Redis keep what users have taken, and does its clock alone count? With a real Redis. */
import t from 'tap'
import { PROVISION } from '../../src/config/limit-policies.ts'
import {
  KEY,
  MINUTE,
  openMovable,
  openStore,
  START,
  USER,
  whyAway,
} from '../helpers/redis-limits.ts'
import { NO_REDIS, startRedis } from '../helpers/redis.ts'

t.test('with a Redis', { skip: NO_REDIS }, async (t) => {
  t.test('points are taken in every window, or in none', async (t) => {
    const { store, moveTo } = await openMovable(t, await startRedis(t))
    t.same(await store.take(MINUTE, USER, 'a'), {
      outcome: 'taken',
      usage: { now: START, grants: [{ id: 'a', at: START }] },
    })
    await moveTo(1000)
    const two = [
      { id: 'a', at: START },
      { id: 'b', at: START + 1000 },
    ]
    t.same((await store.take(MINUTE, USER, 'b')).usage, { now: START + 1000, grants: two })
    t.same(
      await store.take(MINUTE, USER, 'c'),
      { outcome: 'refused', usage: { now: START + 1000, grants: two } },
      'the short window is full',
    )
    await moveTo(59_999)
    t.equal((await store.take(MINUTE, USER, 'c')).outcome, 'refused')
    await moveTo(60_000)
    t.equal((await store.take(MINUTE, USER, 'c')).outcome, 'taken', 'the first one has left it')
    await moveTo(599_999)
    t.equal((await store.take(MINUTE, USER, 'd')).outcome, 'refused', 'the long window is full')
    t.equal((await store.look(MINUTE, USER)).grants.length, 3)
    await moveTo(600_000)
    t.equal((await store.take(MINUTE, USER, 'd')).outcome, 'taken')
    t.same(
      (await store.look(MINUTE, USER)).grants.map(({ id }) => id),
      ['b', 'c', 'd'],
      'what has left every window is gone',
    )
  })

  t.test('a grant that is asked for again takes nothing more', async (t) => {
    const { store, moveTo } = await openMovable(t, await startRedis(t))
    await store.take(MINUTE, USER, 'a')
    await store.take(MINUTE, USER, 'b')
    await moveTo(5)
    t.match(await store.take(MINUTE, USER, 'a'), {
      outcome: 'repeated',
      usage: { now: START + 5, grants: [{ at: START }, { at: START }] },
    })
    t.equal((await store.take(MINUTE, 'other', 'a')).outcome, 'taken', 'of each user')
    t.equal((await store.take(PROVISION, USER, 'a')).outcome, 'taken', 'and of each policy')
    await moveTo(600_000)
    t.equal((await store.take(MINUTE, USER, 'a')).outcome, 'taken', 'it is in force no more')
  })

  t.test('one is given back by its id, once, or the youngest', async (t) => {
    const redis = await startRedis(t)
    const { store, moveTo } = await openMovable(t, redis)
    const idsOf = async () => (await store.look(MINUTE, USER)).grants.map(({ id }) => id)
    t.same(await store.giveBack(MINUTE, USER), {
      returned: undefined,
      usage: { now: START, grants: [] },
    })
    t.equal((await store.giveBack(MINUTE, USER, 'a')).returned, undefined)
    await store.take(MINUTE, USER, 'b')
    await moveTo(1)
    await store.take(MINUTE, USER, 'a')
    t.equal((await store.giveBack(MINUTE, USER, 'none')).returned, undefined)
    t.same(await idsOf(), ['b', 'a'])
    t.same(await store.giveBack(MINUTE, USER), {
      returned: { id: 'a', at: START + 1 },
      usage: { now: START + 1, grants: [{ id: 'b', at: START }] },
    })
    await store.take(MINUTE, USER, 'c')
    t.same((await store.giveBack(MINUTE, USER, 'b')).returned, { id: 'b', at: START })
    t.equal((await store.giveBack(MINUTE, USER, 'b')).returned, undefined, 'once')
    t.same(await idsOf(), ['c'])
    await moveTo(600_001)
    t.equal((await store.giveBack(MINUTE, USER)).returned, undefined, 'it has left every window')
    t.equal(await redis.does('EXISTS', KEY), 0)
  })

  t.test('a grant that lies in the future was made now', async (t) => {
    const redis = await startRedis(t)
    const { store, moveTo } = await openMovable(t, redis)
    await moveTo(3_600_000)
    await store.take(MINUTE, USER, 'a')
    await store.take(MINUTE, USER, 'b')
    await moveTo(0)
    t.same(await store.take(MINUTE, USER, 'c'), {
      outcome: 'refused',
      usage: {
        now: START,
        grants: [
          { id: 'a', at: START },
          { id: 'b', at: START },
        ],
      },
    })
    await moveTo(60_000)
    t.equal((await store.take(MINUTE, USER, 'c')).outcome, 'taken', 'it counts one window more')
    await moveTo(-1)
    t.equal((await store.giveBack(MINUTE, USER)).returned?.at, START - 1)
    t.same(await redis.does('ZSCORE', KEY, 'a'), (START - 1) * 1000, 'written, and not only told')
  })

  t.test('what is taken in one millisecond keeps its order', async (t) => {
    const { store, moveTo } = await openMovable(t, await startRedis(t))
    const many = { ...MINUTE, windows: [{ points: 1000, seconds: 60 }] }
    const ids = Array.from({ length: 1000 }, (_, i) => `g${1000 - i}`)
    for (const id of ids) await store.take(many, USER, id)
    const { grants } = await store.look(many, USER)
    t.same(
      grants,
      ids.map((id) => ({ id, at: START })),
    )
    t.equal((await store.take(many, USER, 'more')).outcome, 'refused')
    await store.giveBack(many, USER, 'g500')
    const { usage } = await store.take(many, USER, 'more')
    t.equal(usage.grants.find(({ id }) => id === 'more')?.at, START, 'not in the next one')
    await store.giveBack(many, USER, 'more')
    await moveTo(-1)
    const back = await store.look(many, USER)
    t.same(
      back.grants.map(({ id }) => id),
      ids.filter((id) => id !== 'g500'),
      'also when the clock went back',
    )
  })

  t.test('the windows of a policy may change', async (t) => {
    const { store, moveTo } = await openMovable(t, await startRedis(t))
    const many = { ...MINUTE, windows: [{ points: 5, seconds: 60 }] }
    for (const id of ['a', 'b', 'c', 'd', 'e']) {
      t.equal((await store.take(many, USER, id)).outcome, 'taken')
      await moveTo(id === 'a' ? 1000 : 2000)
    }
    const few = { ...many, windows: [{ points: 2, seconds: 60 }] }
    t.equal((await store.take(few, USER, 'f')).outcome, 'refused')
    t.equal((await store.take(few, USER, 'a')).outcome, 'repeated')
    t.equal((await store.look(few, USER)).grants.length, 5)
    await moveTo(60_000)
    t.equal((await store.take(few, USER, 'f')).outcome, 'refused')
    await moveTo(62_000)
    t.equal((await store.take(few, USER, 'f')).outcome, 'taken')
  })

  t.test('a user is one key, which ends with the longest window', async (t) => {
    const redis = await startRedis(t)
    const { store } = openStore(t, redis.url)
    await store.take(MINUTE, USER, 'a')
    await store.take(MINUTE, `${USER}: "é"\u{1F600} {x}`, 'a')
    t.same(
      new Set((await redis.does('KEYS', '*')) as string[]),
      new Set([KEY, `${KEY}: "é"\u{1F600} {x}`]),
    )
    const lives = Number(await redis.does('PTTL', KEY))
    t.ok(lives > 590_000 && lives <= 601_000, `${lives}`)
    await redis.does('PERSIST', KEY)
    await store.look(MINUTE, USER)
    t.ok(
      Number(await redis.does('PTTL', KEY)) > 590_000,
      'also one that was brought in without an end',
    )
    const longer = { ...MINUTE, windows: [{ points: 2, seconds: 3600 }] }
    await store.take(longer, USER, 'b')
    t.ok(Number(await redis.does('PTTL', KEY)) > 3_500_000, 'the policy has a longer window now')
    await redis.does('ZADD', KEY, '9999999999999000', 'far')
    await redis.does('PEXPIRE', KEY, '1000')
    await store.look(longer, USER)
    t.ok(
      Number(await redis.does('PTTL', KEY)) > 3_500_000,
      'nor does it end before a grant that was brought back',
    )
  })

  t.test('the time is that of Redis, to the millisecond', async (t) => {
    const redis = await startRedis(t)
    const { store } = openStore(t, redis.url)
    const time = async () => {
      const [seconds, micros] = (await redis.does('TIME')) as [string, string]
      return Number(seconds) * 1000 + Math.floor(Number(micros) / 1000)
    }
    for (let i = 0; i < 5; i++) {
      const before = await time()
      const { now } = await store.look(MINUTE, USER)
      t.ok(before <= now && now <= (await time()), `${now}`)
    }
  })

  t.test('who looks, is refused or asks again writes nothing', async (t) => {
    const redis = await startRedis(t)
    const { store } = openStore(t, redis.url)
    const changes = async () =>
      /rdb_changes_since_last_save:(\d+)/.exec(String(await redis.does('INFO', 'persistence')))?.[1]
    await store.take(MINUTE, USER, 'a')
    await store.take(MINUTE, USER, 'b')
    const before = await changes()
    t.ok(Number(before) > 0)
    for (let i = 0; i < 20; i++) {
      t.equal((await store.take(MINUTE, USER, 'c')).outcome, 'refused')
      t.equal((await store.take(MINUTE, USER, 'a')).outcome, 'repeated')
      await store.look(MINUTE, USER)
      await store.look(MINUTE, 'nobody')
      await store.giveBack(MINUTE, USER, 'none')
    }
    t.equal(await changes(), before)
  })

  t.test('a key of another kind is away, and is left as it is', async (t) => {
    const redis = await startRedis(t)
    const { store } = openStore(t, redis.url)
    await redis.does('SET', KEY, 'hunter2')
    for (const asked of [
      store.take(MINUTE, USER, 'a'),
      store.look(MINUTE, USER),
      store.giveBack(MINUTE, USER),
    ])
      t.match(await whyAway(asked), 'WRONGTYPE')
    t.equal(await redis.does('GET', KEY), 'hunter2')
    t.equal((await store.take(MINUTE, 'other', 'a')).outcome, 'taken', 'of this user alone')
  })
})
