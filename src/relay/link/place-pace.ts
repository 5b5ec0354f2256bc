/** How much may happen at one meeting place? A relay could knock without end; each knock costs a connection, and a handshake its keys. */
import { toBase64Url, type Bytes } from '../protocol/bytes.ts'
import { KEY_LENGTH } from '../protocol/noise.ts'

/** Knocks at one place a minute. */
const KNOCKS_PER_MINUTE = 30

/** Handshakes at one place at a time. */
const HANDSHAKES_PER_PLACE = 4

/**
 * Ephemeral keys of one place that are remembered, the latest. An older first message may be sent again: it costs a handshake then,
 * and gets no further, because whoever sends it again cannot write the first record.
 */
const REMEMBERED_KEYS = 1024

const MINUTE_MS = 60_000

/** The pace of one place. */
export class PlacePace {
  readonly #elapsed: () => number
  #knocks: number[] = []
  #handshakes = 0
  readonly #seen = new Set<string>()

  /** @param elapsed in milliseconds, never set back */
  constructor(elapsed: () => number) {
    this.#elapsed = elapsed
  }

  /** Whether one more knock is heard. Call {@link ended} when its handshake is over. */
  mayKnock(): boolean {
    const now = this.#elapsed()
    this.#knocks = this.#knocks.filter((time) => now - time < MINUTE_MS)
    if (this.#knocks.length >= KNOCKS_PER_MINUTE || this.#handshakes >= HANDSHAKES_PER_PLACE)
      return false
    this.#knocks.push(now)
    this.#handshakes++
    return true
  }

  /** A handshake has ended, in whatever way. */
  ended(): void {
    this.#handshakes--
  }

  /** Whether a first message has not been seen here before: its first 32 bytes are a key that an honest device uses once. */
  isNew(firstMessage: Bytes): boolean {
    const key = toBase64Url(firstMessage.subarray(0, KEY_LENGTH))
    if (this.#seen.has(key)) return false
    if (this.#seen.size >= REMEMBERED_KEYS)
      for (const oldest of this.#seen) {
        this.#seen.delete(oldest)
        break
      }
    this.#seen.add(key)
    return true
  }
}
