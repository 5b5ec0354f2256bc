/**
 * What is on the screen of a terminal, and how is it drawn again for a client that comes back? The shell's output is parsed by
 * xterm.js without a display, and the result is written as the shortest output that has the same effect.
 *
 * Parsing is put off: a terminal that prints without a pause would otherwise be as slow as the parser. Output waits, up to
 * {@link MAX_UNPARSED_BYTES}, until the terminal is quiet or its screen is asked for, and of plain text that has scrolled away
 * by then nothing is parsed (scrolled-away.ts).
 */
import type { Terminal } from '@xterm/headless'
import type { SerializeAddon } from '@xterm/addon-serialize'
import { Supplement } from './supplement.ts'

/** The size of a terminal's window, in characters. */
export interface Size {
  readonly columns: number
  readonly rows: number
}

/** The largest screen, in cells: each needs 12 bytes, twice while a program such as vim has a screen of its own. */
const MAX_CELLS = 131_072
const MAX_COLUMNS = 1024

/** The most cells of a screen with its scrollback: 3 MiB, of the 4 that a parked terminal may have. */
const MAX_CELLS_WITH_SCROLLBACK = 262_144

const BYTES_PER_CELL = 12

/** How much output may wait for the parser, in bytes. */
const MAX_UNPARSED_BYTES = 1024 * 1024

/** How long a terminal must be quiet before its output is parsed, in milliseconds. */
const QUIET_MS = 100

/** Clears screen and scrollback, and resets every mode (RIS, and ED 3, which RIS does not include in every terminal). */
const RESET = '\x1bc\x1b[3J'

/** The modules of xterm.js. They are loaded with the first terminal, because a keeper without one should be small. */
interface Modules {
  readonly Terminal: typeof Terminal
  readonly SerializeAddon: typeof SerializeAddon
}

let modules: Modules | undefined

/** Loads what {@link Screen} needs. Call it before the first one is made. */
export async function loadScreens(): Promise<void> {
  if (modules !== undefined) return
  const [headless, serialize] = await Promise.all([
    import('@xterm/headless'),
    import('@xterm/addon-serialize'),
  ])
  modules = {
    Terminal: defaultOf(headless).Terminal,
    SerializeAddon: defaultOf(serialize).SerializeAddon,
  }
}

/** Both are CommonJS modules, whose names Node finds only in their default export. */
function defaultOf<Module extends object>(module: Module): Module {
  return 'default' in module ? (module.default as Module) : module
}

/** A size that a screen can have: at least one character, and no more than memory allows. */
export function boundedSize({ columns, rows }: Size): Size {
  const width = Math.min(Math.max(1, columns), MAX_COLUMNS)
  return { columns: width, rows: Math.min(Math.max(1, rows), Math.floor(MAX_CELLS / width)) }
}

/** Output that waits for the parser. */
interface Piece {
  readonly bytes: Buffer
  /** Whether the screen answers what the program asks of its terminal, because no client is there to do so. */
  readonly answers: boolean
}

/** The parser, made with the first output. */
interface Parser {
  readonly terminal: Terminal
  readonly serializer: SerializeAddon
  readonly supplement: Supplement
}

/** The screen of one terminal. */
export class Screen {
  /** Called with what the screen answers to a program that asks its terminal something (DA, DSR, DECRQM …). */
  onAnswer: (text: string) => void = () => {}
  #maxScrollback: number
  #size: Size
  #parser: Parser | undefined
  readonly #waiting: Piece[] = []
  #waitingBytes = 0
  #quiet: NodeJS.Timeout | undefined
  /** Whether the piece that is parsed now may be answered. */
  #answers = false
  #parsing: Promise<void> | undefined
  #isDisposed = false

