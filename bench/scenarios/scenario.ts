/** What is a scenario? A measurement of one peer at a time that yields a few figures in each turn. */
import type { FigureName } from '../figures.ts'
import type { Lab } from '../lab.ts'
import type { Peer, PeerName } from '../peers/peer.ts'

/** The figures of one turn, without those that the peer does not have. */
export type Values = Partial<Record<FigureName, number>>

/** The sum of the figures of processor time in a turn. It falls while the peer warms up. */
export function cpuIn(values: Values): number {
  return Object.entries(values).reduce(
    (sum, [figure, value]) => sum + (figure.endsWith('cpu') ? value : 0),
    0,
  )
}

/** A scenario. */
export interface Scenario {
  /** The peers that are measured. */
  readonly peers: readonly PeerName[]
  /** The programs that must be installed. */
  readonly needs: readonly string[]
  /** Measures one peer once. @param seconds the duration of the load */
  measure(peer: Peer, lab: Lab, seconds: number): Promise<Values>
  /**
   * Loads a peer for a number of seconds in the way in which it will be measured, and returns the cost of a unit of load, 0 for a
   * peer without processes of its own. This warms a peer up until its cost is level. A scenario that starts its peers itself
   * has no such function.
   */
  readonly load?: (peer: Peer, lab: Lab, seconds: number) => Promise<number>
  /** Derives figures from all peers of a round, such as the time that a peer adds to a direct request. */
  conclude?(round: ReadonlyMap<PeerName, Values>): void
}
