/**
 * Can the file of the state be trusted, and how is it opened? It is looked at before it is opened for writing, so that a file
 * of a newer program stays untouched and a damaged one is moved aside whole.
 */
import { chmodSync, lstatSync, readdirSync, renameSync, statSync, type Stats } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { DatabaseSync } from './quiet-sqlite.ts'
import { pathToFileURL } from 'node:url'
import { lookAtFactors, NO_FACTORS, type FactorLook } from './factor-look.ts'
import { VERSION } from '../answers/version.ts'
import {
  APPLICATION_ID,
  damageOf,
  inTransaction,
  metaOf,
  migrate,
  MIGRATIONS,
  setMeta,
  stampOf,
  type Damage,
  type Stamp,
} from './schema.ts'
import { DamagedStateError, NewerStateError } from './state-errors.ts'
import { makePrivateFile, sqliteCode, SQLITE } from './sqlite.ts'

/** The path of the file in a state folder. */
export function stateFile(stateDir: string): string {
  return join(stateDir, 'state.db')
}

/** Permission bits of group and others, and the one by which anybody may write. */
const OTHERS = 0o077
const WRITABLE_BY_ALL = 0o002

/** The memory that SQLite may use for pages, in KiB. The state is read once, at the start. */
const CACHE_KIB = 512

/** How long a statement waits for another process that has the file locked for a moment (milliseconds). */
const BUSY_MS = 250

/** The files that belong to a database besides the file itself. */
export const COMPANIONS = ['-wal', '-shm', '-journal'] as const

/** What this program makes of the state. Tests give other values. */
interface StateFormat {
  readonly migrations: readonly string[]
  /** The version of this program. */
  readonly program: string
}

const FORMAT: StateFormat = { migrations: MIGRATIONS, program: VERSION }

/** How the state is opened for writing. */
export interface OpenOptions {
  /**
   * Begins a new state after a damaged one was moved aside: what this writes is there whenever the new state is. Without it,
   * a state that is missing after a damaged one is refused as damaged.
   */
  readonly begin?: (database: DatabaseSync) => void
  /** Whether the state before a migration is kept beside the file. Default: true. */
  readonly keepsOlder?: boolean
  readonly format?: StateFormat
}

/**
 * Opens the state for reading and writing, makes it when it is missing, and migrates it when it is older. Only the holder of
 * the lock may call this.
 * @throws {NewerStateError} {DamagedStateError} and errors of the system and of SQLite
 */
export function openStateFile(
  path: string,
  { begin, keepsOlder = true, format = FORMAT }: OpenOptions = {},
): { readonly database: DatabaseSync; readonly isNew: boolean } {
  const before = inspect(path, format, begin !== undefined)
  if (before === undefined) makePrivateFile(path)
  else makePrivate(path)
  const database = new DatabaseSync(path, { timeout: BUSY_MS })
  try {
    database.exec(
      `PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -${CACHE_KIB}; PRAGMA trusted_schema = OFF`,
    )
    if (before !== undefined) refuseDamage(database)
    const { version } = stampOf(database)
    if (keepsOlder && version > 0 && version < format.migrations.length)
      copyOf(database, path, version)
    migrate(database, format.migrations)
    // In any case a transaction, which a read-only disk refuses.
    inTransaction(database, () => {
      if (before === undefined) begin?.(database)
      if (metaOf(database, 'written-by') !== format.program)
        setMeta(database, 'written-by', format.program) // a state without it was not begun
    })
    return { database, isNew: before === undefined }
  } catch (error) {
    database.close()
    throw asDamage(error)
  }
}

/**
 * Opens the state for reading, while another process may write it.
 * @returns undefined when there is none yet, or one that has to be migrated first
 * @throws {NewerStateError} {DamagedStateError} and errors of the system and of SQLite
 */
export function readStateFile(path: string, format = FORMAT): DatabaseSync | undefined {
  const stamp = inspect(path, format)
  if (stamp?.version !== format.migrations.length) return undefined
  return openReadOnly(path)
}

