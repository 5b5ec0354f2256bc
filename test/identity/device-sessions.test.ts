/** Do the programs of one device keep their tokens, and does its session end with the device alone? */
import t from 'tap'
import { Sessions } from '../../src/identity/sessions.ts'
import type { Claims } from '../../src/identity/token.ts'
import { State } from '../../src/store/state.ts'

const START = 1_800_000_000_000
const HOUR_MS = 3_600_000
const PHONE = { id: 'phone', subject: 'alice', name: 'Phone' }
const PROOF = { authenticatedAt: START, methods: ['swk'], factorAt: undefined }

function startSessions() {
  const state = State.inMemory()
  t.teardown(() => state.close())
  const clock = { now: START }
  const options = { maxSeconds: 86_400, leewaySeconds: 30, now: () => clock.now }
  const sessions = new Sessions(state, options)
  sessions.load(() => true)
  const mint = (tokenId: string, endsAt = START + 24 * HOUR_MS) =>
    sessions.startOfDevice(PHONE, { id: 's', tokenId, kid: 'key', endsAt, proof: PROOF })
  return { sessions, state, clock, mint }
}

const claimsOf = (tokenId: string, more: Partial<Claims> = {}): Claims => ({
  ...{ subject: 'alice', tokenId, sessionId: 's', issuedAt: START / 1000, isSessionToken: true },
  ...{ expiresAt: START / 1000 + 86_400, authenticatedAt: START / 1000, methods: ['swk'] },
  ...{ factorAt: undefined, sessionExpiresAt: undefined, boundTo: 'phone', ...more },
})

t.test(
  'a newer token of another program ends no older one, and takes no factor away',
  async (t) => {
    const { sessions, clock, mint } = startSessions()
    mint('one')
    mint('two', START + 30 * HOUR_MS)
    t.equal(sessions.admit(claimsOf('two'), 'key').browser.session.endsAt, START + 30 * HOUR_MS)
    clock.now += 2 * HOUR_MS
    const older = sessions.admit(claimsOf('one', { factorAt: START }), 'key')
    t.equal(older.proof.factorAt, START)
    clock.now = START + 25 * HOUR_MS
    t.throws(
      () => sessions.admit(claimsOf('one'), 'key'),
      { code: 'token-invalid' },
      'at its own end',
    )
  },
)

t.test('a token that says another device, or none, is not of this session', async (t) => {
  const { sessions, mint } = startSessions()
  mint('one')
  for (const boundTo of ['tablet', undefined])
    t.throws(() => sessions.admit(claimsOf('one', { boundTo }), 'key'), { code: 'token-invalid' })
})

t.test(
  'a session is read again as its device’s, and ends when the device is not listed',
  async (t) => {
    const { sessions, state, mint } = startSessions()
    const { session } = mint('one')
    const again = new Sessions(state, { maxSeconds: 86_400, leewaySeconds: 30, now: () => START })
    again.load(() => true)
    t.match(again.ofDevice('phone'), { session: { kind: 'device', boundTo: 'phone' } })
    t.same(sessions.endOfDevicesBut(new Set(['phone'])), { ended: [], isSaved: true })
    t.same(sessions.endOfDevicesBut(new Set()), { ended: [session], isSaved: true })
    t.equal(session.endedBy, 'revoked')
    again.load(() => true)
    t.equal(again.ofDevice('phone'), undefined)
  },
)
