/**
 * How much output is parsed at a time? Nothing interrupts the parser of xterm.js, and one sequence of ten bytes can move a thousand
 * lines (IL, DL, SU, SD), print a screen (REP) or make one (alternate screen). So a slice ends before its second sequence of that
 * kind, and other terminals get their turn in between.
 */

/** The longest slice, in bytes. */
const SLICE_BYTES = 4 * 1024

/** Of sequences whose work is a row at most, this many are in a slice. */
const MAX_CHEAP = 512

const ESC = 0x1b
const BRACKET = 0x5b
/** The first byte of a C1 control in UTF-8, which can begin a sequence as ESC does. */
const C1_LEAD = 0xc2

/** The longest sequence that is looked at, in bytes. A longer one counts as costly. */
const MAX_SEQUENCE_BYTES = 48

/** Colours, movements of the cursor, and "erase in line". */
const CHEAP_FINALS = new Set(Buffer.from('mKHfABCDGd'))

/** Where the slice ends that begins at a place. Takes time in proportion to its length. */
export function endOfSlice(output: Buffer, start: number): number {
  const end = Math.min(output.length, start + SLICE_BYTES)
  const slice = output.subarray(start, end)
  let costly = 0
  let cheap = 0
  let [escape, c1] = [slice.indexOf(ESC), slice.indexOf(C1_LEAD)]
  while (escape >= 0 || c1 >= 0) {
    const isEscape = c1 < 0 || (escape >= 0 && escape < c1)
    const at = isEscape ? escape : c1
    if (isEscape) escape = slice.indexOf(ESC, at + 1)
    else c1 = slice.indexOf(C1_LEAD, at + 1)
    if (!isEscape && !isControl(slice[at + 1])) continue
    if (isEscape && isCheap(slice, at)) cheap += 1
    else costly += 1
    if ((costly > 1 || cheap > MAX_CHEAP) && at > 0) return start + at
  }
  return end
}

/** Whether the character that begins with C2 may be a C1 control; at the end of a slice nobody knows. */
function isControl(next: number | undefined): boolean {
  return next === undefined || (next >= 0x80 && next <= 0x9f)
}

/** Whether an ESC begins a sequence that changes a row at most. */
function isCheap(slice: Buffer, start: number): boolean {
  if (slice[start + 1] !== BRACKET) return false
  const last = Math.min(slice.length, start + MAX_SEQUENCE_BYTES)
  for (let at = start + 2; at < last; at++) {
    const byte = slice[at] as number
    if (byte >= 0x30 && byte <= 0x3b) continue // digits, colons and semicolons
    return CHEAP_FINALS.has(byte)
  }
  return false
}
