/**
 * How many wrong codes may a person type? The fifth in 15 minutes locks their codes for 15 minutes, the next lock lasts twice as
 * long, up to a day, until a right code. It is counted for the person and not for the address, in the state file, so that a
 * restart forgives nothing.
 *
 * Not counted with rate-limiter-flexible: its SQLite store writes by itself, into a table of its own and beside the transaction that
 * judges the code, counts in fixed windows (nine wrong codes fit in 15 minutes around a boundary), and blocks for one fixed time.
 */
import type { DatabaseSync } from 'node:sqlite'
import { addWrongCode, lockOf, putLock, type LockRow } from '../../store/factor-rows.ts'

/** How many wrong codes in the window lock. */
const MAX_WRONG_CODES = 5

/** In what time, in milliseconds: 15 minutes. */
const WRONG_CODES_MS = 900_000

/** How long the first lock lasts, and the longest one, in milliseconds: 15 minutes and a day. */
const FIRST_LOCK_MS = 900_000
const MAX_LOCK_MS = 86_400_000

/**
 * The lock that is in force; undefined when codes may be tried. No lock lasts longer than a day from now: one that would, because
 * the clock was set back since it began, is returned with an earlier end, which the caller writes.
 */
export function lockInForce(lock: LockRow | undefined, now: number): LockRow | undefined {
  if (lock === undefined || lock.until <= now) return undefined
  return { ...lock, until: Math.min(lock.until, now + MAX_LOCK_MS) }
}

/** Counts a wrong code. @returns until when it has locked the person's codes; undefined when it has not */
export function countWrongCode(
  database: DatabaseSync,
  subject: string,
  now: number,
): number | undefined {
  const count = addWrongCode(database, subject, { at: now, since: now - WRONG_CODES_MS })
  if (count < MAX_WRONG_CODES) return undefined
  const before = lockOf(database, subject)?.count ?? 0
  const until = now + Math.min(FIRST_LOCK_MS * 2 ** before, MAX_LOCK_MS)
  putLock(database, subject, { until, count: before + 1 })
  return until
}
