/**
 * Which leases are there? Random tokens with which an agent uses one entry for some minutes. Only their SHA-256 is kept, in memory.
 * A lease is bound to the agent, the entry and a part of the entry's policy; revoking it ends its running requests too.
 */
import { createHash, randomInt } from 'node:crypto'
import { coversPath, prefixProblem } from './path-rule.ts'
import type { Entry, Policy } from './policy.ts'
import { LEASE_SECONDS, LONGEST_SECONDS, type LeaseRequest } from './protocol.ts'
import { addAnew, VaultError } from './vault-errors.ts'

/** A lease. Whether it has expired is asked when a request begins, and never later. */
export interface Lease {
  readonly agent: string
  readonly entryId: string
  readonly service: string
  readonly methods: readonly string[]
  readonly paths: readonly string[]
  /** ms since the epoch */
  readonly expiresAt: number
  /** The first 8 characters of the token's SHA-256 (hex). */
  readonly shortHash: string
  /** Fires when the lease is revoked, and cuts the requests that use it. */
  readonly revoked: AbortSignal
}

/** What may be replaced. */
export interface LeaseOptions {
  readonly now?: () => number
  /** How many leases an agent has at most. Default: 1,000. */
  readonly maxPerAgent?: number
  /** The shape of a service's leases, with one hole: `hvl_{}`, which is the default. */
  readonly shapeOf?: (policy: Policy) => string
}

/** A lease as the owner sees it. */
export interface LeaseView {
  readonly agent: string
  readonly service: string
  readonly methods: readonly string[]
  readonly paths: readonly string[]
  readonly expires_at: string
  readonly lease: string
  /** The number of requests that use it now. */
  readonly requests: number
}

const MAX_PER_AGENT = 1000

/** How long an agent is told that its lease has expired or was revoked, instead of that it is unknown (ms). */
const REMEMBERED_MS = 3_600_000

/** How far a clock may be set back without an effect on leases, because small corrections are usual (ms). */
const CLOCK_STEP_MS = 60_000

/** How many methods or paths a request for a lease may name. */
const MAX_NARROWED = 100

const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789'
const RANDOM_LENGTH = 32

interface Kept {
  readonly lease: { -readonly [Member in keyof Lease]: Lease[Member] }
  /** Until when it may be renewed (ms since the epoch). */
  readonly renewableUntil: number
  readonly controller: AbortController
  /** Requests that began with it and are not over. */
  uses: number
}

/** All leases of this process. */
export class Leases {
  readonly #now: () => number
  readonly #max: number
  readonly #shapeOf: (policy: Policy) => string
  /** By the SHA-256 of the token. Insertion order is the order of issue. */
  readonly #kept = new Map<string, Kept>()
  readonly #perAgent = new Map<string, number>()

  constructor(options: LeaseOptions = {}) {
    this.#now = options.now ?? Date.now
    this.#max = options.maxPerAgent ?? MAX_PER_AGENT
    this.#shapeOf = options.shapeOf ?? (() => 'hvl_{}')
  }

  /**
   * Makes a lease. The entry must have been found, granted and not suspended.
   * @throws {VaultError} `bad-request`, `method-not-allowed` or `path-not-allowed` for a lease that would be wider than the entry,
   * `too-many-leases`
   */
  issue(agent: string, entry: Entry, request: LeaseRequest): { token: string; lease: Lease } {
    const { methods, paths } = narrowed(entry.policy, request)
    const ttl = ttlOf(request)
    this.#makeRoom(agent)
    const token = this.#shapeOf(entry.policy).replace('{}', randomText)
    const hash = hashOf(token)
    const controller = new AbortController()
    const now = this.#now()
    const lease: Lease = {
      agent,
      entryId: entry.id,
      service: entry.policy.service,
      ...{ methods, paths },
      expiresAt: now + ttl * 1000,
      shortHash: hash.slice(0, 8),
      revoked: controller.signal,
    }
    const renewableUntil = now + LONGEST_SECONDS * 1000
    this.#kept.set(hash, { lease, controller, renewableUntil, uses: 0 })
    this.#perAgent.set(agent, (this.#perAgent.get(agent) ?? 0) + 1)
    return { token, lease }
  }

