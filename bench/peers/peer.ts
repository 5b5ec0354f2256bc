/** What is measured: anything that stands in front of the upstream and is asked by visitors. */
import type { Side } from '../child.ts'

/** In the order of the table's columns. */
export const PEERS = {
  direct: 'direct',
  nginx: 'nginx',
  'nginx-auth': 'nginx + auth_request',
  haproxy: 'HAProxy jwt_verify',
  textbook: 'textbook Fastify',
  bare: 'bare node:http + undici',
  gateway: 'gateway',
} as const

export type PeerName = keyof typeof PEERS

/** Where requests go. */
export interface Target {
  readonly port: number
  /** The path of a small answer. */
  readonly path: string
  /** The processes that take part, without what they started themselves. */
  readonly processes: readonly number[]
}

/** A peer that runs. */
export interface Peer extends Target {
  readonly name: PeerName
  /** From the start of its process to the first 200, in milliseconds. */
  readonly readyMs: number
  /** Where each request is one too many; undefined for a peer that refuses nothing. */
  limited?(): Promise<Target>
  /** What only the gateway has: its state folder, where the admin socket is, and its log. */
  readonly files?: { readonly stateDir: string; readonly log: string }
  stop(): Promise<void>
}

/** What a peer is started with. */
export interface Surroundings {
  readonly upstreamPort: number
  /** A folder for its files, empty and its own. */
  readonly folder: string
  readonly side: Side
}

/** A way to start a peer. */
export interface PeerKind {
  readonly name: PeerName
  /** The program that must be installed for it. */
  readonly needs?: string
  start(surroundings: Surroundings): Promise<Peer>
}

/** The path of a small answer at every peer; the gateway takes `/api` off, and the upstream does not mind. */
export const SMALL = '/api/x'
