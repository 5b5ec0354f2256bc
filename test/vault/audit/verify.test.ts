/** Does the verification name the first line that is not as it was written? */
import { createHash } from 'node:crypto'
import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { assert, constantFrom, integer, nat, property } from 'fast-check'
import t, { type Test } from 'tap'
import { AuditLog } from '../../../src/vault/audit/audit-log.ts'
import { lineOf, makeRow, NO_HASH } from '../../../src/vault/audit/audit-line.ts'
import { verifyAudit } from '../../../src/vault/audit/verify.ts'
import { temporaryFolder } from '../../helpers/process.ts'

const ROWS = 12

/** Makes a log, and returns its lines. */
async function makeLog(t: Test) {
  const path = join(temporaryFolder(t), 'vault-audit.jsonl')
  const audit = AuditLog.open(path, {})
  for (let i = 1; i <= ROWS; i++)
    await audit.writeSoon({ op: 'use', agent: 'coder', path: `/r/${i}`, service: 'gït�hub' })
  audit.close()
  const lines = readFileSync(path, 'utf8').split('\n').slice(0, -1)
  const verify = (changed: readonly string[]) => {
    writeFileSync(path, changed.map((line) => `${line}\n`).join(''))
    return verifyAudit(path)
  }
  return { path, lines, verify }
}

/** Changes a row, and makes its hash fit again. */
function rehashed(line: string, from: string, to: string): string {
  const { hash: _, ...row } = JSON.parse(line.replace(from, to)) as Record<string, unknown>
  const sorted = Object.fromEntries(Object.entries(row).toSorted(([a], [b]) => (a < b ? -1 : 1)))
  const hash = createHash('sha256').update(JSON.stringify(sorted)).digest('hex')
  return lineOf({ ...row, hash } as never)
}

t.test('a log as it was written is right', async (t) => {
  const { lines, verify } = await makeLog(t)
  t.same(verify(lines), { rows: ROWS })
  t.same(verify([]), { rows: 0 })
})

t.test('the first line that was changed, removed, added or moved is named', async (t) => {
  const { lines, verify } = await makeLog(t)
  const changed = lines.with(4, (lines[4] ?? '').replace('coder', 'other'))
  t.match(verify(changed), { rows: 4, problem: { line: 5, what: /was changed/ } })
  t.match(verify(lines.toSpliced(4, 1)), { problem: { line: 5, what: /row 6 .* removed/ } })
  t.match(verify(lines.toSpliced(4, 0, lines[2] ?? '')), {
    problem: { line: 5, what: /row 3 .* added/ },
  })
  const swapped = lines.with(4, lines[5] ?? '').with(5, lines[4] ?? '')
  t.match(verify(swapped), { problem: { line: 5, what: /reordered/ } })
  t.match(verify(lines.slice(1)), { problem: { line: 1, what: /removed/ } })
  t.match(verify(lines.with(4, '')), { problem: { line: 5, what: /was changed/ } })
  const forged = lines.with(4, rehashed(lines[4] ?? '', 'coder', 'other'))
  t.match(verify(forged), { rows: 5, problem: { line: 6, what: /one of the two was changed/ } })
})

t.test('a line that is not complete is named', async (t) => {
  const { path, lines } = await makeLog(t)
  writeFileSync(path, lines.join('\n'))
  t.match(verifyAudit(path), { rows: ROWS - 1, problem: { line: ROWS, what: /not complete/ } })
})

t.test('any byte that is changed, removed or added is noticed, in its line', async (t) => {
  const { path, lines } = await makeLog(t)
  const whole = Buffer.from(lines.map((line) => `${line}\n`).join(''))
  const lineAt = (at: number) => whole.subarray(0, at).toString('latin1').split('\n').length
  assert(
    property(
      nat(whole.length - 1),
      integer({ min: 1, max: 255 }),
      constantFrom('change', 'remove', 'add'),
      (at, flip, how) => {
        const byte = Buffer.from([(whole[at] ?? 0) ^ flip])
        const after = whole.subarray(how === 'add' ? at : at + 1)
        writeFileSync(
          path,
          Buffer.concat([whole.subarray(0, at), how === 'remove' ? Buffer.alloc(0) : byte, after]),
        )
        const { problem, rows } = verifyAudit(path)
        // A line break that goes joins two lines; one that comes before a line break makes an empty line after it.
        return (
          problem !== undefined &&
          [lineAt(at), lineAt(at) + 1].includes(problem.line) &&
          rows < ROWS + 1
        )
      },
    ),
    { numRuns: 500 },
  )
  t.pass('500 edits')
})

t.test('a line without an end is not read to its end', (t) => {
  const path = join(temporaryFolder(t), 'log')
  writeFileSync(path, 'x'.repeat(3_000_000))
  t.match(verifyAudit(path), { rows: 0, problem: { line: 1, what: 'the line is too long' } })
  t.end()
})

t.test('a big log is verified in little memory', (t) => {
  const path = join(temporaryFolder(t), 'log')
  const fd = openSync(path, 'w')
  const rows = 60_000
  let prev = NO_HASH
  for (let n = 1; n <= rows; n++) {
    const time = '2026-01-01T00:00:00.000Z'
    const row = makeRow({ op: 'use', path: '/x'.repeat(400) }, { n, time, saved: 0, prev })
    writeSync(fd, `${lineOf(row)}\n`)
    prev = row.hash
  }
  closeSync(fd)
  const { arrayBuffers } = process.memoryUsage()
  t.same(verifyAudit(path), { rows })
  const grown = process.memoryUsage().arrayBuffers - arrayBuffers
  t.ok(grown < 40_000_000, `of 70 MB, ${grown} bytes of buffers are there at the end`)
  t.end()
})
