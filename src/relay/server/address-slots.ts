/** How many connections of one kind may an address have? A fixed number; whoever has as many gets no further one. */

/** The connections of one kind, counted by address. An address without a connection takes no memory. */
export class AddressSlots {
  readonly #limit: number
  readonly #taken = new Map<string, number>()

  /** @param limit connections that one address may have at a time */
  constructor(limit: number) {
    this.#limit = limit
  }

  /**
   * Takes a slot.
   * @param address an IPv4 address or an IPv6 /64
   * @returns gives the slot back, on the first call alone; undefined when the address has none left
   */
  take(address: string): (() => void) | undefined {
    const taken = this.#taken.get(address) ?? 0
    if (taken >= this.#limit) return undefined
    this.#taken.set(address, taken + 1)
    let isTaken = true
    return () => {
      if (!isTaken) return
      isTaken = false
      this.#giveBack(address)
    }
  }

  /** How many addresses have a connection. */
  get size(): number {
    return this.#taken.size
  }

  #giveBack(address: string): void {
    const left = (this.#taken.get(address) ?? 0) - 1
    if (left > 0) this.#taken.set(address, left)
    else this.#taken.delete(address)
  }
}
