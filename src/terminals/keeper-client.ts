/**
 * How does the gateway speak with the keeper of terminals? It names sessions in handshakes, tells the keeper which sessions have
 * ended or were renewed, and lists and ends terminals for their owner. A plain ttyd has no keeper, and then nothing here is asked.
 */
import type { Logger } from 'pino'
import { KEEPER_AWAY_DETAIL } from '../answers/details.ts'
import { GatewayError, noAnswerReason } from '../answers/errors.ts'
import type { ServiceAddress } from '../config/values.ts'
import { headerSafe } from '../http/to-service.ts'
import type { Session } from '../identity/session.ts'
import type { Watched } from '../limits/watchdog.ts'
import { askKeeper, lookAtTerminals, type TerminalSide } from './ask-keeper.ts'
import { countIn, entriesIn } from './keeper-answers.ts'
import {
  SESSION_HEADERS,
  TERMINALS_PATH,
  type TerminalEntry,
  type TerminalState,
} from './protocol.ts'
import { endOf, markOf } from './session-of.ts'

/** How long the result of a look is used, in milliseconds. */
const LOOK_MS = 5000

/** After a failure, the keeper is asked again after this time, in milliseconds. */
const RETRY_MS = 1000

/** How often everything is compared when nothing has failed, in milliseconds. */
const COMPARE_MS = 60_000

/**
 * After sessions have changed, everything is compared every second for this long, in milliseconds: a handshake that a replaced
 * gateway had under way may reach the keeper after the first comparison.
 */
const SETTLING_MS = 3000
const SETTLING_STEP_MS = 1000

/**
 * How long before a terminal's end the sessions are compared once more, in milliseconds: that of a program lasts longer as soon as
 * a newer token of it was seen, and the keeper must hear of it before it ends the shell.
 */
const BEFORE_END_MS = 3000

/** How many terminals there are, by state. */
export type TerminalCounts = Readonly<Record<TerminalState, number>>

/** What the gateway's side needs. */
export interface TerminalKeeperOptions {
  /** GATEWAY_TERMINAL_URL. Only a Unix socket can be a keeper's. */
  readonly address: ServiceAddress
  readonly logger: Logger
  /** Whether this process decides who is signed in: not while a predecessor does, nor after a successor does. */
  readonly isInCharge: () => boolean
  /**
   * When the session of a terminal ends, in milliseconds since 1970 (Infinity for never); undefined when it has ended, or is not
   * known.
   */
  readonly endOf: (entry: TerminalEntry) => number | undefined
}

/** The keeper of terminals, as the gateway sees it. */
export class TerminalKeeper implements Watched {
  place = -1
  readonly #address: ServiceAddress
  readonly #logger: Logger
  readonly #isInCharge: () => boolean
  readonly #endOf: (entry: TerminalEntry) => number | undefined
  #side: TerminalSide = { kind: 'ttyd' }
  #lookedAt = -Infinity
  #looking: Promise<TerminalSide> | undefined
  #comparing: Promise<void> | undefined
  /** Whether something has changed since the terminals were last compared. */
  #isDue = true
  /** When they are compared next in any case: on the monotonic clock, and on the wall clock because a terminal ends then. */
  #compareAt = -Infinity
  #compareBefore = Infinity
  /** Until when they are compared every second, on the monotonic clock. */
  #settlesAt = -Infinity
  /** Not before this time, after a failure. */
  #retryAt = -Infinity
  #hasFailed = false
  #counts: TerminalCounts | undefined
  #countedAt = -Infinity
  #isCounting = false

  constructor({ address, logger, isInCharge, endOf: endOfEntry }: TerminalKeeperOptions) {
    this.#address = address
    this.#logger = logger
    this.#isInCharge = isInCharge
    this.#endOf = endOfEntry
  }

