/**
 * Which of many nodes has a place? The one that wrote its name first into the store that they share. The name stays for ten seconds and is
 * written again every three, by the event loop that serves the place: a node that hangs has lost what it has, and knows it when it wakes.
 */
import type { Logger } from 'pino'
import { parseRelayUrl } from '../../config/values.ts'
import { randomBytes, sha256, toBase64Url, utf8 } from '../protocol/bytes.ts'
import { StoreAwayError, type Claims, type OtherNode } from './claims.ts'
import type { ClaimStore } from './redis-store.ts'

/** How long a claim lives in the store, in milliseconds. */
const CLAIM_MS = 10_000

/** How often claims are renewed, in milliseconds. */
const RENEW_MS = 3000

/** The most claims in one question: Redis serves nobody else meanwhile. */
const CLAIMS_PER_QUESTION = 500

/** How the keys of claims begin. The id of the place is hashed once more, so that nobody meets at a place who has read the store. */
const KEY_PREFIX = 'workspace-gateway:relay:place:'

/**
 * How long a place stays where it was taken over, in milliseconds: two daemons with one key, or one that hops between nodes, move it no
 * more often, because each move ends its rooms.
 */
const SETTLE_MS = 60_000

/** How the keys begin that say that a place was taken over a short time ago. The rest is that of the claim's key. */
const MOVED_PREFIX = 'workspace-gateway:relay:moved:'

/**
 * KEYS are places and, after all of them, what says that each was moved; ARGV the name of this node, the time that a claim lives, and the
 * time that a place stays where it was taken over. 1 for each place that this node has now, and 0 for the rest of the keys.
 */
const CLAIM = `
local have = {}
local count = #KEYS / 2
for i = 1, count do
  local key, moved = KEYS[i], KEYS[count + i]
  have[i], have[count + i] = 1, 0
  if not redis.call('SET', key, ARGV[1], 'NX', 'PX', ARGV[2]) then
    if redis.call('GET', key) == ARGV[1] then redis.call('PEXPIRE', key, ARGV[2])
    elseif redis.call('SET', moved, '1', 'NX', 'PX', ARGV[3]) then redis.call('SET', key, ARGV[1], 'PX', ARGV[2])
    else have[i] = 0 end
  end
end
return have`

/** The same without taking over. Nobody has shown the key of these places anew: it is this node that looks for what it had. */
const CLAIM_FREE = `
local have = {}
for i, key in ipairs(KEYS) do
  if redis.call('SET', key, ARGV[1], 'NX', 'PX', ARGV[2]) then have[i] = 1
  elseif redis.call('GET', key) == ARGV[1] then redis.call('PEXPIRE', key, ARGV[2]) have[i] = 1
  else have[i] = 0 end
end
return have`

/** The same arguments. 1 for each that was this node's and lives on; 0 for one that has another owner, or none. */
const RENEW = `
local have = {}
for i, key in ipairs(KEYS) do
  if redis.call('GET', key) == ARGV[1] then redis.call('PEXPIRE', key, ARGV[2]) have[i] = 1
  else have[i] = 0 end
end
return have`

/** KEYS are places, ARGV is the name of this node. 1 for each that was given up. */
const RELEASE = `
local gone = {}
for i, key in ipairs(KEYS) do
  gone[i] = 0
  if redis.call('GET', key) == ARGV[1] then gone[i] = redis.call('DEL', key) end
end
return gone`

/** What claims depend on. */
export interface SharedClaimsParts {
  readonly store: ClaimStore
  /** Where clients reach this node. */
  readonly self: OtherNode
  /** The time, in milliseconds. It never goes back. */
  readonly now: () => number
  /** Calls back again and again. @returns ends that */
  readonly every: (ms: number, act: () => void) => () => void
  readonly logger: Logger
}

/** A claim of this node. */
interface Claim {
  readonly key: string
  /** Until when no other node can have the place, in milliseconds. */
  until: number
}

