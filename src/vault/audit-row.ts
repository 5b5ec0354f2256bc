/** What is a row of the audit log? One operation: who did what with which entry, and how it ended. */

/** The operations. */
type Operation =
  | 'lease' // an agent got a lease
  | 'use' // a request left for a service
  | 'deny' // an agent was refused
  | 'add'
  | 'rotate'
  | 'grant'
  | 'revoke'
  | 'remove'
  | 'reflected' // an answer contained the credential
  | 'suspend'
  | 'resume'
  | 'rekey'
  | 'restore'
  | 'start'
  | 'anchor'

/** The facts of a row. Number, time, previous hash and hash are added by the log. */
export interface AuditFacts {
  readonly op: Operation
  /** The name of the agent, from the door it came through; `owner` for the owner's door. */
  readonly agent?: string | undefined
  /** For a change through the gateway: the `sub` of the person who made it, as the gateway says. */
  readonly by?: string | undefined
  readonly service?: string | undefined
  /** The id of the entry. */
  readonly entry?: string | undefined
  readonly version?: number | undefined
  /** The first 8 characters of the lease's SHA-256 (hex). */
  readonly lease?: string | undefined
  readonly host?: string | undefined
  readonly method?: string | undefined
  /** Without its query. */
  readonly path?: string | undefined
  readonly status?: number | undefined
  /** The bytes of the answer's body. */
  readonly bytes?: number | undefined
  readonly ms?: number | undefined
  /** The code of a refusal, or how a use ended: `done`, `cut`, `aborted`, `failed`. */
  readonly reason?: string | undefined
  /** For the row that completes another: that row's number. */
  readonly of?: number | undefined
  /** For a change: the sequence number of the file that it writes. */
  readonly sequence?: number | undefined
}

/** Where operations are written. A row is on the disk when the call returns or its promise resolves. */
export interface Audit {
  /** Writes a row at once. @returns its number @throws {VaultError} `audit-unavailable` */
  write(facts: AuditFacts): number
  /** Writes a row together with those of other requests. @returns its number @throws {VaultError} `audit-unavailable` */
  writeSoon(facts: AuditFacts): Promise<number>
}

/** Where uses are written. */
export interface UseAudit extends Audit {
  /**
   * Appends a row that nobody waits for. It is in the file when the call returns, so that it outlives the process, and on the disk
   * when the promise resolves: with the next row that somebody waits for, or after a second. Rejects with `audit-unavailable`.
   */
  writeLater(facts: AuditFacts): Promise<void>
}
