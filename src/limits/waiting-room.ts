/** Who goes first when more is to be done than fits into a turn of the event loop? What can wait waits here meanwhile. */

/** How long one turn of the event loop serves who waits, in milliseconds. */
const TURN_MS = 0.5

/** How many may wait. */
const CAPACITY = 1024

/** How many calls are made in one turn at most: enough for the time there is. */
const MAX_CALLS = 64

/** Something that can wait. */
type Job = () => void

/**
 * Refusals wait here, and tokens that were never seen before: each turn serves a few of them, in order, after everything
 * that may pass. A flood of refusals then takes a part of each turn and not all of it. That lowers nothing: turns follow
 * one another without a pause as long as somebody waits.
 */
export class WaitingRoom {
  readonly #waiting: Job[] = []
  readonly #onError: (error: unknown) => void
  readonly #now: () => number
  /** Calls that are on their way. */
  #calls = 0
  /** Whether each turn begins with {@link #beginTurn} for now. */
  #isOpen = false
  #isFirst = true
  #endsAt = 0

  /**
   * @param onError hears of a job that throws: it stops nobody else
   * @param now a monotonic clock in milliseconds
   */
  constructor(onError: (error: unknown) => void, now: () => number = () => performance.now()) {
    this.#onError = onError
    this.#now = now
  }

  /** How many wait. */
  get size(): number {
    return this.#waiting.length
  }

  /**
   * Has something done when there is time, in the order of the calls. When the room is full, whoever has waited longest is
   * served at once: one client can send thousands of requests in one packet, and bounded memory goes before fairness.
   */
  add(job: Job): void {
    if (this.#waiting.length >= CAPACITY) this.#serveOne()
    this.#waiting.push(job)
    if (!this.#isOpen) {
      this.#isOpen = true
      setImmediate(this.#beginTurn)
    }
    this.#call()
  }

  /** Resolves when there is time. */
  turn(): Promise<void> {
    return new Promise((resolve) => {
      this.add(resolve)
    })
  }

  /** Serves everybody at once. */
  empty(): void {
    while (this.#waiting.length > 0) this.#serveOne()
  }

  /** One call for each who waits: what a job leaves to do (promises, ticks) is then done before the next, and is in its time. */
  #call(): void {
    if (this.#calls >= Math.min(this.#waiting.length, MAX_CALLS)) return
    this.#calls++
    setImmediate(this.#answerCall)
  }

  /** Of what was asked for in the turn before, this was the first. */
  readonly #beginTurn = (): void => {
    this.#isOpen = this.#waiting.length > 0
    if (!this.#isOpen) return
    this.#isFirst = true
    this.#endsAt = this.#now() + TURN_MS
    setImmediate(this.#beginTurn)
  }

  readonly #answerCall = (): void => {
    this.#calls--
    if (this.#isFirst || this.#now() < this.#endsAt) {
      this.#isFirst = false
      this.#serveOne()
    }
    this.#call() // what is called from here comes in the next turn
  }

  #serveOne(): void {
    try {
      this.#waiting.shift()?.()
    } catch (error) {
      this.#onError(error)
    }
  }
}
