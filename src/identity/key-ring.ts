/** Which keys verify tokens, which one signs, and which are still used? A ring of at most four secrets (RFC 7515 section 4.1.4). */
import { createHash, type webcrypto } from 'node:crypto'

/** HMAC secrets. The first one signs and verifies; the others only verify, during a rotation. */
export type Secrets = readonly [string, ...string[]]

const MINUTE_MS = 60_000
const MINUTES_OF_A_DAY = 1440

/** A key of the ring, and who still uses it. */
export class Key {
  /** The public name of the key: 8 characters of the base64url SHA-256 of the secret. It is derived, never configured. */
  readonly kid: string
  /** Imported once, because importing the key for each token would take longer than the verification itself. */
  readonly imported: Promise<webcrypto.CryptoKey>
  /** How many requests had a token of this key since the start. */
  uses = 0
  /** When the last one came, in milliseconds since 1970; 0 for never. */
  lastUsedAt = 0
  readonly #perMinute = new Uint32Array(MINUTES_OF_A_DAY)
  #minute = 0

  constructor(secret: string) {
    this.kid = createHash('sha256').update(secret).digest('base64url').slice(0, 8)
    const algorithm = { name: 'HMAC', hash: 'SHA-256' }
    this.imported = crypto.subtle.importKey('raw', Buffer.from(secret), algorithm, false, [
      'sign',
      'verify',
    ])
  }

  /** Counts a request whose token this key has verified. @param now milliseconds since 1970 */
  noteUse(now: number): void {
    this.uses++
    this.lastUsedAt = now
    this.#rollTo(Math.floor(now / MINUTE_MS))
    this.#perMinute[this.#minute % MINUTES_OF_A_DAY]! += 1
  }

  /** How many requests had a token of this key in the last minutes, 1440 at most. */
  usesIn(minutes: number, now: number): number {
    this.#rollTo(Math.floor(now / MINUTE_MS))
    let sum = 0
    for (let i = 0; i < minutes; i++)
      sum += this.#perMinute[(this.#minute - i + MINUTES_OF_A_DAY) % MINUTES_OF_A_DAY] ?? 0
    return sum
  }

  /** Clears the minutes since the last use, whose places hold counts of a day ago. A clock that steps back clears nothing. */
  #rollTo(minute: number): void {
    if (minute <= this.#minute) return
    const steps = Math.min(minute - this.#minute, MINUTES_OF_A_DAY)
    for (let i = 0; i < steps; i++) this.#perMinute[(minute - i) % MINUTES_OF_A_DAY] = 0
    this.#minute = minute
  }
}

/** The keys of a gateway. */
export class KeyRing {
  #keys: readonly Key[]

  constructor(secrets: Secrets) {
    this.#keys = secrets.map((secret) => new Key(secret))
  }

  /** The keys, the signing one first. */
  get keys(): readonly Key[] {
    return this.#keys
  }

  /** The key that signs. */
  get signing(): Key {
    return this.#keys[0] as Key
  }

  /** The key of this name; undefined when it is not, or no longer, in the ring. */
  find(kid: string): Key | undefined {
    return this.#keys.find((key) => key.kid === kid)
  }

  /** Replaces the keys. A key that stays keeps its counts, and what it is verifying at this moment goes on. */
  replace(secrets: Secrets): void {
    this.#keys = secrets.map((secret) => {
      const key = new Key(secret)
      return this.find(key.kid) ?? key
    })
  }
}
