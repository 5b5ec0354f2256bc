/** How fast does a keystroke's echo return, and how fast does endless output pass, on the terminal's route? */
import { runScript } from '../child.ts'
import type { BulkJob } from '../load/bulk.ts'
import type { EchoJob } from '../load/echo.ts'
import type { Lab } from '../lab.ts'
import type { Peer } from '../peers/peer.ts'
import { cpuMicros } from '../proc.ts'
import { visitorHeaders } from '../workspace.ts'
import { cpuIn, type Scenario, type Values } from './scenario.ts'

const PATH = '/terminal/ws'

export const websockets: Scenario = {
  peers: ['direct', 'nginx', 'nginx-auth', 'haproxy', 'textbook', 'bare', 'gateway'],
  needs: [],
  load: async (peer, lab, seconds) => cpuIn(await typeAndPour(peer, lab, seconds)),
  measure: typeAndPour,
  conclude(round) {
    const direct = round.get('direct')
    if (direct === undefined) return
    for (const [name, values] of round)
      if (name !== 'direct') values['echo-added'] = (values.echo ?? 0) - (direct.echo ?? 0)
  },
}

async function typeAndPour(
  { name, port, processes }: Peer,
  _lab: Lab,
  seconds: number,
): Promise<Values> {
  const shorter = Math.max(1, Math.floor(seconds / 2))
  const common = { port, headers: visitorHeaders(), seconds: shorter }
  const echoJob: EchoJob = { ...common, path: PATH }
  const echo = await runScript<{ p50: number }>(
    new URL('../load/echo.ts', import.meta.url),
    echoJob,
  )
  const before = cpuMicros(processes)
  const bulkJob: BulkJob = { ...common, path: `${PATH}?bulk` }
  const bulk = await runScript<{ rate: number }>(
    new URL('../load/bulk.ts', import.meta.url),
    bulkJob,
  )
  const cpu = (cpuMicros(processes) - before) / 1000
  return {
    echo: echo.p50,
    'bulk-rate': bulk.rate,
    ...(name === 'direct' ? {} : { 'bulk-cpu': (cpu * 100) / (bulk.rate * shorter) }),
  }
}
