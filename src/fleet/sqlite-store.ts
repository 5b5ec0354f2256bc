/**
 * Where does one process keep what users have taken? In an SQLite file of its own, or in memory. What arrives in one turn of the
 * event loop shares a transaction, so that many callers wait for the disk once; each is answered after the commit.
 */
import { statSync } from 'node:fs'
import type { Logger } from 'pino'
import { longestWindowMs, type LimitPolicy } from '../config/limit-policies.ts'
import type { DatabaseSync } from '../store/quiet-sqlite.ts'
import { inTransaction } from '../store/schema.ts'
import type { GrantRows } from './grant-rows.ts'
import {
  StoreAwayError,
  type LimitStore,
  type Returning,
  type Taking,
  type Usage,
} from './limit-store.ts'
import { openInMemory, openLimitsFile, type LimitsFile } from './limits-file.ts'
import { hasRoom, windowStates } from './windows.ts'

/** How many requests share a transaction at most. */
const MAX_TOGETHER = 256

/** How many grants a store in memory holds at most. */
const MAX_IN_MEMORY = 100_000

/** How long the grants of a policy are kept that nobody has used since the start: the longest window that there can be. */
const KEPT_MS = 31_622_400 * 1000

/** How often the sweep looks for grants that have left every window, in milliseconds. */
const SWEEP_MS = 10_000

/** The same, as long as it finds more than it removes in a step. */
const SWEEP_ON_MS = 100

/** How many grants the sweep removes in a step. */
const SWEEP_ROWS = 1000

/** How a store is opened. */
export interface SqliteStoreOptions {
  /** The time in milliseconds since 1970. Default: the clock of the machine. */
  readonly now?: () => number
  /** Told when the file is new. */
  readonly logger?: Logger
}

/** A request that waits for the next transaction. */
interface Job {
  /** @returns what answers it, after the commit */
  readonly work: (now: number) => () => void
  readonly fail: (error: StoreAwayError) => void
}

/** A store of one process. */
export class SqliteStore implements LimitStore {
  readonly kind: 'sqlite' | 'memory'
  readonly #file: LimitsFile | undefined
  /** Which files were opened: their names may become those of others. */
  readonly #identity: string
  readonly #database: DatabaseSync
  readonly #rows: GrantRows
  readonly #now: () => number
  /** How many grants were added and not removed: all that there are, in memory. A file has no bound but its disk. */
  #added = 0
  /** How long the grants of each policy count that was used, in milliseconds. */
  readonly #lengths = new Map<string, number>()
  #waiting: Job[] = []
  #turn: NodeJS.Immediate | undefined
  #sweepTimer: NodeJS.Timeout
  /** The policy that was swept last. */
  #swept = ''
  /** Whether the last transaction failed. */
  #hasFailed = false
  #isClosed = false

  private constructor(file: LimitsFile | undefined, { now = Date.now }: SqliteStoreOptions) {
    this.kind = file === undefined ? 'memory' : 'sqlite'
    this.#file = file
    this.#identity = identityOf(file)
    const { database, rows } = file ?? openInMemory()
    this.#database = database
    this.#rows = rows
    this.#now = now
    this.#sweepTimer = this.#sweepIn(SWEEP_MS)
  }

  /**
   * Opens the store in a folder, which no other process can open until it is closed.
   * @throws {LimitsBusyError} {LimitsFileError}
   */
  static open(stateDir: string, options: SqliteStoreOptions = {}): SqliteStore {
    const file = openLimitsFile(stateDir)
    if (file.isNew)
      options.logger?.warn({ path: file.path }, 'no limits yet: nobody has taken anything')
    return new SqliteStore(file, options)
  }

  /** A store that ends with the process, and holds a bounded number of grants. */
  static inMemory(options: SqliteStoreOptions = {}): SqliteStore {
    return new SqliteStore(undefined, options)
  }

