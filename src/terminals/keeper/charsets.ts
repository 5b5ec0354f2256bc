/** What are the names of xterm.js's character sets (SCS)? It keeps the sets themselves, and tells nobody which is which. */
import type { Terminal } from '@xterm/headless'
import { charsetsOf, parseNow, type Charset } from './xterm-internals.ts'

/** The final bytes that designate a set: line drawing, British, and those of VT220 and VT320. */
const FINALS = '0A4C5RQKYE6ZH7='

const names = new Map<object, string>()

/** Learns the names. @param terminal a new one, that is thrown away */
export function learnCharsets(terminal: Terminal): void {
  for (const final of FINALS) {
    parseNow(terminal, Buffer.from(`\x1b(${final}`))
    const { charset } = charsetsOf(terminal)
    if (charset !== undefined && !names.has(charset)) names.set(charset, final)
  }
}

/** The byte that designates a set. ASCII is `B`. */
export function charsetName(charset: Charset): string {
  return (charset === undefined ? undefined : names.get(charset)) ?? 'B'
}
