/** In which order are peers measured? In turns, A B C, A B C …, so that a disturbance of the machine affects all of them. */
import type { FigureName } from './figures.ts'
import type { Lab } from './lab.ts'
import type { PeerName } from './peers/peer.ts'
import type { Scenario, Values } from './scenarios/scenario.ts'
import { isLevel, warmUp } from './warm-up.ts'

/** The results: one value per round for each figure and peer. */
export class Results {
  readonly #values = new Map<string, number[]>()

  /** The values of a figure, one per round; empty when it was not measured. */
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

  /** The results for the JSON file: each figure and peer with its values. */
  toJSON(): Record<string, readonly number[]> {
    return Object.fromEntries(this.#values)
  }
}

/** The amount of measuring. */
export interface Effort {
  /** The number of rounds that count. */
  readonly rounds: number
  /** The duration of the load of one turn, in seconds. */
  readonly seconds: number
  /** The maximum warm-up of a peer before the first round, in seconds. */
  readonly warmUpSeconds: number
}

/**
 * Measures warm peers in turns. A scenario about processes that just started gets one extra first round, which is dropped.
 * @param say called with a text about each peer's warm-up
 */
export async function takeTurns(
  scenario: Scenario,
  peers: readonly PeerName[],
  lab: Lab,
  { rounds, seconds, warmUpSeconds }: Effort,
  results: Results,
  say: (text: string) => void,
): Promise<void> {
  const { load } = scenario
  if (load !== undefined)
    for (const name of peers) {
      const peer = await lab.peer(name)
      const costs = await warmUp((slice) => load(peer, lab, slice), warmUpSeconds)
      const course = costs.map((cost) => cost.toFixed(1)).join(', ')
      say(`  ${name} warmed up: ${course}${isLevel(costs) ? '' : ', not level yet'}`)
    }
  for (let round = load === undefined ? 0 : 1; round <= rounds; round++) {
    const measured = new Map<PeerName, Values>()
    for (const name of peers)
      measured.set(name, await scenario.measure(await lab.peer(name), lab, seconds))
    scenario.conclude?.(measured)
    if (round > 0) for (const [name, values] of measured) results.add(name, values)
  }
}
