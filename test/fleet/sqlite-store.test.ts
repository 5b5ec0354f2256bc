/** What does the SQLite store keep, and what does it answer when it cannot? */
import { mock } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { PROVISION } from '../../src/config/limit-policies.ts'
import { StoreAwayError, type LimitStore } from '../../src/fleet/limit-store.ts'
import { SqliteStore } from '../../src/fleet/sqlite-store.ts'
import { policyOf } from '../helpers/limit-policy.ts'
import { run, temporaryFolder } from '../helpers/process.ts'
import { watchSql } from '../helpers/watched-sql.ts'

const HOUR = 3_600_000
const DAY = 24 * HOUR
const START = 1_800_000_000_000

/** The longest window that a policy may have, in milliseconds. */
const LONGEST = 31_622_400_000

t.afterEach(() => mock.timers.reset())

/** Opens a store with a clock that the test sets. It is closed when the test ends. */
function openStore(t: Test, stateDir = temporaryFolder(t)) {
  const clock = { now: START }
  const open = () => {
    const store = SqliteStore.open(stateDir, { now: () => clock.now })
    t.teardown(() => store.close())
    return store
  }
  return { store: open(), clock, stateDir, open }
}

/** The ids of what a user has. */
async function idsOf(store: LimitStore, user: string, policy = PROVISION): Promise<string[]> {
  return (await store.look(policy, user)).grants.map(({ id }) => id)
}

/** What became of a request to take something. */
async function outcome(store: LimitStore, user: string, id: string, policy = PROVISION) {
  return (await store.take(policy, user, id)).outcome
}

/** The cause of an answer that the store is away. */
async function whyAway(t: Test, answer: Promise<unknown>): Promise<string> {
  const error = await answer.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  t.ok(error instanceof StoreAwayError)
  const { message, cause } = error as Error
  return `${message}${cause instanceof Error ? `: ${cause.message}` : ''}`
}

t.test('a point is taken in every window or in none', async (t) => {
  const { store, clock } = openStore(t)
  t.equal(store.kind, 'sqlite')
  t.same(await store.take(PROVISION, 'ada', 'one'), {
    outcome: 'taken',
    usage: { now: START, grants: [{ id: 'one', at: START }] },
  })
  t.same(await store.take(PROVISION, 'ada', 'two'), {
    outcome: 'refused',
    usage: { now: START, grants: [{ id: 'one', at: START }] },
  })
  clock.now += HOUR - 1
  t.equal(await outcome(store, 'ada', 'two'), 'refused')
  clock.now += 1
  t.equal(await outcome(store, 'ada', 'two'), 'taken')
  clock.now += HOUR
  t.equal(await outcome(store, 'ada', 'three'), 'taken')
  clock.now += HOUR
  t.equal(await outcome(store, 'ada', 'four'), 'refused', 'by the day')
  t.same(await idsOf(store, 'ada'), ['one', 'two', 'three'])
  clock.now = START + DAY
  t.equal(await outcome(store, 'ada', 'four'), 'taken')
  t.same(await idsOf(store, 'ada'), ['two', 'three', 'four'])
})

t.test('an id that is in force is answered again, also when nothing is left', async (t) => {
  const { store, clock } = openStore(t)
  await store.take(PROVISION, 'ada', 'one')
  clock.now += 5
  t.same(await store.take(PROVISION, 'ada', 'one'), {
    outcome: 'repeated',
    usage: { now: START + 5, grants: [{ id: 'one', at: START }] },
  })
  clock.now = START + DAY - 1
  t.equal(await outcome(store, 'ada', 'one'), 'repeated')
  clock.now = START + DAY
  t.equal(await outcome(store, 'ada', 'one'), 'taken', 'as a new one')
  t.same((await store.look(PROVISION, 'ada')).grants, [{ id: 'one', at: START + DAY }])
})

