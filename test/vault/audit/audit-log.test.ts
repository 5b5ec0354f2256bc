/** Is each operation on the disk before it goes on, in one chain, whatever happens to the disk or the process? */
import {
  appendFileSync,
  chmodSync,
  copyFileSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { lineOf, makeRow, NO_HASH } from '../../../src/vault/audit/audit-line.ts'
import { AuditLog } from '../../../src/vault/audit/audit-log.ts'
import { verifyAudit } from '../../../src/vault/audit/verify.ts'
import { systemError, watchFileSteps } from '../../helpers/file-steps.ts'
import { temporaryFolder } from '../../helpers/process.ts'
import { eventually } from '../../helpers/waiting.ts'

function openLog(
  t: Test,
  path = join(temporaryFolder(t), 'state', 'vault-audit.jsonl'),
  stopwatch?: () => number,
) {
  const now = () => 1_700_000_000_000
  const audit = AuditLog.open(path, stopwatch === undefined ? { now } : { now, stopwatch })
  t.teardown(() => audit.close())
  return { audit, path }
}

const rowsIn = (path: string) =>
  readFileSync(path, 'utf8')
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Record<string, unknown>)

type Sync = (fd: number, done: (error: Error | null) => void) => void

/** Replaces fdatasync, which the groups use, until the test ends. */
function replaceSync(t: Test, make: (work: Sync) => Sync): void {
  const { fdatasync } = fs
  fs.fdatasync = make(fdatasync) as typeof fdatasync
  syncBuiltinESMExports()
  t.teardown(() => {
    fs.fdatasync = fdatasync
    syncBuiltinESMExports()
  })
}

t.test('rows are chained, and only the owner can read them', (t) => {
  const { audit, path } = openLog(t)
  t.equal(audit.write({ op: 'add', service: 'github', agent: 'owner' }), 1)
  t.equal(audit.write({ op: 'use', service: 'github', agent: 'coder', path: '/a"b' }), 2)
  const [first, second] = rowsIn(path)
  t.match(first, { n: 1, op: 'add', agent: 'owner', time: '2023-11-14T22:13:20.000Z' })
  t.equal(first?.['prev'], '0'.repeat(64))
  t.equal(second?.['prev'], first?.['hash'])
  t.equal(audit.last.hash, second?.['hash'])
  t.equal(statSync(path).mode & 0o777, 0o600)
  t.equal(statSync(join(path, '..')).mode & 0o777, 0o700)
  t.same(verifyAudit(path), { rows: 2 })
  t.end()
})

t.test('a log that is opened again goes on where it was', (t) => {
  const { audit, path } = openLog(t)
  for (let i = 0; i < 3; i++) audit.write({ op: 'use', agent: `agent-${i}` })
  const { last } = audit
  audit.close()
  const again = openLog(t, path).audit
  t.same(again.last, last)
  t.same(
    again.recent(2).map(({ agent }) => agent),
    ['agent-2', 'agent-1'],
  )
  again.write({ op: 'use' })
  t.same(verifyAudit(path), { rows: 4 })
  t.end()
})

t.test('rows that wait share one fdatasync, and keep their order', async (t) => {
  const { audit, path } = openLog(t)
  let syncs = 0
  replaceSync(t, (work) => (fd, done) => {
    syncs++
    work(fd, done)
  })
  const first = Array.from({ length: 50 }, (_, i) => audit.writeSoon({ op: 'use', ms: i }))
  t.same(
    await Promise.all(first),
    Array.from({ length: 50 }, (_, i) => i + 1),
  )
  t.same(
    rowsIn(path).map(({ ms }) => ms),
    Array.from({ length: 50 }, (_, i) => i),
  )
  t.equal(syncs, 1)
})

