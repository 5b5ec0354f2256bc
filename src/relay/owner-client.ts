/**
 * How does the gateway ask the link for its owners? At the owner's door of the link, GATEWAY_LINK_OWNER_SOCKET, bounded in time and in
 * size. Nobody but an owner of the workspace gets here, because the door does whatever it is asked.
 */
import { LINK_AWAY_DETAIL, linkRefusalDetail } from '../answers/details.ts'
import { OwnerDoor } from '../services/owner-door.ts'
import {
  OWNER_PATHS,
  type DeviceView,
  type OfferAnswer,
  type OfferQuestion,
} from './link/owner-protocol.ts'
import { deviceIn, devicesIn, offerIn, refusalIn, revokedIn } from './owner-answers.ts'

/** How long the link may take for a whole answer (ms). It is on this machine; a change waits for the disk. */
const ANSWER_MS = 2000

/** The largest answer that is read (bytes): 64 devices. */
const MAX_ANSWER_BYTES = 256 * 1024

/** The owner's door of the link. Every method throws a `GatewayError`: `link-unavailable`, or the link's refusal in its own words. */
export class LinkOwner {
  readonly #door: OwnerDoor
  #looking: Promise<readonly DeviceView[]> | undefined

  /**
   * @param socket GATEWAY_LINK_OWNER_SOCKET
   * @param limitMs how long the link may take for a whole answer
   */
  constructor(socket: string, limitMs: number = ANSWER_MS) {
    this.#door = new OwnerDoor({
      ...{ socket, limitMs, maxBytes: MAX_ANSWER_BYTES },
      ...{ program: 'link', unavailable: 'link-unavailable', awayDetail: LINK_AWAY_DETAIL },
      ...{ refusalIn, refusalDetail: linkRefusalDetail },
    })
  }

  /** The devices. Who asks while another waits gets the same answer, so that pages that are reloaded do not fill the door. */
  devices(): Promise<readonly DeviceView[]> {
    if (this.#looking !== undefined) return this.#looking
    const look = this.#door.ask('GET', OWNER_PATHS.devices, devicesIn).finally(() => {
      if (this.#looking === look) this.#looking = undefined
    })
    this.#looking = look
    return look
  }

  /** Makes a pairing link. */
  offer(question: OfferQuestion): Promise<OfferAnswer> {
    return this.#door.ask('POST', OWNER_PATHS.offers, offerIn, question)
  }

  /** Lets a device in that waits. @param sub the person whose session it gets */
  async approve(id: string, sub: string): Promise<void> {
    const device = await this.#changed(
      this.#door.ask('POST', `${pathOf(id)}/approve`, deviceIn, { sub }),
    )
    if (device.id !== id || device.state !== 'approved' || device.sub !== sub)
      throw this.#door.notChanged()
  }

  async rename(id: string, name: string): Promise<void> {
    const device = await this.#changed(
      this.#door.ask('POST', `${pathOf(id)}/rename`, deviceIn, { name }),
    )
    if (device.id !== id || device.name !== name) throw this.#door.notChanged()
  }

  /** Forgets a device. What it has open ends. */
  async revoke(id: string): Promise<void> {
    if ((await this.#changed(this.#door.ask('DELETE', pathOf(id), revokedIn))) !== id)
      throw this.#door.notChanged()
  }

  async #changed<Answer>(asked: Promise<Answer>): Promise<Answer> {
    try {
      return await asked
    } finally {
      this.#looking = undefined // what is under way may have been answered before the change
    }
  }
}

/** The path of a device. */
function pathOf(id: string): string {
  return `${OWNER_PATHS.devices}/${encodeURIComponent(id)}`
}
