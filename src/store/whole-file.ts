/**
 * How is a small file read and written in a folder that others may write to? Nothing that somebody put there is followed,
 * opened for writing or waited for, and nobody ever reads half a file.
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
 * Writes a file all at once: a draft beside it gets its name. A symbolic link of that name is replaced, not followed.
 * @param mode whoever it was readable by before
 */
export function writeWholeFile(path: string, content: string, mode = 0o600): void {
  // The name cannot be foreseen, and O_EXCL takes no file, link or pipe that is there already.
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
 * Reads a regular file. A link is not followed; a pipe, which would be waited for, and a device, which never ends, are
 * not read.
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
