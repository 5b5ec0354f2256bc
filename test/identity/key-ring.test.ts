/** Which keys are in the ring, and is it known how much each is used? */
import * as fc from 'fast-check'
import { compactVerify } from 'jose/jws/compact/verify'
import t from 'tap'
import { keysReport } from '../../src/identity/key-report.ts'
import { Key, KeyRing } from '../../src/identity/key-ring.ts'
import {
  CLAIMS,
  forge,
  HEADER,
  identity,
  NOW,
  OTHER_SECRET,
  SECRET,
  setKeys,
  signIn,
  withClaims,
} from '../helpers/forged-tokens.ts'

const MINUTE = 60_000
const NOON = NOW * 1000

t.test('the name of a key is eight characters of its digest, and tells nothing', async (t) => {
  const { kid } = new Key(SECRET)
  t.match(kid, /^[A-Za-z0-9_-]{8}$/)
  t.equal(new Key(SECRET).kid, kid)
  t.not(new Key(OTHER_SECRET).kid, kid)
  t.notOk(SECRET.includes(kid))
  t.notMatch(JSON.stringify(new KeyRing([SECRET])), SECRET)
})

t.test('the first key signs, and a secret that is configured twice is one key', async (t) => {
  const ring = new KeyRing([OTHER_SECRET, SECRET, OTHER_SECRET])
  t.same(
    ring.keys.map(({ kid }) => kid),
    [new Key(OTHER_SECRET).kid, new Key(SECRET).kid],
  )
  t.equal(ring.signing, ring.keys[0])
  t.equal(ring.find(ring.signing.kid), ring.signing)
  t.equal(ring.find(''), undefined)
  t.equal(ring.has('AAAAAAAA'), false)
})

t.test('a key that stays keeps its counts, one that comes back begins again', async (t) => {
  const ring = new KeyRing([SECRET, OTHER_SECRET])
  const [first, second] = ring.keys as [Key, Key]
  first.noteUse(NOON)
  second.noteUse(NOON)
  ring.replace([OTHER_SECRET])
  t.equal(ring.signing, second, 'it signs now')
  t.equal(ring.has(first.kid), false)
  ring.replace([SECRET, OTHER_SECRET])
  t.equal(ring.signing.uses, 0)
  t.equal(ring.find(second.kid)?.uses, 1)
})

t.test('uses are counted for the last hour and the last day', async (t) => {
  const key = new Key(SECRET, NOON)
  t.same([key.uses, key.lastUsedAt, key.countedSince], [0, 0, NOON])
  t.same([key.usesInLastHour(NOON), key.usesInLastDay(NOON)], [0, 0])
  key.noteUse(NOON)
  key.noteUse(NOON + 1)
  key.noteUse(NOON + 59 * MINUTE)
  const at = (minutes: number) => [
    key.usesInLastHour(NOON + minutes * MINUTE),
    key.usesInLastDay(NOON + minutes * MINUTE),
  ]
  t.same(at(59), [3, 3])
  t.same(at(60), [1, 3])
  t.same(at(119), [0, 3])
  t.same(at(1439), [0, 3])
  t.same(at(1440), [0, 1])
  t.same(at(1500), [0, 0])
  t.same(at(100_000), [0, 0])
  t.equal(key.uses, 3)
  t.equal(key.lastUsedAt, NOON + 59 * MINUTE)
})

t.test('a clock that is set forward and back again keeps the counts', async (t) => {
  const key = new Key(SECRET, NOON)
  key.noteUse(NOON)
  key.noteUse(NOON + 400 * 86_400_000 + 5 * MINUTE)
  key.noteUse(NOON + MINUTE)
  t.equal(key.usesInLastHour(NOON + MINUTE), 2)
  t.equal(key.lastUsedAt, NOON + MINUTE)
  key.noteUse(NOON - 3 * MINUTE)
  t.equal(
    key.usesInLastHour(NOON - 3 * MINUTE),
    1,
    'and what is in the future is not in the last hour',
  )
  t.equal(key.usesInLastHour(NOON + MINUTE), 3)
})

