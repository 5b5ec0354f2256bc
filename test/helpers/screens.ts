/** How are two terminals compared? Everything that a person sees, and everything that decides how further output is shown. */
import { Unicode11Addon } from '@xterm/addon-unicode11'
import headless, { type Terminal } from '@xterm/headless'
import * as fc from 'fast-check'
import { charsetName } from '../../src/terminals/keeper/charsets.ts'
import { LinkTable } from '../../src/terminals/keeper/link-table.ts'
import { Palette } from '../../src/terminals/keeper/palette.ts'
import {
  hasExtended,
  isInUse,
  isPlainButBackground,
  lookKey,
  PLAIN,
} from '../../src/terminals/keeper/pen.ts'
import { Screen, type Size } from '../../src/terminals/keeper/screen.ts'
import { looksAsNext } from '../../src/terminals/keeper/snapshot.ts'
import {
  boundSequences,
  charsetsOf,
  insideOf,
  linksOf,
  lookAt,
  nextLook,
  onColors,
  storeLinksIn,
  titleOf,
  widthToJoin,
  type Line,
  type Look,
  type ScreenBuffer,
} from '../../src/terminals/keeper/xterm-internals.ts'

export const SCROLLBACK = 30

/** A terminal as a page has one. */
export interface PageTerminal {
  readonly terminal: Terminal
  readonly palette: Palette
  /** What it would have sent to the shell. */
  readonly answers: string[]
  write(bytes: Buffer | string): Promise<void>
}

/** Makes a terminal that is set up as in ttyd's page. */
export function pageTerminal({ columns, rows }: Size): PageTerminal {
  const terminal = new headless.Terminal({
    allowProposedApi: true,
    cols: columns,
    rows,
    scrollback: SCROLLBACK,
    logLevel: 'off',
  })
  terminal.loadAddon(new Unicode11Addon())
  terminal.unicode.activeVersion = '11'
  const palette = new Palette()
  onColors(terminal, (events) => palette.note(events))
  // xterm.js's own store forgets a link while it is open, when its first line is cleared.
  storeLinksIn(terminal, new LinkTable(() => new Set()))
  boundSequences(terminal) // xterm.js throws at some of it
  const answers: string[] = []
  terminal.onData((text) => answers.push(text))
  return {
    ...{ terminal, palette, answers },
    write: (bytes) => new Promise((resolve) => terminal.write(bytes, resolve)),
  }
}

/** Parses output in pieces, as the keeper does while nobody is there. */
export async function parkedScreen(size: Size, pieces: readonly Buffer[]): Promise<Screen> {
  const screen = new Screen(size, SCROLLBACK)
  for (const piece of pieces) screen.write(piece, true)
  await screen.parsed()
  return screen
}

/** Everything of a terminal that can be compared, in lines that a person can read. */
export function stateOf({ terminal, palette }: PageTerminal): Record<string, unknown> {
  const core = insideOf(terminal)
  const { normal, alt, active } = core.buffers
  const { coreService, coreMouseService } = core
  const { charset, level, designated } = charsetsOf(terminal)
  return {
    normal: bufferState(terminal, normal, active === normal),
    alternate: bufferState(terminal, alt, active === alt),
    active: active === alt ? 'alternate' : 'normal',
    modes: { ...coreService.decPrivateModes, ...coreService.modes },
    newline: terminal.options.convertEol,
    blink: terminal.options.cursorBlink,
    isHidden: coreService.isCursorHidden,
    mouse: [coreMouseService.activeProtocol, coreMouseService.activeEncoding],
    charsets: designated.map(charsetName),
    charset: [level, charsetName(charset)],
    look: lookText(terminal, nextLook(terminal)),
    title: titleOf(terminal),
    colors: palette.colors(),
    join: joinable(terminal, active),
  }
}

/** The width of the character before the cursor, if the next one can combine with it. */
function joinable(terminal: Terminal, { lines, ybase, y, x }: ScreenBuffer): number {
  const width = widthToJoin(terminal)
  const line = lines.get(ybase + y) as Line
  const isPrinted =
    x >= width && line.getWidth(x - width) === width && line.getString(x - width) !== ''
  return isPrinted && looksAsNext(terminal, line, x - width) ? width : 0
}

function bufferState(terminal: Terminal, buffer: ScreenBuffer, isActive: boolean): unknown {
  const { lines, ybase, x, y, scrollTop, scrollBottom, tabs } = buffer
  const { savedX, savedY, savedCurAttrData: saved, savedCharset } = buffer
  const last = terminal.cols - 1
  // xterm.js has lines above the alternate screen, which nobody sees, when it was smaller before.
  const hidden = buffer === insideOf(terminal).buffers.alt ? ybase : 0
  return {
    lines: Array.from({ length: lines.length - hidden }, (_, row) =>
      lineState(terminal, lines.get(hidden + row) as Line, row),
    ),
    ...(isActive ? { ybase: ybase - hidden, x, y } : {}),
    region: [scrollTop, scrollBottom],
    tabs: Object.keys(tabs)
      .filter((tab) => tabs[Number(tab)] === true && Number(tab) <= last)
      .join(' '),
    saved: [
      Math.min(savedX, last),
      Math.max(savedY - ybase, 0),
      lookText(terminal, { ...saved, underline: 0, link: 0 }),
      hasExtended(saved.bg),
      charsetName(savedCharset),
    ],
  }
}

