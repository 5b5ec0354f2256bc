/**
 * What draws the lines of a screen again, cell by cell? Output that also leaves the same lines wrapped, so that a change of the
 * size wraps them anew, and a line that is copied stays one.
 */
import { backgroundOf, isPlainButBackground, lookKey, PLAIN, type Pen } from './pen.ts'
import { lookAt, type Line, type ScreenBuffer } from './xterm-internals.ts'

/** A wide character. */
const ANY_WIDE = '\u6f22'

/** The cells of a line, drawn. */
interface DrawnCells {
  readonly text: string
  /** The column of the cursor behind it; the number of columns when the next character is going to wrap. */
  readonly column: number
}

/** A screen and the lines above it, drawn. */
interface DrawnLines {
  readonly text: string
  /** The first line that was drawn. */
  readonly first: number
  /** Where the cursor is behind it. */
  readonly row: number
  readonly column: number
}

/**
 * Draws lines on blank rows, from the first column of the first one, down to the cursor at least. The pen is plain before and after.
 * @param maxLength how long the text may be; of lines above the screen the oldest are left out for that
 */
export function drawLines(
  buffer: ScreenBuffer,
  columns: number,
  pen: Pen,
  maxLength: number,
): DrawnLines {
  const { lines, ybase } = buffer
  const line = (row: number) => lineAt(buffer, row, columns)
  const linesFrom = (begin: number, end: number) =>
    Array.from({ length: end - begin }, (_, i) => line(begin + i))
  const hasRowAbove = lines.length - ybase > 1
  const groups: DrawnCells[] = [] // from the last to the first
  let length = 0
  let first = lines.length
  let row = first - 1 - ybase
  while (first > 0) {
    const end = first
    let begin = end - 1
    while (begin > 0 && line(begin).isWrapped) begin -= 1
    const group = drawWrapped(linesFrom(begin, end), pen, hasRowAbove)
    length += group.text.length
    if (begin < ybase && length > maxLength) {
      // Of a long line that reaches into the screen, at least that part is drawn.
      if (end > ybase) groups.push(drawWrapped(linesFrom(ybase, end), pen, hasRowAbove))
      first = Math.min(end, ybase)
      break
    }
    groups.push(group)
    first = begin
  }
  if (first === 0 && ybase === 0)
    for (; row > buffer.y && groups[0]?.text === ''; row--) groups.shift()
  const text = groups
    .map((group) => group.text)
    .toReversed()
    .join('\r\n')
  return { text, first, row, column: groups[0]?.column ?? 0 }
}

/** Draws lines of which each continues the one before. The pen is plain before and after. */
function drawWrapped([first, ...others]: Line[], pen: Pen, hasRowAbove: boolean): DrawnCells {
  let line = first as Line
  let drawn = drawCells(line, pen, 0)
  let { text } = drawn
  for (const next of others) {
    const wrap = wrapsByItself(line, next, drawn.column)
      ? drawFirstCell(next, pen)
      : forceWrap(line, pen, drawn.column, hasRowAbove)
    drawn = drawCells(next, pen, wrap.column)
    text += wrap.text + drawn.text
    line = next
  }
  return { text: text + pen.change(PLAIN), column: drawn.column }
}

/**
 * Draws cells from a column on. Their texts are joined at the end of the line, or V8 would keep all of the screen as a tree of its
 * smallest parts until it is sent: a hundred megabytes for a picture made of characters.
 */
function drawCells(line: Line, pen: Pen, from: number): DrawnCells {
  const parts: string[] = []
  let column = from // of the cursor
  for (let x = from; x < line.length;) {
    const look = lookAt(line, x)
    const moved = column === x ? '' : `\x1b[${x - column}C`
    if (line.getString(x) === '' && isPlainButBackground(look)) {
      const background = backgroundOf(look)
      const count = blankRun(line, x)
      if (background !== 0) {
        const color = pen.background === background ? '' : pen.change({ ...PLAIN, bg: background })
        parts.push(moved, color, `\x1b[${count}X`)
        column = x
      }
      x += count
    } else if (isHalfCovered(line, x)) {
      parts.push(moved, pen.change(look), '\x1b[?7l', line.getString(x), ANY_WIDE, '\x1b[?7h')
      x += 2
      column = line.length - 1
    } else {
      parts.push(moved, pen.change(look), textAt(line, x))
      x += widthAt(line, x)
      column = x
    }
  }
  return { text: parts.join(''), column }
}

