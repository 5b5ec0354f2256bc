/** What does an owner see of paired devices, and how are they let in, renamed and revoked? The link is asked, at its owner's door. */
import { printable } from '../answers/printable.ts'
import { isDeviceId } from '../http/link-line.ts'
import type { DeviceView, OfferAnswer } from '../relay/link/owner-protocol.ts'
import type { LinkOwner } from '../relay/owner-client.ts'
import type { ActionInput, ActionResult, LiveParts } from './action.ts'
import { DEFAULT_SUBJECT } from './api-token-actions.ts'
import type { Caller } from './caller.ts'
import { memberRefusal, membersOf, ownerRefusal, subjectIn, textIn } from './members.ts'

/** The answer to a question for the devices: those that wait first, and of them those whose code can be compared. */
export interface DevicesView {
  readonly devices: readonly DeviceView[]
}

/** The answer when a pairing link was made. It is a secret until a device has used it. */
export type OfferView = Omit<OfferAnswer, 'id'>

/** Lists the devices. @throws {GatewayError} `link-unavailable`; `not-found` without a link */
export async function listDevices(parts: LiveParts): Promise<ActionResult> {
  const devices = await linkOf(parts).devices()
  const place = ({ state, code }: DeviceView) => (state !== 'waiting' ? 2 : code === null ? 1 : 0)
  const answer: DevicesView = {
    devices: devices
      .toSorted((a, b) => place(a) - place(b) || a.pairedAt.localeCompare(b.pairedAt))
      .map(shown),
  }
  return { answer }
}

/**
 * Prepares a pairing link for the person who asks; the machine may say for whom. It is an act, because with LINK_AUTO_APPROVE, or when the
 * link says so itself, whoever opens it is let in.
 */
export async function offerDevice(
  parts: LiveParts,
  { body }: ActionInput,
  caller: Caller,
): Promise<() => Promise<ActionResult>> {
  const link = linkOf(parts)
  const { isApproved = false, sub } = membersOf(body ?? {}, ['isApproved', 'sub'])
  if (typeof isApproved !== 'boolean') throw memberRefusal('isApproved', 'true or false')
  const question = { sub: approverOf(parts, sub, caller), isApproved }
  await link.devices() // so that a link that is away uses no second factor up
  return async () => {
    const { link: text, expiresAt } = await link.offer(question)
    return { answer: { link: text, expiresAt }, changed: [question.sub] }
  }
}

/** Prepares to let a device in. The link is asked for it first, so that a wrong id uses no second factor up. */
export async function approveDevice(
  parts: LiveParts,
  { id, body }: ActionInput,
  caller: Caller,
): Promise<() => Promise<ActionResult>> {
  const link = linkOf(parts)
  const sub = approverOf(parts, membersOf(body ?? {}, ['sub']).sub, caller)
  const device = (await link.devices()).find((one) => one.id === id)
  if (device === undefined) throw ownerRefusal('not-found', 'no such device')
  if (device.state !== 'waiting') throw ownerRefusal('bad-request', 'device is approved')
  return async () => {
    await link.approve(id, sub)
    return { answer: { approved: 1 }, changed: [id] }
  }
}

export async function renameDevice(
  parts: LiveParts,
  { id, body }: ActionInput,
): Promise<ActionResult> {
  const link = linkOf(parts)
  const name = textIn(membersOf(body, ['name']).name, 'name')
  await link.rename(deviceIn(id), name)
  return { answer: { renamed: 1 }, changed: [id] }
}

/** Revokes a device. The link ends its channel; its session ends here in any case, also before the link has told. */
export async function revokeDevice(parts: LiveParts, { id }: ActionInput): Promise<ActionResult> {
  const link = linkOf(parts)
  await link.revoke(deviceIn(id))
  const session = parts.sessions.ofDevice(id)?.session
  const { isSaved } = parts.sessions.end(session === undefined ? [] : [session], 'revoked')
  return { answer: { revoked: 1, saved: isSaved }, changed: [id], isSaved }
}

/** A device whose name cannot control a terminal. */
function shown(device: DeviceView): DeviceView {
  return { ...device, name: printable(device.name) }
}

/** @throws {GatewayError} `not-found` when GATEWAY_LINK_OWNER_SOCKET is not set */
function linkOf({ link }: LiveParts): LinkOwner {
  if (link === undefined) throw ownerRefusal('not-found', 'no link here')
  return link
}

/** The id of a device. @throws {GatewayError} `not-found` for what cannot be one */
function deviceIn(id: string): string {
  if (isDeviceId(id)) return id
  throw ownerRefusal('not-found', 'no such device')
}

/** The person whose session a device gets: who asks; the machine may say who. */
function approverOf({ owners }: LiveParts, sub: unknown, { principal }: Caller): string {
  if (principal !== undefined && sub !== undefined)
    throw ownerRefusal('bad-request', 'not for oneself')
  if (sub !== undefined) return subjectIn(sub, 'sub')
  return principal?.subject ?? owners[0] ?? DEFAULT_SUBJECT
}
