/** For how long is a verdict on a token cached, and what happens to it when keys, sessions and tickets change? */
import { createHmac, type webcrypto } from 'node:crypto'
import t, { type Test } from 'tap'
import { isTokenShaped, type Principal } from '../../src/identity/token.ts'
import {
  CLAIMS,
  forge,
  GOOD,
  HEADER,
  identity,
  LEEWAY,
  NOW,
  OTHER_SECRET,
  outcome,
  part,
  renew,
  SECRET,
  setKeys,
  signIn,
  verdict,
  verifier,
  withClaims,
  type Identity,
} from '../helpers/forged-tokens.ts'

/** More turns of the microtask queue than a verification takes whose signature is checked at once. */
const TURNS = 30

/** Checks signatures without a thread, so that a verification takes only turns of the microtask queue. */
function checkSignaturesAtOnce(t: Test): void {
  const secrets = new WeakMap<CryptoKey, Buffer>()
  const { subtle } = crypto
  const importKey = subtle.importKey.bind(subtle) as (...all: unknown[]) => Promise<CryptoKey>
  t.intercept(subtle, 'importKey', {
    async value(format: string, secret: Buffer, ...rest: unknown[]) {
      const key = await importKey(format, secret, ...rest)
      secrets.set(key, secret)
      return key
    },
  })
  t.intercept(subtle, 'verify', {
    async value(_how: unknown, key: CryptoKey, signature: Uint8Array, data: Uint8Array) {
      const secret = secrets.get(key) ?? ''
      return createHmac('sha256', secret).update(data).digest().equals(signature)
    },
  })
}

type CryptoKey = webcrypto.CryptoKey

/** Runs something after some turns of the microtask queue, to hit each moment of a verification. */
async function afterTurns(turns: number, act: () => void): Promise<void> {
  for (let i = 0; i < turns; i++) await Promise.resolve()
  act()
}

t.test('tokens of the previous secrets are valid during a rotation', async (t) => {
  const old = forge(HEADER, CLAIMS, OTHER_SECRET)
  const subject = identity({ secrets: [SECRET, OTHER_SECRET] })
  const both = subject.verifier
  t.equal(await verdict(GOOD, both), 'alice')
  t.equal(await verdict(old, both), 'alice')
  const [mine, theirs] = [await both.verify(GOOD), await both.verify(old)]
  t.not(mine.key, theirs.key)
  t.equal(theirs.session.kid, theirs.key?.kid)
  t.not(mine.session, theirs.session)

  setKeys(subject, [SECRET])
  t.equal(theirs.session.endedBy, 'key-removed')
  t.equal(both.recall(old), undefined, 'verdicts of the old ring are forgotten at once')
  t.equal(both.recall(GOOD), mine, 'and no others')
  t.equal(await verdict(old, both), 'token-invalid')
})

t.test('a verification in progress fails when its key is removed, whenever that is', async (t) => {
  checkSignaturesAtOnce(t)
  for (let turns = 0; turns < TURNS; turns++) {
    const subject = identity()
    const underWay = verdict(GOOD, subject.verifier)
    await afterTurns(turns, () => setKeys(subject, [OTHER_SECRET]))
    await underWay
    t.equal(subject.verifier.recall(GOOD), undefined, `after ${turns} turns`)
  }
  const kept = identity({ secrets: [SECRET, OTHER_SECRET] })
  const underWay = verdict(GOOD, kept.verifier)
  setKeys(kept, [OTHER_SECRET, SECRET])
  t.equal(await underWay, 'alice', 'a key that stays goes on working')
})

t.test(
  'jose decides on a token although our own look at its signature found nothing wrong',
  async (t) => {
    const subject = identity()
    const { signing } = subject.keys
    t.ok(signing.mayHaveSigned(GOOD))
    Reflect.set(signing, 'imported', identity({ secrets: [OTHER_SECRET] }).keys.signing.imported)
    t.equal(await verdict(GOOD, subject.verifier), 'token-invalid')
  },
)

