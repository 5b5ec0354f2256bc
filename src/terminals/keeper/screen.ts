/**
 * What is on the screen of a terminal, and how is it drawn again for a client that comes back? The shell's output is parsed by
 * xterm.js without a display, and the result is written as the shortest output that has the same effect.
 *
 * Parsing is put off: a terminal that prints without a pause would otherwise be as slow as the parser. Output waits, up to
 * {@link MAX_UNPARSED_BYTES}, until the terminal is quiet or its screen is asked for, and of plain text that has scrolled away
 * by then nothing is parsed (scrolled-away.ts).
 */
import type { Terminal } from '@xterm/headless'
import type { Unicode11Addon } from '@xterm/addon-unicode11'
import { learnCharsets } from './charsets.ts'
import { CursorOptions } from './cursor-options.ts'
import { LinkTable } from './link-table.ts'
import { Palette } from './palette.ts'
import { RESET, snapshotOf } from './snapshot.ts'
import { cellMemoryOf, linksOn, memoryOf, simplify } from './screen-memory.ts'
import { partsToParse } from './scrolled-away.ts'
import { endOfSlice } from './slices.ts'
import { ownTurn } from './turns.ts'
import { completeLength, UnfinishedSequence } from './unfinished.ts'
import { WaitingOutput } from './waiting-output.ts'
import {
  boundSequences,
  isWithinSequence,
  parseNow,
  onColors,
  storeLinksIn,
  titleOf,
} from './xterm-internals.ts'

/** The size of a terminal's window, in characters. */
export interface Size {
  readonly columns: number
  readonly rows: number
}

/** By which version of Unicode characters are wide: 11, ttyd's default, has wide emoji; 6, xterm.js's own, has not. */
export type UnicodeVersion = '6' | '11'

/** The largest screen, in cells, and in each direction. A cell needs 12 bytes, twice while a program has a screen of its own. */
const MAX_CELLS = 98_304
const MAX_COLUMNS = 1024
const MAX_ROWS = 512

/** A wide character needs two; xterm.js has no smaller screen. */
const MIN_COLUMNS = 2

/** The most cells of a screen with its scrollback and the other screen: 2.6 MiB. */
const MAX_CELLS_WITH_SCROLLBACK = 225_280

/** What the parser may keep: with 1 MiB that waits for it, a screen takes at most 4 MiB. */
const MAX_PARSED_BYTES = 3 * 1024 * 1024

/** Memory is measured each time that this much was parsed, in bytes. */
const MEASURE_EVERY_BYTES = 128 * 1024

/** When a screen has become quiet, memory is measured if this much was parsed since the last time, in bytes: half a MiB of attributes at most. */
const MEASURE_QUIET_BYTES = 16 * 1024

/** For how long output is parsed before others get their turn, in milliseconds. */
const TURN_MS = 8

/** How much output may wait for the parser, in bytes. */
const MAX_UNPARSED_BYTES = 1024 * 1024

/** How long a terminal must be quiet before its output is parsed, in milliseconds. */
const QUIET_MS = 100

/** The modules of xterm.js. They are loaded with the first terminal, because a keeper without one should be small. */
interface Modules {
  readonly Terminal: typeof Terminal
  readonly Unicode11Addon: typeof Unicode11Addon
}

let modules: Modules | undefined

/** Loads what {@link Screen} needs. Call it before the first one is made. */
export async function loadScreens(): Promise<void> {
  if (modules !== undefined) return
  const [headless, unicode11] = await Promise.all([
    import('@xterm/headless'),
    import('@xterm/addon-unicode11'),
  ])
  modules = {
    Terminal: defaultOf(headless).Terminal,
    Unicode11Addon: defaultOf(unicode11).Unicode11Addon,
  }
  const scratch = new modules.Terminal({ allowProposedApi: true })
  learnCharsets(scratch)
  scratch.dispose()
}

/** Both are CommonJS modules, whose names Node finds only in their default export. */
function defaultOf<Module extends object>(module: Module): Module {
  return 'default' in module ? (module.default as Module) : module
}

/** A size that a screen can have: not smaller than a terminal's, and no larger than memory allows. */
export function boundedSize({ columns, rows }: Size): Size {
  const width = Math.min(Math.max(MIN_COLUMNS, columns), MAX_COLUMNS)
  const most = Math.min(MAX_ROWS, Math.floor(MAX_CELLS / width))
  return { columns: width, rows: Math.min(Math.max(1, rows), most) }
}

/** The parser, made with the first output. */
interface Parser {
  readonly terminal: Terminal
  readonly links: LinkTable
  readonly palette: Palette
  readonly options: CursorOptions
  readonly unfinished: UnfinishedSequence
}

