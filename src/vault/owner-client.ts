/**
 * How does the gateway ask the vault for its owners? At the owner's door, in GATEWAY_VAULT_SOCKETS, bounded in time and in size. Nobody
 * but an owner of the workspace gets here, because the door does whatever it is asked.
 */
import { VAULT_AWAY_DETAIL, vaultRefusalDetail } from '../answers/details.ts'
import { OwnerDoor } from '../services/owner-door.ts'
import {
  accessesIn,
  agentsIn,
  entriesIn,
  entryIn,
  refusalIn,
  type KnownEntry,
} from './owner-answers.ts'
import { ownerSocket, type AccessesAnswer } from './protocol.ts'

/** How long the vault may take for a whole answer (ms). It is on this machine; a change waits for the disk. */
const ANSWER_MS = 2000

/** The largest answer that is read (bytes): 1,000 entries of 4 KiB. */
const MAX_ANSWER_BYTES = 4 * 1024 * 1024

/** Everything that an owner sees of the vault. */
export interface VaultOverview extends AccessesAnswer {
  readonly entries: readonly KnownEntry[]
  /** The names in VAULT_AGENTS: whom a grant can be given. */
  readonly agents: readonly string[]
}

/** A change of grants. */
export interface GrantChange {
  readonly service: string
  readonly agent: string
  /** The `sub` of the person who makes it, for the vault's audit log; undefined for the machine's owner. */
  readonly by: string | undefined
}

/** The owner's door of the vault. */
export class VaultOwner {
  readonly #door: OwnerDoor
  #looking: Promise<VaultOverview> | undefined

  /**
   * @param sockets GATEWAY_VAULT_SOCKETS
   * @param limitMs how long the vault may take for a whole answer
   */
  constructor(sockets: string, limitMs: number = ANSWER_MS) {
    this.#door = new OwnerDoor({
      ...{ socket: ownerSocket(sockets), limitMs, maxBytes: MAX_ANSWER_BYTES },
      ...{ program: 'vault', unavailable: 'vault-unavailable', awayDetail: VAULT_AWAY_DETAIL },
      ...{ refusalIn, refusalDetail: vaultRefusalDetail },
    })
  }

  /**
   * The entries, agents and last accesses. Who asks while another waits gets the same answer, so that pages that are reloaded while the
   * vault hangs do not fill its door.
   * @throws {GatewayError} `vault-unavailable`
   */
  look(): Promise<VaultOverview> {
    if (this.#looking !== undefined) return this.#looking
    const look = this.#look().finally(() => {
      if (this.#looking === look) this.#looking = undefined
    })
    this.#looking = look
    return look
  }

  /** Whether the vault would give a grant. @throws {GatewayError} as {@link grant} does; nothing is changed in any case */
  async tryGrant({ service, agent }: GrantChange): Promise<void> {
    const body = { agents: [agent], trial: true }
    const entry = await this.#door.ask('POST', `${pathOf(service)}/grant`, entryIn, body)
    this.#checkGrant(entry, agent, true)
  }

  /** @throws {GatewayError} `vault-unavailable`; `bad-request` or `not-found` with the vault's own sentence */
  async grant(change: GrantChange): Promise<void> {
    this.#checkGrant(await this.#change('grant', change), change.agent, true)
  }

  /** Takes a grant away. What the agent has under way ends. @throws {GatewayError} as {@link grant} does */
  async revoke(change: GrantChange): Promise<void> {
    this.#checkGrant(await this.#change('revoke', change), change.agent, false)
  }

  #checkGrant({ grants }: KnownEntry, agent: string, isThere: boolean): void {
    if (grants.includes(agent) !== isThere) throw this.#door.notChanged()
  }

  async #look(): Promise<VaultOverview> {
    const [entries, agents, accesses] = await Promise.all([
      this.#door.ask('GET', '/v1/entries', entriesIn),
      this.#door.ask('GET', '/v1/status', agentsIn),
      this.#door.ask('GET', '/v1/accesses', accessesIn),
    ])
    return { entries, agents, ...accesses }
  }

  async #change(verb: string, { service, agent, by }: GrantChange): Promise<KnownEntry> {
    try {
      const path = `${pathOf(service)}/${verb}`
      return await this.#door.ask('POST', path, entryIn, { agents: [agent], by })
    } finally {
      this.#looking = undefined // what is under way may have been answered before the change
    }
  }
}

/** The path of an entry. No name becomes another path, because the whole segment is encoded. */
function pathOf(service: string): string {
  return `/v1/entries/${encodeURIComponent(service)}`
}
