/**
 * Is the audit log as it was written? Each line must be exactly the line of a row with the right hash, and must continue the row
 * before, also across the border of two files. A file is read piece by piece, so its size does not matter. Somebody who writes the whole log anew, or cuts its end off, is found
 * with an anchor only: number and hash of a row, which the vault writes to its own log too.
 */
import { isUtf8 } from 'node:buffer'
import { closeSync, constants, fstatSync, lstatSync, openSync, readSync } from 'node:fs'
import { MAX_LINE_BYTES, NO_HASH, parseLine, type AuditRow } from './audit-line.ts'
import { olderFilesOf } from './rotation.ts'

const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants

const LINE_BREAK = 0x0a

/** So much is read at once, in bytes. */
const PIECE_BYTES = 64 * 1024

/** The result. */
export interface Verdict {
  /** The number of lines that are right, up to the first that is not. */
  readonly rows: number
  /** The first line that is wrong. */
  readonly problem?: Problem
}

interface Problem {
  /** The path of the file that it is in. */
  readonly file: string
  /** Counted from 1, in this file. */
  readonly line: number
  /** A sentence without its full stop. */
  readonly what: string
}

/** What is verified besides the chain, and who hears of it. */
export interface VerifyOptions {
  /** Gets each row that is right. */
  readonly seen?: (row: AuditRow) => void
  /** By the number of a row, the hash that it had, from the vault's own log. The oldest file may begin behind such a row. */
  readonly anchors?: ReadonlyMap<number, string>
  /** Whether the oldest file may begin with any row, because older ones were moved elsewhere. Default: false. */
  readonly mayBeginLater?: boolean
}

/**
 * Verifies a log with its older files, also while the vault writes it.
 * @throws an error of the system when a file cannot be read
 */
export function verifyAudit(path: string, options: VerifyOptions = {}): Verdict {
  const fd = openLog(path)
  try {
    const chain: Chain = { rows: 0, number: 0, hash: NO_HASH, ...options }
    for (const older of olderThan(path, fd)) {
      const problem = verifyFile(older, chain)
      if (problem !== undefined) return { rows: chain.rows, problem }
    }
    const problem = verifyLines(path, linesOf(fd), chain) ?? unseenAnchor(path, chain)
    return problem === undefined ? { rows: chain.rows } : { rows: chain.rows, problem }
  } finally {
    closeSync(fd)
  }
}

/** How far the chain is right. */
interface Chain extends VerifyOptions {
  rows: number
  /** Of the last row. */
  number: number
  hash: string
  /** Lines of the file that is read. */
  lines?: number
}

/** The problem of an anchor whose row did not come. */
function unseenAnchor(file: string, { anchors, rows, number, lines = 0 }: Chain) {
  const first = number - rows + 1
  for (const asked of anchors?.keys() ?? []) {
    if (asked > number) {
      const what = `the log ends with row ${number}, and row ${asked} of an anchor is not there: rows were cut off its end, or the log is another one`
      return { file, line: lines + 1, what }
    }
    // The anchor of the row before the first one was compared with it.
    if (asked < first - 1)
      return { file, line: 1, what: `row ${asked} of an anchor is in a file that is not here` }
  }
  return undefined
}

function openLog(path: string): number {
  return openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
}

/** The older files of a log that is open. They are listed after the log was opened, so one of them may be the log itself by now. */
function olderThan(path: string, fd: number): string[] {
  const { ino, dev } = fstatSync(fd)
  const files = olderFilesOf(path).map((older) => older.path)
  const isLog = (file: string) => {
    const stats = lstatSync(file)
    return stats.ino === ino && stats.dev === dev
  }
  const end = files.findIndex(isLog)
  return end < 0 ? files : files.slice(0, end)
}

function verifyFile(file: string, chain: Chain): Problem | undefined {
  const fd = openLog(file)
  try {
    return verifyLines(file, linesOf(fd), chain)
  } finally {
    closeSync(fd)
  }
}

function verifyLines(file: string, lines: Iterable<Line>, chain: Chain): Problem | undefined {
  let line = 0
  for (const { text, problem } of lines) {
    line++
    const row = problem === undefined ? parseLine(text) : undefined
    const what = problem ?? (row === undefined ? CHANGED : problemOf(row, chain))
    if (what !== undefined || row === undefined) return { file, line, what: what ?? CHANGED }
    chain.rows++
    chain.number = row.n
    chain.hash = row.hash
    chain.seen?.(row)
  }
  chain.lines = line
  return undefined
}

/** Says why a row with the right hash is not the one that was written here. */
function problemOf(
  row: AuditRow,
  { rows, number, hash, anchors, mayBeginLater }: Chain,
): string | undefined {
  const isFirst = rows === 0 && row.n > 1
  // Older files may have been moved elsewhere. Their last row is known by its anchor.
  const mayBegin = isFirst && (mayBeginLater || anchors?.get(row.n - 1) === row.prev)
  const what = mayBegin ? undefined : misplacement(row, number + 1, hash)
  if (what !== undefined)
    return isFirst
      ? `${what}. If older files are kept elsewhere, give the hash of row ${row.n - 1}: --anchor ${row.n - 1}:HASH`
      : what
  const anchor = anchors?.get(row.n)
  return anchor === undefined || anchor === row.hash
    ? undefined
    : `row ${row.n} has another hash than its anchor: it or a row before it was written anew, or the log is another one`
}

const CHANGED = 'the row was changed: its hash is not the hash of its content'

/** Says why a row with the right hash does not stand where it was written. */
function misplacement({ n, prev }: { n: number; prev: string }, expected: number, hash: string) {
  if (n > expected)
    return `row ${n} stands where row ${expected} must: a row was removed, or rows were reordered`
  if (n < expected)
    return `row ${n} stands where row ${expected} must: a row was added, or rows were reordered`
  if (prev !== hash)
    return 'the row does not continue the row before: one of the two was changed together with its hash, or rows before were removed or added'
  return undefined
}

interface Line {
  readonly text: string
  readonly problem?: string
}

/** Reads lines. It holds one piece and one line at a time, and ends after a line that is too long or not complete. */
function* linesOf(fd: number): Generator<Line> {
  const piece = Buffer.alloc(PIECE_BYTES)
  let parts: Buffer[] = []
  let bytes = 0
  for (;;) {
    const read = piece.subarray(0, readSync(fd, piece, 0, PIECE_BYTES, null))
    if (read.length === 0) break
    let from = 0
    for (let at = read.indexOf(LINE_BREAK); at >= 0; at = read.indexOf(LINE_BREAK, from)) {
      const line = Buffer.concat([...parts, read.subarray(from, at)])
      yield isUtf8(line) ? { text: line.toString('utf8') } : { text: '', problem: CHANGED }
      parts = []
      bytes = 0
      from = at + 1
    }
    parts.push(Buffer.from(read.subarray(from)))
    bytes += read.length - from
    if (bytes > MAX_LINE_BYTES) {
      yield { text: '', problem: 'the line is too long' }
      return
    }
  }
  if (bytes > 0)
    yield {
      text: '',
      problem:
        'the line is not complete: the vault was killed while writing, and cuts it off at its next start',
    }
}
