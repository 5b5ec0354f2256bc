/** What is answered while the store is away, and what does the log say of it? */
import t, { type Test } from 'tap'
import type { LimitPolicy } from '../../src/config/limit-policies.ts'
import { InsuredStore } from '../../src/fleet/insured-store.ts'
import { StoreAwayError, type LimitStore } from '../../src/fleet/limit-store.ts'
import { SqliteStore } from '../../src/fleet/sqlite-store.ts'
import { policyOf } from '../helpers/limit-policy.ts'
import { manualClock } from '../helpers/manual-clock.ts'
import { recordingLogger } from '../helpers/operations.ts'

const REFUSING = policyOf('provision', [[1, 3600]])
const ALLOWING = policyOf('mail', [[2, 3600]], 'allow')

/** A store that is away when the test says so. */
class BreakableStore implements LimitStore {
  readonly kind: LimitStore['kind']
  /** Why it is away; undefined while it is there. */
  problem: Error | undefined
  /** Whether only what is written fails. */
  isReadable = false
  /** How often it was asked. */
  asked = 0
  /** What waits for the test, as long as it holds requests back. */
  held: (() => void)[] | undefined
  readonly #inner = SqliteStore.inMemory()

  constructor(kind: LimitStore['kind']) {
    this.kind = kind
  }

  take(policy: LimitPolicy, user: string, id: string) {
    return this.#answer(() => this.#inner.take(policy, user, id))
  }

  giveBack(policy: LimitPolicy, user: string, id?: string) {
    return this.#answer(() => this.#inner.giveBack(policy, user, id))
  }

  look(policy: LimitPolicy, user: string) {
    return this.isReadable
      ? this.#inner.look(policy, user)
      : this.#answer(() => this.#inner.look(policy, user))
  }

  probe() {
    return this.#answer(() => this.#inner.probe())
  }

  close() {
    return this.#inner.close()
  }

  /** Breaks the store, as Redis breaks. */
  leave(): void {
    this.problem = new StoreAwayError('the store does not answer', { cause: new Error('refused') })
  }

  async #answer<Answer>(ask: () => Promise<Answer>): Promise<Answer> {
    this.asked++
    const { problem } = this
    if (this.held !== undefined) await new Promise<void>((resolve) => this.held?.push(resolve))
    if (problem !== undefined) throw problem
    return await ask()
  }
}

/** An insured store, its parts, and what it has logged. */
function insure(t: Test, kind: LimitStore['kind'] = 'redis') {
  const { logger, lines } = recordingLogger()
  const clock = manualClock()
  const store = new BreakableStore(kind)
  const memory = SqliteStore.inMemory()
  const insured = new InsuredStore({ store, memory, logger, clock })
  t.teardown(() => insured.close())
  return {
    ...{ insured, store, memory, clock },
    lines,
    /** The messages so far, with how many were allowed and refused. */
    said: () =>
      lines().map(
        ({ level, msg, allowed, refused }) =>
          `${String(level)} ${String(msg)} ${String(allowed)} ${String(refused)}`,
      ),
    /** Lets promises go on that wait for nothing else. */
    settle: () => memory.probe(),
  }
}

const AWAY = 'error store away: policies decide without it'
const BACK = 'warn store back'

/** Asserts that a request is answered with the store being away. */
async function isAway(t: Test, answer: Promise<unknown>): Promise<void> {
  await t.rejects(answer, new StoreAwayError('the store does not answer'))
}

t.test('while the store is there, it alone decides', async (t) => {
  const { insured, memory, said, store } = insure(t)
  t.equal(insured.kind, 'redis')
  t.match(await insured.take(ALLOWING, 'ada', 'one'), { outcome: 'taken', countedHere: false })
  t.match(await insured.take(ALLOWING, 'ada', 'one'), { outcome: 'repeated', countedHere: false })
  t.same((await memory.look(ALLOWING, 'ada')).grants, [])
  t.equal((await insured.look(ALLOWING, 'ada')).grants.length, 1)
  t.equal((await insured.giveBack(ALLOWING, 'ada')).returned?.id, 'one')
  await insured.probe()
  t.equal(store.asked, 5)
  t.equal(insured.isAway, false)
  t.same(insured.awayCounts, { allowed: 0, refused: 0 })
  t.same(said(), [])
})

