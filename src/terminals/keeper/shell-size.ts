/** Which size does a shell's window have? That of the page's, and never a larger one than its screen can have here. */
import { boundedSize, type Screen, type Size } from './screen.ts'
import type { TtydLink } from './ttyd-link.ts'
import { DEFAULT_SIZE } from './ttyd-messages.ts'

/** A new size reaches the shell when no other follows within this time, in milliseconds: each makes its program draw again. */
const RESIZE_MS = 60

/** What has the size. */
export interface SizedParts {
  readonly screen: Screen
  readonly ttyd: TtydLink
  /** Called with an error when the screen could not be made that size. */
  readonly onFault: (error: unknown) => void
}

/** The size of one shell and its screen. */
export class ShellSize {
  readonly #parts: SizedParts
  #size: Size = DEFAULT_SIZE
  #timer: NodeJS.Timeout | undefined

  constructor(parts: SizedParts) {
    this.#parts = parts
  }

  /** The size that the shell has, or is about to get. */
  get current(): Size {
    return this.#size
  }

  /** Notes the size with which the shell begins: ttyd has it from the page's first message. */
  begin(size: Size): void {
    this.#size = size
    this.#resizeScreen()
  }

  /**
   * Gives the shell and its screen another size, once no other has come for a moment: a window that is dragged has a new one
   * with each frame, and each makes the screen wrap its lines again and the program draw again.
   */
  change(size: Size): void {
    const { columns, rows } = boundedSize(size)
    if (columns === this.#size.columns && rows === this.#size.rows) return
    this.#size = { columns, rows }
    clearTimeout(this.#timer)
    this.#timer = setTimeout(this.#apply, RESIZE_MS)
  }

  /** Changes nothing more. */
  stop(): void {
    clearTimeout(this.#timer)
  }

  readonly #apply = (): void => {
    this.#resizeScreen()
    this.#parts.ttyd.send(Buffer.from(`1${JSON.stringify(this.#size)}`))
  }

  #resizeScreen(): void {
    const { screen, onFault } = this.#parts
    screen.resize(this.#size).catch(onFault)
  }
}
