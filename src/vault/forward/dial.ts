/**
 * How is a service dialled? Its name is resolved once for each connection, every address is checked, and only those addresses are
 * dialled: a name that resolves to something else a moment later (DNS rebinding) leads nowhere.
 */
import { lookup as lookupName } from 'node:dns/promises'
import { Agent as HttpAgent } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import { isIP, type LookupFunction } from 'node:net'
import type { Duplex } from 'node:stream'
import { createSecureContext, rootCertificates, type SecureContext } from 'node:tls'
import type { Policy } from '../policy.ts'
import type { Use } from '../use.ts'
import { addAnew, VaultError } from '../vault-errors.ts'
import { mayDial } from './addresses.ts'

/** Resolves a name to addresses. */
export type Lookup = (hostname: string) => Promise<readonly string[]>

/** An idle connection is kept for this long, in milliseconds: less than the 5 s after which many servers close theirs. */
const IDLE_CONNECTION_MS = 4000

const IDLE_CONNECTIONS = 8

/** A connection is used for this long (ms), so that the name of a busy service is resolved and checked again. */
const LONGEST_CONNECTION_MS = 300_000

/** A request that must not be sent twice takes no connection that has been idle for longer (ms): the service may be closing it. */
const FRESH_MS = 1000

/**
 * Idle connections that are kept for one agent, whatever the number of its entries: src/vault/doors/room.ts counts on no more than one
 * for each of the agent's own connections, which are 64 or more unless few files may be open.
 */
const MAX_IDLE = 64

/** The connections of so many pairs of entry and agent are kept. */
const MAX_ROUTES = 256

/** Where a service is, and the connections to it. */
export interface Route {
  readonly isHttps: boolean
  /** Without the brackets of an IPv6 address. */
  readonly host: string
  readonly port: number
  readonly agent: HttpAgent
}

/** A route, and whose it is. */
interface Known {
  readonly agent: string
  readonly entryId: string
  readonly key: string
  readonly route: Route
}

/**
 * The connections to services. Each entry has its own, and of these each agent: a service that takes a body for a second request
 * answers it on the same connection, and another agent would read that answer as its own.
 */
export class Dialler {
  readonly #lookup: Lookup
  readonly #secureContext: SecureContext
  readonly #stopwatch: () => number
  /** By the connection: when it was first kept, and when it was kept last. */
  readonly #kept = new WeakMap<Duplex, { readonly since: number; readonly last: number }>()
  /** By the agent and the id of the entry, those used longest ago first. */
  readonly #routes = new Map<string, Known>()
  /** Those whose connections are kept no longer. */
  readonly #retired = new WeakSet<HttpAgent>()