t.test('a name of a key chooses among the keys of the ring, and nothing else', async (t) => {
  const subject = identity({ secrets: [SECRET, OTHER_SECRET] })
  const [first, second] = subject.keys.keys
  const rows: Array<[kid: string | undefined, secret: string, result: string]> = [
    [first?.kid, SECRET, 'alice'],
    [second?.kid, OTHER_SECRET, 'alice'],
    [second?.kid, SECRET, 'token-invalid'],
    [first?.kid, OTHER_SECRET, 'token-invalid'],
    ['their-own-name', SECRET, 'alice'],
    ['their-own-name', OTHER_SECRET, 'alice'],
    ['', OTHER_SECRET, 'alice'],
    ['their-own-name', 'a-secret-of-nobody-in-this-ring-1234', 'token-invalid'],
  ]
  for (const [kid, secret, result] of rows) {
    const token = forge({ ...HEADER, kid }, { ...CLAIMS, jti: `${kid}${secret}` }, secret)
    t.equal(await verdict(token, subject.verifier), result, `${kid}`)
  }
})

t.test('a session token must name a key that is known', async (t) => {
  const subject = identity({ secrets: [SECRET, OTHER_SECRET] })
  const { session, browser } = await signIn(subject)
  const claims = {
    ...{ ...CLAIMS, use: 'session', sid: session.id, jti: browser.tokenId },
    ...{ iat: NOW, exp: session.endsAt / 1000 },
  }
  const [first, second] = subject.keys.keys
  const rows: Array<[why: string, header: object, secret: string, result: string]> = [
    ['as it was minted', { kid: first?.kid }, SECRET, 'alice'],
    ['no kid', {}, SECRET, 'token-invalid'],
    ['an unknown kid', { kid: 'AAAAAAAA' }, SECRET, 'token-invalid'],
    ['the other kid', { kid: second?.kid }, SECRET, 'token-invalid'],
    [
      'the other key signs for a session of the first',
      { kid: second?.kid },
      OTHER_SECRET,
      'token-invalid',
    ],
  ]
  for (const [why, header, secret, result] of rows)
    t.equal(
      await verdict(forge({ ...HEADER, ...header }, claims, secret), subject.verifier),
      result,
      why,
    )
  for (const fields of [
    { sid: 'another' },
    { sid: undefined },
    { jti: 'another' },
    { jti: undefined },
    { sub: 'root' },
    { aud: ['houston'] },
    { aud: 'research' },
    { use: undefined, sid: session.id, iat: undefined, jti: session.id, sub: 'root' },
  ]) {
    const token = forge({ ...HEADER, kid: first?.kid }, { ...claims, ...fields })
    const result = await verdict(token, subject.verifier)
    if ('use' in fields) {
      const principal = await subject.verifier.verify(token)
      t.equal(principal.session.kind, 'program', 'not a session token: a session of its own')
      t.not(principal.session.id, session.id)
    } else t.equal(result, 'token-invalid', JSON.stringify(fields))
  }
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
  t.equal(subject.size, 0)
})

t.test('the cache is bounded, and the newest tokens stay', async (t) => {
  const subject = verifier()
  const first = withClaims({ jti: 'first' })
  await subject.verify(first)
  const tokens = Array.from({ length: 10_000 }, (_, i) => withClaims({ jti: String(i) }))
  await Promise.all(tokens.map((token) => subject.verify(token)))
  t.equal(subject.size, 10_000)
  t.equal(subject.recall(first), undefined, 'the oldest made room')
  t.ok(subject.recall(tokens.at(-1) ?? ''))
  t.equal(await verdict(first, subject), 'alice', 'and is verified again when it comes back')
})

t.test('two tokens are two sessions, and the name of a session is no credential', async (t) => {
  const subject = verifier()
  const one = await subject.verify(withClaims({ jti: '1' }))
  const two = await subject.verify(withClaims({ jti: '2' }))
  t.not(one.session.id, two.session.id)
  t.notOk(isTokenShaped(one.session.id))
  t.equal(one.session.endsAt, CLAIMS.exp * 1000)
  t.equal(one.acceptedUntil, (CLAIMS.exp + LEEWAY) * 1000)
})

