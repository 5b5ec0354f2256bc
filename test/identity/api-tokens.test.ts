/** Is an API token kept as a digest alone, and does it count from when it was made until it is over, and not longer? */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import * as fc from 'fast-check'
import t from 'tap'
import { describe, tokenAdvice } from '../../src/identity/api-token-list.ts'
import {
  API_TOKEN_PATTERN,
  ApiTokens,
  isAllowedFrom,
  MAX_API_TOKENS,
  type NewApiToken,
} from '../../src/identity/api-tokens.ts'
import { State } from '../../src/store/state.ts'

const NOT_IN_FORCE = { code: 'bad-request', reason: 'not in force' }
const TOO_MANY = { code: 'bad-request', reason: 'too many tokens' }

const DAY_MS = 86_400_000
const START = Date.UTC(2026, 0, 1)

/** API tokens with a clock of the test's own, whose state can be made read-only, as on a full disk. */
function startApiTokens(state = State.inMemory()) {
  const clock = { now: START }
  const apiTokens = new ApiTokens(state, { now: () => clock.now })
  const ended: string[][] = []
  apiTokens.onEnded((sessions) => ended.push(sessions.map(({ id }) => id)))
  const setReadOnly = (isReadOnly: boolean) =>
    state.read((database) => database.exec(`PRAGMA query_only = ${isReadOnly ? 1 : 0}`))
  return { state, clock, apiTokens, ended, setReadOnly }
}

const wanted = (overrides: Partial<NewApiToken> = {}): NewApiToken => ({
  name: 'ci',
  subject: 'alice',
  expiresAt: START + 90 * DAY_MS,
  ...overrides,
})

/** The tokens that another process finds in a state. */
function reloaded(state: State, now = START): ApiTokens {
  const apiTokens = new ApiTokens(state, { now: () => now })
  apiTokens.load()
  return apiTokens
}

t.test('a token is hub_ and 32 letters and digits, each as likely as any other', async (t) => {
  const { apiTokens } = startApiTokens()
  const counts = new Map<string, number>()
  const made = 2000
  for (let i = 0; i < made; i++) {
    const { token, apiToken } = apiTokens.create(wanted({ name: `t${i}` }))
    if (!new RegExp(`^${API_TOKEN_PATTERN}$`).test(token)) t.fail(token)
    if (apiToken.last4 !== token.slice(-4)) t.fail('last4')
    for (const character of token.slice(4)) counts.set(character, (counts.get(character) ?? 0) + 1)
  }
  t.equal(counts.size, 62)
  const expected = (made * 32) / 62
  const chiSquare = [...counts.values()].reduce((sum, n) => sum + (n - expected) ** 2 / expected, 0)
  // 61 degrees of freedom: beyond 150 once in a hundred million runs; with a byte modulo 62 it would be about 950.
  t.ok(chiSquare < 150, String(chiSquare))
  t.equal(new Set(apiTokens.list().map(({ id }) => id)).size, made)
})

t.test('the page for operators has the pattern for scanners', async (t) => {
  t.ok(readFileSync('docs/api-tokens.md', 'utf8').includes(`\`${API_TOKEN_PATTERN}\``))
})

t.test('only its SHA-256 is kept, and everything else comes back after a restart', async (t) => {
  const { state, apiTokens } = startApiTokens()
  const { token, apiToken } = apiTokens.create(
    wanted({ scopes: ['api:read:/v1/,chat'], addresses: ['10.0.0.0/8', '::1'], rate: 120 }),
  )
  t.equal(apiTokens.find(token), apiToken)
  const rows = state.read((database) => database.prepare('SELECT * FROM api_tokens').all())
  t.same(
    Buffer.from(rows?.[0]?.['digest'] as Uint8Array),
    createHash('sha256').update(token).digest(),
  )
  const kept = JSON.stringify(rows)
  t.notMatch(kept, token.slice(4, -4), 'no part of the token but its end is in the state')
  t.same(describe(apiToken), {
    ...{ id: apiToken.id, name: 'ci', last4: token.slice(-4), sub: 'alice' },
    ...{ scopes: ['api:read:/v1', 'chat'], from: ['10.0.0.0/8', '::1'], rate: 120 },
    ...{ createdAt: '2026-01-01T00:00:00.000Z', expiresAt: '2026-04-01T00:00:00.000Z' },
    ...{ lastUsedAt: null, lastUsedFrom: null, exposedAt: null, revokedAt: null, replacedBy: null },
  })
  const next = reloaded(state)
  const found = next.find(token)
  t.ok(found)
  t.same(found === undefined ? undefined : describe(found), describe(apiToken))
  t.equal(found?.session.subject, 'alice')
  t.ok(found !== undefined && next.isLive(found))
})

