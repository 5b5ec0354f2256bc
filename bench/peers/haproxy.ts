/** How is HAProxy measured? It verifies the token itself (haproxy.cfg). */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { findProgram, freePort, start } from '../child.ts'
import { untilReady } from '../ready.ts'
import { SECRET, WORKSPACE } from '../workspace.ts'
import { fillIn } from './fill-in.ts'
import { peerOf, SMALL, type PeerKind } from './peer.ts'

export const haproxy: PeerKind = {
  name: 'haproxy',
  needs: 'haproxy',
  async start({ upstreamPort, folder, side }) {
    const target = { port: await freePort(), path: SMALL }
    const file = join(folder, 'haproxy.cfg')
    const values = { PORT: target.port, UPSTREAM: upstreamPort, SECRET, WORKSPACE }
    writeFileSync(file, fillIn('haproxy.cfg', values))
    const startedAt = performance.now()
    const server = start([findProgram('haproxy') ?? 'haproxy', '-db', '-f', file], { side })
    const readyMs = await untilReady(target, startedAt)
    const peer = peerOf('haproxy', target, readyMs, [server])
    return { ...peer, limited: async () => ({ ...peer, path: '/limited' }) }
  },
}
