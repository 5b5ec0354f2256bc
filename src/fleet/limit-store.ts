/** Where is it kept what users have taken? In a store, whose clock alone counts. This file says what every store does. */
import type { LimitPolicy } from '../config/limit-policies.ts'

/** A point that a user has taken. */
export interface Grant {
  /** What the caller calls it; unique for the policy and the user. */
  readonly id: string
  /** When it was taken, in milliseconds since 1970, by the store's clock. */
  readonly at: number
}

/** What counts for a user, at one moment. */
export interface Usage {
  /** The moment, in milliseconds since 1970, by the store's clock. */
  readonly now: number
  /** Those that are inside of the policy's longest window, the oldest first. None is younger than `now`. */
  readonly grants: readonly Grant[]
}

/** What became of a request to take a point. */
export interface Taking {
  /** `repeated`: a grant with this id was in force already, so nothing was taken. */
  readonly outcome: 'taken' | 'repeated' | 'refused'
  /** Afterwards. */
  readonly usage: Usage
}

/** What became of a request to give a point back. */
export interface Returning {
  /** The grant that is gone; undefined when there was none. */
  readonly returned: Grant | undefined
  /** Afterwards. */
  readonly usage: Usage
}

/**
 * What users have taken. Each function is one step for everybody else, also for other processes with the same store. What
 * it answers lasts: it survives the end of the process.
 *
 * A grant that lies in the future, because the store's clock went back, was made now: it counts for no longer than a window,
 * and never for less.
 */
export interface LimitStore {
  /** Its kind, for the log and the probe. */
  readonly kind: 'sqlite' | 'redis' | 'memory'
  /** Takes a point in every window, or in none. @throws {StoreAwayError} */
  take(policy: LimitPolicy, user: string, id: string): Promise<Taking>
  /** Gives a point back. @param id of the grant; without it, the youngest. @throws {StoreAwayError} */
  giveBack(policy: LimitPolicy, user: string, id?: string): Promise<Returning>
  /** What a user has taken. @throws {StoreAwayError} */
  look(policy: LimitPolicy, user: string): Promise<Usage>
  /** Whether it answers. @throws {StoreAwayError} when it does not */
  probe(): Promise<void>
  /** Ends the use of the store. What is under way is finished first, or throws. */
  close(): Promise<void>
}

/** The store does not answer, or cannot keep what it is told. `cause` is what it or the system says. */
export class StoreAwayError extends Error {}
