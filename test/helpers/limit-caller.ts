/** What does one of many processes do with the store that they share? It takes points, as many at once as its parent says. */
import pino from 'pino'
import type { LimitPolicy } from '../../src/config/limit-policies.ts'
import type { Taking } from '../../src/fleet/limit-store.ts'
import { RedisStore } from '../../src/fleet/redis-store.ts'

/** What the parent wants. */
export interface Round {
  readonly policy: LimitPolicy
  readonly user: string
  /** Of the grants, one for each caller. */
  readonly ids: readonly string[]
}

/** What became of it. */
export interface RoundAnswer {
  readonly takings: readonly Taking[]
  /** The time of this process, in milliseconds since 1970. */
  readonly now: number
}

const store = new RedisStore({ url: process.argv[2] ?? '', logger: pino({ level: 'silent' }) })

async function play({ policy, user, ids }: Round): Promise<void> {
  const takings = await Promise.all(ids.map((id) => store.take(policy, user, id)))
  process.send?.({ takings, now: Date.now() } satisfies RoundAnswer)
}

process.on('message', (round: Round) => void play(round))
process.on('disconnect', () => void store.close())