  /**
   * @param extraCa certificates (PEM) that are trusted besides those that Node has
   * @param stopwatch a clock that is never set (ms). Default: the time since the start of the process
   */
  constructor(options: {
    readonly extraCa?: string | undefined
    readonly lookup?: Lookup | undefined
    readonly stopwatch?: (() => number) | undefined
  }) {
    this.#stopwatch = options.stopwatch ?? (() => performance.now())
    this.#lookup = options.lookup ?? resolveName
    const { extraCa } = options
    // Made once: to read all certificates takes long. An undefined `ca` means those that Node has.
    this.#secureContext = createSecureContext({
      minVersion: 'TLSv1.2',
      ca: extraCa === undefined ? undefined : [...rootCertificates, extraCa],
    })
  }

  /** @throws {VaultError} `address-not-allowed` when the origin itself says an address that may not be dialled */
  routeTo({ agent, entry: { id, policy } }: Pick<Use, 'agent' | 'entry'>): Route {
    const name = JSON.stringify([agent, id])
    const key = `${policy.origin} ${policy.allowPrivate}`
    const known = this.#routes.get(name)
    this.#routes.delete(name)
    if (known !== undefined && known.key !== key) this.#retire(known.route)
    const route = known?.key === key ? known.route : this.#newRoute(agent, policy)
    this.#routes.set(name, { agent, entryId: id, key, route })
    this.#dropOldest()
    return route
  }

  /** Closes the idle connections of an entry, and keeps none of those in use. */
  forget(entryId: string): void {
    for (const [name, known] of this.#routes) {
      if (known.entryId !== entryId) continue
      this.#retire(known.route)
      this.#routes.delete(name)
    }
  }

  /** Closes the idle connections of a route that a request which must not be sent twice cannot take. */
  dropStale({ agent }: Route): void {
    const before = this.#stopwatch() - FRESH_MS
    for (const socket of idleOf(agent))
      if ((this.#kept.get(socket)?.last ?? 0) < before) socket.destroy()
  }

  /** Whether one more connection may be kept for an agent. */
  #hasRoom(name: string): boolean {
    let idle = 0
    for (const { agent, route } of this.#routes.values())
      if (agent === name) idle += idleOf(route.agent).length
    return idle < MAX_IDLE
  }

  /** Notes when a connection is kept. @returns whether it may be kept */
  #keep(socket: Duplex): boolean {
    const now = this.#stopwatch()
    const { since } = this.#kept.get(socket) ?? { since: now }
    this.#kept.set(socket, { since, last: now })
    return now - since < LONGEST_CONNECTION_MS
  }

  /** Closes all connections. */
  close(): void {
    for (const { route } of this.#routes.values()) route.agent.destroy()
    this.#routes.clear()
  }

  #dropOldest(): void {
    const [oldest] = this.#routes
    if (this.#routes.size <= MAX_ROUTES || oldest === undefined) return
    this.#retire(oldest[1].route)
    this.#routes.delete(oldest[0])
  }

  /** Not with Agent.destroy(), which ends the requests that run, too. */
  #retire({ agent }: Route): void {
    this.#retired.add(agent)
    for (const socket of idleOf(agent)) socket.destroy()
  }

  #newRoute(name: string, policy: Policy): Route {
    const { protocol, hostname, port } = new URL(policy.origin)
    const host = hostname.replace(/^\[|\]$/g, '')
    const isHttps = protocol === 'https:'
    refuseOrigin(policy, protocol, host)
    const options = {
      keepAlive: true,
      maxFreeSockets: IDLE_CONNECTIONS,
      timeout: IDLE_CONNECTION_MS,
      lookup: this.#checkedLookup(policy),
    }
    const agent = isHttps
      ? new HttpsAgent({
          ...options,
          rejectUnauthorized: true,
          secureContext: this.#secureContext,
          servername: isIP(host) === 0 ? host : '', // RFC 6066: no address in the server name
        })
      : new HttpAgent(options)
    const keep = agent.keepSocketAlive.bind(agent) as (socket: Duplex) => boolean // whose type forgets the result
    agent.keepSocketAlive = (socket) =>
      !this.#retired.has(agent) && this.#hasRoom(name) && this.#keep(socket) && keep(socket)
    return { isHttps, host, port: Number(port) || (isHttps ? 443 : 80), agent }
  }

  /** What node:net calls once for each connection whose host is a name; it dials only what it gets here. */
  #checkedLookup(policy: Policy): LookupFunction {
    return (hostname, options, reply) => {
      void this.#answerLookup(policy, hostname, options.all === true, reply)
    }
  }

  async #answerLookup(
    policy: Policy,
    hostname: string,
    isForAll: boolean,
    reply: Parameters<LookupFunction>[2],
  ): Promise<void> {
    try {
      const addresses = await this.#checked(policy, hostname)
      const found = addresses.map((address) => ({ address, family: isIP(address) }))
      const [first] = found
      if (isForAll) reply(null, found)
      else reply(null, first?.address ?? '', first?.family)
    } catch (error) {
      reply(error as Error, [])
    }
  }

  async #checked(policy: Policy, hostname: string): Promise<readonly string[]> {
    const addresses = await this.#lookup(hostname)
    if (addresses.length === 0)
      throw new VaultError('service-unreachable', `the name of "${policy.service}" has no address`)
    if (!addresses.every((address) => mayDial(address, policy.allowPrivate)))
      throw notAllowed(policy)
    return addresses
  }
}

function idleOf({ freeSockets }: HttpAgent): Duplex[] {
  return Object.values(freeSockets).flatMap((sockets) => sockets ?? [])
}

/** node:net looks no address up, so an origin that is one is checked here. */
function refuseOrigin(policy: Policy, protocol: string, host: string): void {
  const isAddress = isIP(host) !== 0
  if (isAddress && !mayDial(host, policy.allowPrivate)) throw notAllowed(policy)
  const isLoopback = isAddress && (host === '::1' || host.startsWith('127.'))
  if (protocol === 'https:' || (protocol === 'http:' && isLoopback)) return
  throw new VaultError(
    'address-not-allowed',
    `"${policy.service}" must be reached over https, because http would show the credential to the network`,
  )
}

function notAllowed({ service }: Policy): VaultError {
  return new VaultError(
    'address-not-allowed',
    `an address of "${service}" is not public; the owner allows private ones with: ${addAnew(service, '--allow-private')}`,
  )
}

async function resolveName(hostname: string): Promise<readonly string[]> {
  const found = await lookupName(hostname, { all: true })
  return found.map(({ address }) => address)
}
