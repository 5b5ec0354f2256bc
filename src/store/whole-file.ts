/**
 * How is a small file read and written safely in a folder that other users may write to? Through an atomic rename, without
 * following links, without opening an existing file for writing, and without waiting for a pipe. Nobody reads half a file.
 */
import { randomBytes } from 'node:crypto'
import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants

/**
 * Writes a file atomically: it writes a draft beside the file and renames it. A symbolic link of that name is replaced, not
 * followed.
 * @param mode the new mode, whatever the mode of an older file was
 */
export function writeWholeFile(path: string, content: string, mode = 0o600): void {
  // The draft's name is unpredictable, and O_EXCL fails if a file, link or pipe of this name exists.
  const draft = `${path}.${randomBytes(8).toString('hex')}.tmp`
  const fd = openSync(draft, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode)
  try {
    try {
      writeFileSync(fd, content)
      fchmodSync(fd, mode)
    } finally {
      closeSync(fd)
    }
    renameSync(draft, path)
  } catch (error) {
    rmSync(draft, { force: true })
    throw error
  }
}

/**
 * Reads a regular file. It does not follow a link, and refuses a pipe, which could block, and a device, which may never end.
 * @throws {Error} also when the file is longer than `maxBytes`
 */
export function readWholeFile(path: string, maxBytes: number): string {
  const fd = openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
  try {
    const stat = fstatSync(fd)
    if (!stat.isFile()) throw new Error('it is no regular file')
    if (stat.size > maxBytes) throw new Error(`it is longer than ${maxBytes} bytes`)
    return readFileSync(fd, 'utf8')
  } finally {
    closeSync(fd)
  }
}
