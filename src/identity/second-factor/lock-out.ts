/**
 * How many wrong codes may a person type? The fifth in 15 minutes locks their codes for 15 minutes, the next lock lasts twice as
 * long, up to a day, until a right code. It is counted for the person and not for the address, in the state file, so that a
 * restart forgives nothing. Only a try in a session of the person is counted, so a stranger cannot lock them out.
 *
 * Somebody with a session of theirs, such as a stolen cookie, would never be locked with four tries every 15 minutes: 384 a day,
 * each of which matches three codes of a million, 0.12 % a day and 34 % a year. Therefore each wrong code locks too from the 20th
 * in seven days on, and no right code forgives those. Who tries whenever they may gets 32 tries in the first week and 20 in each
 * further one while the person shows no code, 0.3 % a year, and about 55 a week when a right code a day makes the locks short again,
 * 0.8 % a year. A person who mistypes twice a day never meets it, and waits 15 minutes when they do.
 *
 * Not counted with rate-limiter-flexible: its SQLite store writes by itself, into a table of its own and beside the transaction that
 * judges the code, counts in fixed windows (nine wrong codes fit in 15 minutes around a boundary), and blocks for one fixed time.
 */
import type { DatabaseSync } from 'node:sqlite'
import {
  addWrongCode,
  countWrongCodes,
  lockOf,
  putLock,
  type LockRow,
} from '../../store/factor-locks.ts'

/** How many wrong codes lock that come close together, and in what time, in milliseconds: 15 minutes. */
const MAX_WRONG_CODES = 5
const WRONG_CODES_MS = 900_000

/** How many wrong codes lock of a patient person, and in what time, in milliseconds: seven days. */
const MAX_WRONG_CODES_LONG = 20
const WRONG_CODES_LONG_MS = 604_800_000

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
  addWrongCode(database, subject, { at: now, since: now - WRONG_CODES_LONG_MS })
  const isTooMany =
    countWrongCodes(database, subject, now - WRONG_CODES_MS) >= MAX_WRONG_CODES ||
    countWrongCodes(database, subject, now - WRONG_CODES_LONG_MS) >= MAX_WRONG_CODES_LONG
  if (!isTooMany) return undefined
  const before = lockOf(database, subject)?.count ?? 0
  const until = now + Math.min(FIRST_LOCK_MS * 2 ** before, MAX_LOCK_MS)
  putLock(database, subject, { until, count: before + 1 })
  return until
}
