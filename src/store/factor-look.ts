/** What does a look at a state file tell of second factors, for `check` and `doctor`? */
import type { DatabaseSync } from 'node:sqlite'
import { enrolledSubjects, lostFactors } from './factor-rows.ts'

/** What a look at the file tells of second factors, without a key. */
export interface FactorLook {
  /** Who has a secret that is encrypted under which signing key. */
  readonly sealed: ReadonlyArray<{ readonly subject: string; readonly kid: string }>
  /** The newest time step that was used up of each authenticator app. */
  readonly lastSteps: ReadonlyArray<{ readonly subject: string; readonly step: number }>
  /** Until when codes are locked, in milliseconds since 1970. */
  readonly locks: ReadonlyArray<{ readonly subject: string; readonly until: number }>
  /** How many persons have a factor. */
  readonly enrolled: number
  /** When it was found that factors may have been lost with a damaged state, in ISO 8601; undefined when none were. */
  readonly lostAt: string | undefined
}

/** What a file tells that has no second factors, or that the next start gives the tables for them. */
export const NO_FACTORS: FactorLook = {
  ...{ sealed: [], lastSteps: [], locks: [], enrolled: 0, lostAt: undefined },
}

export function lookAtFactors(database: DatabaseSync): FactorLook {
  const rows = <T>(query: string, view: (row: Record<string, unknown>) => T): T[] =>
    database.prepare(query).all().map(view)
  return {
    sealed: rows(
      'SELECT subject, kid FROM totp UNION SELECT subject, kid FROM backup_sets ORDER BY subject',
      ({ subject, kid }) => ({ subject: String(subject), kid: String(kid) }),
    ),
    lastSteps: rows('SELECT subject, last_step FROM totp ORDER BY subject', (row) => ({
      ...{ subject: String(row['subject']), step: Number(row['last_step']) },
    })),
    locks: rows('SELECT subject, until FROM factor_locks ORDER BY subject', (row) => ({
      ...{ subject: String(row['subject']), until: Number(row['until']) },
    })),
    enrolled: enrolledSubjects(database).length,
    lostAt: lostFactors(database).at,
  }
}