/**
 * Looks at a file without changing it.
 * @param followsDamage whether a damaged one was just moved aside
 * @returns undefined when there is none, or one that a start has left which was cut short
 * @throws {NewerStateError} {DamagedStateError} and errors of the system and of SQLite
 */
export function inspect(path: string, format = FORMAT, followsDamage = false): Stamp | undefined {
  const none = () => (followsDamage ? undefined : refuseLoss(path))
  const entry = lstatSync(path, { throwIfNoEntry: false })
  if (entry !== undefined) refuseForeign(entry)
  if (entry === undefined || entry.size === 0) {
    if ((lstatSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0) > 0)
      throw new DamagedStateError('it is missing or empty, and its write-ahead log is there')
    return none()
  }
  let database: DatabaseSync | undefined
  try {
    database = openReadOnly(path)
    const stamp = stampOf(database)
    if (stamp.version === 0 && stamp.tables === 0) return none()
    if (stamp.applicationId !== APPLICATION_ID)
      throw new DamagedStateError('it is a database of another program')
    const writtenBy = metaOf(database, 'written-by')
    if (stamp.version > format.migrations.length)
      throw new NewerStateError(path, writtenBy ?? 'of a newer release')
    return writtenBy === undefined ? none() : stamp
  } catch (error) {
    throw asDamage(error)
  } finally {
    database?.close()
  }
}

/**
 * What a file says of itself, without changing it.
 * @returns undefined when there is none
 * @throws as {@link inspect} does
 */
export function lookAtStateFile(path: string):
  | {
      readonly writtenBy: string
      readonly damage: Damage | undefined
      readonly factors: FactorLook
    }
  | undefined {
  const stamp = inspect(path)
  if (stamp === undefined) return undefined
  const database = openReadOnly(path)
  try {
    refuseDamage(database)
    return {
      writtenBy: metaOf(database, 'written-by') ?? '',
      damage: damageOf(database),
      factors: stamp.version === MIGRATIONS.length ? lookAtFactors(database) : NO_FACTORS,
    }
  } catch (error) {
    throw asDamage(error)
  } finally {
    database.close()
  }
}

function openReadOnly(path: string): DatabaseSync {
  return new DatabaseSync(path, { timeout: BUSY_MS, readOnly: true })
}

/**
 * Refuses a file that another user owns or that anybody may have written. A file with other rights of group and others is made
 * private instead, because mounting a volume can give it such a mode (Kubernetes' fsGroup), and its folder keeps everybody out.
 */
function refuseForeign(entry: Stats): void {
  if (!entry.isFile()) throw new DamagedStateError('it is not a regular file')
  if (entry.uid !== process.geteuid?.())
    throw new DamagedStateError(`it belongs to another user (${entry.uid})`)
  if ((entry.mode & WRITABLE_BY_ALL) !== 0)
    throw new DamagedStateError(`anybody can write it (mode ${(entry.mode & 0o777).toString(8)})`)
}

/** Takes every right on the files from group and others. */
function makePrivate(path: string): void {
  for (const suffix of ['', ...COMPANIONS]) {
    const entry = lstatSync(path + suffix, { throwIfNoEntry: false })
    if (entry?.isFile() === true && (entry.mode & OTHERS) !== 0) chmodSync(path + suffix, 0o600)
  }
}

/** Refuses to take for a first start what follows a damaged state: the start that moved it aside was cut short. */
function refuseLoss(path: string): undefined {
  const name = basename(path) + ASIDE
  if (readdirSync(dirname(path)).some((one) => one.startsWith(name)))
    throw new DamagedStateError('it is missing, and a damaged one was moved aside before')
}

/** Checks the structure of every page and the constraints of every row. It takes about 20 ms for 100,000 rows. */
function refuseDamage(database: DatabaseSync): void {
  const rows = database.prepare('PRAGMA quick_check(1)').all()
  const verdict = Object.values(rows[0] ?? {})[0]
  if (verdict !== 'ok') throw new DamagedStateError(`SQLite finds it damaged: ${String(verdict)}`)
}

