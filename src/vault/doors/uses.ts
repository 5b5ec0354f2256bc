/**
 * May a request use a service? The lease that it carries decides, and the entry as it is now. A request that passes is forwarded;
 * any other is refused before anything is dialled, with the rule and the command that would allow it.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Logger } from 'pino'
import { canonicalPath, splitTarget } from '../../rules/target.ts'
import type { Denials } from '../denials.ts'
import { isServiceName } from '../entry-input.ts'
import { methodRefusal, pathRefusal, type Lease, type Leases } from '../leases.ts'
import { coversPath, pathProblem } from '../path-rule.ts'
import type { Entry } from '../policy.ts'
import { COMMON_PLACES, hasLease, presentedLeases } from '../presented.ts'
import { SERVICE_PREFIX } from '../protocol.ts'
import { refuseOnSocket } from '../refusal.ts'
import type { Forwarding, Use } from '../use.ts'
import { addAnew, VaultError } from '../vault-errors.ts'
import { isWorkspaceGrant, quotedGrant } from '../workspace-grants.ts'
import { askForBody, refusalOf, sendProblem, type Entries, type PresetOf } from './server-shared.ts'
import { StandingLeases } from './standing-leases.ts'

/** What is needed to decide about a request, and to forward it. */
export interface UseParts {
  readonly entries: Pick<Entries, 'find'>
  readonly leases: Leases
  readonly denials: Denials
  readonly forwarding: Forwarding
  readonly logger: Logger
  readonly presetOf: PresetOf
  /** How many requests an agent has open at most. Default: 256. */
  readonly maxRequests?: number
}

/** A decision about a request in the making: what is known of it, for the row of a refusal. */
interface Asked {
  agent: string | undefined
  service?: string
  path?: string
  lease?: string
}

interface Allowed {
  readonly use: Use
  readonly token: string
}

const MAX_REQUESTS = 256

/** What every door with leases shares: one count of the requests of an agent, whichever door they came through. */
export class Uses {
  readonly #parts: UseParts
  readonly #open = new Map<string, number>()
  readonly #standing: StandingLeases

  constructor(parts: UseParts) {
    this.#parts = parts
    this.#standing = new StandingLeases(parts.leases)
  }

  /** Whether a target asks for a service. */
  static isMeant(target: string): boolean {
    return target.startsWith(SERVICE_PREFIX)
  }

  /**
   * Forwards a request, or refuses it. Never rejects.
   * @param agent whose door it came through; undefined for the port, where the lease alone says who it is
   */
  serve(
    agent: string | undefined,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    return this.#serve({ agent }, request, response, (asked) => this.#allow(asked, request))
  }

