/** Does a session last as long as it should, end once and for good, and survive a restart? */
import * as fc from 'fast-check'
import t from 'tap'
import { GatewayError } from '../../src/answers/errors.ts'
import { Session, type EndCause } from '../../src/identity/session.ts'
import {
  MAX_SESSIONS,
  MAX_SUPERSEDED,
  newName,
  SUPERSEDED_MS,
} from '../../src/identity/sessions.ts'
import {
  allEndings,
  allSessions,
  allWatermarks,
  putWatermark,
} from '../../src/store/session-rows.ts'
import type { State } from '../../src/store/state.ts'
import {
  CLAIMS,
  DEVICE,
  forge,
  FullDisk,
  HEADER,
  identity,
  LEEWAY,
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
  type SignedIn,
} from '../helpers/forged-tokens.ts'

const START = NOW * 1000
const DAY = 86_400_000

/** A hand-off that was just issued. */
const ticket = (fields: object = {}) => withClaims({ iat: NOW, jti: newName(), ...fields })

/** What a token is worth when no verdict on it is cached. */
function fresh(subject: Identity, token: string): Promise<string> {
  subject.verifier.forget(() => true)
  return verdict(token, subject.verifier)
}

/** What `explain` says of a token that is refused. */
async function reasonOf(subject: Identity, token: string): Promise<string> {
  subject.verifier.forget(() => true)
  const error: unknown = await subject.verifier.verify(token).catch((thrown: unknown) => thrown)
  return error instanceof GatewayError ? (error.reason ?? '') : ''
}

/** The same state after a restart. */
const restarted = (state: State, now = () => START, secrets: [string, ...string[]] = [SECRET]) =>
  identity({ state, now, secrets })

const rowsOf = (state: State) => state.read(allSessions) ?? []
const endingsOf = (state: State) =>
  state.read((database) => [...allEndings(database)].map(([id, cause]) => [id, cause])) ?? []

t.test('a sign-in starts a session with an end, a device and a time', async (t) => {
  const subject = identity()
  const started = await signIn(subject, ticket({ auth_time: NOW - 50, amr: ['pwd', 'otp'] }))
  const { browser, session } = started
  t.match(browser, {
    ...{ createdAt: START, authenticatedAt: START - 50_000, methods: ['pwd', 'otp'] },
    device: DEVICE,
  })
  t.match(session, {
    ...{ kind: 'browser', subject: 'alice', endsAt: CLAIMS.exp * 1000 },
    ...{ kid: subject.keys.signing.kid, lastSeenAt: START, lastSeenFrom: DEVICE.address },
  })
  t.equal(subject.sessions.find(session.id), session)
  t.equal(subject.sessions.browser(session.id), browser)
  t.same([...subject.sessions.browsers()], [browser])
  t.same(subject.sessions.counts(), { browser: 1, program: 0 }, 'a ticket is no program')
  t.equal(subject.sessions.started, 1)
  const again = await signIn(subject)
  t.not(again.session.id, session.id, 'each sign-in is a session of its own')
})

t.test(
  'a session ends with session_exp, else with exp, and never later than its sign-in allows',
  async (t) => {
    const maxSeconds = 5000
    const rows: Array<[why: string, fields: object, seconds: number | 'token-expired']> = [
      ['exp', {}, 3600],
      ['session_exp, later than exp', { session_exp: NOW + 4000 }, 4000],
      ['session_exp, earlier than exp', { session_exp: NOW + 60 }, 60],
      ['the cap, from iat', { session_exp: NOW + 99_999 }, 5000],
      ['the cap, from auth_time', { session_exp: NOW + 99_999, auth_time: NOW - 1000 }, 4000],
      [
        'an auth_time in the future moves no cap',
        { session_exp: NOW + 99_999, auth_time: NOW + 9999 },
        5000,
      ],
      ['an iat in the future neither', { session_exp: NOW + 99_999, iat: NOW + 300 }, 5000],
      ['without iat, from now', { session_exp: NOW + 99_999, iat: undefined }, 5000],
      ['fractions', { session_exp: NOW + 60.9 }, 60],
      ['over already: session_exp', { session_exp: NOW }, 'token-expired'],
      ['over already: the cap', { auth_time: NOW - 5000 }, 'token-expired'],
      ['within the leeway of exp', { exp: NOW - 5 }, 'token-expired'],
      ['within the leeway, with session_exp', { exp: NOW - 5, session_exp: NOW + 60 }, 60],
    ]
    for (const [why, fields, expected] of rows) {
      const subject = identity({ maxSeconds })
      const result = await outcome(
        async () => (await signIn(subject, ticket(fields))).session.endsAt,
      )
      t.equal(result, typeof expected === 'number' ? START + expected * 1000 : expected, why)
    }
  },
)

t.test('one ticket in 50 parallel sign-ins has one winner', async (t) => {
  const subject = identity()
  const one = ticket()
  const results = await Promise.all(
    Array.from({ length: 50 }, () => outcome(async () => (await signIn(subject, one)).session)),
  )
  t.equal(results.filter((result) => result instanceof Session).length, 1)
  t.equal(results.filter((result) => result === 'ticket-used').length, 49)
  t.equal(rowsOf(subject.state).length, 1)
  t.equal(
    await outcome(() => signIn(restarted(subject.state), one)),
    'ticket-used',
    'and after a restart',
  )
})

