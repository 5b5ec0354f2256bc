/** Where does the link sit? At the place of each open offer, and for each device at those of yesterday, today and tomorrow (UTC). */
import { toBase64Url, type Bytes } from '../protocol/bytes.ts'
import { dayOf, dayPlaceKey, placeId } from '../protocol/places.ts'
import type { Device } from './device-list.ts'
import type { OpenOffer } from './offers.ts'
import { PlacePace } from './place-pace.ts'

/** A place at which the link sits, or wants to. */
export interface MeetingPlace {
  readonly id: Bytes
  /** What shows the relay that the place is ours. */
  readonly key: Bytes
  /** Who is expected there. */
  readonly guest:
    | { readonly kind: 'offer'; readonly offer: OpenOffer }
    | { readonly kind: 'device'; readonly id: string }
  readonly pace: PlacePace
}

/** What has changed. */
export interface PlaceChanges {
  readonly come: readonly MeetingPlace[]
  readonly gone: readonly MeetingPlace[]
}

/** What the places follow from. */
export interface PlaceSources {
  readonly devices: () => readonly Device[]
  readonly offers: () => readonly OpenOffer[]
  /** Milliseconds since 1970. */
  readonly now: () => number
  /** Milliseconds that have passed. */
  readonly elapsed: () => number
}

/** Yesterday and tomorrow too: the clock of a device may be a day off. */
const DAYS = [-1, 0, 1]

/** The places. */
export class MeetingPlaces {
  readonly #sources: PlaceSources
  #places = new Map<string, MeetingPlace>()
  /** Keys that were derived: by the device's secret and the day. */
  #keys = new Map<string, Derived>()
  #updating: Promise<unknown> = Promise.resolve()
  #day = Number.NaN

  constructor(sources: PlaceSources) {
    this.#sources = sources
  }

  all(): readonly MeetingPlace[] {
    return [...this.#places.values()]
  }

  at(id: Bytes): MeetingPlace | undefined {
    return this.#places.get(toBase64Url(id))
  }

  /** Whether midnight has passed since the last update. */
  get isOld(): boolean {
    return this.#day !== dayOf(this.#sources.now())
  }

  /** Follows the devices and offers as they are when this is reached. Updates run one after the other. */
  update(): Promise<PlaceChanges> {
    const updated = this.#updating.then(() => this.#update())
    this.#updating = updated
    return updated
  }

  async #update(): Promise<PlaceChanges> {
    const before = this.#places
    const wanted = await this.#wanted()
    const places = new Map<string, MeetingPlace>()
    for (const place of wanted) {
      const text = toBase64Url(place.id)
      places.set(text, before.get(text) ?? place)
    }
    this.#places = places
    return {
      come: [...places].flatMap(([text, place]) => (before.has(text) ? [] : [place])),
      gone: [...before].flatMap(([text, place]) => (places.has(text) ? [] : [place])),
    }
  }

  async #wanted(): Promise<MeetingPlace[]> {
    const { devices, offers, now, elapsed } = this.#sources
    const day = dayOf(now())
    this.#day = day
    const wanted = offers().map((offer): MeetingPlace => {
      const { place: id } = offer.offer
      return {
        id,
        key: offer.placeKey,
        guest: { kind: 'offer', offer },
        pace: new PlacePace(elapsed),
      }
    })
    const keys = new Map<string, Derived>()
    for (const { id: device, placeSecret } of devices())
      for (const offset of DAYS) {
        const name = `${day + offset} ${toBase64Url(placeSecret)}`
        const derived = this.#keys.get(name) ?? (await derive(placeSecret, day + offset))
        keys.set(name, derived)
        const { id, key } = derived
        const guest = { kind: 'device', id: device } as const
        wanted.push({ id, key, guest, pace: new PlacePace(elapsed) })
      }
    this.#keys = keys
    return wanted
  }
}

/** The id and the key of a place. */
interface Derived {
  readonly id: Bytes
  readonly key: Bytes
}

async function derive(secret: Bytes, day: number): Promise<Derived> {
  const key = await dayPlaceKey(secret, day)
  return { id: await placeId(key), key }
}
