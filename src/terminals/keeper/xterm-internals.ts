/**
 * Which parts of xterm.js does the keeper use that its documentation does not promise? All of them are here: xterm.js has no public
 * way to read a cell's underline and link, the saved cursor, character sets, tab stops or the scroll region, and some of its
 * loops are as long as a number in the output says. `test/terminals/keeper/xterm-internals.test.ts` fails when a new version
 * changes one of them. Everything was written against @xterm/headless 6.0.0.
 */
import type { Terminal } from '@xterm/headless'

/** How a character looks, in the numbers of xterm.js. */
export interface Look {
  /** Colour and flags of the character. */
  readonly fg: number
  /** Colour and flags of the background. */
  readonly bg: number
  /** Colour of the underline, and its style in bits 26 to 28. */
  readonly underline: number
  /** The number of its link; 0 for none. */
  readonly link: number
}

/** What does not fit into the two numbers of a cell. It is shared between cells, and never changed. */
interface ExtendedAttributes {
  readonly _ext: number
  readonly urlId: number
}

/** A flag of {@link Look.bg}: the cell has extended attributes. */
export const HAS_EXTENDED = 0x10000000

/** A row of cells. */
export interface Line {
  readonly length: number
  readonly isWrapped: boolean
  /** 2 for the first half of a wide character, 0 for its second half. */
  getWidth(column: number): number
  getString(column: number): string
  /** 0 when a cell is empty. */
  hasContent(column: number): number
  /** Not 0 when the text of a cell is in `_combined`. */
  isCombined(column: number): number
  getFg(column: number): number
  getBg(column: number): number
}

interface InnerLine extends Line {
  _combined: Record<string, string>
  _extendedAttrs: Record<string, ExtendedAttributes | undefined>
  readonly _data: Uint32Array
  addCodepointToCell(column: number, codePoint: number, width: number): void
}

/** A table from printed characters to those that are shown instead, as of line drawing. Undefined for ASCII. */
export type Charset = object | undefined

interface Attributes {
  readonly fg: number
  readonly bg: number
  readonly extended: ExtendedAttributes
}

/** The normal or the alternate screen. */
export interface ScreenBuffer {
  readonly lines: { readonly length: number; get(row: number): Line | undefined }
  /** The line that is the first row of the screen; those before it are the scrollback. */
  readonly ybase: number
  readonly x: number
  readonly y: number
  readonly scrollTop: number
  readonly scrollBottom: number
  readonly tabs: Record<number, boolean | undefined>
  readonly savedX: number
  /** The saved cursor's line, counted from the first line of the scrollback. */
  readonly savedY: number
  readonly savedCurAttrData: Pick<Look, 'fg' | 'bg'>
  readonly savedCharset: Charset
}

/** A colour that a program sets: an index below 256, or 256 to 258 for foreground, background and cursor. */
export interface ColorEvent {
  /** 0 asks, 1 sets, 2 restores; without an index it restores all indexes below 256. */
  readonly type: 0 | 1 | 2
  readonly index?: number
  readonly color?: readonly [number, number, number]
}

/** A link that a program has opened (OSC 8). */
export interface LinkData {
  readonly id?: string | undefined
  readonly uri: string
}

/** Where xterm.js keeps links. */
export interface Links {
  registerLink(link: LinkData): number
  addLineToLink(number: number, row: number): void
  getLinkData(number: number): LinkData | undefined
}

/** Collects the text of an OSC or a DCS sequence. */
interface StringHandler {
  _data: string
  _hitLimit: boolean
  put(data: Uint32Array, start: number, end: number): void
}

interface SequenceParameters {
  readonly params: Int32Array
}

interface SequenceParser {
  /** 0 outside of a sequence. */
  readonly currentState: number
  /** The width and the kind of the character that was printed last; 0 when something else came since. */
  readonly precedingJoinState: number
  readonly _oscParser: { readonly _handlers: Record<string, StringHandler[]> }
  readonly _dcsParser: { readonly _handlers: Record<string, StringHandler[]> }
  reset(): void
  registerCsiHandler(
    id: { prefix?: string; final: string },
    handler: (parameters: SequenceParameters) => boolean,
  ): unknown
}

