/** Are codes of authenticator apps judged as the RFCs say, each once, also when the clock is wrong? */
import { HOTP, Secret } from 'otpauth'
import t from 'tap'
import {
  isAhead,
  matchingSteps,
  setUpOf,
  stepAt,
  totpCodeIn,
} from '../../../src/identity/second-factor/totp.ts'
import { seal } from '../../../src/identity/second-factor/sealed.ts'
import { putTotp } from '../../../src/store/factor-rows.ts'
import { ALICE, codeAt, factorsInMemory, START, STEP } from '../../helpers/factors.ts'

/** The secret of the test vectors of both RFCs. */
const SEED = Buffer.from('12345678901234567890')

/** RFC 4226, appendix D: the codes of the counters 0 to 9. */
const HOTP_CODES = '755224 287082 359152 969429 338314 254676 287922 162583 399871 520489'.split(
  ' ',
)

/** RFC 6238, appendix B, SHA-1: seconds since 1970, and the last six of the eight digits. */
const TOTP_CODES: ReadonlyArray<readonly [number, string]> = [
  [59, '287082'],
  [1_111_111_109, '081804'],
  [1_111_111_111, '050471'],
  [1_234_567_890, '005924'],
  [2_000_000_000, '279037'],
  [20_000_000_000, '353130'],
]

t.test('the vectors of RFC 4226', async (t) => {
  for (const [counter, code] of HOTP_CODES.entries()) {
    if (counter < 2) continue // the step before the first one of 1970 has no number
    const steps = matchingSteps(SEED, code, counter * STEP)
    t.same(steps, [counter, counter], String(counter))
  }
  const secret = new Secret({ buffer: new Uint8Array(SEED).buffer })
  for (const [counter, code] of HOTP_CODES.entries())
    t.equal(HOTP.generate({ secret, counter }), code)
})

t.test('the vectors of RFC 6238', async (t) => {
  for (const [seconds, code] of TOTP_CODES) {
    const step = stepAt(seconds * 1000)
    t.same(matchingSteps(SEED, code, seconds * 1000), [step, step], String(seconds))
  }
})

t.test('one step of skew is allowed, in both directions, and no more', async (t) => {
  const at = 2_000_000_000_000
  for (const [skew, isRight] of [
    [-2, false],
    [-1, true],
    [0, true],
    [1, true],
    [2, false],
  ] as const)
    t.equal(matchingSteps(SEED, '279037', at - skew * STEP) !== undefined, isRight, String(skew))
})

t.test('a code is six digits, however they are spaced', async (t) => {
  t.equal(totpCodeIn(' 123 456\n'), '123456')
  t.equal(totpCodeIn('123-456'), '123456')
  for (const text of [
    '',
    '12345',
    '1234567',
    '12345a',
    '１２３４５６',
    '+12345',
    '0x1234',
    '1e5',
    '12345.',
  ])
    t.equal(totpCodeIn(text), undefined, text)
})

