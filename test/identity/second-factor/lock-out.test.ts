/** Do wrong codes lock, for longer each time, and is nothing forgiven by a restart or a clock? */
import t from 'tap'
import { codeAt, factorsInMemory, factorsOn, START, STEP } from '../../helpers/factors.ts'
import { temporaryFolder } from '../../helpers/process.ts'
import { openState } from '../../helpers/state.ts'

const MINUTE = 60_000

/** A wrong code of this moment. */
function wrongAt(secret: string, at: number): string {
  const near = [-2, -1, 0, 1].map((step) => codeAt(secret, at + step * STEP))
  return ['000000', '111111', '222222', '333333', '444444'].find((one) => !near.includes(one)) ?? ''
}

t.test(
  'the fifth wrong code in 15 minutes locks, twice as long each time, up to a day',
  async (t) => {
    const { clock, show, addApp, factors } = factorsInMemory(t)
    const { secret, backupCodes } = addApp()
    const wrong = () => show(wrongAt(secret, clock.now))
    const untilLocked = async () => {
      for (let i = 0; i < 5; i++) {
        t.equal(factors.enrolmentOf('alice').lockedUntil, undefined)
        t.equal(await wrong(), 'wrong-code')
      }
      return ((factors.enrolmentOf('alice').lockedUntil ?? 0) - clock.now) / MINUTE
    }
    for (const minutes of [15, 30, 60, 120, 240, 480, 960, 1440, 1440]) {
      t.equal(await untilLocked(), minutes)
      clock.now += minutes * MINUTE - 1
      t.equal(await show(codeAt(secret, clock.now)), 'locked', 'a right code too')
      t.equal(await wrong(), 'locked', 'which makes it no longer')
      clock.now += 1
    }
    t.equal(await untilLocked(), 1440)
    t.equal(await show(backupCodes[0] ?? ''), 'done', 'a backup code works meanwhile')
    t.equal(await wrong(), 'locked', 'and ends no lock')
    clock.now += 1440 * MINUTE
    t.equal(await show(codeAt(secret, clock.now)), 'done')
    t.equal(await untilLocked(), 15, 'after a right code it begins anew')
    t.ok(factors.unlock('alice'))
    t.notOk(factors.unlock('alice'), 'it was not locked any more')
    clock.now += STEP
    t.equal(await show(codeAt(secret, clock.now)), 'done')
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