/** The claims of one node of many. */
export class SharedClaims implements Claims {
  readonly #store: ClaimStore
  readonly #now: () => number
  readonly #logger: Logger
  /** What is in the store for a place of this node. The last part makes it this process's: the one before it may have had the same address. */
  readonly #value: string
  readonly #claims = new Map<string, Claim>()
  readonly #endRenewals: () => void
  #onLost: (places: readonly string[], endsRooms: boolean) => void = () => {}
  #isAway = false
  #isRenewing = false
  #isClosed = false

  constructor({ store, self, now, every, logger }: SharedClaimsParts) {
    this.#store = store
    this.#now = now
    this.#logger = logger
    this.#value = JSON.stringify([self.url, self.machine ?? '', toBase64Url(randomBytes(16))])
    this.#endRenewals = every(RENEW_MS, () => void this.#renew())
    void this.#renew() // a store that is not there is told at the start, and not when the first daemon comes
  }

  get isStoreAway(): boolean {
    return this.#isAway
  }

  onLost(listener: (places: readonly string[], endsRooms: boolean) => void): void {
    this.#onLost = listener
  }

  async claim(places: readonly string[]): Promise<ReadonlySet<string>> {
    const wanted = await Promise.all(
      places
        .filter((place) => !this.holds(place))
        .map(async (id) => [id, await keyOf(id)] as const),
    )
    try {
      for (const some of inPieces(wanted)) {
        const keys = some.map(([, key]) => key)
        const moved = keys.map((key) => MOVED_PREFIX + key.slice(KEY_PREFIX.length))
        await this.#claimSome(some, CLAIM, [...keys, ...moved])
      }
    } catch (error) {
      this.#away(error)
    }
    return new Set(places.filter((place) => this.holds(place)))
  }

