/** Are passkeys taken from the workspace's own page alone, once for each challenge, and never from a copy? */
import t, { type Test } from 'tap'
import type { FactorProof } from '../../../src/identity/second-factor/verdicts.ts'
import { Authenticator, type Misbehaviour } from '../../helpers/authenticator.ts'
import { codeAt, factorsInMemory, START, STEP } from '../../helpers/factors.ts'

const SITE = { host: 'houston.hubify.com', origin: 'https://houston.hubify.com' }
const OWNER = { sessionId: 'session-a' }

function startPasskeys(t: Test) {
  const all = factorsInMemory(t)
  const { factors } = all
  const enrol = async (
    device: Authenticator,
    wrong: Misbehaviour = {},
    { hasProof = false, subject = 'alice' } = {},
  ) => {
    const begun = await factors.beginPasskey(subject, { ...OWNER, site: SITE, hasProof })
    if (!begun.isDone) return begun.reason
    const response = device.create(begun.options, SITE.origin, wrong)
    const made = { ...OWNER, response, name: 'my key', hasEnded: () => false }
    const done = await factors.confirmPasskey(subject, made)
    return done.isDone ? 'done' : done.reason
  }
  const challenge = async (subject = 'alice', purpose = 'step-up', site = SITE) =>
    (await factors.challenge(subject, { ...OWNER, site, purpose })) ?? {}
  const prove = async (
    response: unknown,
    { subject = 'alice', sessionId = 'session-a', purpose = 'step-up' } = {},
  ) => {
    const proof: FactorProof = { kind: 'passkey', response }
    const verdict = await factors.prove(subject, { sessionId, proof, purpose })
    return verdict.isDone ? verdict.factor : verdict.reason
  }
  const show = async (device: Authenticator, wrong: Misbehaviour = {}) =>
    prove(device.get(await challenge(), SITE.origin, wrong))
  return { ...all, showCode: all.show, enrol, challenge, prove, show }
}

t.test(
  'a reset, or the end of the session, counts for a passkey that is being judged',
  async (t) => {
    const { factors } = startPasskeys(t)
    let hasEnded = false
    const confirm = async (whileJudged: () => void, hasProof = false) => {
      const begun = await factors.beginPasskey('alice', { ...OWNER, site: SITE, hasProof })
      if (!begun.isDone) throw new Error(begun.reason)
      const made = new Authenticator().create(begun.options, SITE.origin) as { response: object }
      const { attestationObject, ...rest } = made.response as { attestationObject: string }
      const reading = {
        ...rest,
        get attestationObject() {
          whileJudged()
          return attestationObject
        },
      }
      const response = { ...made, response: reading }
      const name = 'my key'
      return factors.confirmPasskey('alice', { ...OWNER, response, name, hasEnded: () => hasEnded })
    }
    const gone = { isDone: false, reason: 'enrolment-gone' }
    for (const hasProof of [false, true])
      t.match(await confirm(() => factors.reset('alice'), hasProof), gone)
    t.match(await confirm(() => (hasEnded = true)), gone)
    t.notOk(factors.isEnrolled('alice'))
    hasEnded = false
    t.match(await confirm(() => {}), { isDone: true })
  },
)

t.test('a factor that was shown adds one passkey, and not two', async (t) => {
  const { enrol, factors } = startPasskeys(t)
  await enrol(new Authenticator())
  const begun = await factors.beginPasskey('alice', { ...OWNER, site: SITE, hasProof: true })
  if (!begun.isDone) throw new Error(begun.reason)
  const confirm = () => {
    const response = new Authenticator().create(begun.options, SITE.origin)
    return factors.confirmPasskey('alice', {
      ...{ ...OWNER, response, name: '', hasEnded: () => false },
    })
  }
  t.match(await confirm(), { isDone: true })
  t.match(await confirm(), { isDone: false, reason: 'enrolment-gone' })
  t.equal(factors.enrolmentOf('alice').passkeys.length, 2)
})