t.test('a row that is written meanwhile comes after the rows that wait', async (t) => {
  const { audit, path } = openLog(t)
  const soon = [audit.writeSoon({ op: 'use', ms: 1 }), audit.writeSoon({ op: 'use', ms: 2 })]
  t.equal(audit.write({ op: 'grant' }), 3)
  const during = audit.writeSoon({ op: 'use', ms: 4 })
  await Promise.resolve() // the group is appended, and its fdatasync runs
  const rest = audit.writeSoon({ op: 'use', ms: 6 })
  t.equal(audit.write({ op: 'revoke' }), 6)
  t.same(await Promise.all([...soon, during, rest]), [1, 2, 4, 5])
  t.same(
    rowsIn(path).map(({ op }) => op),
    ['use', 'use', 'grant', 'use', 'use', 'revoke'],
  )
  t.same(verifyAudit(path), { rows: 6 })
})

/** Counts both kinds of fdatasync until the test ends. */
function countSyncs(t: Test): { inThread: number; blocking: number } {
  const counts = { inThread: 0, blocking: 0 }
  replaceSync(t, (work) => (fd, done) => {
    counts.inThread++
    work(fd, done)
  })
  const putBack = watchFileSteps(() => void counts.blocking++, ['fdatasyncSync'])
  t.teardown(putBack)
  return counts
}

t.test(
  'a row that nobody waits for is in the file at once, and on the disk with the next',
  async (t) => {
    const counts = countSyncs(t)
    const { audit, path } = openLog(t)
    const order: string[] = []
    const later = audit.writeLater({ op: 'use', ms: 1 }).then(() => order.push('later'))
    t.equal(rowsIn(path).length, 1)
    t.same(counts, { inThread: 0, blocking: 0 })
    const soon = audit.writeSoon({ op: 'use', ms: 2 }).then(() => order.push('soon'))
    await Promise.all([later, soon])
    t.same(order, ['later', 'soon'])
    t.same(counts, { inThread: 1, blocking: 0 })
    t.same(verifyAudit(path), { rows: 2 })
  },
)

t.test(
  'a row that nobody waits for is on the disk soon when no other comes, and at the end',
  async (t) => {
    const counts = countSyncs(t)
    const { audit, path } = openLog(t)
    await audit.writeLater({ op: 'use' })
    t.same(counts, { inThread: 1, blocking: 0 })
    const last = audit.writeLater({ op: 'use' })
    audit.close()
    await last
    t.same(counts, { inThread: 1, blocking: 1 })
    t.same(verifyAudit(path), { rows: 2 })
    await t.rejects(audit.writeLater({ op: 'use' }), { code: 'audit-unavailable' })
  },
)

t.test('a row that nobody waits for stands behind rows that wait', async (t) => {
  const { audit, path } = openLog(t)
  const reflected = audit.writeSoon({ op: 'reflected' })
  await Promise.all([audit.writeLater({ op: 'use' }), reflected])
  t.same(
    rowsIn(path).map(({ op }) => op),
    ['reflected', 'use'],
  )
})

t.test('whoever wrote a row that does not reach the disk is told, and it is removed', async (t) => {
  const { audit, path } = openLog(t)
  audit.write({ op: 'start' })
  const later = audit.writeLater({ op: 'use' })
  const refused = t.rejects(later, { code: 'audit-unavailable', message: /EIO/ })
  const putBack = watchFileSteps((name) => {
    if (name === 'fdatasyncSync') throw systemError('EIO')
  })
  t.throws(() => audit.write({ op: 'grant' }), { code: 'audit-unavailable' })
  putBack()
  await refused
  t.same(verifyAudit(path), { rows: 1 })
  const full = watchFileSteps((name) => {
    if (name === 'writeSync half') throw systemError('ENOSPC')
  })
  const unwritten = audit.writeLater({ op: 'use' })
  full()
  await t.rejects(unwritten, { code: 'audit-unavailable', message: /ENOSPC/ })
  t.equal(audit.write({ op: 'revoke' }), 2)
  t.same(verifyAudit(path), { rows: 2 })
})

