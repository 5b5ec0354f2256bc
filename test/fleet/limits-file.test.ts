/** Which file of the limits is opened, and what is said of one that cannot be? */
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { PROVISION } from '../../src/config/limit-policies.ts'
import { StoreAwayError } from '../../src/fleet/limit-store.ts'
import { LimitsBusyError, LimitsFileError } from '../../src/fleet/limits-file.ts'
import { SqliteStore } from '../../src/fleet/sqlite-store.ts'
import { recordingLogger } from '../helpers/operations.ts'
import { temporaryFolder } from '../helpers/process.ts'

/** A folder in which a user has taken something, and its file. */
async function usedFolder(t: Test, users = 1): Promise<{ stateDir: string; file: string }> {
  const stateDir = temporaryFolder(t)
  const store = SqliteStore.open(stateDir)
  await Promise.all(
    Array.from({ length: users }, (_, i) => store.take(PROVISION, `user ${i}`, 'one')),
  )
  await store.close()
  return { stateDir, file: join(stateDir, 'limits.db') }
}

/** Why a folder cannot be opened. */
function problem(t: Test, stateDir: string): string {
  try {
    void SqliteStore.open(stateDir).close()
  } catch (error) {
    t.ok(error instanceof LimitsFileError, String(error))
    return (error as Error).message
  }
  t.fail('it was opened')
  return ''
}

/** Runs statements in a file, as another program would. */
function change(file: string, sql: string): void {
  const database = new DatabaseSync(file)
  database.exec(sql)
  database.close()
}

const modeOf = (path: string) => (lstatSync(path).mode & 0o777).toString(8)

t.test('the folder and its files are made for this user alone', async (t) => {
  const stateDir = join(temporaryFolder(t), 'new', 'limits')
  const store = SqliteStore.open(stateDir)
  await store.take(PROVISION, 'ada', 'one')
  t.equal(modeOf(dirname(stateDir)), '700')
  t.equal(modeOf(stateDir), '700')
  const files = readdirSync(stateDir)
  t.same(files, ['limits.db', 'limits.db-shm', 'limits.db-wal', 'limits.lock'])
  for (const file of files) t.equal(modeOf(join(stateDir, file)), '600', file)
  await store.close()
  t.same(readdirSync(stateDir), ['limits.db', 'limits.lock'])

  chmodSync(join(stateDir, 'limits.db'), 0o644)
  await SqliteStore.open(stateDir).close()
  t.equal(modeOf(join(stateDir, 'limits.db')), '600', 'a volume may have given it another mode')
})

t.test('one process has the folder', async (t) => {
  const { stateDir } = await usedFolder(t)
  const store = SqliteStore.open(stateDir)
  for (let i = 0; i < 2; i++)
    t.throws(
      () => SqliteStore.open(stateDir),
      new LimitsBusyError(`LIMITS_STATE_DIR ${stateDir} is in use by another process`),
    )
  t.equal((await store.take(PROVISION, 'ada', 'one')).outcome, 'taken', 'and goes on')
  await store.close()
  await SqliteStore.open(stateDir).close()
})

t.test('a file of a newer program is left alone', async (t) => {
  const { stateDir, file } = await usedFolder(t)
  change(file, 'PRAGMA user_version = 2')
  const before = readFileSync(file)
  const openFiles = readdirSync('/proc/self/fd').length
  t.equal(
    problem(t, stateDir),
    `LIMITS_STATE_DIR: ${file} was written by a newer workspace-gateway (version 2 of the file, and this one knows 1); start the newer one, or move the files limits.db* away, and every user begins anew`,
  )
  t.same(readFileSync(file), before)
  t.equal(readdirSync('/proc/self/fd').length, openFiles, 'nothing stays open')
  change(file, 'PRAGMA user_version = 1')
  await SqliteStore.open(stateDir).close() // the lock was released
})

/** What makes a file unusable, and what is said of it. */
const DAMAGES: ReadonlyArray<
  readonly [what: string, damage: (file: string, stateDir: string) => void, why: RegExp]
> = [
  ['it is no database', (file) => writeFileSync(file, 'x'.repeat(5000)), /not a database/],
  ['it is short', (file) => truncateSync(file, 5000), /damaged|malformed|disk image/],
  [
    'a page is overwritten',
    (file) => {
      const bytes = readFileSync(file)
      bytes.fill(0x55, 4096 * 3, 4096 * 6)
      writeFileSync(file, bytes)
    },
    /damaged|malformed/,
  ],
  [
    'it belongs to another program',
    (file) => change(file, 'PRAGMA application_id = 1'),
    /a database of another program/,
  ],
  ['a table is missing', (file) => change(file, 'DROP TABLE grants'), /no such table/],
  [
    'it is a folder',
    (file) => {
      rmSync(file)
      mkdirSync(file)
    },
    /not a regular file/,
  ],
  [
    'it is a link',
    (file) => {
      renameSync(file, `${file}.real`)
      symlinkSync(`${file}.real`, file)
    },
    /not a regular file/,
  ],
  [
    'it is missing, and its log is there',
    (file) => {
      rmSync(file)
      writeFileSync(`${file}-wal`, 'x'.repeat(5000))
    },
    /missing or empty, and its write-ahead log is there/,
  ],
]

