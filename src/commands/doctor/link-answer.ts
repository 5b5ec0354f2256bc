/** What does the link answer to doctor? Its status and its devices, with every member checked, because another program may answer. */
import { OWNER_PATHS, type DeviceView, type LinkStatus } from '../../relay/link/owner-protocol.ts'
import {
  askForJson,
  GARBAGE,
  isListOf,
  isNullOr,
  isNumber,
  isObject,
  isText,
  type NoAnswerOfDoor,
} from './door-answer.ts'

/** What doctor looks at of a device. */
export type DeviceFacts = Pick<
  DeviceView,
  'id' | 'name' | 'state' | 'code' | 'pairedAt' | 'lastSeenAt' | 'isConnected'
>

/** Asks for the status. Never rejects. */
export async function askLinkStatus(
  socket: string,
  limitMs: number,
): Promise<LinkStatus | NoAnswerOfDoor> {
  const answer = await askForJson(socket, OWNER_PATHS.status, limitMs)
  if ('failed' in answer) return answer
  return isStatus(answer.json) ? answer.json : { failed: GARBAGE }
}

/** Asks for the devices. Never rejects. */
export async function askLinkDevices(
  socket: string,
  limitMs: number,
): Promise<{ readonly devices: readonly DeviceFacts[] } | NoAnswerOfDoor> {
  const answer = await askForJson(socket, OWNER_PATHS.devices, limitMs)
  if ('failed' in answer) return answer
  const devices = isObject(answer.json) ? answer.json['devices'] : undefined
  return isListOf(devices, isDevice) ? { devices } : { failed: GARBAGE }
}

function isStatus(value: unknown): value is LinkStatus {
  return (
    isObject(value) &&
    isText(value['version']) &&
    isText(value['relay']) &&
    typeof value['isConnected'] === 'boolean' &&
    isNullOr(value['since'], isTime) &&
    isNullOr(value['problem'], isText) &&
    (value['target'] === 'gateway' || value['target'] === 'service') &&
    isNumber(value['devices']) &&
    isNumber(value['offers'])
  )
}

function isDevice(value: unknown): value is DeviceFacts {
  return (
    isObject(value) &&
    isText(value['id']) &&
    isText(value['name']) &&
    (value['state'] === 'approved' || value['state'] === 'waiting') &&
    isNullOr(value['code'], isText) &&
    isTime(value['pairedAt']) &&
    isNullOr(value['lastSeenAt'], isTime) &&
    typeof value['isConnected'] === 'boolean'
  )
}

function isTime(value: unknown): value is string {
  return isText(value) && !Number.isNaN(Date.parse(value))
}
