/** How do simple proxies in Node compare? Two are measured: the fastest possible, and one built as the packages' READMEs show. */
import { join } from 'node:path'
import { freePort, startScript } from '../child.ts'
import { untilReady } from '../ready.ts'
import { peerOf, SMALL, type Peer, type PeerKind, type Surroundings } from './peer.ts'

/** A node:http server that hands each request to undici, checks nothing and logs nothing. */
export const bare: PeerKind = {
  name: 'bare',
  start: (surroundings) => startNode('bare', surroundings),
}

/** Fastify with @fastify/http-proxy, jose and rate-limiter-flexible as their READMEs show. It logs each request. */
export const textbook: PeerKind = {
  name: 'textbook',
  async start(surroundings) {
    const peer = await startNode('textbook', surroundings)
    return { ...peer, limited: async () => ({ ...peer, path: '/limited' }) }
  },
}

/** A node:http server that says the same to everybody: 401, in the words of the gateway. Any refusal in Node costs that much. */
export const refuser: PeerKind = {
  name: 'refuser',
  start: (surroundings) => startNode('refuser', surroundings, 401),
}

async function startNode(
  name: 'bare' | 'textbook' | 'refuser',
  { upstreamPort, folder, side }: Surroundings,
  says = 200,
): Promise<Peer> {
  const target = { port: await freePort(), path: SMALL }
  const startedAt = performance.now()
  const server = startScript(
    new URL(`../servers/${name}.ts`, import.meta.url),
    [String(target.port), String(upstreamPort)],
    { side, output: join(folder, `${name}.log`) },
  )
  const readyMs = await untilReady(target, startedAt, says)
  return peerOf(name, target, readyMs, [server])
}