t.test('counts are those of a list of all uses, whatever the times', async () => {
  const minutes = fc.array(fc.integer({ min: 0, max: 1400 }), { maxLength: 50 })
  fc.assert(
    fc.property(minutes, fc.integer({ min: 0, max: 1400 }), (uses, at) => {
      const key = new Key(SECRET, NOON)
      for (const minute of uses) key.noteUse(NOON + minute * MINUTE)
      const within = (length: number) =>
        uses.filter((minute) => minute <= at && minute > at - length).length
      const now = NOON + at * MINUTE
      return key.usesInLastHour(now) === within(60) && key.usesInLastDay(now) === within(1440)
    }),
  )
})

t.test('the report says for each key who still uses it', async (t) => {
  let now = NOON
  const subject = identity({ secrets: [SECRET], now: () => now })
  const old = await signIn(subject)
  const program = withClaims({ jti: 'ci' })
  await subject.verifier.verify(program)
  setKeys(subject, [OTHER_SECRET, SECRET])
  const current = await signIn(subject)
  now += 3_600_000
  await subject.verifier.verify(old.token).catch(() => undefined) // it has expired
  const fresh = forge(HEADER, { ...CLAIMS, exp: NOW + 9000, jti: 'new' }, OTHER_SECRET)
  await subject.verifier.verify(fresh)
  await subject.verifier.verify(fresh)
  subject.sessions.check(0, now)
  const [signing, verifying, ...more] = keysReport(subject.keys, subject.sessions, now)
  t.same(more, [])
  t.match(signing, {
    kid: new Key(OTHER_SECRET).kid,
    role: 'signs',
    ...{ lastHour: 2, lastDay: 2, openSessions: 1 },
    lastUsedAt: new Date(now).toISOString(),
  })
  t.match(verifying, {
    kid: new Key(SECRET).kid,
    role: 'verifies',
    ...{ lastHour: 0, lastDay: 3, openSessions: 1 },
    lastUsedAt: new Date(NOON).toISOString(),
  })
  t.equal(current.session.endedBy, 'expired')
  t.match(verifying?.countedSince, /^\d{4}-\d\d-\d\dT/)
  t.notMatch(JSON.stringify([signing, verifying]), SECRET)
  const unused = identity({ secrets: [OTHER_SECRET], now: () => now })
  t.match(keysReport(unused.keys, unused.sessions), [{ lastUsedAt: null, openSessions: 0 }])
})

t.test('a key knows its own signature, and says what jose says of every other one', async (t) => {
  const key = new Key(SECRET)
  const imported = await key.imported
  const tokens = [SECRET, OTHER_SECRET].flatMap((secret) =>
    [CLAIMS, { ...CLAIMS, sub: 'é😀' }, {}].map((claims) => forge(HEADER, claims, secret)),
  )
  for (const token of tokens.slice(0, 3)) t.ok(key.mayHaveSigned(token))
  const anyChange = fc.record({
    token: fc.constantFrom(...tokens),
    place: fc.nat(400),
    letter: fc.constantFrom('', 'A', 'B', '_', '-', 'AA', '.', '9'),
  })
  await fc.assert(
    fc.asyncProperty(anyChange, async ({ token, place, letter }) => {
      const at = place % token.length
      const changed = token.slice(0, at) + letter + token.slice(at + 1)
      const isGood = await compactVerify(changed, imported, { algorithms: ['HS256'] }).then(
        () => true,
        () => false,
      )
      // A last letter may have bits that mean nothing: what is spelled so never gets here, and jose takes it too.
      if (changed.split('.').length === 3) t.equal(key.mayHaveSigned(changed), isGood, changed)
    }),
    { numRuns: 300 },
  )
})