function lineState(terminal: Terminal, line: Line, row: number): string {
  const cells = Array.from({ length: terminal.cols }, (_, x) => cellState(terminal, line, x))
  return `${row > 0 && line.isWrapped ? '>' : ' '}${cells.join('')}`
}

function cellState(terminal: Terminal, line: Line, x: number): string {
  const look = lookAt(line, x)
  const text = line.getString(x)
  const isSecondHalf = x > 0 && line.getWidth(x - 1) === 2 && line.getWidth(x) === 0
  if (text === '' && isSecondHalf) return ''
  // What is empty and has attributes is drawn with a space that has them.
  const isEmpty = text === '' && isPlainButBackground(look)
  const shown = text === '' ? ' ' : text
  const described = lookText(terminal, isEmpty ? { ...PLAIN, bg: look.bg & 0x3ffffff } : look)
  return `${isEmpty ? '·' : `${shown}${line.getWidth(x) === 1 ? '' : line.getWidth(x)}`}${described === '' ? '' : `{${described}}`}`
}

const PLAIN_KEY = lookKey(PLAIN)

function lookText(terminal: Terminal, look: Look): string {
  const key = lookKey({ ...look, link: 0 })
  const link = linksOf(terminal).getLinkData(look.link)
  return `${key === PLAIN_KEY ? '' : key}${link === undefined ? '' : ` ${link.id ?? ''}→${link.uri}`}`
}

/**
 * Whether a snapshot of a terminal is exact. It is not when a wide character was half overwritten at the end of a row; when the cursor is behind an empty last cell of the alternate screen, where it
 * has a space; nor when a program has restored the cursor within a link or underlined text, and changed the colour since.
 */
export function isExact({ terminal }: PageTerminal): boolean {
  const { active, alt } = insideOf(terminal).buffers
  const { cols } = terminal
  const line = active.lines.get(active.ybase + active.y) as Line
  if (active === alt && active.x >= cols && line.getString(cols - 1) === '') return false
  if (line.getWidth(cols - 2) === 2 && line.getWidth(cols - 1) !== 0) return false
  const look = nextLook(terminal)
  const { savedCurAttrData: saved } = active
  return isInUse(look) || (look.fg === saved.fg && look.bg === saved.bg)
}

/** The first difference of two states, for a person; undefined without one. */
export function differenceOf(a: unknown, b: unknown, path = ''): string | undefined {
  if (typeof a === 'object' && a !== null && typeof b === 'object' && b !== null) {
    const keys = new Set([...Object.keys(a), ...Object.keys(b)])
    for (const key of keys) {
      const found = differenceOf(
        (a as Record<string, unknown>)[key],
        (b as Record<string, unknown>)[key],
        `${path}.${key}`,
      )
      if (found !== undefined) return found
    }
    return undefined
  }
  return Object.is(a, b) ? undefined : `${path}: ${JSON.stringify(a)} ≠ ${JSON.stringify(b)}`
}

const number = (max: number) => fc.integer({ min: 0, max })
const oneOf = (...texts: string[]) => fc.constantFrom(...texts)
const sequence = (prefix: string, max: number, finals: string, most = 2) =>
  fc
    .tuple(fc.array(number(max), { maxLength: most }), fc.constantFrom(...finals.split('')))
    .map(([numbers, final]) => `\x1b[${prefix}${numbers.join(';')}${final}`)

const WORDS = [
  'a',
  'xy',
  'hello world',
  'qqqq',
  '`_~#',
  'ﬁ',
  '─',
  '漢字',
  '日',
  '👩',
  'é',
  'e\u0301',
  '\u0301',
  '👩\u200d💻',
  '0123456789abcdefghijklmn',
]

