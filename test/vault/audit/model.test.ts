/**
 * Does the log keep its promises whatever happens, in any order? Random rows of all three kinds, faults of the disk at any step, and
 * kills, compared with a model: a row whose writer was answered is there once, in order, and one that was refused is not counted on.
 */
import fs, { readFileSync, rmSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { AuditLog } from '../../../src/vault/audit/audit-log.ts'
import { olderFilesOf } from '../../../src/vault/audit/rotation.ts'
import { verifyAudit } from '../../../src/vault/audit/verify.ts'
import { systemError, watchFileSteps } from '../../helpers/file-steps.ts'
import { temporaryFolder } from '../../helpers/process.ts'

const ROUNDS = 150
const TURNS = 60

/** The steps that may fail. */
const FAULTY = [
  ...['openSync', 'fsyncSync', 'fdatasyncSync', 'linkSync', 'renameSync', 'rmSync'],
  ...['ftruncateSync', 'closeSync', 'writeSync'],
]

/** A generator of the same numbers for the same seed (xorshift32). @returns a whole number below a bound */
function randomFrom(seed: number): (below: number) => number {
  let state = seed * 2_654_435_761 || 1
  return (below) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % below
  }
}

/** What became of a row: by its mark, which is in `ms`. */
interface Model {
  readonly answered: Map<number, number | undefined>
  readonly refused: Set<number>
  readonly asked: Array<Promise<unknown>>
}

/** Makes fdatasync wait until it is let go, and fail as the disk does. */
function holdSyncs(t: Test, fails: () => boolean) {
  const { fdatasync } = fs
  const held: Array<() => void> = []
  fs.fdatasync = ((_fd: number, done: (error: Error | null) => void) => {
    held.push(() => {
      done(fails() ? systemError('EIO') : null)
    })
  }) as typeof fdatasync
  syncBuiltinESMExports()
  t.teardown(() => {
    fs.fdatasync = fdatasync
    syncBuiltinESMExports()
  })
  return () => {
    for (const release of held.splice(0)) release()
  }
}

async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => void setImmediate(resolve))
}

function write(audit: AuditLog, kind: number, mark: number, { answered, refused, asked }: Model) {
  const facts = { op: 'use', ms: mark } as const
  const refuse = () => void refused.add(mark)
  if (kind === 0) {
    try {
      answered.set(mark, audit.write(facts))
    } catch {
      refuse()
    }
  } else if (kind === 1)
    asked.push(audit.writeSoon(facts).then((n) => void answered.set(mark, n), refuse))
  else asked.push(audit.writeLater(facts).then(() => void answered.set(mark, undefined), refuse))
}

/** The rows on the disk: by the mark, the number. */
function rowsOf(path: string): Array<{ n: number; ms: number }> {
  return [...olderFilesOf(path).map((older) => older.path), path].flatMap((file) =>
    readFileSync(file, 'utf8')
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as { n: number; ms: number }),
  )
}

/** What is wrong with a log; undefined when nothing is. */
function problemOf(path: string, { answered, refused }: Model, kinds: ReadonlyMap<number, number>) {
  const rows = rowsOf(path)
  const verdict = verifyAudit(path)
  if (verdict.problem !== undefined || verdict.rows !== rows.length) return JSON.stringify(verdict)
  const numbers = new Map(rows.map(({ n, ms }) => [ms, n]))
  if (numbers.size !== rows.length) return 'a row is there twice'
  for (const [mark, n] of answered)
    if (numbers.get(mark) === undefined || (n !== undefined && numbers.get(mark) !== n))
      return `row ${mark} was answered with ${n}, and is ${numbers.get(mark)}`
  for (const mark of kinds.keys())
    if (!answered.has(mark) && !refused.has(mark)) return `row ${mark} was neither`
  const marks = rows.map(({ ms }) => ms)
  if (marks.some((mark, i) => mark < (marks[i - 1] ?? -1))) return 'rows are in another order'
  return undefined
}

t.test('random rows, and faults of the disk at any step', async (t) => {
  let isFaulty = 0
  let random = randomFrom(1)
  const fails = () => isFaulty > 0 && random(isFaulty) === 0
  const release = holdSyncs(t, fails)
  const counts = { answered: 0, refused: 0, rotated: 0 }
  for (let seed = 1; seed <= ROUNDS; seed++) {
    random = randomFrom(seed)
    const path = join(temporaryFolder(t), 'log')
    let ms = 0
    const audit = AuditLog.open(path, {
      maxFileBytes: 700 + random(3000),
      // A fast disk now and then, so that both ways of waiting are taken.
      stopwatch: () => (random(2) === 0 ? ms : (ms += 10)),
    })
    const model: Model = { answered: new Map(), refused: new Set(), asked: [] }
    const kinds = new Map<number, number>()
    const putBack = watchFileSteps((name) => {
      if (fails()) throw systemError(name === 'writeSync half' ? 'ENOSPC' : 'EIO')
    }, FAULTY)
    for (let mark = 0; mark < TURNS; mark++) {
      isFaulty = random(4) === 0 ? 2 + random(12) : 0
      const kind = random(3)
      kinds.set(mark, kind)
      write(audit, kind, mark, model)
      if (random(3) === 0) await turns(random(3))
      if (random(3) === 0) release()
    }
    isFaulty = random(3) === 0 ? 4 : 0
    if (random(2) === 0) release()
    audit.close()
    isFaulty = 0
    for (let turn = 0; turn < 20; turn++) {
      release()
      await turns(1)
    }
    putBack()
    const again = AuditLog.open(path)
    model.answered.set(TURNS, again.write({ op: 'use', ms: TURNS }))
    again.close()
    const problem = problemOf(path, model, kinds)
    if (problem !== undefined) t.fail(`seed ${seed}: ${problem}`)
    counts.answered += model.answered.size
    counts.refused += model.refused.size
    counts.rotated += olderFilesOf(path).length
    rmSync(path)
  }
  t.comment(JSON.stringify(counts))
  t.ok(counts.answered > 1000 && counts.refused > 100 && counts.rotated > 100, 'all of it happens')
})
