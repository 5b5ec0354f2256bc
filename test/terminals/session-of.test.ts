/** When does the session of a terminal end, also of one that this process has never seen? */
import t from 'tap'
import { ApiTokens } from '../../src/identity/api-tokens.ts'
import { KeyRing } from '../../src/identity/key-ring.ts'
import { Session } from '../../src/identity/session.ts'
import { Sessions } from '../../src/identity/sessions.ts'
import { State } from '../../src/store/state.ts'
import type { TerminalEntry } from '../../src/terminals/protocol.ts'
import { endOf, endOfSession, markOf } from '../../src/terminals/session-of.ts'
import { SECRET } from '../helpers/gateway.ts'

const NOW = 1_800_000_000_000
const HOUR = 3_600_000
const DIGEST = 'a'.repeat(22)

function identity() {
  const state = State.inMemory()
  const now = () => NOW
  const keys = new KeyRing([SECRET])
  const sessions = new Sessions(state, { maxSeconds: 3600, leewaySeconds: 30, now })
  const apiTokens = new ApiTokens(state, { now })
  const sources = { sessions, apiTokens, keys, now }
  const kid = keys.signing.kid
  /** A program's token is seen. */
  const admit = (endsAt: number) => {
    const claims = { subject: 'alice', expiresAt: endsAt / 1000, sessionId: 'agent' }
    return sessions.admitProgram(claims as Parameters<typeof sessions.admitProgram>[0], DIGEST, kid)
  }
  const endOfEntry = (entry: Partial<TerminalEntry>) =>
    endOfSession(
      {
        ...{ id: 'a', state: 'parked', sid: 'x', sub: 'alice', ends: NOW + HOUR, tab: 'tab' },
        ...{ title: '', columns: 80, rows: 24, startedAt: NOW - HOUR, since: NOW },
        ...{ parkedUntil: undefined, mark: `program ${kid}` },
        ...entry,
      },
      sources,
    )
  return { ...sources, kid, admit, endOfEntry }
}

t.test(
  'a browser’s session that is not known has ended, whatever the keeper was told',
  async (t) => {
    const { endOfEntry, kid } = identity()
    for (const mark of [`browser ${kid}`, 'browser', '', undefined, 'gibberish'])
      t.equal(endOfEntry({ mark }), undefined, String(mark))
  },
)

t.test('a program that was not seen lives until its token expires', async (t) => {
  const { endOfEntry, sessions, kid } = identity()
  t.equal(endOfEntry({}), NOW + HOUR)
  t.equal(endOfEntry({ ends: NOW }), undefined)
  t.equal(endOfEntry({ ends: undefined }), Infinity)
  t.equal(endOfEntry({ mark: 'program gone' }), undefined, 'its key was removed')
  t.equal(endOfEntry({ mark: 'program' }), undefined)
  t.equal(endOfEntry({ sub: 'b%C3%B6b' }), NOW + HOUR)
  sessions.endAll('all-ended', 'böb')
  t.equal(endOfEntry({ sub: 'b%C3%B6b' }), undefined, 'signed out since')
  t.equal(endOfEntry({ sub: 'b%C3%B6b', startedAt: NOW + 1 }), NOW + HOUR, 'opened after that')
  t.equal(endOfEntry({ mark: `program ${kid}` }), NOW + HOUR, 'nobody else')
})

t.test('of the tokens of a program the one that lasts longest counts', async (t) => {
  const { endOfEntry, admit, sessions } = identity()
  const session = admit(NOW + 2 * HOUR)
  const { id: sid } = session
  t.equal(endOfEntry({ sid, ends: NOW + HOUR }), NOW + 2 * HOUR, 'it has a newer one')
  t.equal(endOfEntry({ sid, ends: NOW + 3 * HOUR }), NOW + 3 * HOUR, 'it had one that lasts longer')
  t.equal(endOfEntry({ sid, mark: 'program gone' }), NOW + 2 * HOUR, 'whose key was removed')
  sessions.end([session], 'revoked')
  t.equal(endOfEntry({ sid }), undefined)
})

t.test('an API token counts by its id alone', async (t) => {
  const { endOfEntry, apiTokens } = identity()
  const { apiToken } = apiTokens.create({ name: 'ci', subject: 'alice', expiresAt: NOW + HOUR })
  const mark = markOf(apiToken.session)
  t.equal(mark.trim(), mark, 'as it is in a header')
  t.equal(endOfEntry({ sid: apiToken.id, mark }), NOW + HOUR)
  t.equal(endOfEntry({ sid: 'ci', mark }), undefined)
  t.equal(endOfEntry({ sid: apiToken.id, mark: 'browser k' }), undefined)
  apiTokens.revoke(apiToken)
  t.equal(endOfEntry({ sid: apiToken.id, mark }), undefined)
})

t.test('what is opened within the leeway ends with the leeway', async (t) => {
  const options = { subject: 'alice', endsAt: NOW + 0.5, graceMs: 30_000 }
  const session = new Session('x', 'program', options)
  t.equal(endOf(session, NOW), NOW)
  t.equal(endOf(session, NOW + 1), NOW + 30_000)
  t.equal(endOf(new Session('x', 'program', { ...options, endsAt: Infinity }), NOW), Infinity)
})
