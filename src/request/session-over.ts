/** What is the answer to a request whose session ends while the request is under way? The one that its next request gets. */
import { SESSION_ENDED_REASON } from '../answers/close-reasons.ts'
import { GatewayError } from '../answers/errors.ts'
import type { Session } from '../identity/session.ts'
import type { Watched } from '../limits/watchdog.ts'

/** The error for a request that has no response yet. The connection closes, because the request's body may still be coming. */
export function sessionOver({ endedBy }: Session): GatewayError {
  const hasExpired = endedBy === undefined || endedBy === 'expired'
  return new GatewayError(hasExpired ? 'token-expired' : 'token-invalid', {
    reason: SESSION_ENDED_REASON,
    headers: { Connection: 'close' },
  })
}

/** Calls back when a session is over, as long as it is in the watchdog's list. The session must still live. */
export class SessionWatch implements Watched {
  place = -1
  readonly #session: Session
  readonly #openedAt = Date.now()
  readonly #onOver: () => void

  /** @param onOver called at each check from then on, so it may be called again */
  constructor(session: Session, onOver: () => void) {
    this.#session = session
    this.#onOver = onOver
  }

  check(_now: number, wallClock: number): void {
    if (this.#session.isOver(wallClock, this.#openedAt)) this.#onOver()
  }
}