t.test('sessions, endings and tickets survive a restart', async (t) => {
  const subject = identity()
  const used = ticket()
  const kept = await signIn(subject, used)
  const ended = await signIn(subject)
  const program = withClaims({ iat: NOW, jti: 'ci' })
  const { session } = await subject.verifier.verify(program)
  t.ok(subject.sessions.end([ended.session, session], 'signed-out').isSaved)
  const later = restarted(subject.state)
  t.equal(await verdict(kept.token, later.verifier), 'alice')
  for (const token of [ended.token, program])
    t.equal(await verdict(token, later.verifier), 'token-invalid')
  for (const inUrl of [true, false])
    t.equal(await outcome(() => signIn(later, used, { inUrl })), 'ticket-used')
  const browser = later.sessions.browser(kept.session.id)
  t.same({ ...browser, session: undefined }, { ...kept.browser, session: undefined })
  t.equal(browser?.session.endsAt, kept.session.endsAt)
  t.equal(browser?.session.kid, kept.session.kid)
  t.equal(browser?.session.lastSeenFrom, kept.session.lastSeenFrom)
  const lost = identity()
  t.equal(
    await verdict(kept.token, lost.verifier),
    'token-invalid',
    'a lost store ends every session',
  )
})

t.test('an ended session stays ended, and its listeners hear of it once', async (t) => {
  const subject = identity()
  const heard: Session[][] = []
  subject.sessions.onEnded((ended) => heard.push([...ended]))
  const [one, two] = [await signIn(subject), await signIn(subject)]
  const first = subject.sessions.end([one.session, one.session], 'signed-out')
  t.same(first, { ended: [one.session], isSaved: true })
  t.same(subject.sessions.end([one.session], 'revoked'), { ended: [], isSaved: true })
  t.same(heard, [[one.session]])
  t.equal(one.session.endedBy, 'signed-out')
  t.equal(subject.sessions.find(one.session.id), undefined)
  t.equal(await fresh(subject, one.token), 'token-invalid')
  t.equal(await fresh(subject, two.token), 'alice')
  t.equal(await outcome(() => renew(subject, one)), 'token-invalid', 'and is not renewed')
  t.match(subject.sessions.endings, { 'signed-out': 1, revoked: 0 })
})

t.test('an API token is not ended here', async (t) => {
  const subject = identity()
  const session = new Session('tok_1', 'api-token', { subject: 'alice', endsAt: Infinity })
  t.same(subject.sessions.end([session], 'signed-out').ended, [])
  t.equal(session.endedBy, undefined)
  t.same(endingsOf(subject.state), [])
})

t.test('a browser that signs in again loses its former session in the same write', async (t) => {
  const disk = new FullDisk()
  const subject = identity({ state: disk.state })
  const former = await signIn(subject, ticket({ sub: 'bob' }))
  disk.isFull = true
  t.equal(
    await outcome(() => signIn(subject, ticket(), { replaces: former.session })),
    'state-unavailable',
  )
  t.equal(former.session.endedBy, undefined, 'a sign-in that fails ends nothing')
  disk.isFull = false
  let writes = 0
  const write = disk.state.write.bind(disk.state)
  disk.state.write = (change) => {
    writes++
    write(change)
  }
  const next = await signIn(subject, ticket(), { replaces: former.session })
  t.equal(writes, 1)
  t.equal(former.session.endedBy, 'signed-out')
  t.same(
    rowsOf(disk.state).map(({ id }) => id),
    [next.session.id],
  )
  t.equal(await fresh(restarted(disk.state), former.token), 'token-invalid')
})

t.test('a renewal moves the end, makes a new token, and ends nothing', async (t) => {
  const subject = identity()
  const heard: unknown[] = []
  subject.sessions.onEnded((ended) => heard.push(ended))
  const before = await signIn(subject)
  const after = await renew(subject, before, ticket({ exp: NOW + 7200, amr: ['otp'] }))
  t.equal(after.session, before.session)
  t.equal(after.session.endsAt, (NOW + 7200) * 1000)
  t.not(after.token, before.token)
  t.same(after.browser.methods, ['otp'])
  t.equal(after.browser.createdAt, before.browser.createdAt)
  const shorter = await renew(subject, before, ticket({ exp: NOW + 60 }))
  t.equal(shorter.session.endsAt, (NOW + 7200) * 1000, 'it never shortens')
  t.same(heard, [])
  const later = restarted(subject.state, () => START + 7_199_000)
  t.equal(await verdict(shorter.token, later.verifier), 'alice')
  t.equal(await verdict(after.token, later.verifier), 'token-invalid', 'superseded long ago')
})

t.test('a refused renewal uses nothing up and changes nothing', async (t) => {
  const disk = new FullDisk()
  const subject = identity({ state: disk.state })
  const known = await signIn(subject)
  const others = ticket({ sub: 'bob' })
  t.equal(await outcome(() => renew(subject, known, others)), 'other-subject')
  t.equal((await signIn(subject, others)).session.subject, 'bob', 'the ticket of the other is good')
  const good = ticket({ exp: NOW + 7200 })
  disk.isFull = true
  t.equal(await outcome(() => renew(subject, known, good)), 'state-unavailable')
  t.equal(subject.sessions.browser(known.session.id), known.browser)
  t.equal(known.session.endsAt, CLAIMS.exp * 1000)
  disk.isFull = false
  t.equal((await renew(subject, known, good)).session.endsAt, (NOW + 7200) * 1000)
  t.equal(await outcome(() => renew(subject, known, good)), 'ticket-used')
  t.equal(await outcome(() => renew(subject, known, ticket({ session_exp: NOW }))), 'token-expired')
})

t.test('the time of one proof never stands beside the methods of another', async (t) => {
  const subject = identity()
  const known = await signIn(subject, ticket({ auth_time: NOW - 10, amr: ['pwd', 'otp'] }))
  const older = await renew(subject, known, ticket({ auth_time: NOW - 1000, amr: ['hwk'] }))
  t.match(older.browser, { authenticatedAt: START - 10_000, methods: ['pwd', 'otp'] })
  const newer = await renew(subject, known, ticket({ auth_time: NOW - 5, amr: ['pwd'] }))
  t.same(newer.browser.methods, ['pwd'])
  t.equal(newer.browser.authenticatedAt, START - 5000)
})