/** Keeps the state as it was before a migration, beside the file. */
function copyOf(database: DatabaseSync, path: string, version: number): void {
  const copy = freeName(`${path}.v${version}-${timeName()}`)
  makePrivateFile(copy)
  database.prepare('VACUUM INTO ?').run(copy)
}

/** Whether there is a state file, as far as can be seen. */
export function mayHaveState(path: string): boolean {
  try {
    return lstatSync(path, { throwIfNoEntry: false }) !== undefined
  } catch {
    return false
  }
}

/**
 * Copies a state that cannot be written into memory: its disk is full or read-only. SQLite wants a file of shared memory
 * beside a database even to read it, which such a disk cannot have; the other two ways need none.
 * @returns undefined when it cannot be read, or has to be migrated first
 */
export function copyInMemory(path: string): DatabaseSync | undefined {
  const { href } = pathToFileURL(path)
  const hasLog = (statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0) > 0
  const ways = [
    { uri: `${href}?mode=ro`, locking: 'NORMAL' },
    { uri: href, locking: 'EXCLUSIVE' },
    ...(hasLog ? [] : [{ uri: `${href}?immutable=1`, locking: 'NORMAL' }]),
  ]
  for (const { uri, locking } of ways) {
    const copy = new DatabaseSync(':memory:')
    try {
      migrate(copy)
      copy.prepare('ATTACH ? AS kept').run(uri)
      copy.exec(`PRAGMA kept.locking_mode = ${locking}`)
      const { version } = stampOf(copy, 'kept')
      if (version !== MIGRATIONS.length) return undefined
      const tables = copy.prepare("SELECT name FROM main.sqlite_schema WHERE type = 'table'").all()
      for (const { name } of tables)
        copy.exec(`INSERT INTO main."${String(name)}" SELECT * FROM kept."${String(name)}"`)
      copy.exec('DETACH kept')
      return copy
    } catch {
      copy.close() // the next way may succeed
    }
  }
  return undefined
}

/** An error of SQLite that says that the file is damaged, as such; any other error unchanged. */
export function asDamage(error: unknown): unknown {
  const code = sqliteCode(error)
  const { message } = error as Error
  const isIncomplete = code === SQLITE.error && message.startsWith('no such ')
  if (code !== SQLITE.corrupt && code !== SQLITE.notADatabase && !isIncomplete) return error
  return new DamagedStateError(`SQLite cannot read it: ${message}`, { cause: error })
}

/** The beginning of the names of damaged files, which are kept for whoever wants to look into them. */
const ASIDE = '.corrupt-'

/**
 * Moves a damaged state aside with everything that belongs to it. When a start is cut short in the middle, the next one finds
 * the file missing and knows from what is left that this is no first start.
 * @returns the new name of the file; undefined when nothing was left of it
 */
export function moveAside(path: string): string | undefined {
  const aside = freeName(`${path}${ASIDE}${timeName()}`)
  const entry = lstatSync(path, { throwIfNoEntry: false })
  if (entry?.isFile() === true && entry.uid === process.geteuid?.()) chmodSync(path, 0o600)
  for (const suffix of ['', ...COMPANIONS])
    if (lstatSync(path + suffix, { throwIfNoEntry: false }) !== undefined)
      renameSync(path + suffix, aside + suffix)
  return entry === undefined ? undefined : basename(aside)
}

/** The time as a part of a file's name, in UTC. */
export function timeName(): string {
  return new Date().toISOString().replaceAll(/[-:.]/g, '')
}

/** A name that nothing has yet. */
export function freeName(path: string): string {
  for (let i = 0; ; i++) {
    const name = i === 0 ? path : `${path}-${i}`
    if (lstatSync(name, { throwIfNoEntry: false }) === undefined) return name
  }
}
