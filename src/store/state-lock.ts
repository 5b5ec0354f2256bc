/**
 * Who may write the state? The one process that holds the lock: an SQLite transaction that is never ended, on an empty file
 * beside the state. The kernel releases the lock when the process ends, also by SIGKILL; readers need no lock.
 */
import { join } from 'node:path'
import { DatabaseSync } from './quiet-sqlite.ts'
import { makePrivateFile, sqliteCode, SQLITE } from './sqlite.ts'

/** The lock that a process holds. */
export interface StateLock {
  release(): void
}

/**
 * Takes the lock, and does not wait for it. The file stays when the lock is released: without the file, two processes could
 * each lock a file of this name.
 * @returns undefined when another process, or other code of this one, has the lock
 * @throws an error of the system or of SQLite when the file cannot be made or locked
 */
export function takeStateLock(stateDir: string): StateLock | undefined {
  return takeLock(join(stateDir, 'state.lock'))
}

/** The same with a lock file of another name. The vault has such locks. */
export function takeLock(path: string): StateLock | undefined {
  makePrivateFile(path)
  const database = new DatabaseSync(path)
  try {
    // In memory: the transaction writes nothing, and a journal would be one more file.
    database.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE')
  } catch (error) {
    database.close()
    if (sqliteCode(error) === SQLITE.busy) return undefined
    throw error
  }
  return { release: () => database.close() }
}
