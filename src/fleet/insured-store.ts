/** What is answered while the store is away? What the policy says: nothing is allowed, or it is counted in the memory of this process. */
import type { Logger } from 'pino'
import { LIMITS_SETTINGS } from '../config/limits-settings.ts'
import type { LimitPolicy } from '../config/limit-policies.ts'
import {
  StoreAwayError,
  type LimitStore,
  type Returning,
  type Taking,
  type Usage,
} from './limit-store.ts'

/** How often it is logged that the store is away, in milliseconds. */
const SAID_MS = 30_000

/** How often a store that is away is asked whether it is back, in milliseconds. */
const PROBE_MS = 1000

/** What became of a request to take a point. */
export interface InsuredTaking extends Taking {
  /** Whether the memory of this process has decided, because the store was away. */
  readonly countedHere: boolean
}

/** What came while the store was away. */
export interface AwayCounts {
  /** Points that were taken in memory. */
  readonly allowed: number
  /** Requests that got none, or no answer. */
  readonly refused: number
}

/** The time, and what is to be done later. */
export interface InsuranceClock {
  /** In milliseconds; it never goes back. */
  now(): number
  /** @returns calls it off */
  after(ms: number, act: () => void): () => void
}

const MACHINE_CLOCK: InsuranceClock = {
  now: () => performance.now(),
  after(ms, act) {
    const timer = setTimeout(act, ms).unref()
    return () => clearTimeout(timer)
  },
}

/** What an insured store is made of. */
export interface InsuredParts {
  readonly store: LimitStore
  /** What counts for policies that allow something while the store is away. It is never told what the store knows, nor the other way. */
  readonly memory: LimitStore
  readonly logger: Logger
  readonly clock?: InsuranceClock
}

/**
 * A store and what is answered without it. The store is asked first each time. It is away when something fails, and back when it
 * has written something that was asked for later than what has failed: answers that overtake each other change nothing.
 */
export class InsuredStore {
  readonly #store: LimitStore
  readonly #memory: LimitStore
  readonly #logger: Logger
  readonly #clock: InsuranceClock
  readonly #setting: string
  #isAway = false
  /** How many requests the store has had. */
  #asked = 0
  /** The newest request of which it is known whether the store was there. */
  #newest = 0
  readonly #counts = { allowed: 0, refused: 0 }
  /** The counts of which the log knows that the store was back after them. */
  #closedCounts: AwayCounts = { allowed: 0, refused: 0 }
  /** When it was last logged that the store is away. */
  #saidAt = -Infinity
  /** Whether that is the last thing that was logged. */
  #isSaid = false
  #callOffProbe: (() => void) | undefined
  #isClosed = false

  constructor({ store, memory, logger, clock = MACHINE_CLOCK }: InsuredParts) {
    this.#store = store
    this.#memory = memory
    this.#logger = logger
    this.#clock = clock
    const { storeUrl, stateDir } = LIMITS_SETTINGS
    this.#setting = store.kind === 'redis' ? storeUrl.env : stateDir.env
  }

  get kind(): LimitStore['kind'] {
    return this.#store.kind
  }

  /** Whether the store is away, as far as is known. */
  get isAway(): boolean {
    return this.#isAway
  }

  /** What came while the store was away, since the start. */
  get awayCounts(): AwayCounts {
    return { ...this.#counts }
  }

  /** Takes a point in every window, or in none. @throws {StoreAwayError} when the policy allows nothing without the store */
  async take(policy: LimitPolicy, user: string, id: string): Promise<InsuredTaking> {
    try {
      const taking = await this.#ask(
        () => this.#store.take(policy, user, id),
        ({ outcome }) => outcome === 'taken',
      )
      return { ...taking, countedHere: false }
    } catch (error) {
      if (!(error instanceof StoreAwayError)) throw error
      return await this.#takeHere(policy, user, id, error)
    }
  }

  /** Gives a point back. @throws {StoreAwayError} */
  giveBack(policy: LimitPolicy, user: string, id?: string): Promise<Returning> {
    return this.#askOrRefuse(
      () => this.#store.giveBack(policy, user, id),
      ({ returned }) => returned !== undefined,
    )
  }

  /** What a user has taken. @throws {StoreAwayError} */
  look(policy: LimitPolicy, user: string): Promise<Usage> {
    return this.#askOrRefuse(
      () => this.#store.look(policy, user),
      () => false,
    )
  }

  /** Whether the store answers. @throws {StoreAwayError} */
  probe(): Promise<void> {
    return this.#ask(
      () => this.#store.probe(),
      () => true,
    )
  }

  /** Ends the use of both. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#callOffProbe?.()
    await Promise.all([this.#store.close(), this.#memory.close()])
  }

  async #takeHere(
    policy: LimitPolicy,
    user: string,
    id: string,
    away: StoreAwayError,
  ): Promise<InsuredTaking> {
    let isTaken = false
    try {
      if (policy.storeAway === 'refuse') throw away
      const taking = await this.#memory.take(policy, user, id)
      isTaken = taking.outcome === 'taken'
      return { ...taking, countedHere: true }
    } finally {
      this.#counts[isTaken ? 'allowed' : 'refused']++
    }
  }

  async #askOrRefuse<Answer>(
    ask: () => Promise<Answer>,
    wrote: (answer: Answer) => boolean,
  ): Promise<Answer> {
    try {
      return await this.#ask(ask, wrote)
    } catch (error) {
      if (error instanceof StoreAwayError) this.#counts.refused++
      throw error
    }
  }

  /** @param wrote whether an answer proves that the store can be written. One that can only be read is away */
  async #ask<Answer>(
    ask: () => Promise<Answer>,
    wrote: (answer: Answer) => boolean,
  ): Promise<Answer> {
    const number = ++this.#asked
    try {
      const answer = await ask()
      if (wrote(answer)) this.#noteBack(number)
      return answer
    } catch (error) {
      if (error instanceof StoreAwayError) this.#noteAway(number, error)
      throw error
    }
  }

  #noteAway(number: number, error: StoreAwayError): void {
    if (this.#isClosed || number < this.#newest) return
    this.#newest = number
    this.#isAway = true
    this.#callOffProbe ??= this.#clock.after(PROBE_MS, () => void this.#probeAgain())
    if (this.#clock.now() - this.#saidAt < SAID_MS) return
    this.#saidAt = this.#clock.now()
    this.#isSaid = true
    this.#logger.error(
      { setting: this.#setting, err: error, ...this.#openCounts() },
      'store away: policies decide without it',
    )
  }

  #noteBack(number: number): void {
    if (number < this.#newest) return
    this.#newest = number
    this.#isAway = false
    const counts = this.#openCounts()
    // A store that comes and goes is logged every 30 s, too, with everything that came meanwhile.
    const isDue = this.#clock.now() - this.#saidAt >= SAID_MS
    const isOpen = counts.allowed + counts.refused > 0
    if (!this.#isSaid && !(isDue && isOpen)) return
    if (!this.#isSaid) this.#saidAt = this.#clock.now()
    this.#isSaid = false
    this.#closedCounts = this.awayCounts
    this.#logger.warn({ setting: this.#setting, ...counts }, 'store back')
  }

  #openCounts(): AwayCounts {
    const { allowed, refused } = this.#closedCounts
    return { allowed: this.#counts.allowed - allowed, refused: this.#counts.refused - refused }
  }

  async #probeAgain(): Promise<void> {
    this.#callOffProbe = undefined
    try {
      if (this.#isAway) await this.probe()
    } catch (error) {
      if (!(error instanceof StoreAwayError)) throw error // otherwise the next probe is due
    }
  }
}
