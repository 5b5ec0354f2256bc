/**
 * How are log lines written so that a reader that stops reading never blocks the gateway? Writes to a pipe, socket or
 * terminal do not block; lines that cannot be written yet are queued up to a limit and dropped beyond it; flushing has a
 * time limit.
 *
 * A line goes through three steps: `write` gathers it in a string, `#enqueue` moves the string to the queue as one piece, and
 * `#write` writes the queue to the descriptor.
 */
import { constants, fstatSync, openSync, write, writeSync } from 'node:fs'
import { Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { codeOf } from '../answers/errors.ts'

/**
 * Lines are gathered up to this many characters, and for this long at most (milliseconds), before they are written. Each
 * write wakes a thread or the reader: with pieces of 8 KiB, writing took 4 % of the time of a busy gateway. A pipe
 * takes 64 KiB, and a piece that is larger waits for its reader.
 */
const GATHERED_LENGTH = 48 * 1024
const GATHERED_MS = 500

/** The limit of the queue in bytes. Lines beyond it are dropped, or a stopped reader could exhaust the memory. */
const MAX_QUEUED_BYTES = 8 * 1024 * 1024

/** Pieces of about GATHERED_LENGTH written in one turn of the event loop, so that requests are served in between. */
const PIECES_A_TURN = 16

/** Delay before the next write to a full pipe, in milliseconds. It doubles each time, up to the second number. */
const FIRST_RETRY_MS = 4
const LAST_RETRY_MS = 128

/** How long `flush` waits for the reader, and how often it checks whether the queue is empty, in milliseconds. */
const FLUSH_MS = 500
const FLUSH_STEP_MS = 5

const LINE_FEED = 10

/**
 * How a descriptor is written to.
 * - `ready`: The descriptor does not block and fails with EAGAIN when its buffer is full. It is written to synchronously,
 *   which costs less than a thread.
 * - `file`: A regular file. A write ends for certain but may be slow, because of the disk. It is written to in a thread.
 * - `blocking`: A descriptor that could not be made non-blocking, so that a write may block for ever. It is written to in a
 *   thread, which may still be blocked when the process ends (src/process/ending.ts).
 */
type Mode = 'ready' | 'file' | 'blocking'

/** Writes lines to a descriptor. */
export class LineOutput {
  readonly #fd: number
  readonly #mode: Mode
  readonly #onLost: ((lines: number) => string) | undefined
  /** Lines that are not in the queue yet. */
  #gathered = ''
  /** The queue: pieces that are not written yet. The beginning of the first piece may be written already and cut off. */
  readonly #queue: Buffer[] = []
  #queuedBytes = 0
  /** Whether a thread is writing, or a timer will continue writing: a new piece is then only added to the queue. */
  #isBusy = false
  #retryMs = FIRST_RETRY_MS
  /**
   * Whether the last byte written was not the end of a line. If the rest of that line is dropped, the line stays incomplete.
   */
  #isCut = false
  #lostLines = 0

  /** @param onLost makes the line that reports how many lines were dropped; it is written once the queue is empty again */
  constructor(fd: number, onLost?: (lines: number) => string) {
    const { fd: own, mode } = withoutBlocking(fd)
    this.#fd = own
    this.#mode = mode
    this.#onLost = onLost
    setInterval(() => {
      // While the queue cannot be written, many small pieces would take more memory than their contents.
      if (!this.#isBusy) this.#enqueue()
    }, GATHERED_MS).unref()
  }

  /** Adds a line. Lines are written many at a time, because a busy gateway would otherwise spend its time on writes. */
  write(line: string): void {
    this.#gathered += line
    if (this.#gathered.length >= GATHERED_LENGTH) this.#enqueue()
  }

  /** Writes all lines, or as many as the reader accepts within half a second. */
  async flush(): Promise<void> {
    this.#enqueue()
    const deadline = performance.now() + FLUSH_MS
    while (this.#queue.length > 0 && performance.now() < deadline) await pause(FLUSH_STEP_MS)
  }

  /**
   * Writes the lines that can be written without waiting: after an urgent line, or at the end of the process. It writes none
   * where a write could block, and none while a thread writes to the file, because the lines would be mixed up.
   */
  flushSync(): void {
    this.#enqueue()
    if (this.#mode === 'ready' || (this.#mode === 'file' && !this.#isBusy)) this.#writeNow(Infinity)
  }

  /** Moves the gathered lines to the queue, or drops them when the queue is full, and starts to write. */
  #enqueue(): void {
    if (this.#gathered === '') return
    // A line was written in part and its rest was dropped: end that line first, so that the next one is not glued to it.
    const isNext = this.#isCut && this.#queue.length === 0
    const piece = Buffer.from(isNext ? `\n${this.#gathered}` : this.#gathered)
    this.#gathered = ''
    if (this.#queuedBytes + piece.length > MAX_QUEUED_BYTES) {
      this.#lostLines += linesIn(piece)
      return
    }
    this.#add(piece)
    if (!this.#isBusy) this.#write()
  }

  #add(piece: Buffer): void {
    this.#queue.push(piece)
    this.#queuedBytes += piece.length
  }

  #write(): void {
    if (this.#mode === 'ready') this.#writeNow(PIECES_A_TURN)
    else this.#writeInThread()
  }

  #writeNow(pieces: number): void {
    for (let i = 0; i < pieces; i++) {
      const piece = this.#queue[0]
      if (piece === undefined) return
      try {
        this.#onWritten(piece, writeSync(this.#fd, piece))
      } catch (error) {
        this.#onFailed(error)
        return
      }
    }
    this.#continueLater()
  }

  #writeInThread(): void {
    const piece = this.#queue[0]
    if (piece === undefined) return
    this.#isBusy = true
    write(this.#fd, piece, (error, written) => {
      this.#isBusy = false
      if (error === null) {
        this.#onWritten(piece, written)
        this.#write()
      } else this.#onFailed(error)
    })
  }

  #onWritten(piece: Buffer, written: number): void {
    this.#retryMs = FIRST_RETRY_MS
    this.#queuedBytes -= written
    this.#isCut = piece[written - 1] !== LINE_FEED
    if (written < piece.length) {
      this.#queue[0] = piece.subarray(written)
      return
    }
    this.#queue.shift()
    if (this.#queue.length > 0 || this.#lostLines === 0 || this.#onLost === undefined) return
    this.#add(Buffer.from(this.#onLost(this.#lostLines)))
    this.#lostLines = 0
  }

  /**
   * Tries again later when the pipe is full. Any other error (a full disk, a closed pipe) drops the queue, because requests
   * must be served even without a log.
   */
  #onFailed(error: unknown): void {
    if (codeOf(error) === 'EAGAIN') {
      this.#continueLater()
      return
    }
    for (const piece of this.#queue) this.#lostLines += linesIn(piece)
    this.#queue.length = 0
    this.#queuedBytes = 0
  }

  /** Continues after the retry delay: when the pipe was full, or when a turn has written its share. */
  #continueLater(): void {
    if (this.#isBusy || this.#queue.length === 0) return
    this.#isBusy = true
    setTimeout(() => {
      this.#isBusy = false
      this.#write()
    }, this.#retryMs).unref()
    this.#retryMs = Math.min(2 * this.#retryMs, LAST_RETRY_MS)
  }
}

/** The number of lines in a piece. A line feed at its beginning ends an earlier line and is not counted. */
function linesIn(piece: Buffer): number {
  let lines = 0
  for (let at = piece.indexOf(LINE_FEED, 1); at >= 0; at = piece.indexOf(LINE_FEED, at + 1)) lines++
  return lines
}

/** Sockets that keep a descriptor non-blocking, held for the life of the process. */
const HANDLES: Socket[] = []

/** Makes a pipe, socket or terminal non-blocking if that is possible. @returns the descriptor to write to, and how */
function withoutBlocking(fd: number): { fd: number; mode: Mode } {
  const asItIs = { fd, mode: 'blocking' as Mode }
  let stat
  try {
    stat = fstatSync(fd)
  } catch {
    return { ...asItIs, mode: 'ready' } // there is no such descriptor, so every write fails at once
  }
  if (stat.isFile()) return { ...asItIs, mode: 'file' }
  try {
    // Open the pipe or terminal again, for a file description of our own. O_NONBLOCK on the inherited description would also
    // apply to every other process that writes to it.
    const { O_WRONLY, O_NONBLOCK, O_NOCTTY } = constants
    const own = openSync(`/proc/self/fd/${fd}`, O_WRONLY | O_NONBLOCK | O_NOCTTY)
    return { fd: own, mode: 'ready' }
  } catch {
    // It cannot be opened again: it is a socket, or another user's pipe or terminal, or this is not Linux.
  }
  if (!stat.isFIFO() && !stat.isSocket()) return asItIs
  try {
    // A Socket makes the descriptor non-blocking, and Node restores the flags of standard output when the process ends.
    HANDLES.push(new Socket({ fd, readable: false, writable: true }))
    return { fd, mode: 'ready' }
  } catch {
    return asItIs
  }
}
