/**
 * How is a Redis asked that many processes share? Each answer comes within two seconds, or not at all: a connection that has fallen
 * silent is replaced. Nothing is queued while there is none, and after a silence one question at a time finds out whether it is over.
 */
import type { createClient, RedisClientType } from '@redis/client'

/** How long an answer may take, in milliseconds. */
const ANSWER_MS = 2000

const SILENCE = `no answer within ${ANSWER_MS} ms`

/** How often it is tried whether a silence is over, in milliseconds. */
const TRY_MS = 1000

/** The longest pause between two attempts to connect, in milliseconds. */
const MAX_RETRY_MS = 2000

/**
 * What a Redis answers that takes nothing from anybody for now. Another one may have taken its place: then the address leads there, but
 * only new connections do. Until Redis 7, what a script was answered is inside of another error, after a minus sign.
 */
const TAKES_NOTHING = /(?:^| -)(?:READONLY|MASTERDOWN|NOREPLICAS|MISCONF|LOADING)\b/

/** There is no answer, or it is an error. `cause` is what Redis or the system says. */
export class RedisAwayError extends Error {}

/** A client, which connects again and again for as long as it is wanted. */
interface Line {
  readonly client: RedisClientType
  /** Fulfilled when the first attempt to connect is over, however it ended. */
  readonly tried: Promise<unknown>
  /** When it was opened, by the clock of `performance`. */
  readonly openedAt: number
  /** Why there is no connection, as Redis or the system says. */
  problem: unknown
  /** Since when there is a connection on which Redis has not greeted yet, by the clock of `performance`; undefined otherwise. */
  ungreetedSince: number | undefined
}

/** A connection to Redis. The client is loaded for the first question, because most processes have no Redis. */
export class RedisConnection {
  readonly #url: string
  #line: Line | undefined
  /** When a question was last left without an answer, or is to find out, by the clock of `performance`; undefined when there is an answer. */
  #silentSince: number | undefined
  #isClosed = false

  /** @param url `redis://…` or `rediss://…`. It may hold a password and is never logged. */
  constructor(url: string) {
    this.#url = url
  }

  /**
   * Asks Redis. What was asked without an answer may have been done all the same.
   * @throws {RedisAwayError}
   */
  async ask<Answer>(ask: (client: RedisClientType) => Promise<Answer>): Promise<Answer> {
    const { createClient: create } = await import('@redis/client')
    if (this.#isClosed) throw new RedisAwayError('closed')
    this.#takeTurn()
    let line: Line | undefined
    let timer: NodeJS.Timeout | undefined
    try {
      if (neverGreets(this.#line)) this.#drop(this.#line, new Error('no greeting'))
      const { client, tried } = (line = this.#line ??= open(this.#url, create))
      const late = new Promise<never>((_resolve, reject) => {
        timer = setTimeout(() => {
          const silence = new Error(SILENCE)
          reject(silence)
          this.#silentSince = performance.now()
          this.#drop(line, silence) // perhaps it is gone for good, and TCP has not noticed
        }, ANSWER_MS)
      })
      const answer = await Promise.race([tried.then(() => ask(client)), late])
      this.#silentSince = undefined
      return answer
    } catch (cause) {
      if (line !== undefined && line === this.#line) this.#silentSince = undefined // an error is an answer, too
      if (isWorthLeaving(line, cause)) this.#drop(line, cause)
      throw new RedisAwayError('the store does not answer', { cause: line?.problem ?? cause })
    } finally {
      clearTimeout(timer)
    }
  }

  /** Lets one question a second find out whether a silence is over, and has no other wait for that. @throws {RedisAwayError} */
  #takeTurn(): void {
    if (this.#silentSince === undefined) return
    const now = performance.now()
    if (now - this.#silentSince < TRY_MS)
      throw new RedisAwayError('the store does not answer', { cause: new Error(SILENCE) })
    this.#silentSince = now
  }

  /** Ends the connection, and what is under way with it. */
  close(): void {
    this.#isClosed = true
    this.#drop(this.#line, new Error('closed'))
  }

  /** Leaves a client. @param why for everything that was asked of it */
  #drop(line: Line | undefined, why: unknown): void {
    if (line === undefined || line !== this.#line) return
    this.#line = undefined
    line.problem = why
    line.client.removeAllListeners('error').on('error', ignore)
    if (line.client.isOpen) line.client.destroy()
  }
}

function open(url: string, create: typeof createClient): Line {
  const client: RedisClientType = create({
    url,
    disableOfflineQueue: true,
    commandsQueueMaxLength: 10_000,
    socket: {
      connectTimeout: ANSWER_MS,
      reconnectStrategy: (tries) => Math.min(MAX_RETRY_MS, 50 * 2 ** tries) * Math.random(),
    },
  })
  const failed = new Promise((resolve) => void client.once('error', resolve))
  const line: Line = {
    client,
    tried: Promise.race([client.connect().then(ignore, ignore), failed]),
    openedAt: performance.now(),
    problem: undefined,
    ungreetedSince: undefined,
  }
  client.on('connect', () => {
    line.ungreetedSince = performance.now()
  })
  client.on('ready', () => {
    line.problem = line.ungreetedSince = undefined
  })
  client.on('error', (error: unknown) => {
    line.problem = error
    line.ungreetedSince = undefined
  })
  return line
}

/** Whether Redis was reached and has not greeted for as long as an answer may take. The client itself would wait for ever. */
function neverGreets(line: Line | undefined): boolean {
  return line?.ungreetedSince !== undefined && performance.now() - line.ungreetedSince > ANSWER_MS
}

/** Whether the address may lead to another Redis by now. One that is as it is to stay is connected to at most every two seconds. */
function isWorthLeaving(line: Line | undefined, problem: unknown): boolean {
  return (
    line !== undefined &&
    performance.now() - line.openedAt > MAX_RETRY_MS &&
    problem instanceof Error &&
    TAKES_NOTHING.test(problem.message)
  )
}

function ignore(): void {}