t.test('of first passkeys that are made at once one is the first', async (t) => {
  const { factors } = startPasskeys(t)
  const begun = await Promise.all(
    Array.from({ length: 20 }, async (_, i) => {
      const sessionId = `session ${i}`
      const set = { sessionId, site: SITE, hasProof: false }
      return { sessionId, setUp: await factors.beginPasskey('alice', set) }
    }),
  )
  const verdicts = await Promise.all(
    begun.map(({ sessionId, setUp }) => {
      if (!setUp.isDone) throw new Error(setUp.reason)
      const response = new Authenticator().create(setUp.options, SITE.origin)
      return factors.confirmPasskey('alice', {
        ...{ sessionId, response, name: '', hasEnded: () => false },
      })
    }),
  )
  t.equal(verdicts.filter(({ isDone }) => isDone).length, 1)
  t.equal(factors.enrolmentOf('alice').passkeys.length, 1)
  for (const verdict of verdicts) if (!verdict.isDone) t.equal(verdict.reason, 'factor-needed')
})

t.test('a passkey is added and shown', async (t) => {
  const { enrol, show, factors } = startPasskeys(t)
  const device = new Authenticator({ counter: 7 })
  t.notOk(factors.isEnrolled('alice'))
  t.equal(await factors.challenge('alice', { ...OWNER, site: SITE, purpose: 'x' }), undefined)
  t.equal(await enrol(device), 'done')
  t.ok(factors.isEnrolled('alice'))
  device.counter = 8
  t.equal(await show(device), 'passkey')
  const [kept] = factors.enrolmentOf('alice').passkeys
  t.match(kept, { name: 'my key', rpId: SITE.host, isSynced: false, lastUsedAt: START })
  t.equal(
    factors.enrolmentOf('alice').backupCodes?.left,
    10,
    'with the first factor come the codes',
  )
  t.equal(await enrol(device), 'factor-needed')
  t.equal(await enrol(device, {}, { hasProof: true }), 'passkey-known')
  t.equal(await enrol(device, {}, { subject: 'bob' }), 'passkey-known', 'nobody takes it over')
  t.equal(await show(device, { counter: 9 }), 'passkey', 'alice has it still')
  t.notOk(factors.isEnrolled('bob'))
})

const WRONG: Readonly<Record<string, Misbehaviour>> = {
  'of a sibling’s page': { origin: 'https://apollo.hubify.com' },
  'of a page without TLS': { origin: 'http://houston.hubify.com' },
  'for the domain above': { rpId: 'hubify.com' },
  'without a verified person': { isVerified: false },
  'to another challenge': { challenge: Buffer.alloc(32).toString('base64url') },
  'in a frame of another site': { crossOrigin: true },
  'of another type': { type: 'payment.get' },
}

t.test('a passkey that attests itself is added', async (t) => {
  const { enrol, show } = startPasskeys(t)
  const device = new Authenticator()
  t.equal(await enrol(device, { format: 'self' }), 'done')
  t.equal(await show(device), 'passkey')
})

t.test('a wrong answer adds no passkey, and is no proof', async (t) => {
  const { enrol, show, factors, challenge, prove } = startPasskeys(t)
  const device = new Authenticator()
  const expected = (name: string, gone: string) =>
    name === 'to another challenge' ? gone : 'passkey-invalid'
  for (const [name, wrong] of Object.entries(WRONG))
    t.equal(await enrol(device, wrong), expected(name, 'enrolment-gone'), name)
  t.equal(await enrol(device, { format: 'packed' }), 'passkey-invalid', 'with certificates')
  t.notOk(factors.isEnrolled('alice'))
  t.equal(await enrol(device), 'done')
  for (const [name, wrong] of Object.entries(WRONG))
    t.equal(await show(device, wrong), expected(name, 'challenge-gone'), name)
  t.equal(
    await show(device, { isSynced: true }),
    'passkey-invalid',
    'it cannot become another kind',
  )
  t.equal(await show(new Authenticator()), 'passkey-unknown')
  const signed = device.get(await challenge(), SITE.origin) as { response: object; id: string }
  const other = new Authenticator().get(await challenge(), SITE.origin) as { response: object }
  t.equal(await prove({ ...other, id: signed.id, rawId: signed.id }), 'passkey-invalid', 'forged')
  for (const junk of [undefined, null, 1, 'x', {}, { response: {} }, { response: 7 }, []])
    t.equal(await prove(junk), 'passkey-invalid', JSON.stringify(junk))
  t.equal(await show(device), 'passkey')
})

