/** For how long is a verified token cached, and what happens to it when the keys change? */
import t from 'tap'
import { isTokenShaped } from '../../src/identity/token.ts'
import {
  CLAIMS,
  forge,
  GOOD,
  HEADER,
  LEEWAY,
  NOW,
  OTHER_SECRET,
  SECRET,
  verdict,
  verifier,
  withClaims,
} from '../helpers/forged-tokens.ts'

t.test('tokens of the previous secrets are valid during a rotation', async (t) => {
  const old = forge(HEADER, CLAIMS, OTHER_SECRET)
  const both = verifier({ keys: [SECRET, OTHER_SECRET] })
  t.equal(await verdict(GOOD, both), 'alice')
  t.equal(await verdict(old, both), 'alice')
  const [mine, theirs] = [await both.verify(GOOD), await both.verify(old)]
  t.not(mine.keyId, theirs.keyId)
  t.ok(both.hasKey(mine.keyId) && both.hasKey(theirs.keyId))
  t.notOk(`${mine.keyId}${theirs.keyId}`.includes(SECRET))
  t.not(mine.sessionId, theirs.sessionId)

  both.setKeys([SECRET])
  t.notOk(both.hasKey(theirs.keyId))
  t.equal(both.recall(old), undefined, 'verdicts of the old ring are forgotten at once')
  t.equal(both.recall(GOOD), undefined)
  t.equal(await verdict(old, both), 'token-invalid')
  t.equal(await verdict(GOOD, both), 'alice')
})

t.test('a verification in progress fails when its key is removed', async (t) => {
  const subject = verifier()
  const underWay = verdict(GOOD, subject)
  subject.setKeys([OTHER_SECRET])
  t.equal(await underWay, 'token-invalid')
  t.equal(subject.recall(GOOD), undefined, 'nor is it remembered')

  const second = verifier({ keys: [SECRET, OTHER_SECRET] })
  const kept = verdict(GOOD, second)
  second.setKeys([OTHER_SECRET, SECRET])
  t.equal(await kept, 'alice', 'a key that stays goes on working')
})

t.test('a valid token is cached until it expires, and not a moment longer', async (t) => {
  let now = NOW * 1000
  const subject = verifier({ now: () => now })
  t.equal(subject.recall(GOOD), undefined, 'nothing is known before it was verified')
  const principal = await subject.verify(GOOD)
  t.equal(subject.recall(GOOD), principal)
  t.equal(subject.recall(`${GOOD} `), undefined)
  now = (NOW + 3600 + LEEWAY) * 1000 - 1
  t.equal(subject.recall(GOOD), principal, 'within the leeway')
  t.equal(await subject.verify(GOOD), principal)
  now += 1
  t.equal(subject.recall(GOOD), undefined)
  t.equal(await verdict(GOOD, subject), 'token-expired')
  now = NOW * 1000
  t.equal(subject.recall(GOOD), undefined, 'what was forgotten is not known again')
})

t.test('a refused token is not cached', async (t) => {
  const subject = verifier()
  const foreign = forge(HEADER, CLAIMS, OTHER_SECRET)
  t.equal(await verdict(foreign, subject), 'token-invalid')
  t.equal(subject.recall(foreign), undefined)
})

t.test('the cache is bounded, and the newest tokens stay', async (t) => {
  const subject = verifier()
  const first = withClaims({ jti: 'first' })
  await subject.verify(first)
  const tokens = Array.from({ length: 10_000 }, (_, i) => withClaims({ jti: String(i) }))
  await Promise.all(tokens.map((token) => subject.verify(token)))
  t.equal(subject.recall(first), undefined, 'the oldest made room')
  t.ok(subject.recall(tokens.at(-1) ?? ''))
  t.equal(await verdict(first, subject), 'alice', 'and is verified again when it comes back')
})

t.test('two tokens are two sessions, and the name of a session is no credential', async (t) => {
  const subject = verifier()
  const one = await subject.verify(withClaims({ jti: '1' }))
  const two = await subject.verify(withClaims({ jti: '2' }))
  t.not(one.sessionId, two.sessionId)
  t.notOk(isTokenShaped(one.sessionId))
  t.same(one, { ...two, sessionId: one.sessionId })
  t.equal(one.expiresAt, CLAIMS.exp)
})