t.test('30 days of renewals cannot pass the cap from auth_time', async (t) => {
  let now = START
  const subject = identity({ now: () => now, maxSeconds: 30 * 86_400 })
  const issued = () => now / 1000
  const handOff = () =>
    ticket({
      iat: issued(),
      auth_time: NOW,
      exp: issued() + 60,
      session_exp: issued() + 2 * 86_400,
    })
  let known = await signIn(subject, handOff())
  for (let day = 1; day < 30; day++) {
    now += DAY
    known = await renew(subject, known, handOff())
  }
  t.equal(known.session.endsAt, START + 30 * DAY)
  now = START + 30 * DAY
  t.equal(await outcome(() => renew(subject, known, handOff())), 'token-expired')
})

t.test('of renewals in a row, each former token is good for a minute', async (t) => {
  let now = START
  const subject = identity({ now: () => now })
  const first = await signIn(subject)
  now += 40_000
  const second = await renew(subject, first)
  now += 40_000
  const third = await renew(subject, first)
  for (const { token } of [first, second, third]) t.equal(await fresh(subject, token), 'alice')
  t.equal(third.browser.superseded.size, 2)
  now += 20_000
  t.equal(await fresh(subject, first.token), 'token-invalid')
  t.equal(await fresh(subject, second.token), 'alice')
  const fourth = await renew(subject, first)
  t.equal(fourth.browser.superseded.size, 2, 'those that are over are forgotten')
  const later = restarted(subject.state, () => now)
  t.equal(await verdict(second.token, later.verifier), 'alice', 'also across a restart')
  now += SUPERSEDED_MS
  t.equal(await fresh(later, second.token), 'token-invalid')
})

t.test(
  'of many renewals in a minute, the latest tokens are good, and the row does not grow',
  async (t) => {
    const subject = identity({ now: () => START })
    let known = await signIn(subject)
    const tokens = [known.token]
    for (let i = 0; i <= MAX_SUPERSEDED; i++) {
      known = await renew(subject, known)
      tokens.push(known.token)
    }
    t.equal(known.browser.superseded.size, MAX_SUPERSEDED)
    t.equal(await fresh(subject, tokens[0] ?? ''), 'token-invalid')
    for (const token of tokens.slice(1)) t.equal(await fresh(subject, token), 'alice')
  },
)

t.test('a session that is over is not renewed, though nobody has noticed its end', async (t) => {
  let now = START
  const subject = identity({ now: () => now })
  const first = await signIn(subject)
  now = first.session.endsAt - 1
  t.equal(subject.sessions.browser(first.session.id)?.session, first.session)
  now++
  t.equal(subject.sessions.browser(first.session.id), undefined)
  const late = withClaims({ iat: now / 1000, exp: now / 1000 + 3600, jti: newName() })
  t.equal(await outcome(() => renew(subject, first, late)), 'token-invalid')
  t.type(await subject.verifier.verifyTicket(late, false), 'object', 'nothing is used up')
})

t.test('who was signed out everywhere is so until now, and not after', async (t) => {
  let now = START + 500
  const subject = identity({ now: () => now })
  const program = (fields: object) => withClaims({ jti: newName(), ...fields })
  const browsers = [await signIn(subject), await signIn(subject, ticket({ sub: 'bob' }))]
  const known = program({ iat: NOW - 5 })
  await subject.verifier.verify(known)
  const { ended, isSaved } = subject.sessions.endAll('all-ended')
  t.ok(isSaved)
  t.equal(ended.length, 3)
  for (const { token } of browsers) t.equal(await verdict(token, subject.verifier), 'token-invalid')
  const rows: Array<[why: string, fields: object, result: string]> = [
    ['before', { iat: NOW - 1 }, 'token-invalid'],
    ['in the same second', { iat: NOW }, 'token-invalid'],
    ['in the same second, with a fraction', { iat: NOW + 0.9 }, 'token-invalid'],
    ['without iat', { iat: undefined }, 'token-invalid'],
    ['in the next second', { iat: NOW + 1 }, 'alice'],
  ]
  for (const later of [subject, restarted(subject.state, () => now)]) {
    t.equal(await verdict(known, later.verifier), 'token-invalid')
    for (const [why, fields, result] of rows) {
      t.equal(await verdict(program(fields), later.verifier), result, `a program, ${why}`)
      const signedIn = await outcome(
        async () => (await signIn(later, ticket(fields))).session.subject,
      )
      t.equal(signedIn, result, `a ticket, ${why}`)
    }
  }
  now += 1
  const next = await signIn(subject, ticket({ iat: NOW + 1 }))
  t.equal(
    await fresh(subject, next.token),
    'alice',
    'a session of the same second is compared by its own time',
  )
  t.equal(
    await fresh(
      restarted(subject.state, () => now),
      next.token,
    ),
    'alice',
  )
})

t.test('everything of one person ends, and nothing of another', async (t) => {
  const subject = identity()
  const [alice, bob] = [await signIn(subject), await signIn(subject, ticket({ sub: 'bob' }))]
  const programs = ['alice', 'bob'].map((sub) => withClaims({ sub, iat: NOW, jti: sub }))
  for (const token of programs) await subject.verifier.verify(token)
  t.equal(subject.sessions.endAll('signed-out', 'alice').ended.length, 2)
  t.same(subject.sessions.endAll('signed-out', ''), { ended: [], isSaved: true })
  for (const later of [subject, restarted(subject.state)]) {
    t.equal(await fresh(later, alice.token), 'token-invalid')
    t.equal(await fresh(later, bob.token), 'bob')
    t.equal(await fresh(later, programs[0] ?? ''), 'token-invalid')
    t.equal(await fresh(later, programs[1] ?? ''), 'bob')
  }
})

