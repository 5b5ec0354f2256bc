/** What are the three acts of the limits service? To take a point, to give one back, and to look. Each asks the store once. */
import type { Logger } from 'pino'
import type { Answer } from '../answers/problem.ts'
import type { LimitPolicy } from '../config/limit-policies.ts'
import { limitReached, okAnswer, windowsOf } from './answers.ts'
import type { LimitsCounts, StoreAct } from './counts.ts'
import type { InsuredStore } from './insured-store.ts'
import { LimitError } from './limit-errors.ts'
import { StoreAwayError } from './limit-store.ts'
import type { Asked } from './request.ts'
import { fullWindows, hasRoom, windowStates } from './windows.ts'

/** With what the acts are done. */
export interface ActParts {
  readonly store: Pick<InsuredStore, 'take' | 'giveBack' | 'look'>
  readonly counts: LimitsCounts
  readonly logger: Logger
}

/** A request that is well-formed, and whose caller may ask. */
export interface Question extends Asked {
  readonly policy: LimitPolicy
  readonly requestId: string
}

/** The acts. Each throws a {@link LimitError}, and has taken nothing then. */
export class Acts {
  readonly #parts: ActParts

  constructor(parts: ActParts) {
    this.#parts = parts
  }

  /** Takes a point. */
  async take({ policy, user, grant = crypto.randomUUID(), requestId }: Question): Promise<Answer> {
    const { store, counts, logger } = this.#parts
    const startedAt = performance.now()
    const { outcome, usage, countedHere } = await this.#ask('take', () =>
      store.take(policy, user, grant),
    )
    const states = windowStates(policy, usage)
    const counted = countedHere ? { counted: 'here' } : {}
    const facts = { policy: policy.name, user, grant, ...counted }
    const ms = msSince(startedAt)
    if (outcome === 'refused') {
      const full = fullWindows(states)
      counts.errors['rate-limited']++
      counts.decisions.refuse(
        policy.name,
        full.map(({ seconds }) => seconds),
      )
      const refusedBy = full.map(({ name }) => name)
      logger.info({ ...facts, result: 'refused', refusedBy, ms, requestId }, 'decision')
      return limitReached(requestId, policy, states, counted)
    }
    if (outcome === 'taken') counts.decisions.allow(policy.name)
    const result = outcome === 'taken' ? 'allowed' : 'repeated'
    logger.info({ ...facts, result, ms, requestId }, 'decision')
    const isRepeated = outcome === 'repeated'
    return okAnswer(
      requestId,
      {
        ...{ policy: policy.name, user, grant, repeated: isRepeated },
        ...counted,
        windows: windowsOf(states),
      },
      states,
    )
  }

  /** Gives a point back: that of the grant, or the youngest. */
  async giveBack({ policy, user, grant, requestId }: Question): Promise<Answer> {
    const { store, logger } = this.#parts
    const startedAt = performance.now()
    const { returned, usage } = await this.#ask('give-back', () =>
      store.giveBack(policy, user, grant),
    )
    if (returned === undefined)
      throw new LimitError(
        'no-such-grant',
        grant === undefined
          ? 'the user has no grant in force'
          : 'the user has no grant of this id in force',
      )
    const ms = msSince(startedAt)
    const facts = { policy: policy.name, user, grant: returned.id }
    logger.info({ ...facts, ms, requestId }, 'given back')
    const states = windowStates(policy, usage)
    return okAnswer(requestId, { ...facts, windows: windowsOf(states) }, states)
  }

  /** Tells what a user has taken. */
  async look({ policy, user, requestId }: Question): Promise<Answer> {
    const usage = await this.#ask('look', () => this.#parts.store.look(policy, user))
    const states = windowStates(policy, usage)
    const grants = usage.grants.map(({ id, at }) => ({
      grant: id,
      at: new Date(at).toISOString(),
    }))
    const facts = { policy: policy.name, user, grants }
    return okAnswer(
      requestId,
      { ...facts, windows: windowsOf(states), allowed: hasRoom(states) },
      states,
    )
  }

  async #ask<Found>(act: StoreAct, ask: () => Promise<Found>): Promise<Found> {
    try {
      return await this.#parts.counts.timed(act, ask)
    } catch (cause) {
      if (!(cause instanceof StoreAwayError)) throw cause
      throw new LimitError(
        'store-unavailable',
        'nothing was changed as far as is known; ask again',
        {
          cause,
        },
      )
    }
  }
}

/** Since when, in milliseconds with three digits. */
function msSince(startedAt: number): number {
  return Math.round((performance.now() - startedAt) * 1000) / 1000
}