  /**
   * The same for another workspace, which presents no lease.
   * @param agent the workspace as grants have it: `research/*`
   */
  serveWorkspace(agent: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    return this.#serve({ agent }, request, response, (asked) =>
      this.#allowWorkspace(agent, asked, request),
    )
  }

  async #serve(
    asked: Asked,
    request: IncomingMessage,
    response: ServerResponse,
    allow: (asked: Asked) => Allowed,
  ): Promise<void> {
    let end = (): void => {}
    try {
      const { use, token } = allow(asked)
      end = this.#begin(use.agent, token)
      askForBody(request, response)
      await this.#parts.forwarding.forward(use, request, response)
    } catch (error) {
      sendProblem(request, response, this.#refuse(asked, request, error))
    } finally {
      end()
    }
  }

  /** The same for a handshake. */
  async upgrade(
    agent: string | undefined,
    request: IncomingMessage,
    ...[socket, head]: [socket: Duplex, head: Buffer]
  ): Promise<void> {
    const asked: Asked = { agent }
    let end = (): void => {}
    try {
      const { use, token } = this.#allow(asked, request)
      if (!use.entry.policy.upgrade)
        throw new VaultError(
          'upgrade-not-allowed',
          `the entry "${use.entry.policy.service}" takes no WebSockets; the owner allows them with: ${addAnew(use.entry.policy.service, '--upgrade')}`,
        )
      end = this.#begin(use.agent, token)
      await this.#parts.forwarding.upgrade(use, request, socket, head)
    } catch (error) {
      refuseOnSocket(socket, this.#refuse(asked, request, error))
    } finally {
      end()
    }
  }

  /** The refusal of an error, which is audited. Faults of the vault are logged instead. */
  #refuse(asked: Asked, { method }: IncomingMessage, error: unknown): VaultError {
    const { denials, logger } = this.#parts
    const refusal = refusalOf(error, logger)
    if (refusal.code !== 'internal-error') denials.note({ ...asked, method, reason: refusal.code })
    return refusal
  }

  /** @throws {VaultError} when the request may not be made; `asked` then says what was known of it */
  #allow(asked: Asked, request: IncomingMessage): Allowed {
    const { service, path, query } = readTarget(request.url ?? '')
    Object.assign(asked, { service, path })
    const { token, lease } = this.#leaseOf(asked, request, service)
    asked.lease = lease.shortHash
    if (lease.revoked.aborted)
      throw new VaultError('lease-revoked', `the lease was revoked; ${howToLease(service)}`)
    if (this.#parts.leases.hasExpired(lease))
      throw new VaultError('lease-expired', `the lease has expired; ${howToLease(service)}`)
    const entry = entryForAgent(this.#parts.entries, lease.agent, service)
    if (entry.id !== lease.entryId)
      throw new VaultError('lease-revoked', `the entry was replaced; ${howToLease(service)}`)
    checkScope(lease, entry, request.method ?? '', path)
    return { use: { agent: lease.agent, entry, lease, path, query }, token }
  }

  /** @throws {VaultError} as {@link #allow} does */
  #allowWorkspace(agent: string, asked: Asked, request: IncomingMessage): Allowed {
    const { service, path, query } = readTarget(request.url ?? '')
    Object.assign(asked, { service, path })
    const entry = entryForAgent(this.#parts.entries, agent, service)
    // Two vaults that share with each other would else send a request round and round.
    if (entry.policy.kind === 'workspace') throw sharedOn(service)
    const { token, lease } = this.#standing.of(agent, entry)
    asked.lease = lease.shortHash
    checkScope(lease, entry, request.method ?? '', path)
    return { use: { agent, entry, lease, path, query }, token }
  }

  /** The one lease of a request, which must belong to the door and to the service. The same words for every lease that does not. */
  #leaseOf(
    asked: Asked,
    { rawHeaders }: IncomingMessage,
    service: string,
  ): { token: string; lease: Lease } {
    const { leases, entries, presetOf } = this.#parts
    const named = presetOf({ service, origin: '' })?.presents ?? []
    const tokens = new Set(presentedLeases(rawHeaders, [...COMMON_PLACES, ...named]))
    const policy = entries.find(service)?.policy
    const own =
      policy === undefined ? [] : [policy.slot.header, ...(presetOf(policy)?.presents ?? [])]
    // The entry's own headers count for its leases only: an agent without one must not learn which they are.
    for (const token of presentedLeases(rawHeaders, own))
      if (leases.find(token)?.service === service) tokens.add(token)
    const [token, ...more] = tokens
    if (token === undefined)
      throw new VaultError(
        'lease-missing',
        `send a lease where the service’s tools send their key; ${howToLease(service)}`,
      )
    if (more.length > 0)
      throw new VaultError('bad-request', 'the request carries two different leases; send one')
    const lease = leases.find(token)
    const isOthers = asked.agent !== undefined && lease?.agent !== asked.agent
    if (lease === undefined || isOthers || lease.service !== service)
      throw new VaultError(
        'lease-invalid',
        `the lease is not one of this agent for this service; ${howToLease(service)}`,
      )
    asked.agent = lease.agent
    return { token, lease }
  }

  /** Counts a request that begins. @returns ends it @throws {VaultError} `too-many-requests` */
  #begin(agent: string, token: string): () => void {
    const { leases, maxRequests = MAX_REQUESTS } = this.#parts
    const open = this.#open.get(agent) ?? 0
    if (open >= maxRequests)
      throw new VaultError(
        'too-many-requests',
        `agent "${agent}" has ${maxRequests} requests open, which is the limit; wait until some are over`,
      )
    this.#open.set(agent, open + 1)
    const endUse = leases.begin(token)
    return () => {
      endUse()
      const left = (this.#open.get(agent) ?? 1) - 1
      if (left === 0) this.#open.delete(agent)
      else this.#open.set(agent, left)
    }
  }
}

