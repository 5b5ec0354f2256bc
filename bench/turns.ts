/** Takes turns: A B C, A B C …, so that what disturbs the machine disturbs everybody. */
import type { FigureName } from './figures.ts'
import type { Lab } from './lab.ts'
import type { PeerName } from './peers/peer.ts'
import type { Scenario, Values } from './scenarios/scenario.ts'
import { isLevel, warmUp } from './warm-up.ts'

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

/** How much is measured. */
export interface Effort {
  /** Rounds that count. */
  readonly rounds: number
  /** How long the load of one turn lasts. */
  readonly seconds: number
  /** How long a peer is loaded before the first round, in seconds at most. */
  readonly warmUpSeconds: number
}

/**
 * Measures the peers in turns, each of them warm. Where a scenario is about processes that just started, one more round
 * comes first and is dropped.
 * @param say hears how each peer became warm
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
      const isFresh = !lab.has(name)
      const peer = await lab.peer(name)
      const costs = await warmUp((slice) => load(peer, lab, slice), warmUpSeconds)
      if (isFresh && scenario.cold !== undefined)
        results.add(name, { [scenario.cold]: costs[0] ?? Number.NaN })
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
