/** How long does a signed-in user wait while ten thousand addresses send requests that are refused, without a pause? */
import { askSteadily } from '../load/paced.ts'
import { address, writeRequests, type ListedRequest } from '../load/request-file.ts'
import { runWrk } from '../load/wrk.ts'
import { pause } from '../child.ts'
import type { Lab } from '../lab.ts'
import { SMALL, type Peer } from '../peers/peer.ts'
import { cpuMicros } from '../proc.ts'
import { mint, visitorHeaders } from '../workspace.ts'
import { cpuIn, type Scenario, type Values } from './scenario.ts'

const ADDRESSES = 10_000

/** The number of connections of the flood. */
const CONNECTIONS = 64

/** The refused requests: without a token, with a forged token (a different one each time), and for a sensitive file. */
function floodOf(path: string): ListedRequest[] {
  return Array.from({ length: ADDRESSES }, (_, i) => {
    const from = { address: address(i) }
    if (i % 3 === 0) return { ...from, path }
    if (i % 3 === 1) return { ...from, path: '/api/.env' }
    return { ...from, path, token: `${mint(`forger-${i}`).slice(0, -8)}AAAAAAAA` }
  })
}

export const flood: Scenario = {
  peers: ['nginx-auth', 'haproxy', 'textbook', 'gateway'],
  needs: ['wrk'],
  load: async (peer, lab, seconds) => cpuIn(await floodPeer(peer, lab, seconds)),
  measure: floodPeer,
}

async function floodPeer(peer: Peer, lab: Lab, seconds: number): Promise<Values> {
  const limited = await peer.limited?.()
  if (limited === undefined) return {}
  const requests = writeRequests(lab.folder, `flood-${peer.name}`, floodOf(limited.path))
  const before = cpuMicros(limited.processes)
  const flooding = runWrk({
    target: limited,
    seconds: seconds + 2,
    connections: CONNECTIONS,
    headers: visitorHeaders(),
    requests,
  })
  await pause(1000) // until the flood has begun
  const { p50, p99 } = await askSteadily({ port: limited.port, path: SMALL }, seconds)
  const { requests: asked, seconds: lasted } = await flooding
  const cpu = (cpuMicros(limited.processes) - before) / asked
  return { 'flood-rate': asked / lasted, 'flood-cpu': cpu, 'flood-p50': p50, 'flood-p99': p99 }
}
