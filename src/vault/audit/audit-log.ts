/**
 * Where is each operation recorded? In the audit log, a file to which lines are only appended. Each row continues the hash of the row
 * before, and is on the disk before the operation goes on. A long file is moved away, and the chain goes on in a new one.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { codeOf } from '../../answers/errors.ts'
import type { StateLock } from '../../store/state-lock.ts'
import { explained, lockFile, refusal, type NamedFile } from '../at-rest/file-errors.ts'
import type { AuditFacts, UseAudit } from '../audit-row.ts'
import { VaultError } from '../vault-errors.ts'
import { AuditFile } from './audit-file.ts'
import { lineOf, makeRow, NO_HASH, parseLine, type AuditRow } from './audit-line.ts'

export type { AuditRow } from './audit-line.ts'

/** So many rows are kept in memory, for the owner's page. */
const RECENT_ROWS = 500

/**
 * When the last fdatasync of a group took less (ms), the next one is done without a thread, whose two changes of context take as long
 * as a fast disk. A slower disk must not hold up the streams of others.
 */
const FAST_SYNC_MS = 0.5

/** A row that nobody waits for is on the disk after at most this time (ms), or with the next row that somebody waits for. */
const LATER_MS = 1000
/** A file is moved away before it would be longer (bytes). */
const MAX_FILE_BYTES = 64 * 1024 * 1024

/** After a file could not be moved away, that is tried again when it has grown by this (bytes). */
const RETRY_BYTES = 1024 * 1024

/** How a log is opened. */
export interface AuditLogOptions {
  /** The clock, in ms since the epoch. */
  readonly now?: () => number
  /** A clock that is never set, in ms, by which an fdatasync is timed. */
  readonly stopwatch?: () => number
  /** The longest file. Default: 64 MiB. */
  readonly maxFileBytes?: number
  /** Gets the error when a long file cannot be moved away. The log goes on in it, if it can. */
  readonly onNotRotated?: (error: unknown) => void
}

/** Where the chain stands. */
interface ChainEnd {
  readonly number: number
  readonly hash: string
  /** The highest sequence number that a change began with; 0 before the first change. */
  readonly sequence: number
  /** The sequence number of the vault file that was saved last; 0 before the first. */
  readonly saved: number
}

const START: ChainEnd = { number: 0, hash: NO_HASH, sequence: 0, saved: 0 }

/** A row that waits for the next group, and the promise of its caller. */
interface Waiting {
  readonly facts: AuditFacts
  readonly resolve: (number: number) => void
  readonly reject: (error: unknown) => void
}

/** A row that is in the file, and not yet on the disk. */
interface Later {
  /** The length of the file behind it. */
  readonly length: number
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

/** A state to which the log returns after a failure. */
interface Mark {
  readonly length: number
  readonly end: ChainEnd
}

/** The audit log. One process writes it, because it holds the lock `PATH.lock`. */
export class AuditLog implements UseAudit {
  readonly #file: AuditFile
  readonly #lock: StateLock
  readonly #now: () => number
  readonly #stopwatch: () => number
  readonly #maxFileBytes: number
  readonly #onNotRotated: (error: unknown) => void
  /** The file is moved away before it is longer than this. */
  #rotateAt: number
  /** Whether an fdatasync runs, which has this file and its length in mind. */
  #isSyncing = false
  #end: ChainEnd
  #recent: AuditRow[]
  #waiting: Waiting[] = []
  #later: Later[] = []
  #laterTimer: NodeJS.Timeout | undefined
  /** How long the last fdatasync of a group took (ms). */
  #syncMs = Number.POSITIVE_INFINITY
  #isFlushing = false
  #isClosed = false
  /** What is surely on the disk. */
  #durable: Mark
  /** How often rows were taken back that were appended but did not reach the disk. */
  #takenBack = 0

  private constructor(
    opened: { file: AuditFile; lock: StateLock; rows: AuditRow[] },
    options: AuditLogOptions,
  ) {
    this.#file = opened.file
    this.#lock = opened.lock
    this.#now = options.now ?? Date.now
    this.#stopwatch = options.stopwatch ?? (() => performance.now())
    this.#maxFileBytes = options.maxFileBytes ?? MAX_FILE_BYTES
    this.#rotateAt = this.#maxFileBytes
    this.#onNotRotated = options.onNotRotated ?? (() => {})
    this.#recent = opened.rows
    this.#end = endAfter(opened.rows.at(-1))
    this.#durable = { length: this.#file.length, end: this.#end }
  }

  /**
   * Opens the log, or begins one (mode 600, in a folder with mode 700).
   * @throws {VaultFileError} when another process writes the log, when others can read it, or when its last row was changed
   */
  static open(path: string, options: AuditLogOptions = {}): AuditLog {
    const named: NamedFile = { path, setting: 'The audit log (VAULT_STATE_DIR)' }
    return explained(named, () => {
      const lock = lockFile(named)
      try {
        return AuditLog.#begin(named, lock, options)
      } catch (error) {
        lock.release()
        throw error
      }
    })
  }

