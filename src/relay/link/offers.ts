/** Which pairing links are open? Those of this list, in memory alone: each is used once, burns after five failures, and ends with the link. */
import { randomBytes, toBase64Url, type Bytes } from '../protocol/bytes.ts'
import { OFFER_SECONDS, PROTOCOL_VERSIONS, type Offer } from '../protocol/offer.ts'
import { placeId, PLACE_KEY_LENGTH } from '../protocol/places.ts'

/** Offers that are open at a time. */
export const MAX_OFFERS = 8

/** Handshakes of an offer that may fail. */
const MAX_FAILURES = 5

const PSK_LENGTH = 32

/** Bytes of an offer's id, which is no secret and no part of the link. */
const ID_LENGTH = 16

/** Offers that are remembered after their end, so that who waits for one hears what became of it. */
const MAX_REMEMBERED = 64

/** An open offer. */
export interface OpenOffer {
  /** 22 characters, by which the owner asks what became of it. */
  readonly id: string
  readonly offer: Offer
  readonly placeKey: Bytes
  /** The person whose session a device gets that uses it. */
  readonly sub: string
}

/** What became of an offer. */
export interface OfferFate {
  /** `ended`: its time is over, or the link was reset. */
  readonly state: 'open' | 'used' | 'burnt' | 'ended'
  /** The id of the device that was let in or waits; undefined while there is none, and when it was refused. */
  readonly device?: string
  /** Why the device that used it was refused, as a sentence. */
  readonly problem?: string
}

/** What an offer is made of. */
export interface OfferParts {
  readonly sub: string
  readonly isApproved: boolean
  readonly daemonKey: Bytes
  readonly relay: string
}

/** The offers. */
export class Offers {
  readonly #now: () => number
  readonly #failures = new Map<OpenOffer, number>()
  /** By id, the oldest first. */
  readonly #past = new Map<string, OfferFate>()

  /** @param now in milliseconds since 1970 */
  constructor(now: () => number) {
    this.#now = now
  }

  /** Those that are open. */
  all(): readonly OpenOffer[] {
    return [...this.#failures.keys()].filter((offer) => !this.#hasEnded(offer))
  }

  /** Makes an offer; undefined when {@link MAX_OFFERS} are open. */
  async make({ sub, isApproved, daemonKey, relay }: OfferParts): Promise<OpenOffer | undefined> {
    const placeKey = randomBytes(PLACE_KEY_LENGTH)
    const place = await placeId(placeKey)
    this.sweep()
    if (this.#failures.size >= MAX_OFFERS) return undefined
    const [version = 1] = PROTOCOL_VERSIONS
    const expiresAt = Math.floor(this.#now() / 1000) + OFFER_SECONDS
    const psk = randomBytes(PSK_LENGTH)
    const made = {
      ...{ id: toBase64Url(randomBytes(ID_LENGTH)), placeKey, sub },
      offer: { ...{ version, isApproved, daemonKey, psk, place, expiresAt, relay } },
    }
    this.#failures.set(made, 0)
    return made
  }

  /** Whether an offer is still open. */
  isOpen(offer: OpenOffer): boolean {
    return this.#failures.has(offer) && !this.#hasEnded(offer)
  }

  /** What became of an offer; undefined when none is remembered that has this id. */
  fate(id: string): OfferFate | undefined {
    const open = [...this.#failures.keys()].find((offer) => offer.id === id)
    if (open === undefined) return this.#past.get(id)
    return { state: this.#hasEnded(open) ? 'ended' : 'open' }
  }

  /** Uses an offer up. @returns false when it is not open any more: somebody was faster, or it has ended */
  use(offer: OpenOffer): boolean {
    if (!this.isOpen(offer)) return false
    this.#end(offer, { state: 'used' })
    return true
  }

  /** Remembers who has used an offer up: a device that is listed, or why it was refused. */
  usedBy({ id }: OpenOffer, who: Pick<OfferFate, 'device' | 'problem'>): void {
    this.#past.set(id, { state: 'used', ...who })
  }

  /** Counts a handshake that failed. @returns whether the offer has burnt by it */
  failed(offer: OpenOffer): boolean {
    const failures = this.#failures.get(offer)
    if (failures === undefined) return false
    this.#failures.set(offer, failures + 1)
    if (failures + 1 < MAX_FAILURES) return false
    this.#end(offer, { state: 'burnt' })
    return true
  }

  /** Forgets those whose time is over. @returns whether there was one */
  sweep(): boolean {
    const ended = [...this.#failures.keys()].filter((offer) => this.#hasEnded(offer))
    for (const offer of ended) this.#end(offer, { state: 'ended' })
    return ended.length > 0
  }

  /** Forgets all. */
  clear(): void {
    for (const offer of this.#failures.keys()) this.#end(offer, { state: 'ended' })
  }

  #end(offer: OpenOffer, fate: OfferFate): void {
    this.#failures.delete(offer)
    this.#past.set(offer.id, fate)
    const [oldest] = this.#past.keys()
    if (this.#past.size > MAX_REMEMBERED && oldest !== undefined) this.#past.delete(oldest)
  }

  #hasEnded({ offer }: OpenOffer): boolean {
    return this.#now() >= offer.expiresAt * 1000
  }
}
