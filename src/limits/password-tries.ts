/**
 * Is a request a try at the terminal's password, and what does it cost? ttyd itself lets anybody with a session try as often
 * as they like. Each try that ttyd refuses spends the address's budget; what it accepted from the session once is no try.
 */
import { createHash, randomBytes } from 'node:crypto'

/** The budget of the client address that tries. */
export interface TryBudget {
  /** Takes one. @returns false when none is left */
  take(): boolean
  /** Gives one back. */
  giveBack(): void
}

/** How many sessions are remembered; the one that was accepted longest ago makes room. */
export const ACCEPTED_SESSIONS = 1000

/** A request with a password on its way to the terminal. */
export class PasswordTry {
  readonly #settle: (isAccepted: boolean | undefined) => void
  #isSettled = false

  constructor(settle: (isAccepted: boolean | undefined) => void) {
    this.#settle = settle
  }

  /**
   * Hears what the terminal said. A try whose answer never comes stays paid for.
   * @param isAccepted undefined when the terminal said nothing about the password
   */
  settle(isAccepted: boolean | undefined): void {
    if (this.#isSettled) return
    this.#isSettled = true
    this.#settle(isAccepted)
  }

  /** The same by the status of the terminal's answer. A 404 is no proof: it may be given before credentials are looked at. */
  settleBy(status: number): void {
    if (status === 401) this.settle(false)
    else this.settle(status >= 200 && status < 400 ? true : undefined)
  }
}

/** Which password was accepted from which session: as a salted digest, which is no use outside this process. */
export class PasswordTries {
  readonly #salt = randomBytes(32)
  // Insertion order is the order of acceptance.
  readonly #accepted = new Map<string, string>()

  /** How many sessions are remembered. */
  get size(): number {
    return this.#accepted.size
  }

  /**
   * Begins a try. It is paid for before the terminal is asked, so that tries at the same time are not free, and paid back
   * unless the terminal refuses.
   * @param budget undefined when the request itself was paid from the address's budget already
   * @returns undefined when the address has no try left
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
