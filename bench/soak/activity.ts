/** What is an activity of the soak? Something that people and programs do, again in each stretch, and what is counted of it. */

/** An activity. */
export interface Activity {
  /** How often each thing was done. A soak in which one of them never happened has failed. */
  readonly done: Readonly<Record<string, number>>
  /** Does everything once more. @throws {Error} when a program does not do what it should */
  stretch(): Promise<void>
  /** Looks at the end whether what was left alone is still there. @throws {Error} when it is not */
  finish?(): Promise<void>
  /** Ends what would go on by itself, also after a failure. */
  close?(): void
}

/** What an activity counts, before anything has happened. */
export function nothingOf<Name extends string>(...names: readonly Name[]): Record<Name, number> {
  return Object.fromEntries(names.map((name) => [name, 0])) as Record<Name, number>
}

/** The names of what never happened. */
export function neverDone(activities: Readonly<Record<string, Pick<Activity, 'done'>>>): string[] {
  return Object.entries(activities).flatMap(([activity, { done }]) =>
    Object.entries(done)
      .filter(([, count]) => count === 0)
      .map(([name]) => `${activity}: ${name}`),
  )
}

/** How long a program may take for one step (ms). */
const PATIENCE_MS = 15_000

/** Waits for a step. @param what ends the sentence of the error @throws {Error} when it takes too long */
export async function inTime<Value>(
  what: string,
  step: Promise<Value>,
  patienceMs = PATIENCE_MS,
): Promise<Value> {
  const { promise: late, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(
    () => reject(new Error(`after ${patienceMs / 1000} s there is not yet ${what}`)),
    patienceMs,
  )
  try {
    return await Promise.race([step, late])
  } finally {
    clearTimeout(timer)
  }
}
