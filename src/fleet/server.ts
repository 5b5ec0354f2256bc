/** How does the limits service run? It listens on a port for callers with a token, on a Unix socket for those who can open it, or on both. */
import type { AddressInfo } from 'node:net'
import type { Logger } from 'pino'
import type { LimitPolicies } from '../config/limit-policies.ts'
import type { LimitsConfig } from '../config/limits-settings.ts'
import { openSocketFile } from '../services/socket-file.ts'
import { Acts } from './acts.ts'
import { Callers } from './callers.ts'
import { LimitsCounts } from './counts.ts'
import { InsuredStore } from './insured-store.ts'
import type { LimitStore } from './limit-store.ts'
import type { ListenerTimes } from './listener.ts'
import { RefusalLog } from './refusal-log.ts'
import { makeWayIn, type RouteParts, type WayIn } from './routes.ts'
import { SqliteStore } from './sqlite-store.ts'

/** What the service is made of. */
export interface LimitsParts {
  /** Where it is kept what users have taken. It is closed with the service, also when that cannot start. */
  readonly store: LimitStore
  readonly policies: LimitPolicies
  readonly logger: Logger
  /** The time in milliseconds since 1970, for what is counted in memory while the store is away. Default: the machine's. */
  readonly now?: () => number
  readonly times?: ListenerTimes
}

/** A limits service that listens. */
export interface RunningLimits {
  /** Where it listens for callers with a token; undefined when it does not. */
  readonly address: AddressInfo | undefined
  /** `http://127.0.0.1:<port>`. */
  readonly url: string
  readonly counts: LimitsCounts
  /** Whether the store was away when it was last asked. */
  readonly isStoreAway: boolean
  readonly isDraining: boolean
  /** Lets callers with these tokens in from now on, and no others. */
  setTokens(tokens: readonly string[]): void
  /** Has these policies in force from now on. Requests under way keep those that they have found. */
  setPolicies(policies: LimitPolicies): void
  /** Takes no further connection, lets requests under way end for LIMITS_DRAIN_SECONDS, and closes. */
  drain(): Promise<void>
  /** Ends everything at once. */
  close(): Promise<void>
}

/**
 * Starts the service.
 * @throws errors of listening, such as EADDRINUSE
 */
export async function startLimits(
  config: LimitsConfig,
  parts: LimitsParts,
): Promise<RunningLimits> {
  const limits = new Limits(config, parts)
  try {
    await limits.open()
  } catch (error) {
    await limits.close()
    throw error
  }
  return limits
}

class Limits implements RunningLimits {
  readonly counts: LimitsCounts
  readonly #config: LimitsConfig
  readonly #times: ListenerTimes
  readonly #logger: Logger
  readonly #refusals: RefusalLog
  readonly #store: InsuredStore
  readonly #callers: Callers | undefined
  #policies: LimitPolicies
  #ways: WayIn[] = []
  #port: WayIn | undefined
  #isDraining = false

  constructor(config: LimitsConfig, { store, policies, logger, now, times = {} }: LimitsParts) {
    const memory = SqliteStore.inMemory(now === undefined ? {} : { now })
    this.counts = new LimitsCounts(policies)
    this.#config = config
    this.#times = times
    this.#logger = logger
    this.#refusals = new RefusalLog(logger)
    this.#store = new InsuredStore({ store, memory, logger })
    this.#callers = config.tokens === undefined ? undefined : new Callers(config.tokens)
    this.#policies = policies
  }

  async open(): Promise<void> {
    const { host, port, socket } = this.#config
    if (this.#callers !== undefined) {
      this.#port = await this.#addWay(this.#callers)
      await this.#port.listener.listen({ host, port })
    }
    if (socket === undefined) return
    const { listener } = await this.#addWay(undefined)
    await openSocketFile(socket, () => listener.listen({ path: socket }))
  }

  get address(): AddressInfo | undefined {
    return this.#port?.listener.server.address() as AddressInfo | undefined
  }

  get url(): string {
    return `http://127.0.0.1:${this.address?.port}`
  }

  get isStoreAway(): boolean {
    return this.#store.isAway
  }

  get isDraining(): boolean {
    return this.#isDraining
  }

  setTokens(tokens: readonly string[]): void {
    this.#callers?.setTokens(tokens)
  }

  setPolicies(policies: LimitPolicies): void {
    this.#policies = policies
    this.counts.decisions.use(policies.values())
  }

  async drain(): Promise<void> {
    this.#isDraining = true
    const ms = this.#config.drainSeconds * 1000
    await Promise.all(this.#ways.map(({ listener }) => listener.drain(ms)))
    await this.close()
  }

  async close(): Promise<void> {
    this.#isDraining = true
    await Promise.all(this.#ways.map(({ listener }) => listener.close()))
    await Promise.all(this.#ways.map(({ app }) => app.close()))
    this.#refusals.close()
    await this.#store.close()
  }

  async #addWay(callers: Callers | undefined): Promise<WayIn> {
    const { counts } = this
    const [store, logger] = [this.#store, this.#logger]
    const parts: RouteParts = {
      ...{ counts, store, logger, refusals: this.#refusals },
      acts: new Acts({ store, counts, logger }),
      policies: () => this.#policies,
      isDraining: () => this.#isDraining,
    }
    const way = await makeWayIn(parts, callers, this.#times)
    way.listener.server.on('error', (error) => {
      if (way.listener.server.listening) logger.error({ err: error }, 'no connection accepted')
    })
    this.#ways.push(way)
    return way
  }
}
