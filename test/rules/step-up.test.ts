/** Does a proof count for as long as it should, and does nothing else count? */
import t from 'tap'
import { hasSteppedUp, wantsStepUp, type Proofs } from '../../src/rules/step-up.ts'

const NOW = 1_800_000_000_000
const RULES = {
  methods: ['otp', 'hwk'],
  isLocal: true,
  maxAgeSeconds: 600,
  routes: ['terminal'],
} as const
const NOTHING: Proofs = { methods: [], authenticatedAt: undefined, factorAt: undefined }

t.test('a route wants a factor when it is named and something can be asked', async (t) => {
  t.ok(wantsStepUp(RULES, 'terminal'))
  t.notOk(wantsStepUp(RULES, 'dashboard'))
  t.notOk(wantsStepUp({ ...RULES, methods: [], isLocal: false }, 'terminal'))
  t.ok(wantsStepUp({ ...RULES, methods: [] }, 'terminal'))
  t.ok(wantsStepUp({ ...RULES, isLocal: false }, 'terminal'))
})

t.test('a proof counts while it is young enough', async (t) => {
  const rows: Array<[proofs: Partial<Proofs>, counts: boolean, why: string]> = [
    [{}, false, 'nothing'],
    [{ methods: ['otp'] }, false, 'a method without a time'],
    [{ authenticatedAt: NOW }, false, 'a sign-in without a method'],
    [{ methods: ['pwd'], authenticatedAt: NOW }, false, 'another method'],
    [{ methods: ['OTP'], authenticatedAt: NOW }, false, 'names are case-sensitive'],
    [{ methods: ['pwd', 'hwk'], authenticatedAt: NOW }, true, 'one of several'],
    [{ methods: ['otp'], authenticatedAt: NOW - 600_000 }, true, 'to the last moment'],
    [{ methods: ['otp'], authenticatedAt: NOW - 600_001 }, false, 'too old'],
    [{ methods: ['otp'], authenticatedAt: NOW + 300_000 }, true, 'a clock that was set back'],
    [{ methods: ['otp'], authenticatedAt: NOW + 300_001 }, false, 'a time that is wrong'],
    [{ methods: ['otp'], authenticatedAt: NaN }, false, 'no time'],
    [{ factorAt: NOW }, true, 'a factor that was shown here'],
    [{ factorAt: NOW - 600_000 }, true, 'to the last moment'],
    [{ factorAt: NOW - 600_001 }, false, 'too old'],
    [{ factorAt: NOW + 300_001 }, false, 'a time that is wrong'],
    [{ factorAt: NOW - 600_001, methods: ['otp'], authenticatedAt: NOW }, true, 'either suffices'],
  ]
  for (const [proofs, counts, why] of rows)
    t.equal(hasSteppedUp(RULES, { ...NOTHING, ...proofs }, NOW), counts, why)
})

t.test('a factor that was shown here counts only while factors are kept here', async (t) => {
  const proofs = { ...NOTHING, factorAt: NOW }
  t.notOk(hasSteppedUp({ ...RULES, isLocal: false }, proofs, NOW))
  t.notOk(
    hasSteppedUp(
      { ...RULES, methods: [] },
      { ...NOTHING, methods: ['otp'], authenticatedAt: NOW },
      NOW,
    ),
  )
})