/**
 * The entry of a service, if the agent may use it.
 * @throws {VaultError} `not-granted` in the same words whether the entry exists or not; `suspended`
 */
export function entryForAgent(
  entries: Pick<Entries, 'find'>,
  agent: string,
  service: string,
): Entry {
  const entry = entries.find(service)
  if (entry === undefined || !entry.policy.grants.includes(agent))
    throw new VaultError(
      'not-granted',
      `${isWorkspaceGrant(agent) ? 'workspace' : 'agent'} "${agent}" has no grant for "${service}"; the owner allows it with: workspace-gateway vault grant ${service} ${quotedGrant(agent)}`,
    )
  if (entry.policy.suspended)
    throw new VaultError(
      'suspended',
      `the entry "${service}" is suspended, because its service has repeated the credential; the owner ends this with: workspace-gateway vault rotate ${service}, or vault resume ${service}`,
    )
  return entry
}

/** The refusal of an entry that is itself another workspace's. */
function sharedOn(service: string): VaultError {
  return new VaultError(
    'not-granted',
    `the entry "${service}" is of the kind workspace, and what one workspace shares is not shared on; ask the workspace that has the credential`,
  )
}

function howToLease(service: string): string {
  return `get one with: workspace-gateway vault lease ${service}`
}

/** `/s/github/repos/x?page=2` in its parts. @throws {VaultError} `bad-target`, `not-found`, `bad-request` */
function readTarget(target: string): { service: string; path: string; query: string } {
  const parts = splitTarget(target)
  if ('reason' in parts) throw badTarget(parts.reason)
  const { query } = parts
  const [, service = '', below = ''] = /^\/s\/([^/]*)(.*)$/.exec(parts.path) ?? []
  if (!isServiceName(service))
    throw new VaultError('not-found', 'a service is used at /s/SERVICE/…, as in the base_url')
  const canonical = canonicalPath(parts.path, SERVICE_PREFIX + service)
  if ('reason' in canonical) throw badTarget(canonical.reason)
  const path = below === '' ? '/' : below
  const problem = pathProblem(path)
  if (problem !== undefined) throw badTarget(problem)
  if (hasLease(target))
    throw new VaultError(
      'bad-request',
      'a lease stands in the address, which is logged on its way; send it in a header',
    )
  return { service, path, query }
}

function badTarget(reason: string): VaultError {
  return new VaultError('bad-target', `the target ${reason}`)
}

/** Whether the lease covers the request, and the entry too. @throws {VaultError} `method-not-allowed`, `path-not-allowed` */
function checkScope(lease: Lease, { policy }: Entry, method: string, path: string): void {
  const { service } = policy
  if (!policy.methods.includes(method)) throw methodRefusal(service, method, policy)
  if (!policy.paths.some((prefix) => coversPath(prefix, path)))
    throw pathRefusal(service, path, policy)
  if (!lease.methods.includes(method))
    throw new VaultError(
      'method-not-allowed',
      `the lease covers ${lease.methods.join(', ')}; get one for this with: workspace-gateway vault lease ${service} --methods ${method}`,
    )
  if (!lease.paths.some((prefix) => coversPath(prefix, path)))
    throw new VaultError(
      'path-not-allowed',
      `the lease covers paths that begin with ${lease.paths.join(', ')}; get a wider one with: workspace-gateway vault lease ${service}`,
    )
}
