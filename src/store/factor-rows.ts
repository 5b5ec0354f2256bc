/**
 * How are second factors kept in the database? As rows; each function here is one statement or a few. No row has a secret in
 * plain: those of authenticator apps and the key of backup codes are encrypted, and a passkey has a public key alone.
 */
import type { DatabaseSync } from 'node:sqlite'
import { metaOf, setMeta } from './schema.ts'
import { putRow } from './sqlite.ts'

/** A secret that is encrypted under a signing key. */
export interface SealedSecret {
  /** The signing key. */
  readonly kid: string
  readonly sealed: Uint8Array
}

/** An authenticator app. Times are in milliseconds since 1970. */
export interface TotpRow extends SealedSecret {
  readonly id: string
  readonly subject: string
  /** The newest time step of which a code was used up (RFC 6238 section 4.2). */
  readonly lastStep: number
  readonly createdAt: number
  readonly lastUsedAt: number | undefined
}

/** A passkey. Times are in milliseconds since 1970. */
export interface PasskeyRow {
  readonly id: string
  readonly subject: string
  /** base64url */
  readonly credentialId: string
  /** The host for which it was made. */
  readonly rpId: string
  readonly name: string
  /** COSE */
  readonly publicKey: Uint8Array
  /** How often it was used, as far as its authenticator counts. */
  readonly counter: number
  /** Whether it can be copied to other devices, so that its counter proves nothing. */
  readonly isSynced: boolean
  readonly transports: readonly string[]
  readonly createdAt: number
  readonly lastUsedAt: number | undefined
  /** When its counter was last lower than before. */
  readonly counterFellAt: number | undefined
}

/** The key of the digests of a person's backup codes. */
export interface BackupSetRow extends SealedSecret {
  readonly id: string
  readonly subject: string
  readonly createdAt: number
}

/** Adds an authenticator app, or replaces the one of the same person. */
export function putTotp(database: DatabaseSync, row: TotpRow): void {
  putRow(database, 'totp', {
    subject: row.subject,
    id: row.id,
    kid: row.kid,
    sealed: row.sealed,
    last_step: row.lastStep,
    created_at: row.createdAt,
    last_used_at: row.lastUsedAt,
  })
}

export function totpOf(database: DatabaseSync, subject: string): TotpRow | undefined {
  const row = database.prepare('SELECT * FROM totp WHERE subject = ?').get(subject)
  return row === undefined
    ? undefined
    : {
        id: String(row['id']),
        subject: String(row['subject']),
        kid: String(row['kid']),
        sealed: row['sealed'] as Uint8Array,
        lastStep: Number(row['last_step']),
        createdAt: Number(row['created_at']),
        lastUsedAt: numberIn(row['last_used_at']),
      }
}

/**
 * Uses up the codes of every time step up to one, if none of the steps that a code matches was used up before.
 * @param steps the first and the last step that the code matches
 * @param at milliseconds since 1970
 * @returns whether the code counts: of two calls with the same steps, one does
 */
export function useTotpSteps(
  database: DatabaseSync,
  id: string,
  [first, last]: readonly [first: number, last: number],
  at: number,
): boolean {
  const { changes } = database
    .prepare('UPDATE totp SET last_step = ?, last_used_at = ? WHERE id = ? AND last_step < ?')
    .run(last, at, id, first)
  return changes === 1
}

/** Sets the last step of a person's authenticator app back to one, if it is later. @returns whether it was */
export function lowerLastStep(database: DatabaseSync, subject: string, step: number): boolean {
  const { changes } = database
    .prepare('UPDATE totp SET last_step = ? WHERE subject = ? AND last_step > ?')
    .run(step, subject, step)
  return changes === 1
}

/** Adds a passkey. @returns false when its credential is known already, whosever it is */
export function addPasskey(database: DatabaseSync, row: PasskeyRow): boolean {
  const known = database.prepare('SELECT 1 FROM passkeys WHERE credential_id = ?')
  if (known.get(row.credentialId) !== undefined) return false
  putRow(database, 'passkeys', {
    id: row.id,
    subject: row.subject,
    credential_id: row.credentialId,
    rp_id: row.rpId,
    name: row.name,
    public_key: row.publicKey,
    counter: row.counter,
    is_synced: row.isSynced ? 1 : 0,
    transports: JSON.stringify(row.transports),
    created_at: row.createdAt,
    last_used_at: row.lastUsedAt,
    counter_fell_at: row.counterFellAt,
  })
  return true
}

