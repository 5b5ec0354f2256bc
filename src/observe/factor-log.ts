/**
 * Who showed or set up a second factor, and who was refused? One line of the log for each, and a count for the metrics. What owners do
 * with factors besides, such as removing one, is among their acts (src/admin/perform.ts).
 */
import type { Logger } from 'pino'
import { isoTime } from '../identity/iso-time.ts'
import type { FactorEvent } from '../identity/second-factor/verdicts.ts'

/** How often something happened with a kind of factor. */
export interface FactorCount {
  readonly factor: string
  /** `shown`, `added`, or why it was refused. */
  readonly result: string
  readonly count: number
}

/** The log of second factors. */
export class FactorLog {
  readonly #logger: Logger
  readonly #counts = new Map<string, FactorCount>()
  #locks = 0

  constructor(logger: Logger) {
    this.#logger = logger
  }

  /** How often what happened since the start. */
  get counts(): readonly FactorCount[] {
    return [...this.#counts.values()]
  }

  /** How often wrong codes have locked the codes of somebody since the start. */
  get locks(): number {
    return this.#locks
  }

  note(event: FactorEvent): void {
    const { subject: user, factor, factorId, sessionId: session, client, purpose } = event
    const { reason, lockedUntil } = event
    const result = reason ?? event.what
    const key = `${factor} ${result}`
    const { count } = this.#counts.get(key) ?? { count: 0 }
    this.#counts.set(key, { factor, result, count: count + 1 })
    const fields = { user, factor, factorId, purpose, session, client, reason }
    this.#logger.info(fields, `second factor ${event.what}`)
    if (lockedUntil === undefined || reason === 'locked') return
    this.#locks++
    this.#logger.warn(
      { user, until: isoTime(lockedUntil), session, client },
      'codes locked after wrong ones',
    )
  }
}
