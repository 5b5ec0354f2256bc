/**
 * How is a small file read and written in a folder that others may write to? By a name that cannot be foreseen and then given
 * its own, so that nobody reads half a file, and through no link, pipe or device that somebody put in its place.
 */
import { randomBytes } from 'node:crypto'
import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  fsyncSync,
  linkSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
  type Stats,
} from 'node:fs'
import { codeOf } from '../answers/errors.ts'

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants

/** How a file is written. */
export interface WriteOptions {
  /** The permission bits, whoever could read the file before; 0o600 when left out. */
  readonly mode?: number
  /** Whether the content is on the disk when the call returns; slow, and for what cannot be made again. */
  readonly durable?: boolean
}

/** Writes a file all at once. A symbolic link of that name is replaced, not followed. */
export function writeWholeFile(path: string, content: string, options: WriteOptions = {}): void {
  withDraft(path, content, options, (draft) => renameSync(draft, path))
}

/**
 * Writes a file all at once if nothing has its name. Of two calls at the same time one writes, because a link, unlike a
 * rename, replaces nothing.
 * @returns whether this call has written it
 */
export function writeNewFile(path: string, content: string, options: WriteOptions = {}): boolean {
  let isWritten = true
  withDraft(path, content, options, (draft) => {
    try {
      linkSync(draft, path)
    } catch (error) {
      if (codeOf(error) !== 'EEXIST') throw error
      isWritten = false
    }
  })
  return isWritten
}

/** Writes the content under another name, lets `place` give it its own, and leaves nothing else behind. */
function withDraft(
  path: string,
  content: string,
  { mode = 0o600, durable = false }: WriteOptions,
  place: (draft: string) => void,
): void {
  // The name cannot be foreseen, and O_EXCL takes no file, link or pipe that is there already.
  const draft = `${path}.${randomBytes(8).toString('hex')}.tmp`
  const fd = openSync(draft, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode)
  try {
    try {
      writeFileSync(fd, content)
      fchmodSync(fd, mode)
      if (durable) fsyncSync(fd)
    } finally {
      closeSync(fd)
    }
    place(draft)
  } finally {
    rmSync(draft, { force: true })
  }
}

/**
 * Reads a regular file. A link is not followed; a pipe, which would be waited for, and a device, which never ends, are
 * not read.
 * @param check may refuse the open file by throwing; nobody can exchange the file between the check and the reading
 * @throws {Error} also when the file is longer than `maxBytes`
 */
export function readWholeFile(
  path: string,
  maxBytes: number,
  check?: (stats: Stats) => void,
): string {
  const fd = openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
  try {
    const stats = fstatSync(fd)
    check?.(stats)
    if (!stats.isFile()) throw new Error('it is no regular file')
    if (stats.size > maxBytes) throw new Error(`it is longer than ${maxBytes} bytes`)
    return readFileSync(fd, 'utf8')
  } finally {
    closeSync(fd)
  }
}