t.test('a fast disk is waited for without a thread, a slow one or a fault is not', async (t) => {
  const counts = countSyncs(t)
  let ms = 0
  let step = 0.1
  const { audit, path } = openLog(t, undefined, () => (ms += step))
  await audit.writeSoon({ op: 'use' })
  t.same(counts, { inThread: 1, blocking: 0 }, 'nothing is known of the disk')
  const first = audit.writeSoon({ op: 'use' })
  await Promise.resolve()
  await Promise.all([first, audit.writeSoon({ op: 'use' })])
  t.same(counts, { inThread: 1, blocking: 1 }, 'what has arrived shares one')
  step = 5
  await audit.writeSoon({ op: 'use' })
  t.same(counts, { inThread: 1, blocking: 2 })
  await audit.writeSoon({ op: 'use' })
  t.same(counts, { inThread: 2, blocking: 2 }, 'it was slow')
  t.same(verifyAudit(path), { rows: 5 })
})

t.test('rows that a fast disk suddenly refuses are refused, and removed', async (t) => {
  const { audit, path } = openLog(t, undefined, () => 0)
  await audit.writeSoon({ op: 'use' })
  const putBack = watchFileSteps((name) => {
    if (name === 'fdatasyncSync') throw systemError('EIO')
  })
  await t.rejects(audit.writeSoon({ op: 'use' }), { code: 'audit-unavailable', message: /EIO/ })
  putBack()
  t.equal(await audit.writeSoon({ op: 'use' }), 2)
  t.same(verifyAudit(path), { rows: 2 })
})

t.test('on a full disk rows are refused, are not in the log, and later ones are', async (t) => {
  const { audit, path } = openLog(t)
  audit.write({ op: 'start' })
  const before = readFileSync(path)
  const { last } = audit
  for (const step of ['writeSync', 'writeSync half', 'fdatasyncSync']) {
    const putBack = watchFileSteps((name) => {
      if (name === step) throw systemError('ENOSPC')
    })
    t.throws(() => audit.write({ op: 'grant' }), { code: 'audit-unavailable', message: /ENOSPC/ })
    if (step.startsWith('write'))
      await t.rejects(audit.writeSoon({ op: 'use' }), { code: 'audit-unavailable' })
    putBack()
    t.same(readFileSync(path), before, step)
    t.same(audit.last, last)
    t.equal(audit.recent(10).length, 1)
  }
  t.equal(audit.write({ op: 'grant' }), 2)
  t.equal(await audit.writeSoon({ op: 'use' }), 3)
  t.same(verifyAudit(path), { rows: 3 })
})

t.test('a half row that could not be cut off at once is cut off before the next', (t) => {
  const { audit, path } = openLog(t)
  audit.write({ op: 'start' })
  const putBack = watchFileSteps((name) => {
    if (name === 'writeSync half' || name === 'ftruncateSync') throw systemError('EIO')
  })
  t.throws(() => audit.write({ op: 'grant' }), { code: 'audit-unavailable' })
  t.throws(() => audit.write({ op: 'grant' }), { code: 'audit-unavailable' })
  putBack()
  t.equal(audit.write({ op: 'revoke' }), 2)
  t.same(verifyAudit(path), { rows: 2 })
  t.end()
})

t.test('rows that do not reach the disk are refused, and removed', async (t) => {
  const { audit, path } = openLog(t)
  audit.write({ op: 'start' })
  let isBroken = true
  replaceSync(t, (work) => (fd, done) => {
    if (isBroken) setImmediate(done, systemError('EIO'))
    else work(fd, done)
  })
  await t.rejects(audit.writeSoon({ op: 'use' }), { code: 'audit-unavailable' })
  t.same(verifyAudit(path), { rows: 1 })
  isBroken = false
  t.equal(await audit.writeSoon({ op: 'use' }), 2)
  t.same(verifyAudit(path), { rows: 2 })
})

