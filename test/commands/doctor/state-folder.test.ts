/** Is a state folder that others can read, or nobody can write, noticed? */
import { chmodSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { askAdmin } from '../../../src/admin/ask.ts'
import { examineStateFolder } from '../../../src/commands/doctor/state-folder.ts'
import { setMeta } from '../../../src/store/schema.ts'
import { examined } from '../../helpers/examined.ts'
import { startTestGateway, testSettings } from '../../helpers/gateway.ts'
import { temporaryFolder } from '../../helpers/process.ts'
import { fileIn, openState } from '../../helpers/state.ts'

const PRIVATE = 'state-folder-private'
const WRITABLE = 'state-folder-writable'
const KEPT = 'state-kept'

const look = (path: string) => examined(examineStateFolder, { GATEWAY_STATE_DIR: path })

t.test('a private folder passes, and no file of doctor’s is left in it', async (t) => {
  const folder = temporaryFolder(t)
  const findings = await look(folder)
  t.match(findings[PRIVATE], { verdict: 'pass' })
  t.match(findings[WRITABLE], { verdict: 'pass' })
  t.match(findings[KEPT], { verdict: 'pass', detail: /nobody/ })
  t.same(readdirSync(folder), [])
})

t.test('a folder or a file that others can read is a fault', async (t) => {
  const folder = temporaryFolder(t)
  writeFileSync(join(folder, 'terminal-credential'), 'user:pass', { mode: 0o640 })
  chmodSync(join(folder, 'terminal-credential'), 0o640)
  t.match((await look(folder))[PRIVATE], { verdict: 'fail', detail: /terminal-credential/ })
  chmodSync(folder, 0o750)
  t.match((await look(folder))[PRIVATE], { verdict: 'fail', remedy: /chmod 700/ })
})

t.test('a folder that does not exist is a warning: the gateway creates it', async (t) => {
  const findings = await look(join(temporaryFolder(t), 'not-yet'))
  t.match(findings[PRIVATE], { verdict: 'warn' })
  t.match(findings[WRITABLE], { verdict: 'skip' })
  t.match(findings[KEPT], { verdict: 'skip' })
})

t.test('a path that is no folder, or is not writable, is a fault', async (t) => {
  const file = join(temporaryFolder(t), 'file')
  writeFileSync(file, '')
  t.match((await look(file))[PRIVATE], { verdict: 'fail', detail: /not a folder/ })
  t.match((await look(join(file, 'below')))[PRIVATE], { verdict: 'fail', detail: /ENOTDIR/ })
  t.match((await look('/proc/self'))[WRITABLE], { verdict: 'fail' }, 'nobody writes to /proc')
})

t.test('a state that is damaged, was damaged, or is newer is named', async (t) => {
  const folder = temporaryFolder(t)
  const path = fileIn(folder)
  const first = await openState(t, folder)
  t.match((await look(folder))[KEPT], { verdict: 'pass', detail: /are kept, by workspace-gateway/ })
  first.state.close()
  const before = readFileSync(path)
  t.match((await look(folder))[KEPT], { verdict: 'pass' })
  t.ok(readFileSync(path).equals(before), 'looking changes nothing')

  writeFileSync(path, 'x'.repeat(5000))
  t.match((await look(folder))[KEPT], {
    verdict: 'fail',
    remedy: /state restore FILE.*chmod 600 it before/,
  })
  t.equal(readFileSync(path, 'utf8'), 'x'.repeat(5000))
  const second = await openState(t, folder)
  t.match((await look(folder))[KEPT], {
    verdict: 'warn',
    detail: /was damaged when it was opened at .* kept as state\.db\.corrupt-/,
  })
  second.state.close()
  const third = await openState(t, folder)
  t.match((await look(folder))[KEPT], { verdict: 'pass' }, 'until the next start')

  third.state.write((database) =>
    database.exec("PRAGMA user_version = 99; UPDATE meta SET value = '7.8.9'"),
  )
  third.state.close()
  t.match((await look(folder))[KEPT], { verdict: 'fail', detail: /workspace-gateway 7\.8\.9/ })
})

t.test('a gateway that cannot write its state is named', async (t) => {
  const folder = temporaryFolder(t)
  const settings = testSettings({ GATEWAY_STATE_DIR: folder })
  const { running } = await startTestGateway(t, settings)
  t.match((await look(folder))[KEPT], { verdict: 'pass' })
  const { state } = running.parts
  state.read((database) => database.prepare('PRAGMA max_page_count = 1').get())
  state.writeSurely((database) => setMeta(database, 'written-by', 'x'.repeat(20_000)))
  t.match((await look(folder))[KEPT], { verdict: 'fail', detail: /one-time sign-ins are refused/ })
  const { status, body } = await askAdmin(folder, '/api-tokens', {
    ...{ method: 'POST', body: { name: 'ci' } },
  })
  t.equal(status, 503)
  t.match(body, /Nothing was changed.*the disk of the workspace may be full/)
})

t.test('a state file that was deleted while a gateway runs is a fault', async (t) => {
  const folder = temporaryFolder(t)
  await startTestGateway(t, testSettings({ GATEWAY_STATE_DIR: folder }))
  t.match((await look(folder))[KEPT], { verdict: 'pass' })
  for (const name of readdirSync(folder))
    if (name.startsWith('state.db')) rmSync(join(folder, name))
  t.match((await look(folder))[KEPT], { verdict: 'fail', detail: /deleted while the gateway runs/ })
})