t.test('a policy that refuses without the store takes nothing', async (t) => {
  const { insured, store, memory } = insure(t)
  store.leave()
  await isAway(t, insured.take(REFUSING, 'ada', 'one'))
  t.equal(insured.isAway, true)
  await isAway(t, insured.look(REFUSING, 'ada'))
  await isAway(t, insured.giveBack(REFUSING, 'ada', 'one'))
  await isAway(t, insured.probe())
  t.same((await memory.look(REFUSING, 'ada')).grants, [])
  t.same(insured.awayCounts, { allowed: 0, refused: 3 })
})

t.test('a policy that allows something is counted here, in the same windows', async (t) => {
  const { insured, store, memory } = insure(t)
  await insured.take(ALLOWING, 'ada', 'zero')
  store.leave()
  const outcomes = []
  for (const id of ['one', 'one', 'two', 'three']) {
    const { outcome, countedHere } = await insured.take(ALLOWING, 'ada', id)
    outcomes.push([outcome, countedHere])
  }
  t.same(outcomes, [
    ['taken', true],
    ['repeated', true],
    ['taken', true],
    ['refused', true],
  ])
  t.same(insured.awayCounts, { allowed: 2, refused: 2 })
  await isAway(t, insured.look(ALLOWING, 'ada'))
  await isAway(t, insured.giveBack(ALLOWING, 'ada', 'one'))
  t.equal((await memory.look(ALLOWING, 'ada')).grants.length, 2, 'nothing was given back')

  store.problem = undefined
  t.match(await insured.take(ALLOWING, 'ada', 'three'), {
    ...{
      outcome: 'taken',
      countedHere: false,
      usage: { grants: [{ id: 'zero' }, { id: 'three' }] },
    },
  })
  t.equal(insured.isAway, false)
})

t.test('when the memory is away too, the request is refused', async (t) => {
  const { insured, store, memory } = insure(t)
  store.leave()
  await memory.close()
  await t.rejects(insured.take(ALLOWING, 'ada', 'one'), new StoreAwayError('the store is closed'))
  t.same(insured.awayCounts, { allowed: 0, refused: 1 })
})

t.test('another error is no absence', async (t) => {
  const { insured, store, said } = insure(t)
  store.problem = new TypeError('a fault')
  await t.rejects(insured.take(ALLOWING, 'ada', 'one'), new TypeError('a fault'))
  await t.rejects(insured.look(ALLOWING, 'ada'), new TypeError('a fault'))
  t.equal(insured.isAway, false)
  t.same(insured.awayCounts, { allowed: 0, refused: 0 })
  t.same(said(), [])
})

t.test('the log says it once, every 30 s while requests come, and when it is back', async (t) => {
  const { insured, store, clock, said, lines } = insure(t)
  store.leave()
  for (let i = 0; i < 3; i++) await isAway(t, insured.take(REFUSING, 'ada', 'one'))
  await insured.take(ALLOWING, 'ada', 'one')
  t.same(said(), [`${AWAY} 0 0`])
  t.match(lines()[0], {
    setting: 'LIMITS_STORE_URL',
    err: { message: 'the store does not answer', cause: { message: 'refused' } },
  })
  clock.advance(29_999)
  await insured.take(ALLOWING, 'ada', 'two')
  t.equal(said().length, 1)
  clock.advance(1)
  await isAway(t, insured.take(REFUSING, 'ada', 'one'))
  t.same(said().slice(1), [`${AWAY} 2 3`])
  store.problem = undefined
  await insured.take(REFUSING, 'ada', 'one')
  await insured.take(REFUSING, 'bob', 'one')
  t.same(said().slice(2), [`${BACK} 2 4`])
  t.match(lines()[2], { setting: 'LIMITS_STORE_URL' })

  clock.advance(30_000)
  store.leave()
  await isAway(t, insured.take(REFUSING, 'ada', 'one'))
  store.problem = undefined
  await insured.giveBack(REFUSING, 'ada')
  t.same(said().slice(3), [`${AWAY} 0 0`, `${BACK} 0 1`], 'the counts begin anew')
  t.same(insured.awayCounts, { allowed: 2, refused: 5 })
})

t.test('a file is named by its own setting', async (t) => {
  const { insured, store, lines } = insure(t, 'sqlite')
  store.leave()
  await isAway(t, insured.probe())
  t.match(lines()[0], { setting: 'LIMITS_STATE_DIR' })
})

