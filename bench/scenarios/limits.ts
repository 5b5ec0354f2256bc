/**
 * How fast does the limits service decide? Allowed requests of new users, each of which it writes down, and refused ones of one user, which
 * it only reads; one after the other, and with 32 connections at once.
 */
import { runScript } from '../child.ts'
import type { DecisionsJob, DecisionsResult } from '../load/decisions.ts'
import type { Lab } from '../lab.ts'
import type { Peer } from '../peers/peer.ts'
import { cpuMicros } from '../proc.ts'
import { cpuIn, type Scenario, type Values } from './scenario.ts'

const MANY = 32

export const limits: Scenario = {
  peers: ['limits', 'limits-redis'],
  needs: [],
  load: async (peer, lab, seconds) => cpuIn(await measure(peer, lab, seconds)),
  measure,
}

async function measure(peer: Peer, _lab: Lab, seconds: number): Promise<Values> {
  const each = Math.max(1, seconds / 4)
  const run = (users: DecisionsJob['users'], connections: number) =>
    decide(peer, { users, connections, seconds: each })
  const allowed = await run('new', 1)
  const manyAllowed = await run('new', MANY)
  const refused = await run('one', 1)
  const manyRefused = await run('one', MANY)
  return {
    ...{ allow: allowed.rate, 'allow-p50': allowed.p50, 'allow-p99': allowed.p99 },
    ...{ allows: manyAllowed.rate, 'allows-p50': manyAllowed.p50, 'allows-p99': manyAllowed.p99 },
    'allows-cpu': manyAllowed.cpu,
    ...{ refuse: refused.rate, 'refuse-p50': refused.p50, 'refuse-p99': refused.p99 },
    ...{
      refuses: manyRefused.rate,
      'refuses-p50': manyRefused.p50,
      'refuses-p99': manyRefused.p99,
    },
    'refuses-cpu': manyRefused.cpu,
  }
}

async function decide(
  { port, path, processes, headers = {} }: Peer,
  how: Pick<DecisionsJob, 'users' | 'connections' | 'seconds'>,
): Promise<DecisionsResult & { cpu: number }> {
  const before = cpuMicros(processes)
  const job: DecisionsJob = { port, path, headers, ...how }
  const script = new URL('../load/decisions.ts', import.meta.url)
  const result = await runScript<DecisionsResult>(script, job)
  return { ...result, cpu: (cpuMicros(processes) - before) / result.count }
}
