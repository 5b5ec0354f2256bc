/**
 * How does a flood not fill the log? Refusals of a client that has spent its budget are summed up: the first has a line of its own,
 * then there is one line a second at most for each client and kind of refusal, with how many there were.
 */
import type { ErrorCode } from '../answers/errors.ts'
import type { Stage } from '../request/outcome.ts'
import type { Log } from './log.ts'

/** How often sums are written, in milliseconds. */
const SUM_MS = 1000

/** For how many pairs of client and kind there are sums of their own. Further clients share one for each kind. */
const CAPACITY = 1000

const EVERYONE_ELSE = '*'

/** What all refusals of a sum have in common, so that none of them hides behind the line of another one. */
export interface RefusalKind {
  readonly code: ErrorCode
  readonly stage: Stage
  /** What was sent; 0 when the client left before. */
  readonly status: number
}

/** The refusals of a client, of one kind, since the last line. */
interface RefusalSum {
  count: number
  /** The fields of the log line of one of them, which `explain` knows. */
  sample: string
  /** Whether it is of every client for which there was no room. */
  readonly isShared: boolean
}

/** The sums of refusals. */
export class RefusalSums {
  readonly #log: Log
  readonly #sums = new Map<string, RefusalSum>()
  #timer: NodeJS.Timeout | undefined

  constructor(log: Log) {
    this.#log = log
  }

  /**
   * Counts a refusal in its sum.
   * @param client names the client, and the budget that it has spent
   * @param record Records the refusal for `explain`, and returns the fields of its log line. Called for one refusal in each sum
   * @returns false for a refusal that is in no sum, and so has a line of its own: the first since a second without one
   */
  add(client: string, { code, stage, status }: RefusalKind, record: () => string): boolean {
    const sum = this.#sumOf(client, `${code} ${stage} ${status}`)
    if (sum === undefined) return false
    if (sum.count === 0) sum.sample = record()
    sum.count++
    return true
  }

  #sumOf(client: string, kind: string): RefusalSum | undefined {
    const key = `${kind} ${client}`
    const known = this.#sums.get(key)
    if (known !== undefined) return known
    if (this.#sums.size < CAPACITY) {
      this.#begin(key, false)
      return undefined
    }
    const shared = `${kind} ${EVERYONE_ELSE}`
    return this.#sums.get(shared) ?? this.#begin(shared, true)
  }

  #begin(key: string, isShared: boolean): RefusalSum {
    const sum = { count: 0, sample: '', isShared }
    this.#sums.set(key, sum)
    this.#timer ??= setInterval(() => this.#write(), SUM_MS).unref()
    return sum
  }

  /** Writes a line for each sum, and forgets those to which nothing was added. */
  #write(): void {
    for (const [key, sum] of this.#sums) {
      if (sum.count === 0) this.#sums.delete(key)
      else this.#writeSum(sum)
    }
    if (this.#sums.size === 0) this.#stop()
  }

  #writeSum(sum: RefusalSum): void {
    const fields = `${sum.sample}${sum.isShared ? ',"shared":true' : ''},"count":${sum.count}`
    this.#log.writeLine('info', fields, 'requests refused')
    sum.count = 0
  }

  #stop(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  /** Writes what there is, and ends. */
  close(): void {
    this.#write()
    this.#sums.clear()
    this.#stop()
  }
}
