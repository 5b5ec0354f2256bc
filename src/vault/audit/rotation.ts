/**
 * What becomes of an audit log that is long? It is moved to `PATH.<number of its last row>`, and an empty file takes its place, in
 * which the chain goes on. At every step the log has its name, so a process that is killed in between leaves a log that is whole.
 */
import {
  closeSync,
  constants,
  fsyncSync,
  linkSync,
  lstatSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { syncFolder } from '../../store/whole-file.ts'

const { O_APPEND, O_CREAT, O_EXCL, O_NOFOLLOW, O_RDWR } = constants

/** A file that was the log, and whose rows come before those of the log. */
export interface OlderFile {
  readonly path: string
  /** The number of its last row, which is in its name. */
  readonly lastRow: number
}

/** Finds the older files of a log, the oldest first. @throws an error of the system */
export function olderFilesOf(path: string): OlderFile[] {
  const folder = dirname(path)
  const start = `${basename(path)}.`
  return readdirSync(folder)
    .filter((name) => name.startsWith(start) && /^[1-9][0-9]{0,15}$/.test(name.slice(start.length)))
    .map((name) => ({ path: join(folder, name), lastRow: Number(name.slice(start.length)) }))
    .toSorted((one, other) => one.lastRow - other.lastRow)
}

/** Takes back what a rotation has left that was killed, or that failed twice: the log is still the file that it was. @throws an error of the system */
export function takeBackRotation(path: string): void {
  rmSync(nextOf(path), { force: true })
  const log = lstatSync(path, { throwIfNoEntry: false })
  if (log === undefined || log.nlink < 2) return
  for (const older of olderFilesOf(path)) {
    const { ino, dev } = lstatSync(older.path)
    if (ino === log.ino && dev === log.dev) rmSync(older.path)
  }
}

/**
 * Gives the log its name as an older file, and puts an empty file in its place. Its rows must be on the disk.
 * @returns the descriptor of the new file
 * @throws an error of the system; the log is as it was then
 */
export function beginNewFile(path: string, lastRow: number): number {
  const older = `${path}.${lastRow}`
  const next = nextOf(path)
  let state: 'begun' | 'linked' | 'moved' = 'begun'
  // A second name of the log would become an older file with rows that another one has too.
  takeBackRotation(path)
  const fd = openSync(next, O_RDWR | O_APPEND | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)
  try {
    fsyncSync(fd)
    linkSync(path, older) // unlike a rename, it never replaces a file
    state = 'linked'
    syncFolder(dirname(path))
    renameSync(next, path)
    state = 'moved'
    // Without this, rows of the new file could be lost with its name in a power failure.
    syncFolder(dirname(path))
    return fd
  } catch (error) {
    closeSync(fd)
    if (state === 'moved') renameSync(older, path)
    else rmSync(next, { force: true })
    if (state === 'linked') rmSync(older, { force: true })
    throw error
  }
}

function nextOf(path: string): string {
  return `${path}.new`
}