t.test('a request notes when its session was seen, and counts for its key', async (t) => {
  let now = NOW * 1000
  const subject = identity({ now: () => now })
  const { session, key } = await subject.verifier.verify(GOOD)
  t.equal(session.lastSeenAt, now)
  t.equal(key?.uses, 1)
  now += 5000
  subject.verifier.recall(GOOD)
  t.equal(session.lastSeenAt, now)
  t.equal(key?.uses, 2)
  await subject.verifier.verifyTicket(withClaims({ jti: 'j' }), false)
  t.equal(key?.uses, 3, 'a ticket is a use of the key too')
  await verdict(withClaims({ exp: NOW - 5000 }), subject.verifier)
  t.equal(key?.uses, 3, 'an expired token is not')
})

t.test('when the person proved who they are is known, and is never in the future', async (t) => {
  const of = async (fields: object) => (await verifier().verify(withClaims(fields))).authenticatedAt
  t.equal(await of({}), undefined)
  t.equal(await of({ iat: NOW - 5 }), (NOW - 5) * 1000)
  t.equal(await of({ iat: NOW, auth_time: NOW - 60 }), (NOW - 60) * 1000)
  t.equal(await of({ auth_time: NOW + 86_400 }), NOW * 1000)
  t.equal(await of({ iat: NOW + 300 }), NOW * 1000)
  const old = NOW - 5000
  t.equal(
    await of({ iat: old, auth_time: NOW + 86_400 }),
    old * 1000,
    'nor after the token was issued',
  )
})

/** Each way to use a token, and what it says. */
const WAYS: ReadonlyArray<
  readonly [string, (subject: Identity, token: string) => Promise<string>]
> = [
  ['as a credential', (subject, token) => verdict(token, subject.verifier)],
  [
    'as a ticket in a form',
    (subject, token) =>
      outcome(async () => (await subject.verifier.verifyTicket(token, false)).claims.subject),
  ],
  [
    'as a ticket in a link',
    (subject, token) =>
      outcome(async () => (await subject.verifier.verifyTicket(token, true)).claims.subject),
  ],
]

t.test('a ticket that has signed in is good for nothing any more', async (t) => {
  const rows: Array<[why: string, fields: object, inUrl: boolean, after: string]> = [
    ['with jti, in a form', { jti: 'once' }, false, 'ticket-used'],
    ['with jti, in a link', { jti: 'once' }, true, 'ticket-used'],
    ['with jti and sid', { jti: 'once', sid: 's' }, true, 'ticket-used'],
    ['without jti, in a link', {}, true, 'ticket-used'],
    ['without jti, in a form', {}, false, 'alice'],
  ]
  for (const [why, fields, inUrl, after] of rows) {
    const subject = identity()
    const ticket = withClaims(fields)
    const others = withClaims({ jti: 'another', note: why })
    t.equal(await verdict(ticket, subject.verifier), 'alice', 'good for a program before')
    t.ok(subject.verifier.recall(ticket), 'and cached')
    await signIn(subject, ticket, { inUrl })
    if (after === 'ticket-used')
      t.equal(subject.verifier.recall(ticket), undefined, `${why}: the cached verdict is gone`)
    for (const [way, use] of WAYS) t.equal(await use(subject, ticket), after, `${why}, ${way}`)
    t.equal(await verdict(others, subject.verifier), 'alice', 'and no other token is')
  }
})

t.test(
  'a token that shares the jti of a used ticket is used up too, whatever else it says',
  async (t) => {
    const subject = identity()
    await signIn(subject, withClaims({ jti: 'once' }))
    for (const fields of [{ sub: 'bob' }, { exp: NOW + 9999 }, { sid: 's' }])
      for (const [way, use] of WAYS)
        t.equal(await use(subject, withClaims({ jti: 'once', ...fields })), 'ticket-used', way)
    t.equal(await verdict(withClaims({ sid: 'once' }), subject.verifier), 'alice', 'sid is no jti')
  },
)