/** What a terminal keeps to itself. The objects change as output is parsed. */
interface Inside {
  readonly buffers: {
    readonly normal: ScreenBuffer
    readonly alt: ScreenBuffer
    readonly active: ScreenBuffer
  }
  readonly coreService: {
    readonly isCursorHidden: boolean
    readonly modes: { readonly insertMode: boolean }
    readonly decPrivateModes: {
      readonly applicationCursorKeys: boolean
      readonly applicationKeypad: boolean
      readonly bracketedPasteMode: boolean
      readonly cursorBlink: boolean | undefined
      readonly cursorStyle: 'block' | 'underline' | 'bar' | undefined
      readonly origin: boolean
      readonly reverseWraparound: boolean
      readonly sendFocus: boolean
      readonly synchronizedOutput: boolean
      readonly wraparound: boolean
    }
  }
  readonly coreMouseService: { readonly activeProtocol: string; readonly activeEncoding: string }
}

interface Core extends Inside {
  readonly _charsetService: {
    readonly charset: Charset
    readonly glevel: number
    readonly _charsets: readonly Charset[]
  }
  readonly _inputHandler: {
    readonly _curAttrData: Attributes
    readonly _windowTitle: string
    _oscLinkService: Links
    readonly _parser: SequenceParser
    onColor(listener: (events: readonly ColorEvent[]) => void): unknown
    parse(bytes: Uint8Array): unknown
  }
}

function coreOf(terminal: Terminal): Core {
  return Reflect.get(terminal, '_core') as Core
}

/** The screens and the modes of a terminal. */
export function insideOf(terminal: Terminal): Inside {
  return coreOf(terminal)
}

/** The character sets of a terminal. */
export interface Charsets {
  /** The one in use. */
  readonly charset: Charset
  /** Which of the four was shifted to. */
  readonly level: number
  /** G0 to G3. */
  readonly designated: readonly Charset[]
}

export function charsetsOf(terminal: Terminal): Charsets {
  const { charset, glevel: level, _charsets } = coreOf(terminal)._charsetService
  return { charset, level, designated: [0, 1, 2, 3].map((number) => _charsets[number]) }
}

/** How the next character is going to look. */
export function nextLook(terminal: Terminal): Look {
  const { fg, bg, extended } = coreOf(terminal)._inputHandler._curAttrData
  return { fg, bg, underline: extended._ext, link: extended.urlId }
}

/** How a cell looks. */
export function lookAt(line: Line, column: number): Look {
  const bg = line.getBg(column)
  const extended =
    (bg & HAS_EXTENDED) === 0 ? undefined : (line as InnerLine)._extendedAttrs[column]
  const { _ext: underline = 0, urlId: link = 0 } = extended ?? {}
  return { fg: line.getFg(column), bg, underline, link }
}

/** The window title; empty when none was set. */
export function titleOf(terminal: Terminal): string {
  return coreOf(terminal)._inputHandler._windowTitle
}

/** Calls back when a program sets, restores or asks for colours. xterm.js itself shows none. */
export function onColors(terminal: Terminal, then: (events: readonly ColorEvent[]) => void): void {
  coreOf(terminal)._inputHandler.onColor(then)
}

/** The longest text of an OSC or a DCS sequence (title, link, colours), in UTF-16 code units; xterm.js takes ten million. */
export const MAX_STRING_LENGTH = 64 * 1024

/**
 * The longest list of colours (OSC 4, 104), in UTF-16 code units: more than all 256. The time that xterm.js needs for a list grows
 * with the square of its length.
 */
const MAX_COLORS_LENGTH = 8 * 1024

/** The longest text of one cell, in UTF-16 code units: a character with its combining ones. xterm.js has no limit. */
export const MAX_CELL_LENGTH = 32

/** How often one sequence repeats a character at most; terminfo's `rep` is used for less than a row. */
const MAX_REPEATED = 8192

/**
 * Parses output at once. Output never makes this fail: an exception of xterm.js ends the sequence that it comes from and drops the
 * rest of these bytes.
 */
export function parseNow(terminal: Terminal, bytes: Uint8Array): void {
  const { _inputHandler: handler } = coreOf(terminal)
  try {
    handler.parse(bytes)
  } catch {
    handler._parser.reset()
  }
}

/** Whether the output so far ends within a sequence. */
export function isWithinSequence(terminal: Terminal): boolean {
  return coreOf(terminal)._inputHandler._parser.currentState !== 0
}

/** The width of the character that was printed last, or 0 when something else came since. Then nothing can be combined with it. */
export function widthToJoin(terminal: Terminal): number {
  return (coreOf(terminal)._inputHandler._parser.precedingJoinState >> 1) & 3
}