t.test('nothing else is taken for a token', async (t) => {
  const { apiTokens } = startApiTokens()
  const { token } = apiTokens.create(wanted())
  for (const other of [
    ...['', 'hub_', token.slice(0, -1), `${token}x`, ` ${token}`, `${token}\n`, token.slice(4)],
    ...[token.toUpperCase(), `${token.slice(0, -1)}é`, `hub_${'a'.repeat(32)}`, 'x'.repeat(9999)],
  ])
    t.equal(apiTokens.find(other), undefined, JSON.stringify(other.slice(0, 50)))
})

t.test('a token that nobody could want is refused, with a sentence that says why', async (t) => {
  const { apiTokens } = startApiTokens()
  apiTokens.create(wanted())
  const rows: ReadonlyArray<readonly [Partial<NewApiToken>, reason: string]> = [
    ...['', '-ci', 'CI', 'c_i', 'c i', 'c/i', 'é', 'ci\n', 'a'.repeat(65), 'tok_x'].map(
      (name) => [{ name }, 'bad name'] as const,
    ),
    [{ name: 'ci' }, 'name is taken'],
    [{ name: 'a', subject: '' }, 'bad subject'],
    [{ name: 'a', subject: 'a\nb' }, 'bad subject'],
    [{ name: 'a', scopes: ['everything'] }, 'bad scope'],
    [{ name: 'a', scopes: ['api:/../x'] }, 'bad scope'],
    [{ name: 'a', addresses: ['10.0.0.0/8', 'home'] }, 'bad address'],
    [{ name: 'a', addresses: ['0.0.0.0/0'] }, 'bad address'],
    [{ name: 'a', addresses: Array.from({ length: 33 }, (_, i) => `10.0.0.${i}`) }, 'bad address'],
    ...[0, -1, 1.5, NaN, Infinity, 100_001].map(
      (rate) => [{ name: 'a', rate }, 'bad rate'] as const,
    ),
    ...[START, START - 1, NaN, Infinity, 253_402_300_800_000].map(
      (expiresAt) => [{ name: 'a', expiresAt }, 'bad expiry'] as const,
    ),
  ]
  for (const [overrides, reason] of rows)
    t.throws(
      () => apiTokens.create(wanted(overrides)),
      { code: 'bad-request', reason, detail: / / },
      JSON.stringify(overrides),
    )
  t.equal(apiTokens.size, 1, 'and nothing was made')
  t.equal(apiTokens.create(wanted({ name: 'a'.repeat(64), rate: 1 })).apiToken.rate, 1)
})

t.test(
  'scopes: api when none is named; terminal, owner and vault only when they are',
  async (t) => {
    const { apiTokens } = startApiTokens()
    t.same(describe(apiTokens.create(wanted()).apiToken).scopes, ['api'])
    t.same(describe(apiTokens.create(wanted({ name: 'b', scopes: [] })).apiToken).scopes, ['api'])
  },
)

t.test('a token ends at its expiry, and one without lasts', async (t) => {
  const { state, clock, apiTokens, ended } = startApiTokens()
  const { token, apiToken } = apiTokens.create(wanted({ expiresAt: START + 1000 }))
  const { apiToken: lasting } = apiTokens.create(wanted({ name: 'b', expiresAt: undefined }))
  t.equal(describe(lasting).expiresAt, null)
  clock.now += 999
  apiTokens.check(0, clock.now)
  t.ok(apiTokens.isLive(apiToken))
  t.same(ended, [])
  clock.now += 1
  t.notOk(apiTokens.isLive(apiToken), 'at once, not at the next check')
  apiTokens.check(0, clock.now)
  t.same(ended, [[apiToken.id]])
  t.equal(apiToken.session.endedBy, 'expired')
  apiTokens.check(0, clock.now + 1)
  t.equal(ended.length, 1, 'told once')
  t.equal(apiTokens.find(token), apiToken, 'it is still told apart from an unknown one')
  t.equal(apiTokens.named('ci'), undefined, 'but its name is free')
  t.equal(apiTokens.named(apiToken.id), apiToken)
  t.ok(apiTokens.create(wanted({ expiresAt: START + 9000 })))
  apiTokens.check(0, START + 50_000 * DAY_MS)
  t.ok(apiTokens.isLive(lasting))
  const next = reloaded(state, clock.now)
  t.equal(next.find(token)?.session.endedBy, 'expired', 'also after a restart')
})

