/** What did the link answer at its owner's door? These functions take its JSON to pieces, and believe nothing unchecked. */
import { isDeviceId } from '../http/link-line.ts'
import {
  boundedTextIn,
  codeIn,
  listIn,
  objectIn,
  OddAnswerError,
  orNull,
  timeIn,
} from '../services/door-fields.ts'
import { LINK_ERRORS, type LinkErrorCode } from './link/owner-errors.ts'
import type { DeviceView, LinkStatus, OfferAnswer, OfferStatus } from './link/owner-protocol.ts'

/** A refusal of the link: its code, and its sentence. */
export interface LinkRefusal {
  readonly code: LinkErrorCode
  readonly detail: string
}

/** The longest text that is believed (UTF-16 code units). */
const MAX_TEXT_LENGTH = 2048

/** Reads `GET /v1/devices`. @throws {OddAnswerError} */
export function devicesIn(body: unknown): readonly DeviceView[] {
  return listIn(objectIn(body)['devices'], deviceIn)
}

/** Reads a device. @throws {OddAnswerError} */
export function deviceIn(value: unknown): DeviceView {
  const { id, name, kind, state, sub, code, pairedAt, lastSeenAt, isConnected } = objectIn(value)
  if (kind !== 'page' && kind !== 'command') throw new OddAnswerError('a device has no kind')
  if (state !== 'approved' && state !== 'waiting')
    throw new OddAnswerError('a device is in no state that is known')
  if (typeof isConnected !== 'boolean') throw new OddAnswerError('a device lacks a field')
  return {
    ...{ id: idIn(id), name: textIn(name), kind, state, isConnected },
    ...{ sub: orNull(sub, textIn), code: orNull(code, textIn) },
    ...{ pairedAt: timeIn(pairedAt), lastSeenAt: orNull(lastSeenAt, timeIn) },
  }
}

/** Reads `POST /v1/offers`. The link is a URL that a browser opens, and nothing else. @throws {OddAnswerError} */
export function offerIn(body: unknown): OfferAnswer {
  const { id, link, expiresAt } = objectIn(body)
  const text = textIn(link)
  if (!/^https?:\/\/[\x21-\x7e]+#[0-9]+$/.test(text))
    throw new OddAnswerError('it answered no pairing link where there is one')
  return { id: idIn(id), link: text, expiresAt: timeIn(expiresAt) }
}

const OFFER_STATES = ['open', 'used', 'burnt', 'ended'] as const

/** Reads `GET /v1/offers/<id>`. @throws {OddAnswerError} */
export function offerStatusIn(body: unknown): OfferStatus {
  const { id, state: stateText, device, problem } = objectIn(body)
  const state = OFFER_STATES.find((each) => each === stateText)
  if (state === undefined) throw new OddAnswerError('a pairing link is in no state that is known')
  return { id: idIn(id), state, device: orNull(device, deviceIn), problem: orNull(problem, textIn) }
}

/** Reads `DELETE /v1/devices/<id>`. @returns the id of the device. @throws {OddAnswerError} */
export function revokedIn(body: unknown): string {
  return idIn(objectIn(body)['id'])
}

/** Reads `POST /v1/reset`, which says that it is done. @throws {OddAnswerError} */
export function resetIn(body: unknown): void {
  if (objectIn(body)['done'] !== true) throw new OddAnswerError('it did not say that it is done')
}

/** Reads of `GET /v1/status` whether the link is connected to its relay, and why not. @throws {OddAnswerError} */
export function connectionIn(body: unknown): Pick<LinkStatus, 'isConnected' | 'relay' | 'problem'> {
  const { isConnected, relay, problem } = objectIn(body)
  if (typeof isConnected !== 'boolean') throw new OddAnswerError('its status lacks a field')
  return { isConnected, relay: textIn(relay), problem: orNull(problem, textIn) }
}

/** Reads a refusal. @throws {OddAnswerError} */
export function refusalIn(body: unknown): LinkRefusal {
  const { code, detail } = objectIn(body)
  return { code: codeIn(code, LINK_ERRORS), detail: textIn(detail) }
}

function idIn(value: unknown): string {
  if (typeof value === 'string' && isDeviceId(value)) return value
  throw new OddAnswerError('it answered no id where there is one')
}

function textIn(value: unknown): string {
  return boundedTextIn(value, MAX_TEXT_LENGTH)
}
