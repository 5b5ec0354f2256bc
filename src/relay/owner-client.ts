/**
 * How does the gateway ask the link for its owners? At the owner's door of the link, GATEWAY_LINK_OWNER_SOCKET, bounded in time and in
 * size. Nobody but an owner of the workspace gets here, because the door does whatever it is asked.
 */
import { LINK_AWAY_DETAIL, linkRefusalDetail } from '../answers/details.ts'
import { GatewayError, noAnswerReason } from '../answers/errors.ts'
import { printable } from '../answers/printable.ts'
import { askDoor } from '../services/ask-door.ts'
import type { LinkErrorCode } from './link/owner-errors.ts'
import {
  OWNER_PATHS,
  type DeviceView,
  type OfferAnswer,
  type OfferQuestion,
} from './link/owner-protocol.ts'
import {
  deviceIn,
  devicesIn,
  NotLinkError,
  offerIn,
  refusalIn,
  revokedIn,
  type LinkRefusal,
} from './owner-answers.ts'

/** How long the link may take for a whole answer (ms). It is on this machine; a change waits for the disk. */
const ANSWER_MS = 2000

/** The largest answer that is read (bytes): 64 devices. */
const MAX_ANSWER_BYTES = 256 * 1024

/** A longer sentence of the link is cut (characters). */
const MAX_SENTENCE_LENGTH = 500

/** Which code of ours a refusal of the link gets; `link-unavailable` for any other. */
const CODES: Partial<Record<LinkErrorCode, 'bad-request' | 'not-found'>> = {
  'bad-request': 'bad-request',
  'not-found': 'not-found',
  conflict: 'bad-request',
}

/** The owner's door of the link. Every method throws a `GatewayError`: `link-unavailable`, or the link's refusal in its own words. */
export class LinkOwner {
  readonly #socket: string
  readonly #limitMs: number
  #looking: Promise<readonly DeviceView[]> | undefined

  /**
   * @param socket GATEWAY_LINK_OWNER_SOCKET
   * @param limitMs how long the link may take for a whole answer
   */
  constructor(socket: string, limitMs: number = ANSWER_MS) {
    this.#socket = socket
    this.#limitMs = limitMs
  }

  /** The devices. Who asks while another waits gets the same answer, so that pages that are reloaded do not fill the door. */
  devices(): Promise<readonly DeviceView[]> {
    if (this.#looking !== undefined) return this.#looking
    const look = this.#ask('GET', OWNER_PATHS.devices, devicesIn).finally(() => {
      if (this.#looking === look) this.#looking = undefined
    })
    this.#looking = look
    return look
  }

  /** Makes a pairing link. */
  offer(question: OfferQuestion): Promise<OfferAnswer> {
    return this.#ask('POST', OWNER_PATHS.offers, offerIn, question)
  }

  /** Lets a device in that waits. @param sub the person whose session it gets */
  async approve(id: string, sub: string): Promise<void> {
    const device = await this.#changed(
      this.#ask('POST', `${pathOf(id)}/approve`, deviceIn, { sub }),
    )
    if (device.id !== id || device.state !== 'approved' || device.sub !== sub) throw notChanged()
  }

  async rename(id: string, name: string): Promise<void> {
    const device = await this.#changed(
      this.#ask('POST', `${pathOf(id)}/rename`, deviceIn, { name }),
    )
    if (device.id !== id || device.name !== name) throw notChanged()
  }

  /** Forgets a device. What it has open ends. */
  async revoke(id: string): Promise<void> {
    if ((await this.#changed(this.#ask('DELETE', pathOf(id), revokedIn))) !== id) throw notChanged()
  }

  async #changed<Answer>(asked: Promise<Answer>): Promise<Answer> {
    try {
      return await asked
    } finally {
      this.#looking = undefined // what is under way may have been answered before the change
    }
  }

  /** @param read takes the answer of a success to pieces */
  async #ask<Answer>(
    method: 'GET' | 'POST' | 'DELETE',
    path: string,
    read: (body: unknown) => Answer,
    body?: object,
  ): Promise<Answer> {
    let refusal: LinkRefusal
    try {
      const limits = { limitMs: this.#limitMs, maxBytes: MAX_ANSWER_BYTES }
      const { status, bytes } = await askDoor(this.#socket, { method, path, body, ...limits })
      const json: unknown = jsonIn(bytes)
      if (status === 200) return read(json)
      refusal = refusalIn(json)
    } catch (cause) {
      throw awayError(cause instanceof NotLinkError ? cause.message : noAnswerReason(cause), cause)
    }
    throw refusedError(refusal)
  }
}

/** The path of a device. */
function pathOf(id: string): string {
  return `${OWNER_PATHS.devices}/${encodeURIComponent(id)}`
}

function jsonIn(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8')) as unknown
  } catch {
    throw new NotLinkError('it answered no JSON')
  }
}

/** The answer to a change does not have it: another program may say 200 to anything. */
function notChanged(): GatewayError {
  const why = 'its answer does not have the change'
  return awayError(why, new NotLinkError(why))
}

function refusedError({ code, detail: sentence }: LinkRefusal): GatewayError {
  const detail = linkRefusalDetail(printable(sentence.slice(0, MAX_SENTENCE_LENGTH)))
  return new GatewayError(CODES[code] ?? 'link-unavailable', { reason: `link: ${code}`, detail })
}

function awayError(why: string, cause: unknown): GatewayError {
  const reason = `link: ${why}`
  return new GatewayError('link-unavailable', { reason, detail: LINK_AWAY_DETAIL, cause })
}
