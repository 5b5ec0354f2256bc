/** What is a peer? A program that is measured: it receives the requests and forwards them to the upstream. */
import type { Inspected } from '../used-memory.ts'
import type { ChildProcess } from 'node:child_process'
import { stop, type Side } from '../child.ts'

/** The names of all peers, in the order of the table's columns. */
export const PEERS = {
  direct: 'direct',
  nginx: 'nginx',
  'nginx-auth': 'nginx + auth_request',
  caddy: 'Caddy',
  'caddy-auth': 'Caddy + forward_auth',
  haproxy: 'HAProxy jwt_verify',
  textbook: 'textbook Fastify',
  bare: 'bare node:http + undici',
  refuser: 'node:http that refuses all',
  gateway: 'gateway',
  ttyd: 'gateway, ttyd',
  kept: 'gateway, keeper, ttyd',
  vault: 'vault',
  relay: 'relay',
  limits: 'limits, SQLite',
  'limits-redis': 'limits, Redis',
} as const

export type PeerName = keyof typeof PEERS

/** The target of requests. */
export interface Target {
  readonly port: number
  /** The path of a small response. */
  readonly path: string
  /** The processes of the peer, without their descendants. */
  readonly processes: readonly number[]
}

/** A running peer. */
export interface Peer extends Target {
  readonly name: PeerName
  /** The time from the start of the process to the first 200, in milliseconds. */
  readonly readyMs: number
  /** The target whose rate limit is used up, so that each request gets a 429; undefined for a peer without a limit. */
  limited?(): Promise<Target>
  /** The gateway's state folder, which has the admin socket, and its log. Other peers have none. */
  readonly files?: { readonly stateDir: string; readonly log: string }
  /** The process that keeps terminals, which is one of the peer's. */
  readonly keeper?: Inspected
  /** The vault's folder, with its audit log, its sockets, and the headers of a request, with a new lease. Other peers have none. */
  readonly vault?: {
    readonly folder: string
    readonly sockets: string
    headers(): Promise<Readonly<Record<string, string>>>
  }
  /** What a request of the limits service needs. Other peers have none. */
  readonly headers?: Readonly<Record<string, string>>
  stop(): Promise<void>
}

/** The options for starting a peer. */
export interface Surroundings {
  readonly upstreamPort: number
  /** An empty folder for the peer's files. */
  readonly folder: string
  readonly side: Side
  /** Options of Node, and variables, for the measured program of ours, besides those that it has by itself. */
  readonly nodeOptions?: readonly string[] | undefined
  readonly env?: Readonly<Record<string, string>> | undefined
}

/** How to start a peer. */
export interface PeerKind {
  readonly name: PeerName
  /** The program that must be installed. */
  readonly needs?: string
  start(surroundings: Surroundings): Promise<Peer>
}

/** The path of a small response, for every peer. The gateway strips `/api`, and the upstream ignores the path. */
export const SMALL = '/api/x'

/** A peer that consists of these processes, which end with it. */
export function peerOf(
  name: PeerName,
  target: Pick<Target, 'port' | 'path'>,
  readyMs: number,
  all: readonly ChildProcess[],
): Peer {
  return {
    name,
    ...target,
    processes: all.map(({ pid }) => pid ?? 0),
    readyMs,
    async stop() {
      await Promise.all(all.map(stop))
    },
  }
}
