/**
 * Which output need not be parsed, because its text has certainly scrolled beyond the screen and the lines above it? A build, a
 * log or `yes` prints many times faster than a terminal can be drawn, and of most of it nothing is left a moment later.
 *
 * Only plain text is dropped: characters, tabs, line ends, colours (SGR) and "erase in line" (EL). None of these moves the cursor
 * up, so what is left of such a text is decided by its last lines and its colours, when it has more lines than the terminal.
 */
import type { Terminal } from '@xterm/headless'
import { insideOf, isWithinSequence } from './xterm-internals.ts'

const TAB = 0x09
const LF = 0x0a
const CR = 0x0d
const ESC = 0x1b
const SPACE = 0x20
const BRACKET = 0x5b
const UPPER_K = 0x4b
const LOWER_M = 0x6d
const DEL = 0x7f
/** The first byte of U+0080 to U+00BF in UTF-8. The characters up to U+009F are controls (C1). */
const C1_LEAD = 0xc2

/** The longest SGR or EL that counts as plain, in bytes. */
const MAX_SEQUENCE_BYTES = 48

/** The sequences that are looked at for the colours of a place. With more since the last reset, nothing is dropped. */
const MAX_PENS = 64

/** Less is not worth an interruption of the parser, in bytes. */
const MIN_DROPPED_BYTES = 16 * 1024

/** A place where output can be left out. */
interface Leap {
  /** Where the text begins that can be left out: behind a line feed. */
  readonly from: number
  /** Where it ends: behind a carriage return and a line feed, with enough lines of plain text to follow. */
  readonly to: number
  /** What must be parsed instead of it: its colours, and a carriage return. */
  readonly instead: Buffer
}

/**
 * What of an output must be parsed, in parts. Parse each before the next is asked for. Takes time in proportion to the output.
 * @param terminal that the parts are parsed for
 */
export function* partsToParse(output: Buffer, terminal: Terminal): Generator<Buffer> {
  const { rows, options } = terminal
  // All lines that there are; and the screen once more, because the cursor may be in its first row.
  const lines = (options.scrollback ?? 0) + 2 * rows
  let at = 0
  for (const { from, to, instead } of leapsIn(output, lines)) {
    yield output.subarray(at, from)
    at = from
    if (!isScrolledByLines(terminal)) continue
    yield instead
    at = to
  }
  yield output.subarray(at)
}

/** Whether text scrolls the whole screen: no sequence has begun, no program has a screen of its own or a scroll region. */
function isScrolledByLines(terminal: Terminal): boolean {
  const { active, normal } = insideOf(terminal).buffers
  const isWhole = active.scrollTop === 0 && active.scrollBottom === terminal.rows - 1
  return !isWithinSequence(terminal) && active === normal && isWhole
}

/** Finds what can be left out of output. @param lines how many lines of plain text must follow */
function leapsIn(output: Buffer, lines: number): Leap[] {
  const leaps: Leap[] = []
  if (output.length < MIN_DROPPED_BYTES) return leaps
  for (let at = 0; ;) {
    const from = output.indexOf(LF, at) + 1
    if (from === 0) return leaps
    at = endOfPlain(output, from)
    const leap = leapIn(output, from, at, lines)
    if (leap !== undefined) leaps.push(leap)
  }
}

/** Where plain text ends that begins here. */
function endOfPlain(output: Buffer, start: number): number {
  let at = start
  while (at < output.length) {
    const byte = output[at] as number
    if ((byte >= SPACE && byte < DEL) || byte === LF || byte === CR || byte === TAB) at += 1
    else if (byte === ESC) {
      const end = endOfSequence(output, at)
      if (end === 0) return at
      at = end
    } else if (byte >= 0x80 && !isControl(output, at)) at += 1
    else return at
  }
  return at
}

/** Whether the character that begins with this byte may be a C1 control. */
function isControl(output: Buffer, at: number): boolean {
  if (output[at] !== C1_LEAD) return false
  const next = output[at + 1]
  return next === undefined || (next >= 0x80 && next <= 0x9f)
}

/** Where an SGR or EL ends that begins here; 0 for anything else. */
function endOfSequence(output: Buffer, start: number): number {
  if (output[start + 1] !== BRACKET) return 0
  const last = Math.min(output.length, start + MAX_SEQUENCE_BYTES)
  for (let at = start + 2; at < last; at++) {
    const byte = output[at] as number
    if (byte >= 0x30 && byte <= 0x3b) continue // digits, colons and semicolons
    return byte === LOWER_M || byte === UPPER_K ? at + 1 : 0
  }
  return 0
}

/** What can be left out of plain text; undefined when that is too little. */
function leapIn(output: Buffer, from: number, end: number, lines: number): Leap | undefined {
  if (end - from < MIN_DROPPED_BYTES) return undefined
  let feed = end
  for (let left = lines; left > 0; left--) {
    feed = output.lastIndexOf(LF, feed - 1)
    if (feed < from + MIN_DROPPED_BYTES) return undefined
  }
  const to = output.lastIndexOf(CR_LF, feed - 1) + CR_LF.length
  if (to < from + MIN_DROPPED_BYTES) return undefined
  const pens = pensBefore(output, from, to)
  return pens === undefined ? undefined : { from, to, instead: Buffer.concat([...pens, CR_ALONE]) }
}

const CR_LF = Buffer.of(CR, LF)
const CR_ALONE = Buffer.of(CR)

/** The SGR sequences of plain text that still have an effect where it ends; undefined when there are too many. */
function pensBefore(output: Buffer, from: number, to: number): Buffer[] | undefined {
  const pens: Buffer[] = []
  let start = to
  for (let left = MAX_PENS; left > 0; left--) {
    start = output.lastIndexOf(ESC, start - 1)
    if (start < from) return pens
    const end = endOfSequence(output, start)
    if (output[end - 1] !== LOWER_M) continue
    pens.unshift(output.subarray(start, end))
    if (isReset(output, start)) return pens
  }
  return undefined
}

/** Whether an SGR sequence begins with a reset, so that nothing before it matters: `CSI m`, `CSI 0 m`, `CSI 0 ; … m`. */
function isReset(output: Buffer, start: number): boolean {
  const [first, second] = [output[start + 2], output[start + 3]]
  return first === LOWER_M || (first === 0x30 && (second === LOWER_M || second === 0x3b))
}
