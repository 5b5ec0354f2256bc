/** What does a request cost right after a start? The first 3 s of load on a new process, and then its cost once that is level. */
import { warmUp } from '../warm-up.ts'
import { loadProxied } from './proxied.ts'
import type { Scenario } from './scenario.ts'

/** The longest time that a process may take until its cost is level, in seconds. */
const LEVEL_BY_SECONDS = 24

export const cold: Scenario = {
  peers: ['nginx-auth', 'caddy-auth', 'textbook', 'bare', 'gateway'],
  needs: ['wrk'],
  async measure({ name }, lab) {
    const peer = await lab.fresh(name, 'peer')
    try {
      const costs = await warmUp((slice) => loadProxied(peer, lab, slice), LEVEL_BY_SECONDS)
      const [first = Number.NaN] = costs
      return { 'cold-cpu': first, 'cold-times': first / (costs.at(-1) ?? Number.NaN) }
    } finally {
      await peer.stop()
    }
  },
}
