/**
 * What is the output that makes another terminal show a screen, and go on from there as if it had parsed everything itself? The
 * text is drawn first, then the modes are set that a program has left on, and the cursor comes last.
 *
 * `@xterm/addon-serialize` is not used: it knows neither links nor underline styles, loses bold or dim text, the hidden cursor,
 * mouse encodings, character sets, tab stops, the scroll region and the saved cursor, and moves the cursor with origin mode.
 */
import type { Terminal } from '@xterm/headless'
import { charsetName } from './charsets.ts'
import { drawLines, lineAt, textAt, widthAt } from './drawn-lines.ts'
import { hasExtended, isInUse, lookKey, Pen, PLAIN, withUnderline } from './pen.ts'
import {
  charsetsOf,
  insideOf,
  lookAt,
  nextLook,
  titleOf,
  widthToJoin,
  type Charset,
  type Charsets,
  type Line,
  type LinkData,
  type ScreenBuffer,
} from './xterm-internals.ts'

/**
 * Whatever the terminal shows and is in the middle of: ends a sequence that was cut (CAN), clears screen and scrollback and resets
 * the modes (RIS; ED 3, which RIS does not include in every terminal), and those that RIS leaves in xterm.js (newline mode, cursor).
 */
export const RESET = '\x18\x1bc\x1b[3J\x1b[20l\x1b[?25h'

/** How long the text of a screen with its scrollback may be, in UTF-16 code units; the oldest lines are left out. */
const MAX_TEXT_LENGTH = 512 * 1024

/** Tab stops are this far apart until a program sets others. */
const TAB_WIDTH = 8

/** How far the cursor is put behind the last column. */
const MAX_BEYOND = 8

/** What has the effect of a shift into a character set (SI, SO, LS2, LS3), by its number. */
const SHIFTS = ['\x0f', '\x0e', '\x1bn', '\x1bo']

/** Which bytes designate a character set as G0 to G3. */
const DESIGNATORS = ['\x1b(', '\x1b)', '\x1b*', '\x1b+']

const MOUSE_MODES: Record<string, string> = {
  X10: '\x1b[?9h',
  VT200: '\x1b[?1000h',
  DRAG: '\x1b[?1002h',
  ANY: '\x1b[?1003h',
}

const MOUSE_ENCODINGS: Record<string, string> = { SGR: '\x1b[?1006h', SGR_PIXELS: '\x1b[?1016h' }

/** The first of two numbers of a cursor style (DECSCUSR): blinking; the second one is steady. */
const CURSOR_STYLES = { block: 1, underline: 3, bar: 5 }

/** What is not part of xterm.js's state. */
export interface Extras {
  readonly linkOf: (number: number) => LinkData | undefined
  /** Sets colours and options that RIS does not reset. */
  readonly settings: string
  /** Whether a program has ever set the cursor's style, so that the other terminal may still have it. */
  readonly hasSetCursorStyle: boolean
}

/** The output that draws a terminal's screen on another one of the same size, whatever that one shows. */
export function snapshotOf(terminal: Terminal, extras: Extras): Buffer {
  const { normal, alt, active } = insideOf(terminal).buffers
  const pen = new Pen(extras.linkOf)
  const drawn = drawLines(normal, terminal.cols, pen, MAX_TEXT_LENGTH)
  const title = titleOf(terminal) === '' ? '' : `\x1b]2;${titleOf(terminal)}\x07`
  const parts = [RESET, extras.settings, title, savedCursor(normal, terminal.rows, drawn.first)]
  let last = drawn
  if (active === alt) {
    last = drawLines(alt, terminal.cols, pen, 0)
    parts.push(drawn.text, tabStops(normal, terminal.cols), region(normal, terminal.rows))
    parts.push(moveTo(Math.min(normal.x, terminal.cols - 1), normal.y), '\x1b[?1047h')
    parts.push(savedCursor(alt, terminal.rows, alt.ybase), '\x1b[H', last.text)
  } else {
    const saved = savedCursor(alt, terminal.rows, alt.ybase)
    parts.push(saved === '' ? '' : `\x1b[?1047h${saved}\x1b[?1047l\x1b[H`, drawn.text)
  }
  const state = `${tabStops(active, terminal.cols)}${region(active, terminal.rows)}`
  const isThere = last.row === active.y && last.column === active.x && state === ''
  parts.push(state, stateOf(terminal, pen, isThere ? last.text : undefined, extras))
  return Buffer.from(parts.join(''))
}

/**
 * Modes and cursor. The character before the cursor is printed again when the next one would wrap, or could combine with it.
 * @param drawn the output before, if it leaves the cursor where it should be
 */