t.test('a revoked token ends at once, everywhere and for good', async (t) => {
  const { state, clock, apiTokens, ended } = startApiTokens()
  const { token, apiToken } = apiTokens.create(wanted())
  const other = apiTokens.create(wanted({ name: 'b' })).apiToken
  t.match(apiTokens.revoke(apiToken), { ended: [apiToken.session], isSaved: true })
  t.same(ended, [[apiToken.id]])
  t.equal(apiToken.session.endedBy, 'revoked')
  t.equal(describe(apiToken).revokedAt, '2026-01-01T00:00:00.000Z')
  t.ok(apiTokens.isLive(other))
  clock.now += 1000
  t.same(apiTokens.revoke(apiToken), { ended: [], isSaved: true }, 'again is no news')
  t.equal(describe(apiToken).revokedAt, '2026-01-01T00:00:00.000Z')
  t.equal(ended.length, 1)
  const found = reloaded(state).find(token)
  t.equal(found?.session.endedBy, 'revoked')
  t.equal(apiTokens.create(wanted()).apiToken.name, 'ci', 'its name is free')
})

t.test(
  'a revoked token takes those with it that it has replaced and that still count',
  async (t) => {
    const { clock, apiTokens, ended } = startApiTokens()
    const first = apiTokens.create(wanted()).apiToken
    const second = apiTokens.rotate(first, 2 * DAY_MS).apiToken
    const third = apiTokens.rotate(second, 0).apiToken
    const newest = apiTokens.rotate(third, DAY_MS).apiToken
    const other = apiTokens.create(wanted({ name: 'b' })).apiToken
    clock.now += 1000
    ended.length = 0
    const { ended: over } = apiTokens.revoke(newest)
    const ids = [newest, third, first].map(({ id }) => id).toSorted()
    t.same(over.map(({ id }) => id).toSorted(), ids, 'also behind one that is over already')
    t.same(ended.flat().toSorted(), ids)
    t.equal(describe(second).revokedAt, null, 'what was over stays as it was')
    t.ok(apiTokens.isLive(other))
  },
)

t.test('a token that was replaced is revoked alone', async (t) => {
  const { apiTokens } = startApiTokens()
  const first = apiTokens.create(wanted()).apiToken
  const second = apiTokens.rotate(first, DAY_MS).apiToken
  t.match(apiTokens.revoke(first), { ended: [first.session] })
  t.ok(apiTokens.isLive(second))
})

