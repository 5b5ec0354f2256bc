/**
 * What does the serializer of xterm.js forget? The cursor's visibility and style, how the mouse is reported, character sets, the
 * scroll region, the title, an open link and the colours that a program has set. They are noted while output is parsed, and
 * written around the serializer's text.
 */
import type { Terminal } from '@xterm/headless'

/** What the serializer forgets of one terminal. */
export class Supplement {
  #title: string | undefined
  #isCursorHidden = false

  constructor(terminal: Terminal) {
    terminal.onTitleChange((title) => (this.#title = title))
    const { parser } = terminal
    for (const final of ['h', 'l'])
      parser.registerCsiHandler({ prefix: '?', final }, (params) => {
        if (params.includes(25)) this.#isCursorHidden = final === 'l'
        return false // xterm.js handles it too
      })
  }

  /** The window title as programs set it; undefined when none did. */
  get title(): string | undefined {
    return this.#title
  }

  /** The terminal has another size. */
  resized(): void {}

  /** The serializer's text with what it has forgotten. */
  around(text: string): string {
    const title = this.#title === undefined ? '' : `\x1b]2;${this.#title}\x07`
    return `${title}${text}${this.#isCursorHidden ? '\x1b[?25l' : ''}`
  }
}