  /** What is behind GATEWAY_TERMINAL_URL, a few seconds old at most. Takes two seconds at most and never rejects. */
  look(): Promise<TerminalSide> {
    if (performance.now() - this.#lookedAt < LOOK_MS || this.#address.socketPath === undefined)
      return Promise.resolve(this.#side)
    this.#looking ??= this.#look().finally(() => (this.#looking = undefined))
    return this.#looking
  }

  /**
   * The headers that name a session in a handshake; none for a plain ttyd, or a keeper that does not understand them. What does
   * not answer in time may be a keeper that is busy, and it would give a handshake without a session a shell that is not kept.
   */
  async headersFor(session: Session): Promise<string[]> {
    const { kind } = await this.look()
    if (kind !== 'keeper' && kind !== 'away') return []
    const headers = [
      SESSION_HEADERS.id,
      session.id,
      SESSION_HEADERS.user,
      headerSafe(session.subject),
    ]
    const endsAt = endOf(session, Date.now())
    this.#compareBeforeEnd(endsAt)
    if (Number.isFinite(endsAt)) headers.push(SESSION_HEADERS.ends, String(endsAt))
    headers.push(SESSION_HEADERS.mark, markOf(session))
    return headers
  }

  /**
   * The keeper's terminals; none without a keeper that this gateway understands.
   * @throws {GatewayError} `upstream-unreachable` when the keeper does not answer
   */
  async list(): Promise<readonly TerminalEntry[]> {
    return this.#reached(async () => {
      const side = await this.look()
      if (side.kind === 'away') throw new AwayError(side.why)
      return (await this.#list()) ?? []
    })
  }

  /**
   * Ends a terminal.
   * @returns whether it was there
   * @throws {GatewayError} `upstream-unreachable` when the keeper does not answer
   */
  async end(id: string): Promise<boolean> {
    return this.#reached(async () => {
      const side = await this.look()
      if (side.kind === 'away') throw new AwayError(side.why)
      if (side.kind !== 'keeper') return false
      return countIn(await this.#ask('DELETE', pathOf(id)), 'ended') > 0
    })
  }

