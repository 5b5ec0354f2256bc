/**
 * How many connections may an agent have open, and other workspaces? As many as leave file descriptors for the owner's door and the files
 * of the vault: the owner must be able to revoke a grant while an agent, or another workspace, opens whatever it can.
 */
/** For the files of the vault, Node's own, the sockets that listen, and 32 connections of the owner. */
const RESERVED = 96

/** Connections, and requests, of one agent that may be open at once. */
const MAX_CONNECTIONS = 256

/** Descriptors that one of them may take: its own, that of the connection to the service, and of one that is kept for the next. */
const PER_CONNECTION = 3

/** The loopback port has room for several agents. */
const PORT_FACTOR = 4

/** All other workspaces together have as much room as several agents; each of them has that of one (src/vault/doors/uses.ts). */
const WORKSPACES_FACTOR = 4

/** While the vault is not shared, every request of another workspace is refused at once. These few connections are part of the reserve. */
const UNSHARED_CONNECTIONS = 16

/** With fewer connections, tools that open many at once fail. */
const FEW = 64
const FEWEST = 4

/** How many connections may be open. */
export interface Room {
  /** Connections of one agent at its door, and its requests at all doors. */
  readonly agent: number
  /** Connections at the loopback port. */
  readonly port: number
  /** Connections at the door of other workspaces. */
  readonly workspaces: number
  /** What to do when that is little; undefined when it is not. */
  readonly warning?: string
}

/** Who shares the file descriptors of the process. */
interface Sharers {
  /** The number of agents. */
  readonly agents: number
  readonly hasPort: boolean
  /** Whether other workspaces may use the vault. */
  readonly isShared: boolean
}

/** Divides the file descriptors of the process. @param openFiles how many it may have */
export function roomFor(openFiles: number, { agents, hasPort, isShared }: Sharers): Room {
  const users = agents + (isShared ? WORKSPACES_FACTOR : 0)
  const parts = users * PER_CONNECTION + (hasPort ? PORT_FACTOR : 0)
  const share = Math.floor((openFiles - RESERVED) / Math.max(1, parts))
  const agent = Math.max(FEWEST, Math.min(MAX_CONNECTIONS, share))
  const workspaces = isShared ? agent * WORKSPACES_FACTOR : UNSHARED_CONNECTIONS
  const room = { agent, port: agent * PORT_FACTOR, workspaces }
  if (agent >= FEW) return room
  return {
    ...room,
    warning: `this process may have ${openFiles} files open, so each agent has room for ${agent} connections instead of ${MAX_CONNECTIONS}; raise the limit to ${RESERVED + parts * MAX_CONNECTIONS} with "ulimit -n" (systemd: LimitNOFILE=, Docker: --ulimit nofile=)`,
  }
}
