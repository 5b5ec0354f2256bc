/** How is a text shown that strangers wrote, such as a path, a `User-Agent` or a title? Without characters that control a terminal. */

/** Characters that could control a terminal or turn a line round, or that are not shown. */
export const CONTROLS: RegExp = /[\p{C}\p{Zl}\p{Zp}]/gu

/** Escapes characters that could control a terminal. */
export function printable(text: string): string {
  return text.replace(CONTROLS, (character) => {
    const code = character.codePointAt(0) ?? 0
    return `\\u{${code.toString(16)}}`
  })
}
