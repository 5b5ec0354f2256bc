/** How is the state backed up and restored? As one file with its whole content, which a state is replaced by at once. */
import { randomBytes } from 'node:crypto'
import {
  closeSync,
  fsyncSync,
  linkSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { basename, join } from 'node:path'
import { carryOverFactors } from './factor-restore.ts'
import { DatabaseSync } from './quiet-sqlite.ts'
import { inTransaction } from './schema.ts'
import { allEndings, allWatermarks, putEndings, putWatermark } from './session-rows.ts'
import { makePrivateFile } from './sqlite.ts'
import { DamagedStateError } from './state-errors.ts'
import {
  COMPANIONS,
  freeName,
  inspect,
  moveAside,
  openStateFile,
  stateFile,
  timeName,
} from './state-file.ts'

/**
 * A copy of the state of this moment, also while a gateway writes it.
 * @returns the content of the copy, which is a state file of its own; undefined when there is no state
 * @throws {NewerStateError} {DamagedStateError} and errors of the system and of SQLite
 */
export function stateCopy(stateDir: string): Buffer | undefined {
  const path = stateFile(stateDir)
  if (inspect(path) === undefined) return undefined
  return withDraft(stateDir, (draft) => {
    const database = new DatabaseSync(path, { readOnly: true })
    try {
      database.prepare('VACUUM INTO ?').run(draft)
    } finally {
      database.close()
    }
    return readFileSync(draft)
  })
}

/** What a restored state has replaced. */
export interface Restored {
  /** The name in the state folder under which the state before is kept; undefined when there was none. */
  readonly before: string | undefined
}

/**
 * Replaces the state by a copy. Everybody is signed out, because sessions that ended since the copy was made live in it. API
 * tokens that were revoked since stay revoked. Only the holder of the lock may call this.
 * @param now milliseconds since 1970
 * @throws {NewerStateError} {DamagedStateError} when the copy cannot be used, and errors of the system and of SQLite
 */
export function restoreState(stateDir: string, copy: Buffer, now = Date.now()): Restored {
  const path = stateFile(stateDir)
  return withDraft(stateDir, (draft) => {
    writeDurably(draft, copy)
    if (inspect(draft) === undefined) throw new DamagedStateError('it is empty')
    const { database } = openStateFile(draft, { keepsOlder: false })
    let before: string | undefined
    try {
      before = openOld(path, (old) => inTransaction(database, () => carryOver(old, database)))
      inTransaction(database, () => putWatermark(database, '', now))
    } finally {
      database.close() // the whole content is in the file then, and none in a log beside it
    }
    renameSync(draft, path) // in one step, so that a start never finds the state missing
    return { before }
  })
}

/** Shows the state that is replaced, and keeps it under another name. A damaged one is moved aside. @returns that name */
function openOld(path: string, look: (old: DatabaseSync) => void): string | undefined {
  try {
    if (inspect(path) === undefined) return undefined
    const { database } = openStateFile(path)
    try {
      look(database)
    } finally {
      database.close()
    }
  } catch (error) {
    if (!(error instanceof DamagedStateError)) throw error
    return moveAside(path)
  }
  const kept = freeName(`${path}.before-restore-${timeName()}`)
  linkSync(path, kept)
  return basename(kept)
}

/**
 * Takes over what must not come to life again: what was ended, and API tokens that were revoked or exposed, or end sooner. Of
 * second factors, what was used up, removed or added since.
 */
function carryOver(old: DatabaseSync, restored: DatabaseSync): void {
  putEndings(restored, allEndings(old))
  // The clock may be behind what they were set by.
  for (const watermark of allWatermarks(old)) putWatermark(restored, ...watermark)
  const update = restored.prepare(
    `UPDATE api_tokens SET
      revoked_at = coalesce(revoked_at, :revoked), exposed_at = coalesce(exposed_at, :exposed),
      expires_at = coalesce(min(expires_at, :expires), expires_at, :expires)
    WHERE id = :id`,
  )
  const tokens = old.prepare(
    'SELECT id, revoked_at AS revoked, exposed_at AS exposed, expires_at AS expires FROM api_tokens',
  )
  for (const token of tokens.all()) update.run(token)
  carryOverFactors(old, restored)
}

/** Calls a function with the name of an empty file of mode 600 in the state folder, which is gone afterwards. */
function withDraft<T>(stateDir: string, work: (draft: string) => T): T {
  const draft = join(stateDir, `state.${randomBytes(8).toString('hex')}.tmp`)
  makePrivateFile(draft)
  try {
    return work(draft)
  } finally {
    for (const suffix of ['', ...COMPANIONS]) rmSync(draft + suffix, { force: true })
  }
}

function writeDurably(path: string, content: Buffer): void {
  const fd = openSync(path, 'r+')
  try {
    writeFileSync(fd, content)
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}
