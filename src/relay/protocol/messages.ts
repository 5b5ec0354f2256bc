/** What do daemon and device say to each other besides the bytes of streams? JSON of a fixed shape, each field checked. */
import { UNSHOWN, utf8, type Bytes } from './bytes.ts'
import { NoiseError } from './noise.ts'

/** The daemon's first record: what the device is to it. */
export interface Welcome {
  /** The id of the device, 22 characters. */
  readonly device: string
  /** `waiting` for the owner's approval: no stream is opened before a note says `approved`. */
  readonly state: 'approved' | 'waiting'
  /** The host to name in requests, such as `houston.hubify.com`: `host[:port]` in lower case, so that it fits a header line. */
  readonly host: string
  /** What is behind the channel: our gateway, or another service. */
  readonly target: 'gateway' | 'service'
}

/** What the daemon tells devices. */
export interface Note {
  /** `approved` is for the device itself; the others tell every other device what has happened to one. */
  readonly kind: 'approved' | 'device-waiting' | 'device-approved' | 'device-revoked'
  /** The name of the device that it is about. Read without control characters, because it may be shown in a terminal. */
  readonly name: string
}

const NOTE_KINDS = ['approved', 'device-waiting', 'device-approved', 'device-revoked'] as const

const DEVICE_ID = /^[A-Za-z0-9_-]{22}$/
const HOST = /^(?:[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?$/

/** The longest text in a message, in characters. */
const MAX_TEXT_LENGTH = 300

/** The body of a record for a message. */
export function encodeMessage(message: Welcome | Note): Bytes {
  return utf8(JSON.stringify(message))
}

/** Reads a welcome. @throws {NoiseError} */
export function decodeWelcome(body: Bytes): Welcome {
  const fields = fieldsOf(body)
  const device = textIn(fields, 'device')
  const host = textIn(fields, 'host')
  const { state, target } = fields
  if (!DEVICE_ID.test(device) || !HOST.test(host)) throw odd()
  if (state !== 'approved' && state !== 'waiting') throw odd()
  if (target !== 'gateway' && target !== 'service') throw odd()
  return { device, state, host, target }
}

/** Reads a note. @throws {NoiseError} */
export function decodeNote(body: Bytes): Note {
  const fields = fieldsOf(body)
  const kind = NOTE_KINDS.find((each) => each === fields['kind'])
  if (kind === undefined) throw odd()
  return { kind, name: textIn(fields, 'name').replaceAll(UNSHOWN, ' ') }
}

function fieldsOf(body: Bytes): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body))
    if (typeof value === 'object' && value !== null) return { ...value }
  } catch (cause) {
    throw new NoiseError('a message is not JSON', { cause })
  }
  throw odd()
}

function textIn(fields: Readonly<Record<string, unknown>>, name: string): string {
  const value = fields[name]
  if (typeof value !== 'string' || value.length > MAX_TEXT_LENGTH) throw odd()
  return value
}

function odd(): NoiseError {
  return new NoiseError('a message has another shape')
}
