/** How is the relay measured? As it is shipped: the bundle, one node, with a proxy before it that names the clients' addresses. */
import { join } from 'node:path'
import { freePort, start, stop } from '../child.ts'
import { untilReady } from '../ready.ts'
import { gatewayProgram } from './gateway.ts'
import type { Peer, PeerKind, Surroundings } from './peer.ts'

export const relay: PeerKind = { name: 'relay', start: startRelayPeer }

async function startRelayPeer({
  folder,
  side,
  nodeOptions = [],
  env,
}: Surroundings): Promise<Peer> {
  const target = { port: await freePort(), path: '/healthz' }
  const startedAt = performance.now()
  const server = start([process.execPath, ...nodeOptions, gatewayProgram(), 'relay'], {
    side,
    output: join(folder, 'relay.log'),
    env: {
      RELAY_HOST: '127.0.0.1',
      RELAY_PORT: String(target.port),
      RELAY_TRUSTED_PROXIES: 'loopback',
      RELAY_DRAIN_SECONDS: '0',
      ...env,
    },
  })
  const readyMs = await untilReady(target, startedAt)
  return {
    ...{ name: 'relay', ...target, readyMs },
    processes: [server.pid ?? 0],
    stop: () => stop(server),
  }
}