t.test('a program within its leeway ends too when everybody is signed out', async (t) => {
  let now = START
  const subject = identity({ now: () => now })
  const token = ticket()
  const { session } = await subject.verifier.verify(token)
  now = session.endsAt + (LEEWAY - 1) * 1000
  t.ok(subject.verifier.recall(token))
  t.same([...subject.sessions.programs()], [session])
  subject.sessions.endAll('all-ended')
  t.equal(session.endedBy, 'all-ended')
  t.equal(subject.verifier.recall(token), undefined)
})

t.test(
  'a program’s session has the name of its sid, else of its jti, else of its token',
  async (t) => {
    const subject = identity()
    const sessionOf = async (fields: object) =>
      (await subject.verifier.verify(withClaims(fields))).session
    const shared = await sessionOf({ sid: 's', jti: '1' })
    t.equal(await sessionOf({ sid: 's', jti: '2', exp: NOW + 7200 }), shared)
    t.equal(shared.endsAt, (NOW + 7200) * 1000, 'it lasts as long as the longest of its tokens')
    t.equal(await sessionOf({ sid: 's', jti: '3', exp: NOW + 60 }), shared)
    t.equal(shared.endsAt, (NOW + 7200) * 1000)
    const others = [
      await sessionOf({ sid: 's', sub: 'bob' }),
      await sessionOf({ sid: 't' }),
      await sessionOf({ jti: 's' }),
      await sessionOf({ jti: 's', sub: 'bob' }),
      await sessionOf({}),
      await sessionOf({ note: 1 }),
    ]
    t.equal(new Set([shared, ...others].map(({ id }) => id)).size, 7)
    for (const { id } of others) t.match(id, /^[A-Za-z0-9_-]{22}$/)
    subject.sessions.end([shared], 'revoked')
    t.equal(await verdict(withClaims({ sid: 's', jti: '9' }), subject.verifier), 'token-invalid')
    for (const session of others) t.equal(session.endedBy, undefined)
  },
)

t.test('a sid of the login service is not a sid of ours', async (t) => {
  const subject = identity()
  const { session, token } = await signIn(subject)
  const program = await subject.verifier.verify(withClaims({ sid: session.id, iat: NOW }))
  t.not(program.session, session)
  subject.sessions.end([program.session], 'revoked')
  t.equal(await fresh(subject, token), 'alice')
  const handOff = { sid: 'theirs', iat: NOW }
  const one = await signIn(subject, withClaims({ ...handOff, jti: '1' }))
  subject.sessions.end([one.session], 'signed-out')
  const two = await signIn(subject, withClaims({ ...handOff, jti: '2' }))
  t.equal(
    await fresh(subject, two.token),
    'alice',
    'signing out here is no end of the session there',
  )
})

t.test('a program’s session that was revoked does not come back as a ticket', async (t) => {
  const subject = identity()
  const token = withClaims({ sid: 's', jti: '1', iat: NOW })
  const { session } = await subject.verifier.verify(token)
  const checked = await subject.verifier.verifyTicket(withClaims({ sid: 's', jti: '2' }), false)
  subject.sessions.end([session], 'revoked')
  t.equal(await outcome(() => signIn(subject, token)), 'token-invalid')
  t.equal(
    await outcome(() => signIn(subject, checked)),
    'token-invalid',
    'nor one that was verified before',
  )
})

t.test('an ending is remembered as long as any token could bring the session back', async (t) => {
  let now = START
  const subject = identity({ now: () => now })
  const { session } = await subject.verifier.verify(withClaims({ sid: 's', jti: '1' }))
  subject.sessions.end([session], 'revoked')
  now += 300 * DAY
  sweep(subject)
  const later = withClaims({ sid: 's', jti: '2', exp: now / 1000 + 60 })
  for (const one of [subject, restarted(subject.state, () => now)])
    t.equal(await verdict(later, one.verifier), 'token-invalid')
})

/** Lets the clock run steadily until endings and rows are swept. */
function sweep({ sessions, now, state }: Identity): void {
  for (let monotonic = 0; monotonic <= 1_300_000; monotonic += 500_000)
    sessions.check(monotonic, now())
  state.flush()
}

t.test('what can be forgotten is, from memory and disk', async (t) => {
  let now = START
  const subject = identity({ now: () => now })
  const used = ticket()
  const { session } = await signIn(subject, used)
  await signIn(subject)
  const program = await subject.verifier.verify(ticket())
  subject.sessions.end([session, program.session], 'signed-out')
  t.equal(endingsOf(subject.state).length, 4)
  sweep(subject)
  t.equal(endingsOf(subject.state).length, 4)
  now += 2 * DAY
  sweep(subject)
  t.same(endingsOf(subject.state), [])
  t.same(rowsOf(subject.state), [], 'nor sessions whose time is over')
  t.equal(await outcome(() => signIn(subject, used)), 'token-expired')
})

t.test('a clock that is set forward and back revives nothing', async (t) => {
  let now = START
  const subject = identity({ now: () => now })
  const program = ticket({ exp: NOW + 365 * 86_400 })
  const used = ticket({ exp: NOW + 365 * 86_400 })
  const { session } = await subject.verifier.verify(program)
  subject.sessions.end([session], 'revoked')
  await signIn(subject, used)
  subject.sessions.check(0, now)
  now += 3000 * DAY
  for (let monotonic = 500; monotonic < 60_000; monotonic += 500)
    subject.sessions.check(monotonic, now + monotonic)
  subject.state.flush()
  now = START + 60_000
  for (const one of [subject, restarted(subject.state, () => now)]) {
    t.equal(await verdict(program, one.verifier), 'token-invalid')
    t.equal(await outcome(() => signIn(one, used)), 'ticket-used')
  }
})

