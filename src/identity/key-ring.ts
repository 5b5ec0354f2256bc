/** Which keys verify tokens, which one signs, and which are still used? A ring of at most four secrets (RFC 7515 section 4.1.4). */
import {
  createHash,
  createHmac,
  createSecretKey,
  hkdfSync,
  timingSafeEqual,
  type KeyObject,
  type webcrypto,
} from 'node:crypto'

/** HMAC secrets. The first one signs and verifies; the others only verify, during a rotation. */
export type Secrets = readonly [string, ...string[]]

const MINUTE_MS = 60_000
const HOUR_MINUTES = 60
const DAY_MINUTES = 1440

/** A key of the ring, and how much it is used. Times are in milliseconds since 1970. */
export class Key {
  /** The public name of the key: 8 characters of the base64url SHA-256 of the secret. It is derived, never configured. */
  readonly kid: string
  /** Imported once, because importing the key for each token would take longer than the verification itself. */
  readonly imported: Promise<webcrypto.CryptoKey>
  /** The secret, as an object that prints nothing of it. */
  readonly #material: KeyObject
  /** Since when uses are counted: when this process got the key. */
  readonly countedSince: number
  /** How many requests had a token of this key since then. */
  uses = 0
  /** When the last one came; 0 for never. */
  lastUsedAt = 0
  // A place for each minute of a day, and which minute it was last used for. So nothing has to be cleared as time passes, and a
  // clock that is set forward and back again spoils one minute at most.
  readonly #counts = new Uint32Array(DAY_MINUTES)
  readonly #minutes = new Uint32Array(DAY_MINUTES)

  constructor(secret: string, now = Date.now()) {
    this.kid = kidOf(secret)
    this.#material = createSecretKey(Buffer.from(secret))
    this.countedSince = now
    const algorithm = { name: 'HMAC', hash: 'SHA-256' }
    this.imported = crypto.subtle.importKey('raw', Buffer.from(secret), algorithm, false, [
      'sign',
      'verify',
    ])
  }

  /**
   * Whether the signature of a token may be this key's. The answer `false` is final; after `true`, jose decides. So jose gets no forged
   * tokens, because each would cost a turn of the thread pool, and anybody can send any number of them.
   * @param token a compact JWS with HS256, in canonical spelling (RFC 7515 section 5.2)
   */
  mayHaveSigned(token: string): boolean {
    const end = token.lastIndexOf('.')
    const given = Buffer.from(token.slice(end + 1), 'base64url')
    const ours = createHmac('sha256', this.#material).update(token.slice(0, end)).digest()
    return given.length === ours.length && timingSafeEqual(given, ours)
  }

  /**
   * Derives a key for another purpose from the secret (HKDF-SHA-256, RFC 5869), so that the secret itself stays in here. The result
   * tells nothing of the secret, nor of keys for other purposes.
   * @param purpose the `info` of HKDF: a fixed text, another one for each purpose
   * @returns 32 bytes
   */
  derive(purpose: string): Buffer {
    return Buffer.from(hkdfSync('sha256', this.#material, '', `workspace-gateway ${purpose}`, 32))
  }

  /** Counts a request whose token this key has verified. @param now milliseconds since 1970 */
  noteUse(now: number): void {
    this.uses++
    this.lastUsedAt = now
    const minute = Math.floor(now / MINUTE_MS)
    const place = minute % DAY_MINUTES
    if (this.#minutes[place] === minute) this.#counts[place]! += 1
    else {
      this.#minutes[place] = minute
      this.#counts[place] = 1
    }
  }

  /** How many requests had a token of this key in the last hour; the minute that has begun counts as one of its 60. */
  usesInLastHour(now: number): number {
    return this.#usesIn(HOUR_MINUTES, now)
  }

  /** How many requests had a token of this key in the last day. */
  usesInLastDay(now: number): number {
    return this.#usesIn(DAY_MINUTES, now)
  }

  #usesIn(minutes: number, now: number): number {
    const last = Math.floor(now / MINUTE_MS)
    let sum = 0
    for (let minute = last; minute > last - minutes; minute--) {
      const place = minute % DAY_MINUTES
      if (this.#minutes[place] === minute) sum += this.#counts[place] ?? 0
    }
    return sum
  }
}

function kidOf(secret: string): string {
  return createHash('sha256').update(secret).digest('base64url').slice(0, 8)
}

/** The keys of a gateway. */
export class KeyRing {
  #keys: readonly Key[]

  constructor(secrets: Secrets) {
    this.#keys = keysOf(secrets, [])
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

  /** Whether a key of this name is in the ring. */
  has(kid: string): boolean {
    return this.find(kid) !== undefined
  }

  /** Replaces the keys. A key that stays keeps its counts, and what it is verifying at this moment goes on. */
  replace(secrets: Secrets): void {
    this.#keys = keysOf(secrets, this.#keys)
  }
}

/** The keys of secrets, each once, because a secret may be configured twice during a rotation. */
function keysOf(secrets: Secrets, known: readonly Key[]): readonly Key[] {
  const kids = new Map(secrets.map((secret) => [kidOf(secret), secret]))
  return [...kids].map(([kid, secret]) => known.find((key) => key.kid === kid) ?? new Key(secret))
}
