/**
 * What must a store of limits answer? A plain model: a list of what one user has taken under one policy, from which everything is
 * counted anew each time. It shares no code with the service.
 */
import type { LimitPolicy } from '../../src/config/limit-policies.ts'
import type { Grant, Returning, Taking, Usage } from '../../src/fleet/limit-store.ts'

/** A grant, as the model knows it. */
interface KnownGrant {
  readonly id: string
  at: number
  /** Whether it has left every window at some time. When the clock goes back, a store may have forgotten it, or not. */
  hasLeft: boolean
}

/** What one user has taken under one policy. */
export class LimitModel {
  /** In the order in which they were taken. */
  #grants: KnownGrant[] = []

  /** Notes what has left every window. To be called with every time of the clock, and when the policy changes. */
  passTime(policy: LimitPolicy, now: number): void {
    for (const grant of this.#grants) grant.hasLeft ||= !countsInAny(policy, grant, now)
  }

  /** What must be answered. @param told what the store has answered, which settles whether it has forgotten what may be forgotten */
  take(policy: LimitPolicy, id: string, now: number, told: Taking): Taking {
    const { grants } = told.usage
    // One that is taken anew is listed too.
    const isKept = (grant: Grant) =>
      isListed(grants, grant) && (grant.id !== id || told.outcome === 'repeated')
    this.#settle(policy, now, isKept)
    if (this.#inForce(policy, now).some((grant) => grant.id === id))
      return { outcome: 'repeated', usage: this.#usage(policy, now) }
    for (const { points, seconds } of policy.windows)
      if (this.#grants.filter(({ at }) => now - at < seconds * 1000).length >= points)
        return { outcome: 'refused', usage: this.#usage(policy, now) }
    this.#grants = this.#grants.filter((grant) => grant.id !== id) // an old one that counts no more
    this.#grants.push({ id, at: now, hasLeft: false })
    return { outcome: 'taken', usage: this.#usage(policy, now) }
  }

  /** The same for giving back. */
  giveBack(policy: LimitPolicy, id: string | undefined, now: number, told: Returning): Returning {
    const { grants } = told.usage
    const isKept = (grant: Grant) => told.returned?.id === grant.id || isListed(grants, grant)
    this.#settle(policy, now, isKept)
    const inForce = this.#inForce(policy, now)
    const found = id === undefined ? inForce.at(-1) : inForce.find((grant) => grant.id === id)
    this.#grants = this.#grants.filter((grant) => grant !== found)
    const returned = found === undefined ? undefined : { id: found.id, at: found.at }
    return { returned, usage: this.#usage(policy, now) }
  }

  /** The same for looking. */
  look(policy: LimitPolicy, now: number, told: Usage): Usage {
    this.#settle(policy, now, (grant) => isListed(told.grants, grant))
    return this.#usage(policy, now)
  }

  /** The ids of all that was taken and not given back, also of what counts no more. */
  get ids(): readonly string[] {
    return this.#grants.map(({ id }) => id)
  }

  /** A visit: what lies in the future was taken now, and what the store has forgotten, as it may, is gone. */
  #settle(policy: LimitPolicy, now: number, isKept: (grant: Grant) => boolean): void {
    for (const grant of this.#grants) if (grant.at > now) grant.at = now
    this.#grants = this.#grants.filter(
      (grant) => !grant.hasLeft || !countsInAny(policy, grant, now) || isKept(grant),
    )
  }

  #inForce(policy: LimitPolicy, now: number): readonly KnownGrant[] {
    return this.#grants.filter((grant) => countsInAny(policy, grant, now))
  }

  #usage(policy: LimitPolicy, now: number): Usage {
    return { now, grants: this.#inForce(policy, now).map(({ id, at }) => ({ id, at })) }
  }
}

function countsInAny({ windows }: LimitPolicy, { at }: Grant, now: number): boolean {
  return windows.some(({ seconds }) => now - at < seconds * 1000)
}

function isListed(grants: readonly Grant[], { id, at }: Grant): boolean {
  return grants.some((grant) => grant.id === id && grant.at === at)
}