t.test('a session ends when the wall clock says so, and its listeners hear of it', async (t) => {
  let now = START
  const subject = identity({ now: () => now })
  const heard: Session[] = []
  subject.sessions.onEnded((ended) => heard.push(...ended))
  const short = await signIn(subject, ticket({ exp: NOW + 60 }))
  const renewed = await signIn(subject, ticket({ exp: NOW + 60 }))
  const long = await signIn(subject)
  await renew(subject, renewed, ticket({ exp: NOW + 120 }))
  now = START + 59_999
  subject.sessions.check(0, now)
  t.same(heard, [])
  now = START + 60_000
  subject.sessions.check(0, now)
  t.same(heard, [short.session])
  t.equal(short.session.endedBy, 'expired')
  now = START + 120_000
  subject.sessions.check(0, now)
  t.same(heard, [short.session, renewed.session])
  t.equal(long.session.endedBy, undefined)
  now = START
  t.equal(await fresh(subject, short.token), 'token-invalid', 'a clock set back revives none')
  t.match(subject.sessions.endings, { expired: 2 })
})

t.test('sessions of a removed key end, and those of a key that stays do not', async (t) => {
  const subject = identity()
  const heard: Session[] = []
  subject.sessions.onEnded((ended) => heard.push(...ended))
  const old = await signIn(subject)
  const program = ticket()
  const { session } = await subject.verifier.verify(program)
  setKeys(subject, [OTHER_SECRET, SECRET])
  const current = await signIn(subject)
  t.equal(current.session.kid, subject.keys.signing.kid, 'whatever key its ticket was under')
  const renewed = await signIn(subject)
  setKeys(subject, [SECRET, OTHER_SECRET])
  await renew(subject, renewed)
  t.same(heard, [], 'adding and reordering drops nothing')
  setKeys(subject, [OTHER_SECRET])
  t.same(new Set(heard), new Set([old.session, session, renewed.session]))
  t.equal(await fresh(subject, current.token), 'alice')
  setKeys(subject, [OTHER_SECRET, SECRET])
  t.equal(await fresh(subject, old.token), 'token-invalid', 'even when the key comes back')
  const later = restarted(subject.state, () => START, [SECRET])
  t.equal(later.sessions.size, 0, 'a key that went while nothing ran took its sessions along')
  t.equal(
    await fresh(
      restarted(later.state, () => START, [OTHER_SECRET]),
      current.token,
    ),
    'token-invalid',
  )
})

t.test('a token that was minted with a key that has gone starts and renews nothing', async (t) => {
  const subject = identity()
  const known = await signIn(subject)
  const checked = await subject.verifier.verifyTicket(ticket(), false)
  const ids = { id: newName(), tokenId: newName(), kid: subject.keys.signing.kid }
  setKeys(subject, [OTHER_SECRET])
  const { sessions } = subject
  t.equal(await outcome(() => sessions.start(checked, ids, DEVICE)), 'state-unavailable')
  const proof = sessions.proof(undefined, checked.claims)
  t.equal(
    await outcome(() => sessions.renew(known.browser, checked, { ...ids, proof })),
    'token-invalid',
  )
  t.equal(sessions.size, 0)
  ids.kid = subject.keys.signing.kid
  t.equal(
    sessions.start(checked, ids, DEVICE).session.subject,
    'alice',
    'the ticket is not used up',
  )
})

t.test('a session of several tokens ends with the key of the one that lasts longest', async (t) => {
  const subject = identity({ secrets: [SECRET, OTHER_SECRET] })
  const long = forge(HEADER, { ...CLAIMS, sid: 's', exp: NOW + 9000 }, OTHER_SECRET)
  const { session } = await subject.verifier.verify(long)
  t.equal((await subject.verifier.verify(withClaims({ sid: 's' }))).session, session)
  setKeys(subject, [OTHER_SECRET])
  t.equal(session.endedBy, undefined)
  t.ok(subject.verifier.recall(long))
})

t.test('on a full disk, revocation works and is made good later', async (t) => {
  const disk = new FullDisk()
  const subject = identity({ state: disk.state })
  const [one, two, three] = [await signIn(subject), await signIn(subject), await signIn(subject)]
  const program = ticket()
  await subject.verifier.verify(program)
  const ended: EndCause[] = []
  subject.sessions.onEnded((sessions) => ended.push(...sessions.flatMap((s) => s.endedBy ?? [])))
  disk.isFull = true
  t.equal(subject.sessions.end([one.session], 'revoked').isSaved, false)
  t.equal(await outcome(() => signIn(subject)), 'state-unavailable')
  const posted = await signIn(subject, withClaims({ iat: NOW }))
  t.equal(
    await fresh(subject, posted.token),
    'alice',
    'a ticket that is no one-time ticket is enough',
  )
  t.equal(await fresh(subject, one.token), 'token-invalid')
  t.equal(subject.sessions.endAll('all-ended', 'alice').isSaved, false)
  t.same(new Set(ended), new Set(['revoked', 'all-ended']))
  for (const { token } of [two, three, posted])
    t.equal(await fresh(subject, token), 'token-invalid')
  t.equal(await fresh(subject, program), 'token-invalid')
  t.equal(rowsOf(disk.state).length, 3, 'the disk still has them')
  disk.isFull = false
  disk.state.flush()
  t.same(rowsOf(disk.state), [])
  const later = restarted(disk.state)
  for (const { token } of [one, two, three, posted])
    t.equal(await verdict(token, later.verifier), 'token-invalid')
  t.equal(await verdict(program, later.verifier), 'token-invalid')
})

t.test(
  'what was not written is neither lost nor overwritten when the state is read again',
  async (t) => {
    const disk = new FullDisk()
    const subject = identity({ state: disk.state })
    const kept = await signIn(subject)
    disk.isFull = true
    const posted = await signIn(subject, withClaims({ iat: NOW }))
    const renewed = await renew(subject, kept, withClaims({ iat: NOW, exp: NOW + 7200 }))
    subject.sessions.load((kid) => subject.keys.has(kid))
    for (const { token } of [posted, renewed]) t.equal(await fresh(subject, token), 'alice')
    t.equal(kept.session.endsAt, (NOW + 7200) * 1000)
    disk.isFull = false
    disk.state.flush()
    const later = restarted(disk.state)
    for (const { token } of [posted, renewed])
      t.equal(await verdict(token, later.verifier), 'alice')
  },
)

