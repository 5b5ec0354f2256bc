/**
 * Does a store of limits answer as the model does? Random schedules of requests say so, with a clock that goes on and back and a store
 * that is closed and opened in between. Many run side by side, so that they share what the store does in one turn.
 */
import { isDeepStrictEqual } from 'node:util'
import type { Test } from 'tap'
import type { LimitPolicy } from '../../src/config/limit-policies.ts'
import type { LimitStore } from '../../src/fleet/limit-store.ts'
import { LimitModel } from './limit-model.ts'

/** Which store is asked, and how often. */
export interface ScheduleOptions {
  /** Opens the store of a group of schedules, again after it was closed: with all that it has kept. */
  readonly openStore: (group: number) => LimitStore | Promise<LimitStore>
  /** Sets the store's clock, in milliseconds since 1970. */
  readonly setClock: (now: number) => void | Promise<void>
  /** Whether the store is closed and opened in between. Default: true. */
  readonly lasts?: boolean
  /** How many schedules. */
  readonly count: number
  /** How many run side by side, with one clock. Default: 100. */
  readonly together?: number
  /** How many requests a schedule has. Default: 25. */
  readonly steps?: number
}

/** Numbers that look random, and are the same for a seed. */
interface Dice {
  /** From `low` to `high`, both included. */
  between(low: number, high: number): number
  /** One of a list. */
  pick<Item>(items: readonly [Item, ...Item[]]): Item
  /** True in so many of a hundred. */
  percent(chance: number): boolean
}

/** One schedule: a policy, and users with what they have taken. */
interface Schedule {
  policy: LimitPolicy
  readonly users: ReadonlyMap<string, LimitModel>
  /** What was asked and answered, for the report of a difference. */
  readonly story: unknown[]
}

/** Names that are easy to mix up. */
const USERS = ['a', 'a:b', 'A', 'ä', "a'--", 'a/%', '😀', ' a ', '__proto__'] as const

/** Lengths of windows, in seconds: a few, so that a step of the clock is often exactly as long as one. */
const SECONDS = [1, 2, 5, 10, 60, 3600, 86_400] as const

/** Any moment of today's order of magnitude. */
const START = 1_800_000_000_000

/** Runs schedules, and passes when every answer is that of the model. TEST_SEED repeats what a failure names. */
export async function runSchedules(
  t: Test,
  { openStore, setClock, lasts = true, count, together = 100, steps = 25 }: ScheduleOptions,
): Promise<void> {
  const seed = Number(process.env['TEST_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
  const seen = new Set<string>()
  for (let group = 0; group * together < count; group++) {
    const dice = diceOf(seed + group)
    const schedules = Array.from({ length: Math.min(together, count - group * together) }, (_, i) =>
      newSchedule(dice, `g${group}-${i}`),
    )
    let now = START
    await setClock(now)
    let store = await openStore(group)
    try {
      for (let step = 0; step < steps; step++) {
        if (lasts && dice.percent(12)) {
          await store.close()
          store = await openStore(group)
        }
        now += clockStep(dice)
        await setClock(now)
        for (const schedule of schedules) passTime(schedule, dice, now)
        const found = await Promise.all(
          schedules.map(async (schedule) => await ask(store, schedule, dice, now, seen)),
        )
        const difference = found.find((one) => one !== undefined)
        if (difference !== undefined)
          throw new Error(
            `TEST_SEED=${seed}, group ${group}, step ${step}: ${JSON.stringify(difference, undefined, 1)}`,
          )
      }
    } finally {
      await store.close()
    }
  }
  t.same(
    [...seen].toSorted(),
    ['given back', 'looked', 'nothing to give back', 'refused', 'repeated', 'taken'],
    `${count} schedules of ${steps} requests, in which everything has happened`,
  )
}

function newSchedule(dice: Dice, name: string): Schedule {
  const users = new Map(
    Array.from({ length: dice.between(1, 3) }, () => [dice.pick(USERS), new LimitModel()]),
  )
  return { policy: newPolicy(dice, name), users, story: [] }
}

function newPolicy(dice: Dice, name: string): LimitPolicy {
  const lengths = new Set(Array.from({ length: dice.between(1, 4) }, () => dice.pick(SECONDS)))
  const windows = [...lengths]
    .toSorted((a, b) => a - b)
    .map((seconds) => ({ seconds, points: dice.between(1, 5) }))
  return { name, windows, storeAway: 'refuse' }
}

/** How far the clock goes, in milliseconds: often just as far as a window is long, sometimes back. */
function clockStep(dice: Dice): number {
  const length = dice.pick(SECONDS) * 1000
  return dice.pick([
    ...[0, 0, 1, dice.between(1, 1000), dice.between(1, length), dice.between(1, length)],
    ...[length, length - 1, length + 1, -dice.between(1, length), -1, -length],
  ] as [number, ...number[]])
}

/** Tells the models the time. Sometimes the policy becomes another one, as by SIGHUP. */
function passTime(schedule: Schedule, dice: Dice, now: number): void {
  const tell = () => {
    for (const model of schedule.users.values()) model.passTime(schedule.policy, now)
  }
  tell()
  if (!dice.percent(3)) return
  schedule.policy = newPolicy(dice, schedule.policy.name)
  schedule.story.push({ policy: schedule.policy.windows })
  tell()
}

/** Asks a store for something, and compares. @returns how they differ; undefined when they do not */
async function ask(
  store: LimitStore,
  { policy, users, story }: Schedule,
  dice: Dice,
  now: number,
  seen: Set<string>,
): Promise<unknown> {
  const [user, model] = dice.pick([...users] as unknown as [[string, LimitModel]])
  const id = dice.pick(['x', 'y', 'z', ...model.ids] as [string, ...string[]])
  const fresh = `${story.length}`
  const what = dice.pick(['take', 'take', 'take', 'take again', 'return', 'youngest', 'look'])
  let told
  let expected
  switch (what) {
    case 'take':
    case 'take again': {
      const wanted = what === 'take' ? fresh : id
      const taking = await store.take(policy, user, wanted)
      seen.add(taking.outcome)
      told = taking
      expected = model.take(policy, wanted, now, taking)
      break
    }
    case 'look': {
      const usage = await store.look(policy, user)
      seen.add('looked')
      told = usage
      expected = model.look(policy, now, usage)
      break
    }
    default: {
      const wanted = what === 'return' ? id : undefined
      const returning = await store.giveBack(policy, user, wanted)
      seen.add(returning.returned === undefined ? 'nothing to give back' : 'given back')
      told = returning
      expected = model.giveBack(policy, wanted, now, returning)
    }
  }
  story.push({ now, user, what, id, told })
  if (isDeepStrictEqual(told, expected)) return undefined
  return { policy: policy.windows, story, expected }
}

/** Mulberry32. */
function diceOf(seed: number): Dice {
  let state = seed
  const next = (): number => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const between = (low: number, high: number) => low + Math.floor(next() * (high - low + 1))
  return {
    between,
    pick: (items) => items[between(0, items.length - 1)] as (typeof items)[0],
    percent: (chance) => next() * 100 < chance,
  }
}
