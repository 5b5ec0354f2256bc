/** How does a command print what strangers wrote, such as a path or a `User-Agent`? As JSON, and as tables. */
import { CONTROLS, printable } from '../answers/printable.ts'

/** A value as JSON on several lines, which a program can parse and a terminal can show. @param indent 0 for one line */
export function jsonText(value: unknown, indent = 2): string {
  // Between the tokens of JSON is none of these but the line feed, so each stands in a string, where it may be escaped.
  const text = JSON.stringify(value, null, indent).replace(CONTROLS, (character) => {
    return character === '\n' ? character : codeUnits(character)
  })
  return `${text}\n`
}

/** A character as JSON escapes it: one escape for each of its UTF-16 code units. */
function codeUnits(character: string): string {
  return Array.from({ length: character.length }, (_, i) => {
    return `\\u${character.charCodeAt(i).toString(16).padStart(4, '0')}`
  }).join('')
}

/** A message that may have several lines, and may quote what a socket has answered or the name of a file. */
export function messageText(text: string): string {
  return text.split('\n').map(printable).join('\n')
}

/**
 * A table of left-aligned columns, with the names of the columns above it.
 * @param rows texts that may hold any character
 */
export function tableText(
  columns: readonly string[],
  rows: ReadonlyArray<readonly string[]>,
): string {
  const lines = [columns, ...rows].map((row) => row.map(printable))
  const widths = columns.map((_, i) => Math.max(...lines.map((row) => row[i]?.length ?? 0)))
  const text = (row: readonly string[]) =>
    row
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd()
  return `${lines.map(text).join('\n')}\n`
}

/** A time of the JSON as text for a person, to the minute and in UTC; a dash when there is none. */
export function minuteText(time: string | null): string {
  return time === null ? '-' : `${time.slice(0, 16).replace('T', ' ')}Z`
}
