/** Can the state be backed up while it is written, and restored without bringing anything back to life? */
import { chmodSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t, { type Test } from 'tap'
import { state as stateCommand } from '../../src/commands/state.ts'
import { ApiTokens } from '../../src/identity/api-tokens.ts'
import { allWatermarks, putWatermark } from '../../src/store/session-rows.ts'
import { runCommand } from '../helpers/command.ts'
import { temporaryFolder } from '../helpers/process.ts'
import { asideIn, FAR, fileIn, openState } from '../helpers/state.ts'

const run = (stateDir: string, ...args: string[]) =>
  runCommand(stateCommand, args, { GATEWAY_STATE_DIR: stateDir })

/** A state folder with an ending and two API tokens, and the name of a backup of it. */
async function backedUp(t: Test) {
  const stateDir = temporaryFolder(t)
  const file = join(temporaryFolder(t), 'backup')
  const opened = await openState(t, stateDir)
  opened.end('before')
  const tokens = new ApiTokens(opened.state)
  const create = (name: string) =>
    tokens.create({ name, subject: 'alice', expiresAt: Date.now() + 1e9 }).apiToken
  const [kept, revoked] = [create('kept'), create('revoked')]
  t.match(await run(stateDir, 'backup', file), { code: 0, out: '', err: file })
  return { ...opened, stateDir, file, tokens, create, kept, revoked }
}

t.test(
  'a backup is made while the state is written: one private file, never another’s',
  async (t) => {
    const { file, stateDir, end } = await backedUp(t)
    end('after')
    t.equal(statSync(file).mode & 0o777, 0o600)
    const database = new DatabaseSync(file, { readOnly: true })
    t.match(database.prepare('SELECT id FROM endings').all(), [{ id: 'before' }])
    database.close()
    const before = readFileSync(file)
    t.match(await run(stateDir, 'backup', file), { code: 1, err: /exists, and is not overwritten/ })
    t.ok(readFileSync(file).equals(before))
    t.match(await run(stateDir, 'backup', join(file, 'below')), { code: 1, err: /ENOTDIR/ })
    t.same(
      readdirSync(stateDir).filter((name) => name.endsWith('.tmp')),
      [],
    )
  },
)

t.test('a backup is made without a gateway too, and not of nothing or of damage', async (t) => {
  const { state, stateDir, file } = await backedUp(t)
  state.close()
  t.match(await run(stateDir, 'backup', `${file}2`), { code: 0 })
  writeFileSync(fileIn(stateDir), 'x'.repeat(5000))
  t.match(await run(stateDir, 'backup', `${file}3`), { code: 1, err: /is damaged/ })
  t.match(await run(temporaryFolder(t), 'backup', `${file}3`), { code: 1, err: /no state/ })
  t.match(await run('/nowhere', 'backup', `${file}3`), { code: 1, err: /ENOENT/ })
  t.same(readdirSync(join(file, '..')), ['backup', 'backup2'])
})

t.test(
  'a restored state signs everybody out, and what was revoked since stays revoked',
  async (t) => {
    const { state, end, tokens, create, kept, revoked, stateDir, file } = await backedUp(t)
    end('since')
    state.write((database) => putWatermark(database, 'alice', FAR)) // by a clock that has stepped back since
    tokens.revoke(revoked)
    create('made-since')
    t.match(await run(stateDir, 'restore', file), { code: 69, err: /is in use/ })
    state.close()
    const startedAt = Date.now()
    const { code, err } = await run(stateDir, 'restore', file)
    t.equal(code, 0)
    const name = /state\.db\.before-restore-\w+/.exec(err)?.[0] ?? ''
    t.same(readdirSync(stateDir), ['state.db', name, 'state.lock'])

    const again = await openState(t, stateDir)
    t.same(again.lines(), [])
    t.ok(Number(again.watermark()) >= startedAt)
    t.same(again.ended(), ['before', 'since'])
    t.same(Object.fromEntries(again.state.read(allWatermarks) ?? [])['alice'], FAR)
    const restored = new ApiTokens(again.state)
    restored.load()
    // By id, because both may have been made in the same millisecond.
    t.same(Object.fromEntries(restored.list().map((one) => [one.id, restored.isLive(one)])), {
      [kept.id]: true,
      [revoked.id]: false,
    })
    const before = new DatabaseSync(join(stateDir, name), { readOnly: true })
    t.equal(before.prepare('SELECT * FROM api_tokens').all().length, 3, 'the state before is kept')
    before.close()
  },
)

t.test('a state is restored where there is none, and in place of a damaged one', async (t) => {
  const { state, file, stateDir } = await backedUp(t)
  const empty = temporaryFolder(t)
  chmodSync(file, 0o644) // as after a copy
  t.match(await run(empty, 'restore', file), { code: 0 })
  const first = await openState(t, empty)
  t.same([first.ended(), first.state.condition.health], [['before'], 'ok'])
  t.equal(statSync(fileIn(empty)).mode & 0o777, 0o600)

  state.close()
  writeFileSync(fileIn(stateDir), 'x'.repeat(5000))
  t.match(await run(stateDir, 'restore', file), { code: 0, err: /corrupt-/ })
  t.equal(asideIn(stateDir).length, 1)
  t.same((await openState(t, stateDir)).ended(), ['before'])
})

t.test('what is no backup changes nothing', async (t) => {
  const { state, file, stateDir } = await backedUp(t)
  state.close()
  const before = readFileSync(fileIn(stateDir))
  const bad = join(temporaryFolder(t), 'bad')
  const newer = join(temporaryFolder(t), 'newer')
  writeFileSync(newer, readFileSync(file))
  const database = new DatabaseSync(newer)
  database.exec("PRAGMA user_version = 99; UPDATE meta SET value = '7.8.9'")
  database.close()
  for (const [content, err] of [
    ['', /it is empty/],
    ['x'.repeat(5000), /not a database/],
    [readFileSync(file).subarray(0, 9000), /no backup/],
  ] as const) {
    writeFileSync(bad, content)
    t.match(await run(stateDir, 'restore', bad), { code: 1, err })
  }
  t.match(await run(stateDir, 'restore', newer), { code: 78, err: /7\.8\.9/ })
  t.match(await run(stateDir, 'restore', stateDir), { code: 1, err: /not a regular file/ })
  t.match(await run(stateDir, 'restore', '/nowhere'), {
    ...{ code: 1, err: /: \/nowhere does not exist/ },
  })
  t.ok(readFileSync(fileIn(stateDir)).equals(before))
  t.same(readdirSync(stateDir), ['state.db', 'state.lock'])
})

t.test('a wrong command line is an error of usage', async (t) => {
  for (const args of [[], ['backup'], ['restore', 'a', 'b'], ['list', 'a']])
    t.match(await run('/nowhere', ...args), { code: 64, err: /"backup FILE" or "restore FILE"/ })
})
