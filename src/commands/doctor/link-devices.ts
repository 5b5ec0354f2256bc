/** Does a device want a look of the owner? One that waits, one that nobody has used for months, or all, because nobody is the owner. */
import type { Config } from '../../config/load.ts'
import { fail, pass, skip, warn, type Finding } from './finding.ts'
import type { DeviceFacts } from './link-answer.ts'

/** The names of the checks. */
export const WAITING = 'link-waiting'
export const USED = 'link-devices-used'
export const OWNERS = 'link-owners'

/** A device that nobody has used for this long is one that somebody may have lost, in milliseconds: 90 days. */
const UNUSED_MS = 90 * 86_400_000

/** So many devices are named for one check. */
const MAX_NAMED = 5

/** Judges the devices. @param now milliseconds since 1970 */
export function judgeDevices(
  devices: readonly DeviceFacts[],
  { owners }: Pick<Config, 'owners'>,
  now: number,
): Finding[] {
  const approved = devices.filter(({ state }) => state === 'approved')
  return [
    judgeWaiting(devices.filter(({ state }) => state === 'waiting')),
    judgeUsed(approved, now),
    judgeOwners(approved.length, owners),
  ]
}

function judgeWaiting(waiting: readonly DeviceFacts[]): Finding {
  if (waiting.length === 0) return pass(WAITING, 'no device waits for approval')
  const named = waiting.map(
    (device) => `${nameOf(device)}${device.code === null ? '' : `, which shows ${device.code}`}`,
  )
  return warn(
    WAITING,
    `${waiting.length === 1 ? '1 waits' : `${waiting.length} wait`} for approval: ${listOf(named)}`,
    'compare the six digits with the device in your hand: "workspace-gateway devices approve ID"; "devices revoke ID" for one that you do not know, whose link somebody else has seen',
  )
}

function judgeUsed(approved: readonly DeviceFacts[], now: number): Finding {
  if (approved.length === 0) return pass(USED, 'no device is approved')
  const unused = approved.filter(
    ({ isConnected, lastSeenAt, pairedAt }) =>
      !isConnected && now - Date.parse(lastSeenAt ?? pairedAt) >= UNUSED_MS,
  )
  const connected = approved.filter(({ isConnected }) => isConnected).length
  if (unused.length === 0)
    return pass(
      USED,
      `${approved.length} approved, ${connected} of them connected, each seen within 90 days`,
    )
  return warn(
    USED,
    `not seen for 90 days: ${listOf(unused.map(nameOf))}`,
    '"workspace-gateway devices revoke ID" for each that nobody has in hand: whoever finds it gets in',
  )
}

function judgeOwners(approved: number, owners: Config['owners']): Finding {
  if (approved === 0) return skip(OWNERS, 'no device is approved')
  if (owners.length > 0) return pass(OWNERS, 'GATEWAY_OWNERS names who may approve devices')
  return fail(
    OWNERS,
    `GATEWAY_OWNERS is not set while ${approved === 1 ? '1 device is' : `${approved} devices are`} approved: everybody who can sign in is an owner, who may let more of them in`,
    'set GATEWAY_OWNERS to those who own the workspace, and restart the gateway',
  )
}

function nameOf({ id, name }: DeviceFacts): string {
  return `${name} (${id})`
}

function listOf(names: readonly string[]): string {
  const more = names.length - MAX_NAMED
  return `${names.slice(0, MAX_NAMED).join(', ')}${more > 0 ? ` and ${more} more` : ''}`
}
