/**
 * How are refusals audited without letting a stranger fill the disk? The first ten of an agent in a minute have a row each. Further
 * ones are counted, and the minute ends with one row that has their number; so an agent writes eleven rows a minute at most.
 */
import type { Logger } from 'pino'
import type { Audit, AuditFacts } from './audit-row.ts'

/** The facts of a refusal. Its reason is the code of the refusal, or how a request ended before anything was dialled. */
export type Denial = Omit<AuditFacts, 'op' | 'reason'> & { readonly reason: string }

/** Refusals of one agent in one minute that have rows of their own. */
const ROWS_A_MINUTE = 10
const MINUTE_MS = 60_000

/** The longest path in a row, in characters, because the agent chooses it. */
const MAX_PATH_LENGTH = 200

interface Minute {
  readonly since: number
  rows: number
  readonly counted: Map<string, number>
}

/** What may be replaced. */
export interface DenialOptions {
  readonly audit: Audit
  readonly logger: Logger
  readonly now?: () => number
}

/** Writes the rows of refusals. */
export class Denials {
  readonly #audit: Audit
  readonly #logger: Logger
  readonly #now: () => number
  /** By the agent; an empty text for whoever has shown no valid lease on the port. */
  readonly #minutes = new Map<string, Minute>()

  constructor({ audit, logger, now = Date.now }: DenialOptions) {
    this.#audit = audit
    this.#logger = logger
    this.#now = now
  }

  /** Notes a refusal. It stands also when the row cannot be written, which is logged. */
  note(denial: Denial): void {
    const minute = this.#minuteOf(denial.agent ?? '')
    if (minute.rows < ROWS_A_MINUTE) {
      minute.rows++
      this.#write({ ...denial, path: denial.path?.slice(0, MAX_PATH_LENGTH), op: 'deny' })
    } else minute.counted.set(denial.reason, (minute.counted.get(denial.reason) ?? 0) + 1)
  }

  /** Writes the numbers of the minutes that are over. @param all of all minutes, because the process ends */
  settle(all = false): void {
    const now = this.#now()
    for (const [agent, minute] of this.#minutes)
      if (all || isOver(minute, now)) this.#end(agent, minute)
  }

  #minuteOf(agent: string): Minute {
    const now = this.#now()
    const open = this.#minutes.get(agent)
    if (open !== undefined && !isOver(open, now)) return open
    if (open !== undefined) this.#end(agent, open)
    const minute: Minute = { since: now, rows: 0, counted: new Map() }
    this.#minutes.set(agent, minute)
    return minute
  }

  #end(agent: string, { counted }: Minute): void {
    this.#minutes.delete(agent)
    if (counted.size === 0) return
    const numbers = [...counted].map(([code, count]) => `${code} ${count} more`)
    this.#write({
      op: 'deny',
      agent: agent === '' ? undefined : agent,
      reason: `${numbers.join(', ')} in a minute`,
    })
  }

  #write(facts: AuditFacts): void {
    this.#audit.writeSoon(facts).catch((error: unknown) => {
      this.#logger.error({ err: error }, 'a refusal was not audited')
    })
  }
}

/** Whether a minute is over. One that has not begun yet is: the clock was set back, and its rows would be held back until then. */
function isOver({ since }: Minute, now: number): boolean {
  return now < since || now - since >= MINUTE_MS
}
