/** How does a command print what strangers wrote, such as a path or a `User-Agent`? Without characters that control a terminal. */

/** Escapes characters that could control a terminal. */
export function printable(text: string): string {
  return text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (character) => {
    const code = character.codePointAt(0) ?? 0
    return `\\u{${code.toString(16)}}`
  })
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
