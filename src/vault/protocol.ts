/** How do agents and the owner speak to the vault? HTTP/1.1 and JSON on Unix sockets; here are the paths and the shapes. */
import { join } from 'node:path'

/** The socket of an agent's door. */
export function agentSocket(sockets: string, agent: string): string {
  return join(sockets, agent, 'agent.sock')
}

/**
 * The list of agents and their uids, one `coder:1001` a line. Agents can open it and cannot list the folder. No agent can have its name,
 * because of the dot.
 */
export function agentListOf(sockets: string): string {
  return join(sockets, 'agents.list')
}

/** The socket of the owner's door. */
export function ownerSocket(sockets: string): string {
  return join(sockets, 'owner', 'owner.sock')
}

/** The socket of the door that the gateway has for other workspaces of the owner. */
export function workspacesSocket(sockets: string): string {
  return join(sockets, 'owner', 'workspaces.sock')
}

/**
 * Where an agent asks for a lease, with POST, and gives it back, with DELETE and the lease in `Authorization: Bearer`. POST with
 * the lease there and a {@link RenewRequest} extends it.
 */
export const LEASES_PATH = '/v1/leases'

/** Where a lease is used: `/s/github/repos/…` goes to `/repos/…` of the entry `github`. */
export const SERVICE_PREFIX = '/s/'

/** How long a lease is valid at most, and by default (seconds). */
export const LEASE_SECONDS = 900

/** What an agent asks for. Without `methods` and `paths` it gets those of the entry. */
export interface LeaseRequest {
  readonly service: string
  readonly methods?: readonly string[]
  readonly paths?: readonly string[]
  /** Seconds, at most {@link LEASE_SECONDS}. */
  readonly ttl?: number
}

/**
 * What an agent sends to use its lease for longer (200 and a {@link LeaseAnswer} with the same token). It gets {@link LEASE_SECONDS}
 * from now on, as long as it is granted, and at most {@link LONGEST_SECONDS} since the lease was made.
 */
export interface RenewRequest {
  readonly renew: true
}

/** How long a lease can be renewed, from its beginning (seconds). */
export const LONGEST_SECONDS = 12 * 3600

/** What an agent gets (201). */
export interface LeaseAnswer {
  /** `hvl_` and 32 letters and digits, within the shape that the service's tools insist on. */
  readonly token: string
  /** `http://127.0.0.1:PORT/s/github`; null while VAULT_PORT is not set. */
  readonly base_url: string | null
  /** The origin of the entry. A client that listens itself finds the service's tools by it. */
  readonly origin: string
  /** Of an entry of the kind `workspace`: the service's name in the other workspace, by which a client finds the service's tools. */
  readonly remote?: string
  /** RFC 3339 */
  readonly expires_at: string
  /** The variables that the service's tools read; empty while `base_url` is null. */
  readonly env: Readonly<Record<string, string>>
}

/** An entry as the owner sees it: never with a credential. */
export interface EntryView {
  readonly id: string
  readonly service: string
  readonly kind: string
  /** Of the kind `workspace`: the service's name in the other workspace; null for other kinds. */
  readonly remote: string | null
  readonly origin: string
  /** `authorization: Bearer {}` */
  readonly slot: string
  readonly methods: readonly string[]
  readonly paths: readonly string[]
  readonly headers: readonly string[]
  readonly grants: readonly string[]
  readonly allow_private: boolean
  readonly upgrade: boolean
  readonly decode: boolean
  readonly suspended: boolean
  readonly note: string
  readonly versions: ReadonlyArray<{
    readonly version: number
    readonly created_at: string
    readonly kept_until: string | null
  }>
}

/** What an agent did with a service, as the owner sees it. Times are RFC 3339. */
export interface AccessView {
  readonly agent: string
  readonly service: string
  /** How many requests left for the service. */
  readonly uses: number
  /** How many refusals have a row of their own in the audit log. */
  readonly refusals: number
  /**
   * The path has no query. `status` is null without an answer. `reason` says how it ended, as in the audit log (`done`, `cut`, …); null
   * while it runs, and `unknown` when the vault was stopped meanwhile.
   */
  readonly last_use: {
    readonly time: string
    readonly method: string
    readonly path: string
    readonly status: number | null
    readonly reason: string | null
  } | null
  /** `reason` is the code of the refusal. */
  readonly last_refusal: { readonly time: string; readonly reason: string } | null
}

/** What `GET /v1/accesses` of the owner's door answers: at most 500 pairs of agent and service, the latest first. */
export interface AccessesAnswer {
  /** Since when uses and refusals are counted. */
  readonly since: string
  readonly accesses: readonly AccessView[]
}

/** The audit log in the state folder. */
export function auditPathOf(stateDir: string): string {
  return join(stateDir, 'vault-audit.jsonl')
}

/** The id of a vault whose workspace has no HUB.yaml. */
export const DEFAULT_VAULT_ID = 'workspace'
