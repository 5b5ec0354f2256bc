/**
 * Which output need not be parsed, because its text has certainly scrolled beyond the screen and the lines above it? A build, a
 * log or `yes` prints many times faster than a terminal can be drawn, and of most of it nothing is left a moment later.
 *
 * Only text is dropped, with its colours (SGR) and "erase in line" (EL), and only when enough plain text follows: characters, tabs,
 * line ends and colours. None of these moves the cursor up, so what is left is decided by the lines that follow, and by the colours
 * before them.
 */
import type { Terminal } from '@xterm/headless'
import { insideOf, isWithinSequence } from './xterm-internals.ts'

const TAB = 0x09
const LF = 0x0a
const CR = 0x0d
const SHIFT_OUT = 0x0e
const SHIFT_IN = 0x0f
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
  const special = new SpecialBytes(output)
  for (let at = 0; ;) {
    const from = output.indexOf(LF, at) + 1
    if (from === 0) return leaps
    at = special.endOfSimple(from)
    const leap = leapIn(output, from, at, lines)
    if (leap !== undefined) leaps.push(leap)
  }
}

/**
 * Where is something that changes more than text does? What is dropped may move the cursor, since enough lines follow wherever it
 * is, but must not change how they are shown. The few bytes that can are looked for, instead of looking at every byte.
 */
class SpecialBytes {
  readonly #output: Buffer
  readonly #escapes: NextByte
  readonly #c1: NextByte
  readonly #shifts: readonly NextByte[]

  constructor(output: Buffer) {
    this.#output = output
    this.#escapes = new NextByte(output, ESC)
    this.#c1 = new NextByte(output, C1_LEAD)
    this.#shifts = [SHIFT_OUT, SHIFT_IN].map((byte) => new NextByte(output, byte))
  }

  /** Where something begins, at or behind a place, that changes more than text and colours; or the end of the output. */
  endOfSimple(start: number): number {
    const output = this.#output
    let end = output.length
    for (const shift of this.#shifts) end = Math.min(end, shift.from(start))
    for (let at = this.#escapes.from(start); at < end; at = this.#escapes.from(at)) {
      const next = endOfSequence(output, at)
      if (next === 0) end = at
      else at = next
    }
    for (let at = this.#c1.from(start); at < end; at = this.#c1.from(at + 1))
      if (isControl(output, at)) end = at
    return end
  }
}

/** Finds a byte, each time behind the last one: the output is searched once, however many searches there are. */
class NextByte {
  readonly #output: Buffer
  readonly #byte: number
  #at = -1

  constructor(output: Buffer, byte: number) {
    this.#output = output
    this.#byte = byte
  }

  /** Where the byte is, at or behind a place; Infinity if nowhere. */
  from(start: number): number {
    if (this.#at >= start) return this.#at
    const found = this.#output.indexOf(this.#byte, start)
    this.#at = found < 0 ? Infinity : found
    return this.#at
  }
}

/** Whether all of the output from here on, up to an end, is plain text. */
function isPlain(output: Buffer, start: number, end: number): boolean {
  for (let at = start; at < end;) {
    const byte = output[at] as number
    if ((byte >= SPACE && byte < DEL) || byte === LF || byte === CR || byte === TAB) at += 1
    else if (byte === ESC) at = endOfSequence(output, at)
    else if (byte >= 0x80) at += 1
    else return false
  }
  return true
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

/** What can be left out of such output; undefined when that is too little. */
function leapIn(output: Buffer, from: number, end: number, lines: number): Leap | undefined {
  if (end - from < MIN_DROPPED_BYTES) return undefined
  let feed = end
  for (let left = lines; left > 0; left--) {
    feed = output.lastIndexOf(LF, feed - 1)
    if (feed < from + MIN_DROPPED_BYTES) return undefined
  }
  const to = output.lastIndexOf(CR_LF, feed - 1) + CR_LF.length
  if (to < from + MIN_DROPPED_BYTES) return undefined
  if (!isPlain(output, to, end)) return undefined
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
