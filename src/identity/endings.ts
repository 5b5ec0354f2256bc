/**
 * What has ended, and since when do older tokens no longer count? The ids of sessions that ended before their time, the tickets
 * that signed in, and the watermarks of those who were signed out everywhere, as the state file keeps them.
 */
import type { DatabaseSync } from 'node:sqlite'
import { allWatermarks, eachEnding } from '../store/session-rows.ts'
import type { EndCause } from './session.ts'
import type { Claims } from './token.ts'

/** Why an id is refused: its session has ended, or the ticket has signed in. */
export type Refusal = EndCause | 'used'

/** What `explain` says of a token that is refused. */
export const REASONS = {
  expired: 'session expired',
  'signed-out': 'signed out',
  revoked: 'session revoked',
  'key-removed': 'key removed',
  'all-ended': 'issued before everybody was signed out',
  used: 'has signed in',
} as const satisfies Record<Refusal, string>

/** The refusals by their text, so that 100,000 rows of the state file share these few strings. */
const REFUSALS = new Map(Object.keys(REASONS).map((name) => [name, name as Refusal]))

/** How long the wall clock must have gone without a step before anything is forgotten, in milliseconds. */
const STEADY_MS = 600_000

/** A difference between the two clocks that counts as a step, in milliseconds: the clock was set, or the machine was suspended. */
const STEP_MS = 3_600_000

const EVERYBODY = ''

/** What `explain` says of a token whose subject, and not everybody, was signed out. */
const SUBJECT_ENDED = 'issued before its subject was signed out everywhere'

/** The sessions that have ended, the tickets that were used, and the watermarks. */
export class Endings {
  /** Why each id is refused, and until when that is kept. Two maps of plain values need a third less memory than one of pairs. */
  readonly #refusals = new Map<string, Refusal>()
  readonly #kept = new Map<string, number>()
  readonly #watermarks = new Map<string, number>()
  /** How far the wall clock was ahead of the monotonic clock at the last look. */
  #offset = NaN
  #steadySince = 0

  /** Adds what the state file has. */
  load(database: DatabaseSync): void {
    eachEnding(database, ([id, refusal, keepUntil]) =>
      this.add(id, REFUSALS.get(refusal) ?? 'revoked', keepUntil),
    )
    for (const [subject, at] of allWatermarks(database)) this.raise(subject, at)
  }

  /** Why an id is refused; undefined when it is not. */
  of(id: string): Refusal | undefined {
    return this.#refusals.get(id)
  }

  /** Remembers that an id is refused. @param keepUntil when it may be forgotten, in milliseconds since 1970 */
  add(id: string, refusal: Refusal, keepUntil: number): void {
    this.#refusals.set(id, refusal)
    this.#kept.set(id, keepUntil)
  }

  /** Raises the watermark of a subject, or of everybody. @param at milliseconds since 1970 */
  raise(subject: string | undefined, at: number): void {
    const name = subject ?? EVERYBODY
    this.#watermarks.set(name, Math.max(this.#watermarks.get(name) ?? 0, at))
  }

  /** When a subject was last signed out everywhere, in milliseconds since 1970; 0 for never. */
  watermarkOf(subject: string): number {
    return Math.max(this.#watermarks.get(EVERYBODY) ?? 0, this.#watermarks.get(subject) ?? 0)
  }

  /** Whether a session was started before its subject was signed out everywhere. Such a session needs no ending of its own. */
  covers(subject: string, createdAt: number): boolean {
    return createdAt <= this.watermarkOf(subject)
  }

  /**
   * Why a token does not count because of a watermark: it was issued before, or in the same second, because `iat` has no
   * milliseconds. A token without `iat` cannot prove that it was not.
   * @returns what `explain` says of it; undefined when no watermark forbids it
   */
  reasonByWatermark({ subject, issuedAt }: Claims): string | undefined {
    const isForbidden = (watermark: number | undefined) =>
      watermark !== undefined &&
      (issuedAt === undefined || Math.floor(issuedAt) * 1000 <= watermark)
    if (isForbidden(this.#watermarks.get(EVERYBODY))) return REASONS['all-ended']
    return isForbidden(this.#watermarks.get(subject)) ? SUBJECT_ENDED : undefined
  }

  /**
   * Forgets the ids that need no longer be refused, but only when the wall clock has been steady for some time: a clock that is
   * set forward by a year, and back again, must not revive a session that was revoked.
   * @param now the monotonic clock in milliseconds
   * @param wallClock milliseconds since 1970
   * @returns whether it did, so that the state file can do the same
   */
  sweep(now: number, wallClock: number): boolean {
    const offset = wallClock - now
    if (!(Math.abs(offset - this.#offset) <= STEP_MS)) this.#steadySince = now
    this.#offset = offset
    if (now - this.#steadySince < STEADY_MS) return false
    this.#steadySince = now
    for (const [id, keepUntil] of this.#kept)
      if (wallClock >= keepUntil) {
        this.#refusals.delete(id)
        this.#kept.delete(id)
      }
    return true
  }
}