/** Output of a program, as parts. @param isTame without what is only drawn nearly the same (see the tests) */
export function programOutput({ columns, rows }: Size, maxLength: number): fc.Arbitrary<string[]> {
  const words = fc.constantFrom(...WORDS)
  const sgr = fc
    .array(
      fc.oneof(
        fc.integer({ min: 0, max: 9 }).map(String),
        oneOf(
          '21',
          '22',
          '23',
          '24',
          '25',
          '27',
          '28',
          '29',
          '39',
          '49',
          '53',
          '55',
          '59',
          '0',
          '1;2',
          '4:3',
          '4:0',
          '4:5',
          '4;58;5;9',
          '58;2;1;2;3',
        ),
        fc.integer({ min: 30, max: 37 }).map(String),
        fc.integer({ min: 40, max: 47 }).map(String),
        fc.integer({ min: 90, max: 107 }).map(String),
        number(255).map((n) => `38;5;${n}`),
        number(255).map((n) => `48;5;${n}`),
        number(255).map((n) => `38;2;${n};0;${255 - n}`),
        number(255).map((n) => `48;2;0;${n};7`),
      ),
      { maxLength: 4 },
    )
    .map((codes) => `\x1b[${codes.join(';')}m`)
  const position = fc
    .tuple(number(rows + 1), number(columns + 1))
    .map(([row, column]) => `\x1b[${row};${column}H`)
  const modes = fc
    .tuple(
      fc.constantFrom(
        1,
        6,
        7,
        9,
        12,
        25,
        45,
        47,
        66,
        1000,
        1002,
        1003,
        1004,
        1006,
        1016,
        1047,
        1048,
        1049,
        2004,
        2026,
        2,
      ),
      fc.constantFrom('h', 'l'),
    )
    .map(([mode, set]) => `\x1b[?${mode}${set}`)
  const region = fc
    .tuple(number(rows), number(rows))
    .map(([top, bottom]) => `\x1b[${top};${bottom}r`)
  return fc.array(
    fc.oneof(
      { weight: 10, arbitrary: words },
      {
        weight: 3,
        arbitrary: oneOf(
          '\r\n',
          '\n',
          '\r',
          '\b',
          '\t',
          '\v',
          '\x0e',
          '\x0f',
          '\x07',
          '\0',
          '\r\n\r\n\r\n',
        ),
      },
      { weight: 5, arbitrary: sgr },
      { weight: 4, arbitrary: position },
      { weight: 3, arbitrary: sequence('', 5, 'ABCDEFGILMPSTXZ@`abde') },
      { weight: 1, arbitrary: sequence(' ', 3, '@A', 0) },
      {
        weight: 1,
        arbitrary: fc
          .tuple(number(3), oneOf(' @', ' A', "'}", "'~"))
          .map(([n, f]) => `\x1b[${n}${f}`),
      },
      {
        weight: 2,
        arbitrary: fc
          .tuple(oneOf('', '?'), number(3), oneOf('J', 'K'))
          .map((parts) => `\x1b[${parts.join('')}`),
      },
      { weight: 3, arbitrary: modes },
      {
        weight: 1,
        arbitrary: oneOf('\x1b[4h', '\x1b[4l', '\x1b[20h', '\x1b[20l', '\x1b=', '\x1b>'),
      },
      { weight: 2, arbitrary: region },
      { weight: 3, arbitrary: oneOf('\x1b7', '\x1b8', '\x1b[s', '\x1b[u') },
      {
        weight: 2,
        arbitrary: fc
          .tuple(oneOf('(', ')', '*', '+', '-', '.'), oneOf('0', 'A', 'B', 'K'))
          .map(([g, c]) => `\x1b${g}${c}`),
      },
      { weight: 1, arbitrary: oneOf('\x1bn', '\x1bo', '\x1b~', '\x1b}', '\x1b|') },
      {
        weight: 2,
        arbitrary: oneOf('\x1bH', '\x1b[g', '\x1b[3g', '\x1bD', '\x1bE', '\x1bM', '\x1b#8'),
      },
      {
        weight: 2,
        arbitrary: fc
          .tuple(oneOf('', 'id=a', 'id=b'), oneOf('http://one/', 'http://two/?a;b', ''))
          .map(([id, uri]) => `\x1b]8;${id};${uri}\x1b\\`),
      },
      {
        weight: 1,
        arbitrary: fc
          .tuple(oneOf('0', '1', '2'), oneOf('title', 'zwei ü', ''))
          .map(([n, title]) => `\x1b]${n};${title}\x07`),
      },
      {
        weight: 1,
        arbitrary: oneOf(
          '\x1b]4;1;#102030\x07',
          '\x1b]10;red\x07',
          '\x1b]11;rgb:10/20/30\x07',
          '\x1b]12;#fff\x07',
          '\x1b]104\x07',
          '\x1b]104;1\x07',
          '\x1b]110\x07',
          '\x1b]111\x07',
          '\x1b]112\x07',
          '\x1b]10;#111;#222;#333\x07',
        ),
      },
      { weight: 1, arbitrary: number(8).map((n) => `\x1b[${n} q`) },
      {
        weight: 1,
        arbitrary: oneOf(
          '\x1b[0"q',
          '\x1b[1"q',
          '\x1b[!p',
          '\x1bc',
          '\x1b[22;0t',
          '\x1b[23;0t',
          '\x1b]52;c;aGk=\x07',
          '\x1b_apc\x1b\\',
          '\x1bP$qm\x1b\\',
          '\x1b[6n',
          '\x1b[c',
          '\x1b[?25$p',
        ),
      },
    ),
    { maxLength },
  )
}
