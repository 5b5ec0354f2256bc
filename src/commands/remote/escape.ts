/** How does a person leave a shell that does not answer? By Enter, `~` and `.`, as in ssh: this finds it among what is typed. */

const CR = 0x0d
const LF = 0x0a
const TILDE = 0x7e
const DOT = 0x2e

/** What was typed, and whether it ends the connection. */
export interface Typed {
  /** What the shell gets. */
  readonly bytes: Uint8Array
  readonly isLeaving: boolean
}

/** Reads what is typed, piece by piece. `~~` at the begin of a line is one `~` for the shell. */
export class EscapeReader {
  #state: 'line-start' | 'tilde' | 'within' = 'line-start'

  read(typed: Uint8Array): Typed {
    const bytes: number[] = []
    for (const byte of typed) {
      if (this.#state === 'tilde' && byte === DOT)
        return { bytes: Uint8Array.from(bytes), isLeaving: true }
      const wasTilde = this.#state === 'tilde'
      if (this.#state === 'line-start' && byte === TILDE) {
        this.#state = 'tilde'
        continue
      }
      if (wasTilde && byte !== TILDE) bytes.push(TILDE)
      bytes.push(byte)
      this.#state = byte === CR || byte === LF ? 'line-start' : 'within'
    }
    return { bytes: Uint8Array.from(bytes), isLeaving: false }
  }
}