function stateOf(
  terminal: Terminal,
  pen: Pen,
  drawn: string | undefined,
  { hasSetCursorStyle }: Extras,
): string {
  const { buffers, coreService } = insideOf(terminal)
  const charsets = charsetsOf(terminal)
  const { active } = buffers
  const { origin } = coreService.decPrivateModes
  const line = lineAt(active, active.ybase + active.y, terminal.cols)
  const x = Math.min(active.x, line.length)
  const row = active.y - (origin ? active.scrollTop : 0)
  const style = printStyle(terminal, pen)
  const start = style.before + (origin ? '\x1b[?6h' : '')
  const modes = () => style.after() + modesText(terminal, hasSetCursorStyle)

  const width = widthToJoin(terminal)
  const isLast = width > 0 && width <= x && looksAsNext(terminal, line, x - width)
  const joined = isLast ? printed(line, x - width, charsets.charset) : undefined
  if (joined !== undefined && widthAt(line, x - width) === width) {
    const state = start + modes()
    if (state === '' && drawn?.endsWith(joined) === true) return ''
    const makeRoom = coreService.modes.insertMode ? `\x1b[${width}P` : ''
    return `${state}${moveTo(x - width, row)}${makeRoom}${joined}`
  }
  if (drawn !== undefined && start === '' && x === 0) return modes()
  if (x < line.length) return `${start}${moveTo(x, row)}${modes()}`
  const isBlank = line.getString(x - 1) === '' && widthAt(line, x - 2) === 1
  // The other screen lends its cursor, because this one has no character there.
  if (isBlank && active === buffers.normal)
    return `${start}\x1b[?1047h${moveTo(x - 1, active.y)} \x1b[?1047l${modes()}`
  const last = wrapNext(line, row, style.isLookSet ? undefined : pen, style.charset)
  // A combining character that has nothing to combine with takes a column, also behind the last one.
  const beyond = '\0\u0301'.repeat(Math.min(MAX_BEYOND, active.x - x))
  return `${start}${last}\0${beyond}${modes()}` // nothing combines with it
}

/** Whether a cell can have been printed just now. After a change of the size the cursor may be behind another one. */
export function looksAsNext(terminal: Terminal, line: Line, column: number): boolean {
  const look = nextLook(terminal)
  const next = hasExtended(look.bg) ? look : { ...look, underline: 0, link: 0 }
  return lookKey(lookAt(line, column)) === lookKey(next)
}

/** How to make further text look as it would. */
interface PrintStyle {
  /** Output before the cursor is moved. */
  readonly before: string
  /** Makes the output when the cursor is where it should be. */
  readonly after: () => string
  /** What is set between the two. */
  readonly charset: Charset
  readonly isLookSet: boolean
}

/**
 * Looks and character sets are set as a program does, unless they came with the saved cursor: then xterm.js has a set that is not
 * designated, or an underline or a link that is open and not in use.
 */
function printStyle(terminal: Terminal, pen: Pen): PrintStyle {
  const { savedCharset, savedCurAttrData: saved } = insideOf(terminal).buffers.active
  const look = nextLook(terminal)
  const { fg, bg } = look
  const charsets = charsetsOf(terminal)
  const { charset, level, designated } = charsets
  const isCharsetRestored = charset !== designated[level] && charset === savedCharset
  const isLookRestored = !isInUse(look) && fg === saved.fg && bg === saved.bg
  const shown = isInUse(look) || hasExtended(bg) ? look : { ...look, underline: 0, link: 0 }
  if (!isCharsetRestored && !isLookRestored)
    return {
      before: '',
      after: () => pen.change(shown) + charsetsText(charsets),
      charset: undefined,
      isLookSet: false,
    }
  const opened = isLookRestored ? pen.change(withUnderline(look)) : ''
  const sets = charsetsText(charsets)
  const before = isCharsetRestored
    ? `${opened}${sets}\x1b8`
    : `${opened}\x1b8${sets}${SHIFTS[level] ?? ''}`
  return isLookRestored
    ? { before, after: () => '', charset, isLookSet: true }
    : { before: `${before}\x1b[m`, after: () => pen.change(shown), charset, isLookSet: false }
}

/** What a program prints to get a cell's text in a character set; undefined when it cannot. */
function printed(line: Line, column: number, charset: Charset): string | undefined {
  const text = textAt(line, column)
  if (line.getString(column) === '' || line.getWidth(column) === 0) return undefined
  if (charset === undefined) return text
  const [first = ''] = text
  if (first < '\x7f' && !(first in charset)) return text
  const source = Object.entries(charset).find(([, shown]) => shown === first)?.[0]
  if (source !== undefined) return source + text.slice(first.length)
  return first < '\x7f' ? undefined : text
}