t.test('what is given back is gone once, and the youngest without an id', async (t) => {
  const policy = policyOf('mail', [[3, 60]])
  const { store, clock } = openStore(t)
  for (const id of ['b', 'a', 'c']) await store.take(policy, 'ada', id)
  clock.now += 1
  const b = { id: 'b', at: START }
  t.match(await store.giveBack(policy, 'ada', 'b'), {
    ...{ returned: b, usage: { now: START + 1, grants: [{ id: 'a' }, { id: 'c' }] } },
  })
  t.match(await store.giveBack(policy, 'ada', 'b'), { returned: undefined })
  t.equal(await outcome(store, 'ada', 'b', policy), 'taken')
  t.equal(await outcome(store, 'ada', 'd', policy), 'refused')
  for (const id of ['b', 'c', 'a', undefined])
    t.equal((await store.giveBack(policy, 'ada')).returned?.id, id)
  for (const id of ['1', '2', '3']) t.equal(await outcome(store, 'ada', id, policy), 'taken')
  clock.now += 60_000
  t.same((await store.giveBack(policy, 'ada', '1')).returned, undefined, 'it counts no more')
  t.same((await store.giveBack(policy, 'ada')).returned, undefined)
})

t.test('users and policies are apart, whatever their names are', async (t) => {
  const { store } = openStore(t)
  const users = ['a', 'A', 'a ', 'ä', 'a%', "a'; DROP TABLE grants; --", 'a:b', '😀', '__proto__']
  for (const name of ['provision', 'p', 'p-a'])
    for (const user of users) {
      const policy = { ...PROVISION, name }
      t.equal(await outcome(store, user, 'x', policy), 'taken', `${name} ${user}`)
      t.equal(await outcome(store, user, 'y', policy), 'refused')
    }
  t.same((await store.giveBack(PROVISION, 'b', 'x')).returned, undefined)
  t.same(await idsOf(store, 'a'), ['x'], "nobody gives back what is another's")
})

t.test('what was answered is there after a restart', async (t) => {
  const { store, open, clock } = openStore(t)
  await store.take(PROVISION, 'ada', 'one')
  await store.take(PROVISION, 'bob', 'two')
  await store.giveBack(PROVISION, 'bob', 'two')
  await store.close()
  clock.now += 1000
  const again = open()
  t.same((await again.look(PROVISION, 'ada')).grants, [{ id: 'one', at: START }])
  t.equal(await outcome(again, 'ada', 'more'), 'refused')
  t.equal(await outcome(again, 'bob', 'more'), 'taken')
})

t.test('a clock that goes back makes a grant count for one more window at most', async (t) => {
  const { store, clock, open } = openStore(t)
  await store.take(PROVISION, 'ada', 'one')
  clock.now -= 10 * DAY
  t.same(await store.look(PROVISION, 'ada'), {
    ...{ now: clock.now, grants: [{ id: 'one', at: clock.now }] },
  })
  t.equal(await outcome(store, 'ada', 'two'), 'refused', 'never less')
  await store.close()
  const again = open()
  clock.now += HOUR
  t.equal(await outcome(again, 'ada', 'two'), 'taken')
  clock.now -= 10
  t.same((await again.take(PROVISION, 'ada', 'three')).usage.grants, [
    { id: 'one', at: clock.now - HOUR + 10 },
    { id: 'two', at: clock.now },
  ])
  clock.now += 5 // it was written
  t.equal((await again.look(PROVISION, 'ada')).grants[1]?.at, clock.now - 5)
  clock.now += 100 * DAY
  t.same(await idsOf(again, 'ada'), [])
})

