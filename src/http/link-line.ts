/**
 * Which connection comes through the link? The first line on each connection of GATEWAY_LINK_SOCKET says it, before any HTTP: the bytes
 * of one device follow, or requests of the link itself. The link writes the line, and no byte of a device stands before it.
 */

/** The longest line, in bytes, with its line feed. */
export const MAX_LINK_LINE_BYTES = 1024

/** Where the link tells which devices are listed and approved, a PUT of `{"devices": […]}`. It exists on its own connections alone. */
export const LINK_DEVICES = '/_gateway/link/devices'

const PREFIX = 'LINK/1 '

const LINE_FEED = 0x0a

/** The line before the bytes of a device. */
export interface DeviceLine {
  readonly kind: 'device'
  /** The id of the device, 22 characters. */
  readonly device: string
  /** The relay through which the device came, such as `wss://relay.example.com`. */
  readonly relay: string
  /** The person whose session the device gets: the approver. */
  readonly sub: string
  /** What the owner calls the device. */
  readonly name: string
}

/** What the first line says. `link`: requests of the link itself follow. */
export type LinkLine = DeviceLine | { readonly kind: 'link' }

/** The error of a connection whose first line is none. Its message is for the log and quotes nothing. */
export class LinkLineError extends Error {}

/**
 * Writes the first line of a connection. A name that does not fit is cut.
 * @throws {LinkLineError} when the other fields do not fit, or the id is none
 */
export function writeLinkLine(line: LinkLine): Buffer {
  if (line.kind === 'link') return asLine({ kind: 'link' })
  const { kind, device, relay, sub } = line
  if (!isDeviceId(device)) throw new LinkLineError('the id of the device is none')
  let name = line.name.slice(0, MAX_LINK_LINE_BYTES)
  for (;;) {
    const bytes = asLine({ kind, device, relay, sub, name: withoutHalf(name) })
    if (bytes.length <= MAX_LINK_LINE_BYTES) return bytes
    if (name === '') throw new LinkLineError('relay and sub do not fit into the line')
    name = name.slice(0, -Math.ceil((bytes.length - MAX_LINK_LINE_BYTES) / 6))
  }
}

/** A text whose end may have been cut, without half of a surrogate pair there, which is no text. */
function withoutHalf(text: string): string {
  return text.replace(/[\ud800-\udbff]$/, '')
}

function asLine(line: LinkLine): Buffer {
  return Buffer.from(`${PREFIX}${JSON.stringify(line)}\n`)
}

/**
 * Reads the first line of a connection.
 * @param bytes what has arrived of the connection so far
 * @returns the line, and how many bytes it has; undefined while it is not complete
 * @throws {LinkLineError} when the connection begins with anything else
 */
export function readLinkLine(
  bytes: Uint8Array,
): { readonly line: LinkLine; readonly length: number } | undefined {
  const start = bytes.subarray(0, MAX_LINK_LINE_BYTES)
  const end = start.indexOf(LINE_FEED)
  if (end >= 0) return { line: parseLine(start.subarray(0, end)), length: end + 1 }
  if (bytes.length >= MAX_LINK_LINE_BYTES) throw new LinkLineError('the first line is too long')
  return undefined
}

/** Whether a text is the id of a device: 16 bytes in base64url, in their one spelling. */
export function isDeviceId(text: string): boolean {
  return /^[A-Za-z0-9_-]{21}[AQgw]$/.test(text)
}

function parseLine(bytes: Uint8Array): LinkLine {
  const fields = fieldsOf(bytes)
  const { kind, device, relay, sub, name } = fields
  const size = Object.keys(fields).length
  if (kind === 'link' && size === 1) return { kind }
  if (kind !== 'device' || size !== 5) throw new LinkLineError('the first line has another shape')
  if (typeof device !== 'string' || !isDeviceId(device))
    throw new LinkLineError('the id of the device is none')
  if (
    typeof relay !== 'string' ||
    typeof sub !== 'string' ||
    typeof name !== 'string' ||
    sub === ''
  )
    throw new LinkLineError('the first line has another shape')
  return { kind, device, relay, sub, name }
}

function fieldsOf(bytes: Uint8Array): Readonly<Record<string, unknown>> {
  let text: string
  let value: unknown
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    value = JSON.parse(text.slice(PREFIX.length))
  } catch {
    throw new LinkLineError('the first line is not JSON')
  }
  if (!text.startsWith(PREFIX) || typeof value !== 'object' || value === null)
    throw new LinkLineError(`the first line does not begin with ${PREFIX.trim()}`)
  return { ...value }
}
