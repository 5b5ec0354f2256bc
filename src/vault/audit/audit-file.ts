/**
 * How are lines appended to the audit log? All or none: after a failure the file is cut back to its last good length. Only this
 * process writes to the file; when it was changed from outside, nothing more is written. Older files of the log are only read.
 */
import {
  closeSync,
  constants,
  fdatasync,
  fdatasyncSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  lstatSync,
  openSync,
  readSync,
  writeSync,
  type Stats,
} from 'node:fs'
import { dirname } from 'node:path'
import { syncFolder } from '../../store/whole-file.ts'
import { explained, refusal, refuseUnlessPrivate, type NamedFile } from '../at-rest/file-errors.ts'
import { MAX_LINE_BYTES } from './audit-line.ts'
import { beginNewFile, olderFilesOf, takeBackRotation } from './rotation.ts'

const { O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_RDWR } = constants

const LINE_BREAK = 0x0a

/** At the opening, at most so many bytes are read from the end. */
const MAX_TAIL_BYTES = 8 * 1024 * 1024

/** The open file. */
export class AuditFile {
  readonly #path: string
  #fd: number
  /** Which file it is, as long as it is open. */
  #opened: Pick<Stats, 'ino' | 'dev'>
  #length: number
  /** Whether the file may be longer than `#length`, because cutting it has failed. */
  #hasRest = false

  constructor(path: string, fd: number, { ino, dev, size }: Stats) {
    this.#path = path
    this.#fd = fd
    this.#opened = { ino, dev }
    this.#length = size
  }

  /**
   * Opens the file, makes it if necessary, and cuts off a last line without its line break: a killed process has left that line, and
   * nobody was told that it was written.
   * @throws {VaultFileError}, and errors of the system
   */
  static open(file: NamedFile): AuditFile {
    takeBackRotation(file.path)
    const fd = openSync(file.path, O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600)
    try {
      const stats = fstatSync(fd)
      refuseUnlessPrivate(file, stats)
      const opened = new AuditFile(file.path, fd, stats)
      opened.#cutHalfLine(file)
      syncFolder(dirname(file.path))
      return opened
    } catch (error) {
      closeSync(fd)
      throw error
    }
  }

  get length(): number {
    return this.#length
  }

  /** Reads at most so many last lines, as far as they are in the last 8 MiB of a file, from this one and from older ones. */
  lastLines(file: NamedFile, count: number): string[] {
    let lines = lastLinesOf(this.#fd, this.#length).slice(-count)
    for (const { path } of olderFilesOf(this.#path).toReversed()) {
      if (lines.length >= count) break
      const older = explained({ ...file, path }, () => readOlder({ ...file, path }))
      lines = older.slice(lines.length - count).concat(lines)
    }
    return lines
  }

  /**
   * Moves the file away as an older one, and begins an empty one in its place. Everything in it must be on the disk.
   * @param lastRow the number of its last row
   * @throws an error; the file is as it was then
   */
  rotate(lastRow: number): void {
    this.#refuseIfChanged()
    const fd = beginNewFile(this.#path, lastRow)
    const { ino, dev } = fstatSync(fd)
    const before = this.#fd
    this.#fd = fd
    this.#opened = { ino, dev }
    this.#length = 0
    closeAnyway(before)
  }

  /** Appends lines, each with its line break. They are not yet on the disk. @throws an error; nothing is appended then */
  append(lines: string): void {
    this.#refuseIfChanged()
    const bytes = Buffer.from(lines)
    this.#hasRest = true
    try {
      for (let done = 0; done < bytes.length;) done += writeSync(this.#fd, bytes, done)
    } catch (error) {
      this.#cut()
      throw error
    }
    this.#hasRest = false
    this.#length += bytes.length
  }

  /** Removes everything after a length. */
  cutTo(length: number): void {
    this.#length = length
    this.#hasRest = true
    this.#cut()
  }

  /** Waits until everything that was appended is on the disk. */
  syncNow(): void {
    fdatasyncSync(this.#fd)
  }

  /** The same without blocking. */
  sync(): Promise<void> {
    return new Promise((resolve, reject) => {
      fdatasync(this.#fd, (error) => (error === null ? resolve() : reject(error)))
    })
  }

  close(): void {
    if (this.#hasRest) this.#cut()
    closeAnyway(this.#fd)
  }

  #cut(): void {
    try {
      ftruncateSync(this.#fd, this.#length)
      this.#hasRest = false
    } catch {
      // The next append tries again.
    }
  }

  #refuseIfChanged(): void {
    if (this.#hasRest) this.#cut()
    const { ino, dev } = this.#opened
    const named = lstatSync(this.#path, { throwIfNoEntry: false })
    if (named?.ino !== ino || named.dev !== dev)
      throw new Error('it was deleted or moved; start the vault again')
    if (named.size !== this.#length)
      throw new Error('its length was changed; start the vault again')
  }

  #cutHalfLine(file: NamedFile): void {
    const from = Math.max(0, this.#length - MAX_LINE_BYTES)
    const end = readBytes(this.#fd, from, this.#length)
    const breakAt = end.lastIndexOf(LINE_BREAK)
    if (breakAt === end.length - 1) return // also when the file is empty
    if (breakAt < 0 && from > 0) throw refusal(file, 'ends with a line that is too long')
    ftruncateSync(this.#fd, from + breakAt + 1)
    fsyncSync(this.#fd)
    this.#length = from + breakAt + 1
  }
}

/** Everything is on the disk by fdatasync. An error of close(2) says nothing of that, and the descriptor is closed in any case. */
function closeAnyway(fd: number): void {
  try {
    closeSync(fd)
  } catch {
    // The log has moved on to the next file, or is at its end.
  }
}

function readOlder(file: NamedFile): string[] {
  const fd = openSync(file.path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
  try {
    const stats = fstatSync(fd)
    refuseUnlessPrivate(file, stats)
    return lastLinesOf(fd, stats.size)
  } finally {
    closeSync(fd)
  }
}

/** The whole lines in the last 8 MiB of a file. */
function lastLinesOf(fd: number, length: number): string[] {
  const from = Math.max(0, length - MAX_TAIL_BYTES)
  const lines = readBytes(fd, from, length).toString('utf8').split('\n').slice(0, -1)
  if (from > 0) lines.shift()
  return lines
}

function readBytes(fd: number, from: number, to: number): Buffer {
  const bytes = Buffer.alloc(to - from)
  let done = 0
  while (done < bytes.length) {
    const count = readSync(fd, bytes, done, bytes.length - done, from + done)
    if (count === 0) break
    done += count
  }
  return bytes.subarray(0, done)
}
