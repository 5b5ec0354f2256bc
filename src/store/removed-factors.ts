/** Which second factors were removed? A list, because a backup may have them, and would bring them back. */
import type { DatabaseSync } from 'node:sqlite'
import { metaOf, setMeta } from './schema.ts'

/** How many removed factors are listed: each takes 60 bytes, and a person with a factor could remove and add them all day. */
const MAX_REMOVED = 10_000

/**
 * Remembers what was removed, because a backup may have it. When there are too many, the oldest are forgotten, and until when: what
 * a backup has from before that, and the state has no more, was removed too.
 */
export function noteRemoved(
  database: DatabaseSync,
  rows: readonly Record<string, unknown>[],
  at: number,
): boolean {
  const statement = database.prepare(
    'INSERT OR REPLACE INTO removed_factors (id, at) VALUES (?, ?)',
  )
  for (const { id } of rows) statement.run(String(id), at)
  if (rows.length > 0) forgetOldestRemoved(database)
  return rows.length > 0
}

/** Forgets the oldest removals when too many are listed. */
export function forgetOldestRemoved(database: DatabaseSync): void {
  const oldest = database
    .prepare('SELECT at FROM removed_factors ORDER BY at DESC LIMIT 1 OFFSET ?')
    .get(MAX_REMOVED)
  if (oldest === undefined) return
  const until = Number(oldest['at'])
  database.prepare('DELETE FROM removed_factors WHERE at <= ?').run(until)
  raiseForgotten(database, until)
}

/** Notes until when removed factors are not listed. @param until milliseconds since 1970 */
export function raiseForgotten(database: DatabaseSync, until: number): void {
  const before = Number(metaOf(database, 'removals-forgotten') ?? 0)
  setMeta(database, 'removals-forgotten', String(Math.max(before, until)))
}
