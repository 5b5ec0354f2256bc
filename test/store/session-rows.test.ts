/** Do sessions that an older release has kept live on, and is the device that one is bound to kept? */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { MIGRATIONS } from '../../src/store/schema.ts'
import { allSessions, putSession, type SessionRow } from '../../src/store/session-rows.ts'
import { openStateFile, stateFile } from '../../src/store/state-file.ts'
import { restoreState, stateCopy } from '../../src/store/state-backup.ts'
import { temporaryFolder } from '../helpers/process.ts'

/** The tables before sessions could be bound to a device. */
const BEFORE_DEVICES = 2

const ROW: SessionRow = {
  ...{ id: 'one', subject: 'alice', kid: 'key', tokenId: 'token', superseded: [] },
  ...{ createdAt: 1, authenticatedAt: 2, endsAt: 4_000_000_000_000, methods: ['swk'] },
  ...{ factorAt: undefined, device: 'Phone', address: 'device:x', lastSeenAt: 3 },
  ...{ lastSeenFrom: 'device:x', boundTo: 'x' },
}

/** Makes a state file as the release before wrote it, with a session of a browser. @returns its folder */
function olderState(t: Parameters<typeof temporaryFolder>[0]): string {
  const folder = temporaryFolder(t)
  const format = { migrations: MIGRATIONS.slice(0, BEFORE_DEVICES), program: '1.0.0' }
  const { database } = openStateFile(stateFile(folder), { begin: () => {}, format })
  database.exec(
    `INSERT INTO sessions VALUES ('old', 'alice', 'key', 'token', '[]', 1, 2, 4000000000000, '["otp"]', 'Firefox', '203.0.113.9', 3, '203.0.113.9', 5)`,
  )
  database.close()
  return folder
}

t.test('a session of an older release lives on, and is bound to no device', async (t) => {
  const folder = olderState(t)
  const { database } = openStateFile(stateFile(folder))
  t.match(allSessions(database), [
    { id: 'old', device: 'Firefox', factorAt: 5, boundTo: undefined, lastSeenFrom: '203.0.113.9' },
  ])
  putSession(database, ROW)
  t.same(
    allSessions(database).find(({ id }) => id === 'one'),
    ROW,
  )
  database.close()
  const kept = readdirSync(folder).filter((name) => name.startsWith(`state.db.v${BEFORE_DEVICES}-`))
  t.equal(kept.length, 1, 'the state before is kept')
})

t.test('a backup of an older release can be restored, and a backup has the device', async (t) => {
  const copy = readFileSync(stateFile(olderState(t)))
  const folder = temporaryFolder(t)
  restoreState(folder, copy)
  const { database } = openStateFile(stateFile(folder))
  t.same(allSessions(database), [], 'everybody is signed out')
  putSession(database, ROW)
  database.close()
  const other = join(temporaryFolder(t), 'state.db')
  const backup = stateCopy(folder)
  t.ok(backup)
  writeFileSync(other, backup ?? '', { mode: 0o600 })
  const { database: again } = openStateFile(other)
  t.same(allSessions(again), [ROW])
  again.close()
})
