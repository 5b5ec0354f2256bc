/** Is the state private, kept, and mistrusted when it is damaged? */
import {
  chmodSync,
  existsSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t from 'tap'
import { MIGRATIONS } from '../../src/store/schema.ts'
import { allSessions } from '../../src/store/session-rows.ts'
import { NewerStateError } from '../../src/store/state-errors.ts'
import { openStateFile } from '../../src/store/state-file.ts'
import { State } from '../../src/store/state.ts'
import { temporaryFolder } from '../helpers/process.ts'
import { asideIn, fileIn, openState } from '../helpers/state.ts'

const modeOf = (path: string) => statSync(path).mode & 0o777

/** A state folder with one ending, which no process uses. */
async function keptFolder(t: Parameters<typeof temporaryFolder>[0]) {
  const stateDir = temporaryFolder(t)
  const { state, end } = await openState(t, stateDir)
  end('before')
  state.close()
  return stateDir
}

t.test('the first start makes private files, says so, and sets no watermark', async (t) => {
  const stateDir = temporaryFolder(t)
  const umask = process.umask(0)
  t.teardown(() => process.umask(umask))
  const { state, said, end, watermark } = await openState(t, stateDir)
  end('one')
  t.same(said('warn'), ['no state yet: nobody is signed in'])
  t.same(said('error'), [])
  t.same(state.condition, { health: 'ok' })
  t.equal(watermark(), undefined)
  const names = readdirSync(stateDir)
  t.same(names, ['state.db', 'state.db-shm', 'state.db-wal', 'state.lock'])
  for (const name of names) t.equal(modeOf(join(stateDir, name)), 0o600, name)
  const pragma = (name: string) =>
    state.read((database) => Object.values(database.prepare(`PRAGMA ${name}`).get() ?? {})[0])
  t.equal(pragma('journal_mode'), 'wal')
  t.equal(pragma('synchronous'), 2, 'FULL')
  const tables = state.read((database) =>
    database.prepare("SELECT sql FROM sqlite_schema WHERE type = 'table'").all(),
  )
  for (const { sql } of tables ?? []) t.match(sql, /STRICT/)
  state.close()
  t.same(readdirSync(stateDir), ['state.db', 'state.lock'])
})

t.test('another start knows what was written, and has nothing to say', async (t) => {
  const stateDir = await keptFolder(t)
  const { state, ended, lines, watermark } = await openState(t, stateDir)
  t.same(ended(), ['before'])
  t.equal(watermark(), undefined)
  t.same(lines(), [])
  t.same(state.condition, { health: 'ok' })
})

/** What can be wrong with a state file, how it comes about, and what is said of it. */
const DAMAGES: Record<string, [spoil: (path: string) => void, reason: RegExp]> = {
  'no database': [(path) => writeFileSync(path, 'x'.repeat(5000)), /not a database/],
  'cut short': [(path) => truncateSync(path, 9000), /malformed|damaged/],
  'emptied with its log': [
    (path) => {
      truncateSync(path, 0)
      writeFileSync(`${path}-wal`, 'x'.repeat(100), { mode: 0o600 })
    },
    /write-ahead log/,
  ],
  'gone without its log': [
    (path) => {
      rmSync(path)
      writeFileSync(`${path}-wal`, 'x'.repeat(100), { mode: 0o600 })
    },
    /write-ahead log/,
  ],
  'pages overwritten': [
    (path) => {
      const bytes = readFileSync(path)
      bytes.fill(0x5a, 4096, 12_288)
      writeFileSync(path, bytes)
    },
    /malformed|damaged/,
  ],
  'without a table': [(path) => alter(path, 'DROP TABLE meta'), /no such table/],
  'a row that is none': [
    (path) =>
      alter(
        path,
        "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, 'keep_until INTEGER', 'keep_until TEXT') WHERE name = 'endings'",
      ),
    /damaged/,
  ],
  'of another program': [
    (path) => {
      rmSync(path)
      alter(path, 'CREATE TABLE sessions (id)')
      chmodSync(path, 0o600)
    },
    /another program/,
  ],
  'a folder': [
    (path) => {
      rmSync(path)
      mkdirSync(path)
      writeFileSync(join(path, 'file'), '')
    },
    /regular file/,
  ],
  'a link': [
    (path) => {
      renameSync(path, `${path}.elsewhere`)
      symlinkSync(`${path}.elsewhere`, path)
    },
    /regular file/,
  ],
  'open to others': [(path) => chmodSync(path, 0o646), /anybody can write it.*646/],
  ...(process.geteuid?.() === 0
    ? { 'another user’s': [(path: string) => chownSync(path, 12_345, 0), /another user.*12345/] }
    : {}),
}

function alter(path: string, statements: string): void {
  const database = new DatabaseSync(path, { defensive: false })
  database.exec(statements)
  database.close()
}

for (const [name, [spoil, reason]] of Object.entries(DAMAGES))
  t.test(
    `a state that is damaged (${name}) is moved aside, and everybody is signed out`,
    async (t) => {
      const stateDir = await keptFolder(t)
      const path = fileIn(stateDir)
      spoil(path)
      const startedAt = Date.now()
      const first = await openState(t, stateDir)
      t.match(first.said('error'), [/^state was damaged/])
      const { health, damage } = first.state.condition
      t.equal(health, 'damaged')
      t.match(damage?.reason, reason)
      t.ok(Number(first.watermark()) >= startedAt, 'now')
      t.same(first.ended(), [], 'a new one')
      t.equal(modeOf(path), 0o600)
      if (damage?.movedTo === undefined) t.match(name, /gone/)
      else t.same(asideIn(stateDir), [damage.movedTo], 'nothing is deleted')
      first.end('after')
      first.state.close()

      const second = await openState(t, stateDir)
      t.same(second.state.condition, { health: 'ok' }, 'said until the next start')
      t.same(second.lines(), [])
      t.same(second.ended(), ['after'])
      t.ok(Number(second.watermark()) >= startedAt, 'the watermark stays')
    },
  )

t.test('a state that a mount has opened to a group is made private again, and kept', async (t) => {
  const stateDir = await keptFolder(t)
  const kept = [fileIn(stateDir), `${fileIn(stateDir)}-wal`].filter((path) => existsSync(path))
  for (const path of kept) chmodSync(path, 0o664)
  const { state, said, ended } = await openState(t, stateDir)
  t.same(state.condition, { health: 'ok' })
  t.same(said('error'), [])
  t.not(ended().length, 0, 'what was kept is there')
  for (const name of readdirSync(stateDir)) t.equal(modeOf(join(stateDir, name)), 0o600, name)
})

t.test('damage that shows only when the state is read is handled in the same way', async (t) => {
  const { state, said, watermark, end } = await openState(t, temporaryFolder(t))
  state.read((database) => database.exec('DROP TABLE sessions'))
  t.same(state.read(allSessions), [])
  t.match(said('error'), [/^state was damaged/])
  t.match(state.condition, { health: 'damaged', damage: { reason: /no such table/ } })
  t.ok(watermark())
  end('works on')
})

t.test(
  'a start that was cut short between the damaged state and the new one is no first start',
  async (t) => {
    const stateDir = await keptFolder(t)
    renameSync(fileIn(stateDir), `${fileIn(stateDir)}.corrupt-20260101T000000000Z`)
    for (const begin of [() => {}, (path: string) => writeFileSync(path, '', { mode: 0o600 })]) {
      rmSync(fileIn(stateDir), { force: true })
      begin(fileIn(stateDir))
      const { state, watermark } = await openState(t, stateDir)
      t.match(state.condition, { health: 'damaged' })
      t.ok(watermark())
      state.close()
    }
  },
)

for (const how of ['removed', 'removed with its log', 'replaced'])
  t.test(`a state that is ${how} while it is in use is not written into the void`, async (t) => {
    const stateDir = temporaryFolder(t)
    const { state, said, end, endSurely, watermark } = await openState(t, stateDir)
    let heard = 0
    state.onOpened(() => heard++)
    end('before')
    const path = fileIn(stateDir)
    if (how === 'replaced') copyFileSync(path, `${path}.new`)
    for (const suffix of how === 'removed' ? [''] : ['', '-wal', '-shm'])
      rmSync(path + suffix, { force: true })
    if (how === 'replaced') renameSync(`${path}.new`, path)
    t.throws(() => end('lost'), { code: 'state-unavailable' }, 'the answer promises nothing')
    t.equal(heard, 1)
    t.match(said('error'), [/^state was damaged/])
    t.match(state.condition, { health: 'damaged', damage: { reason: /removed or replaced/ } })
    const at = watermark() ?? 0
    t.ok(at > 0, 'everybody is signed out')
    t.ok(endSurely('after'))
    state.close()
    const again = await openState(t, stateDir)
    t.same(again.ended(), ['after'], 'what was answered is there after a restart')
    t.equal(again.watermark(), at)
  })

t.test('a state of a newer program is left alone, and its program is named', async (t) => {
  const stateDir = await keptFolder(t)
  const path = fileIn(stateDir)
  alter(path, "PRAGMA user_version = 99; UPDATE meta SET value = '7.8.9' WHERE name = 'written-by'")
  const before = readFileSync(path)
  await t.rejects(openState(t, stateDir), {
    name: 'NewerStateError',
    message: /written by workspace-gateway 7\.8\.9/,
  })
  await t.rejects(openState(t, stateDir, { takesOver: true }), NewerStateError)
  await t.rejects(State.openForCommand(stateDir), NewerStateError)
  t.ok(readFileSync(path).equals(before), 'untouched')
  t.same(asideIn(stateDir), [])
  alter(path, `PRAGMA user_version = ${MIGRATIONS.length}`)
  const { ended } = await openState(t, stateDir)
  t.same(ended(), ['before'], 'the lock was released')
})

t.test('an older state is migrated, and kept as it was', async (t) => {
  const stateDir = await keptFolder(t)
  const path = fileIn(stateDir)
  const migrations = [...MIGRATIONS, 'CREATE TABLE later (id TEXT PRIMARY KEY) STRICT']
  const failing = [
    ...migrations,
    'CREATE TABLE half (id TEXT) STRICT; INSERT INTO nowhere VALUES (1)',
  ]
  const version = (file: string) => {
    const database = new DatabaseSync(file, { readOnly: true })
    const row = database.prepare('PRAGMA user_version').get()
    const half = database.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'half'").get()
    database.close()
    t.equal(half, undefined)
    return row?.['user_version']
  }
  t.throws(() => openStateFile(path, { format: { migrations: failing, program: '2' } }))
  t.equal(version(path), MIGRATIONS.length + 1, 'each migration is made whole or not at all')
  for (const name of readdirSync(stateDir).filter((one) => /\.v[0-9]+-/.test(one)))
    rmSync(join(stateDir, name))

  const again = await keptFolder(t)
  openStateFile(fileIn(again), { format: { migrations, program: '2' } }).database.close()
  const [kept = '', ...more] = readdirSync(again).filter((one) => one.startsWith('state.db.v'))
  t.same(more, [])
  t.match(kept, new RegExp(`^state\\.db\\.v${MIGRATIONS.length}-\\d{8}T\\d{9}Z$`))
  t.equal(modeOf(join(again, kept)), 0o600)
  t.equal(version(join(again, kept)), MIGRATIONS.length)
  copyFileSync(join(again, kept), fileIn(again))
  t.same((await openState(t, again)).ended(), ['before'], 'and can be used')
})

t.test('of two that want to write, the second is refused; whoever reads is not', async (t) => {
  const stateDir = temporaryFolder(t)
  const { state, end } = await openState(t, stateDir)
  end('one')
  await t.rejects(openState(t, stateDir), { name: 'StateBusyError', message: stateDir })
  await t.rejects(State.openForCommand(stateDir), { name: 'StateBusyError' })
  const reader = new DatabaseSync(fileIn(stateDir), { readOnly: true })
  t.match(reader.prepare('SELECT id FROM endings').all(), [{ id: 'one' }])
  reader.close()
  end('two')
  state.close()
  const command = await State.openForCommand(stateDir)
  command.close()
  t.same((await openState(t, stateDir)).ended(), ['one', 'two'])
})

t.test('a command does not begin a new state: the gateway does, and tells of it', async (t) => {
  const stateDir = await keptFolder(t)
  writeFileSync(fileIn(stateDir), 'x'.repeat(5000))
  await t.rejects(State.openForCommand(stateDir), { name: 'DamagedStateError' })
  t.same(asideIn(stateDir), [])
  const { state } = await openState(t, stateDir)
  t.equal(state.condition.health, 'damaged')
})
