/** Do wrong codes lock, for longer each time, and is nothing forgiven by a restart or a clock? */
import t from 'tap'
import { codeAt, factorsInMemory, factorsOn, START, STEP } from '../../helpers/factors.ts'
import { temporaryFolder } from '../../helpers/process.ts'
import { openState } from '../../helpers/state.ts'

const MINUTE = 60_000
const DAY = 1440 * MINUTE

/** A wrong code of this moment. */
function wrongAt(secret: string, at: number): string {
  const near = [-2, -1, 0, 1].map((step) => codeAt(secret, at + step * STEP))
  return ['000000', '111111', '222222', '333333', '444444'].find((one) => !near.includes(one)) ?? ''
}

/** For how many minutes codes are locked at present. */
function lockedFor({ factors, clock }: ReturnType<typeof factorsInMemory>): number | undefined {
  const { lockedUntil } = factors.enrolmentOf('alice')
  return lockedUntil === undefined ? undefined : (lockedUntil - clock.now) / MINUTE
}

/** Shows wrong codes until one locks. @returns how many there were */
async function untilLocked(
  one: ReturnType<typeof factorsInMemory>,
  secret: string,
): Promise<number> {
  for (let tries = 1; ; tries++) {
    if ((await one.show(wrongAt(secret, one.clock.now))) !== 'wrong-code')
      throw new Error('refused')
    if (lockedFor(one) !== undefined) return tries
  }
}

t.test(
  'the fifth wrong code in 15 minutes locks, twice as long each time, up to a day',
  async (t) => {
    const one = factorsInMemory(t)
    const { clock, show, addApp, factors } = one
    const { secret, backupCodes } = addApp()
    // From the twentieth in a week on, each one locks.
    for (const [minutes, tries] of [
      [15, 5],
      [30, 5],
      [60, 5],
      [120, 5],
      [240, 1],
      [480, 1],
      [960, 1],
      [1440, 1],
      [1440, 1],
    ] as const) {
      t.equal(await untilLocked(one, secret), tries)
      t.equal(lockedFor(one), minutes)
      clock.now += minutes * MINUTE - 1
      t.equal(await show(codeAt(secret, clock.now)), 'locked', 'a right code too')
      t.equal(await show(wrongAt(secret, clock.now)), 'locked', 'which makes it no longer')
      clock.now += 1
    }
    t.equal(await untilLocked(one, secret), 1)
    t.equal(await show(backupCodes[0] ?? ''), 'done', 'a backup code works meanwhile')
    t.equal(await show(wrongAt(secret, clock.now)), 'locked', 'and ends no lock')
    clock.now += 1440 * MINUTE
    t.equal(await show(codeAt(secret, clock.now)), 'done')
    t.equal(await untilLocked(one, secret), 1, 'a right code forgives no wrong one')
    t.equal(lockedFor(one), 15, 'and makes the next lock short')
    t.ok(factors.unlock('alice'))
    t.notOk(factors.unlock('alice'), 'it was not locked any more')
    t.equal(await untilLocked(one, secret), 5, 'the machine’s owner forgives all of them')
    t.ok(factors.unlock('alice'))
    clock.now += STEP
    t.equal(await show(codeAt(secret, clock.now)), 'done')
  },
)

/** Tries codes until a time, as often as never locks by itself: four every 15 minutes. @returns how many were judged */
async function guessUntil(
  { clock, show, factors }: ReturnType<typeof factorsInMemory>,
  secret: string,
  end: number,
): Promise<number> {
  let tries = 0
  while (clock.now < end) {
    for (let i = 0; i < 4; i++)
      if ((await show(wrongAt(secret, clock.now))) === 'wrong-code') tries++
      else break
    clock.now = Math.max(
      clock.now + 15 * MINUTE,
      factors.enrolmentOf('alice').lockedUntil ?? clock.now,
    )
  }
  return tries
}

t.test('who has a session gets 20 tries a week, however patient they are', async (t) => {
  const one = factorsInMemory(t)
  const { secret } = one.addApp()
  const weeks = []
  for (let week = 1; week <= 3; week++)
    weeks.push(await guessUntil(one, secret, START + week * 7 * DAY))
  const [first = Infinity, ...later] = weeks
  t.ok(first <= 32, String(first))
  for (const tries of later) t.ok(tries <= 21, String(tries))
})

t.test('a right code a day makes the locks short again, and the tries stay few', async (t) => {
  const one = factorsInMemory(t)
  const { secret } = one.addApp()
  let tries = 0
  for (let day = 1; day <= 14; day++) {
    tries += await guessUntil(one, secret, START + day * DAY)
    t.equal(await one.show(codeAt(secret, one.clock.now)), 'done')
  }
  t.ok(tries <= 2 * 60, `${tries} in two weeks`)
})

