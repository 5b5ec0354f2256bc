/** How are wrong codes, and the locks that follow them, kept in the database? As rows; each function here is one statement or a few. */
import type { DatabaseSync } from 'node:sqlite'
import { putRow } from './sqlite.ts'

/** The lock of a person's codes, and how many locks came one after another. */
export interface LockRow {
  /** Milliseconds since 1970. */
  readonly until: number
  readonly count: number
}

export function lockOf(database: DatabaseSync, subject: string): LockRow | undefined {
  const row = database
    .prepare('SELECT until, count FROM factor_locks WHERE subject = ?')
    .get(subject)
  return row === undefined
    ? undefined
    : { until: Number(row['until']), count: Number(row['count']) }
}

/** Locks a person's codes. */
export function putLock(database: DatabaseSync, subject: string, { until, count }: LockRow): void {
  putRow(database, 'factor_locks', { subject, until, count })
}

/** Ends a person's lock, and makes the next one short again. Their wrong codes still count. */
export function deleteLock(database: DatabaseSync, subject: string): void {
  database.prepare('DELETE FROM factor_locks WHERE subject = ?').run(subject)
}

/** Forgets a person's wrong codes, and ends their lock. */
export function forgetWrongCodes(database: DatabaseSync, subject: string): void {
  deleteLock(database, subject)
  database.prepare('DELETE FROM wrong_codes WHERE subject = ?').run(subject)
}

/**
 * Notes a wrong code. A time after `at`, as when the clock has stepped back, counts as `at`.
 * @param since wrong codes of this time and before are forgotten
 */
export function addWrongCode(
  database: DatabaseSync,
  subject: string,
  { at, since }: { at: number; since: number },
): void {
  database
    .prepare('UPDATE wrong_codes SET at = :at WHERE subject = :subject AND at > :at')
    .run({ subject, at })
  database.prepare('DELETE FROM wrong_codes WHERE subject = ? AND at <= ?').run(subject, since)
  database.prepare('INSERT INTO wrong_codes (subject, at) VALUES (?, ?)').run(subject, at)
}

/** How many wrong codes there were after a time. */
export function countWrongCodes(database: DatabaseSync, subject: string, since: number): number {
  const row = database
    .prepare('SELECT count(*) AS n FROM wrong_codes WHERE subject = ? AND at > ?')
    .get(subject, since)
  return Number(row?.['n'])
}