  /**
   * Makes a lease that has not expired last for another 15 minutes, and no longer than 12 hours from its beginning.
   * @throws {VaultError} `lease-expired` when it has lasted that long
   */
  renew(token: string): void {
    const kept = this.#kept.get(hashOf(token))
    if (kept === undefined || this.hasExpired(kept.lease)) throw expired(kept?.lease.service)
    const until = Math.min(this.#now() + LEASE_SECONDS * 1000, kept.renewableUntil)
    if (until <= this.#now()) throw expired(kept.lease.service)
    kept.lease.expiresAt = Math.max(kept.lease.expiresAt, until)
  }

  /** The lease with this token, also when it has expired or was revoked in the last hour. */
  find(token: string): Lease | undefined {
    return this.#kept.get(hashOf(token))?.lease
  }

  /**
   * Whether a request may no longer begin with the lease, because its time is over. A lease with more time left than any can have
   * is over too: the clock was set back, and nobody can tell how long the lease has been in use.
   */
  hasExpired(lease: Lease): boolean {
    const left = lease.expiresAt - this.#now()
    return left <= 0 || left > LEASE_SECONDS * 1000 + CLOCK_STEP_MS
  }

  /** Keeps the lease while a request uses it, because it must be found for a revocation even long after it has expired. @returns ends the use */
  begin(token: string): () => void {
    const kept = this.#kept.get(hashOf(token))
    if (kept === undefined) return () => {}
    kept.uses++
    let isOver = false
    return () => {
      if (!isOver) kept.uses--
      isOver = true
    }
  }

  /** Revokes one lease. @returns it; undefined when there is no such lease */
  revoke(token: string): Lease | undefined {
    const kept = this.#kept.get(hashOf(token))
    kept?.controller.abort()
    return kept?.lease
  }

  /** Revokes every lease of an entry. @param isMeant leaves others alone @returns how many were revoked */
  revokeOf(entryId: string, isMeant: (lease: Lease) => boolean = () => true): number {
    let count = 0
    for (const { lease, controller } of this.#kept.values()) {
      if (lease.entryId !== entryId || lease.revoked.aborted || !isMeant(lease)) continue
      controller.abort()
      count++
    }
    return count
  }

  /** Revokes what a change of an entry no longer allows: it was removed or suspended, or a grant was taken away. */
  follow(before: Entry | undefined, after: Entry | undefined): void {
    if (before === undefined) return
    if (after === undefined || after.id !== before.id || after.policy.suspended) {
      this.revokeOf(before.id)
      return
    }
    const { grants } = after.policy
    this.revokeOf(before.id, ({ agent }) => !grants.includes(agent))
  }

  /** The leases with which a request may begin, or one is running. */
  list(): LeaseView[] {
    return [...this.#kept.values()].filter((kept) => this.#isAlive(kept)).map(viewOf)
  }

  /** Forgets leases that ended an hour ago. It is called now and then, and costs one look at each. */
  sweep(): void {
    const before = this.#now() - REMEMBERED_MS
    for (const [hash, kept] of this.#kept)
      if (kept.uses === 0 && kept.lease.expiresAt <= before) this.#forget(hash, kept)
  }

  /** Revokes everything, because the process ends. */
  close(): void {
    for (const { controller } of this.#kept.values()) controller.abort()
  }

  #isAlive({ lease, uses }: Kept): boolean {
    return !lease.revoked.aborted && (uses > 0 || !this.hasExpired(lease))
  }

  /** Forgets leases of the agent that are over, when it has as many as it may. */
  #makeRoom(agent: string): void {
    if ((this.#perAgent.get(agent) ?? 0) < this.#max) return
    for (const [hash, kept] of this.#kept)
      if (kept.lease.agent === agent && kept.uses === 0 && !this.#isAlive(kept))
        this.#forget(hash, kept)
    if ((this.#perAgent.get(agent) ?? 0) >= this.#max)
      throw new VaultError(
        'too-many-leases',
        `agent "${agent}" has ${this.#max} leases, which is the limit; give some back with DELETE /v1/leases, or wait until they expire`,
      )
  }

  #forget(hash: string, { lease: { agent } }: Kept): void {
    this.#kept.delete(hash)
    const left = (this.#perAgent.get(agent) ?? 1) - 1
    if (left === 0) this.#perAgent.delete(agent)
    else this.#perAgent.set(agent, left)
  }
}

function viewOf({ lease, uses }: Kept): LeaseView {
  const { agent, service, methods, paths, expiresAt, shortHash } = lease
  const expires = new Date(expiresAt).toISOString()
  return { agent, service, methods, paths, expires_at: expires, lease: shortHash, requests: uses }
}

function expired(service = 'SERVICE'): VaultError {
  return new VaultError(
    'lease-expired',
    `the lease has expired; get one with: workspace-gateway vault lease ${service}`,
  )
}

function hashOf(token: string): string {
  return createHash('sha256').update(token).digest('hex')
}

function randomText(): string {
  return Array.from({ length: RANDOM_LENGTH }, () => LETTERS[randomInt(LETTERS.length)]).join('')
}

/** The methods and paths of a lease: those that were asked for, when the entry covers each of them. */
function narrowed(policy: Policy, request: LeaseRequest): Pick<Lease, 'methods' | 'paths'> {
  const { methods = policy.methods, paths = policy.paths, service } = request
  if (methods.length === 0 || paths.length === 0)
    throw new VaultError('bad-request', 'a lease covers at least one method and one path')
  if (methods.length > MAX_NARROWED || paths.length > MAX_NARROWED)
    throw new VaultError('bad-request', `a lease names at most ${MAX_NARROWED} methods and paths`)
  const method = methods.find((one) => !policy.methods.includes(one))
  if (method !== undefined) throw methodRefusal(service, method, policy)
  for (const path of paths) {
    const problem = prefixProblem(path)
    if (problem !== undefined)
      throw new VaultError('bad-request', `the path ${JSON.stringify(path)} ${problem}`)
    if (!policy.paths.some((prefix) => coversPath(prefix, path)))
      throw pathRefusal(service, path, policy)
  }
  return { methods: sortedSet(methods), paths: sortedSet(paths) }
}

/** The texts without repetitions, sorted. */
export function sortedSet(texts: readonly string[]): readonly string[] {
  return Object.freeze([...new Set(texts)].toSorted())
}

function ttlOf({ ttl = LEASE_SECONDS }: LeaseRequest): number {
  if (!Number.isInteger(ttl) || ttl < 1 || ttl > LEASE_SECONDS)
    throw new VaultError(
      'bad-request',
      `ttl is a whole number of seconds from 1 to ${LEASE_SECONDS}`,
    )
  return ttl
}

const SHOWN_LENGTH = 200

/** How the owner allows more than an entry does: its methods and paths are part of the seal, and are given when it is added. */
const widerEntry = (service: string, option: string): string =>
  `the owner allows it with: ${addAnew(service, option)}`

/** The refusal of a method that the entry does not allow. */
export function methodRefusal(
  service: string,
  method: string,
  { methods }: Pick<Policy, 'methods'>,
): VaultError {
  const asked = method.slice(0, SHOWN_LENGTH)
  return new VaultError(
    'method-not-allowed',
    `the entry "${service}" allows the methods ${methods.join(', ')}, and not ${JSON.stringify(asked)}; ${widerEntry(service, `--methods ${[...methods, printableWord(asked)].join(',')}`)}`,
  )
}

/** The refusal of a path that the entry does not allow. */
export function pathRefusal(
  service: string,
  path: string,
  { paths }: Pick<Policy, 'paths'>,
): VaultError {
  const asked = path.slice(0, SHOWN_LENGTH)
  return new VaultError(
    'path-not-allowed',
    `the entry "${service}" allows paths that begin with ${paths.join(', ')}, and not ${JSON.stringify(asked)}; ${widerEntry(service, '--paths with a prefix of it')}`,
  )
}

/** A word for a command line that somebody may copy; a placeholder when it is not plain. */
function printableWord(text: string): string {
  return /^[A-Z-]{1,20}$/.test(text) ? text : 'METHOD'
}