t.test('a group is refused when a row after it fails on the disk and takes it along', async (t) => {
  const { audit, path } = openLog(t)
  audit.write({ op: 'start' })
  let finish = (): void => {}
  replaceSync(t, (work) => (fd, done) => {
    finish = () => work(fd, done)
  })
  const group = audit.writeSoon({ op: 'use' })
  const refused = t.rejects(group, { code: 'audit-unavailable' })
  await eventually(() => rowsIn(path).length === 2, 'the group is appended')
  const putBack = watchFileSteps((name) => {
    if (name === 'fdatasyncSync') throw systemError('EIO')
  })
  t.throws(() => audit.write({ op: 'grant' }), { code: 'audit-unavailable' })
  putBack()
  finish()
  await refused
  t.equal(audit.write({ op: 'revoke' }), 2)
  t.same(verifyAudit(path), { rows: 2 })
})

t.test('a last line without its line break is cut off at the opening', (t) => {
  const { audit, path } = openLog(t)
  audit.write({ op: 'start' })
  audit.write({ op: 'use' })
  audit.close()
  const whole = readFileSync(path)
  const firstLine = whole.indexOf('\n') + 1
  for (const length of [whole.length - 1, firstLine + 1, firstLine, 5, 0]) {
    writeFileSync(path, whole.subarray(0, length))
    const again = AuditLog.open(path)
    const rows = length >= firstLine ? 1 : 0
    t.equal(again.last.number, rows)
    again.write({ op: 'deny' })
    again.close()
    t.same(verifyAudit(path), { rows: rows + 1 }, `${length} bytes`)
  }
  t.end()
})

t.test('a log that ends with a changed row is not continued, and not repaired', (t) => {
  const { audit, path } = openLog(t)
  audit.write({ op: 'deny', agent: 'coder' })
  audit.close()
  const changed = readFileSync(path, 'utf8').replace('coder', 'other')
  writeFileSync(path, changed)
  t.throws(() => AuditLog.open(path), /ends with a row that was changed.*vault audit verify/)
  t.equal(readFileSync(path, 'utf8'), changed)
  writeFileSync(path, `${changed}\n`)
  t.throws(() => AuditLog.open(path), /ends with a row that was changed/)
  t.end()
})

t.test('a log that others can read, that is a link, or that is no file is refused', (t) => {
  const { audit, path } = openLog(t)
  audit.write({ op: 'start' })
  t.throws(() => AuditLog.open(path), /in use by another process/)
  audit.close()
  chmodSync(path, 0o640)
  t.throws(() => AuditLog.open(path), /open to others \(mode 0640\); run "chmod 600"/)
  chmodSync(path, 0o600)
  const folder = temporaryFolder(t)
  symlinkSync(path, join(folder, 'link'))
  t.throws(() => AuditLog.open(join(folder, 'link')), /is a link/)
  mkdirSync(join(folder, 'folder'))
  t.throws(() => AuditLog.open(join(folder, 'folder')), /is a folder/)
  chmodSync(folder, 0o777)
  t.throws(() => AuditLog.open(join(folder, 'log')), /a folder that others can write to/)
  t.end()
})

t.test('nothing is written to a log that was deleted or cut off meanwhile', (t) => {
  const { audit, path } = openLog(t)
  audit.write({ op: 'start' })
  truncateSync(path, 10)
  t.throws(() => audit.write({ op: 'use' }), { code: 'audit-unavailable', message: /length/ })
  const other = openLog(t)
  other.audit.write({ op: 'start' })
  appendFileSync(other.path, 'foreign\n')
  t.throws(() => other.audit.write({ op: 'use' }), { code: 'audit-unavailable', message: /length/ })
  rmSync(other.path)
  t.throws(() => other.audit.write({ op: 'use' }), {
    code: 'audit-unavailable',
    message: /deleted/,
  })
  t.end()
})

