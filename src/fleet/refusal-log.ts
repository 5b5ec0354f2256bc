/** How is it logged that strangers are refused? The first at once, and then no more than one line a second, or they could fill the disk. */
import type { Logger } from 'pino'
import type { LimitErrorCode } from './limit-errors.ts'

/** The least time between two lines, in milliseconds. */
const PAUSE_MS = 1000

/** Logs requests that were refused before it was known who asks. */
export class RefusalLog {
  readonly #logger: Logger
  readonly #counts = new Map<LimitErrorCode, number>()
  #timer: NodeJS.Timeout | undefined

  constructor(logger: Logger) {
    this.#logger = logger
  }

  add(code: LimitErrorCode): void {
    this.#counts.set(code, (this.#counts.get(code) ?? 0) + 1)
    if (this.#timer !== undefined) return
    this.#write()
    this.#timer = setTimeout(() => this.#pauseIsOver(), PAUSE_MS).unref()
  }

  /** Logs what was not logged yet. */
  close(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#write()
  }

  #pauseIsOver(): void {
    this.#timer = undefined
    if (this.#counts.size === 0) return
    this.#write()
    this.#timer = setTimeout(() => this.#pauseIsOver(), PAUSE_MS).unref()
  }

  #write(): void {
    if (this.#counts.size === 0) return
    this.#logger.info({ codes: Object.fromEntries(this.#counts) }, 'strangers refused')
    this.#counts.clear()
  }
}