t.test('refusals, repetitions and looks write nothing', async (t) => {
  const sql = watchSql(t)
  const { store, clock } = openStore(t)
  await store.take(PROVISION, 'ada', 'one')
  const changes = () => sql.value('SELECT total_changes()')
  const before = changes()
  clock.now += 1
  t.equal(await outcome(store, 'ada', 'two'), 'refused')
  t.equal(await outcome(store, 'ada', 'one'), 'repeated')
  await store.look(PROVISION, 'ada')
  await store.giveBack(PROVISION, 'ada', 'two')
  await store.giveBack(PROVISION, 'bob')
  await store.probe()
  clock.now += 2 * DAY
  await store.look(PROVISION, 'ada')
  t.equal(changes(), before)
  t.equal(await outcome(store, 'ada', 'two'), 'taken')
  t.equal(changes(), Number(before) + 2, 'the old one is removed, and the new one added')
})

t.test('requests of one turn share a transaction, up to 256', async (t) => {
  const sql = watchSql(t)
  const { store } = openStore(t)
  t.equal(sql.value('PRAGMA synchronous'), 2, 'FULL: each commit is on the disk')
  t.equal(sql.value('PRAGMA journal_mode'), 'wal')
  sql.ran.length = 0
  const prepared = sql.prepared.length
  const policy = policyOf('mail', [[2, 60]])
  const takings = await Promise.all(
    Array.from({ length: 257 }, (_, i) => store.take(policy, `user ${i % 100}`, String(i))),
  )
  t.same(sql.ran, ['BEGIN IMMEDIATE', 'COMMIT', 'BEGIN IMMEDIATE', 'COMMIT'])
  t.equal(sql.prepared.length, prepared, 'statements are kept')
  const byOutcome = takings.map(({ outcome: became }) => became)
  t.equal(byOutcome.lastIndexOf('taken'), 199)
  t.equal(byOutcome.indexOf('refused'), 200, 'in the order in which they came')
  t.same(await idsOf(store, 'user 7', policy), ['7', '107'])
  await nextTurn()
  t.equal(sql.ran.length, 6, 'and there is none for nothing')
})