/** Leaves the cursor behind the last column, where the next character wraps. */
function wrapNext(line: Line, row: number, pen: Pen | undefined, charset: Charset): string {
  const isSecondHalf = widthAt(line, line.length - 2) === 2
  const column = line.length - (isSecondHalf ? 2 : 1)
  const text =
    line.getWidth(column) === 0 ? textAt(line, column) : (printed(line, column, charset) ?? ' ')
  return moveTo(column, row) + (pen?.change(lookAt(line, column)) ?? '') + text
}

/** Saves the cursor that a program has saved (DECSC). The screen is blank before and after, and the cursor in its first cell. */
function savedCursor(buffer: ScreenBuffer, rows: number, dropped: number): string {
  const { savedX, savedCurAttrData: attributes, savedCharset } = buffer
  const row = Math.max(0, buffer.savedY - dropped)
  const { fg, bg } = attributes
  if (savedX === 0 && row === 0 && fg === 0 && bg === 0 && savedCharset === undefined) return ''
  const pen = new Pen((number) => (number === 0 ? undefined : ANY_LINK))
  // A line of the scrollback, and one that was there before the scrollback was cleared, is reached by scrolling there.
  const scrolled = '\n'.repeat(Math.max(0, row - rows + 1))
  const position = moveTo(0, Math.min(row, rows - 1)) + scrolled + `\x1b[${savedX + 1}G`
  // The look says whether there was a link, and not which. The open one goes on when the cursor is restored.
  const isInLink = hasExtended(bg) && (fg & 0x10000000) === 0
  const look = pen.change({ fg, bg, underline: 0, link: isInLink ? 1 : 0 })
  const set = savedCharset === undefined ? '' : `\x1b(${charsetName(savedCharset)}`
  return `${position}${look}${set}\x1b7${pen.change(PLAIN)}\x1b(B\x1b[2J\x1b[3J\x1b[H`
}

const ANY_LINK: LinkData = { uri: 'about:blank' }

function tabStops({ tabs }: ScreenBuffer, columns: number): string {
  const stops = Array.from({ length: columns }, (_, column) => column).filter(
    (column) => tabs[column] === true,
  )
  const isUsual =
    stops.length === Math.ceil(columns / TAB_WIDTH) && stops.every((stop) => stop % TAB_WIDTH === 0)
  if (isUsual) return ''
  return `\x1b[3g${stops.map((stop) => `\x1b[${stop + 1}G\x1bH`).join('')}`
}

function region({ scrollTop, scrollBottom }: ScreenBuffer, rows: number): string {
  return scrollTop === 0 && scrollBottom === rows - 1
    ? ''
    : `\x1b[${scrollTop + 1};${scrollBottom + 1}r`
}

function charsetsText({ designated, level }: Charsets): string {
  const sets = designated.map((charset, number) =>
    charset === undefined ? '' : `${DESIGNATORS[number]}${charsetName(charset)}`,
  )
  return sets.join('') + (level === 0 ? '' : (SHIFTS[level] ?? ''))
}

function modesText(terminal: Terminal, hasSetCursorStyle: boolean): string {
  const { coreService, coreMouseService: mouse } = insideOf(terminal)
  const { decPrivateModes: modes } = coreService
  const style = modes.cursorStyle === undefined ? 7 : CURSOR_STYLES[modes.cursorStyle]
  const isStyled = modes.cursorStyle !== undefined || modes.cursorBlink !== undefined
  return [
    coreService.modes.insertMode ? '\x1b[4h' : '',
    terminal.options.convertEol === true ? '\x1b[20h' : '',
    modes.applicationCursorKeys ? '\x1b[?1h' : '',
    modes.wraparound ? '' : '\x1b[?7l',
    modes.reverseWraparound ? '\x1b[?45h' : '',
    modes.applicationKeypad ? '\x1b=' : '',
    MOUSE_MODES[mouse.activeProtocol] ?? '',
    MOUSE_ENCODINGS[mouse.activeEncoding] ?? '',
    modes.sendFocus ? '\x1b[?1004h' : '',
    modes.bracketedPasteMode ? '\x1b[?2004h' : '',
    modes.synchronizedOutput ? '\x1b[?2026h' : '',
    isStyled ? `\x1b[${style + (modes.cursorBlink === true ? 0 : 1)} q` : '',
    hasSetCursorStyle && !isStyled ? '\x1b[0 q' : '',
    coreService.isCursorHidden ? '\x1b[?25l' : '',
  ].join('')
}

function moveTo(column: number, row: number): string {
  return `\x1b[${row + 1};${column + 1}H`
}
