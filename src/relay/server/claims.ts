/** Which node of the relay has a place? With one node it is this one; many nodes ask the store that they share. */

/** Where a place is, when another node has it. */
export interface OtherNode {
  /** Where clients reach that node: `wss://host[:port]`. */
  readonly url: string
  /** The machine on Fly.io on which it runs; undefined elsewhere. */
  readonly machine: string | undefined
}

/** The store that says which node has a place cannot be asked. */
export class StoreAwayError extends Error {}

/** The places of this node. They are named by their ids in base64url. */
export interface Claims {
  /**
   * Claims places for this node. A place of another node is taken over, but not twice within a minute.
   * @param places whose keys were shown to this node
   * @returns those that it has now; the others belong to other nodes, or the store is away
   */
  claim(places: readonly string[]): Promise<ReadonlySet<string>>
  /** Gives places up. */
  release(places: readonly string[]): void
  /** Whether this node may serve a place that it has claimed: another one cannot have it yet. */
  holds(place: string): boolean
  /** Which other node has a place; undefined when none has. @throws {StoreAwayError} */
  ownerOf(place: string): Promise<OtherNode | undefined>
  /** Whether the store did not answer when it was last asked. */
  readonly isStoreAway: boolean
  /**
   * Says whom to tell that places were lost. Nobody is told of what was given up.
   * @param listener gets the places, and whether rooms must end too because their sides may be at another node by now
   */
  onLost(listener: (places: readonly string[], endsRooms: boolean) => void): void
  /** Gives everything up. */
  close(): Promise<void>
}

/** The claims of the only node. */
export const ONLY_NODE: Claims = {
  claim: async (places) => new Set(places),
  release() {},
  holds: () => true,
  ownerOf: async () => undefined,
  isStoreAway: false,
  onLost() {},
  async close() {},
}
