/**
 * What do ttyd and its page say? The page's first message is a JSON object with the token and the size of its window; later ones that
 * the keeper reads are sizes, and ttyd's preferences. Everything else is for the other side alone.
 */
import { FROM_TTYD } from '../protocol.ts'
import { boundedSize, type Size, type UnicodeVersion } from './screen.ts'

/** The first message of ttyd's page. */
export interface FirstMessage {
  readonly authToken: string
  /** The size of its window; a size that no screen can have is bounded. */
  readonly size: Size
}

/** The size that ttyd gives a shell whose page names none. */
export const DEFAULT_SIZE: Size = { columns: 80, rows: 24 }

/** The largest message that is read as JSON, in bytes. */
const MAX_JSON_BYTES = 64 * 1024

const OPENING_BRACE = 0x7b

/** The first message of ttyd's page; undefined for any other message. */
export function firstMessageIn(message: Buffer): FirstMessage | undefined {
  if (message[0] !== OPENING_BRACE) return undefined
  const object = objectIn(message)
  if (object === undefined) return undefined
  const token = object['AuthToken']
  return {
    authToken: typeof token === 'string' ? token : '',
    size: sizeFrom(object) ?? DEFAULT_SIZE,
  }
}

/** The first message with another size, because the shell must not have a larger window than its screen here. */
export function withSize(message: Buffer, size: Size): Buffer {
  const object = objectIn(message)
  return object === undefined ? message : Buffer.from(JSON.stringify({ ...object, ...size }))
}

/** The size in the JSON behind the first byte of a RESIZE message; undefined when it has none that makes sense. */
export function sizeIn(text: Buffer): Size | undefined {
  const object = objectIn(text)
  return object === undefined ? undefined : sizeFrom(object)
}

/** The version of Unicode in the JSON behind the first byte of ttyd's preferences, as ttyd's page reads it. */
export function unicodeVersionIn(text: Buffer): UnicodeVersion {
  const version = objectIn(text)?.['unicodeVersion']
  return version === 6 || version === '6' ? '6' : '11'
}

const OUTPUT = Buffer.of(FROM_TTYD.output)

/** A message of ttyd with output of the shell. */
export function outputOf(text: Buffer): Buffer {
  return Buffer.concat([OUTPUT, text])
}

function sizeFrom({ columns, rows }: Record<string, unknown>): Size | undefined {
  return isCount(columns) && isCount(rows) ? boundedSize({ columns, rows }) : undefined
}

function isCount(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 1
}

function objectIn(text: Buffer): Record<string, unknown> | undefined {
  if (text.length > MAX_JSON_BYTES) return undefined
  try {
    const value: unknown = JSON.parse(text.toString())
    return typeof value === 'object' && value !== null
      ? (value as Record<string, unknown>)
      : undefined
  } catch {
    return undefined
  }
}
