/**
 * How is a small file read and written safely in a folder that other users may write to? Through a draft that is moved into
 * place, without following links, without opening an existing file for writing, and without waiting for a pipe. Nobody reads
 * half a file.
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
  readSync,
  renameSync,
  rmSync,
  writeFileSync,
  type Stats,
} from 'node:fs'
import { codeOf } from '../answers/errors.ts'

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants

/** How much is read at once, in bytes. */
const CHUNK_BYTES = 64 * 1024

/** How a file is written. */
export interface WriteOptions {
  /** The mode of the new file, whatever the mode of an older one was. Default: 0o600. */
  readonly mode?: number
  /** Whether the content is on the disk when the call returns (fsync), which is slow. Default: false. */
  readonly durable?: boolean
}

/**
 * Writes a file atomically: it writes a draft beside the file and renames it. A symbolic link of that name is replaced, not
 * followed.
 */
export function writeWholeFile(path: string, content: string, options: WriteOptions = {}): void {
  withDraft(path, content, options, (draft) => renameSync(draft, path))
}

/**
 * Creates a file atomically, unless a file or a link of this name exists. Unlike a rename, a hard link never replaces a file,
 * so that of two concurrent calls only one creates the file.
 * @returns whether this call created the file
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

/**
 * Writes the content to a draft under another name (`PATH.<16 hex digits>.tmp`), which `place` moves into place. The draft is gone
 * when this returns.
 */
export function withDraft(
  path: string,
  content: string,
  { mode = 0o600, durable = false }: WriteOptions,
  place: (draft: string) => void,
): void {
  // The draft's name is unpredictable, and O_EXCL fails if a file, link or pipe of this name exists.
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
 * Reads a regular file. It does not follow a link, and refuses a pipe, which could block, and a device, which may never end.
 * @param check Refuses the open file by throwing. It gets the open file's status, not that of the name, so that the file cannot
 * be exchanged between the check and the read.
 * @throws {Error} also when the file is longer than `maxBytes`
 */
export function readWholeFile(
  path: string,
  maxBytes: number,
  check?: (stats: Stats) => void,
): string {
  return readWholeBytes(path, maxBytes, check).toString('utf8')
}

/** The same as {@link readWholeFile}, without decoding. */
export function readWholeBytes(
  path: string,
  maxBytes: number,
  check?: (stats: Stats) => void,
): Buffer {
  const fd = openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
  try {
    const stats = fstatSync(fd)
    check?.(stats)
    if (!stats.isFile()) throw new Error('it is no regular file')
    if (stats.size > maxBytes) throw tooLong(maxBytes)
    return readAtMost(fd, maxBytes)
  } finally {
    closeSync(fd)
  }
}

/**
 * Reads a file of an operator, which may be a link or a pipe.
 * @throws {Error} also when there is more than `maxBytes`, as in a device that never ends
 */
export function readOperatorsFile(path: string, maxBytes: number): string {
  const fd = openSync(path, O_RDONLY)
  try {
    return readAtMost(fd, maxBytes).toString('utf8')
  } finally {
    closeSync(fd)
  }
}

/** Reads to the end. The size is not believed, because files in /proc have none, and some of them hold terabytes. */
function readAtMost(fd: number, maxBytes: number): Buffer {
  const chunks: Buffer[] = []
  let size = 0
  for (;;) {
    const chunk = Buffer.allocUnsafe(CHUNK_BYTES)
    const length = readSync(fd, chunk)
    if (length === 0) return Buffer.concat(chunks, size)
    size += length
    if (size > maxBytes) throw tooLong(maxBytes)
    chunks.push(chunk.subarray(0, length))
  }
}

function tooLong(maxBytes: number): Error {
  return new Error(`it is longer than ${maxBytes} bytes`)
}

/** Puts the names of a folder on the disk: a file that was made or renamed is there after a power failure, and one that was removed is not. */
export function syncFolder(folder: string): void {
  const fd = openSync(folder, 'r')
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}
