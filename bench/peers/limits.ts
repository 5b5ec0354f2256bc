/** How is the limits service measured? As it is shipped: the bundle, with SQLite in the benchmark's folder, or with a Redis that keeps a log. */
import { randomBytes } from 'node:crypto'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { freePort, pause, start, stop } from '../child.ts'
import { untilReady } from '../ready.ts'
import { gatewayProgram } from './gateway.ts'
import type { Peer, PeerKind, Surroundings } from './peer.ts'

export const limits: PeerKind = {
  name: 'limits',
  start: (surroundings) =>
    startLimits('limits', surroundings, { LIMITS_STATE_DIR: join(surroundings.folder, 'data') }),
}

export const limitsRedis: PeerKind = {
  name: 'limits-redis',
  needs: 'redis-server',
  async start(surroundings) {
    const { folder, side } = surroundings
    const port = await freePort()
    const redis = start(
      [
        ...['redis-server', '--bind', '127.0.0.1', '--port', String(port), '--dir', folder],
        ...['--save', '', '--appendonly', 'yes', '--appendfsync', 'everysec'],
        ...['--maxmemory-policy', 'noeviction', '--pidfile', join(folder, 'redis.pid')],
      ],
      { side },
    )
    while (!existsSync(join(folder, 'redis.pid'))) await pause(10)
    const peer = await startLimits('limits-redis', surroundings, {
      LIMITS_STORE_URL: `redis://127.0.0.1:${port}`,
    })
    return {
      ...peer,
      processes: [...peer.processes, redis.pid ?? 0],
      async stop() {
        await peer.stop()
        await stop(redis)
      },
    }
  },
}

/** The only policy that is asked for. A user has one point, so that the second request of a user is refused. */
const POLICIES = `policies:
  - name: bench
    windows:
      - points: 1
        window: 86400
`

async function startLimits(
  name: 'limits' | 'limits-redis',
  { folder, side }: Surroundings,
  store: Readonly<Record<string, string>>,
): Promise<Peer> {
  const port = await freePort()
  const token = randomBytes(32).toString('base64url')
  const policyFile = join(folder, 'policies.yaml')
  writeFileSync(policyFile, POLICIES)
  const startedAt = performance.now()
  const server = start([process.execPath, gatewayProgram(), 'limits'], {
    side,
    output: join(folder, 'limits.log'),
    env: {
      LIMITS_PORT: String(port),
      LIMITS_TOKEN: token,
      LIMITS_POLICY_FILE: policyFile,
      ...store,
    },
  })
  const readyMs = await untilReady({ port, path: '/healthz' }, startedAt)
  return {
    ...{ name, port, path: '/v1/bench', readyMs },
    processes: [server.pid ?? 0],
    headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' },
    stop: () => stop(server),
  }
}