t.test('a ticket that is used while it is verified as a credential is not cached', async (t) => {
  checkSignaturesAtOnce(t)
  for (let turns = 0; turns < TURNS; turns++) {
    const subject = identity()
    const token = withClaims({ jti: 'once' })
    const ticket = await subject.verifier.verifyTicket(token, true)
    const underWay = verdict(token, subject.verifier)
    await afterTurns(turns, () => {
      subject.sessions.start(
        ticket,
        { id: 'sid', tokenId: 'jti', kid: subject.keys.signing.kid },
        { name: '', address: '' },
      )
    })
    await underWay
    t.equal(subject.verifier.recall(token), undefined, `after ${turns} turns`)
    t.equal(await verdict(token, subject.verifier), 'ticket-used')
  }
})

t.test('a session that ends while its token is verified is not cached', async (t) => {
  checkSignaturesAtOnce(t)
  for (const kind of ['browser', 'program'])
    for (let turns = 0; turns < TURNS; turns++) {
      const subject = identity()
      const program = withClaims({ iat: NOW - 5, jti: 'ci' })
      const token = kind === 'program' ? program : (await signIn(subject)).token
      const underWay = verdict(token, subject.verifier)
      await afterTurns(turns, () => void subject.sessions.endAll('all-ended'))
      await underWay
      t.equal(subject.verifier.recall(token), undefined, `${kind}, after ${turns} turns`)
      t.equal(await verdict(token, subject.verifier), 'token-invalid')
    }
})

t.test('a session token is no ticket, and says nothing that a program’s would', async (t) => {
  const subject = identity()
  const { token, session } = await signIn(subject)
  for (const [way, use] of WAYS.slice(1)) t.equal(await use(subject, token), 'token-invalid', way)
  const principal: Principal = await subject.verifier.verify(token)
  t.equal(principal.session, session)
  t.equal(principal.ticketId, undefined)
  t.equal(session.kind, 'browser')
})

t.test('no API token, and nothing else that is no JWT, is a ticket', async (t) => {
  for (const token of [`hub_${'a'.repeat(32)}`, '', 'x', `${part(HEADER)}.${part(CLAIMS)}.`])
    for (const [way, use] of WAYS) t.equal(await use(identity(), token), 'token-invalid', way)
})

t.test('the leeway is not for session tokens, and a clock behind signs nobody out', async (t) => {
  let now = NOW * 1000
  const subject = identity({ now: () => now })
  const { token, session } = await signIn(subject)
  const fresh = () => {
    subject.verifier.forget(() => true)
    return verdict(token, subject.verifier)
  }
  now = session.endsAt - 1
  t.equal(await fresh(), 'alice')
  now = session.endsAt
  t.equal(subject.verifier.recall(token), undefined, 'not even a cached verdict')
  t.equal(await fresh(), 'token-expired')
  now = NOW * 1000 - 3_600_000
  t.equal(await fresh(), 'alice', 'issued an hour ahead of this clock')
  t.equal(await verdict(withClaims({ iat: NOW }), subject.verifier), 'token-invalid', 'others not')
})

t.test(
  'the token before a renewal is good for 60 seconds more, also where it is cached',
  async (t) => {
    for (const isCached of [true, false]) {
      let now = NOW * 1000
      const subject = identity({ now: () => now })
      const signedIn = await signIn(subject)
      if (isCached) await subject.verifier.verify(signedIn.token)
      const renewed = await renew(subject, signedIn)
      t.equal(renewed.session, signedIn.session, 'the same session')
      t.equal((await subject.verifier.verify(signedIn.token)).session, signedIn.session)
      now += 59_999
      t.equal(await verdict(signedIn.token, subject.verifier), 'alice')
      now += 1
      t.equal(subject.verifier.recall(signedIn.token), undefined)
      t.equal(await verdict(signedIn.token, subject.verifier), 'token-invalid')
      t.equal(await verdict(renewed.token, subject.verifier), 'alice')
    }
  },
)

t.test('an end empties the cache of what it ended', async (t) => {
  const subject = identity()
  const { token, session } = await signIn(subject)
  await subject.verifier.verify(token)
  await subject.verifier.verify(GOOD)
  t.equal(subject.verifier.size, 2)
  subject.sessions.end([session], 'revoked')
  t.equal(subject.verifier.size, 1)
  t.ok(subject.verifier.recall(GOOD))
})
