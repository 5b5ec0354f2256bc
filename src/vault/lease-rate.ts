/**
 * How often may an agent have a lease made or extended? Each time writes a row to the audit log, and giving the lease back another, so
 * an agent that does it in a loop would fill the disk. A burst is allowed, and then one lease a second.
 */
import { VaultError } from './vault-errors.ts'

/** Leases that an agent may ask for at once: a build that wraps each of its steps in `vault exec` needs many. */
const BURST = 300

/** The time after which another one is allowed, in milliseconds. */
const INTERVAL_MS = 1000

/** Counts the leases of agents. */
export class LeaseRate {
  readonly #now: () => number
  /** The time from which an agent would have its whole burst again, in ms since the epoch (GCRA: one number per agent). */
  readonly #fullAt = new Map<string, number>()

  constructor({ now = Date.now }: { readonly now?: () => number } = {}) {
    this.#now = now
  }

  /** Counts a lease that is made or extended. @throws {VaultError} `too-many-leases` */
  take(agent: string): void {
    const now = this.#now()
    const longest = BURST * INTERVAL_MS
    // A clock that was set back would otherwise refuse until it is where it was.
    const fullAt = Math.min(Math.max(this.#fullAt.get(agent) ?? now, now), now + longest)
    this.#fullAt.set(agent, fullAt)
    if (fullAt + INTERVAL_MS > now + longest)
      throw new VaultError(
        'too-many-leases',
        `agent "${agent}" has asked for ${BURST} leases in a short time; keep a lease and renew it ("workspace-gateway vault exec" does), and ask again in a second`,
      )
    this.#fullAt.set(agent, fullAt + INTERVAL_MS)
  }
}
