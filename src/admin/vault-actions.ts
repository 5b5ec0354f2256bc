/** What does an owner see of the vault, and how are grants given and taken away? The vault itself is asked, at its owner's door. */
import { printable } from '../answers/printable.ts'
import { isSubject } from '../rules/subject.ts'
import { isServiceName } from '../vault/entry-input.ts'
import type { VaultOverview, VaultOwner } from '../vault/owner-client.ts'
import type { ActionInput, ActionResult, LiveParts } from './action.ts'
import type { Caller } from './caller.ts'
import { memberRefusal, membersOf, ownerRefusal } from './members.ts'

/** An entry as an owner sees it here: never with a credential. */
export interface VaultEntryView {
  readonly service: string
  readonly origin: string
  /** The host of the origin, with its port when it is not the default one. */
  readonly host: string
  readonly methods: readonly string[]
  readonly paths: readonly string[]
  /** The agents that may use it. */
  readonly grants: readonly string[]
  /** Whether it is not in use, because the service has repeated the credential. */
  readonly suspended: boolean
  readonly note: string
}

/** What an agent did with a service last. Times are ISO 8601; null for what has not been. */
export interface VaultAccessView {
  readonly agent: string
  readonly service: string
  readonly uses: number
  readonly refusals: number
  /** `status` is null without an answer; `reason` says how it ended, null while it runs. */
  readonly lastUse: {
    readonly time: string
    readonly method: string
    readonly path: string
    readonly status: number | null
    readonly reason: string | null
  } | null
  readonly lastRefusal: { readonly time: string; readonly reason: string } | null
}

/** The answer to a question for the vault. */
export interface VaultView {
  readonly entries: readonly VaultEntryView[]
  /** Whom a grant can be given. */
  readonly agents: readonly string[]
  /** Since when uses and refusals are counted. */
  readonly since: string
  /** The pair of agent and service with the latest use or refusal first. */
  readonly accesses: readonly VaultAccessView[]
}

/** Lists entries, grants and last accesses. @throws {GatewayError} `vault-unavailable`; `not-found` without a vault */
export async function listVault(parts: LiveParts): Promise<ActionResult> {
  return { answer: viewOf(await vaultOf(parts).look()) }
}

/** Prepares to let an agent use an entry. The vault is asked first, so that a wrong name uses no second factor up. */
export async function grantAgent(
  parts: LiveParts,
  { id, body }: ActionInput,
  { principal }: Caller,
): Promise<() => Promise<ActionResult>> {
  const vault = vaultOf(parts)
  const agent = agentIn(membersOf(body, ['agent']).agent)
  const change = { service: serviceIn(id), agent, by: principal?.subject }
  await vault.tryGrant(change)
  return async () => {
    await vault.grant(change)
    return { answer: { granted: 1 }, changed: [nameOf(change)] }
  }
}

/** Takes a grant away. What the agent has under way with the entry ends. */
export async function revokeAgent(
  parts: LiveParts,
  { id, agent }: ActionInput,
  { principal }: Caller,
): Promise<ActionResult> {
  const vault = vaultOf(parts)
  const change = { service: serviceIn(id), agent: agentIn(agent), by: principal?.subject }
  await vault.revoke(change)
  return { answer: { revoked: 1 }, changed: [nameOf(change)] }
}

/** @throws {GatewayError} `not-found` when GATEWAY_VAULT_SOCKETS is not set */
function vaultOf({ vault }: LiveParts): VaultOwner {
  if (vault === undefined) throw ownerRefusal('not-found', 'no vault here')
  return vault
}

/** The name of an entry. @throws {GatewayError} `not-found` for what cannot be one */
function serviceIn(id: string): string {
  if (isServiceName(id)) return id
  throw ownerRefusal('not-found', 'no such entry')
}

/** The name of an agent, whose form the vault knows. @throws {GatewayError} `bad-request` */
function agentIn(value: unknown): string {
  if (isSubject(value)) return value
  throw memberRefusal('agent', 'the name of an agent')
}

/** The grant in the log. */
function nameOf({ service, agent }: { service: string; agent: string }): string {
  return `${service} ${agent}`
}

function viewOf({ entries, agents, since, accesses }: VaultOverview): VaultView {
  return {
    entries: entries.map(({ service, origin, methods, paths, grants, suspended, note }) => ({
      ...{ service, origin, host: origin.slice(origin.indexOf('://') + 3) },
      ...{ methods, paths, grants, suspended, note: printable(note) },
    })),
    ...{ agents, since },
    accesses: accesses.map(({ last_use: lastUse, last_refusal: lastRefusal, ...pair }) => ({
      ...pair,
      ...{ lastUse, lastRefusal },
    })),
  }
}
