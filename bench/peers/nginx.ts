/** How is nginx measured? Once without a token check and once with auth_request, each with its own configuration file. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { findProgram, freePort, start } from '../child.ts'
import { untilReady } from '../ready.ts'
import { fillIn } from './fill-in.ts'
import { peerOf, SMALL, type Peer, type PeerKind, type Surroundings } from './peer.ts'
import { startValidator } from './validator.ts'

/** nginx with the gateway's rules but without a token check. */
export const nginx: PeerKind = {
  name: 'nginx',
  needs: 'nginx',
  start: (surroundings) => startNginx('nginx', surroundings, []),
}

/** The setup that the gateway replaces: nginx, and a validator in Node that verifies the token of every request. */
export const nginxAuth: PeerKind = {
  name: 'nginx-auth',
  needs: 'nginx',
  async start(surroundings) {
    const { port, validator } = await startValidator(surroundings.side)
    return startNginx('nginx-auth', surroundings, [validator], { VALIDATOR: port })
  },
}

async function startNginx(
  name: 'nginx' | 'nginx-auth',
  { upstreamPort, folder, side }: Surroundings,
  helpers: ReadonlyArray<ReturnType<typeof start>>,
  ports: Readonly<Record<string, number>> = {},
): Promise<Peer> {
  const port = await freePort()
  const file = join(folder, `${name}.conf`)
  writeFileSync(file, fillIn(`${name}.conf`, { PORT: port, UPSTREAM: upstreamPort, ...ports }))
  const program = findProgram('nginx') ?? 'nginx'
  const startedAt = performance.now()
  const server = start([program, '-p', folder, '-e', join(folder, 'error.log'), '-c', file], {
    side,
  })
  const target = { port, path: SMALL }
  const readyMs = await untilReady(target, startedAt)
  const peer = peerOf(name, target, readyMs, [server, ...helpers])
  return { ...peer, limited: async () => ({ ...peer, path: '/limited' }) }
}
