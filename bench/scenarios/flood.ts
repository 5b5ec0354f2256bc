/** Does a signed-in user notice that others are refused, as fast as they can ask, from ten thousand addresses? */
import { askSteadily } from '../load/paced.ts'
import { address, writeRequests, type ListedRequest } from '../load/request-file.ts'
import { runWrk } from '../load/wrk.ts'
import { pause } from '../child.ts'
import { SMALL } from '../peers/peer.ts'
import { mint, visitorHeaders } from '../workspace.ts'
import type { Scenario } from './scenario.ts'

const ADDRESSES = 10_000

/** Connections that the flood comes over. */
const CONNECTIONS = 64

/** Without a token, with a forged one (each another), for a secret file. */
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
  async measure(peer, lab, seconds) {
    const limited = await peer.limited?.()
    if (limited === undefined) return {}
    const requests = writeRequests(lab.folder, `flood-${peer.name}`, floodOf(limited.path))
    const flooding = runWrk({
      target: limited,
      seconds: seconds + 2,
      connections: CONNECTIONS,
      headers: visitorHeaders(),
      requests,
    })
    await pause(1000) // until the flood is there
    const { p50, p99 } = await askSteadily({ port: limited.port, path: SMALL }, seconds)
    const { requests: asked, seconds: lasted } = await flooding
    return { 'flood-rate': asked / lasted, 'flood-p50': p50, 'flood-p99': p99 }
  },
}
