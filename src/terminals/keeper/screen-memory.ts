/** How much memory does a screen take, and how does it take less? Its cells have a fixed size; what else belongs to them has not. */
import type { Terminal } from '@xterm/headless'
import {
  combinedTexts,
  extendedParts,
  insideOf,
  nextLook,
  simplifyLine,
  type Line,
} from './xterm-internals.ts'

// Bytes on 64 bits, measured with Node 24.
const CELL_BYTES = 12
const LINE_BYTES = 250
const ENTRY_BYTES = 24
const EXTENDED_BYTES = 56
const TEXT_BYTES = 48

/** The numbers of all links that can be seen, and of the one that is open. */
export function linksOn(terminal: Terminal): Set<number> {
  const numbers = new Set([nextLook(terminal).link])
  for (const line of linesOf(terminal))
    for (const { urlId } of extendedParts(line)) numbers.add(urlId)
  return numbers
}

/** How much memory both screens and the scrollback take, in bytes. */
export function memoryOf(terminal: Terminal): number {
  let bytes = 0
  const counted = new Set<object>()
  for (const line of linesOf(terminal)) {
    bytes += LINE_BYTES + line.length * CELL_BYTES
    for (const text of combinedTexts(line)) bytes += ENTRY_BYTES + TEXT_BYTES + 2 * text.length
    for (const part of extendedParts(line)) {
      bytes += ENTRY_BYTES
      counted.add(part)
    }
  }
  return bytes + counted.size * EXTENDED_BYTES
}

/** How much memory the cells take, without looking at them: the part of {@link memoryOf} that grows fast. */
export function cellMemoryOf(terminal: Terminal): number {
  const { normal, alt } = insideOf(terminal).buffers
  const lines = normal.lines.length + alt.lines.length
  return lines * (LINE_BYTES + terminal.cols * CELL_BYTES)
}

/** Takes links, underline styles and combining characters from every cell. */
export function simplify(terminal: Terminal): void {
  for (const line of linesOf(terminal)) simplifyLine(line)
}

function* linesOf(terminal: Terminal): Generator<Line> {
  const { normal, alt } = insideOf(terminal).buffers
  for (const { lines } of [normal, alt])
    for (let row = 0; row < lines.length; row++) yield lines.get(row) as Line
}