t.test('what an app is told', async (t) => {
  const { secret, uri } = setUpOf(SEED, 'houston', 'alice: a@b?')
  t.equal(secret, 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ')
  t.match(uri, /^otpauth:\/\/totp\/houston:alice%3A%20a%40b%3F\?issuer=houston&secret=GEZ/)
  t.match(uri, /&algorithm=SHA1&digits=6&period=30$/)
})

t.test('a code counts once, also that of the set-up', async (t) => {
  const { clock, show, addApp } = factorsInMemory(t)
  const { secret } = addApp()
  t.equal(await show(codeAt(secret, START)), 'code-used', 'it set the app up')
  t.equal(await show(codeAt(secret, START - STEP)), 'code-used', 'nor do older ones')
  clock.now += STEP
  const code = codeAt(secret, clock.now)
  t.equal(await show(code), 'done')
  t.equal(await show(code), 'code-used')
  clock.now += STEP
  t.equal(await show(code), 'code-used', 'the step after')
  clock.now += STEP
  t.equal(await show(code), 'wrong-code', 'it is no code any more')
})

t.test('of 50 uses at once one counts, and none is a wrong code', async (t) => {
  const { clock, show, addApp, factors } = factorsInMemory(t)
  const { secret } = addApp()
  clock.now += 10 * STEP
  const code = codeAt(secret, clock.now)
  const verdicts = await Promise.all(Array.from({ length: 50 }, () => show(code)))
  t.equal(verdicts.filter((one) => one === 'done').length, 1)
  t.equal(verdicts.filter((one) => one === 'code-used').length, 49)
  t.equal(factors.enrolmentOf('alice').lockedUntil, undefined)
})

/** Gives alice an app with the secret of the test vectors. */
function addSeed({ state, keys, factors }: ReturnType<typeof factorsInMemory>) {
  const sealed = seal(keys, SEED, 'totp\0app_seed\0alice')
  const row = { id: 'app_seed', subject: 'alice', lastStep: 0, createdAt: 0, lastUsedAt: undefined }
  state.write((database) => putTotp(database, { ...row, ...sealed }))
  factors.load()
}

// Found by search: the step after has the same code.
const ADJACENT = { at: 62_075_368 * STEP, code: '235522' }

t.test('a code that two adjacent steps share counts once', async (t) => {
  const { at, code } = ADJACENT
  for (const first of [-1, 0, 1, 2])
    for (let again = first; again <= 2; again++) {
      const one = factorsInMemory(t)
      addSeed(one)
      one.clock.now = at + first * STEP
      t.equal(await one.show(code), 'done', `shown ${first} steps after`)
      one.clock.now = at + again * STEP
      t.equal(await one.show(code), 'code-used', `and again ${again} steps after`)
    }
})

t.test('a code that the step before the last shares is no new one', async (t) => {
  const at = 61_331_809 * STEP // found by search: two steps later comes the same code
  const one = factorsInMemory(t)
  addSeed(one)
  one.clock.now = at
  t.equal(await one.show('768734'), 'done')
  one.clock.now = at + 2 * STEP
  t.equal(await one.show('768734'), 'code-used')
})

t.test(
  'a clock that is set back refuses codes that were used, and far back all of them',
  async (t) => {
    const { clock, show, addApp, factors } = factorsInMemory(t)
    const { secret } = addApp()
    clock.now += 19 * STEP
    t.equal(await show(codeAt(secret, clock.now)), 'done')
    clock.now = START
    t.equal(await show(codeAt(secret, clock.now)), 'code-used', 'until the clock is there again')
    t.equal(factors.enrolmentOf('alice').totp?.problem, undefined)
    clock.now = START + 60 * STEP
    t.equal(await show(codeAt(secret, clock.now)), 'done')
    clock.now = START
    t.equal(await show(codeAt(secret, clock.now)), 'clock-behind')
    t.equal(factors.enrolmentOf('alice').totp?.problem, 'clock-behind')
    t.ok(factors.unlock('alice'))
    t.equal(await show(codeAt(secret, clock.now + STEP)), 'code-used', 'used up by the unlocking')
    clock.now += 2 * STEP
    t.equal(await show(codeAt(secret, clock.now)), 'done')
  },
)

t.test('ten minutes are the limit', async (t) => {
  t.notOk(isAhead(stepAt(START) + 20, START))
  t.ok(isAhead(stepAt(START) + 21, START))
})

t.test('a backup code ends the lock by a wrong clock', async (t) => {
  const { clock, show, addApp } = factorsInMemory(t)
  clock.now += 86_400_000
  const { secret, backupCodes } = addApp()
  clock.now = START
  t.equal(await show(codeAt(secret, clock.now)), 'clock-behind')
  t.equal(await show(backupCodes[0] ?? ''), 'done')
  clock.now += 2 * STEP
  t.equal(await show(codeAt(secret, clock.now)), 'done')
})

t.test('a set-up waits for a right code, five tries long and ten minutes', async (t) => {
  const { clock, factors } = factorsInMemory(t)
  const begin = () => {
    const begun = factors.beginTotp('alice', { sessionId: 'session-a', hasProof: false })
    if (!begun.isDone) throw new Error(begun.reason)
    return begun
  }
  const confirm = (id: string, code: string, sessionId = 'session-a', subject = 'alice') => {
    const done = factors.confirmTotp(subject, { sessionId, id, code })
    return done.isDone ? 'done' : done.reason
  }
  const { id, secret } = begin()
  const right = codeAt(secret, START)
  const wrong = right === '000000' ? '000001' : '000000'
  t.equal(confirm(id, right, 'session-b'), 'enrolment-gone', 'another session has begun nothing')
  t.equal(confirm(id, right, 'session-a', 'bob'), 'enrolment-gone')
  t.equal(confirm(id, 'x'), 'malformed-code')
  for (let i = 0; i < 4; i++) t.equal(confirm(id, wrong), 'wrong-code')
  t.equal(factors.totpSetUp('alice', { sessionId: 'session-a', id })?.secret, secret, 'shown again')
  t.equal(factors.totpSetUp('alice', { sessionId: 'session-b', id }), undefined)
  t.equal(confirm(id, wrong), 'enrolment-gone')
  t.equal(confirm(id, right), 'enrolment-gone')
  t.notOk(factors.isEnrolled('alice'))
  const late = begin()
  clock.monotonic += 600_000
  t.equal(confirm(late.id, codeAt(late.secret, START)), 'enrolment-gone')
  const whole = begin()
  t.equal(confirm(whole.id, codeAt(whole.secret, START)), 'done')
  t.equal(confirm(whole.id, codeAt(whole.secret, START)), 'enrolment-gone')
  t.ok(factors.isEnrolled('alice'))
})

t.test(
  'once a factor exists, an enrolment needs one, also one that was begun before',
  async (t) => {
    const { factors, addApp } = factorsInMemory(t)
    const { sessionId } = ALICE
    const first = factors.beginTotp('alice', { sessionId: 'thief', hasProof: false })
    if (!first.isDone) throw new Error(first.reason)
    addApp()
    const code = codeAt(first.secret, START)
    t.match(factors.confirmTotp('alice', { sessionId: 'thief', id: first.id, code }), {
      reason: 'factor-needed',
    })
    t.match(factors.beginTotp('alice', { sessionId, hasProof: false }), { reason: 'factor-needed' })
    t.ok(factors.beginTotp('alice', { sessionId, hasProof: true }).isDone)
  },
)
