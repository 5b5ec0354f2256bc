/** Which pairing links are open? Those of this list, in memory alone: each is used once, burns after five failures, and ends with the link. */
import { randomBytes, type Bytes } from '../protocol/bytes.ts'
import { OFFER_SECONDS, PROTOCOL_VERSIONS, type Offer } from '../protocol/offer.ts'
import { placeId, PLACE_KEY_LENGTH } from '../protocol/places.ts'

/** Offers that are open at a time. */
export const MAX_OFFERS = 8

/** Handshakes of an offer that may fail. */
const MAX_FAILURES = 5

const PSK_LENGTH = 32

/** An open offer. */
export interface OpenOffer {
  readonly offer: Offer
  readonly placeKey: Bytes
  /** The person whose session a device gets that uses it. */
  readonly sub: string
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
      ...{ placeKey, sub },
      offer: { ...{ version, isApproved, daemonKey, psk, place, expiresAt, relay } },
    }
    this.#failures.set(made, 0)
    return made
  }

  /** Whether an offer is still open. */
  isOpen(offer: OpenOffer): boolean {
    return this.#failures.has(offer) && !this.#hasEnded(offer)
  }

  /** Uses an offer up. @returns false when it is not open any more: somebody was faster, or it has ended */
  use(offer: OpenOffer): boolean {
    const isOpen = this.isOpen(offer)
    this.#failures.delete(offer)
    return isOpen
  }

  /** Counts a handshake that failed. @returns whether the offer has burnt by it */
  failed(offer: OpenOffer): boolean {
    const failures = this.#failures.get(offer)
    if (failures === undefined) return false
    this.#failures.set(offer, failures + 1)
    return failures + 1 >= MAX_FAILURES && this.#failures.delete(offer)
  }

  /** Forgets those whose time is over. @returns whether there was one */
  sweep(): boolean {
    const ended = [...this.#failures.keys()].filter((offer) => this.#hasEnded(offer))
    for (const offer of ended) this.#failures.delete(offer)
    return ended.length > 0
  }

  /** Forgets all. */
  clear(): void {
    this.#failures.clear()
  }

  #hasEnded({ offer }: OpenOffer): boolean {
    return this.#now() >= offer.expiresAt * 1000
  }
}