  /** @param scrollback lines above the screen that are kept; fewer when they are very long */
  constructor(size: Size, scrollback: number) {
    this.#size = boundedSize(size)
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

  /** About how much memory it takes, in bytes. */
  get bytes(): number {
    if (this.#parser === undefined) return this.#waitingBytes
    const { buffer, cols, rows } = this.#parser.terminal
    const lines = buffer.normal.length + (buffer.active.type === 'alternate' ? rows : 0)
    return this.#waitingBytes + lines * cols * BYTES_PER_CELL
  }

  /** The window title as the shell's programs set it; undefined when none did. */
  get title(): string | undefined {
    return this.#parser?.supplement.title
  }

  /** Adds output of the shell. @param answers whether the screen answers questions in it, since no client is connected */
  write(bytes: Buffer, answers: boolean): void {
    if (this.#isDisposed) return
    this.#waiting.push({ bytes, answers })
    this.#waitingBytes += bytes.length
    if (this.isBehind) void this.parsed()
    else this.#quiet = this.#quiet?.refresh() ?? setTimeout(() => void this.parsed(), QUIET_MS)
  }

  /** Parses everything that was written until now, and what comes while that lasts. */
  async parsed(): Promise<void> {
    while (this.#waiting.length > 0 || this.#parsing !== undefined) {
      this.#parsing ??= this.#parse().finally(() => (this.#parsing = undefined))
      await this.#parsing
    }
  }

  /** Changes the size; the text is wrapped again. Output that was written before is parsed first. */
  async resize(size: Size): Promise<void> {
    await this.parsed()
    this.#size = boundedSize(size)
    if (this.#parser === undefined) return
    const { terminal, supplement } = this.#parser
    const { columns, rows } = this.#size
    if (columns === terminal.cols && rows === terminal.rows) return
    terminal.options.scrollback = scrollbackFor(this.#size, this.#maxScrollback)
    terminal.resize(columns, rows)
    supplement.resized()
  }

  /** Keeps half as many lines above the screen. */
  trim(): void {
    if (this.#parser === undefined) return
    this.#maxScrollback = Math.floor(this.#maxScrollback / 2)
    this.#parser.terminal.options.scrollback = scrollbackFor(this.#size, this.#maxScrollback)
  }

  /** The output that draws this screen on a terminal of the same size, whatever that one shows now. Call {@link parsed} first. */
  snapshot(): Buffer {
    if (this.#parser === undefined) return Buffer.from(RESET)
    const { supplement, serializer } = this.#parser
    return Buffer.from(RESET + supplement.around(serializer.serialize()))
  }

  /** Frees the memory. */
  dispose(): void {
    this.#isDisposed = true
    clearTimeout(this.#quiet)
    this.#waiting.length = 0
    this.#waitingBytes = 0
    this.#parser?.terminal.dispose()
    this.#parser = undefined
  }

  async #parse(): Promise<void> {
    for (let piece = this.#waiting.shift(); piece !== undefined; piece = this.#waiting.shift()) {
      this.#waitingBytes -= piece.bytes.length
      this.#answers = piece.answers
      const { terminal } = (this.#parser ??= this.#makeParser())
      await new Promise<void>((resolve) => terminal.write(piece.bytes, resolve))
    }
  }

  #makeParser(): Parser {
    if (modules === undefined) throw new Error('loadScreens was not called')
    const terminal = new modules.Terminal({
      allowProposedApi: true,
      cols: this.#size.columns,
      rows: this.#size.rows,
      scrollback: scrollbackFor(this.#size, this.#maxScrollback),
    })
    const serializer = new modules.SerializeAddon()
    terminal.loadAddon(serializer)
    terminal.onData((text) => {
      if (this.#answers) this.onAnswer(text)
    })
    return { terminal, serializer, supplement: new Supplement(terminal) }
  }
}

function scrollbackFor({ columns, rows }: Size, wanted: number): number {
  const affordable = Math.floor(MAX_CELLS_WITH_SCROLLBACK / columns) - rows
  return Math.max(0, Math.min(wanted, affordable))
}