t.test('exp with a fraction is no obstacle to writing', async (t) => {
  const subject = identity()
  const odd = { exp: NOW + 60.0005, iat: NOW - 0.25, auth_time: NOW - 0.125 }
  const { session, token } = await signIn(subject, ticket(odd))
  const program = await subject.verifier.verify(ticket(odd))
  t.ok(subject.sessions.end([program.session], 'revoked').isSaved)
  t.equal(await fresh(restarted(subject.state), token), 'alice')
  t.ok(subject.sessions.end([session], 'revoked').isSaved)
})

t.test('a successor reads what its predecessor changed, and keeps its own objects', async (t) => {
  let now = START
  const predecessor = identity({ now: () => now })
  const [kept, ended, late] = [
    await signIn(predecessor),
    await signIn(predecessor),
    await signIn(predecessor, ticket({ exp: NOW + 60 })),
  ]
  const successor = restarted(predecessor.state, () => now)
  const heard: Session[] = []
  successor.sessions.onEnded((sessions) => heard.push(...sessions))
  const objects = [kept, ended, late].map(({ session }) => successor.sessions.find(session.id))
  await successor.verifier.verify(ended.token)
  const added = await signIn(predecessor)
  predecessor.sessions.end([ended.session], 'signed-out')
  const renewed = await renew(predecessor, kept, ticket({ exp: NOW + 7200 }))
  const used = ticket()
  await signIn(predecessor, used)
  now += 60_000
  successor.sessions.load((kid) => successor.keys.has(kid))
  t.same(new Set(heard), new Set([objects[1], objects[2]]))
  t.same([objects[1]?.endedBy, objects[2]?.endedBy], ['signed-out', 'expired'])
  t.equal(successor.sessions.find(kept.session.id), objects[0])
  t.equal(objects[0]?.endsAt, (NOW + 7200) * 1000)
  t.equal(successor.verifier.recall(ended.token), undefined)
  for (const { token } of [added, renewed])
    t.equal(await verdict(token, successor.verifier), 'alice')
  t.equal(await outcome(() => signIn(successor, used)), 'ticket-used')
  const before = [...successor.sessions.browsers()]
  successor.sessions.load((kid) => successor.keys.has(kid))
  t.same([...successor.sessions.browsers()], before, 'reading twice changes nothing')
})

t.test('a watermark that was set while nothing ran ends the sessions before it', async (t) => {
  const subject = identity()
  const signedIn = await signIn(subject)
  const bob = await signIn(subject, ticket({ sub: 'bob' }))
  subject.state.write((database) => putWatermark(database, 'alice', START))
  const later = restarted(subject.state)
  t.equal(await verdict(signedIn.token, later.verifier), 'token-invalid')
  t.equal(await verdict(bob.token, later.verifier), 'bob')
  t.match(await reasonOf(later, signedIn.token), /signed out everywhere/)
  t.equal(rowsOf(subject.state).length, 1, 'only bob’s')
})

t.test('to sign everybody out writes one watermark, which tells why', async (t) => {
  const subject = identity()
  const people = ['alice', 'alice', 'bob', 'carol']
  const signedIn = await Promise.all(people.map((sub) => signIn(subject, ticket({ sub }))))
  const [alice, , bob] = signedIn.map(({ token }) => token)
  const heard: EndCause[] = []
  subject.sessions.onEnded((sessions) => heard.push(...sessions.flatMap((s) => s.endedBy ?? [])))
  const before = endingsOf(subject.state)
  t.equal(subject.sessions.endAll('signed-out', 'alice').ended.length, 2)
  t.equal(subject.sessions.endAll('all-ended').ended.length, 2)
  t.same(heard, ['signed-out', 'signed-out', 'all-ended', 'all-ended'])
  t.same(endingsOf(subject.state), before, 'no ending of each')
  t.same(rowsOf(subject.state), [])
  for (const later of [subject, restarted(subject.state)]) {
    t.match(await reasonOf(later, bob ?? ''), /everybody was signed out/)
    t.match(await reasonOf(later, alice ?? ''), /everybody was signed out/)
  }
})

t.test('a session from before the clock stepped back ends with all others', async (t) => {
  let now = START
  const subject = identity({ now: () => now })
  const { session, token } = await signIn(subject)
  now -= 5000
  t.equal(subject.sessions.endAll('all-ended').ended.length, 1)
  t.match(
    endingsOf(subject.state).find(([id]) => id === session.id),
    [session.id, 'all-ended'],
    'the watermark does not cover it',
  )
  t.same(rowsOf(subject.state), [])
  now += 5000
  for (const later of [subject, restarted(subject.state, () => now)]) {
    later.sessions.load((kid) => later.keys.has(kid))
    t.equal(await fresh(later, token), 'token-invalid')
  }
})

