/** Is a small file written and read safely in a folder in which another user can write? */
import { execFileSync } from 'node:child_process'
import {
  existsSync,
  lstatSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import pino from 'pino'
import t from 'tap'
import { SlidingWindowLimiter } from '../../src/limits/budget.ts'
import { checkPidFile, removePidFile, writePidFile } from '../../src/process/pid-file.ts'
import { restoreBudgets, saveBudgets } from '../../src/store/budgets.ts'
import { readWholeFile, writeNewFile, writeWholeFile } from '../../src/store/whole-file.ts'
import { openFiles } from '../helpers/waiting.ts'

const silent = pino({ level: 'silent' })
const tables = () => ({
  addresses: new SlidingWindowLimiter({ limit: 10, windowSeconds: 60, capacity: 10 }),
})

/** All files that are written to a folder in which others can write, with their names. */
const WRITERS: Record<string, (folder: string) => void> = {
  file: (folder) => writeWholeFile(join(folder, 'file'), 'ours'),
  pid: (folder) => writePidFile(join(folder, 'pid')),
  'budgets.json': (folder) => saveBudgets(folder, tables(), silent),
}

t.test(
  'a link with the name of the file, or of a predictable draft, is not followed',
  async (t) => {
    for (const [name, write] of Object.entries(WRITERS)) {
      const folder = t.testdir({ victim: 'precious' })
      const victim = join(folder, 'victim')
      const planted = [
        name,
        `${name}.tmp`,
        `${name}.${process.pid}.tmp`,
        `${name}.${process.ppid}.tmp`,
      ]
      for (const one of planted) symlinkSync(victim, join(folder, one))
      write(folder)
      t.equal(
        readFileSync(victim, 'utf8'),
        'precious',
        `${name}: nothing is written through a link`,
      )
      t.ok(lstatSync(join(folder, name)).isFile(), `${name}: the link is replaced`)
      t.equal(statSync(victim).mode & 0o111, 0)
      t.same(readdirSync(folder).length, planted.length + 1, `${name}: no draft is left`)
    }
  },
)

t.test('a file with that name that others can write is neither kept nor written to', async (t) => {
  for (const [name, write] of Object.entries(WRITERS)) {
    const folder = t.testdir()
    const draft = join(folder, `${name}.${process.pid}.tmp`)
    for (const one of [join(folder, name), draft]) writeFileSync(one, 'planted', { mode: 0o666 })
    const { ino } = statSync(join(folder, name))
    write(folder)
    t.not(statSync(join(folder, name)).ino, ino, `${name}: another file`)
    t.equal(statSync(join(folder, name)).mode & 0o022, 0)
    t.equal(readFileSync(draft, 'utf8'), 'planted')
  }
})

t.test('a file that is not regular is not read, and does not block', async (t) => {
  const folder = t.testdir({ file: 'x'.repeat(100), folder: {} })
  const at = (name: string) => join(folder, name)
  execFileSync('mkfifo', [at('pipe')])
  symlinkSync('/dev/zero', at('link'))
  for (const name of ['pipe', 'link', 'folder', 'missing'])
    t.throws(() => readWholeFile(at(name), 1000))
  t.throws(() => readWholeFile('/dev/zero', 1000))
  // It is a regular file of no bytes, and has terabytes.
  if (existsSync('/proc/self/pagemap'))
    t.throws(() => readWholeFile('/proc/self/pagemap', 99), { message: /longer than 99 bytes/ })
  t.throws(() => readWholeFile(at('file'), 99), { message: /longer than 99 bytes/ })
  t.equal(readWholeFile(at('file'), 100), 'x'.repeat(100))
  for (const name of ['pipe', 'link', 'folder']) {
    t.doesNotThrow(() => checkPidFile(at(name)), 'names no gateway')
    t.doesNotThrow(() => removePidFile(at(name)))
    t.ok(existsSync(at(name)) || name === 'link')
  }
})

t.test('budgets are not read through a link or from a pipe, and these are removed', async (t) => {
  const folder = t.testdir({ victim: 'precious' })
  const path = join(folder, 'budgets.json')
  for (const plant of [
    () => symlinkSync(join(folder, 'victim'), path),
    () => symlinkSync('/dev/zero', path),
    () => void execFileSync('mkfifo', [path]),
  ]) {
    plant()
    restoreBudgets(folder, tables(), silent)
    t.same(readdirSync(folder), ['victim'])
    t.equal(readFileSync(join(folder, 'victim'), 'utf8'), 'precious')
  }
})

t.test(
  'a file gets its content and its mode, whatever the umask, and no file stays open',
  async (t) => {
    const folder = t.testdir({ taken: { x: '' } })
    const path = join(folder, 'file')
    const umask = process.umask(0o077)
    t.teardown(() => process.umask(umask))
    const openBefore = readdirSync('/proc/self/fd').length
    writeWholeFile(path, 'secret')
    t.equal(statSync(path).mode & 0o777, 0o600)
    writeWholeFile(path, 'public', { mode: 0o644 })
    t.equal(statSync(path).mode & 0o777, 0o644)
    t.equal(readWholeFile(path, 6), 'public')
    t.throws(() => writeWholeFile(join(folder, 'taken'), 'x'))
    t.throws(() => readWholeFile(join(folder, 'taken'), 6))
    t.throws(() => readWholeFile(path, 5))
    t.same(readdirSync(folder), ['file', 'taken'], 'no draft is left')
    t.equal(readdirSync('/proc/self/fd').length, openBefore)
  },
)

t.test(
  'a new file does not replace an existing file or link, not even a dangling link',
  async (t) => {
    const folder = t.testdir({ taken: 'precious' })
    symlinkSync(join(folder, 'nowhere'), join(folder, 'link'))
    for (const name of ['taken', 'link'])
      t.equal(writeNewFile(join(folder, name), 'ours'), false, name)
    t.equal(readFileSync(join(folder, 'taken'), 'utf8'), 'precious')
    t.equal(writeNewFile(join(folder, 'new'), 'ours', { durable: true }), true)
    t.equal(readWholeFile(join(folder, 'new'), 4), 'ours')
    t.equal(statSync(join(folder, 'new')).mode & 0o777, 0o600)
    t.same(readdirSync(folder), ['link', 'new', 'taken'], 'no draft is left')
    t.throws(() => writeNewFile(join(folder, 'none', 'x'), 'x'), { code: 'ENOENT' })
  },
)

t.test('the caller can refuse the open file before it is read', async (t) => {
  const folder = t.testdir({ file: 'text' })
  const refuse = () => {
    throw new Error('refused')
  }
  const files = openFiles()
  t.throws(() => readWholeFile(join(folder, 'file'), 10, refuse), { message: 'refused' })
  t.equal(openFiles(), files, 'and is closed again')
})
