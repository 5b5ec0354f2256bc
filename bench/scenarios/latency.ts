/** How long does a request take at a modest rate, and how much of that does the peer add? */
import { askSteadily } from '../load/paced.ts'
import { loadProxied } from './proxied.ts'
import type { Scenario } from './scenario.ts'

export const latency: Scenario = {
  peers: ['direct', 'nginx', 'nginx-auth', 'haproxy', 'textbook', 'bare', 'gateway'],
  needs: ['wrk'],
  load: loadProxied, // at the modest rate, the warm-up would take hours
  async measure(peer, _lab, seconds) {
    const { p50, p99 } = await askSteadily(peer, seconds)
    return { p50, p99 }
  },
  conclude(round) {
    const direct = round.get('direct')
    if (direct === undefined) return
    for (const [name, values] of round) {
      if (name === 'direct') continue
      values['p50-added'] = (values.p50 ?? 0) - (direct.p50 ?? 0)
      values['p99-added'] = (values.p99 ?? 0) - (direct.p99 ?? 0)
    }
  },
}