for (const [what, damage, why] of DAMAGES)
  t.test(`a file is refused with the remedy: ${what}`, async (t) => {
    const { stateDir, file } = await usedFolder(t, 500)
    damage(file, stateDir)
    const said = problem(t, stateDir)
    t.match(said, why)
    t.ok(said.startsWith(`LIMITS_STATE_DIR ${stateDir}: ${file} cannot be used: `), said)
    t.match(said, /; mend what the system says, or move the files limits\.db\* away, and every/)
    t.equal(problem(t, stateDir), said, 'each time: nothing was changed')
    for (const name of readdirSync(stateDir))
      if (name.startsWith('limits.db')) rmSync(join(stateDir, name), { recursive: true })
    await SqliteStore.open(stateDir).close() // the remedy helps
  })

t.test('an empty file is what a start has left that was cut short', async (t) => {
  const stateDir = temporaryFolder(t)
  writeFileSync(join(stateDir, 'limits.db'), '')
  const store = SqliteStore.open(stateDir)
  t.equal((await store.take(PROVISION, 'ada', 'one')).outcome, 'taken')
  await store.close()
})

t.test('a file that begins says so, and one with grants does not', async (t) => {
  const stateDir = temporaryFolder(t)
  const { logger, lines } = recordingLogger()
  for (let start = 0; start < 2; start++) {
    const store = SqliteStore.open(stateDir, { logger })
    await store.take(PROVISION, 'ada', 'one')
    await store.close()
  }
  const path = join(stateDir, 'limits.db')
  t.match(lines(), [{ level: 'warn', path, msg: 'no limits yet: nobody has taken anything' }])
  t.equal(lines().length, 1)
})

t.test('a folder that cannot be made is refused', async (t) => {
  const stateDir = join(temporaryFolder(t), 'file')
  writeFileSync(stateDir, '')
  const said = problem(t, stateDir)
  t.match(
    said,
    /^LIMITS_STATE_DIR .* a file is where a folder must be .*; give a folder of the user/,
  )
  t.notMatch(said, /limits\.db/)
})

t.test(
  "another user's folder or file is refused",
  { skip: process.geteuid?.() !== 0 && 'only root can give files away' },
  async (t) => {
    const { stateDir, file } = await usedFolder(t)
    chownSync(file, 12_345, 12_345)
    t.match(problem(t, stateDir), /limits\.db cannot be used: it belongs to another user \(12345\)/)
    chownSync(file, 0, 0)
    chownSync(stateDir, 12_345, 12_345)
    t.match(problem(t, stateDir), /^LIMITS_STATE_DIR .* belongs to another user \(12345\); give/)
  },
)

/** Fails unless nothing can be taken, because a file has lost its name. */
async function refusesLost(t: Test, store: SqliteStore): Promise<void> {
  const error = await store.take(PROVISION, 'ada', 'one').then(
    () => undefined,
    (reason: unknown) => reason,
  )
  t.ok(error instanceof StoreAwayError)
  t.match((error as Error).cause, { message: /limits\.db .*is gone, or another file has its name/ })
}

t.test('a file that was taken away is written no more', async (t) => {
  const { stateDir, file } = await usedFolder(t)
  const store = SqliteStore.open(stateDir)
  const refused = () => refusesLost(t, store)
  renameSync(file, `${file}.away`)
  await refused()
  writeFileSync(file, '')
  await refused()
  rmSync(file)
  renameSync(`${file}.away`, file)
  t.equal((await store.take(PROVISION, 'ada', 'one')).outcome, 'taken')
  await store.close()
})

t.test('nor is a write-ahead log, and what was taken before is kept by the end', async (t) => {
  const { stateDir, file } = await usedFolder(t)
  const store = SqliteStore.open(stateDir)
  t.equal((await store.take(PROVISION, 'eve', 'one')).outcome, 'taken')
  rmSync(`${file}-wal`)
  await refusesLost(t, store)
  writeFileSync(`${file}-wal`, '')
  await refusesLost(t, store)
  await store.close()
  const again = SqliteStore.open(stateDir)
  t.equal((await again.take(PROVISION, 'eve', 'two')).outcome, 'refused')
  t.equal((await again.take(PROVISION, 'ada', 'one')).outcome, 'taken')
  await again.close()
})