t.test('a store that comes and goes is logged every 30 s, and nothing is forgotten', async (t) => {
  const { insured, store, clock, said } = insure(t)
  const comeAndGo = async (times: number) => {
    for (let i = 0; i < times; i++) {
      store.leave()
      await isAway(t, insured.take(REFUSING, 'ada', 'one'))
      store.problem = undefined
      await insured.probe()
    }
  }
  await comeAndGo(100)
  t.same(said(), [`${AWAY} 0 0`, `${BACK} 0 1`])
  clock.advance(30_000)
  await insured.probe()
  t.same(said().slice(2), [`${BACK} 0 99`])
  await comeAndGo(100)
  t.equal(said().length, 3)
  clock.advance(30_000)
  await comeAndGo(1)
  t.same(said().slice(3), [`${AWAY} 0 100`, `${BACK} 0 101`])
})

t.test('answers that overtake each other change nothing', async (t) => {
  const { insured, store, said, settle } = insure(t)
  const waiting: (() => void)[] = []
  store.held = waiting
  const early = insured.take(REFUSING, 'early', 'one')
  store.leave()
  const failing = insured.take(REFUSING, 'ada', 'one')
  waiting[1]?.()
  await isAway(t, failing)
  waiting[0]?.()
  t.equal((await early).outcome, 'taken')
  t.equal(insured.isAway, true, 'it was asked for before the store went away')
  t.same(said(), [`${AWAY} 0 0`])

  const late = insured.take(REFUSING, 'late', 'one')
  store.problem = undefined
  const good = insured.take(REFUSING, 'good', 'one')
  waiting[3]?.()
  t.equal((await good).outcome, 'taken')
  t.equal(insured.isAway, false)
  waiting[2]?.()
  await isAway(t, late)
  await settle()
  t.equal(insured.isAway, false, 'it was asked for while the store was away')
  t.same(said().slice(1), [`${BACK} 0 1`])
})

t.test('a store that can only be read is away', async (t) => {
  const { insured, store } = insure(t)
  await insured.take(REFUSING, 'ada', 'one')
  store.leave()
  await isAway(t, insured.take(REFUSING, 'bob', 'one'))
  store.isReadable = true
  t.equal((await insured.look(REFUSING, 'ada')).grants.length, 1)
  t.equal(insured.isAway, true)
  store.problem = undefined
  t.equal((await insured.take(REFUSING, 'ada', 'two')).outcome, 'refused')
  t.same((await insured.giveBack(REFUSING, 'bob')).returned, undefined)
  t.equal(insured.isAway, true)
  await insured.giveBack(REFUSING, 'ada')
  t.equal(insured.isAway, false)
})

t.test('a store that is away is asked every second whether it is back', async (t) => {
  const { insured, store, clock, settle } = insure(t)
  t.same(clock.pauses(), [])
  store.leave()
  await isAway(t, insured.take(REFUSING, 'ada', 'one'))
  await isAway(t, insured.take(REFUSING, 'ada', 'one'))
  t.same(clock.pauses(), [1000], 'by one timer')
  for (let i = 0; i < 3; i++) {
    clock.advance(1000)
    await settle()
    t.same([store.asked, clock.pauses()], [3 + i, [1000]])
  }
  store.problem = undefined
  clock.advance(1000)
  await settle()
  t.equal(insured.isAway, false)
  t.same(clock.pauses(), [])
})

t.test('a store that is back before is not asked, and none after the end', async (t) => {
  const { insured, store, clock } = insure(t)
  store.leave()
  await isAway(t, insured.take(REFUSING, 'ada', 'one'))
  store.problem = undefined
  await insured.take(REFUSING, 'ada', 'one')
  clock.advance(1000)
  t.equal(store.asked, 2)
  store.leave()
  await isAway(t, insured.take(REFUSING, 'ada', 'one'))
  t.same(clock.pauses(), [1000])
  await insured.close()
  t.same(clock.pauses(), [])
  await isAway(t, insured.look(REFUSING, 'ada'))
  t.same(clock.pauses(), [])
})

t.test('what fails because of the end is no absence', async (t) => {
  const { insured, store, clock, said } = insure(t)
  await insured.close()
  store.leave()
  await isAway(t, insured.look(REFUSING, 'ada'))
  t.same([said(), clock.pauses(), insured.isAway], [[], [], false])
})
