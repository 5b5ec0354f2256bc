/** Is a state folder that others can read, or nobody can write, noticed? */
import { chmodSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { examineStateFolder } from '../../../src/commands/doctor/state-folder.ts'
import { examined } from '../../helpers/examined.ts'
import { temporaryFolder } from '../../helpers/process.ts'

const PRIVATE = 'state-folder-private'
const WRITABLE = 'state-folder-writable'

const look = (path: string) => examined(examineStateFolder, { GATEWAY_STATE_DIR: path })

t.test('a private folder passes, and no file of doctor’s is left in it', async (t) => {
  const folder = temporaryFolder(t)
  const findings = await look(folder)
  t.match(findings[PRIVATE], { verdict: 'pass' })
  t.match(findings[WRITABLE], { verdict: 'pass' })
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
})

t.test('a path that is no folder, or is not writable, is a fault', async (t) => {
  const file = join(temporaryFolder(t), 'file')
  writeFileSync(file, '')
  t.match((await look(file))[PRIVATE], { verdict: 'fail', detail: /not a folder/ })
  t.match((await look(join(file, 'below')))[PRIVATE], { verdict: 'fail', detail: /ENOTDIR/ })
  t.match((await look('/proc/self'))[WRITABLE], { verdict: 'fail' }, 'nobody writes to /proc')
})
