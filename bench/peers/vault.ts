/** How is the vault measured? As it is shipped: the bundle, with its audit log in the benchmark's folder, through its port. */
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { askDoor } from '../../src/services/ask-door.ts'
import { agentSocket, LEASES_PATH, ownerSocket, SERVICE_PREFIX } from '../../src/vault/protocol.ts'
import { freePort, pause, start, stop } from '../child.ts'
import { gatewayProgram } from './gateway.ts'
import type { Peer, PeerKind, Surroundings } from './peer.ts'

/** The only agent. */
export const AGENT = 'bench'

/** The entry, whose slot the preset knows. */
export const SERVICE = 'github'

/** How long the vault may take until its doors are open (ms). */
const PATIENCE_MS = 15_000

export const vault: PeerKind = { name: 'vault', start: startVault }

async function startVault({
  upstreamPort,
  folder,
  side,
  nodeOptions = [],
  env,
}: Surroundings): Promise<Peer> {
  const port = await freePort()
  const sockets = join(folder, 'sockets')
  const log = join(folder, 'vault.log')
  const startedAt = performance.now()
  const server = start([process.execPath, ...nodeOptions, gatewayProgram(), 'vault'], {
    side,
    output: log,
    env: {
      VAULT_FILE: join(folder, 'data', '.vault.enc'),
      VAULT_STATE_DIR: join(folder, 'data'),
      VAULT_SOCKETS: sockets,
      VAULT_AGENTS: `${AGENT}:4001`,
      VAULT_PORT: String(port),
      VAULT_MASTER_KEY: randomBytes(32).toString('base64'),
      ...env,
    },
  })
  await untilOpen(log)
  const readyMs = performance.now() - startedAt
  await post(ownerSocket(sockets), '/v1/entries', {
    ...{ service: SERVICE, value: `ghp_${randomBytes(18).toString('hex')}` },
    ...{ origin: `http://127.0.0.1:${upstreamPort}`, allow_private: true },
    ...{ methods: ['GET'], paths: ['/'], grants: [AGENT] },
  })
  return {
    ...{ name: 'vault', port, path: `${SERVICE_PREFIX}${SERVICE}/x`, readyMs },
    processes: [server.pid ?? 0],
    vault: {
      ...{ folder, sockets },
      async headers() {
        const { token } = (await post(agentSocket(sockets, AGENT), LEASES_PATH, {
          service: SERVICE,
        })) as { token: string }
        return { Host: `127.0.0.1:${port}`, Authorization: `Bearer ${token}` }
      },
    },
    stop: () => stop(server),
  }
}

/** Waits until the doors are open. @throws {Error} with the vault's log when they are not in time */
async function untilOpen(log: string): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS
  while (!readFileSync(log, 'utf8').includes('keeping the vault')) {
    if (performance.now() > deadline)
      throw new Error(`the vault does not start: ${readFileSync(log, 'utf8')}`)
    await pause(10)
  }
}

/** Asks a door of the vault. @throws {Error} when it refuses */
async function post(socketPath: string, path: string, body: object): Promise<unknown> {
  const limits = { limitMs: PATIENCE_MS, maxBytes: 65_536 }
  const { status, bytes } = await askDoor(socketPath, { method: 'POST', path, body, ...limits })
  if (status >= 300) throw new Error(`${path} answers ${status}: ${bytes.toString('utf8')}`)
  return JSON.parse(bytes.toString('utf8')) as unknown
}