t.test('a challenge counts once, for one session, one purpose and five minutes', async (t) => {
  const { enrol, challenge, prove, clock, factors } = startPasskeys(t)
  const device = new Authenticator()
  await enrol(device)
  await enrol(new Authenticator(), {}, { subject: 'bob' })
  const answer = async (purpose = 'step-up') =>
    device.get(await challenge('alice', purpose), SITE.origin)
  const used = await answer()
  t.equal(await prove(used), 'passkey')
  t.equal(await prove(used), 'challenge-gone', 'replayed')
  t.equal(await prove(await answer(), { sessionId: 'session-b' }), 'challenge-gone')
  t.equal(await prove(await answer(), { subject: 'bob' }), 'challenge-gone')
  t.equal(await prove(await answer('create-api-token')), 'challenge-gone', 'for something else')
  t.equal(await prove(await answer('other'), { purpose: 'other' }), 'passkey')
  const late = await answer()
  clock.monotonic += 300_000
  t.equal(await prove(late), 'challenge-gone')
  const parallel = await answer()
  const verdicts = await Promise.all(Array.from({ length: 50 }, () => prove(parallel)))
  t.equal(verdicts.filter((one) => one === 'passkey').length, 1, 'of 50 at once one counts')
  const first = await answer()
  for (let i = 0; i < 8; i++) await answer()
  t.equal(await prove(first), 'challenge-gone', 'a session has a few at a time')
  const localhost = { host: 'localhost', origin: 'http://localhost:3000' }
  t.same(await challenge('alice', 'step-up', localhost), {}, 'a passkey is of one host')
  t.ok(factors.isEnrolled('alice'))
})

t.test('a passkey of somebody else is none', async (t) => {
  const { enrol, challenge, prove } = startPasskeys(t)
  const [hers, his] = [new Authenticator(), new Authenticator()]
  await enrol(hers)
  await enrol(his, {}, { subject: 'bob' })
  const options = await challenge()
  t.equal(await prove(his.get(options, SITE.origin)), 'passkey-unknown')
})

t.test('a counter that falls: refused for a device, noted for a synced passkey', async (t) => {
  const { enrol, show, factors } = startPasskeys(t)
  const device = new Authenticator({ counter: 5 })
  await enrol(device)
  t.equal(await show(device, { counter: 5 }), 'counter-fell', 'the same again')
  t.equal(await show(device, { counter: 6 }), 'passkey')
  t.equal(await show(device, { counter: 3 }), 'counter-fell')
  t.equal(await show(device, { counter: 0 }), 'counter-fell')
  t.equal(factors.enrolmentOf('alice').passkeys[0]?.counterFellAt, START)
  t.equal(await show(device, { counter: 7 }), 'passkey')
  const synced = new Authenticator({ isSynced: true, counter: 5 })
  t.equal(await enrol(synced, {}, { hasProof: true }), 'done')
  t.equal(
    factors.enrolmentOf('alice').passkeys.find((one) => one.isSynced)?.counterFellAt,
    undefined,
  )
  t.equal(await show(synced, { counter: 9 }), 'passkey')
  t.equal(await show(synced, { counter: 2 }), 'passkey')
  t.equal(factors.enrolmentOf('alice').passkeys.find((one) => one.isSynced)?.counterFellAt, START)
})

t.test('a passkey works while codes are locked, and sets a wrong clock right', async (t) => {
  const { enrol, show, clock, addApp, showCode } = startPasskeys(t)
  clock.now += 86_400_000
  const { secret } = addApp()
  const device = new Authenticator()
  await enrol(device, {}, { hasProof: true })
  clock.now = START
  t.equal(await showCode(codeAt(secret, START)), 'clock-behind')
  t.equal(await show(device), 'passkey')
  clock.now += 2 * STEP
  const code = codeAt(secret, clock.now)
  const wrong = code === '000000' ? '111111' : '000000'
  for (let i = 0; i < 5; i++) await showCode(wrong)
  t.equal(await showCode(code), 'locked')
  t.equal(await show(device), 'passkey')
  t.equal(await showCode(code), 'locked', 'which forgives no wrong code')
})
