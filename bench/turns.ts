/** Takes turns: A B C, A B C …, so that what disturbs the machine disturbs everybody, and the first round only warms up. */
import type { FigureName } from './figures.ts'
import type { Lab } from './lab.ts'
import type { PeerName } from './peers/peer.ts'
import type { Scenario, Values } from './scenarios/scenario.ts'

/** What was measured: for each figure and peer a value of each round. */
export class Results {
  readonly #values = new Map<string, number[]>()

  /** The values of a figure, one for each round; none when it was not measured. */
  of(figure: FigureName, peer: PeerName): readonly number[] {
    return this.#values.get(`${figure} ${peer}`) ?? []
  }

  add(peer: PeerName, values: Values): void {
    for (const [figure, value] of Object.entries(values)) {
      const key = `${figure} ${peer}`
      const known = this.#values.get(key)
      if (known === undefined) this.#values.set(key, [value])
      else known.push(value)
    }
  }

  /** As it goes into a file: each figure and peer with the values of its rounds. */
  toJSON(): Record<string, readonly number[]> {
    return Object.fromEntries(this.#values)
  }
}

/** Measures the peers in turns. @param rounds not counting the first, which is dropped */
export async function takeTurns(
  scenario: Scenario,
  peers: readonly PeerName[],
  lab: Lab,
  { rounds, seconds }: { rounds: number; seconds: number },
  results: Results,
): Promise<void> {
  for (let round = 0; round <= rounds; round++) {
    const measured = new Map<PeerName, Values>()
    for (const name of peers)
      measured.set(name, await scenario.measure(await lab.peer(name), lab, seconds))
    scenario.conclude?.(measured)
    if (round > 0) for (const [name, values] of measured) results.add(name, values)
  }
}