/** The passkeys of a person, the oldest first. */
export function passkeysOf(database: DatabaseSync, subject: string): PasskeyRow[] {
  return database
    .prepare('SELECT * FROM passkeys WHERE subject = ? ORDER BY created_at, id')
    .all(subject)
    .map((row) => ({
      id: String(row['id']),
      subject: String(row['subject']),
      credentialId: String(row['credential_id']),
      rpId: String(row['rp_id']),
      name: String(row['name']),
      publicKey: row['public_key'] as Uint8Array,
      counter: Number(row['counter']),
      isSynced: row['is_synced'] !== 0,
      transports: textsIn(row['transports']),
      createdAt: Number(row['created_at']),
      lastUsedAt: numberIn(row['last_used_at']),
      counterFellAt: numberIn(row['counter_fell_at']),
    }))
}

/**
 * Notes a use of a passkey with a counter that is higher than before, or 0 as before: an authenticator that does not count.
 * @returns false when the counter is not higher, or the passkey is gone
 */
export function raiseCounter(
  database: DatabaseSync,
  id: string,
  counter: number,
  at: number,
): boolean {
  const { changes } = database
    .prepare(
      'UPDATE passkeys SET counter = :counter, last_used_at = :at WHERE id = :id AND (counter < :counter OR (counter = 0 AND :counter = 0))',
    )
    .run({ id, counter, at })
  return changes === 1
}

/** Notes a use of a passkey whose counter fell. @returns false when the passkey is gone */
export function noteFallenCounter(
  database: DatabaseSync,
  id: string,
  at: number,
  isUse: boolean,
): boolean {
  const { changes } = database
    .prepare(
      'UPDATE passkeys SET counter_fell_at = :at, last_used_at = CASE :isUse WHEN 1 THEN :at ELSE last_used_at END WHERE id = :id',
    )
    .run({ id, at, isUse: isUse ? 1 : 0 })
  return changes === 1
}

/** Gives a person new backup codes. Those before count no more. @param digests HMAC-SHA-256 of each */
export function putBackupCodes(
  database: DatabaseSync,
  row: BackupSetRow,
  digests: readonly Uint8Array[],
): void {
  deleteBackupCodes(database, row.subject, row.createdAt)
  putRow(database, 'backup_sets', {
    subject: row.subject,
    id: row.id,
    kid: row.kid,
    sealed: row.sealed,
    created_at: row.createdAt,
  })
  for (const digest of digests)
    putRow(database, 'backup_codes', { digest, set_id: row.id, used_at: undefined })
}

export function backupSetOf(database: DatabaseSync, subject: string): BackupSetRow | undefined {
  const row = database.prepare('SELECT * FROM backup_sets WHERE subject = ?').get(subject)
  return row === undefined
    ? undefined
    : {
        id: String(row['id']),
        subject: String(row['subject']),
        kid: String(row['kid']),
        sealed: row['sealed'] as Uint8Array,
        createdAt: Number(row['created_at']),
      }
}

/** How many codes of a set were not used. */
export function countUnusedCodes(database: DatabaseSync, setId: string): number {
  const row = database
    .prepare('SELECT count(*) AS n FROM backup_codes WHERE set_id = ? AND used_at IS NULL')
    .get(setId)
  return Number(row?.['n'])
}

/** Uses a backup code up. @returns whether it counts: of two calls with the same code, one does; undefined when it is unknown */
export function useBackupCode(
  database: DatabaseSync,
  setId: string,
  digest: Uint8Array,
  at: number,
): boolean | undefined {
  const { changes } = database
    .prepare(
      'UPDATE backup_codes SET used_at = ? WHERE digest = ? AND set_id = ? AND used_at IS NULL',
    )
    .run(at, digest, setId)
  if (changes === 1) return true
  const known = database.prepare('SELECT 1 FROM backup_codes WHERE digest = ? AND set_id = ?')
  return known.get(digest, setId) === undefined ? undefined : false
}

/** Deletes a person's authenticator app, or only the one with this id. @returns whether there was one */
export function deleteTotp(
  database: DatabaseSync,
  subject: string,
  at: number,
  id?: string,
): boolean {
  const ids = database
    .prepare('DELETE FROM totp WHERE subject = :subject AND (:id IS NULL OR id = :id) RETURNING id')
    .all({ subject, id: id ?? null })
  return noteRemoved(database, ids, at)
}

