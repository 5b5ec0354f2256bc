/** How are grants read and written? By statements that are prepared once. */
import type { DatabaseSync, StatementSync } from 'node:sqlite'
import type { Grant } from './limit-store.ts'

/** The table of grants. Times are in milliseconds since 1970. */
export class GrantRows {
  readonly #select: StatementSync
  readonly #insert: StatementSync
  readonly #remove: StatementSync
  readonly #removeOlder: StatementSync
  readonly #bringBack: StatementSync
  readonly #removeSome: StatementSync
  readonly #nextPolicy: StatementSync
  readonly #probe: StatementSync

  constructor(database: DatabaseSync) {
    // By name: SQLite would look through the whole policy, because it takes a comparison of times to find less than a user has.
    const ofUser = 'grants INDEXED BY grants_of'
    const of = 'policy = ? AND user = ?'
    this.#select = database.prepare(
      `SELECT id, at FROM ${ofUser} WHERE ${of} AND at > ? ORDER BY seq`,
    )
    this.#insert = database.prepare('INSERT INTO grants (policy, user, id, at) VALUES (?, ?, ?, ?)')
    this.#remove = database.prepare(`DELETE FROM ${ofUser} WHERE ${of} AND id = ?`)
    this.#removeOlder = database.prepare(`DELETE FROM ${ofUser} WHERE ${of} AND at <= ?`)
    this.#bringBack = database.prepare(`UPDATE ${ofUser} SET at = ? WHERE ${of} AND at > ?`)
    this.#removeSome = database.prepare(
      'DELETE FROM grants WHERE seq IN (SELECT seq FROM grants WHERE policy = ? AND at <= ? LIMIT ?)',
    )
    this.#nextPolicy = database.prepare('SELECT min(policy) AS policy FROM grants WHERE policy > ?')
    this.#probe = database.prepare('INSERT OR REPLACE INTO probe (rowid, tried_at) VALUES (1, ?)')
  }

  /** The grants of a user that are younger than a time, in the order in which they were taken. */
  of(policy: string, user: string, since: number): readonly Grant[] {
    return this.#select
      .all(policy, user, since)
      .map((row) => ({ id: String(row['id']), at: Number(row['at']) }))
  }

  add(policy: string, user: string, { id, at }: Grant): void {
    this.#insert.run(policy, user, id, at)
  }

  remove(policy: string, user: string, id: string): number {
    return Number(this.#remove.run(policy, user, id).changes)
  }

  /** Removes those of a user that are as old as a time or older. @returns how many there were */
  removeOlder(policy: string, user: string, until: number): number {
    return Number(this.#removeOlder.run(policy, user, until).changes)
  }

  /** Makes those of a user that lie after a time to be of that time. */
  bringBack(policy: string, user: string, now: number): void {
    this.#bringBack.run(now, policy, user, now)
  }

  /** Removes some of those of a policy that are as old as a time or older. @returns how many */
  removeSome(policy: string, until: number, limit: number): number {
    return Number(this.#removeSome.run(policy, until, limit).changes)
  }

  /** The next policy with grants, by name; undefined after the last. */
  policyAfter(policy: string): string | undefined {
    const next = this.#nextPolicy.get(policy)?.['policy']
    return typeof next === 'string' ? next : undefined
  }

  /** Writes something. */
  probe(now: number): void {
    this.#probe.run(now)
  }
}