/**
 * Bounds what a sequence can cost. Without this, `CSI 2147483647 S` takes hours, `CSI 2147483647 b` 8 GB, a title ten megabytes,
 * a letter with a million accents a gigabyte; and `CSI 1 J` in the last column of the last row throws.
 */
export function boundSequences(terminal: Terminal): void {
  const core = coreOf(terminal)
  const { _parser: parser } = core._inputHandler
  const atMost = (finals: string, limit: () => number) => {
    for (const final of finals)
      parser.registerCsiHandler({ final }, ({ params }) => {
        params[0] = Math.min(params[0] ?? 0, limit())
        return false // xterm.js goes on with the smaller number
      })
  }
  atMost('LMST', () => terminal.rows) // these move lines one by one
  atMost('IZ', () => terminal.cols)
  atMost('b', () => Math.min(MAX_REPEATED, terminal.cols * terminal.rows))
  for (const prefix of ['', '?'])
    parser.registerCsiHandler(
      prefix === '' ? { final: 'J' } : { prefix, final: 'J' },
      ({ params }) => {
        const { x, y, lines } = core.buffers.active
        const isAll = params[0] === 1 && x >= terminal.cols - 1 && lines.get(y + 1) === undefined
        if (isAll) params[0] = 2 // the same, when the cursor is in the last cell
        return false
      },
    )
  boundColors(terminal)
  for (const { _handlers } of [parser._oscParser, parser._dcsParser])
    for (const handler of Object.values(_handlers).flat()) boundText(handler)
  boundCells(core.buffers.normal.lines.get(0) as Line)
}

function boundColors({ parser }: Terminal): void {
  for (const number of [4, 104])
    parser.registerOscHandler(number, ({ length }) => length > MAX_COLORS_LENGTH) // then xterm.js does not see it
}

function boundText(handler: StringHandler): void {
  const put = handler.put.bind(handler)
  handler.put = (data, start, end) => {
    put(data, start, end)
    if (handler._data.length <= MAX_STRING_LENGTH) return
    handler._data = ''
    handler._hitLimit = true // as xterm.js does at its own limit
  }
}

/** The prototype whose cells are bounded: that of all lines of all terminals. */
let boundedLines: InnerLine | undefined

function boundCells(line: Line): void {
  const lines = Object.getPrototypeOf(line) as InnerLine
  if (lines === boundedLines) return
  boundedLines = lines
  const add: (this: Line, ...cell: CellText) => void = Reflect.get(lines, 'addCodepointToCell')
  lines.addCodepointToCell = function addToCell(this: Line, ...cell: CellText) {
    const [column] = cell
    const isFull = this.isCombined(column) !== 0 && this.getString(column).length >= MAX_CELL_LENGTH
    if (!isFull) add.apply(this, cell)
  }
}

type CellText = [column: number, codePoint: number, width: number]

/** Replaces the store of links. That of xterm.js keeps a marker for each link and line, and forgets none while its line is there. */
export function storeLinksIn(terminal: Terminal, links: Links): void {
  coreOf(terminal)._inputHandler._oscLinkService = links
}

/** The links that were put into the place of xterm.js's store. */
export function linksOf(terminal: Terminal): Links {
  return coreOf(terminal)._inputHandler._oscLinkService
}

/** The texts of cells that have more than one character, also of cells that have been cleared since. */
export function combinedTexts(line: Line): string[] {
  return Object.values((line as InnerLine)._combined)
}

/** What cells have besides their two numbers, by identity, also of cells that have been cleared since. */
export function extendedParts(line: Line): (object & { readonly urlId: number })[] {
  return Object.values((line as InnerLine)._extendedAttrs).filter((part) => part !== undefined)
}

/** Takes links, underline styles and combining characters from a line. */
export function simplifyLine(line: Line): void {
  const { _data: data, _combined: combined } = line as InnerLine
  for (let at = 2; at < data.length; at += CELL_NUMBERS) data[at] = (data[at] ?? 0) & ~HAS_EXTENDED
  for (const [column, text] of Object.entries(combined))
    combined[column] = String.fromCodePoint(text.codePointAt(0) ?? 0x20)
  ;(line as InnerLine)._extendedAttrs = {}
}

/** A cell is its text, {@link Look.fg} and {@link Look.bg}. */
const CELL_NUMBERS = 3