t.test('a request reads the rows of one user, however many there are', async (t) => {
  const sql = watchSql(t)
  openStore(t)
  const ofUser = sql.prepared.filter((text) => text.includes('user = ?'))
  t.equal(ofUser.length, 4)
  for (const text of ofUser) {
    const plan = sql.database().prepare(`EXPLAIN QUERY PLAN ${text}`).all()
    t.match(plan[0]?.['detail'], /USING INDEX grants_of \(policy=\? AND user=\?/, text)
  }
})

t.test('nothing is answered before the commit, and a failed one takes nothing', async (t) => {
  const sql = watchSql(t)
  const { store } = openStore(t)
  await store.take(PROVISION, 'ada', 'kept')
  sql.failing = 'COMMIT'
  const failing = [
    store.take(PROVISION, 'bob', 'lost'),
    store.giveBack(PROVISION, 'ada', 'kept'),
    store.look(PROVISION, 'ada'),
  ]
  for (const answer of failing)
    t.match(await whyAway(t, answer), /cannot be read or written: disk I\/O error/)
  t.match(await whyAway(t, store.probe()), /disk I\/O error/)
  sql.failing = undefined
  t.same(await idsOf(store, 'ada'), ['kept'])
  t.same(await idsOf(store, 'bob'), [])
  t.equal(await outcome(store, 'bob', 'next'), 'taken')
})

t.test('with a full disk, nothing is taken and what was taken is told', async (t) => {
  const sql = watchSql(t)
  const { store } = openStore(t)
  await store.take(PROVISION, 'ada', 'one')
  const pages = (count: number) => sql.value(`PRAGMA max_page_count = ${count}`)
  pages(1) // as many as there are
  // More than the pages have room for.
  const many = await Promise.allSettled(
    Array.from({ length: 250 }, (_, i) => store.take(PROVISION, 'x'.repeat(200) + i, 'one')),
  )
  t.ok(many.every(({ status }) => status === 'rejected'))
  t.equal(sql.value('SELECT count(*) FROM grants'), 1)
  t.match(
    await whyAway(t, store.take(PROVISION, 'x'.repeat(10_000), 'one')),
    /database or disk is full/,
  )
  t.same(await idsOf(store, 'ada'), ['one'])
  t.equal(await outcome(store, 'ada', 'two'), 'refused')
  pages(1_000_000)
  t.equal(await outcome(store, 'x'.repeat(10_000), 'one'), 'taken')
})

t.test('after a failure, the probe tries whether something can be written', async (t) => {
  const sql = watchSql(t)
  const { store } = openStore(t)
  const tries = () => sql.value('SELECT count(*) FROM probe')
  await store.probe()
  t.equal(tries(), 0)
  for (let i = 0; i < 2; i++) {
    sql.failing = 'COMMIT'
    await whyAway(t, store.take(PROVISION, 'ada', 'one'))
    sql.failing = undefined
    await store.probe()
    t.equal(tries(), 1, 'in one row')
  }
  const before = sql.value('SELECT total_changes()')
  await store.probe()
  t.equal(sql.value('SELECT total_changes()'), before)
})

t.test('what a user has no more is removed with the next thing taken', async (t) => {
  const sql = watchSql(t)
  const { store, clock } = openStore(t)
  const count = () => sql.value('SELECT count(*) FROM grants')
  await store.take(PROVISION, 'ada', 'one')
  await store.take(PROVISION, 'bob', 'one')
  clock.now += DAY - 1
  await store.take(PROVISION, 'ada', 'two')
  t.equal(count(), 3)
  clock.now += HOUR
  await store.take(PROVISION, 'ada', 'three')
  t.equal(count(), 3, "the other user's is left to the sweep")
})

t.test('the sweep removes what counts no more, a thousand at a time', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  const sql = watchSql(t)
  const { store, clock } = openStore(t)
  const mail = policyOf('mail', [[1, 60]])
  const used = policyOf('used', [[1, 3600]])
  for (const policy of [mail, used])
    await Promise.all(Array.from({ length: 1500 }, (_, i) => store.take(policy, `u${i}`, 'x')))
  const counts = () =>
    [mail, used].map(({ name }) =>
      sql.value(`SELECT count(*) FROM grants WHERE policy = '${name}'`),
    )
  clock.now += 59_999
  for (let i = 0; i < 4; i++) mock.timers.tick(10_000)
  t.same(counts(), [1500, 1500], 'nothing that counts')
  clock.now += 1
  while (counts()[0] === 1500) mock.timers.tick(10_000)
  t.same(counts(), [500, 1500])
  mock.timers.tick(99)
  t.same(counts(), [500, 1500])
  mock.timers.tick(1)
  t.same(counts(), [0, 1500], 'the rest soon')
  for (let i = 0; i < 4; i++) mock.timers.tick(10_000)
  t.same(counts(), [0, 1500])
  clock.now += HOUR
  for (let i = 0; i < 4; i++) mock.timers.tick(10_000)
  t.same(counts(), [0, 0])
})

t.test('what nobody uses since the start is kept as long as any window can be', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  const sql = watchSql(t)
  const { store, clock, open } = openStore(t)
  await store.take(PROVISION, 'ada', 'one')
  await store.take(policyOf('gone', [[1, 60]]), 'ada', 'one')
  await store.close()
  const again = open()
  const left = () => sql.value('SELECT group_concat(policy) FROM grants')
  const sweep = () => {
    for (let i = 0; i < 4; i++) mock.timers.tick(10_000)
  }
  await again.look(PROVISION, 'bob')
  clock.now = START + LONGEST - 1
  sweep()
  t.equal(left(), 'gone', 'a policy that is in use is known')
  clock.now += 1
  sweep()
  t.equal(left(), null)
})

