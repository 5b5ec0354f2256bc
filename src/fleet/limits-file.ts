/** Can the file of the limits be trusted, and how is it opened? One that cannot is refused with the remedy, and left as it is. */
import { chmodSync, lstatSync } from 'node:fs'
import { join } from 'node:path'
import { LIMITS_SETTINGS } from '../config/limits-settings.ts'
import { foreignOwner } from '../store/budgets.ts'
import { makeFolder } from '../store/make-folder.ts'
import { DatabaseSync } from '../store/quiet-sqlite.ts'
import { inTransaction, stampOf } from '../store/schema.ts'
import { makePrivateFile } from '../store/sqlite.ts'
import { takeLock, type StateLock } from '../store/state-lock.ts'
import { GrantRows } from './grant-rows.ts'

/** The folder or the file cannot be used. The message is complete text for a person. */
export class LimitsFileError extends Error {}

/** Another process has the folder. The message is complete text for a person. */
export class LimitsBusyError extends Error {}

/** The disk of the folder is full or fails; a later start may succeed. The message is complete text for a person. */
export class LimitsDiskError extends Error {}

/** `application_id` of the file, so that a database of another program is told apart ("wsgl" in ASCII). */
const APPLICATION_ID = 0x77_73_67_6c

/** The version of the tables, as `user_version`. */
const VERSION = 1

/**
 * The tables. The order of `seq` is that in which grants were taken, and `at` never falls along it for a user, because each
 * visit brings what lies in the future back to its own time.
 */
const TABLES = `
  CREATE TABLE grants (
    seq INTEGER PRIMARY KEY,
    policy TEXT NOT NULL,
    user TEXT NOT NULL,
    id TEXT NOT NULL,
    at INTEGER NOT NULL -- milliseconds since 1970
  ) STRICT;
  CREATE UNIQUE INDEX grants_of ON grants (policy, user, id);
  CREATE INDEX grants_at ON grants (policy, at);
  -- One row: when it was last tried whether the disk takes anything.
  CREATE TABLE probe (tried_at INTEGER NOT NULL) STRICT;`

/** The memory that SQLite may use for pages, in KiB. */
const CACHE_KIB = 8192

/** How long a statement waits for somebody who reads the file and has it locked for a moment, in milliseconds. */
const BUSY_MS = 250

/** SQLite's primary result codes for a disk that cannot be written or is full: SQLITE_IOERR and SQLITE_FULL. */
const DISK_ERRORS: ReadonlySet<number> = new Set([10, 13])

/** SQLITE_IOERR_SHORT_READ: the file itself has lost its end. */
const SHORT_READ = 522

/** The bits of an extended result code that are the primary one. */
const PRIMARY_CODE = 0xff

/** Permission bits of group and others. */
const OTHERS = 0o077

/** The file, opened for this process alone. */
export interface LimitsFile {
  readonly path: string
  readonly database: DatabaseSync
  readonly rows: GrantRows
  readonly lock: StateLock
  /** Whether it was made just now, so that nobody has taken anything yet. */
  readonly isNew: boolean
}

/**
 * Opens the file in a folder, and makes both when they are missing.
 * @throws {LimitsBusyError} {LimitsDiskError} {LimitsFileError}
 */
export function openLimitsFile(stateDir: string): LimitsFile {
  const { env } = LIMITS_SETTINGS.stateDir
  const path = join(stateDir, 'limits.db')
  let lock: StateLock | undefined
  try {
    prepareFolder(stateDir, env)
    const owner = foreignOwner(stateDir)
    if (owner !== undefined)
      throw new LimitsFileError(
        `${env} ${stateDir} belongs to another user (${owner}); give a folder of the user who runs the service`,
      )
    lock = takeLock(join(stateDir, 'limits.lock'))
    if (lock === undefined)
      throw new LimitsBusyError(`${env} ${stateDir} is in use by another process`)
    return { path, ...openDatabase(path), lock }
  } catch (error) {
    lock?.release()
    if (error instanceof LimitsBusyError || error instanceof LimitsFileError) throw error
    const why = error instanceof Error ? error.message : ''
    const problem = `${env} ${stateDir}: ${path} cannot be used: ${why}`
    if (isOfDisk(error))
      throw new LimitsDiskError(`${problem}; free some space on its disk, or mend the disk`, {
        cause: error,
      })
    throw new LimitsFileError(
      `${problem}; mend what the system says, or move the files limits.db* away, and every user begins anew`,
      { cause: error },
    )
  }
}

/** Makes the folder unless it is there. @throws {LimitsFileError} which says nothing of a file that nobody has opened */
function prepareFolder(stateDir: string, env: string): void {
  try {
    makeFolder(stateDir, 0o700)
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : ''
    throw new LimitsFileError(
      `${env} ${stateDir} cannot be used: ${why}; give a folder of the user who runs the service`,
      { cause },
    )
  }
}

/** Whether the disk is to blame, and the file is as good as it was. */
function isOfDisk(error: unknown): boolean {
  const code = error instanceof Error && 'errcode' in error ? Number(error.errcode) : 0
  return code !== SHORT_READ && DISK_ERRORS.has(code & PRIMARY_CODE)
}

/** The same tables in memory. */
export function openInMemory(): Pick<LimitsFile, 'database' | 'rows'> {
  const database = new DatabaseSync(':memory:')
  makeTables(database)
  return { database, rows: new GrantRows(database) }
}

function openDatabase(path: string): Pick<LimitsFile, 'database' | 'rows' | 'isNew'> {
  prepareFile(path)
  const database = new DatabaseSync(path, { timeout: BUSY_MS })
  try {
    const { applicationId, version, tables } = stampOf(database)
    const isNew = version === 0 && tables === 0
    if (!isNew) refuse(database, applicationId, version, path)
    database.exec(
      `PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -${CACHE_KIB}; PRAGMA trusted_schema = OFF`,
    )
    if (isNew) makeTables(database)
    return { database, rows: new GrantRows(database), isNew }
  } catch (error) {
    database.close()
    throw error
  }
}

/** Makes the file, or takes every right on it from group and others. SQLite gives its other files the same mode. */
function prepareFile(path: string): void {
  makePrivateFile(path)
  const entry = lstatSync(path)
  if (!entry.isFile()) throw new Error('it is not a regular file')
  if (entry.uid !== process.geteuid?.())
    throw new Error(`it belongs to another user (${entry.uid})`)
  if ((entry.mode & OTHERS) !== 0) chmodSync(path, 0o600)
  // SQLite would take it for a new database, and delete the log.
  if (entry.size === 0 && (lstatSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0) > 0)
    throw new Error('it is damaged: it is missing or empty, and its write-ahead log is there')
}

function refuse(
  database: DatabaseSync,
  applicationId: number,
  version: number,
  path: string,
): void {
  if (applicationId !== APPLICATION_ID) throw new Error('it is a database of another program')
  if (version > VERSION)
    throw new LimitsFileError(
      `${LIMITS_SETTINGS.stateDir.env}: ${path} was written by a newer workspace-gateway (version ${version} of the file, and this one knows ${VERSION}); start the newer one, or move the files limits.db* away, and every user begins anew`,
    )
  const verdict = Object.values(database.prepare('PRAGMA quick_check(1)').get() ?? {})[0]
  if (verdict !== 'ok') throw new Error(`it is damaged: ${String(verdict)}`)
}

function makeTables(database: DatabaseSync): void {
  inTransaction(database, () =>
    database.exec(
      `${TABLES} PRAGMA user_version = ${VERSION}; PRAGMA application_id = ${APPLICATION_ID}`,
    ),
  )
}
