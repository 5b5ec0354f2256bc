/** What is measured, of one peer at a time: a scenario yields a few figures each turn. */
import type { FigureName } from '../figures.ts'
import type { Lab } from '../lab.ts'
import type { Peer, PeerName } from '../peers/peer.ts'

/** The figures of one turn; one that a peer has nothing to say about is left out. */
export type Values = Partial<Record<FigureName, number>>

/** One thing to find out. */
export interface Scenario {
  /** The peers that take turns. */
  readonly peers: readonly PeerName[]
  /** Programs without which it cannot be measured. */
  readonly needs: readonly string[]
  /** Measures one peer once. @param seconds how long its load lasts */
  measure(peer: Peer, lab: Lab, seconds: number): Promise<Values>
  /** Derives figures from all peers of a round, such as what is added to the direct way. */
  conclude?(round: ReadonlyMap<PeerName, Values>): void
}
