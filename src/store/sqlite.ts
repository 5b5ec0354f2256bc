/** How does the state use SQLite? What its error codes mean, how a row is put, and how a file is made that nobody else can read. */
import { closeSync, constants, openSync } from 'node:fs'
import type { DatabaseSync, SQLInputValue } from 'node:sqlite'
import { codeOf } from '../answers/errors.ts'

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_RDWR } = constants

/** The result codes of SQLite that the state tells apart (https://sqlite.org/rescode.html). */
export const SQLITE = { error: 1, busy: 5, corrupt: 11, notADatabase: 26 } as const

/** The codes that say that a statement itself is wrong: SQLITE_ERROR, TOOBIG, CONSTRAINT, MISMATCH, MISUSE and RANGE. */
const OUR_FAULT: readonly number[] = [SQLITE.error, 18, 19, 20, 21, 25]

/** The result code of an error of SQLite, without its extension in the higher bits; undefined for another error. */
export function sqliteCode(error: unknown): number | undefined {
  if (codeOf(error) !== 'ERR_SQLITE_ERROR') return undefined
  const { errcode } = error as { errcode?: unknown }
  return typeof errcode === 'number' ? errcode & 0xff : undefined
}

/** Adds a row to a table, or replaces the one with its key. @param row the values by column; undefined is NULL */
export function putRow(
  database: DatabaseSync,
  table: string,
  row: Readonly<Record<string, SQLInputValue | undefined>>,
): void {
  const columns = Object.keys(row)
  const places = columns.map(() => '?')
  database
    .prepare(
      `INSERT OR REPLACE INTO ${table} (${columns.join(', ')}) VALUES (${places.join(', ')})`,
    )
    .run(...Object.values(row).map((value) => value ?? null))
}

/**
 * Makes an empty file with mode 600, because SQLite itself would make 644. SQLite gives its files beside a database
 * (`-wal`, `-shm`, `-journal`) the mode of the database.
 * @returns false when there is a file, or anything else, of this name already
 */
export function makePrivateFile(path: string): boolean {
  try {
    closeSync(openSync(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600))
    return true
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false
    throw error
  }
}

/** Whether a statement may succeed later: the disk is full or failing, another process has the file, or the like. */
export function isTrouble(error: unknown): boolean {
  const code = sqliteCode(error)
  return code !== undefined && !OUR_FAULT.includes(code)
}
