/**
 * How much memory does a burst of handshakes leave behind? That of the open WebSockets, and no larger heap. The objects of a
 * WebSocket stay, and V8 takes what stays for a sign that its young generation is too small: for a thousand WebSockets it would
 * grow by 50 MiB, which idle WebSockets do not need.
 */
import { letYoungGenerationGrow } from '../http/node-internals.ts'

/** How long after a handshake the next one belongs to the same burst, in milliseconds. */
const BURST_GAP_MS = 500

/** Keeps the young generation as it is while WebSockets open. Requests make it grow at any other time. */
export class OpeningBurst {
  readonly #letGrow: (mayGrow: boolean) => void
  #end: NodeJS.Timeout | undefined

  constructor(letGrow = letYoungGenerationGrow) {
    this.#letGrow = letGrow
  }

  /** Notes that a WebSocket is about to open. */
  note(): void {
    if (this.#end !== undefined) {
      this.#end.refresh()
      return
    }
    this.#letGrow(false)
    this.#end = setTimeout(() => {
      this.#end = undefined
      this.#letGrow(true)
    }, BURST_GAP_MS).unref()
  }
}