  release(places: readonly string[]): void {
    const keys = places.flatMap((place) => this.#claims.get(place)?.key ?? [])
    for (const place of places) this.#claims.delete(place)
    // What is not given up now ends by itself.
    for (const some of inPieces(keys))
      this.#store.run(RELEASE, some, [this.#value]).catch((error: unknown) => this.#away(error))
  }

  holds(place: string): boolean {
    const claim = this.#claims.get(place)
    return claim !== undefined && this.#now() < claim.until
  }

  async ownerOf(place: string): Promise<OtherNode | undefined> {
    const key = await keyOf(place)
    const value = await this.#store.get(key).catch((error: unknown) => {
      this.#away(error)
      throw error
    })
    this.#back()
    return value === undefined || value === this.#value ? undefined : readOwner(value)
  }

  async close(): Promise<void> {
    this.#isClosed = true
    this.#endRenewals()
    const keys = [...this.#claims.values()].map(({ key }) => key)
    this.#claims.clear()
    try {
      for (const some of inPieces(keys)) await this.#store.run(RELEASE, some, [this.#value])
    } catch {
      // They end by themselves.
    }
    this.#store.close()
  }

  async #claimSome(
    some: ReadonlyArray<readonly [place: string, key: string]>,
    script: string,
    keys: readonly string[],
  ): Promise<void> {
    const asked = this.#now() // before the question, so that we never believe to have it for longer than the store does
    const times = [CLAIM_MS, SETTLE_MS].map(String)
    const have = await this.#store.run(script, keys, [this.#value, ...times])
    this.#back()
    for (const [i, [place, key]] of some.entries())
      if (have[i] === 1) this.#claims.set(place, { key, until: asked + CLAIM_MS })
  }

  async #renew(): Promise<void> {
    this.#dropLapsed()
    if (this.#isRenewing) return
    this.#isRenewing = true
    try {
      if (this.#claims.size === 0) await this.#ping()
      for (const some of inPieces([...this.#claims])) await this.#renewSome(some)
    } catch (error) {
      this.#away(error)
    } finally {
      this.#isRenewing = false
    }
  }

  /** Without claims nothing else would ask whether the store is there. */
  async #ping(): Promise<void> {
    await this.#store.get(KEY_PREFIX)
    this.#back()
  }

  /** Another node may have them by now. After a silence of the store it is said to the daemons alone; after one of ours, rooms end too. */
  #dropLapsed(): void {
    const lapsed = [...this.#claims.keys()].filter((place) => !this.holds(place))
    if (lapsed.length === 0) return
    if (!this.#isAway)
      this.#logger.error(
        { places: lapsed.length },
        'this node stood still for longer than its claims live; it gives up the places',
      )
    this.#drop(lapsed, !this.#isAway)
  }

  async #renewSome(some: ReadonlyArray<readonly [place: string, claim: Claim]>): Promise<void> {
    const asked = this.#now()
    const keys = some.map(([, { key }]) => key)
    const have = await this.#store.run(RENEW, keys, [this.#value, String(CLAIM_MS)])
    this.#back()
    const missing: Array<readonly [place: string, key: string]> = []
    for (const [i, [place, claim]] of some.entries()) {
      if (have[i] === 1) claim.until = Math.max(claim.until, asked + CLAIM_MS)
      else if (this.#claims.get(place) === claim) missing.push([place, claim.key])
    }
    if (missing.length > 0) await this.#claimAgain(missing)
  }

  /** A store that was emptied has no owner for them: then they are claimed anew. */
  async #claimAgain(some: ReadonlyArray<readonly [place: string, key: string]>): Promise<void> {
    const places = some.map(([place]) => place)
    for (const place of places) this.#claims.delete(place)
    try {
      await this.#claimSome(
        some,
        CLAIM_FREE,
        some.map(([, key]) => key),
      )
    } catch (error) {
      // Else nobody would ever say it: what is not among the claims does not lapse.
      this.#drop(places, false)
      throw error
    }
    const lost = places.filter((place) => !this.holds(place))
    if (lost.length === 0) return
    this.#logger.warn({ places: lost.length }, 'another node has places of this one')
    this.#drop(lost, true)
  }

  #drop(places: readonly string[], endsRooms: boolean): void {
    for (const place of places) this.#claims.delete(place)
    this.#onLost(places, endsRooms)
  }

  #away(error: unknown): void {
    if (this.#isAway || this.#isClosed) return
    this.#isAway = true
    const cause = error instanceof StoreAwayError ? error.cause : error
    this.#logger.error(
      { err: cause, setting: 'RELAY_STORE_URL' },
      'the store is away: places that this node has are served while their claims live, others are refused',
    )
  }

  #back(): void {
    if (!this.#isAway) return
    this.#isAway = false
    this.#logger.info('the store is back')
  }
}

async function keyOf(place: string): Promise<string> {
  return KEY_PREFIX + toBase64Url(await sha256(utf8('workspace-gateway claim'), utf8(place)))
}

/** RFC 6455 section 5.5: the reason of a close, which the address becomes, has at most 123 bytes. */
const MAX_URL_LENGTH = 123

/** Reads the name of a node. What is in the store is checked, because it goes into a header and a reason. */
function readOwner(value: string): OtherNode | undefined {
  try {
    const [url, machine]: unknown[] = JSON.parse(value) as unknown[]
    if (typeof url !== 'string' || typeof machine !== 'string') return undefined
    if (!/^[0-9a-z]{0,64}$/.test(machine)) return undefined
    if (url.length > MAX_URL_LENGTH) return undefined
    return { url: parseRelayUrl(url), machine: machine === '' ? undefined : machine }
  } catch {
    return undefined
  }
}

function* inPieces<One>(all: readonly One[]): Generator<One[]> {
  for (let at = 0; at < all.length; at += CLAIMS_PER_QUESTION)
    yield all.slice(at, at + CLAIMS_PER_QUESTION)
}