  static #begin(named: NamedFile, lock: StateLock, options: AuditLogOptions): AuditLog {
    const file = AuditFile.open(named)
    try {
      return new AuditLog({ file, lock, rows: readRows(named, file) }, options)
    } catch (error) {
      file.close()
      throw error
    }
  }

  /** Number and hash of the last row, and the sequence numbers of the vault file. */
  get last(): ChainEnd {
    return this.#end
  }

  write(facts: AuditFacts): number {
    // Rows that wait came first, so they are first in the log.
    const group = this.#takeWaiting()
    try {
      const rows = this.#append([...group.map((one) => one.facts), facts])
      this.#syncNow()
      group.forEach(({ resolve }, index) => resolve(rows[index]?.n ?? 0))
      return this.#end.number
    } catch (error) {
      const failure = unavailable(error)
      for (const { reject } of group) reject(failure)
      throw failure
    }
  }

  writeSoon(facts: AuditFacts): Promise<number> {
    if (this.#isClosed) return Promise.reject(unavailable(new Error('it is closed')))
    return new Promise((resolve, reject) => {
      this.#waiting.push({ facts, resolve, reject })
      if (this.#isFlushing) return
      this.#isFlushing = true
      // In a microtask, so that all rows of one turn share one fdatasync.
      queueMicrotask(() => void this.#flush())
    })
  }

  async writeLater(facts: AuditFacts): Promise<void> {
    // Rows that wait came first, so they are first in the log.
    if (this.#waiting.length > 0) {
      await this.writeSoon(facts)
      return
    }
    try {
      this.#append([facts])
    } catch (error) {
      throw unavailable(error)
    }
    await new Promise<void>((resolve, reject) => {
      this.#later.push({ length: this.#file.length, resolve, reject })
      this.#laterTimer ??= setTimeout(this.#syncLater, LATER_MS)
    })
  }

  /** The last rows, the newest first. @param limit at most 500 */
  recent(limit: number): readonly AuditRow[] {
    return limit > 0 ? this.#recent.slice(-Math.min(limit, RECENT_ROWS)).toReversed() : []
  }

  /** Writes the rows that wait, and releases the lock. Later writes are refused. */
  close(): void {
    if (this.#isClosed) return
    clearTimeout(this.#laterTimer)
    const group = this.#takeWaiting()
    if (group.length + this.#later.length > 0) this.#writeGroupNow(group)
    this.#isClosed = true
    // An fdatasync that runs still needs the file. The end of #flush releases it then.
    if (!this.#isFlushing) this.#release()
  }

  #release(): void {
    this.#file.close()
    this.#lock.release()
  }

  /** Writes groups until nothing waits. Rows that come during an fdatasync are the next group. */
  async #flush(): Promise<void> {
    while (this.#waiting.length > 0) {
      if (this.#isFast) await nextTurn() // it blocks, so it is shared by all requests that have arrived
      const group = this.#takeWaiting()
      if (group.length > 0) await this.#writeGroup(group)
    }
    this.#isFlushing = false
    if (this.#isClosed) this.#release()
  }

  readonly #syncLater = async (): Promise<void> => {
    this.#laterTimer = undefined
    if (this.#later.length === 0) return
    if (this.#isFlushing) {
      this.#laterTimer = setTimeout(this.#syncLater, LATER_MS)
      return
    }
    this.#isFlushing = true
    await this.#sync(this.#mark()).catch(() => {}) // whoever wrote the rows is told
    await this.#flush()
  }

  async #writeGroup(group: readonly Waiting[]): Promise<void> {
    const takenBack = this.#takenBack
    try {
      const rows = this.#append(group.map(({ facts }) => facts))
      const mark = this.#mark()
      await this.#sync(mark)
      if (takenBack !== this.#takenBack) throw new Error('the rows did not reach the disk')
      group.forEach(({ resolve }, index) => resolve(rows[index]?.n ?? 0))
    } catch (error) {
      const failure = unavailable(error)
      for (const { reject } of group) reject(failure)
    }
  }

  #writeGroupNow(group: readonly Waiting[]): void {
    try {
      const rows = this.#append(group.map(({ facts }) => facts))
      this.#syncNow()
      group.forEach(({ resolve }, index) => resolve(rows[index]?.n ?? 0))
    } catch (error) {
      const failure = unavailable(error)
      for (const { reject } of group) reject(failure)
      this.#refuseLater(failure)
    }
  }

  #takeWaiting(): Waiting[] {
    const group = this.#waiting
    this.#waiting = []
    return group
  }

  /** Appends rows. The chain moves on only when all of them are in the file. */
  #append(facts: readonly AuditFacts[]): AuditRow[] {
    if (this.#isClosed) throw new Error('it is closed')
    const rows: AuditRow[] = []
    let end = this.#end
    const time = new Date(this.#now()).toISOString()
    for (const one of facts) {
      const row = rowAfter(end, one, time)
      rows.push(row)
      end = endAfter(row)
    }
    // Only somebody else's last row brings them there. Neither the log nor the vault's file could be read again.
    if (![end.number, end.sequence].every(Number.isSafeInteger))
      throw new Error('its numbers are used up; move it away to begin a new log')
    const lines = rows.map((row) => `${lineOf(row)}\n`).join('')
    this.#rotateBefore(Buffer.byteLength(lines))
    this.#file.append(lines)
    this.#end = end
    this.#recent.push(...rows)
    if (this.#recent.length > 2 * RECENT_ROWS) this.#recent = this.#recent.slice(-RECENT_ROWS)
    return rows
  }

  /**
   * Moves the file away when it would be too long. Not during an fdatasync, whose failure would cut the file.
   * @throws when rows that nobody waits for do not reach the disk: they are taken back, so nothing may be appended after them
   */
  #rotateBefore(bytes: number): void {
    const { length } = this.#file
    if (length === 0 || length + bytes <= this.#rotateAt || this.#isSyncing) return
    if (this.#later.length > 0) this.#syncNow()
    try {
      this.#file.rotate(this.#end.number)
      this.#rotateAt = this.#maxFileBytes
      this.#durable = this.#mark()
    } catch (error) {
      this.#rotateAt = length + bytes + Math.min(RETRY_BYTES, this.#maxFileBytes)
      this.#onNotRotated(error)
    }
  }

  #mark(): Mark {
    return { length: this.#file.length, end: this.#end }
  }

  #syncNow(): void {
    try {
      this.#file.syncNow()
    } catch (error) {
      this.#takeBack(error)
      throw error
    }
    this.#reached(this.#mark())
  }

  get #isFast(): boolean {
    return this.#syncMs < FAST_SYNC_MS
  }

  /** @param mark what is durable afterwards, because rows that are appended meanwhile may not be */
  async #sync(mark: Mark): Promise<void> {
    const takenBack = this.#takenBack
    const began = this.#stopwatch()
    this.#isSyncing = true
    try {
      if (this.#isFast) this.#file.syncNow()
      else await this.#file.sync()
    } catch (error) {
      if (takenBack === this.#takenBack) this.#takeBack(error)
      throw error
    } finally {
      this.#syncMs = this.#stopwatch() - began
      this.#isSyncing = false
    }
    if (takenBack === this.#takenBack && mark.length > this.#durable.length) this.#reached(mark)
  }

  #reached(mark: Mark): void {
    this.#durable = mark
    const left = this.#later.findIndex(({ length }) => length > mark.length)
    const done = this.#later.splice(0, left < 0 ? this.#later.length : left)
    for (const { resolve } of done) resolve()
  }

  #refuseLater(failure: VaultError): void {
    for (const { reject } of this.#later.splice(0)) reject(failure)
  }

  /** Removes rows that may not be on the disk. Those of other groups among them are refused too, see `#takenBack`. */
  #takeBack(error: unknown): void {
    this.#takenBack++
    this.#refuseLater(unavailable(error))
    this.#file.cutTo(this.#durable.length)
    this.#end = this.#durable.end
    this.#recent = this.#recent.filter(({ n }) => n <= this.#end.number)
  }
}

function rowAfter(end: ChainEnd, facts: AuditFacts, time: string): AuditRow {
  const { saved, sequence } = sequencesAfter(end, facts)
  return makeRow(facts, {
    ...{ n: end.number + 1, time, saved, prev: end.hash },
    begun: sequence === saved ? undefined : sequence,
  })
}

/** A row with a sequence number begins a change; a row with `of` completes it, and with the reason `done` the file was saved. */
function sequencesAfter({ saved, sequence: begun }: ChainEnd, facts: AuditFacts) {
  const { sequence = 0, of, reason } = facts
  return {
    sequence: Math.max(begun, sequence),
    saved: of !== undefined && reason === 'done' ? Math.max(saved, sequence) : saved,
  }
}

function endAfter(row: AuditRow | undefined): ChainEnd {
  if (row === undefined) return START
  const { n, hash, saved, begun = saved } = row
  return { number: n, hash, sequence: begun, saved }
}

/** Reads the last rows. The last one must be whole, because the chain goes on from it. */
function readRows(named: NamedFile, file: AuditFile): AuditRow[] {
  const rows = file.lastLines(named, RECENT_ROWS).map(parseLine)
  if ((file.length > 0 || rows.length > 0) && rows.at(-1) === undefined)
    throw refusal(
      named,
      'ends with a row that was changed. "workspace-gateway vault audit verify" names the first such row. Move the file away to begin a new log',
    )
  return rows.filter((row) => row !== undefined)
}

function unavailable(error: unknown): VaultError {
  const why = codeOf(error) || (error instanceof Error ? error.message : '')
  return new VaultError(
    'audit-unavailable',
    `the audit log in VAULT_STATE_DIR cannot be written: ${why}`,
    {
      cause: error,
    },
  )
}
