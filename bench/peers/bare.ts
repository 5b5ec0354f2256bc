/** Node's limit, and what is behind every peer, asked directly. */
import { freePort, startScript, stop } from '../child.ts'
import { untilReady } from '../ready.ts'
import { SMALL, type PeerKind } from './peer.ts'

/** A node:http server that hands each request to undici: what Node can do when nothing is checked. */
export const bare: PeerKind = {
  name: 'bare',
  async start({ upstreamPort, side }) {
    const target = { port: await freePort(), path: SMALL }
    const script = new URL('../servers/bare.ts', import.meta.url)
    const server = startScript(script, [String(target.port), String(upstreamPort)], { side })
    await untilReady(target)
    return {
      name: 'bare',
      ...target,
      processes: [server.pid ?? 0],
      stop: () => stop(server),
    }
  },
}

/** Nothing in between: what a proxy adds is added to this. */
export const direct: PeerKind = {
  name: 'direct',
  async start({ upstreamPort }) {
    return {
      name: 'direct',
      port: upstreamPort,
      path: SMALL,
      processes: [],
      async stop() {},
    }
  },
}
