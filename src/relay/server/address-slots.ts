/** How many connections of one kind may an address have? A fixed number; whoever has as many gets no further one. */

/** Whose connections count together. */
export interface SlotsOwner {
  /** An IPv4 address or an IPv6 /64. */
  readonly budgetKey: string
  /** For an IPv6 address its /48, of which one customer has every /64. */
  readonly sharedKey: string
}

/** How many of its IPv6 /64 a /48 may fill. */
const FULL_NETWORKS = 16

/** The connections of one kind, counted by address. An address without a connection takes no memory. */
export class AddressSlots {
  readonly #limit: number
  readonly #taken = new Map<string, number>()

  /** @param limit connections that one address may have at a time; a /48 of IPv6 may have sixteen times as many */
  constructor(limit: number) {
    this.#limit = limit
  }

  /**
   * Takes a slot.
   * @returns gives the slot back, on the first call alone; undefined when the address has none left
   */
  take({ budgetKey, sharedKey }: SlotsOwner): (() => void) | undefined {
    const bounds: Array<readonly [key: string, limit: number]> = [[budgetKey, this.#limit]]
    if (sharedKey.includes(':')) bounds.push([sharedKey, FULL_NETWORKS * this.#limit])
    if (bounds.some(([key, limit]) => (this.#taken.get(key) ?? 0) >= limit)) return undefined
    for (const [key] of bounds) this.#taken.set(key, (this.#taken.get(key) ?? 0) + 1)
    let isTaken = true
    return () => {
      if (!isTaken) return
      isTaken = false
      for (const [key] of bounds) this.#giveBack(key)
    }
  }

  /** How many addresses and networks have a connection. */
  get size(): number {
    return this.#taken.size
  }

  #giveBack(key: string): void {
    const left = (this.#taken.get(key) ?? 0) - 1
    if (left > 0) this.#taken.set(key, left)
    else this.#taken.delete(key)
  }
}
