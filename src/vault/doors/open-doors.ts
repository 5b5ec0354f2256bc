/** Which doors has the vault? The owner's, one for other workspaces, one for each agent, and the loopback port. This file opens them and joins their parts. */
import type { Server } from 'node:http'
import { dirname } from 'node:path'
import type { Logger } from 'pino'
import type { VaultConfig } from '../../config/vault-settings.ts'
import { openFilesLimit } from '../../limits/open-files.ts'
import type { Audit } from '../audit-row.ts'
import { removeAgentList, writeAgentList } from '../agent-list.ts'
import { Denials } from '../denials.ts'
import { LeaseRate } from '../lease-rate.ts'
import { Leases } from '../leases.ts'
import { agentSocket, ownerSocket, workspacesSocket } from '../protocol.ts'
import type { Forwarding } from '../use.ts'
import { makeAgentDoor, type AgentDoorParts } from './agent-door.ts'
import { prepareDoorFolder } from './folders.ts'
import { makeLeaseDoor } from './lease-door.ts'
import { makeOwnerDoor, type OwnerDoorParts } from './owner-door.ts'
import { roomFor } from './room.ts'
import {
  closableServer,
  listenOnPort,
  listenOnSocket,
  type Door,
  type Entries,
  type PresetOf,
} from './server-shared.ts'
import { Uses } from './uses.ts'
import { makeWorkspacesDoor } from './workspaces-door.ts'

/** What the doors of a vault need. */
export interface DoorParts {
  readonly config: Pick<VaultConfig, 'sockets' | 'agents' | 'port'>
  /** Whether HUB.yaml shares the vault with other workspaces of the owner. */
  readonly isShared: boolean
  readonly entries: Entries
  readonly audit: Audit
  readonly forwarding: Forwarding
  /** The counter of refusals. Default: one for the doors alone. */
  readonly denials?: Denials
  readonly logger: Logger
  readonly presetOf: PresetOf
  readonly environmentOf: AgentDoorParts['environmentOf']
  readonly recent: OwnerDoorParts['recent']
  readonly accesses: OwnerDoorParts['accesses']
  readonly backup: OwnerDoorParts['backup']
  readonly status: OwnerDoorParts['status']
  /** How many files the process may have open. Default: what the system says. */
  readonly openFiles?: number
  readonly now?: () => number
}

/** The owner's door, open before the vault's file. Its requests wait for the parts. */
export interface OpenOwnerDoor extends Door {
  readonly ready: (parts: OwnerDoorParts) => void
}

/** All doors of a running vault. */
export interface OpenDoors extends Door {
  readonly leases: Leases
  /** The port for leases; undefined when none is open. */
  readonly port: number | undefined
  /** What is done now and then: forgets old leases, and writes the numbers of refusals. */
  tick(): void
}

/**
 * Opens the owner's door. Of two vaults that start at once, one cannot, so that it never opens the file.
 * @throws {ConfigError} for a folder that others may use; an error with `EADDRINUSE` while another vault runs
 */
export async function openOwnerDoor(sockets: string, logger: Logger): Promise<OpenOwnerDoor> {
  const path = ownerSocket(sockets)
  const mode = prepareDoorFolder(dirname(path))
  const { promise, resolve } = Promise.withResolvers<OwnerDoorParts>()
  const server = makeOwnerDoor(promise, { logger })
  const door = closableServer(server)
  await listenOnSocket(server, { path, mode, logger })
  return { ready: resolve, close: () => door.close() }
}

/**
 * Opens the doors of other workspaces, of the agents and the port, and lets the owner's door answer.
 * @throws as {@link openOwnerDoor}, with nothing left open
 */
export async function openDoors(owner: OpenOwnerDoor, parts: DoorParts): Promise<OpenDoors> {
  const { config, entries, audit, logger, presetOf, isShared, now = Date.now } = parts
  const leases = new Leases({ now, shapeOf: (policy) => presetOf(policy)?.leaseShape ?? 'hvl_{}' })
  entries.onChange((before, after) => leases.follow(before, after))
  const { denials = new Denials({ audit, logger, now }) } = parts
  const leaseRate = new LeaseRate({ now })
  const shared = { entries, leases, denials, logger, presetOf }
  const { openFiles = openFilesLimit() } = parts
  const agentNames = config.agents.map(({ name }) => name)
  const hasPort = config.port !== undefined
  const room = roomFor(openFiles, { agents: agentNames.length, hasPort, isShared })
  if (room.warning !== undefined) logger.warn(room.warning)
  const uses = new Uses({ ...shared, forwarding: parts.forwarding, maxRequests: room.agent })
  const doors: Door[] = [owner]
  const close = async (): Promise<void> => {
    leases.close()
    removeAgentList(config.sockets)
    await Promise.all(doors.map((door) => door.close()))
    denials.settle(true)
  }
  let port: number | undefined
  const listenIn = async (server: Server, path: string): Promise<void> => {
    const mode = prepareDoorFolder(dirname(path))
    doors.push(closableServer(server))
    await listenOnSocket(server, { path, mode, logger })
  }
  try {
    const maxConnections = room.workspaces
    const workspaces = makeWorkspacesDoor({ uses, denials, logger, isShared, maxConnections })
    await listenIn(workspaces, workspacesSocket(config.sockets))
    if (config.port !== undefined) {
      const server = makeLeaseDoor({ uses, denials, logger, maxConnections: room.port })
      doors.push(closableServer(server))
      port = await listenOnPort(server, config.port, logger)
    }
    for (const { name } of config.agents) {
      const { environmentOf } = parts
      const server = makeAgentDoor(name, {
        ...shared,
        audit,
        uses,
        leaseRate,
        maxConnections: room.agent,
        environmentOf,
        port: () => port,
      })
      await listenIn(server, agentSocket(config.sockets, name))
    }
  } catch (error) {
    await close()
    throw error
  }
  writeAgentList(config.sockets, config.agents, logger)
  const { recent, accesses, backup, status } = parts
  owner.ready({
    ...{ entries, leases, logger, presetOf, agents: agentNames, isShared, now },
    ...{ recent, accesses, backup, status },
  })
  return {
    ...{ leases, port, close },
    tick() {
      leases.sweep()
      denials.settle()
    },
  }
}