t.test('who was signed out on a full disk stays so when the state is read again', async (t) => {
  let now = START
  const disk = new FullDisk()
  const subject = identity({ state: disk.state, now: () => now })
  const signedIn = [await signIn(subject), await signIn(subject, ticket({ sub: 'bob' }))]
  disk.isFull = true
  const posted = await signIn(subject, withClaims({ iat: NOW }))
  t.equal(subject.sessions.endAll('all-ended').isSaved, false)
  now += 1000
  const after = await signIn(subject, withClaims({ iat: NOW + 1 }))
  let heard = 0
  subject.sessions.onEnded((sessions) => (heard += sessions.length))
  for (const isFull of [true, false]) {
    disk.isFull = isFull
    disk.state.flush()
    t.equal(rowsOf(disk.state).length, isFull ? 2 : 1)
    subject.sessions.load((kid) => subject.keys.has(kid))
    for (const { token } of [...signedIn, posted])
      t.match(await reasonOf(subject, token), /everybody was signed out/)
    t.equal(await fresh(subject, after.token), 'alice')
  }
  t.equal(heard, 0, 'nothing ends twice')
  const later = restarted(disk.state, () => now)
  for (const { token } of [...signedIn, posted])
    t.equal(await verdict(token, later.verifier), 'token-invalid')
  t.equal(await verdict(after.token, later.verifier), 'alice')
})

t.test('who is signed out by another process hears why', async (t) => {
  const disk = new FullDisk()
  const subject = identity({ state: disk.state })
  const { session } = await signIn(subject)
  disk.isFull = true
  const { session: unsaved } = await signIn(subject, withClaims({ iat: NOW, sub: 'bob' }))
  const { session: carol } = await signIn(subject, withClaims({ iat: NOW, sub: 'carol' }))
  disk.isFull = false
  disk.state.read((database) => {
    putWatermark(database, 'alice', START)
    putWatermark(database, 'bob', START)
  })
  subject.sessions.load((kid) => subject.keys.has(kid))
  t.same([session.endedBy, unsaved.endedBy, carol.endedBy], ['all-ended', 'all-ended', undefined])
})

t.test('a row that an ending forbids is not read', async (t) => {
  const subject = identity()
  const { session, token, browser } = await signIn(subject)
  const row = rowsOf(subject.state)[0]
  subject.sessions.end([session], 'revoked')
  subject.state.write((database) => {
    database
      .prepare(
        `INSERT INTO sessions SELECT ?, 'alice', ?, ?, '[]', ?, ?, ?, '[]', '', '', 0, '', NULL, NULL`,
      )
      .run(session.id, session.kid, browser.tokenId, START, START, row?.endsAt ?? 0)
  })
  const later = restarted(subject.state)
  t.equal(later.sessions.size, 0)
  t.equal(await verdict(token, later.verifier), 'token-invalid')
})

t.test('when and from where a session was seen is written with the next minute', async (t) => {
  let now = START
  const subject = identity({ now: () => now })
  const { session, token } = await signIn(subject)
  const seenAt = () =>
    rowsOf(subject.state).map(({ lastSeenAt, lastSeenFrom }) => [lastSeenAt, lastSeenFrom])
  now += 5000
  await subject.verifier.verify(token)
  session.lastSeenFrom = '198.51.100.7'
  t.same(seenAt(), [[START, DEVICE.address]])
  subject.state.flush()
  t.same(seenAt(), [[START + 5000, '198.51.100.7']])
  now = START - DAY
  subject.verifier.recall(token)
  subject.state.flush()
  t.same(seenAt(), [[START - DAY, '198.51.100.7']], 'also after the clock has stepped back')
  now = START - DAY + 500
  subject.verifier.recall(token)
  subject.state.flush()
  t.same(seenAt()[0]?.[0], START - DAY + 500)
})

t.test('of too many sessions, the one that was seen least recently ends', async (t) => {
  let now = START
  const subject = identity({ now: () => now })
  const { sessions } = subject
  const checked = await subject.verifier.verifyTicket(withClaims({ iat: NOW }), false)
  const start = () =>
    sessions.start(
      checked,
      { id: newName(), tokenId: newName(), kid: subject.keys.signing.kid },
      { name: 'x'.repeat(5000), address: '203.0.113.9' },
    ).session
  const [first, second] = [start(), start()]
  t.equal(sessions.browser(first.id)?.device.name.length, 256)
  first.lastSeenAt = START + 1
  now += 1
  for (let i = 2; i < MAX_SESSIONS; i++) start()
  t.equal(sessions.size, MAX_SESSIONS)
  t.equal(second.endedBy, undefined)
  start()
  t.equal(sessions.size, MAX_SESSIONS)
  t.equal(second.endedBy, 'revoked')
  t.equal(first.endedBy, undefined)
})

t.test('nothing of a token is in the state', async (t) => {
  const subject = identity()
  const handOff = ticket({ sid: 'their-session', note: 'a-claim-of-theirs' })
  const { token } = await signIn(subject, handOff)
  await subject.verifier.verify(ticket({ jti: 'a-name-of-theirs' }))
  subject.sessions.endAll('all-ended')
  const text = JSON.stringify(
    subject.state.read((database) => [
      allSessions(database),
      [...allEndings(database)],
      allWatermarks(database),
    ]),
  )
  for (const whole of [token, handOff])
    for (const one of [...whole.split('.'), 'their-session', 'a-claim', 'a-name-of-theirs', SECRET])
      t.notOk(text.includes(one), one.slice(0, 20))
})

/** What the model of the property below knows of a token. */
interface Modelled {
  readonly token: string
  readonly signedIn: SignedIn | undefined
  readonly subject: 'alice' | 'bob'
  readonly secret: string
  /** Undefined while nothing forbids the token. */
  deadBecause: string | undefined
  /** When it stops being accepted. */
  until: number
}