t.test(
  'a rotated token leaves its name and its rights to the new one, and its time is short',
  async (t) => {
    const { state, clock, apiTokens, ended } = startApiTokens()
    const first = apiTokens.create(
      wanted({ scopes: ['api,chat:read'], addresses: ['::1'], rate: 7 }),
    )
    clock.now += 10 * DAY_MS
    const second = apiTokens.rotate(first.apiToken, DAY_MS)
    t.not(second.token, first.token)
    t.equal(apiTokens.named('ci'), second.apiToken)
    t.equal(apiTokens.named('ci-old'), first.apiToken)
    const listed = describe(second.apiToken)
    t.match(listed, { sub: 'alice', scopes: ['api', 'chat:read'], from: ['::1'], rate: 7 })
    t.equal(listed.createdAt, '2026-01-11T00:00:00.000Z')
    t.equal(listed.expiresAt, '2026-04-11T00:00:00.000Z', 'it lasts as long as the old one was to')
    t.match(describe(first.apiToken), { name: 'ci-old', replacedBy: second.apiToken.id })
    t.equal(describe(first.apiToken).expiresAt, '2026-01-12T00:00:00.000Z')
    t.ok(apiTokens.isLive(first.apiToken), 'both count')
    t.throws(() => apiTokens.rotate(first.apiToken, 0), NOT_IN_FORCE, 'replaced once')
    const third = apiTokens.rotate(second.apiToken, DAY_MS)
    t.equal(second.apiToken.name, 'ci-old-2', 'while the first is in force')
    t.equal(apiTokens.named('ci'), third.apiToken)
    const byId = (one: ApiTokens) =>
      one
        .list()
        .map(describe)
        .toSorted((a, b) => (a.id < b.id ? -1 : 1))
    t.same(byId(reloaded(state, clock.now)), byId(apiTokens))
    t.same(ended, [])
    clock.now += DAY_MS
    apiTokens.check(0, clock.now)
    t.same(ended, [[first.apiToken.id, second.apiToken.id]])
    t.throws(() => apiTokens.rotate(second.apiToken), { code: 'bad-request' })
    const fourth = apiTokens.rotate(third.apiToken, 0)
    t.notOk(apiTokens.isLive(third.apiToken), 'without overlap the old one is over')
    t.same(ended.at(-1), [third.apiToken.id])
    t.equal(third.apiToken.name, 'ci-old')
    apiTokens.revoke(fourth.apiToken)
    t.throws(() => apiTokens.rotate(fourth.apiToken), NOT_IN_FORCE)
  },
)

t.test(
  'an overlap that is no time is refused, and fractions of a millisecond are cut off',
  async (t) => {
    const { apiTokens } = startApiTokens()
    const { apiToken } = apiTokens.create(wanted({ expiresAt: START + 5000.5 }))
    t.equal(apiToken.session.endsAt, START + 5000)
    const BAD_OVERLAP = { code: 'bad-request', reason: 'bad overlap' }
    for (const overlap of [NaN, -1, Infinity, -Infinity])
      t.throws(() => apiTokens.rotate(apiToken, overlap), BAD_OVERLAP)
    t.equal(apiToken.replacedBy, undefined)
    apiTokens.rotate(apiToken, 1000.7)
    t.equal(apiToken.session.endsAt, START + 1000)
  },
)

t.test('a rotation makes nothing last longer than it would have', async (t) => {
  const { clock, apiTokens } = startApiTokens()
  const short = apiTokens.create(wanted({ expiresAt: START + 1000 })).apiToken
  clock.now += 500
  const next = apiTokens.rotate(short, DAY_MS).apiToken
  t.equal(short.session.endsAt, START + 1000)
  t.equal(next.session.endsAt, START + 1500)
  const long = apiTokens.create(wanted({ name: 'a'.repeat(64), expiresAt: undefined })).apiToken
  const endless = apiTokens.rotate(long).apiToken
  t.equal(endless.session.endsAt, Infinity)
  t.equal(long.name, `${'a'.repeat(60)}-old`)
  t.equal(long.session.endsAt, clock.now + DAY_MS, '24 hours when nothing is said')
})

t.test(
  'what cannot be written is not made; what must not count does not, and is written later',
  async (t) => {
    const { state, apiTokens, setReadOnly } = startApiTokens()
    const first = apiTokens.create(wanted())
    const second = apiTokens.create(wanted({ name: 'b' }))
    const before = JSON.stringify(apiTokens.list().map(describe))
    setReadOnly(true)
    t.throws(() => apiTokens.create(wanted({ name: 'c' })), { code: 'state-unavailable' })
    t.throws(() => apiTokens.rotate(first.apiToken), { code: 'state-unavailable' })
    t.equal(JSON.stringify(apiTokens.list().map(describe)), before)
    apiTokens.markExposed(first.apiToken)
    t.match(apiTokens.revoke(first.apiToken), { ended: [first.apiToken.session], isSaved: false })
    t.notOk(apiTokens.isLive(first.apiToken), 'it is revoked all the same')
    t.equal(apiTokens.revokeLeaked(second.token).isSaved, false)
    t.equal(reloaded(state).find(first.token)?.session.endedBy, undefined, 'not on the disk')
    setReadOnly(false)
    state.flush()
    for (const token of [first.token, second.token]) {
      const found = reloaded(state).find(token)
      t.equal(found?.session.endedBy, 'revoked')
      t.equal(found?.exposedAt, START)
    }
  },
)

