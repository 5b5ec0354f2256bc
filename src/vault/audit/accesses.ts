/**
 * Which agent used which service last, and how often? A table in memory, for the owner. It is filled from the newest rows of the audit
 * log at the start, and from then on by each row that is written, so that a look at it reads nothing from the disk.
 */
import type { AuditFacts, UseAudit } from '../audit-row.ts'
import type { AccessesAnswer, AccessView } from '../protocol.ts'
import type { AuditRow } from './audit-line.ts'
import type { VaultErrorCode } from '../vault-errors.ts'

/** How many pairs of agent and service are kept. */
const MAX_PAIRS = 500

/** A longer path is cut (characters), because the agent chooses it. */
const MAX_PATH_LENGTH = 200

/** A refusal that is not counted: git sends each first request without its lease, and repeats it when it is asked for one. */
const UNASKED: VaultErrorCode = 'lease-missing'

/** The facts of a row, its number and its time (RFC 3339). */
type Noted = AuditFacts & Pick<AuditRow, 'n' | 'time'>

/** What is known of one agent and one service. */
interface Pair {
  readonly agent: string
  readonly service: string
  uses: number
  refusals: number
  /** The number of the row that began the last use; 0 without one. */
  row: number
  use: AccessView['last_use']
  refusal: AccessView['last_refusal']
}

/** The table. */
export class Accesses {
  readonly #audit: UseAudit
  readonly #now: () => number
  /** The number of the oldest row that is known: a use that began before it is counted when it ends. */
  readonly #first: number
  readonly #since: string
  /** By agent and service, the pair with the latest row last. */
  readonly #pairs = new Map<string, Pair>()

  /**
   * @param audit where rows are written
   * @param known the newest rows of the log, the newest first
   * @param now the clock, in ms since the epoch
   */
  constructor(audit: UseAudit, known: readonly AuditRow[], now: () => number = Date.now) {
    this.#audit = audit
    this.#now = now
    const oldest = known.at(-1)
    this.#first = oldest?.n ?? 1
    this.#since = oldest?.time ?? this.#time()
    for (const row of known.toReversed()) this.#note(row)
    this.#endAll()
  }

  /** Writes as the audit log does, and notes each row when it is on the disk. Whatever uses the vault writes by it. */
  get audit(): UseAudit {
    return {
      write: (facts) => this.#noted(facts, this.#audit.write(facts)),
      writeSoon: async (facts) => this.#noted(facts, await this.#audit.writeSoon(facts)),
      // The end of a use, which has come whether or not its row reaches the disk.
      writeLater: (facts) => {
        const written = this.#audit.writeLater(facts)
        this.#note({ ...facts, n: 0, time: this.#time() })
        return written
      },
    }
  }

  /** The table, the pair with the latest use or refusal first. */
  list(): AccessesAnswer {
    const accesses = Array.from(this.#pairs.values(), viewOf).toReversed()
    return { since: this.#since, accesses }
  }

  #noted(facts: AuditFacts, n: number): number {
    this.#note({ ...facts, n, time: this.#time() })
    return n
  }

  #note(row: Noted): void {
    if (row.op !== 'use' && row.op !== 'deny') return
    if (row.agent === undefined || row.service === undefined) return
    if (row.op === 'deny' && row.reason === UNASKED) return
    if (row.op === 'deny') this.#noteRefusal(this.#pairOf(row.agent, row.service), row)
    else if (row.of === undefined) this.#noteUse(this.#pairOf(row.agent, row.service), row)
    else this.#noteEnd(this.#pairOf(row.agent, row.service), row)
  }

  /** No use of an earlier process goes on. */
  #endAll(): void {
    for (const pair of this.#pairs.values())
      if (pair.use?.reason === null) pair.use = { ...pair.use, reason: 'unknown' }
  }

  #noteUse(pair: Pair, { n: row, time, method = '', path = '' }: Noted): void {
    pair.uses++
    const cut = path.slice(0, MAX_PATH_LENGTH)
    Object.assign(pair, { row, use: { time, method, path: cut, status: null, reason: null } })
  }

  /** The end of a use says how it went. Of uses at the same time, the one that began last is shown. */
  #noteEnd(pair: Pair, row: Noted): void {
    const { of = 0, status = null, reason = null } = row
    if (of < this.#first) this.#noteUse(pair, { ...row, n: of })
    if (pair.row === of && pair.use !== null) pair.use = { ...pair.use, status, reason }
  }

  #noteRefusal(pair: Pair, { time, reason = '' }: Noted): void {
    pair.refusals++
    pair.refusal = { time, reason }
  }

  /** The pair of a row, which is the latest now. */
  #pairOf(agent: string, service: string): Pair {
    const key = `${agent} ${service}`
    const blank = { agent, service, uses: 0, refusals: 0, row: 0, use: null, refusal: null }
    const pair: Pair = this.#pairs.get(key) ?? blank
    this.#pairs.delete(key)
    if (this.#pairs.size >= MAX_PAIRS) this.#forgetOne()
    this.#pairs.set(key, pair)
    return pair
  }

  /** Forgets the oldest pair without a use, else the oldest one: an agent can be refused under any name, and use only what is there. */
  #forgetOne(): void {
    const all = [...this.#pairs]
    const [key] = all.find(([, { uses }]) => uses === 0) ?? all[0] ?? ['']
    this.#pairs.delete(key)
  }

  #time(): string {
    return new Date(this.#now()).toISOString()
  }
}

function viewOf({ agent, service, uses, refusals, use, refusal }: Pair): AccessView {
  return { agent, service, uses, refusals, last_use: use, last_refusal: refusal }
}