/** Deletes a person's passkeys, or only the one with this id. @returns whether there was one */
export function deletePasskeys(
  database: DatabaseSync,
  subject: string,
  at: number,
  id?: string,
): boolean {
  const ids = database
    .prepare(
      'DELETE FROM passkeys WHERE subject = :subject AND (:id IS NULL OR id = :id) RETURNING id',
    )
    .all({ subject, id: id ?? null })
  return noteRemoved(database, ids, at)
}

export function deleteBackupCodes(database: DatabaseSync, subject: string, at: number): void {
  database
    .prepare(
      'DELETE FROM backup_codes WHERE set_id IN (SELECT id FROM backup_sets WHERE subject = ?)',
    )
    .run(subject)
  const ids = database
    .prepare('DELETE FROM backup_sets WHERE subject = ? RETURNING id')
    .all(subject)
  noteRemoved(database, ids, at)
}

/** How many removed factors are listed: each takes 60 bytes, and a person with a factor could remove and add them all day. */
const MAX_REMOVED = 10_000

/**
 * Remembers what was removed, because a backup may have it. When there are too many, the oldest are forgotten, and until when: what
 * a backup has from before that, and the state has no more, was removed too.
 */
function noteRemoved(
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

function forgetOldestRemoved(database: DatabaseSync): void {
  const oldest = database
    .prepare('SELECT at FROM removed_factors ORDER BY at DESC LIMIT 1 OFFSET ?')
    .get(MAX_REMOVED)
  if (oldest === undefined) return
  const until = Number(oldest['at'])
  database.prepare('DELETE FROM removed_factors WHERE at <= ?').run(until)
  raiseForgotten(database, until)
}

/** Notes until when removed factors are not listed. @param until milliseconds since 1970 */
function raiseForgotten(database: DatabaseSync, until: number): void {
  const before = Number(metaOf(database, 'removals-forgotten') ?? 0)
  setMeta(database, 'removals-forgotten', String(Math.max(before, until)))
}

/** The sealed secrets of every person, by their table, for when the signing key changes. */
export function allSealed(database: DatabaseSync): (SealedSecret & {
  readonly table: SealedTable
  readonly id: string
  readonly subject: string
})[] {
  return SEALED_TABLES.flatMap((table) =>
    database
      .prepare(`SELECT id, subject, kid, sealed FROM ${table}`)
      .all()
      .map((row) => ({
        table,
        id: String(row['id']),
        subject: String(row['subject']),
        kid: String(row['kid']),
        sealed: row['sealed'] as Uint8Array,
      })),
  )
}

/** The tables with a sealed secret. */
export type SealedTable = (typeof SEALED_TABLES)[number]

const SEALED_TABLES = ['totp', 'backup_sets'] as const

/** Replaces a sealed secret by the same one under another key, if nothing else has replaced it. */
export function putSealed(
  database: DatabaseSync,
  table: SealedTable,
  id: string,
  { kid, sealed }: SealedSecret,
): void {
  database.prepare(`UPDATE ${table} SET kid = ?, sealed = ? WHERE id = ?`).run(kid, sealed, id)
}

/** Everybody who has a factor, also one that nobody can use. */
export function enrolledSubjects(database: DatabaseSync): string[] {
  return database
    .prepare(
      'SELECT subject FROM totp UNION SELECT subject FROM passkeys UNION SELECT subject FROM backup_sets',
    )
    .all()
    .map((row) => String(row['subject']))
}

/** Notes that a person's factors were taken away on purpose, so that a loss before does not concern them. */
export function putFactorReset(database: DatabaseSync, subject: string, at: number): void {
  putRow(database, 'factor_resets', { subject, at })
}

/** Whose factors may have been lost with a damaged state. */
export interface LostFactors {
  /** When that was found, in ISO 8601; undefined when none were lost. */
  readonly at: string | undefined
  /** Whom it does not concern any more. */
  readonly resets: readonly string[]
}

export function lostFactors(database: DatabaseSync): LostFactors {
  const resets = database.prepare('SELECT subject FROM factor_resets').all()
  return {
    at: metaOf(database, 'factors-lost'),
    resets: resets.map((row) => String(row['subject'])),
  }
}

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

function numberIn(value: unknown): number | undefined {
  return value === null ? undefined : Number(value)
}

/** A list of texts in JSON; an empty one when it is damaged, which costs a hint and no security. */
function textsIn(value: unknown): readonly string[] {
  try {
    const list: unknown = JSON.parse(String(value))
    return Array.isArray(list) ? list.filter((one) => typeof one === 'string') : []
  } catch {
    return []
  }
}