/** The screen of one terminal. */
export class Screen {
  /** Called with what the screen answers to a program that asks its terminal something (DA, DSR, DECRQM …). */
  onAnswer: (text: string) => void = () => {}
  #maxScrollback: number
  #size: Size
  /** The size that was asked for last. It is in use as soon as the output before it is parsed. */
  #wanted: Size
  #parser: Parser | undefined
  readonly #waiting = new WaitingOutput()
  #waitingBytes = 0
  #quiet: NodeJS.Timeout | undefined
  /** Whether the piece that is parsed now may be answered. */
  #answers = false
  #parsing: Promise<void> | undefined
  #isMeasuredSoon = false
  #isDisposed = false
  #unicodeVersion: UnicodeVersion = '11'
  /** The first bytes of a character whose others have not come. */
  #partOfCharacter: Buffer = Buffer.alloc(0)
  /** How much was parsed since memory was measured, in bytes. */
  #unmeasuredBytes = 0
  /** What the screen takes besides its cells, when it was measured last, in bytes. */
  #besideCells = 0

  /** @param scrollback lines above the screen that are kept; fewer when they are very long */
  constructor(size: Size, scrollback: number) {
    this.#size = boundedSize(size)
    this.#wanted = this.#size
    this.#maxScrollback = scrollback
  }

  /** How much output waits for the parser, in bytes. */
  get unparsedBytes(): number {
    return this.#waitingBytes
  }

  /** Whether no more output should be read before {@link parsed} resolves. */
  get isBehind(): boolean {
    return this.#waitingBytes >= MAX_UNPARSED_BYTES
  }

