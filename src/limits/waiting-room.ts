/**
 * What runs first when there is more work than fits into one turn of the event loop? Requests that may pass; refusals and the
 * verification of new tokens are jobs that wait here.
 */

/** How long waiting jobs may run in one turn of the event loop, in milliseconds. */
const TURN_MS = 0.5

/** How many jobs may wait. */
const CAPACITY = 1024

/** How many callbacks are scheduled for one turn at most. More jobs than this do not fit into a turn's time. */
const MAX_SCHEDULED = 64

/** Work that can wait. */
type Job = () => void

/**
 * A queue of jobs, of which each turn of the event loop runs a few, in order. A flood of refusals, or of tokens that were
 * never seen before, then takes only a part of each turn, and requests that may pass get the rest. The throughput of refusals
 * stays the same, because turns follow back to back while the queue is not empty.
 */
export class WaitingRoom {
  readonly #waiting: Job[] = []
  readonly #onError: (error: unknown) => void
  readonly #now: () => number
  /** Scheduled callbacks of {@link #runScheduled}. */
  #scheduled = 0
  /** Whether {@link #beginTurn} is scheduled for the next turn. */
  #isOpen = false
  /** Whether no job of this turn has run yet. */
  #isFirst = true
  /** When the time for jobs in this turn ends. */
  #endsAt = 0

  /**
   * @param onError called with the error of a job that throws; the other jobs still run
   * @param now a monotonic clock in milliseconds
   */
  constructor(onError: (error: unknown) => void, now: () => number = () => performance.now()) {
    this.#onError = onError
    this.#now = now
  }

  /** How many jobs wait. */
  get size(): number {
    return this.#waiting.length
  }

  /**
   * Queues a job. Jobs run in the order in which they were added. When the queue is full, the oldest job runs immediately,
   * because one client can send thousands of requests in one packet: bounded memory is more important than fairness.
   */
  add(job: Job): void {
    if (this.#waiting.length >= CAPACITY) this.#runOldest()
    this.#waiting.push(job)
    if (!this.#isOpen) {
      this.#isOpen = true
      setImmediate(this.#beginTurn)
    }
    this.#schedule()
  }

  /** Resolves when a job added now would run. */
  turn(): Promise<void> {
    return new Promise((resolve) => {
      this.add(resolve)
    })
  }

  /** Runs all waiting jobs immediately. */
  empty(): void {
    while (this.#waiting.length > 0) this.#runOldest()
  }

  /**
   * Schedules a callback for one job. Each job has a callback of its own, so that the promises and ticks that a job leaves
   * behind run before the next job, and their time counts too.
   */
  #schedule(): void {
    if (this.#scheduled >= Math.min(this.#waiting.length, MAX_SCHEDULED)) return
    this.#scheduled++
    setImmediate(this.#runScheduled)
  }

  /**
   * Starts the time slice of a turn. Scheduled before any job of this turn, so it runs first: setImmediate callbacks run in
   * order.
   */
  readonly #beginTurn = (): void => {
    this.#isOpen = this.#waiting.length > 0
    if (!this.#isOpen) return
    this.#isFirst = true
    this.#endsAt = this.#now() + TURN_MS
    setImmediate(this.#beginTurn)
  }

  readonly #runScheduled = (): void => {
    this.#scheduled--
    if (this.#isFirst || this.#now() < this.#endsAt) {
      this.#isFirst = false
      this.#runOldest()
    }
    this.#schedule() // setImmediate schedules from here for the next turn
  }

  #runOldest(): void {
    try {
      this.#waiting.shift()?.()
    } catch (error) {
      this.#onError(error)
    }
  }
}