t.test('a write that comes late undoes nothing', async (t) => {
  const { state, apiTokens, setReadOnly } = startApiTokens()
  const { token, apiToken } = apiTokens.create(wanted())
  setReadOnly(true)
  apiTokens.markExposed(apiToken)
  setReadOnly(false)
  apiTokens.revoke(apiToken)
  state.flush()
  t.equal(reloaded(state).find(token)?.session.endedBy, 'revoked')
})

t.test(
  'what a predecessor changed is taken over, and known sessions stay the same objects',
  async (t) => {
    const state = State.inMemory()
    const predecessor = startApiTokens(state).apiTokens
    const [kept, revoked, rotated, gone] = ['a', 'b', 'c', 'd'].map((name) =>
      predecessor.create(wanted({ name })),
    )
    if (!kept || !revoked || !rotated || !gone) return
    const successor = startApiTokens(state)
    successor.apiTokens.load()
    const before = [kept, revoked, rotated, gone].map(({ token }) =>
      successor.apiTokens.find(token),
    )
    t.ok(before.every((one) => one !== undefined && successor.apiTokens.isLive(one)))
    predecessor.revoke(revoked.apiToken)
    const next = predecessor.rotate(rotated.apiToken, DAY_MS)
    kept.apiToken.session.lastSeenAt = START + 5
    predecessor.noteUse(kept.apiToken, '203.0.113.9')
    state.flush()
    state.read((database) => database.exec(`DELETE FROM api_tokens WHERE name = 'd'`))
    successor.apiTokens.load()
    t.equal(successor.apiTokens.find(kept.token), before[0])
    t.match(describe(before[0]!), {
      lastUsedAt: '2026-01-01T00:00:00.005Z',
      lastUsedFrom: '203.0.113.9',
    })
    t.equal(before[1]?.session.endedBy, 'revoked')
    t.equal(before[2]?.name, 'c-old')
    t.equal(before[2]?.session.endsAt, START + DAY_MS)
    t.ok(successor.apiTokens.find(next.token))
    t.equal(successor.apiTokens.find(gone.token), undefined)
    t.equal(before[3]?.session.endedBy, 'revoked')
    t.same(successor.ended.flat().toSorted(), [revoked.apiToken.id, gone.apiToken.id].toSorted())
  },
)

t.test(
  'a restart with the same clock revives no token that a rotation has shortened',
  async (t) => {
    const { state, clock, apiTokens } = startApiTokens()
    const { token, apiToken } = apiTokens.create(wanted())
    apiTokens.rotate(apiToken, 1000)
    clock.now += 1000
    const next = reloaded(state, clock.now)
    const found = next.find(token)
    t.ok(found !== undefined && !next.isLive(found))
  },
)

t.test('a text with tokens revokes each of them that is one of ours', async (t) => {
  const { apiTokens, ended } = startApiTokens()
  const [a, b, c, untouched] = ['a', 'b', 'c', 'd'].map((name) =>
    apiTokens.create(wanted({ name })),
  )
  if (!a || !b || !c || !untouched) return
  apiTokens.revoke(c.apiToken)
  const text = `x=${a.token}\n${b.token}${b.token}é${c.token} hub_${'z'.repeat(32)} hub_ hub_hub_`
  const leak = apiTokens.revokeLeaked(text)
  t.same(
    leak.tokens.map(({ name }) => name),
    ['a', 'b', 'c'],
  )
  t.same(leak.ended, [a.apiToken.session, b.apiToken.session], 'one was over before')
  t.ok(leak.isSaved)
  t.same(ended.at(-1), [a.apiToken.id, b.apiToken.id])
  for (const { apiToken } of [a, b, c]) t.equal(apiToken.exposedAt, START)
  t.ok(apiTokens.isLive(untouched.apiToken))
  t.equal(untouched.apiToken.exposedAt, undefined)
  t.match(apiTokens.revokeLeaked('nothing'), { tokens: [], ended: [], isSaved: true })
})

