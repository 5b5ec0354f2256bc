/** Who wants a shell to wait? It waits while anybody does. */

/** Why a shell's output is not read for a moment. */
export type HoldReason = 'pace' | 'parser' | 'drawing' | 'transfer'

/** The reasons why a source waits. */
export class Holds {
  readonly #reasons = new Set<HoldReason>()
  readonly #hold: (isHeld: boolean) => void

  /** @param hold stops the source, or lets it go on */
  constructor(hold: (isHeld: boolean) => void) {
    this.#hold = hold
  }

  get isHeld(): boolean {
    return this.#reasons.size > 0
  }

  has(reason: HoldReason): boolean {
    return this.#reasons.has(reason)
  }

  /** Adds or removes a reason. */
  set(reason: HoldReason, isHeld: boolean): void {
    const wasHeld = this.isHeld
    if (isHeld) this.#reasons.add(reason)
    else this.#reasons.delete(reason)
    if (this.isHeld !== wasHeld) this.#hold(this.isHeld)
  }
}
