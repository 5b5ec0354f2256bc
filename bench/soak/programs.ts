/** Which programs does the soak load? All of a workspace: the gateway, the keeper before a real ttyd, the vault, a relay and the link. */
import { join } from 'node:path'
import { OWNER_PATHS, type LinkStatus } from '../../src/relay/link/owner-protocol.ts'
import { askDoor } from '../../src/services/ask-door.ts'
import { ownerSocket } from '../../src/vault/protocol.ts'
import { freePort, pause, start } from '../child.ts'
import { metricsOf } from '../inside.ts'
import type { Lab } from '../lab.ts'
import { gatewayProgram } from '../peers/gateway.ts'
import type { Peer } from '../peers/peer.ts'
import { sumOf } from '../samples.ts'
import { inspectable, type Inspected } from '../used-memory.ts'
import { WORKSPACE } from '../workspace.ts'
import { inTime } from './activity.ts'
import { terminalsOf } from './owner.ts'

/** A program that is sampled. */
export interface Program extends Inspected {
  readonly name: string
  /** What lives in it. */
  readonly counts: () => Promise<Readonly<Record<string, number>>>
}

/** The programs of a soak. */
export interface Programs {
  readonly gateway: Peer
  readonly stateDir: string
  readonly relay: Peer
  readonly vault: Peer
  readonly vaultSockets: string
  /** The link's owner's door. */
  readonly linkOwner: string
  readonly sampled: readonly Program[]
}

/** Starts them all. */
export async function startPrograms(lab: Lab): Promise<Programs> {
  const ports = {
    gateway: await freePort(),
    vault: await freePort(),
    relay: await freePort(),
    link: await freePort(),
    relayMetrics: await freePort(),
  }
  const linkSocket = join(lab.folder, 'link.sock')
  const linkOwner = join(lab.folder, 'link-owner.sock')
  const relay = await lab.fresh('relay', 'peer', {
    nodeOptions: inspectable(ports.relay),
    env: { RELAY_METRICS_PORT: String(ports.relayMetrics) },
  })
  const gateway = await lab.fresh('kept', 'peer', {
    nodeOptions: inspectable(ports.gateway),
    env: { GATEWAY_LINK_SOCKET: linkSocket, GATEWAY_LINK_OWNER_SOCKET: linkOwner },
  })
  const vault = await lab.fresh('vault', 'peer', { nodeOptions: inspectable(ports.vault) })
  const link = start([process.execPath, ...inspectable(ports.link), gatewayProgram(), 'link'], {
    side: 'peer',
    output: join(lab.folder, 'link.log'),
    env: {
      LINK_RELAY_URL: `ws://127.0.0.1:${relay.port}`,
      LINK_STATE_DIR: join(lab.folder, 'link'),
      LINK_OWNER_SOCKET: linkOwner,
      GATEWAY_LINK_SOCKET: linkSocket,
      GATEWAY_WORKSPACE: WORKSPACE,
    },
  })
  await inTime('a link at the relay', untilConnected(linkOwner))
  const { keeper, files } = gateway
  const vaultSockets = vault.vault?.sockets ?? ''
  if (keeper === undefined || files === undefined) throw new Error('there is no keeper')
  const { stateDir } = files
  const [gatewayPid = 0] = gateway.processes
  return {
    ...{ gateway, stateDir, relay, vault, vaultSockets, linkOwner },
    sampled: [
      {
        ...{ name: 'gateway', pid: gatewayPid, inspectPort: ports.gateway },
        counts: () => countsOfGateway(gateway),
      },
      {
        ...{ name: 'keeper', ...keeper },
        counts: async () => ({ terminals: await terminalsOf(stateDir) }),
      },
      {
        ...{ name: 'vault', pid: vault.processes[0] ?? 0, inspectPort: ports.vault },
        counts: () => countsOfVault(vaultSockets),
      },
      {
        ...{ name: 'relay', pid: relay.processes[0] ?? 0, inspectPort: ports.relay },
        counts: () => countsOfRelay(ports.relayMetrics),
      },
      {
        ...{ name: 'link', pid: link.pid ?? 0, inspectPort: ports.link },
        counts: () => countsOfLink(linkOwner),
      },
    ],
  }
}

async function untilConnected(linkOwner: string): Promise<void> {
  const isConnected = async () => (await statusOf(linkOwner)).isConnected
  while (!(await isConnected().catch(() => false))) await pause(50) // it has not opened its door yet
}

async function countsOfGateway(gateway: Peer) {
  const text = await metricsOf(gateway)
  return {
    browsers: sumOf(text, 'gateway_sessions', 'kind="browser"'),
    sockets: sumOf(text, 'gateway_open_websockets'),
    tokens: sumOf(text, 'gateway_remembered_tokens'),
    limiterKeys: sumOf(text, 'gateway_limiter_keys'),
  }
}

async function countsOfVault(sockets: string) {
  const { leases } = await read<{ leases: unknown[] }>(ownerSocket(sockets), '/v1/leases')
  return { leases: leases.length }
}

async function countsOfRelay(metricsPort: number) {
  const text = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text()
  const places = sumOf(text, 'relay_places')
  return { rooms: sumOf(text, 'relay_rooms'), places, daemons: sumOf(text, 'relay_daemons') }
}

async function countsOfLink(linkOwner: string) {
  const { devices, offers } = await statusOf(linkOwner)
  return { devices, offers }
}

function statusOf(linkOwner: string): Promise<LinkStatus> {
  return read<LinkStatus>(linkOwner, OWNER_PATHS.status)
}

/** Reads something at an owner's door. */
async function read<Answer>(socket: string, path: string): Promise<Answer> {
  const limits = { limitMs: 5000, maxBytes: 2 ** 20 }
  const { status, bytes } = await askDoor(socket, { method: 'GET', path, ...limits })
  if (status !== 200) throw new Error(`${path} answers ${status}: ${bytes.toString('utf8')}`)
  return JSON.parse(bytes.toString('utf8')) as Answer
}
