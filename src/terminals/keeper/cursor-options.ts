/**
 * What has a program said about the cursor that xterm.js keeps as an option, and not as a mode (DECSCUSR, mode 12)? The page may have
 * options of its own, so they are only set when a program has.
 */
import type { Terminal } from '@xterm/headless'

/** Follows one terminal. */
export class CursorOptions {
  /** Whether a program has ever set the cursor's style. */
  hasSetCursorStyle = false
  /** What sets blinking as a program did; empty when none has. */
  blinking = ''

  constructor({ parser }: Terminal) {
    parser.registerCsiHandler({ intermediates: ' ', final: 'q' }, () => {
      this.hasSetCursorStyle = true
      return false // xterm.js handles it too
    })
    for (const final of ['h', 'l'])
      parser.registerCsiHandler({ prefix: '?', final }, (params) => {
        if (params.includes(BLINKING)) this.blinking = `\x1b[?${BLINKING}${final}`
        return false
      })
  }
}

const BLINKING = 12