  /**
   * How many terminals there were at the last look, a few seconds ago; undefined when no keeper answered. Waits for nothing: a
   * newer look is begun for the next question.
   */
  lastCounts(): TerminalCounts | undefined {
    const isOld = performance.now() - this.#countedAt >= LOOK_MS
    if (isOld && !this.#isCounting && this.#address.socketPath !== undefined) {
      this.#isCounting = true
      void this.#list()
        .catch(() => (this.#counts = undefined))
        .finally(() => (this.#isCounting = false))
    }
    return this.#counts
  }

  /**
   * Compares the keeper's terminals with the sessions, once: those of sessions that have ended, or that are not known, end, and
   * those whose session was renewed get its new end. Never rejects: what fails is tried again.
   */
  compare(): Promise<void> {
    if (this.#address.socketPath === undefined) return Promise.resolve()
    this.#comparing ??= this.#compare().finally(() => (this.#comparing = undefined))
    return this.#comparing
  }

  /** Compares, because sessions have ended or were renewed. */
  sessionsChanged(): void {
    this.#isDue = true
    this.#settlesAt = performance.now() + SETTLING_MS
    void this.compare()
  }

  check(now: number, wallClock: number): void {
    if (now >= this.#compareAt || wallClock >= this.#compareBefore) this.#isDue = true
    if (this.#isDue && now >= this.#retryAt) void this.compare()
  }

  async #compare(): Promise<void> {
    try {
      while (this.#isDue && this.#isInCharge()) {
        this.#isDue = false
        await this.#compareOnce()
      }
      this.#noteSuccess()
    } catch (error) {
      this.#isDue = true
      this.#noteFailure(error)
    }
  }

  async #compareOnce(): Promise<void> {
    const now = performance.now()
    this.#compareAt = now + (now < this.#settlesAt ? SETTLING_STEP_MS : COMPARE_MS)
    this.#compareBefore = Infinity
    const bySession = Map.groupBy((await this.#list()) ?? [], ({ sid }) => sid)
    bySession.delete(undefined) // of handshakes that named no session: they end with their connection
    await Promise.all(Array.from(bySession, ([sid = '', entries]) => this.#settle(sid, entries)))
  }

  /** Ends the terminals of a session that is over, or tells the keeper when it ends. */
  async #settle(sid: string, entries: readonly TerminalEntry[]): Promise<void> {
    const query = `${TERMINALS_PATH}?sid=${encodeURIComponent(sid)}`
    const ends = entries.map((entry) => this.#endOf(entry))
    const endsAt = Math.max(...ends.map((end) => end ?? -Infinity))
    if (endsAt === -Infinity) {
      await this.#tell('DELETE', query)
      return
    }
    // Tokens of a program that share a session may have been signed out without the newest of them.
    for (const [i, { id }] of entries.entries())
      if (ends[i] === undefined) await this.#tell('DELETE', pathOf(id))
    if (entries.some((entry) => (entry.ends ?? Infinity) !== endsAt))
      await this.#tell('PUT', Number.isFinite(endsAt) ? `${query}&ends=${endsAt}` : query)
    this.#compareBeforeEnd(endsAt)
  }

  #compareBeforeEnd(endsAt: number): void {
    const early = endsAt - BEFORE_END_MS
    if (early > Date.now()) this.#compareBefore = Math.min(this.#compareBefore, early)
  }

  /** Tells the keeper something about a session, unless a successor decides meanwhile. */
  async #tell(method: 'DELETE' | 'PUT', path: string): Promise<void> {
    if (!this.#isInCharge()) return
    countIn(await this.#ask(method, path), method === 'PUT' ? 'renewed' : 'ended')
  }

  /** @throws an error when the keeper does not answer as one; a keeper that is not there has no terminals */
  async #list(): Promise<readonly TerminalEntry[] | undefined> {
    const side = await this.look()
    if (side.kind === 'away' && !side.isAbsent) throw new AwayError(side.why)
    const entries =
      side.kind === 'keeper' ? entriesIn(await this.#ask('GET', TERMINALS_PATH)) : undefined
    this.#counts = entries === undefined ? undefined : countsOf(entries)
    this.#countedAt = performance.now()
    return entries
  }

  /** Asks the keeper. When it does not answer as one, it is looked at again before the next question. */
  async #ask(method: string, path: string): Promise<unknown> {
    try {
      return await askKeeper(this.#address, method, path)
    } catch (error) {
      this.#lookedAt = -Infinity
      throw error
    }
  }

  async #look(): Promise<TerminalSide> {
    const side = await lookAtTerminals(this.#address)
    this.#side = side
    // One that is away may be back at once.
    this.#lookedAt = side.kind === 'away' ? -Infinity : performance.now()
    return side
  }

  /** Does something for somebody who can be told that the keeper does not answer. */
  async #reached<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (cause) {
      const reason = `keeper of terminals: ${whyText(cause)}`
      throw new GatewayError('upstream-unreachable', { reason, detail: KEEPER_AWAY_DETAIL, cause })
    }
  }

  #noteSuccess(): void {
    if (this.#hasFailed) this.#logger.info('the keeper of terminals answers again')
    this.#hasFailed = false
  }

  #noteFailure(error: unknown): void {
    this.#retryAt = performance.now() + RETRY_MS
    if (!this.#hasFailed)
      this.#logger.warn({ err: error }, 'the keeper of terminals did not answer as one')
    this.#hasFailed = true
  }
}

/** The keeper does not answer. The message is the code of the reason. */
class AwayError extends Error {}

/** The reason of a failure for the log: a code of the system, or one of our fixed texts. */
function whyText(error: unknown): string {
  const code = noAnswerReason(error)
  return code === 'failed' && error instanceof Error ? error.message : code
}

function pathOf(id: string): string {
  return `${TERMINALS_PATH}/${encodeURIComponent(id)}`
}

function countsOf(entries: readonly TerminalEntry[]): TerminalCounts {
  const counts = { attached: 0, parked: 0, exited: 0 }
  for (const { state } of entries) counts[state]++
  return counts
}
