/** How does a test use the limits service? A real one on a free port of this process, with a store in memory that the test can cut and hold. */
import type { Test } from 'tap'
import { PROVISION, type LimitPolicies, type LimitPolicy } from '../../src/config/limit-policies.ts'
import { loadLimitsConfig } from '../../src/config/limits-settings.ts'
import { StoreAwayError, type LimitStore } from '../../src/fleet/limit-store.ts'
import type { ListenerTimes } from '../../src/fleet/listener.ts'
import { startLimits, type RunningLimits } from '../../src/fleet/server.ts'
import { SqliteStore } from '../../src/fleet/sqlite-store.ts'
import { openLog } from '../../src/observe/log.ts'
import { Arrivals } from './waiting.ts'
import { send, type RawAnswer } from './wire.ts'

/** The token of the callers of tests. */
export const CALLER_TOKEN = 'a-token-of-callers-0123456789-abcdef'

/** The field with it. */
export const BEARER = `Authorization: Bearer ${CALLER_TOKEN}`

/** A store that a test can cut, and that keeps its callers waiting as long as the test wants. */
class TestStore implements LimitStore {
  /** Whether it says that it is away. */
  isAway = false
  /** What it was asked for, without looks. */
  readonly changes: string[] = []
  /** An error of another kind that it throws. */
  fault: Error | undefined
  readonly #store: LimitStore
  readonly #arrivals = new Arrivals()
  #isHeld = false
  #held = 0

  constructor(store: LimitStore) {
    this.#store = store
  }

  get kind() {
    return this.#store.kind
  }

  /** Keeps whoever asks waiting, until the test lets go. */
  hold(): void {
    this.#isHeld = true
  }

  letGo(): void {
    this.#isHeld = false
    this.#arrivals.wake()
  }

  /** Waits until so many wait. */
  async holds(count: number): Promise<void> {
    await this.#arrivals.until(() => (this.#held >= count ? true : undefined))
  }

  async take(policy: LimitPolicy, user: string, id: string) {
    this.changes.push(`take ${policy.name} ${user} ${id}`)
    await this.#pass()
    return this.#store.take(policy, user, id)
  }

  async giveBack(policy: LimitPolicy, user: string, id?: string) {
    this.changes.push(`give back ${policy.name} ${user} ${id ?? ''}`)
    await this.#pass()
    return this.#store.giveBack(policy, user, id)
  }

  async look(policy: LimitPolicy, user: string) {
    await this.#pass()
    return this.#store.look(policy, user)
  }

  async probe() {
    await this.#pass()
  }

  close() {
    return this.#store.close()
  }

  async #pass(): Promise<void> {
    if (this.#isHeld) {
      this.#held++
      this.#arrivals.wake()
      await this.#arrivals.until(() => (this.#isHeld ? undefined : true))
    }
    if (this.fault !== undefined) throw this.fault
    if (this.isAway) throw new StoreAwayError('cut by the test')
  }
}

/** What a test may choose. */
export interface LimitsChoices {
  readonly env?: Readonly<Record<string, string | undefined>>
  readonly policies?: readonly LimitPolicy[]
  readonly times?: ListenerTimes
  readonly now?: () => number
}

/** A service of a test. */
export interface TestLimits extends RunningLimits {
  readonly port: number
  readonly store: TestStore
  /** The parsed lines of the log so far. */
  readonly lines: () => ReadonlyArray<Record<string, unknown>>
  /** Asks with the token of callers. @param body sent as JSON, or as it is when it is a text */
  ask(line: string, body?: unknown, headers?: readonly string[]): Promise<RawAnswer>
}

/** Starts a service on a free port. It is closed when the test ends. */
export async function limitsFor(
  t: Test,
  { env = {}, policies = [], times = {}, now = Date.now }: LimitsChoices = {},
): Promise<TestLimits> {
  let text = ''
  const { logger } = openLog('trace', { write: (line) => void (text += line) })
  const config = loadLimitsConfig({
    LIMITS_PORT: '0',
    LIMITS_TOKEN: CALLER_TOKEN,
    LIMITS_DRAIN_SECONDS: '600',
    ...env,
  })
  const store = new TestStore(SqliteStore.inMemory({ now }))
  const limits = await startLimits(config, {
    ...{ store, logger, times, now },
    policies: policiesOf(policies),
  })
  t.teardown(() => limits.close())
  const port = limits.address?.port ?? 0
  const asked = {
    ...{ port, store },
    lines: () =>
      text
        .split('\n')
        .slice(0, -1)
        .map((line) => JSON.parse(line) as Record<string, unknown>),
    ask: (line: string, body?: unknown, headers: readonly string[] = []) =>
      askLimits(port, line, body, [BEARER, ...headers]),
  }
  return Object.assign(limits, asked)
}

/** The built-in policy and others. */
export function policiesOf(policies: readonly LimitPolicy[]): LimitPolicies {
  return new Map([PROVISION, ...policies].map((policy) => [policy.name, policy]))
}

/** Asks a service. @param to its port, or the path of its socket @param body sent as JSON, or as it is when it is a text */
export function askLimits(
  to: number | string,
  line: string,
  body?: unknown,
  headers: readonly string[] = [],
): Promise<RawAnswer> {
  if (body === undefined) return send(to, line, headers)
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  const bytes = Buffer.from(text, 'utf8').toString('latin1')
  const has = (name: string) => headers.some((field) => field.toLowerCase().startsWith(name))
  return send(
    to,
    line,
    [
      ...(has('content-type:') ? [] : ['Content-Type: application/json']),
      `Content-Length: ${bytes.length}`,
      ...headers,
    ],
    bytes,
  )
}

/** The JSON of an answer. */
export function jsonOf({ body }: RawAnswer): Record<string, unknown> {
  return JSON.parse(Buffer.from(body, 'latin1').toString('utf8')) as Record<string, unknown>
}
