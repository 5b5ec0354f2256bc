/** What is measured, of one peer at a time: a scenario yields a few figures each turn. */
import type { FigureName } from '../figures.ts'
import type { Lab } from '../lab.ts'
import type { Peer, PeerName } from '../peers/peer.ts'

/** The figures of one turn; one that a peer has nothing to say about is left out. */
export type Values = Partial<Record<FigureName, number>>

/** All processor time among the figures of a turn: falls as long as the peer is still warming up. */
export function cpuIn(values: Values): number {
  return Object.entries(values).reduce(
    (sum, [figure, value]) => sum + (figure.endsWith('cpu') ? value : 0),
    0,
  )
}

/** One thing to find out. */
export interface Scenario {
  /** The peers that take turns. */
  readonly peers: readonly PeerName[]
  /** Programs without which it cannot be measured. */
  readonly needs: readonly string[]
  /** Measures one peer once. @param seconds how long its load lasts */
  measure(peer: Peer, lab: Lab, seconds: number): Promise<Values>
  /**
   * Loads a peer as it will be measured, for so many seconds, and tells what a unit of that cost it, 0 when it has no
   * processes of its own. Each peer is loaded like this until the cost is level. Not given by a scenario that starts its
   * peers itself.
   */
  readonly load?: (peer: Peer, lab: Lab, seconds: number) => Promise<number>
  /** Where the cost of the first seconds of that load is shown, of a peer that had just been started. */
  readonly cold?: FigureName
  /** Derives figures from all peers of a round, such as what is added to the direct way. */
  conclude?(round: ReadonlyMap<PeerName, Values>): void
}