  take(policy: LimitPolicy, user: string, id: string): Promise<Taking> {
    return this.#ask((now) => {
      const usage = this.#visit(policy, user, now)
      if (usage.grants.some((grant) => grant.id === id)) return { outcome: 'repeated', usage }
      if (!hasRoom(windowStates(policy, usage))) return { outcome: 'refused', usage }
      // Before the new one, which may have the id of one of them.
      this.#added -= this.#rows.removeOlder(policy.name, user, now - longestWindowMs(policy))
      this.#refuseTooMany(now)
      const grant = { id, at: now }
      this.#rows.add(policy.name, user, grant)
      this.#added++
      return { outcome: 'taken', usage: { now, grants: [...usage.grants, grant] } }
    })
  }

  giveBack(policy: LimitPolicy, user: string, id?: string): Promise<Returning> {
    return this.#ask((now) => {
      const usage = this.#visit(policy, user, now)
      const { grants } = usage
      const returned = id === undefined ? grants.at(-1) : grants.find((grant) => grant.id === id)
      if (returned === undefined) return { returned, usage }
      this.#added -= this.#rows.remove(policy.name, user, returned.id)
      return { returned, usage: { now, grants: grants.filter((grant) => grant !== returned) } }
    })
  }

  look(policy: LimitPolicy, user: string): Promise<Usage> {
    return this.#ask((now) => this.#visit(policy, user, now))
  }

  /** After a failure, it tries whether something can be written. */
  async probe(): Promise<void> {
    await this.#ask((now) => {
      if (this.#hasFailed) this.#rows.probe(now)
    })
  }

  // oxlint-disable-next-line require-await -- what is thrown here must reject
  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    clearTimeout(this.#sweepTimer)
    while (this.#waiting.length > 0) this.#runSome()
    clearImmediate(this.#turn)
    this.#database.close()
    this.#file?.lock.release()
  }

  /** What counts for a user, after those that lie in the future were brought back. Nothing else is written. */
  #visit(policy: LimitPolicy, user: string, now: number): Usage {
    const length = longestWindowMs(policy)
    this.#lengths.set(policy.name, length)
    const grants = this.#rows.of(policy.name, user, now - length)
    if ((grants.at(-1)?.at ?? now) <= now) return { now, grants }
    this.#rows.bringBack(policy.name, user, now)
    return { now, grants: grants.map(({ id, at }) => ({ id, at: Math.min(at, now) })) }
  }

  /** @throws {StoreAwayError} when the memory holds as many as it may */
  #refuseTooMany(now: number): void {
    if (this.#file !== undefined || this.#added < MAX_IN_MEMORY) return
    for (const [policy, length] of this.#lengths)
      this.#added -= this.#rows.removeSome(policy, now - length, MAX_IN_MEMORY)
    if (this.#added >= MAX_IN_MEMORY)
      throw new StoreAwayError(`the store in memory is full: it holds ${MAX_IN_MEMORY} grants`)
  }

  /** Has something done in the next transaction. */
  #ask<Answer>(work: (now: number) => Answer): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (this.#isClosed) {
        reject(new StoreAwayError('the store is closed'))
        return
      }
      this.#waiting.push({
        work(now) {
          const answer = work(now)
          return () => resolve(answer)
        },
        fail: reject,
      })
      this.#turn ??= setImmediate(() => this.#runTurn())
    })
  }

  #runTurn(): void {
    this.#runSome()
    this.#turn = this.#waiting.length === 0 ? undefined : setImmediate(() => this.#runTurn())
  }

  /** Does in one transaction what waits, or a bounded number of it. When that fails, all of it has failed. */
  #runSome(): void {
    const jobs = this.#waiting.splice(0, MAX_TOGETHER)
    const answers: (() => void)[] = []
    const added = this.#added
    try {
      this.#refuseLostFile()
      inTransaction(this.#database, () => {
        const now = this.#now()
        for (const job of jobs) answers.push(attempt(job, now))
      })
      this.#hasFailed = false
    } catch (cause) {
      this.#hasFailed = true
      this.#added = added
      const error = new StoreAwayError('the file of the limits cannot be read or written', {
        cause,
      })
      for (const job of jobs) job.fail(error)
      return
    }
    for (const answer of answers) answer()
  }

  /** Refuses to write a file that nobody would find again: the newest grants are in the write-ahead log alone. */
  #refuseLostFile(): void {
    if (this.#file !== undefined && identityOf(this.#file) !== this.#identity)
      throw new Error(
        `${this.#file.path} or its write-ahead log is gone, or another file has its name; start the service again`,
      )
  }

  #sweepIn(ms: number): NodeJS.Timeout {
    return setTimeout(() => {
      this.#sweepTimer = this.#sweepIn(this.#sweep() < SWEEP_ROWS ? SWEEP_MS : SWEEP_ON_MS)
    }, ms).unref()
  }

  /** Removes what has left every window, of one policy after the other. @returns how many it has removed */
  #sweep(): number {
    try {
      const policy = this.#rows.policyAfter(this.#swept)
      if (policy === undefined) {
        this.#swept = ''
        return 0
      }
      const until = this.#now() - (this.#lengths.get(policy) ?? KEPT_MS)
      const count = this.#rows.removeSome(policy, until, SWEEP_ROWS)
      this.#added -= count
      if (count < SWEEP_ROWS) this.#swept = policy
      return count
    } catch {
      return 0 // the disk may be full: the next one who takes something is told
    }
  }
}

/** Does a job of a transaction. What is refused for itself alone fails alone. */
function attempt(job: Job, now: number): () => void {
  try {
    return job.work(now)
  } catch (error) {
    if (!(error instanceof StoreAwayError)) throw error
    return () => job.fail(error)
  }
}

/** Which files have the names of the database and its write-ahead log now. */
function identityOf(file: LimitsFile | undefined): string {
  if (file === undefined) return ''
  const both = [file.path, `${file.path}-wal`].map((path) => {
    const stats = statSync(path, { throwIfNoEntry: false })
    return stats === undefined ? 'none' : `${stats.dev} ${stats.ino}`
  })
  return both.join(', ')
}
