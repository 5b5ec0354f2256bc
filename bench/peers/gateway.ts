/** How is the gateway measured? As it is shipped: the bundle, all stages, an access log in a file, behind a trusted proxy. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { freePort, start, stop } from '../child.ts'
import { untilReady } from '../ready.ts'
import { SECRET, WORKSPACE } from '../workspace.ts'
import { SMALL, type Peer, type PeerKind, type Surroundings } from './peer.ts'

/** A rate limit that counts every request and is never reached. */
export const AMPLE = '1000000000'

/** The file of the command that the package installs. */
export function gatewayProgram(): string {
  const root = new URL('../../', import.meta.url)
  const { bin } = JSON.parse(readFileSync(new URL('package.json', root), 'utf8')) as {
    bin: Record<string, string>
  }
  return new URL(bin['workspace-gateway'] ?? '', root).pathname
}

export const gateway: PeerKind = {
  name: 'gateway',
  start: (surroundings) => startGateway(surroundings, { GATEWAY_RATE_LIMIT: AMPLE }),
}

/** Starts a gateway. @param settings the settings that differ from the defaults of the benchmark */
export async function startGateway(
  surroundings: Surroundings,
  settings: Readonly<Record<string, string>>,
): Promise<Peer> {
  const { upstreamPort, folder, side, nodeOptions = [], env } = surroundings
  const target = { port: await freePort(), path: SMALL }
  const upstream = `http://127.0.0.1:${upstreamPort}`
  const stateDir = join(folder, `state-${target.port}`)
  const startedAt = performance.now()
  const log = join(folder, `gateway-${target.port}.log`)
  const server = start([process.execPath, ...nodeOptions, gatewayProgram(), 'serve'], {
    side,
    output: log,
    env: {
      GATEWAY_WORKSPACE: WORKSPACE,
      GATEWAY_JWT_SECRET: SECRET,
      GATEWAY_HOST: '127.0.0.1',
      GATEWAY_PORT: String(target.port),
      GATEWAY_DASHBOARD_URL: upstream,
      GATEWAY_API_URL: upstream,
      GATEWAY_TERMINAL_URL: upstream,
      GATEWAY_HEALTH_URL: upstream,
      GATEWAY_TRUSTED_PROXIES: 'loopback',
      GATEWAY_STATE_DIR: stateDir,
      GATEWAY_DRAIN_SECONDS: '1',
      NODE_COMPILE_CACHE: join(folder, '..', 'compile-cache'), // as in the image; the first gateway that stops fills it for all
      ...settings,
      ...env,
    },
  })
  const readyMs = await untilReady(target, startedAt)
  let strict: Promise<Peer> | undefined
  return {
    name: 'gateway',
    ...target,
    processes: [server.pid ?? 0],
    readyMs,
    files: { stateDir, log },
    limited() {
      // The default limits. The signed-in user has a session limit of its own.
      strict ??= startGateway(surroundings, {
        GATEWAY_PROGRAM_ROUTES: 'dashboard,chat,api',
        GATEWAY_SESSION_RATE_LIMIT: AMPLE,
      })
      return strict
    },
    async stop() {
      await stop(server)
      await (await strict)?.stop()
    },
  }
}
