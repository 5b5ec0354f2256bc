/** When is an entry suspended? When the service has repeated the credential in three answers within ten minutes. */
import type { Entry } from '../policy.ts'

/** So many answers with a credential suspend the entry. */
const REFLECTIONS = 3

/** Within this time, in milliseconds. */
export const REFLECTIONS_MS = 600_000

/** Counts the answers in which a credential was found, entry by entry. */
export class Reflections {
  readonly #now: () => number
  readonly #suspend: (entry: Entry) => void
  /** By the id of the entry: the times of the last ones, fewer than {@link REFLECTIONS}. */
  readonly #times = new Map<string, readonly number[]>()

  /** @param suspend is called with the third one, and again only after three more */
  constructor(options: {
    readonly now?: (() => number) | undefined
    readonly suspend: (entry: Entry) => void
  }) {
    this.#now = options.now ?? Date.now
    this.#suspend = options.suspend
  }

  /** Notes that an answer contained the credential of an entry. */
  note(entry: Entry): void {
    const now = this.#now()
    const isRecent = (time: number) => now - time < REFLECTIONS_MS
    for (const [id, times] of this.#times) if (!times.some(isRecent)) this.#times.delete(id)
    const times = [...(this.#times.get(entry.id) ?? []).filter(isRecent), now]
    if (times.length < REFLECTIONS) {
      this.#times.set(entry.id, times)
      return
    }
    this.#times.delete(entry.id)
    this.#suspend(entry)
  }
}
