/**
 * How are lines written so that a reader that does not read holds nothing up? Pipes, sockets and terminals are written to
 * without blocking, what cannot be written waits up to a bound, and every wait at the end has a bound too.
 */
import { constants, fstatSync, openSync, write, writeSync } from 'node:fs'
import { Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { codeOf } from '../answers/errors.ts'

/**
 * Characters that are gathered before they are written, and for how long at most (milliseconds). A write wakes a thread or a
 * reader: in pieces of 8 KiB, that took 4 % of what a busy gateway does.
 */
const GATHERED_LENGTH = 32 * 1024
const GATHERED_MS = 500

/** Bytes that may wait for a reader that does not read; lines past that are dropped, not kept in memory. */
const MAX_WAITING_BYTES = 8 * 1024 * 1024

/** What is written in one turn of the event loop, in pieces of about GATHERED_LENGTH. */
const PIECES_A_TURN = 16

/** How long after a full pipe the next try comes, in milliseconds: doubled each time, up to the second number. */
const FIRST_RETRY_MS = 4
const LAST_RETRY_MS = 128

/** How long the reader is waited for at the end, and how often it is looked after, in milliseconds. */
const FLUSH_MS = 500
const FLUSH_STEP_MS = 5

const LINE_FEED = 10

/**
 * How a descriptor is written to.
 * - `ready`: it does not block, and says EAGAIN when it is full; written to at once, which costs less than a thread.
 * - `file`: a regular file. The disk answers in the end, but may take its time; written to in a thread.
 * - `blocking`: a write may block for ever, since the descriptor cannot be opened anew; written to in a thread, which may
 *   be stuck at the end (ending.ts).
 */
type Mode = 'ready' | 'file' | 'blocking'

/** Lines on their way to a descriptor. */
export class LineOutput {
  readonly #fd: number
  readonly #mode: Mode
  readonly #onLost: ((lines: number) => string) | undefined
  /** Lines that were not handed on yet. */
  #gathered = ''
  /** What was handed on and not written yet; of the first piece, a part may be written. */
  readonly #waiting: Buffer[] = []
  #waitingBytes = 0
  /** Whether a write is under way in a thread, or put off until later. */
  #isBusy = false
  #retryMs = FIRST_RETRY_MS
  /** Whether what was written last is a part of a line, whose rest was dropped. */
  #isCut = false
  #lostLines = 0

  /** @param onLost makes the line that says how many lines were dropped */
  constructor(fd: number, onLost?: (lines: number) => string) {
    const { fd: own, mode } = withoutBlocking(fd)
    this.#fd = own
    this.#mode = mode
    this.#onLost = onLost
    setInterval(() => {
      // While the reader is behind, small pieces would take more memory than what is in them.
      if (!this.#isBusy) this.#hand()
    }, GATHERED_MS).unref()
  }

  /** Takes a line. Lines are written many at a time: a write for each is what a busy proxy would spend its time on. */
  write(line: string): void {
    this.#gathered += line
    if (this.#gathered.length >= GATHERED_LENGTH) this.#hand()
  }

  /** Writes what is there, as far as the reader takes it within half a second. */
  async flush(): Promise<void> {
    this.#hand()
    const deadline = performance.now() + FLUSH_MS
    while (this.#waiting.length > 0 && performance.now() < deadline) await pause(FLUSH_STEP_MS)
  }

  /** Writes what can be written without waiting for anybody: when a line is urgent, or the process ends. */
  flushSync(): void {
    this.#hand()
    if (this.#mode === 'ready' || (this.#mode === 'file' && !this.#isBusy)) this.#writeNow(Infinity)
  }

  /** Hands on what was gathered. */
  #hand(): void {
    if (this.#gathered === '') return
    // After a line whose rest was dropped, the next one must begin as one.
    const isNext = this.#isCut && this.#waiting.length === 0
    const piece = Buffer.from(isNext ? `\n${this.#gathered}` : this.#gathered)
    this.#gathered = ''
    if (this.#waitingBytes + piece.length > MAX_WAITING_BYTES) {
      this.#lostLines += linesIn(piece)
      return
    }
    this.#add(piece)
    if (!this.#isBusy) this.#write()
  }

  #add(piece: Buffer): void {
    this.#waiting.push(piece)
    this.#waitingBytes += piece.length
  }

  #write(): void {
    if (this.#mode === 'ready') this.#writeNow(PIECES_A_TURN)
    else this.#writeInThread()
  }

  #writeNow(pieces: number): void {
    for (let i = 0; i < pieces; i++) {
      const piece = this.#waiting[0]
      if (piece === undefined) return
      try {
        this.#onWritten(piece, writeSync(this.#fd, piece))
      } catch (error) {
        this.#onFailed(error)
        return
      }
    }
    this.#putOff()
  }

  #writeInThread(): void {
    const piece = this.#waiting[0]
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
    this.#waitingBytes -= written
    this.#isCut = piece[written - 1] !== LINE_FEED
    if (written < piece.length) {
      this.#waiting[0] = piece.subarray(written)
      return
    }
    this.#waiting.shift()
    if (this.#waiting.length > 0 || this.#lostLines === 0 || this.#onLost === undefined) return
    this.#add(Buffer.from(this.#onLost(this.#lostLines)))
    this.#lostLines = 0
  }

  /** A full pipe is tried again. Everything else (a full disk, no reader) costs the lines: requests go on without a log. */
  #onFailed(error: unknown): void {
    if (codeOf(error) === 'EAGAIN') {
      this.#putOff()
      return
    }
    for (const piece of this.#waiting) this.#lostLines += linesIn(piece)
    this.#waiting.length = 0
    this.#waitingBytes = 0
  }

  #putOff(): void {
    if (this.#isBusy || this.#waiting.length === 0) return
    this.#isBusy = true
    setTimeout(() => {
      this.#isBusy = false
      this.#write()
    }, this.#retryMs).unref()
    this.#retryMs = Math.min(2 * this.#retryMs, LAST_RETRY_MS)
  }
}

/** A line feed at the beginning ends a line that was counted before. */
function linesIn(piece: Buffer): number {
  let lines = 0
  for (let at = piece.indexOf(LINE_FEED, 1); at >= 0; at = piece.indexOf(LINE_FEED, at + 1)) lines++
  return lines
}

/** What keeps a descriptor non-blocking as long as the process lives, where that takes a handle. */
const HANDLES: Socket[] = []

/** The same pipe, socket or terminal in a way that does not block, where there is one. */
function withoutBlocking(fd: number): { fd: number; mode: Mode } {
  const asItIs = { fd, mode: 'blocking' as Mode }
  let stat
  try {
    stat = fstatSync(fd)
  } catch {
    return { ...asItIs, mode: 'ready' } // no such descriptor: every write fails at once
  }
  if (stat.isFile()) return { ...asItIs, mode: 'file' }
  try {
    // A description of our own: O_NONBLOCK on the one that we were given would be everybody's who writes to it.
    const { O_WRONLY, O_NONBLOCK, O_NOCTTY } = constants
    const own = openSync(`/proc/self/fd/${fd}`, O_WRONLY | O_NONBLOCK | O_NOCTTY)
    return { fd: own, mode: 'ready' }
  } catch {
    // A socket; or a pipe or terminal of another user's; or no Linux.
  }
  if (!stat.isFIFO() && !stat.isSocket()) return asItIs
  try {
    // Node does to standard output whatever it takes to write without blocking, and undoes it at the end.
    HANDLES.push(new Socket({ fd, readable: false, writable: true }))
    return { fd, mode: 'ready' }
  } catch {
    return asItIs
  }
}
