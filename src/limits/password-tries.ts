/**
 * Is a request a guess at the terminal's password, and what does it cost? Each password that ttyd refuses spends the budget
 * of the client's address, because ttyd itself does not limit guesses. A password that ttyd has accepted from the same
 * session before is no guess.
 */
import { createHash, randomBytes } from 'node:crypto'

/** The budget of the client's address. */
export interface TryBudget {
  /** Spends one request. @returns false when none is left */
  take(): boolean
  /** Returns the request that was spent last. */
  giveBack(): void
}

/** How many sessions are remembered. When there are more, the one whose password was accepted longest ago is dropped. */
export const ACCEPTED_SESSIONS = 1000

/** One request with a password, until the terminal has answered it. */
export class PasswordTry {
  readonly #settle: (isAccepted: boolean | undefined) => void
  #isSettled = false

  constructor(settle: (isAccepted: boolean | undefined) => void) {
    this.#settle = settle
  }

  /**
   * Settles the try by the terminal's response; later calls do nothing. A try without a response stays paid for.
   * @param isAccepted undefined when the response tells nothing about the password
   */
  settle(isAccepted: boolean | undefined): void {
    if (this.#isSettled) return
    this.#isSettled = true
    this.#settle(isAccepted)
  }

  /** Settles the try by a status. A 404 proves nothing, because the terminal may send it before it checks credentials. */
  settleBy(status: number): void {
    if (status === 401) this.settle(false)
    else this.settle(status >= 200 && status < 400 ? true : undefined)
  }
}

/** Knows the password that was accepted from each session, as a digest whose salt never leaves this process. */
export class PasswordTries {
  readonly #salt = randomBytes(32)
  // A Map keeps insertion order, which here is the order of acceptance.
  readonly #accepted = new Map<string, string>()

  /** How many sessions are remembered. */
  get size(): number {
    return this.#accepted.size
  }

  /**
   * Begins a try. The budget is spent before the request reaches the terminal, so that concurrent tries are not free, and is
   * returned unless the terminal refuses the password.
   * @param budget undefined when the request has already spent from the address's budget
   * @returns undefined when the budget is used up
   */
  begin(
    sessionId: string,
    authorization: string,
    budget: TryBudget | undefined,
  ): PasswordTry | undefined {
    const digest = createHash('sha256').update(this.#salt).update(authorization).digest('base64')
    const isKnown = this.#accepted.get(sessionId) === digest
    if (!isKnown && budget?.take() === false) return undefined
    return new PasswordTry((isAccepted) => {
      if (isAccepted === true) this.#accept(sessionId, digest)
      else if (isAccepted === false && this.#accepted.get(sessionId) === digest)
        this.#accepted.delete(sessionId)
      if (isKnown && isAccepted === false) budget?.take()
      if (!isKnown && isAccepted !== false) budget?.giveBack()
    })
  }

  #accept(sessionId: string, digest: string): void {
    this.#accepted.delete(sessionId)
    if (this.#accepted.size >= ACCEPTED_SESSIONS) {
      const oldest = this.#accepted.keys().next()
      if (oldest.done !== true) this.#accepted.delete(oldest.value)
    }
    this.#accepted.set(sessionId, digest)
  }
}
