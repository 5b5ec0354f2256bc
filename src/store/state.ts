/**
 * What survives a restart, and how is it written? One SQLite file in the state folder (node:sqlite): sessions, revocations,
 * one-time sign-ins and API tokens. Requests never read it; it is loaded at the start and written when something changes. A
 * gateway whose state cannot be written goes on: what must be on the disk is refused, the rest waits in memory.
 */
import { DatabaseSync } from './quiet-sqlite.ts'
import { statSync, type Stats } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import type { Logger } from 'pino'
import { GatewayError } from '../answers/errors.ts'
import { damageOf, inTransaction, migrate, setMeta, type Damage } from './schema.ts'
import { foreignOwner } from './budgets.ts'
import { putWatermark } from './session-rows.ts'
import { isTrouble } from './sqlite.ts'
import { DamagedStateError, NewerStateError, StateBusyError } from './state-errors.ts'
import {
  asDamage,
  copyInMemory,
  mayHaveState,
  moveAside,
  openStateFile,
  readStateFile,
  stateFile,
} from './state-file.ts'
import { takeStateLock, type StateLock } from './state-lock.ts'

/** A change of the database: statements that run in one transaction. It may be made again, so it must bear repetition. */
export type Change = (database: DatabaseSync) => void

/** How the state is doing, for the machine's owner. */
export interface StateCondition {
  /**
   * `damaged`: a new one was begun since the last start. `unsaved`: something was not written yet. `unavailable`: there is no
   * file that could be written. `in-memory`: nothing is kept.
   */
  readonly health: 'ok' | 'damaged' | 'unsaved' | 'unavailable' | 'in-memory'
  readonly damage?: Damage
}

/** How the state of a gateway is opened. */
export interface StateOptions {
  readonly logger: Logger
  /** Whether the state folder can be used. Default: true. */
  readonly isUsable?: boolean
  /** Whether a predecessor still writes the state, until {@link State.takeOver}. Default: false. */
  readonly takesOver?: boolean
}

/** A start waits this long for another process that has the lock, such as a command (milliseconds). */
const LOCK_MS = 2000

/** How often the lock is tried (milliseconds). */
const LOCK_STEP_MS = 50

/** How often what was not written is tried again, in milliseconds. */
const RETRY_MS = 5000

/** How often the changes of each minute are made, in milliseconds. */
const FLUSH_MS = 60_000

/** How often a process that a successor has replaced looks whether something was written, in milliseconds. */
const WATCH_MS = 1000

/** How many changes wait to be written. When more are to wait, the oldest are given up, because memory is bounded too. */
const MAX_WAITING = 10_000

const HANDED_OVER = new GatewayError('state-unavailable', {
  reason: 'a successor keeps the state',
  retryAfter: 1,
})

/** The state of a gateway. */
export class State {
  readonly #stateDir: string
  readonly #logger: Logger | undefined
  /** What is read: the file, or without one a database in memory. */
  #database: DatabaseSync | undefined
  /** Held while this process writes the file. */
  #lock: StateLock | undefined
  /**
   * `reader`: a predecessor writes the file. `retired`: a successor does. `unavailable`: the file cannot be written, and this
   * is tried again and again.
   */
  #mode: 'writer' | 'reader' | 'retired' | 'unavailable' | 'in-memory' | 'closed'
  /** The file that this process writes. */
  #file: Stats | undefined
  #damage: Damage | undefined
  /** Whether this process found the damage. */
  #beganAnew = false
  /** Whether there is a folder in which the file may be opened, now or later. */
  readonly #mayOpen: boolean
  /** Changes that could not be written, in their order. */
  #waiting: Change[] = []
  /** Whether writing fails at present, which is logged once. */
  #isFailing = false
  readonly #chores: Change[] = []
  readonly #listeners: (() => void)[] = []
  #flushTimer: NodeJS.Timeout | undefined
  #retryTimer: NodeJS.Timeout | undefined
  #watchTimer: NodeJS.Timeout | undefined
  /** What the successor had written at the last look. */
  #seenVersion: number | undefined
  readonly #ready = Promise.withResolvers<void>()
  #isReady = false

