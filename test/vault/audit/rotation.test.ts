/** Does the chain of a long log go on in a new file, whatever happens to the disk or the process meanwhile? */
import { spawnSync } from 'node:child_process'
import fs, {
  copyFileSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { AuditLog, type AuditLogOptions } from '../../../src/vault/audit/audit-log.ts'
import { beginNewFile } from '../../../src/vault/audit/rotation.ts'
import { verifyAudit } from '../../../src/vault/audit/verify.ts'
import { systemError, watchFileSteps } from '../../helpers/file-steps.ts'
import { temporaryFolder } from '../../helpers/process.ts'
import { addEntry, changePolicy, entryOf, openVault } from '../../helpers/vault.ts'

const PROGRAM = new URL('../../helpers/rotate-until-killed.ts', import.meta.url).pathname

/** Three rows fit into a file. */
const SHORT = 700

function openShort(t: Test, path = join(temporaryFolder(t), 'log'), more: AuditLogOptions = {}) {
  const audit = AuditLog.open(path, { now: () => 1_700_000_000_000, maxFileBytes: SHORT, ...more })
  t.teardown(() => audit.close())
  return { audit, path }
}

function writeRows(audit: AuditLog, count: number): void {
  for (let i = 0; i < count; i++) audit.write({ op: 'use' })
}

const filesOf = (path: string) =>
  readdirSync(dirname(path))
    .filter((name) => !name.endsWith('.lock'))
    .toSorted()

const linesOf = (path: string) => readFileSync(path, 'utf8').split('\n').slice(0, -1)

t.test('a long log goes on in a new file, and is one chain', async (t) => {
  const { audit, path } = openShort(t)
  writeRows(audit, 4)
  t.equal(await audit.writeSoon({ op: 'lease' }), 5)
  writeRows(audit, 3)
  t.same(filesOf(path), ['log', 'log.3', 'log.6'])
  t.equal(linesOf(`${path}.3`).length, 3)
  t.match(JSON.parse(linesOf(path)[0] ?? ''), {
    n: 7,
    prev: JSON.parse(linesOf(`${path}.6`)[2] ?? '').hash,
  })
  t.same(verifyAudit(path), { rows: 8 })
  const { last } = audit
  await new Promise((resolve) => void setImmediate(resolve)) // the group of the lease is over
  audit.close()
  const again = openShort(t, path).audit
  t.same(again.last, last)
  t.same(
    again.recent(10).map(({ n }) => n),
    [8, 7, 6, 5, 4, 3, 2, 1],
  )
})

t.test('a log whose process was killed before the first row of a new file goes on', (t) => {
  const { audit, path } = openShort(t)
  writeRows(audit, 2)
  const { last } = audit
  audit.close()
  fs.closeSync(beginNewFile(path, 2))
  t.equal(readFileSync(path, 'utf8'), '')
  const again = openShort(t, path).audit
  t.same(again.last, last)
  t.equal(again.write({ op: 'grant' }), 3)
  t.same(verifyAudit(path), { rows: 3 })
  again.close()
  const changed = readFileSync(`${path}.2`, 'utf8').replace(/use(?!.*use)/s, 'add')
  writeFileSync(`${path}.2`, changed)
  writeFileSync(path, '')
  t.throws(() => AuditLog.open(path), /ends with a row that was changed/)
  t.end()
})

t.test('right after a rotation, an older file of the vault is refused as before', (t) => {
  const { vault, folder, file, auditPath, audit, close } = openVault(t)
  addEntry(vault, entryOf('github'))
  copyFileSync(file, `${file}.older`)
  changePolicy(vault, 'github', { grants: [] })
  const { number } = audit.last
  close()
  fs.closeSync(beginNewFile(auditPath, number))
  copyFileSync(file, `${file}.newer`)
  renameSync(`${file}.older`, file)
  t.throws(() => openVault(t, folder), /is older than the last change.*--accept-older/)
  renameSync(`${file}.newer`, file)
  openVault(t, folder).close()
  t.same(verifyAudit(auditPath).problem, undefined)
  t.end()
})

t.test(
  'when a file cannot be moved away, the log goes on in it, and the next try succeeds',
  (t) => {
    const steps = ['openSync', 'fsyncSync', 'linkSync', 'renameSync', 'rmSync'] as const
    const runs = steps.flatMap((step) => [1, 2, 3].map((time) => ({ step, time })))
    for (const { step, time } of runs) {
      const name = `${step}, time ${time}`
      const failures: unknown[] = []
      const { audit, path } = openShort(t, undefined, {
        onNotRotated: (error) => failures.push(error),
      })
      writeRows(audit, 3)
      let count = 0
      const putBack = watchFileSteps((each) => {
        if (each === step && ++count === time) throw systemError('ENOSPC')
      })
      writeRows(audit, 1)
      putBack()
      // A step that comes less often has not failed.
      t.same(filesOf(path), failures.length > 0 ? ['log'] : ['log', 'log.3'], name)
      t.same(verifyAudit(path), { rows: 4 }, name)
      writeRows(audit, 6)
      t.same(verifyAudit(path), { rows: 10 }, name)
      t.ok(filesOf(path).length > 1, name)
      audit.close()
      t.equal(openShort(t, path).audit.last.number, 10)
    }
    t.end()
  },
)

t.test('a file that could neither be moved away nor put back is not written any longer', (t) => {
  const { audit, path } = openShort(t)
  writeRows(audit, 3)
  let renames = 0
  let folders = 0
  const putBack = watchFileSteps((name) => {
    if (name === 'renameSync' && ++renames === 2) throw systemError('EIO')
    if (name === 'fsyncSync' && ++folders === 3) throw systemError('EIO')
  })
  t.throws(() => audit.write({ op: 'use' }), { code: 'audit-unavailable', message: /moved/ })
  putBack()
  t.throws(() => audit.write({ op: 'use' }), { code: 'audit-unavailable', message: /moved/ })
  audit.close()
  const again = openShort(t, path).audit
  t.equal(again.write({ op: 'use' }), 4)
  t.same(verifyAudit(path), { rows: 4 })
  t.end()
})

t.test('a full disk: rows are refused, not lost, and the log goes on when there is room', (t) => {
  const { audit, path } = openShort(t)
  writeRows(audit, 3)
  const putBack = watchFileSteps((name) => {
    if (/^(?:openSync|writeSync half)$/.test(name)) throw systemError('ENOSPC')
  })
  t.throws(() => audit.write({ op: 'use' }), { code: 'audit-unavailable', message: /ENOSPC/ })
  putBack()
  t.equal(audit.write({ op: 'use' }), 4)
  t.same(verifyAudit(path), { rows: 4 })
  t.end()
})

t.test('the first row of a new file that does not reach the disk is taken back', (t) => {
  const { audit, path } = openShort(t)
  writeRows(audit, 3)
  const putBack = watchFileSteps((name) => {
    if (name === 'fdatasyncSync') throw systemError('EIO')
  })
  t.throws(() => audit.write({ op: 'use' }), { code: 'audit-unavailable' })
  putBack()
  t.same(filesOf(path), ['log', 'log.3'])
  t.equal(audit.write({ op: 'use' }), 4)
  t.same(verifyAudit(path), { rows: 4 })
  t.end()
})

t.test('rows that nobody waits for are on the disk before their file is moved away', async (t) => {
  const { audit, path } = openShort(t)
  writeRows(audit, 2)
  const later = audit.writeLater({ op: 'use' })
  const steps: string[] = []
  const putBack = watchFileSteps((name) => void steps.push(name))
  audit.write({ op: 'grant' })
  putBack()
  await later
  t.same(filesOf(path), ['log', 'log.3'])
  t.ok(steps.indexOf('fdatasyncSync') < steps.indexOf('renameSync'))
  t.same(verifyAudit(path), { rows: 4 })
})

t.test(
  'rows that do not reach the disk then are taken back, and nothing follows them',
  async (t) => {
    const { audit, path } = openShort(t)
    writeRows(audit, 2)
    const later = audit.writeLater({ op: 'use' })
    const putBack = watchFileSteps((name) => {
      if (name === 'fdatasyncSync') throw systemError('EIO')
    })
    t.throws(() => audit.write({ op: 'grant' }), { code: 'audit-unavailable' })
    putBack()
    await t.rejects(later, { code: 'audit-unavailable' })
    t.same(filesOf(path), ['log'])
    t.equal(audit.write({ op: 'revoke' }), 3)
    t.same(verifyAudit(path), { rows: 3 })
  },
)

t.test('another file of the name is never replaced', (t) => {
  const { audit, path } = openShort(t)
  writeFileSync(`${path}.3`, 'somebody else’s')
  writeRows(audit, 5)
  t.equal(readFileSync(`${path}.3`, 'utf8'), 'somebody else’s')
  t.equal(linesOf(path).length, 5)
  t.end()
})

t.test('a file is not moved away while its rows are on their way to the disk', async (t) => {
  const { audit, path } = openShort(t)
  writeRows(audit, 2)
  const { fdatasync } = fs
  let fail = (): void => {}
  fs.fdatasync = ((_fd: number, done: (error: Error) => void) => {
    fail = () => done(systemError('EIO'))
  }) as typeof fdatasync
  syncBuiltinESMExports()
  t.teardown(() => {
    fs.fdatasync = fdatasync
    syncBuiltinESMExports()
  })
  const soon = audit.writeSoon({ op: 'use' })
  await Promise.resolve()
  t.equal(audit.write({ op: 'grant' }), 4)
  t.same(filesOf(path), ['log'])
  fail()
  await t.rejects(soon, { code: 'audit-unavailable' })
  const { number } = audit.last
  t.equal(audit.write({ op: 'revoke' }), number + 1)
  t.same(verifyAudit(path), { rows: number + 1 })
})

t.test('killed at every step of a rotation: every row that was answered is there', (t) => {
  let isWhole = false
  let steps = 0
  for (let step = 1; !isWhole; step++) {
    const path = join(temporaryFolder(t), 'log')
    const { stdout, status, signal, stderr } = spawnSync(
      process.execPath,
      [PROGRAM, path, String(step)],
      { encoding: 'utf8' },
    )
    isWhole = status === 0
    if (!isWhole) t.equal(signal, 'SIGKILL', stderr)
    const answered = Number(stdout.split('\n').at(-2) ?? '0')
    const { audit } = openShort(t, path)
    t.ok([answered, answered + 1].includes(audit.last.number), `step ${step}, row ${answered}`)
    t.equal(statSync(path).nlink, 1, 'the log is no older file too')
    writeRows(audit, 4)
    t.same(verifyAudit(path), { rows: audit.last.number }, `step ${step}`)
    t.notOk(filesOf(path).includes('log.new'))
    audit.close()
    steps = step
  }
  t.ok(steps > 25, `${steps} steps`)
  t.end()
})

t.test('the verification names the file and the line, also of a file that is not there', (t) => {
  const { audit, path } = openShort(t)
  writeRows(audit, 8)
  const older = readFileSync(`${path}.6`, 'utf8')
  writeFileSync(`${path}.6`, older.replace('"n":5', '"n":7'))
  t.match(verifyAudit(path), {
    rows: 4,
    problem: { file: `${path}.6`, line: 2, what: /was changed/ },
  })
  rmSync(`${path}.6`)
  t.match(verifyAudit(path), {
    rows: 3,
    problem: { file: path, line: 1, what: /row 7 stands where row 4/ },
  })
  writeFileSync(`${path}.6`, older)
  t.same(verifyAudit(path), { rows: 8 })
  renameSync(`${path}.3`, `${path}.9`)
  t.match(verifyAudit(path), { rows: 0, problem: { file: `${path}.6`, line: 1 } })
  t.end()
})

t.test('an anchor tells when the log was written anew, or cut off', (t) => {
  const { audit, path } = openShort(t)
  const anchors = new Map<number, string>()
  for (let i = 0; i < 8; i++) {
    audit.write({ op: 'use' })
    anchors.set(audit.last.number, audit.last.hash)
  }
  const verify = (file: string, ...rows: number[]) =>
    verifyAudit(file, { anchors: new Map(rows.map((row) => [row, anchors.get(row) ?? ''])) })
  t.same(verify(path, 1, 3, 4, 8), { rows: 8 })
  // The same rows with another clock: a right chain, and another one.
  const anew = openShort(t, undefined, { now: () => 1_700_000_001_000 })
  writeRows(anew.audit, 8)
  t.same(verifyAudit(anew.path), { rows: 8 })
  t.match(verify(anew.path, 5), {
    rows: 4,
    problem: { file: `${anew.path}.6`, line: 2, what: /row 5 has another hash than its anchor/ },
  })
  audit.close()
  writeFileSync(path, `${linesOf(path)[0]}\n`)
  t.same(verify(path, 7), { rows: 7 })
  t.match(verify(path, 8), {
    rows: 7,
    problem: { file: path, line: 2, what: /ends with row 7, and row 8 .* cut off its end/ },
  })
  t.end()
})

t.test('older files that are kept elsewhere are known by the anchor of their last row', (t) => {
  const { audit, path } = openShort(t)
  writeRows(audit, 3)
  const { hash } = audit.last
  writeRows(audit, 5)
  rmSync(`${path}.3`)
  const refused = (anchors?: ReadonlyMap<number, string>) =>
    verifyAudit(path, anchors === undefined ? {} : { anchors })
  t.match(refused(), { rows: 0, problem: { line: 1, what: /--anchor 3:HASH/ } })
  t.match(refused(new Map([[3, audit.last.hash]])), { rows: 0, problem: { line: 1 } })
  t.same(refused(new Map([[3, hash]])), { rows: 5 })
  const older = new Map([
    [2, hash],
    [3, hash],
  ])
  t.match(refused(older), { problem: { what: /row 2 of an anchor is in a file that is not here/ } })
  t.same(verifyAudit(path, { mayBeginLater: true }), { rows: 5 })
  t.end()
})

t.test('a log that is moved away while it is verified is read once', (t) => {
  const { audit, path } = openShort(t)
  writeRows(audit, 6)
  const { fstatSync } = fs
  let isMoved = false
  fs.fstatSync = ((...args: Parameters<typeof fstatSync>) => {
    if (!isMoved) {
      isMoved = true
      writeRows(audit, 4)
    }
    return fstatSync(...args)
  }) as typeof fstatSync
  syncBuiltinESMExports()
  t.teardown(() => {
    fs.fstatSync = fstatSync
    syncBuiltinESMExports()
  })
  t.same(verifyAudit(path), { rows: 6 })
  t.same(verifyAudit(path), { rows: 10 })
  t.end()
})