t.test(
  'a lock keeps out neither a passkey nor a backup code, nor is it a stranger’s',
  async (t) => {
    const one = factorsInMemory(t)
    const { secret, backupCodes } = one.addApp()
    for (let i = 0; i < 50; i++) await one.show('0000-0000-0000-0000')
    t.equal(lockedFor(one), undefined, 'a wrong backup code does not lock')
    for (let i = 0; i < 50; i++) await one.show('000000', 'mallory')
    t.equal(lockedFor(one), undefined, 'nor do the codes of somebody else')
    await untilLocked(one, secret)
    t.equal(await one.show(backupCodes[1] ?? ''), 'done')
  },
)

t.test('wrong codes are counted for 15 minutes, and for each person', async (t) => {
  const { clock, show, addApp, factors } = factorsInMemory(t)
  const { secret } = addApp()
  addApp('bob')
  for (let i = 0; i < 4; i++) await show(wrongAt(secret, clock.now))
  clock.now += 15 * MINUTE
  for (let i = 0; i < 4; i++) t.equal(await show(wrongAt(secret, clock.now)), 'wrong-code')
  t.equal(factors.enrolmentOf('alice').lockedUntil, undefined)
  t.equal(await show('x'), 'malformed-code', 'not counted')
  t.equal(await show('0000-0000-0000-0000'), 'wrong-code', 'nor is a wrong backup code')
  t.equal(factors.enrolmentOf('alice').lockedUntil, undefined)
  t.equal(await show(wrongAt(secret, clock.now)), 'wrong-code')
  t.ok(factors.enrolmentOf('alice').lockedUntil)
  t.equal(factors.enrolmentOf('bob').lockedUntil, undefined)
  t.equal(await show('000000', 'nobody'), 'not-enrolled')
  t.equal(await show('0000-0000-0000-0000', 'nobody'), 'not-enrolled')
})

t.test('50 wrong codes at once: five are judged', async (t) => {
  const { clock, show, addApp } = factorsInMemory(t)
  const { secret } = addApp()
  const code = wrongAt(secret, clock.now)
  const verdicts = await Promise.all(Array.from({ length: 50 }, () => show(code)))
  t.equal(verdicts.filter((one) => one === 'wrong-code').length, 5)
  t.equal(verdicts.filter((one) => one === 'locked').length, 45)
})

t.test('a restart forgives nothing, nor does a clock that is set back', async (t) => {
  const stateDir = temporaryFolder(t)
  const first = await openState(t, stateDir)
  const one = factorsOn(first.state)
  const { secret } = one.addApp()
  for (let i = 0; i < 4; i++) await one.show(wrongAt(secret, one.clock.now))
  first.state.close()
  const second = await openState(t, stateDir)
  const two = factorsOn(second.state, { at: START - 20 * MINUTE })
  t.equal(await two.show(wrongAt(secret, two.clock.now)), 'clock-behind', 'the set-up is ahead')
  two.clock.now = START - 5 * MINUTE
  t.equal(await two.show(wrongAt(secret, two.clock.now)), 'wrong-code')
  t.equal(two.factors.enrolmentOf('alice').lockedUntil, START + 10 * MINUTE)
  second.state.close()
  const third = await openState(t, stateDir)
  const three = factorsOn(third.state)
  t.equal(await three.show(codeAt(secret, START)), 'locked')
})

t.test('a lock that began under a wrong clock lasts a day at most', async (t) => {
  const { clock, show, addApp, factors } = factorsInMemory(t)
  const { secret } = addApp()
  clock.now += 365 * 1440 * MINUTE
  for (let i = 0; i < 5; i++) await show(wrongAt(secret, clock.now))
  clock.now = START + STEP
  t.equal(await show(codeAt(secret, clock.now)), 'locked')
  clock.now += 1440 * MINUTE
  t.equal(factors.enrolmentOf('alice').lockedUntil, undefined)
  t.equal(await show(codeAt(secret, clock.now)), 'done')
})

t.test(
  'a new app, which took another factor, is not locked by codes of the one before',
  async (t) => {
    const one = factorsInMemory(t)
    const { clock, show, addApp } = one
    await untilLocked(one, addApp().secret)
    const { secret } = addApp('alice', true)
    t.equal(lockedFor(one), undefined)
    clock.now += STEP
    t.equal(await show(codeAt(secret, clock.now)), 'done')
    for (let i = 0; i < 4; i++) t.equal(await show(wrongAt(secret, clock.now)), 'wrong-code')
    t.equal(lockedFor(one), undefined, 'nor do they count for it')
  },
)
