/**
 * What survives a restart, and how is it written? One SQLite file in the state folder (node:sqlite): sessions, revocations,
 * one-time sign-ins and API tokens. Requests never read it; it is loaded at the start and written when something changes.
 */
import { closeSync, existsSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { GatewayError } from '../answers/errors.ts'
import { migrate } from './schema.ts'

/** A change of the database: statements that run in one transaction. */
export type Change = (database: DatabaseSync) => void

/** The state of a gateway. */
export class State {
  #database: DatabaseSync | undefined
  readonly #chores: Change[] = []
  readonly #retries: Change[] = []

  private constructor(database: DatabaseSync | undefined) {
    this.#database = database
  }

  /** State that nothing keeps, for tests and for commands that need none. */
  static inMemory(): State {
    const database = new DatabaseSync(':memory:')
    migrate(database)
    return new State(database)
  }

  /** Opens the state of a folder. */
  static open(stateDir: string): State {
    const path = join(stateDir, 'state.db')
    if (!existsSync(path)) closeSync(openSync(path, 'wx', 0o600)) // SQLite itself would make 644
    const database = new DatabaseSync(path)
    database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL')
    migrate(database)
    return new State(database)
  }

  /** Reads. @returns what `look` returns; undefined when there is no database to read */
  read<T>(look: (database: DatabaseSync) => T): T | undefined {
    return this.#database === undefined ? undefined : look(this.#database)
  }

  /** Makes a change, which is on the disk when this returns. @throws {GatewayError} `state-unavailable` */
  write(change: Change): void {
    const database = this.#database
    if (database === undefined)
      throw new GatewayError('state-unavailable', { reason: 'no database' })
    try {
      database.exec('BEGIN IMMEDIATE')
      change(database)
      database.exec('COMMIT')
    } catch (cause) {
      if (database.isTransaction) database.exec('ROLLBACK')
      throw new GatewayError('state-unavailable', { reason: 'not written', cause })
    }
  }

  /** Makes a change now, or again and again until it succeeds. @returns whether it is on the disk when this returns */
  writeSurely(change: Change): boolean {
    try {
      this.write(change)
      return true
    } catch {
      this.#retries.push(change)
      return false
    }
  }

  /** Adds a change that is made every minute and at the end, such as when a token was last used. It must bear repetition. */
  everyMinute(change: Change): void {
    this.#chores.push(change)
  }

  /** Makes the changes of each minute, and those that failed before. */
  flush(): void {
    const changes = [...this.#retries.splice(0), ...this.#chores]
    if (changes.length > 0)
      this.writeSurely((database) => changes.forEach((change) => change(database)))
  }

  /** Writes what waits and closes the database. */
  close(): void {
    this.flush()
    this.#database?.close()
    this.#database = undefined
  }
}