t.test('a token that begins within another candidate is found', async (t) => {
  const { apiTokens } = startApiTokens()
  const { token, apiToken } = apiTokens.create(wanted())
  const text = `hub_${'a'.repeat(29)}${token}`
  t.match(text.slice(0, 36), /^hub_a{29}hub$/)
  t.equal(apiTokens.liveIn(text), apiToken)
})

t.test('a token in an address is found however it is escaped', async (t) => {
  const { apiTokens } = startApiTokens()
  const { token, apiToken } = apiTokens.create(wanted())
  const escaped = (text: string, isUpper: boolean) => {
    const hex = Buffer.from(text).toString('hex')
    return (isUpper ? hex.toUpperCase() : hex).replaceAll(/../g, '%$&')
  }
  const layer = fc.array(fc.boolean(), { minLength: 1, maxLength: 7 })
  fc.assert(
    fc.property(fc.array(layer, { maxLength: 4 }), fc.boolean(), (layers, isUpper) => {
      let text = token
      for (const chosen of layers)
        text = Array.from(text, (one, i) =>
          chosen[i % chosen.length] === true ? escaped(one, isUpper) : one,
        ).join('')
      return apiTokens.liveIn(`/x%2Fy?a=${text}&b=%20`) === apiToken
    }),
    { seed: 20_261_201, numRuns: 2000 },
  )
  /** Every way to escape a character: as it is, or with each character of its escape escaped in turn. */
  const forms = (character: string, depth: number): string[] => {
    if (depth === 0) return [character]
    const [high = '', low = ''] = Buffer.from(character).toString('hex')
    const each = (one: string) => forms(one, depth - 1)
    const escapes = each('%').flatMap((a) =>
      each(high).flatMap((b) => each(low).map((c) => a + b + c)),
    )
    return [character, ...escapes]
  }
  for (const [i, character] of Array.from('hub_').entries())
    for (const form of forms(character, 3))
      for (const cased of [form, form.length === 1 ? form : form.toUpperCase()]) {
        const text = token.slice(0, i) + cased + token.slice(i + 1)
        if (apiTokens.liveIn(text) !== apiToken) t.fail(text)
      }
  t.equal(apiTokens.liveIn(token.replace('hub_', '%2568%u_')), undefined)
})

t.test('an address full of candidates costs a few look-ups', async (t) => {
  const { apiTokens } = startApiTokens()
  const { token } = apiTokens.create(wanted())
  const decoy = (i: number) => `hub_${String(i).padStart(32, 'x')}`
  const decoys = (count: number) => Array.from({ length: count }, (_, i) => decoy(i)).join('/')
  t.ok(apiTokens.liveIn(`/${decoys(15)}/${token}`))
  t.equal(apiTokens.liveIn(`/${decoys(16)}/${token}`), undefined)
  t.equal(
    apiTokens.revokeLeaked(`${decoys(5000)} ${token}`).ended.length,
    1,
    'a leak is searched whole',
  )
})

t.test('a token is allowed from its networks alone', async (t) => {
  const { apiTokens } = startApiTokens()
  const anywhere = apiTokens.create(wanted()).apiToken
  t.ok(isAllowedFrom(anywhere, '203.0.113.9'))
  const { apiToken } = apiTokens.create(
    wanted({ name: 'b', addresses: ['203.0.113.0/24', '2001:db8::/32', '::ffff:192.0.2.1'] }),
  )
  for (const [address, expected] of [
    ['203.0.113.9', true],
    ['203.0.114.9', false],
    ['2001:db8::1', true],
    ['2001:db9::1', false],
    ['192.0.2.1', true],
    ['::1', false],
    ['', false],
    ['localhost', false],
  ] as const)
    t.equal(isAllowedFrom(apiToken, address), expected, address)
})

t.test('the last use is exact in memory, and written once a minute', async (t) => {
  const { state, clock, apiTokens } = startApiTokens()
  const { token, apiToken } = apiTokens.create(wanted())
  const use = (address: string) => {
    clock.now += 1
    apiToken.session.lastSeenAt = clock.now
    apiTokens.noteUse(apiToken, address)
  }
  use('203.0.113.1')
  use('203.0.113.2')
  t.equal(apiToken.uses, 2)
  const used = { lastUsedAt: '2026-01-01T00:00:00.002Z', lastUsedFrom: '203.0.113.2' }
  t.match(describe(apiToken), used)
  const onDisk = () => describe(reloaded(state).find(token)!)
  t.match(onDisk(), { lastUsedAt: null, lastUsedFrom: null })
  state.flush()
  t.match(onDisk(), used)
  use('2001:db8::1')
  state.flush()
  t.match(onDisk(), { lastUsedFrom: '2001:db8::1' })
})

