/**
 * How does the gateway speak with the keeper of terminals? It names sessions in handshakes, tells the keeper which sessions have
 * ended or were renewed, and lists and ends terminals for their owner. A plain ttyd has no keeper, and then nothing here is asked.
 */
import { request, type IncomingMessage } from 'node:http'
import type { Logger } from 'pino'
import { codeOf } from '../answers/errors.ts'
import type { ServiceAddress } from '../config/values.ts'
import type { Session } from '../identity/session.ts'
import type { Watched } from '../limits/watchdog.ts'
import { headerSafe } from '../http/to-service.ts'
import {
  READY_PATH,
  SESSION_HEADERS,
  TERMINALS_PATH,
  UNDERSTOOD_PROTOCOLS,
  type KeeperReady,
  type TerminalEntry,
  type TerminalList,
} from './protocol.ts'
import { markOf } from './session-of.ts'

/**
 * What is behind GATEWAY_TERMINAL_URL. `ttyd`: no keeper. `keeper`: one that this gateway understands. `other-version`: one that it
 * does not, which is treated as a plain ttyd. `away`: nobody answers.
 */
export type TerminalSide =
  | { readonly kind: 'ttyd' | 'away' }
  | { readonly kind: 'keeper' | 'other-version'; readonly ready: KeeperReady }

/** How long the keeper may take to answer, in milliseconds. It is on this machine, and answers from memory. */
const ANSWER_MS = 2000

/** The largest answer that is read, in bytes: a list of 64 terminals is much smaller. */
const MAX_ANSWER_BYTES = 1024 * 1024

/** How long the result of a look is used for handshakes, in milliseconds. */
const LOOK_MS = 5000

/** After a failure, the keeper is asked again after this time, in milliseconds. */
const RETRY_MS = 1000

/** How often everything is compared when nothing has failed, in milliseconds. */
const COMPARE_MS = 60_000

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
  /** When they are compared next in any case, on the monotonic clock. */
  #compareAt = -Infinity
  /** Not before this time, after a failure. */
  #retryAt = -Infinity
  #hasFailed = false

  constructor({ address, logger, isInCharge, endOf }: TerminalKeeperOptions) {
    this.#address = address
    this.#logger = logger
    this.#isInCharge = isInCharge
    this.#endOf = endOf
  }

  /** What is behind GATEWAY_TERMINAL_URL, a few seconds old at most. Never rejects. */
  look(): Promise<TerminalSide> {
    if (this.#address.socketPath === undefined) return Promise.resolve(this.#side)
    if (performance.now() - this.#lookedAt < LOOK_MS) return Promise.resolve(this.#side)
    this.#looking ??= this.#look().finally(() => (this.#looking = undefined))
    return this.#looking
  }

  /** The headers that name a session in a handshake; none unless a keeper is there that understands them. */
  async headersFor(session: Session): Promise<string[]> {
    const side = await this.look()
    if (side.kind !== 'keeper') return []
    const { id, subject, endsAt } = session
    const headers = [SESSION_HEADERS.id, id, SESSION_HEADERS.user, headerSafe(subject)]
    if (Number.isFinite(endsAt)) headers.push(SESSION_HEADERS.ends, String(Math.floor(endsAt)))
    headers.push(SESSION_HEADERS.mark, markOf(session))
    return headers
  }

  /** The terminals; none when there is no keeper. @throws an error with a code when the keeper does not answer */
  async list(): Promise<readonly TerminalEntry[]> {
    const side = await this.look()
    if (side.kind !== 'keeper') return []
    const { terminals } = (await this.#ask('GET', TERMINALS_PATH)) as TerminalList
    return terminals
  }

  /** Ends a terminal. @returns whether it was there */
  async end(id: string): Promise<boolean> {
    const side = await this.look()
    if (side.kind !== 'keeper') return false
    const answer = await this.#ask('DELETE', `${TERMINALS_PATH}/${encodeURIComponent(id)}`)
    return (answer as { ended: number }).ended > 0
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
    void this.compare()
  }

  check(now: number): void {
    if (now >= this.#compareAt) this.#isDue = true
    if (this.#isDue && now >= this.#retryAt) void this.compare()
  }

  async #compare(): Promise<void> {
    try {
      while (this.#isDue && this.#isInCharge()) {
        this.#isDue = false
        await this.#compareOnce()
      }
      this.#hasFailed = false
    } catch (error) {
      this.#isDue = true
      this.#retryAt = performance.now() + RETRY_MS
      if (!this.#hasFailed)
        this.#logger.warn({ err: error }, 'the keeper of terminals did not answer')
      this.#hasFailed = true
    }
  }

  async #compareOnce(): Promise<void> {
    this.#compareAt = performance.now() + COMPARE_MS
    const ended = new Set<string>()
    for (const entry of await this.list()) {
      if (entry.sid === undefined || ended.has(entry.sid)) continue
      const path = `${TERMINALS_PATH}?sid=${encodeURIComponent(entry.sid)}`
      const endsAt = this.#endOf(entry)
      if (endsAt === undefined) {
        ended.add(entry.sid)
        await this.#ask('DELETE', path)
      } else if (endsAt !== (entry.ends ?? Infinity))
        await this.#ask('PUT', Number.isFinite(endsAt) ? `${path}&ends=${endsAt}` : path)
    }
  }

  async #look(): Promise<TerminalSide> {
    this.#side = await this.#see()
    this.#lookedAt = performance.now()
    return this.#side
  }

  async #see(): Promise<TerminalSide> {
    try {
      const ready = await this.#ask('GET', READY_PATH)
      if (!isReady(ready)) return { kind: 'ttyd' }
      const isUnderstood = UNDERSTOOD_PROTOCOLS.includes(ready.protocol)
      return { kind: isUnderstood ? 'keeper' : 'other-version', ready }
    } catch (error) {
      return { kind: error instanceof NotKeeperError ? 'ttyd' : 'away' }
    }
  }

  /** @throws {NotKeeperError} when what answers is no keeper; an error with a code when nothing answers */
  async #ask(method: string, path: string): Promise<unknown> {
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
    const signal = AbortSignal.timeout(ANSWER_MS)
    request(
      { socketPath: this.#address.socketPath, method, path, agent: false, signal, headers: {} },
      resolve,
    )
      .on('error', reject)
      .end()
    const answer = await promise
    const chunks: Buffer[] = []
    let size = 0
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      size += chunk.length
      if (size > MAX_ANSWER_BYTES) throw new NotKeeperError('it said too much')
      chunks.push(chunk)
    }
    if (answer.statusCode !== 200) throw new NotKeeperError(`it answered ${answer.statusCode}`)
    try {
      return JSON.parse(Buffer.concat(chunks).toString('utf8')) as unknown
    } catch (cause) {
      throw new NotKeeperError(`it answered no JSON (${codeOf(cause)})`)
    }
  }
}

/** What answers is no keeper of terminals. */
class NotKeeperError extends Error {}

function isReady(value: unknown): value is KeeperReady {
  return (
    typeof value === 'object' &&
    value !== null &&
    'protocol' in value &&
    typeof value.protocol === 'number'
  )
}
