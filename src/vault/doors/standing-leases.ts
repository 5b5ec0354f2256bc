/**
 * Which lease stands for a request of another workspace? One for each workspace and entry, as wide as the entry. It never leaves the
 * process; it is an ordinary lease so that a grant that is taken away cuts what runs, as it does for an agent.
 */
import type { Lease, Leases } from '../leases.ts'
import type { Entry } from '../policy.ts'

/** A lease with its token. */
interface Standing {
  readonly token: string
  readonly lease: Lease
}

/** The leases of other workspaces. */
export class StandingLeases {
  readonly #leases: Leases
  /** By the entry, then by the workspace's name as grants have it. An entry that was changed is another object, and so forgotten here. */
  readonly #known = new WeakMap<Entry, Map<string, Standing>>()

  constructor(leases: Leases) {
    this.#leases = leases
  }

  /**
   * The lease of a workspace for an entry, made anew when there is none that is valid.
   * @param agent the workspace as grants have it: `research/*`
   * @throws {VaultError} `too-many-leases`
   */
  of(agent: string, entry: Entry): Standing {
    const known = this.#known.get(entry) ?? new Map<string, Standing>()
    const before = known.get(agent)
    if (before !== undefined && this.#isValid(before.lease)) return before
    const { service } = entry.policy
    const made = this.#leases.issue(agent, entry, { service })
    known.set(agent, made)
    this.#known.set(entry, known)
    return made
  }

  #isValid(lease: Lease): boolean {
    return !lease.revoked.aborted && !this.#leases.hasExpired(lease)
  }
}