  private constructor(stateDir: string | undefined, logger?: Logger) {
    this.#stateDir = stateDir ?? ''
    this.#mayOpen = stateDir !== undefined
    this.#mode = 'unavailable'
    this.#logger = logger
    this.#ready.promise.catch(() => {}) // nobody may be waiting when it is closed
  }

  /** State that nothing keeps, for tests and for commands that need none. */
  static inMemory(): State {
    const state = new State(undefined)
    state.#mode = 'in-memory'
    state.#database = databaseInMemory()
    state.#becomeReady()
    return state
  }

  /**
   * Opens the state of a gateway. A state that is damaged is moved aside and a new one begun, with which everybody is signed
   * out. One that cannot be opened at all is tried again and again, and until then nothing is kept.
   * @throws {StateBusyError} when another process writes it
   * @throws {NewerStateError} when a newer program has written it
   */
  static async open(
    stateDir: string,
    { logger, isUsable = true, takesOver = false }: StateOptions,
  ): Promise<State> {
    const state = new State(isUsable ? stateDir : undefined, logger)
    if (!isUsable) state.#database = unknownFactorsInMemory()
    else if (takesOver) state.#openForReading()
    else {
      await state.#openForWriting()
      state.#forgetEarlierDamage()
    }
    if (state.#mode !== 'reader') state.#becomeReady()
    state.#flushTimer = setInterval(() => state.flush(), FLUSH_MS).unref()
    return state
  }

  /**
   * Opens the state for a command, when no gateway runs.
   * @throws {StateBusyError} {NewerStateError} {DamagedStateError} and errors of the system and of SQLite
   */
  static async openForCommand(stateDir: string): Promise<State> {
    const state = new State(stateDir)
    const lock = await stateLock(stateDir)
    try {
      state.#become('writer', openStateFile(stateFile(stateDir)).database)
      state.#lock = lock
    } catch (error) {
      lock.release()
      throw error
    }
    state.#becomeReady()
    return state
  }

  /**
   * Resolves when what is read is the state as a predecessor has left it, at once without a predecessor. Nothing may be
   * decided from the state before that. Rejects with `state-unavailable` when the state is closed first.
   */
  get ready(): Promise<void> {
    return this.#ready.promise
  }

  /**
   * Whether this process decides who is signed in: not while a predecessor does, nor after a successor does. A process whose file
   * cannot be opened decides too, from what it knows, or nothing would end what hangs on a session.
   */
  get isInCharge(): boolean {
    return this.#isReady && !this.#hasEnded()
  }

  /** How the state is doing. */
  get condition(): StateCondition {
    const damage = this.#damage === undefined ? {} : { damage: this.#damage }
    if (this.#mode === 'in-memory') return { health: 'in-memory' }
    if (this.#mode !== 'writer') return { health: 'unavailable', ...damage }
    if (this.#isFailing) return { health: 'unsaved', ...damage }
    return { health: this.#damage === undefined ? 'ok' : 'damaged', ...damage }
  }

  /**
   * Refuses what must outlast this process when a successor has taken over the state: a change would not reach the successor,
   * and an answer would promise what nobody keeps. The response is the last one of its connection, so the next try gets there.
   * @throws {GatewayError} `state-unavailable`
   */
  refuseIfHandedOver(): void {
    if (this.#mode === 'retired') throw HANDED_OVER
  }

  /** Calls a function whenever the database that is read has become another one, because everything must be read again. */
  onOpened(listener: () => void): void {
    this.#listeners.push(listener)
  }

  /** Reads. @returns what `look` returns; undefined when the state is closed */
  read<T>(look: (database: DatabaseSync) => T): T | undefined {
    if (this.#database === undefined) return undefined
    try {
      return look(this.#database)
    } catch (error) {
      const damage = asDamage(error)
      if (!(damage instanceof DamagedStateError) || this.#mode !== 'writer') throw error
      this.#replace(damage)
      return look(this.#database)
    }
  }

  /** Makes a change, which is on the disk when this returns. @throws {GatewayError} `state-unavailable` */
  write(change: Change): void {
    const database = this.#database
    if (database === undefined || (this.#mode !== 'writer' && this.#mode !== 'in-memory'))
      throw new GatewayError('state-unavailable', { reason: `state ${this.#mode}` })
    this.#refuseLostFile()
    try {
      inTransaction(database, () => {
        for (const earlier of this.#waiting) this.#makeOrDrop(earlier, database)
        change(database)
      })
    } catch (cause) {
      throw new GatewayError('state-unavailable', { reason: 'state not written', cause })
    }
    this.#waiting = []
    if (this.#isFailing) this.#logger?.info({ path: this.#path }, 'state written again')
    this.#isFailing = false
  }

  /** Makes a change now, or again and again until it succeeds. @returns whether it is on the disk when this returns */
  writeSurely(change: Change): boolean {
    if (this.#waiting.length === 0)
      try {
        this.write(change)
        return true
      } catch (error) {
        if (this.#hasEnded()) return false // nobody would write it
        this.#noteFailure(error)
      }
    if (this.#waiting.length >= MAX_WAITING) this.#waiting.shift()
    this.#waiting.push(change)
    return false
  }

  /** Adds a change that is made every minute and at the end, such as when a token was last used. */
  everyMinute(change: Change): void {
    this.#chores.push(change)
  }

  /** Makes the changes of each minute, and those that failed before. */
  flush(): void {
    if (this.#mode !== 'writer' && this.#mode !== 'in-memory') return
    try {
      this.write((database) => this.#chores.forEach((chore) => this.#makeOrDrop(chore, database)))
    } catch (error) {
      this.#noteFailure(error)
    }
  }

  /**
   * Becomes the writer after the predecessor has closed the state, and has everything read again. Credentials wait for this.
   * Without a predecessor it does nothing.
   */
  async takeOver(): Promise<void> {
    if (this.#mode !== 'reader') return
    this.#mode = 'unavailable'
    try {
      await this.#openForWriting()
      if (this.#waiting.length > 0) this.write(() => {}) // first, or what was ended here would be read as alive
    } catch (error) {
      this.#noteFailure(error)
    }
    if (this.#hasEnded()) return // meanwhile
    this.#tellOpened()
    this.#becomeReady()
  }

  /**
   * Writes what waits and lets a successor write the file. Until this is closed, it reads what the successor has written, so
   * that what ends there ends here too. A change after this is refused, or not kept.
   */
  handOver(): void {
    if (this.#mode === 'in-memory' || this.#hasEnded()) return
    this.#stopWriting('retired')
    if (!this.#mayOpen) return
    try {
      this.#database = readStateFile(this.#path)
    } catch (error) {
      this.#logger?.warn({ err: error, path: this.#path }, 'state of the successor not read')
    }
    this.#seenVersion = this.read(versionOf)
    this.#watchTimer = setInterval(() => this.catchUp(), WATCH_MS).unref()
  }

  /**
   * Has everything read again if a successor has written since the last look. A process that was replaced asks before it
   * refuses a credential, because who has signed in at the successor may send the next request on a connection to this one.
   */
  catchUp(): void {
    if (this.#watchTimer === undefined) return
    try {
      const version = this.read(versionOf)
      if (version === this.#seenVersion) return
      this.#seenVersion = version
      this.#tellOpened()
    } catch (error) {
      this.#logger?.warn({ err: error, path: this.#path }, 'state of the successor not read')
      this.#stopWatching()
    }
  }

  #stopWatching(): void {
    clearInterval(this.#watchTimer)
    this.#watchTimer = undefined
  }

  /** Writes what waits and closes the database. A change after this is not kept. */
  close(): void {
    if (this.#mode === 'closed') return
    this.#stopWatching()
    this.#stopWriting('closed')
  }

  #stopWriting(mode: 'retired' | 'closed'): void {
    clearInterval(this.#flushTimer)
    clearTimeout(this.#retryTimer)
    this.flush()
    if (this.#waiting.length > 0)
      this.#logger?.error(
        { path: this.#path, changes: this.#waiting.length },
        'state not written before the end: what was ended in memory alone may come to life again',
      )
    this.#waiting = []
    this.#mode = mode
    this.#ready.reject(new GatewayError('state-unavailable', { reason: `state ${mode}` }))
    this.#database?.close()
    this.#database = undefined
    this.#lock?.release()
    this.#lock = undefined
  }

  #becomeReady(): void {
    this.#isReady = true
    this.#ready.resolve()
  }

  /** Whether this process writes no more. */
  #hasEnded(): boolean {
    return this.#mode === 'closed' || this.#mode === 'retired'
  }

  get #path(): string {
    return stateFile(this.#stateDir)
  }

  /** Reads what the predecessor has written so far. */
  #openForReading(): void {
    this.#mode = 'reader'
    try {
      const database = readStateFile(this.#path)
      if (database !== undefined) this.#become('reader', database)
    } catch (error) {
      if (error instanceof NewerStateError) throw error
      this.#logger?.warn({ err: error, path: this.#path }, 'state of the predecessor not read')
    }
    this.#database ??= unknownFactorsInMemory()
  }

  /**
   * Takes the lock and opens the file. When that fails, what can be read of it is read, and it is tried again.
   * @throws {StateBusyError} {NewerStateError}
   */
  async #openForWriting(): Promise<void> {
    try {
      const lock = await stateLock(this.#stateDir)
      if (this.#mode !== 'unavailable') lock.release() // closed, or handed over, meanwhile
      else this.#openWith(lock)
    } catch (error) {
      if (error instanceof StateBusyError || error instanceof NewerStateError) throw error
      this.#database ??= this.#beganAnew ? signedOutInMemory() : readableOf(this.#path)
      this.#noteFailure(error)
    }
  }

  /** Opens the file under a lock, which is released when that fails. */
  #openWith(lock: StateLock): void {
    try {
      this.#become('writer', this.#openOrBeginAnew())
      this.#lock = lock
    } catch (error) {
      lock.release()
      throw error
    }
  }

  #openOrBeginAnew(): DatabaseSync {
    try {
      const { database, isNew } = openStateFile(this.#path)
      if (isNew) this.#logger?.warn({ path: this.#path }, 'no state yet: nobody is signed in')
      return database
    } catch (error) {
      if (!(error instanceof DamagedStateError)) throw error
      return this.#beginAnew(error)
    }
  }

  /** Moves a damaged file aside and begins a new one, for which every session and ticket until now is invalid. */
  #beginAnew({ message: reason }: DamagedStateError): DatabaseSync {
    this.#beganAnew = true
    const damage: Damage = {
      at: new Date().toISOString(),
      reason,
      movedTo: moveAside(this.#path),
    }
    const { database } = openStateFile(this.#path, {
      begin(fresh) {
        putWatermark(fresh, '', Date.parse(damage.at))
        setMeta(fresh, 'damaged', JSON.stringify(damage))
        setMeta(fresh, 'factors-lost', damage.at)
      },
    })
    this.#logger?.error(
      { path: this.#path, ...damage },
      'state was damaged: everybody is signed out, and API tokens and second factors are gone',
    )
    return database
  }

  /** Begins a new state in place of one that turned out to be damaged when it was read. */
  #replace(damage: DamagedStateError): void {
    this.#database?.close()
    try {
      this.#become('writer', this.#beginAnew(damage))
    } catch (error) {
      this.#database = signedOutInMemory()
      this.#mode = 'unavailable'
      this.#lock?.release()
      this.#lock = undefined
      this.#noteFailure(error)
    }
  }

  /**
   * Refuses to write into a file that no longer has its name: nobody would find it again, and what an answer promises would be
   * lost with the next start. A new state is begun, as after damage.
   * @throws {GatewayError} `state-unavailable`
   */
  #refuseLostFile(): void {
    if (this.#mode !== 'writer' || isFileStill(this.#path, this.#file)) return
    this.#replace(new DamagedStateError('it was removed or replaced while it was in use'))
    this.#tellOpened()
    throw new GatewayError('state-unavailable', { reason: 'state was removed' })
  }

  /** Uses another database from now on. */
  #become(mode: 'writer' | 'reader', database: DatabaseSync): void {
    if (this.#database?.isOpen === true) this.#database.close()
    this.#database = database
    this.#mode = mode
    this.#file = mode === 'writer' ? statSync(this.#path, { throwIfNoEntry: false }) : undefined
    this.#damage = damageOf(database)
  }

  /** A start that finds a sound state no longer tells of the damage that an earlier start found. */
  #forgetEarlierDamage(): void {
    if (this.#damage === undefined || this.#beganAnew) return
    this.#damage = undefined
    this.writeSurely((database) => setMeta(database, 'damaged', undefined))
  }

  /** Makes a change that could not be made before, or gives it up when it can never be made. */
  #makeOrDrop(change: Change, database: DatabaseSync): void {
    database.exec('SAVEPOINT earlier')
    try {
      change(database)
    } catch (error) {
      if (isTrouble(error)) throw error
      database.exec('ROLLBACK TO earlier')
      this.#logger?.error({ err: error, path: this.#path }, 'change of the state given up')
    }
    database.exec('RELEASE earlier')
  }

  /** Logs the first failure of several, and tries again soon. While a predecessor writes, waiting is no failure. */
  #noteFailure(error: unknown): void {
    if (this.#mode === 'reader') return
    if (!this.#isFailing)
      this.#logger?.error(
        { err: error, path: this.#path },
        'state not written; one-time sign-ins are refused, and revocations wait in memory',
      )
    this.#isFailing = true
    if (!this.#mayOpen) return
    this.#retryTimer ??= setTimeout(() => {
      this.#retryTimer = undefined
      this.#tryAgain()
    }, RETRY_MS).unref()
  }

  #tryAgain(): void {
    try {
      if (this.#mode === 'unavailable') this.#reopen()
      else this.write(() => {})
    } catch (error) {
      this.#noteFailure(error)
    }
  }

  /** Opens the file after all, writes what waits, and has everything read again. */
  #reopen(): void {
    const owner = foreignOwner(this.#stateDir)
    if (owner !== undefined) throw new Error(`the state folder belongs to another user (${owner})`)
    const lock = takeStateLock(this.#stateDir)
    if (lock === undefined) throw new StateBusyError(this.#stateDir)
    this.#openWith(lock)
    this.write(() => {})
    this.#tellOpened()
  }

  #tellOpened(): void {
    for (const listener of this.#listeners) listener()
  }
}

/** Waits for the lock of a state folder. @throws {StateBusyError} and errors of the system and of SQLite */
async function stateLock(stateDir: string): Promise<StateLock> {
  const deadline = performance.now() + LOCK_MS
  for (;;) {
    const lock = takeStateLock(stateDir)
    if (lock !== undefined) return lock
    if (performance.now() > deadline) throw new StateBusyError(stateDir)
    await pause(LOCK_STEP_MS)
  }
}

/** Whether a name still is that of a file that was opened. A folder that cannot be read at the moment tells nothing. */
function isFileStill(path: string, opened: Stats | undefined): boolean {
  try {
    const entry = statSync(path, { throwIfNoEntry: false })
    return entry !== undefined && entry.ino === opened?.ino && entry.dev === opened.dev
  } catch {
    return true
  }
}

/** A number that changes when another process has written (https://sqlite.org/pragma.html#pragma_data_version). */
function versionOf(database: DatabaseSync): number {
  return Number(database.prepare('PRAGMA data_version').get()?.['data_version'])
}

function databaseInMemory(): DatabaseSync {
  const database = new DatabaseSync(':memory:')
  migrate(database)
  return database
}

/** A state that knows nothing, for which every session and ticket until now is invalid, and everybody may have a second factor. */
function signedOutInMemory(): DatabaseSync {
  const database = unknownFactorsInMemory()
  putWatermark(database, '', Date.now())
  return database
}

/** A state that knows nothing, for which everybody may have a second factor. */
function unknownFactorsInMemory(): DatabaseSync {
  const database = databaseInMemory()
  setMeta(database, 'factors-lost', new Date().toISOString())
  return database
}

/**
 * What can be known of a file that cannot be written. If it is there and cannot be read, everybody is signed out. If it cannot be
 * seen, nobody knows whether it is there, and who has a second factor in it.
 */
function readableOf(path: string): DatabaseSync {
  return mayHaveState(path) ? (copyInMemory(path) ?? signedOutInMemory()) : unknownFactorsInMemory()
}