  /** About how much memory it takes, in bytes. Takes no time: what is not known was measured when output was parsed. */
  get bytes(): number {
    if (this.#parser === undefined) return this.#waitingBytes
    const { terminal, links } = this.#parser
    return this.#waitingBytes + cellMemoryOf(terminal) + this.#besideCells + links.bytes
  }

  /** The window title as the shell's programs set it; undefined when none did. */
  get title(): string | undefined {
    if (this.#parser === undefined) return undefined
    return titleOf(this.#parser.terminal) || undefined
  }

  /** Says by which version of Unicode the page decides which characters are wide. */
  setUnicodeVersion(version: UnicodeVersion): void {
    this.#unicodeVersion = version
    if (this.#parser !== undefined) this.#parser.terminal.unicode.activeVersion = version
  }

  /** Adds output of the shell. @param answers whether the screen answers questions in it, since no client is connected */
  write(bytes: Buffer, answers: boolean): void {
    if (this.#isDisposed) return
    this.#waitingBytes += this.#waiting.add(bytes, answers)
    if (this.isBehind) void this.parsed()
    else this.#quiet = this.#quiet?.refresh() ?? setTimeout(() => void this.parsed(), QUIET_MS)
  }

  /** Parses everything that was written until now, and what comes while that lasts. */
  async parsed(): Promise<void> {
    while (!this.#waiting.isEmpty || this.#parsing !== undefined) {
      this.#parsing ??= this.#parse().finally(() => (this.#parsing = undefined))
      await this.#parsing
    }
  }

  /**
   * Changes the size; the text is wrapped again. Output that was written before is parsed first. Of several that wait for that
   * only the last counts, or all of them would hold up every other terminal at once.
   */
  async resize(size: Size): Promise<void> {
    this.#wanted = boundedSize(size)
    if (this.#parser !== undefined) await ownTurn()
    await this.parsed()
    this.#size = this.#wanted
    if (this.#parser === undefined) return
    const { terminal } = this.#parser
    const { columns, rows } = this.#size
    if (columns === terminal.cols && rows === terminal.rows) return
    terminal.options.scrollback = scrollbackFor(this.#size, this.#maxScrollback)
    terminal.resize(columns, rows)
    this.#boundMemory(terminal)
  }

  /**
   * Keeps half as many lines above the screen. What that frees is estimated at once and measured in a turn of its own, because many
   * screens may be trimmed at once.
   */
  trim(): void {
    if (this.#parser === undefined) return
    const { terminal } = this.#parser
    const before = cellMemoryOf(terminal)
    this.#maxScrollback = Math.floor(this.#maxScrollback / 2)
    terminal.options.scrollback = scrollbackFor(this.#size, this.#maxScrollback)
    this.#besideCells *= cellMemoryOf(terminal) / before
    if (!this.#isMeasuredSoon) void this.#measureSoon()
  }

  /** The output that draws this screen on a terminal of the same size, whatever that one shows now. Call {@link parsed} first. */
  snapshot(): Buffer {
    if (this.#parser === undefined)
      return Buffer.concat([Buffer.from(RESET), this.#partOfCharacter])
    const { terminal, links, palette, unfinished, options } = this.#parser
    const bytes = snapshotOf(terminal, {
      linkOf: (number) => links.getLinkData(number),
      settings: palette.text() + options.blinking,
      hasSetCursorStyle: options.hasSetCursorStyle,
    })
    return Buffer.concat([bytes, unfinished.bytes(), this.#partOfCharacter])
  }

  /** Frees the memory. */
  dispose(): void {
    this.#isDisposed = true
    clearTimeout(this.#quiet)
    this.#waiting.clear()
    this.#waitingBytes = 0
    this.#parser?.terminal.dispose()
    this.#parser = undefined
  }

  async #parse(): Promise<void> {
    await ownTurn()
    let turnBegan = performance.now()
    while (!this.#isDisposed) {
      const piece = this.#waiting.take()
      if (piece === undefined) return
      const { terminal } = (this.#parser ??= this.#makeParser())
      const bytes = this.#withPartOfCharacter(piece.bytes)
      for (const part of partsToParse(bytes, terminal))
        for (let at = 0; at < part.length && !this.#isDisposed;) {
          const slice = part.subarray(at, endOfSlice(part, at))
          const length = completeLength(slice) || slice.length
          this.#answers = piece.answers
          this.#parseSlice(slice.subarray(0, length))
          at += length
          if (performance.now() - turnBegan < TURN_MS) continue
          await ownTurn()
          turnBegan = performance.now()
        }
      if (this.#isDisposed) return
      this.#waitingBytes -= piece.countedBytes
      if (this.#unmeasuredBytes >= MEASURE_QUIET_BYTES) this.#boundMemory(terminal)
    }
  }

  /** Joins a piece with the beginning of a character from the one before, and keeps the beginning of its own last one. */
  #withPartOfCharacter(piece: Buffer): Buffer {
    const part = this.#partOfCharacter
    const bytes = part.length === 0 ? piece : Buffer.concat([part, piece])
    const length = completeLength(bytes)
    this.#partOfCharacter = Buffer.from(bytes.subarray(length))
    return bytes.subarray(0, length)
  }

  #parseSlice(slice: Buffer): void {
    const { terminal, unfinished } = (this.#parser ??= this.#makeParser())
    parseNow(terminal, slice)
    unfinished.note(slice, isWithinSequence(terminal))
    this.#unmeasuredBytes += slice.length
    if (this.#unmeasuredBytes >= MEASURE_EVERY_BYTES) this.#boundMemory(terminal)
  }

  async #measureSoon(): Promise<void> {
    this.#isMeasuredSoon = true
    await ownTurn()
    this.#isMeasuredSoon = false
    if (this.#parser !== undefined) this.#boundMemory(this.#parser.terminal)
  }

  /** @returns how much memory the terminal takes, in bytes */
  #measure(terminal: Terminal): number {
    const bytes = memoryOf(terminal)
    this.#besideCells = bytes - cellMemoryOf(terminal)
    this.#unmeasuredBytes = 0
    return bytes
  }

  /** Forgets lines above the screen, and at last how its characters look, until it fits. */
  #boundMemory(terminal: Terminal): void {
    let scrollback = terminal.options.scrollback ?? 0
    let bytes = this.#measure(terminal)
    while (bytes > MAX_PARSED_BYTES && scrollback > 0) {
      scrollback = Math.floor(Math.min(scrollback, terminal.buffer.normal.baseY) / 2)
      terminal.options.scrollback = scrollback
      bytes = this.#measure(terminal)
    }
    if (bytes <= MAX_PARSED_BYTES) return
    simplify(terminal)
    this.#measure(terminal)
  }

  #makeParser(): Parser {
    if (modules === undefined) throw new Error('loadScreens was not called')
    const terminal = new modules.Terminal({
      allowProposedApi: true,
      cols: this.#size.columns,
      rows: this.#size.rows,
      scrollback: scrollbackFor(this.#size, this.#maxScrollback),
      logLevel: 'off', // what a shell prints must not fill the log
    })
    terminal.loadAddon(new modules.Unicode11Addon())
    terminal.unicode.activeVersion = this.#unicodeVersion
    const links = new LinkTable(() => linksOn(terminal))
    const palette = new Palette()
    storeLinksIn(terminal, links)
    onColors(terminal, (events) => palette.note(events))
    terminal.onData((text) => {
      if (this.#answers) this.onAnswer(text)
    })
    const options = new CursorOptions(terminal)
    boundSequences(terminal)
    return { terminal, links, palette, options, unfinished: new UnfinishedSequence() }
  }
}

function scrollbackFor({ columns, rows }: Size, wanted: number): number {
  const affordable = Math.floor(MAX_CELLS_WITH_SCROLLBACK / columns) - 2 * rows
  return Math.max(0, Math.min(wanted, affordable))
}
