/** Why is a file of the vault refused? The sentences, and the checks of owner, mode and folder that come before its content. */
import { statSync, type Stats } from 'node:fs'
import { dirname } from 'node:path'
import { codeOf } from '../../answers/errors.ts'
import { makeFolder } from '../../store/make-folder.ts'
import { takeLock, type StateLock } from '../../store/state-lock.ts'

/** A file of the vault cannot be used. The message is complete text for a person, and contains no credential. */
export class VaultFileError extends Error {
  override readonly name = 'VaultFileError'
}

/** A file, and the setting that names it. */
export interface NamedFile {
  readonly path: string
  /** `VAULT_FILE` or `VAULT_STATE_DIR`; else the words for a file that no setting names. */
  readonly setting: string
}

/** Permission bits of group and others. */
const OTHERS = 0o077
const WRITABLE_BY_OTHERS = 0o022
const ROOT = 0

/** What an error of the system means, by its code. */
const SYSTEM_PROBLEMS: Record<string, string> = {
  ELOOP: 'is a link; put the file itself in its place',
  ENOENT: 'does not exist',
  ENOTDIR: 'is in a folder that is no folder',
  EISDIR: 'is a folder; give the path of a file',
  ENXIO: 'is no regular file; give the path of a file',
  EACCES: 'may not be read or written by this user; run this as its owner',
  EPERM: 'may not be read or written by this user; run this as its owner',
  EROFS: 'is on a disk that cannot be written',
  ENOSPC: 'cannot be written, because the disk is full',
}

/** Makes an error about a file. @param what a predicate, such as `is empty` */
export function refusal({ path, setting }: NamedFile, what: string, cause?: unknown) {
  return new VaultFileError(`${setting} ${path} ${what}.`, { cause })
}

/** Runs work on a file, and turns an error of the system into a sentence. */
export function explained<T>(file: NamedFile, work: () => T): T {
  try {
    return work()
  } catch (error) {
    const code = codeOf(error)
    if (!/^(?:E[A-Z0-9]+|ERR_(?:FS|SQLITE)_\w+)$/.test(code)) throw error // not of the system, such as a VaultError
    throw refusal(file, `${SYSTEM_PROBLEMS[code] ?? 'cannot be used'} (${code})`, error)
  }
}

/** Refuses a file that is not regular, belongs to another user, or is open to others. */
export function refuseUnlessPrivate(file: NamedFile, stats: Stats): void {
  if (!stats.isFile()) throw refusal(file, 'is no regular file; give the path of a file')
  const own = process.geteuid?.() ?? stats.uid
  if (stats.uid !== own)
    throw refusal(
      file,
      `belongs to another user (${stats.uid}, and this is ${own}); run this as its owner`,
    )
  if ((stats.mode & OTHERS) !== 0) {
    const mode = (stats.mode & 0o777).toString(8).padStart(4, '0')
    throw refusal(file, `is open to others (mode ${mode}); run "chmod 600" on it`)
  }
}

/** Makes the folder of a file with mode 700, and refuses one in which other users could exchange the file. */
function ensurePrivateFolder(file: NamedFile): void {
  const folder = dirname(file.path)
  try {
    makeFolder(folder, 0o700)
  } catch (error) {
    throw refusal(file, `has no folder: ${error instanceof Error ? error.message : ''}`, error)
  }
  const { mode, uid } = statSync(folder)
  if ((mode & WRITABLE_BY_OTHERS) !== 0)
    throw refusal(file, `is in a folder that others can write to; run "chmod 700 ${folder}"`)
  const own = process.geteuid?.() ?? uid
  if (uid !== own && uid !== ROOT)
    throw refusal(
      file,
      `is in a folder of another user (${uid}, and this is ${own}); run this as its owner`,
    )
}

/** Takes the lock of a file (`PATH.lock`), because two writers would overwrite each other's changes. */
export function lockFile(file: NamedFile): StateLock {
  ensurePrivateFolder(file)
  const path = `${file.path}.lock`
  const lock = explained({ ...file, path }, () => takeLock(path))
  if (lock === undefined)
    throw refusal(file, 'is in use by another process: the vault runs already, or a command does')
  return lock
}