/** How many cells from a column on are empty and look the same as the first of them. */
function blankRun(line: Line, from: number): number {
  const fg = line.getFg(from)
  const bg = line.getBg(from)
  let x = from + 1
  while (
    x < line.length &&
    line.hasContent(x) === 0 &&
    line.getFg(x) === fg &&
    line.getBg(x) === bg
  )
    x += 1
  return x - from
}

/** Whether the first character of a line wraps when it is printed behind the line before. */
function wrapsByItself(line: Line, next: Line, column: number): boolean {
  if (next.getString(0) === '' || next.getWidth(0) === 0) return false // that would not wrap
  if (column === line.length) return true
  // A wide character does not fit into the last column, which it leaves empty, in its own look.
  const last = line.length - 1
  const isLeft = column === last && line.getString(last) === '' && widthAt(next, 0) === 2
  return isLeft && lookKey(lookAt(line, last)) === lookKey(lookAt(next, 0))
}

/** Draws the first cell of a line. If the screen scrolls by that, the new row has the cell's background. */
function drawFirstCell(line: Line, pen: Pen): DrawnCells {
  const text = pen.change(lookAt(line, 0)) + textAt(line, 0)
  const column = widthAt(line, 0)
  return { text: pen.background === 0 ? text : `${text}${pen.change(PLAIN)}\x1b[K`, column }
}

/**
 * Wraps where no character does: with spaces that are erased again.
 * @param hasRowAbove whether the line can still be reached then; a screen of one row has scrolled it away
 */
function forceWrap(line: Line, pen: Pen, column: number, hasRowAbove: boolean): DrawnCells {
  const last = line.length - 1
  const look = lookAt(line, last)
  let text = pen.change(PLAIN)
  let mend = ''
  if (column <= last) {
    text += `${column === last ? '' : `\x1b[${last - column}C`} `
    if (hasRowAbove && isPlainButBackground(look)) {
      const color = pen.change({ ...PLAIN, bg: backgroundOf(look) })
      mend = `\x1b[A\x1b[${line.length}G${color}\x1b[X${pen.change(PLAIN)}\x1b[B`
    }
  }
  return { text: `${text} ${mend}\r\x1b[X`, column: 0 }
}

/** A line of a screen. Those of the alternate one keep what does not fit when it becomes narrower. */
export function lineAt({ lines }: ScreenBuffer, row: number, columns: number): Line {
  const line = lines.get(row) as Line
  if (line.length <= columns) return line
  return Object.create(line, { length: { value: columns } }) as Line
}

/** How many columns a cell takes; 1 for half of a wide character, whose other half was cut off. */
export function widthAt(line: Line, column: number): number {
  return isWide(line, column) ? 2 : 1
}

/** What prints a cell. A combining character that stands alone must not be combined with the character before. */
export function textAt(line: Line, column: number): string {
  const width = line.getWidth(column)
  const text = line.getString(column)
  if (text === '' || (width === 2 && !isWide(line, column))) return ' '
  return width === 0 ? `\0${text}` : text
}

/**
 * Whether a wide character at the end has lost its second half. xterm.js does that when another one does not fit behind it, while
 * characters do not wrap.
 */
function isHalfCovered(line: Line, column: number): boolean {
  return column === line.length - 2 && line.getWidth(column) === 2 && !isWide(line, column)
}

function isWide(line: Line, column: number): boolean {
  return line.getWidth(column) === 2 && column + 1 < line.length && line.getWidth(column + 1) === 0
}
