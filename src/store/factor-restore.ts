/** Which second factors does a restored backup have? Those of the backup, without what was removed or used up since. */
import type { DatabaseSync } from 'node:sqlite'
import { forgetOldestRemoved, raiseForgotten } from './removed-factors.ts'
import { metaOf } from './schema.ts'

/**
 * Takes over factors from a state that a backup replaces: those that the backup does not have, what was used up since, locks, and
 * what was removed, which the backup would bring back.
 */
export function carryOverFactors(old: DatabaseSync, restored: DatabaseSync): void {
  for (const table of ['removed_factors', 'factor_resets'])
    copyRows(old, restored, table, 'REPLACE')
  const forgotten = metaOf(old, 'removals-forgotten')
  if (forgotten !== undefined) raiseForgotten(restored, Number(forgotten))
  deleteRemoved(restored)
  deleteForgotten(old, restored)
  forgetOldestRemoved(restored)
  for (const table of [...FACTOR_TABLES, 'backup_codes']) copyRows(old, restored, table, 'IGNORE')
  restored.exec('DELETE FROM backup_codes WHERE set_id NOT IN (SELECT id FROM backup_sets)')
  copyRows(old, restored, 'factor_locks', 'REPLACE')
  restored.exec('DELETE FROM wrong_codes')
  copyRows(old, restored, 'wrong_codes', 'IGNORE')
  const update = (to: string, from: string) => {
    const statement = restored.prepare(to)
    for (const row of old.prepare(from).all()) statement.run(row)
  }
  update(
    'UPDATE totp SET last_step = max(last_step, :value) WHERE id = :id',
    'SELECT id, last_step AS value FROM totp',
  )
  update(
    'UPDATE passkeys SET counter = max(counter, :value) WHERE id = :id',
    'SELECT id, counter AS value FROM passkeys',
  )
  update(
    'UPDATE backup_codes SET used_at = :value WHERE digest = :id',
    'SELECT digest AS id, used_at AS value FROM backup_codes WHERE used_at IS NOT NULL',
  )
}

/** Deletes the factors that were removed or reset after the backup was made. */
function deleteRemoved(restored: DatabaseSync): void {
  for (const table of FACTOR_TABLES)
    restored.exec(
      `DELETE FROM ${table} WHERE id IN (SELECT id FROM removed_factors)
        OR created_at <= (SELECT at FROM factor_resets WHERE factor_resets.subject = ${table}.subject)`,
    )
}

/** Deletes the factors that were removed so long ago that their removal is not listed any more: the state before has none of them. */
function deleteForgotten(old: DatabaseSync, restored: DatabaseSync): void {
  const until = Number(metaOf(restored, 'removals-forgotten') ?? 0)
  for (const table of FACTOR_TABLES) {
    const kept = old.prepare(`SELECT 1 FROM ${table} WHERE id = ?`)
    const remove = restored.prepare(`DELETE FROM ${table} WHERE id = ?`)
    const rows = restored.prepare(`SELECT id FROM ${table} WHERE created_at <= ?`).all(until)
    for (const { id } of rows) if (kept.get(String(id)) === undefined) remove.run(String(id))
  }
}

/** The tables in which each row is a factor with an id. */
const FACTOR_TABLES = ['totp', 'passkeys', 'backup_sets'] as const

/** Copies every row of a table to the same table of another database. */
function copyRows(
  old: DatabaseSync,
  restored: DatabaseSync,
  table: string,
  onConflict: 'REPLACE' | 'IGNORE',
): void {
  for (const row of old.prepare(`SELECT * FROM ${table}`).all()) {
    const columns = Object.keys(row)
    restored
      .prepare(
        `INSERT OR ${onConflict} INTO ${table} (${columns.join(', ')}) VALUES (${columns.map(() => '?').join(', ')})`,
      )
      .run(...Object.values(row))
  }
}