t.test('a sweep that fails is tried again', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  const sql = watchSql(t)
  const { store, clock } = openStore(t)
  await store.take(PROVISION, 'ada', 'one')
  clock.now += DAY
  const count = () => sql.value('SELECT count(*) FROM grants')
  sql.database().exec('PRAGMA query_only = ON')
  for (let i = 0; i < 4; i++) mock.timers.tick(10_000)
  t.equal(count(), 1)
  sql.database().exec('PRAGMA query_only = OFF')
  for (let i = 0; i < 4; i++) mock.timers.tick(10_000)
  t.equal(count(), 0)
})

t.test('closing answers what waits, and nothing after it', async (t) => {
  const { store, open, stateDir } = openStore(t)
  const waiting = Array.from({ length: 300 }, (_, i) => store.take(PROVISION, `u${i}`, 'x'))
  const closing = store.close()
  t.match(await whyAway(t, store.take(PROVISION, 'late', 'x')), /closed/)
  await closing
  t.same(new Set((await Promise.all(waiting)).map((one) => one.outcome)), new Set(['taken']))
  await store.close()
  const again = open()
  t.same(await idsOf(again, 'u299'), ['x'])
  t.same(await idsOf(again, 'late'), [])
  t.ok(stateDir)
})

t.test('a program that has a store open may end', async (t) => {
  const file = new URL('../../src/fleet/sqlite-store.ts', import.meta.url).href
  const program = `const { SqliteStore } = await import(${JSON.stringify(file)})
    const store = SqliteStore.open(${JSON.stringify(join(temporaryFolder(t), 'state'))})
    await store.probe()
    console.log('asked')`
  const { exited, stdout } = run(t, ['-e', program, '--input-type=module'], {}, '--no-warnings')
  t.equal(await exited, 0)
  t.equal(stdout(), 'asked\n')
})

t.test('in memory, a bounded number is kept', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  const clock = { now: START }
  const store = SqliteStore.inMemory({ now: () => clock.now })
  t.teardown(() => store.close())
  t.equal(store.kind, 'memory')
  const mail = policyOf('mail', [[2, 60]])
  await store.take(mail, 'first', 'x')
  clock.now += 1
  await Promise.all(Array.from({ length: 99_999 }, (_, i) => store.take(PROVISION, String(i), 'x')))
  const [full, repeated, refused, looked] = await Promise.allSettled([
    store.take(mail, 'last', 'x'),
    store.take(mail, 'first', 'x'),
    store.take(PROVISION, '0', 'y'),
    store.look(mail, 'first'),
  ])
  t.match(await whyAway(t, Promise.reject((full as PromiseRejectedResult).reason as Error)), /full/)
  t.match(
    [repeated, refused, looked],
    [
      { value: { outcome: 'repeated' } },
      { value: { outcome: 'refused' } },
      { value: { grants: [{ id: 'x' }] } },
    ],
  )
  await store.giveBack(PROVISION, '0')
  t.equal(await outcome(store, 'last', 'x', mail), 'taken', 'given back makes room')
  t.match(await whyAway(t, store.take(mail, 'last', 'y')), /full/)
  clock.now = START + 60_000
  t.equal(await outcome(store, 'last', 'y', mail), 'taken', 'and so does what counts no more')
  t.match(await whyAway(t, store.take(mail, 'more', 'x')), /full/)
  clock.now += DAY
  for (let i = 0; i < 300; i++) mock.timers.tick(10_000)
  t.equal(await outcome(store, 'more', 'x', mail), 'taken', 'the sweep makes room too')
})

t.test('a failed transaction in memory leaves the count true', async (t) => {
  const sql = watchSql(t)
  const store = SqliteStore.inMemory({ now: () => START })
  t.teardown(() => store.close())
  sql.failing = 'COMMIT'
  const lost = await Promise.allSettled(
    Array.from({ length: 100_000 }, (_, i) => store.take(PROVISION, String(i), 'x')),
  )
  t.ok(lost.every(({ status }) => status === 'rejected'))
  sql.failing = undefined
  t.equal(await outcome(store, 'ada', 'x'), 'taken')
})
