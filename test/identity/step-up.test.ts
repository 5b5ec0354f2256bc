/** Does a factor that was shown count for the newest token of its session, and for nothing else? */
import t from 'tap'
import { SessionIssuer } from '../../src/identity/issuer.ts'
import { newName, SUPERSEDED_MS } from '../../src/identity/sessions.ts'
import {
  forge,
  FullDisk,
  HEADER,
  identity,
  NOW,
  OTHER_SECRET,
  outcome,
  renew,
  SECRET,
  setKeys,
  signIn,
  verdict,
  withClaims,
  type Identity,
} from '../helpers/forged-tokens.ts'

const START = NOW * 1000
const SHOWN_AT = START + 1500

const issuerOf = ({ keys, sessions }: Identity) =>
  new SessionIssuer({ keys, sessions, workspace: 'houston' })

/** When a token says that a factor was shown; undefined when it does not. */
const factorOf = async (subject: Identity, token: string) =>
  (await subject.verifier.verify(token)).factorAt

t.test(
  'the newest token has the factor, the one before does not, and both are the session',
  async (t) => {
    const subject = identity()
    const { browser, session, token: before } = await signIn(subject)
    t.equal(await factorOf(subject, before), undefined)
    const { token, endsAt, principal } = await issuerOf(subject).stepUp(browser, SHOWN_AT)
    t.equal(endsAt, session.endsAt, 'the same end')
    t.equal(principal.session, session, 'the same session')
    t.equal(await factorOf(subject, token), START + 1000, 'in whole seconds')
    t.equal(await factorOf(subject, before), undefined)
    t.equal((await subject.verifier.verify(before)).session, session)
  },
)

t.test('an answer that is lost does not take the session with it', async (t) => {
  let now = START
  const subject = identity({ now: () => now })
  const { browser, token: before } = await signIn(subject)
  const lost = await issuerOf(subject).stepUp(browser, SHOWN_AT)
  now += 10 * SUPERSEDED_MS
  t.equal(await verdict(before, subject.verifier), 'alice', 'the cookie that the browser still has')
  t.equal(await factorOf(subject, before), undefined)
  const known = subject.sessions.browser(browser.session.id)
  if (known === undefined) throw new Error('no session')
  const { token } = await issuerOf(subject).stepUp(known, now)
  t.equal(await factorOf(subject, token), now, 'the browser has this one')
  t.equal(await verdict(before, subject.verifier), 'alice', 'other tabs are on their way')
  now += SUPERSEDED_MS
  for (const old of [before, lost.token])
    t.equal(await verdict(old, subject.verifier), 'token-invalid', 'and then it is over')
  t.equal(await verdict(token, subject.verifier), 'alice')
})

t.test(
  'a verdict that is cached goes with the factor, and a token under a removed key is no token',
  async (t) => {
    const subject = identity()
    const { browser } = await signIn(subject)
    const { token: first } = await issuerOf(subject).stepUp(browser, SHOWN_AT)
    t.equal(await factorOf(subject, first), START + 1000)
    const { token: second } = await issuerOf(subject).stepUp(browser, SHOWN_AT)
    t.equal(await factorOf(subject, first), undefined, 'an older token has no factor')
    const removed = { tokenId: newName(), kid: 'removed' }
    const late = async () => subject.sessions.stepUp(browser, removed, SHOWN_AT)
    t.equal(await outcome(late), 'state-unavailable')
    t.equal(await factorOf(subject, second), START + 1000, 'nothing has changed')
  },
)

t.test('it survives a restart and a renewal, and ends with the session', async (t) => {
  const subject = identity()
  const { browser } = await signIn(subject)
  const { token } = await issuerOf(subject).stepUp(browser, SHOWN_AT)
  const later = identity({ state: subject.state })
  t.equal(await factorOf(later, token), START + 1000)
  const known = later.sessions.browser(browser.session.id)
  if (known === undefined) throw new Error('no session')
  const ticket = await later.verifier.verifyTicket(withClaims({ iat: NOW, jti: newName() }), false)
  const shown = await later.verifier.verify(token)
  const draft = await issuerOf(later).draft(ticket, known, shown)
  issuerOf(later).renew(draft, known)
  t.equal(await factorOf(later, draft.token), START + 1000, 'a renewal has it too')
  t.equal(await factorOf(later, token), undefined, 'and the token before does not any more')
  later.sessions.end([known.session], 'signed-out')
  t.equal(await verdict(draft.token, later.verifier), 'token-invalid')
  t.equal(await outcome(() => issuerOf(later).stepUp(known, SHOWN_AT)), 'token-invalid')
})

t.test('another sign-in of the same person does not have it', async (t) => {
  const subject = identity()
  const first = await signIn(subject)
  const second = await signIn(subject)
  await issuerOf(subject).stepUp(first.browser, SHOWN_AT)
  t.equal(await factorOf(subject, second.token), undefined)
  t.equal(await factorOf(subject, (await renew(subject, second)).token), undefined)
})

t.test('nobody else can say so in a token', async (t) => {
  const subject = identity()
  const ticket = withClaims({ iat: NOW, jti: newName(), factor_time: NOW })
  t.equal(await factorOf(subject, ticket), undefined, 'not the login service')
  const { token } = await signIn(subject, ticket)
  t.equal(await factorOf(subject, token), undefined)
  const claims = JSON.parse(
    Buffer.from(token.split('.')[1] ?? '', 'base64url').toString(),
  ) as object
  const header = { ...HEADER, kid: subject.keys.signing.kid }
  for (const wrong of ['yes', null, -1, 1e20, [NOW]])
    t.equal(
      await verdict(forge(header, { ...claims, factor_time: wrong }, SECRET), subject.verifier),
      'token-invalid',
    )
})

t.test('a full disk changes nothing, and a key that is removed ends it', async (t) => {
  const disk = new FullDisk()
  const subject = identity({ state: disk.state })
  const { browser, token: before } = await signIn(subject)
  disk.isFull = true
  t.equal(await outcome(() => issuerOf(subject).stepUp(browser, SHOWN_AT)), 'state-unavailable')
  t.equal(subject.sessions.browser(browser.session.id), browser)
  t.equal(await factorOf(subject, before), undefined)
  disk.isFull = false
  const { token } = await issuerOf(subject).stepUp(browser, SHOWN_AT)
  setKeys(subject, [OTHER_SECRET])
  t.equal(await verdict(token, subject.verifier), 'token-invalid')
})