t.test('tokens that were over 90 days ago are forgotten', async (t) => {
  const { state, clock, apiTokens } = startApiTokens()
  const revoked = apiTokens.create(wanted({ name: 'a', expiresAt: undefined }))
  apiTokens.create(wanted({ name: 'b', expiresAt: START + DAY_MS }))
  apiTokens.create(wanted({ name: 'c', expiresAt: undefined }))
  apiTokens.revoke(revoked.apiToken)
  const namesAt = (now: number) => {
    clock.now = now
    state.flush()
    return [apiTokens, reloaded(state, now)].map((one) =>
      one
        .list()
        .map(({ name }) => name)
        .toSorted()
        .join(''),
    )
  }
  t.same(namesAt(START + 90 * DAY_MS - 1), ['abc', 'abc'])
  t.same(namesAt(START + 90 * DAY_MS), ['bc', 'bc'])
  t.same(namesAt(START + 91 * DAY_MS), ['c', 'c'])
  t.equal(apiTokens.find(revoked.token), undefined)
})

t.test('there are 10,000 tokens at most, and those that are over make room', async (t) => {
  const { state, apiTokens } = startApiTokens()
  // One transaction, because a commit for each of ten thousand takes time and tests nothing.
  const first = apiTokens.create(wanted({ name: 't0' })).apiToken
  state.read((database) => {
    database.exec(`WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM i WHERE n < ${MAX_API_TOKENS - 1})
      INSERT INTO api_tokens SELECT 'tok_' || n, randomblob(32), 't' || n, last4, subject, scopes, addresses, rate,
        created_at + n, expires_at, NULL, NULL, NULL, NULL, NULL FROM i, api_tokens WHERE name = 't0'`)
  })
  apiTokens.load()
  t.equal(apiTokens.size, MAX_API_TOKENS)
  t.throws(() => apiTokens.create(wanted()), TOO_MANY)
  t.throws(() => apiTokens.rotate(first), TOO_MANY)
  t.equal(first.name, 't0', 'nothing has changed')
  apiTokens.revoke(apiTokens.named('t7')!)
  t.ok(apiTokens.create(wanted()))
  t.equal(apiTokens.size, MAX_API_TOKENS)
  t.equal(apiTokens.named('tok_7'), undefined)
  t.throws(() => apiTokens.create(wanted({ name: 'b' })), TOO_MANY)
})

t.test('advice names the tokens in force that deserve a look', async (t) => {
  const { clock, apiTokens } = startApiTokens()
  const make = (name: string, overrides: Partial<NewApiToken> = {}) =>
    apiTokens.create(wanted({ name, expiresAt: START + 400 * DAY_MS, ...overrides })).apiToken
  const [idle, busy, endless, exposed] = [
    make('idle'),
    make('busy'),
    make('endless', { expiresAt: undefined }),
    make('exposed'),
  ]
  make('unused')
  make('expired', { expiresAt: START + 1 })
  const revoked = make('revoked')
  apiTokens.markExposed(exposed)
  apiTokens.markExposed(revoked)
  apiTokens.revoke(revoked)
  idle.session.lastSeenAt = START
  clock.now += 90 * DAY_MS
  apiTokens.rotate(make('replaced'), DAY_MS).apiToken.session.lastSeenAt = clock.now
  for (const used of [busy, endless, exposed]) used.session.lastSeenAt = clock.now - 1
  const advice = tokenAdvice(apiTokens.list().map(describe), clock.now)
  const names = Object.entries(advice).map(([what, list]) => [
    what,
    list.map(({ name }: { name: string }) => name),
  ])
  t.same(Object.fromEntries(names), {
    withoutEnd: ['endless'],
    neverUsed: ['unused'],
    unused: ['idle'],
    exposed: ['exposed'],
  })
  t.same(tokenAdvice([], 0), { withoutEnd: [], neverUsed: [], unused: [], exposed: [] })
})
