/** How is Caddy measured? Once without a token check and once with forward_auth, each with its own Caddyfile. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { findProgram, freePort, start } from '../child.ts'
import { untilReady } from '../ready.ts'
import { fillIn } from './fill-in.ts'
import { startValidator } from './validator.ts'
import { peerOf, SMALL, type Peer, type PeerKind, type Surroundings } from './peer.ts'

/** Caddy with the gateway's rules but without a token check. */
export const caddy: PeerKind = {
  name: 'caddy',
  needs: 'caddy',
  start: (surroundings) => startCaddy('caddy', 'Caddyfile', surroundings, []),
}

/** Caddy as it is told to authenticate: it asks a validator in Node about every request. */
export const caddyAuth: PeerKind = {
  name: 'caddy-auth',
  needs: 'caddy',
  async start(surroundings) {
    const { port, validator } = await startValidator(surroundings.side)
    const ports = { VALIDATOR: port }
    return startCaddy('caddy-auth', 'Caddyfile-auth', surroundings, [validator], ports)
  },
}

async function startCaddy(
  name: 'caddy' | 'caddy-auth',
  template: string,
  { upstreamPort, folder, side }: Surroundings,
  helpers: ReadonlyArray<ReturnType<typeof start>>,
  ports: Readonly<Record<string, number>> = {},
): Promise<Peer> {
  const port = await freePort()
  const file = join(folder, 'Caddyfile')
  const values = { PORT: port, UPSTREAM: upstreamPort, FOLDER: folder, ...ports }
  writeFileSync(file, fillIn(template, values))
  const program = findProgram('caddy') ?? 'caddy'
  const startedAt = performance.now()
  const server = start([program, 'run', '--config', file, '--adapter', 'caddyfile'], {
    side,
    env: { HOME: folder },
    output: join(folder, 'caddy.out'),
    isChatty: true, // also when all is well
  })
  const target = { port, path: SMALL }
  const readyMs = await untilReady(target, startedAt)
  return peerOf(name, target, readyMs, [server, ...helpers])
}