t.test('nothing is written to a log that was moved, also when a copy stands in its place', (t) => {
  const { audit, path } = openLog(t)
  audit.write({ op: 'start' })
  renameSync(path, `${path}.old`)
  const refusal = { code: 'audit-unavailable', message: /moved/ } as const
  t.throws(() => audit.write({ op: 'use' }), refusal)
  copyFileSync(`${path}.old`, path)
  t.throws(() => audit.write({ op: 'use' }), refusal)
  t.equal(rowsIn(`${path}.old`).length, 1)
  t.end()
})

t.test('a log that is refused leaves no file open', (t) => {
  const path = join(temporaryFolder(t), 'log')
  writeFileSync(path, '{}\n', { mode: 0o600 })
  let opened = 0
  const putBack = watchFileSteps(
    (name) => {
      opened += name === 'openSync' ? 1 : -1
    },
    ['openSync', 'closeSync'],
  )
  t.teardown(putBack)
  t.throws(() => AuditLog.open(path), /ends with a row that was changed/)
  t.equal(opened, 0)
  t.end()
})

t.test('a row whose lists are nested without end is a changed row', (t) => {
  const path = join(temporaryFolder(t), 'log')
  const nested = '['.repeat(200_000) + ']'.repeat(200_000)
  const row = `{"n":1,"op":"use","prev":"","reason":${nested},"saved":0,"time":""}\n`
  writeFileSync(path, row, { mode: 0o600 })
  t.throws(() => AuditLog.open(path), /ends with a row that was changed/)
  t.match(verifyAudit(path), { rows: 0, problem: { line: 1, what: /was changed/ } })
  t.end()
})

t.test('a log whose numbers are used up is not continued with numbers that cannot be read', (t) => {
  const path = join(temporaryFolder(t), 'log')
  const start = { n: 1, time: '', saved: 0, prev: NO_HASH }
  const largest = Number.MAX_SAFE_INTEGER
  for (const row of [
    makeRow({ op: 'add' }, { ...start, begun: largest }),
    makeRow({ op: 'add' }, { ...start, n: largest }),
  ]) {
    writeFileSync(path, `${lineOf(row)}\n`, { mode: 0o600 })
    const audit = AuditLog.open(path)
    t.teardown(() => audit.close())
    const sequence = audit.last.sequence + 1
    t.throws(() => audit.write({ op: 'add', sequence }), {
      code: 'audit-unavailable',
      message: /used up/,
    })
    audit.close()
    t.equal(rowsIn(path).length, 1)
  }
  t.end()
})

t.test('closing writes what waits, and refuses what comes later', async (t) => {
  const { audit, path } = openLog(t)
  const soon = audit.writeSoon({ op: 'use' })
  audit.close()
  t.equal(await soon, 1)
  t.throws(() => audit.write({ op: 'use' }), { code: 'audit-unavailable' })
  await t.rejects(audit.writeSoon({ op: 'use' }), { code: 'audit-unavailable' })
  const again = openLog(t, path).audit
  t.equal(again.last.number, 1)
})

t.test('only the last 500 rows are kept in memory', async (t) => {
  const { audit, path } = openLog(t)
  await Promise.all(Array.from({ length: 2500 }, (_, i) => audit.writeSoon({ op: 'use', ms: i })))
  t.equal(audit.recent(10_000).length, 500)
  t.equal(audit.recent(10_000)[0]?.n, 2500)
  t.same(audit.recent(0), [])
  audit.close()
  const again = openLog(t, path).audit
  t.equal(again.recent(10_000).length, 500)
  t.equal(again.recent(1)[0]?.ms, 2499)
})

t.test('a text that is too long for a row is clipped', (t) => {
  const { audit, path } = openLog(t)
  audit.write({ op: 'use', path: `/${'"'.repeat(2_000_000)}` })
  t.equal(String(rowsIn(path)[0]?.['path']).length, 2048)
  t.same(verifyAudit(path), { rows: 1 })
  t.end()
})
