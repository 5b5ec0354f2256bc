/** What was begun and not confirmed yet? A table in memory: each entry counts once, for one session, for a short time. */

/** Whose an entry is. */
export interface Owned {
  readonly subject: string
  readonly sessionId: string
}

/** How long a challenge of a passkey counts, in milliseconds: 5 minutes. */
export const CHALLENGE_MS = 300_000

/** How many entries a session may have: one for each tab of a patient person. The oldest gives way. */
const PER_SESSION = 8

/** How many entries there are at most. The oldest gives way. */
const CAPACITY = 10_000

/** Entries by a name that nobody can guess. */
export class Pending<Entry extends Owned> {
  readonly #ttlMs: number
  /** A clock in milliseconds that never steps. */
  readonly #now: () => number
  // A Map keeps insertion order, which here is the order of expiry.
  readonly #entries = new Map<string, { readonly entry: Entry; readonly expiresAt: number }>()

  constructor(ttlMs: number, now: () => number) {
    this.#ttlMs = ttlMs
    this.#now = now
  }

  /** How many entries there are. */
  get size(): number {
    return this.#entries.size
  }

  add(name: string, entry: Entry): void {
    this.#sweep()
    const own: string[] = []
    for (const [other, { entry: one }] of this.#entries)
      if (one.sessionId === entry.sessionId) own.push(other)
    if (own.length >= PER_SESSION) this.#entries.delete(own[0] ?? '')
    if (this.#entries.size >= CAPACITY) this.#deleteOldest()
    this.#entries.set(name, { entry, expiresAt: this.#now() + this.#ttlMs })
  }

  /** An entry of this person and session; undefined when there is none, or its time is over. */
  find(name: string, { subject, sessionId }: Owned): Entry | undefined {
    const found = this.#entries.get(name)
    if (found === undefined || this.#now() >= found.expiresAt) return undefined
    const { entry } = found
    return entry.subject === subject && entry.sessionId === sessionId ? entry : undefined
  }

  /** The same, and it is gone then. An entry of somebody else stays: they may still need it. */
  take(name: string, owner: Owned): Entry | undefined {
    const entry = this.find(name, owner)
    if (entry !== undefined) this.#entries.delete(name)
    return entry
  }

  /** Removes every entry of a person. */
  forget(subject: string): void {
    for (const [name, { entry }] of this.#entries)
      if (entry.subject === subject) this.#entries.delete(name)
  }

  #sweep(): void {
    const now = this.#now()
    for (const [name, { expiresAt }] of this.#entries) {
      if (expiresAt > now) return
      this.#entries.delete(name)
    }
  }

  #deleteOldest(): void {
    const { value } = this.#entries.keys().next()
    if (value !== undefined) this.#entries.delete(value)
  }
}
