/**
 * How does the gateway ask the vault for its owners? At the owner's door, in GATEWAY_VAULT_SOCKETS, bounded in time and in size. Nobody
 * but an owner of the workspace gets here, because the door does whatever it is asked.
 */
import { printable } from '../answers/printable.ts'
import { VAULT_AWAY_DETAIL, vaultRefusalDetail } from '../answers/details.ts'
import { GatewayError, noAnswerReason } from '../answers/errors.ts'
import { askDoor } from '../services/ask-door.ts'
import {
  accessesIn,
  agentsIn,
  entriesIn,
  entryIn,
  NotVaultError,
  refusalIn,
  type KnownEntry,
  type VaultRefusal,
} from './owner-answers.ts'
import { ownerSocket, type AccessesAnswer } from './protocol.ts'
import type { VaultErrorCode } from './vault-errors.ts'

/** How long the vault may take for a whole answer (ms). It is on this machine; a change waits for the disk. */
const ANSWER_MS = 2000

/** The largest answer that is read (bytes): 1,000 entries of 4 KiB. */
const MAX_ANSWER_BYTES = 4 * 1024 * 1024

/** A longer sentence of the vault is cut (characters). */
const MAX_SENTENCE_LENGTH = 500

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

/** Which code of ours a refusal of the vault gets; `vault-unavailable` for any other. */
const CODES: Partial<Record<VaultErrorCode, 'bad-request' | 'not-found'>> = {
  'bad-request': 'bad-request',
  'not-found': 'not-found',
  conflict: 'bad-request',
}

/** The owner's door of the vault. */
export class VaultOwner {
  readonly #socket: string
  readonly #limitMs: number
  #looking: Promise<VaultOverview> | undefined

  /**
   * @param sockets GATEWAY_VAULT_SOCKETS
   * @param limitMs how long the vault may take for a whole answer
   */
  constructor(sockets: string, limitMs: number = ANSWER_MS) {
    this.#socket = ownerSocket(sockets)
    this.#limitMs = limitMs
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
    hasGrant(await this.#ask('POST', `${pathOf(service)}/grant`, entryIn, body), agent, true)
  }

  /** @throws {GatewayError} `vault-unavailable`; `bad-request` or `not-found` with the vault's own sentence */
  async grant(change: GrantChange): Promise<void> {
    hasGrant(await this.#change('grant', change), change.agent, true)
  }

  /** Takes a grant away. What the agent has under way ends. @throws {GatewayError} as {@link grant} does */
  async revoke(change: GrantChange): Promise<void> {
    hasGrant(await this.#change('revoke', change), change.agent, false)
  }

  async #look(): Promise<VaultOverview> {
    const [entries, agents, accesses] = await Promise.all([
      this.#ask('GET', '/v1/entries', entriesIn),
      this.#ask('GET', '/v1/status', agentsIn),
      this.#ask('GET', '/v1/accesses', accessesIn),
    ])
    return { entries, agents, ...accesses }
  }

  async #change(verb: string, { service, agent, by }: GrantChange): Promise<KnownEntry> {
    try {
      const path = `${pathOf(service)}/${verb}`
      return await this.#ask('POST', path, entryIn, { agents: [agent], by })
    } finally {
      this.#looking = undefined // what is under way may have been answered before the change
    }
  }

  /** @param read takes the answer of a success to pieces */
  async #ask<Answer>(
    method: 'GET' | 'POST',
    path: string,
    read: (body: unknown) => Answer,
    body?: object,
  ): Promise<Answer> {
    let refusal: VaultRefusal
    try {
      const limits = { limitMs: this.#limitMs, maxBytes: MAX_ANSWER_BYTES }
      const { status, bytes } = await askDoor(this.#socket, { method, path, body, ...limits })
      const json: unknown = jsonIn(bytes)
      if (status === 200) return read(json)
      refusal = refusalIn(json)
    } catch (cause) {
      throw awayError(whyOf(cause), cause)
    }
    throw refusedError(refusal)
  }
}

/** The path of an entry. No name becomes another path, because the whole segment is encoded. */
function pathOf(service: string): string {
  return `/v1/entries/${encodeURIComponent(service)}`
}

/** Fails unless the answer to a change says that it was made: another program may say 200 to anything. */
function hasGrant({ grants }: KnownEntry, agent: string, isThere: boolean): void {
  if (grants.includes(agent) === isThere) return
  const why = 'its answer does not have the change'
  throw awayError(why, new NotVaultError(why))
}

function jsonIn(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8')) as unknown
  } catch {
    throw new NotVaultError('it answered no JSON')
  }
}

function refusedError({ code, detail: sentence }: VaultRefusal): GatewayError {
  const detail = vaultRefusalDetail(printable(sentence.slice(0, MAX_SENTENCE_LENGTH)))
  return new GatewayError(CODES[code] ?? 'vault-unavailable', { reason: `vault: ${code}`, detail })
}

function awayError(why: string, cause: unknown): GatewayError {
  const reason = `vault: ${why}`
  return new GatewayError('vault-unavailable', { reason, detail: VAULT_AWAY_DETAIL, cause })
}

/** Why the vault has not answered, for the log: a code of the system, or one of our fixed texts. */
function whyOf(error: unknown): string {
  return error instanceof NotVaultError ? error.message : noAnswerReason(error)
}
