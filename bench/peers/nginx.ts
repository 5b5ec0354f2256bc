/** nginx, plain and with auth_request: a configuration file each, filled in with ports. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { findProgram, freePort, start, startScript, stop } from '../child.ts'
import { untilReady } from '../ready.ts'
import { SMALL, type Peer, type PeerKind, type Surroundings } from './peer.ts'

/** nginx with the rules of the gateway and no token check at all. */
export const nginx: PeerKind = {
  name: 'nginx',
  needs: 'nginx',
  start: (surroundings) => startNginx('nginx', surroundings, []),
}

/** The arrangement that the gateway replaces: nginx, and a validator in Node that it asks about every request. */
export const nginxAuth: PeerKind = {
  name: 'nginx-auth',
  needs: 'nginx',
  async start(surroundings) {
    const port = await freePort()
    const script = new URL('../servers/validator.ts', import.meta.url)
    const validator = startScript(script, [String(port)], { side: surroundings.side })
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
  writeFileSync(file, fillIn(name, { PORT: port, UPSTREAM: upstreamPort, ...ports }))
  const program = findProgram('nginx') ?? 'nginx'
  const server = start([program, '-p', folder, '-e', join(folder, 'error.log'), '-c', file], {
    side,
  })
  const target = { port, path: SMALL }
  await untilReady(target)
  const all = [server, ...helpers]
  const processes = all.map(({ pid }) => pid ?? 0)
  return {
    name,
    ...target,
    processes,
    limited: async () => ({ port, path: '/limited', processes }),
    async stop() {
      await Promise.all(all.map(stop))
    },
  }
}

/** A configuration with its `@NAMES@` filled in. */
export function fillIn(name: string, values: Readonly<Record<string, string | number>>): string {
  const template = readFileSync(new URL(`${name}.conf`, import.meta.url), 'utf8')
  return template.replace(/@([A-Z]+)@/g, (_match, key: string) => String(values[key]))
}
