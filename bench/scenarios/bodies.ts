/** How fast does a large body pass, and how much memory does it take? 100 MB are sent down and up, on one connection each. */
import { runScript } from '../child.ts'
import type { BodyJob } from '../load/body.ts'
import type { Peer } from '../peers/peer.ts'
import { cpuMicros, peakBytes, residentBytes, resetPeak } from '../proc.ts'
import { visitorHeaders } from '../workspace.ts'
import { cpuIn, type Scenario, type Values } from './scenario.ts'

const MEGABYTES = 100

/** The transfers in a turn. One alone takes fewer than ten ticks of the clock in /proc, so its CPU time would be inexact. */
const TIMES = 3

/** The result of the transfers of a turn. */
interface Moved {
  /** The rate in megabytes a second. */
  readonly rate: number
  /** The processor time for 100 MB, in milliseconds. */
  readonly cpu: number
  /** The highest memory minus the memory before, in MiB. */
  readonly growth: number
}

export const bodies: Scenario = {
  peers: ['direct', 'nginx', 'nginx-auth', 'haproxy', 'textbook', 'bare', 'gateway'],
  needs: [],
  load: async (peer) => cpuIn(await moveBoth(peer)),
  measure: moveBoth,
}

async function moveBoth(peer: Peer): Promise<Values> {
  const down = await move(peer, 'download')
  const up = await move(peer, 'upload')
  const own = (name: 'down' | 'up', { rate, cpu, growth }: Moved) => ({
    [`${name}-rate`]: rate,
    ...(peer.name === 'direct' ? {} : { [`${name}-cpu`]: cpu, [`${name}-growth`]: growth }),
  })
  return { ...own('down', down), ...own('up', up) }
}

async function move({ port, processes }: Peer, direction: BodyJob['direction']): Promise<Moved> {
  const job: BodyJob = {
    port,
    direction,
    path: direction === 'download' ? '/api/big' : '/api/upload',
    headers: visitorHeaders(),
    bytes: MEGABYTES * 1e6,
  }
  const memory = residentBytes(processes)
  const cpu = cpuMicros(processes)
  resetPeak(processes)
  let total = 0
  for (let i = 0; i < TIMES; i++) {
    const script = new URL('../load/body.ts', import.meta.url)
    const { seconds } = await runScript<{ seconds: number }>(script, job)
    total += seconds
  }
  return {
    rate: (TIMES * MEGABYTES) / total,
    cpu: (cpuMicros(processes) - cpu) / 1000 / TIMES,
    growth: (peakBytes(processes) - memory) / 2 ** 20,
  }
}
