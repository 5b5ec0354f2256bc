/**
 * What did the link answer at its owner's door? Its JSON is checked here field by field, because what listens on the socket may be an older
 * or a newer link, another program, or a broken one.
 */
import { isDeviceId } from '../http/link-line.ts'
import { LINK_ERRORS, type LinkErrorCode } from './link/owner-errors.ts'
import type { DeviceView, LinkStatus, OfferAnswer, OfferStatus } from './link/owner-protocol.ts'

/** What answers is no link, or one whose answer cannot be understood. */
export class NotLinkError extends Error {}

/** A refusal of the link: its code, and its sentence. */
export interface LinkRefusal {
  readonly code: LinkErrorCode
  readonly detail: string
}

/** The longest text that is believed (UTF-16 code units). */
const MAX_TEXT_LENGTH = 2048

/** How many devices are believed: the link has 64 at most. */
const MAX_DEVICES = 1000

/** Reads `GET /v1/devices`. @throws {NotLinkError} */
export function devicesIn(body: unknown): readonly DeviceView[] {
  const { devices } = objectIn(body)
  if (!Array.isArray(devices) || devices.length > MAX_DEVICES)
    throw new NotLinkError('it answered no list where there is one, or a long one')
  return devices.map(deviceIn)
}

/** Reads a device. @throws {NotLinkError} */
export function deviceIn(value: unknown): DeviceView {
  const { id, name, kind, state, sub, code, pairedAt, lastSeenAt, isConnected } = objectIn(value)
  if (kind !== 'page' && kind !== 'command') throw new NotLinkError('a device has no kind')
  if (state !== 'approved' && state !== 'waiting')
    throw new NotLinkError('a device is in no state that is known')
  if (typeof isConnected !== 'boolean') throw new NotLinkError('a device lacks a field')
  return {
    ...{ id: idIn(id), name: textIn(name), kind, state, isConnected },
    ...{ sub: orNull(sub, textIn), code: orNull(code, textIn) },
    ...{ pairedAt: timeIn(pairedAt), lastSeenAt: orNull(lastSeenAt, timeIn) },
  }
}

/** Reads `POST /v1/offers`. The link is a URL that a browser opens, and nothing else. @throws {NotLinkError} */
export function offerIn(body: unknown): OfferAnswer {
  const { id, link, expiresAt } = objectIn(body)
  const text = textIn(link)
  if (!/^https?:\/\/[\x21-\x7e]+#[0-9]+$/.test(text))
    throw new NotLinkError('it answered no pairing link where there is one')
  return { id: idIn(id), link: text, expiresAt: timeIn(expiresAt) }
}

const OFFER_STATES = ['open', 'used', 'burnt', 'ended'] as const

/** Reads `GET /v1/offers/<id>`. @throws {NotLinkError} */
export function offerStatusIn(body: unknown): OfferStatus {
  const { id, state: stateText, device, problem } = objectIn(body)
  const state = OFFER_STATES.find((each) => each === stateText)
  if (state === undefined) throw new NotLinkError('a pairing link is in no state that is known')
  return { id: idIn(id), state, device: orNull(device, deviceIn), problem: orNull(problem, textIn) }
}

/** Reads `DELETE /v1/devices/<id>`. @returns the id of the device. @throws {NotLinkError} */
export function revokedIn(body: unknown): string {
  return idIn(objectIn(body)['id'])
}

/** Reads `POST /v1/reset`, which says that it is done. @throws {NotLinkError} */
export function resetIn(body: unknown): void {
  if (objectIn(body)['done'] !== true) throw new NotLinkError('it did not say that it is done')
}

/** Reads of `GET /v1/status` whether the link is connected to its relay, and why not. @throws {NotLinkError} */
export function connectionIn(body: unknown): Pick<LinkStatus, 'isConnected' | 'relay' | 'problem'> {
  const { isConnected, relay, problem } = objectIn(body)
  if (typeof isConnected !== 'boolean') throw new NotLinkError('its status lacks a field')
  return { isConnected, relay: textIn(relay), problem: orNull(problem, textIn) }
}

/** Reads a refusal. @throws {NotLinkError} */
export function refusalIn(body: unknown): LinkRefusal {
  const { code, detail } = objectIn(body)
  if (typeof code !== 'string' || !Object.hasOwn(LINK_ERRORS, code))
    throw new NotLinkError('it refused without a code that is known')
  return { code: code as LinkErrorCode, detail: textIn(detail) }
}

function objectIn(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new NotLinkError('it answered no object where there is one')
  return value as Record<string, unknown>
}

function idIn(value: unknown): string {
  if (typeof value === 'string' && isDeviceId(value)) return value
  throw new NotLinkError('it answered no id where there is one')
}

function textIn(value: unknown): string {
  if (typeof value === 'string' && value.length <= MAX_TEXT_LENGTH) return value
  throw new NotLinkError('it answered no text where there is one, or a long one')
}

function orNull<Value>(value: unknown, read: (one: unknown) => Value): Value | null {
  return value === null ? null : read(value)
}

/** A time in ISO 8601, in UTC with milliseconds. */
function timeIn(value: unknown): string {
  if (typeof value === 'string' && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(value))
    return value
  throw new NotLinkError('it answered no time where there is one')
}