t.test(
  'in no schedule of sign-ins, renewals, endings, key changes and restarts is an ended token admitted',
  async () => {
    const subjects = fc.constantFrom('alice', 'bob')
    const step = fc.oneof(
      fc.record({
        do: fc.constant('sign-in' as const),
        who: subjects,
        seconds: fc.integer({ min: 30, max: 400 }),
      }),
      fc.record({
        do: fc.constant('program' as const),
        who: subjects,
        seconds: fc.integer({ min: 30, max: 400 }),
      }),
      fc.record({
        do: fc.constant('renew' as const),
        which: fc.nat(20),
        seconds: fc.integer({ min: 30, max: 400 }),
      }),
      fc.record({ do: fc.constant('end' as const), which: fc.nat(20) }),
      fc.record({
        do: fc.constant('end-all' as const),
        who: fc.option(subjects, { nil: undefined }),
      }),
      fc.record({ do: fc.constant('keys' as const), ring: fc.constantFrom('1', '2', '12', '21') }),
      fc.record({ do: fc.constant('wait' as const), seconds: fc.integer({ min: 1, max: 90 }) }),
      fc.record({ do: fc.constant('restart' as const) }),
      fc.record({ do: fc.constant('disk' as const), isFull: fc.boolean() }),
    )
    const keysOf = (ring: string) =>
      ring.split('').map((digit) => (digit === '1' ? SECRET : OTHER_SECRET)) as [
        string,
        ...string[],
      ]
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
        let now = START
        const disk = new FullDisk()
        let ring = keysOf('1')
        let subject = identity({ state: disk.state, now: () => now, secrets: ring })
        const tokens: Modelled[] = []
        const kill = (why: string, matches: (one: Modelled) => boolean) => {
          for (const one of tokens) if (matches(one)) one.deadBecause ??= why
        }
        const handOff = (sub: string, seconds: number) =>
          forge(
            HEADER,
            { ...CLAIMS, sub, iat: now / 1000, jti: newName(), exp: now / 1000 + seconds },
            ring[0],
          )
        for (const one of steps) {
          if (one.do === 'sign-in' || one.do === 'program') {
            const token = handOff(one.who, one.seconds)
            const common = { subject: one.who, secret: ring[0], deadBecause: undefined } as const
            const until = now + one.seconds * 1000
            if (one.do === 'program') {
              tokens.push({ ...common, token, signedIn: undefined, until: until + LEEWAY * 1000 })
              await verdict(token, subject.verifier)
            } else {
              const signedIn = await outcome(() => signIn(subject, token))
              const isIn = typeof signedIn !== 'string'
              tokens.push({
                ...{ ...common, token, signedIn: undefined, until: until + LEEWAY * 1000 },
                deadBecause: isIn ? 'used' : undefined,
              })
              if (isIn) tokens.push({ ...common, token: signedIn.token, signedIn, until })
            }
          } else if (one.do === 'renew') {
            const known = tokens.filter(({ signedIn }) => signedIn !== undefined)[one.which]
            if (known?.signedIn === undefined) continue
            const renewed = await outcome(() =>
              renew(subject, known.signedIn as SignedIn, handOff(known.subject, one.seconds)),
            )
            if (typeof renewed === 'string') continue
            for (const other of tokens)
              if (other.signedIn?.session.id === renewed.session.id)
                other.until = Math.min(other.until, now + SUPERSEDED_MS)
            tokens.push({
              ...{ token: renewed.token, signedIn: renewed, subject: known.subject },
              ...{ secret: ring[0], deadBecause: undefined, until: renewed.session.endsAt },
            })
          } else if (one.do === 'end') {
            const target = tokens[one.which]
            if (target === undefined) continue
            const principal = await subject.verifier.verify(target.token).catch(() => undefined)
            if (principal === undefined) continue
            subject.sessions.end([principal.session], 'revoked')
            const { id } = principal.session
            kill('ended', (other) => other === target || other.signedIn?.session.id === id)
          } else if (one.do === 'end-all') {
            subject.sessions.endAll('all-ended', one.who)
            kill('all', (other) => one.who === undefined || other.subject === one.who)
          } else if (one.do === 'keys') {
            ring = keysOf(one.ring)
            setKeys(subject, ring)
            // The key of a renewed session is that of its newest token.
            const gone = new Set(
              tokens.filter(({ secret }) => !ring.includes(secret)).map(({ token }) => token),
            )
            kill('key', (other) => gone.has(other.token) && other.signedIn !== undefined)
          } else if (one.do === 'wait') {
            now += one.seconds * 1000
            subject.sessions.check(0, now)
          } else if (one.do === 'disk') {
            disk.isFull = one.isFull
          } else {
            disk.isFull = false
            disk.state.flush()
            subject = identity({ state: disk.state, now: () => now, secrets: ring })
          }
          for (const { token, deadBecause, until, secret } of tokens) {
            const result = await verdict(token, subject.verifier)
            const mustDie = deadBecause !== undefined || now >= until || !ring.includes(secret)
            if (mustDie && !/^t(?:oken|icket)-/.test(result))
              throw new Error(`admitted after ${deadBecause ?? 'its time'} as ${result}`)
            if (!mustDie && /^t(?:oken|icket)-/.test(result) && now < until && isPlain(steps))
              throw new Error(`refused without a reason: ${result}`)
          }
        }
        return true
      }),
      { numRuns: 150 },
    )
  },
)

/** Whether a schedule has nothing that ends more than the model follows: keys that go with their sessions, and watermarks. */
function isPlain(steps: ReadonlyArray<{ do: string }>): boolean {
  return !steps.some((one) => one.do === 'keys' || one.do === 'end-all')
}

t.test('an error of the disk is told as such, without the details of the database', async (t) => {
  const disk = new FullDisk()
  disk.isFull = true
  const subject = identity({ state: disk.state })
  const error: unknown = await signIn(subject).catch((reason: unknown) => reason)
  t.ok(error instanceof GatewayError)
  t.match(error, { code: 'state-unavailable' })
})

t.test('a ticket that ends within this second starts no session that would be over', async (t) => {
  const subject = identity({ now: () => START + 400 })
  const late = withClaims({ iat: NOW, exp: NOW + 0.9, jti: newName() })
  t.equal(await outcome(() => signIn(subject, late)), 'token-expired')
  t.equal(subject.sessions.size, 0)
  t.type(await subject.verifier.verifyTicket(late, false), 'object', 'nothing is used up')
})
