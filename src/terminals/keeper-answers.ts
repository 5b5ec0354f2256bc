/**
 * What did the keeper of terminals answer? Its JSON is checked here field by field, because what listens on the socket may be an
 * older or a newer keeper, another program, or a broken one.
 */
import { UNDERSTOOD_PROTOCOLS, type KeeperReady, type TerminalEntry } from './protocol.ts'

/** What answers is no keeper of terminals, or one whose answer cannot be understood. */
export class NotKeeperError extends Error {}

/** What `GET /_ready` says of a keeper. `ready` is undefined when this gateway does not understand its protocol. */
export interface Greeting {
  readonly protocol: number
  /** The keeper's release. */
  readonly version: string
  readonly ready: KeeperReady | undefined
}

/** The longest release name that is believed and shown, in characters. */
const MAX_VERSION_LENGTH = 64

/** The longest text in an entry, in characters: a `sub` is the longest, percent-encoded. */
const MAX_TEXT_LENGTH = 16_384

/** How many terminals a list may have: more than a keeper keeps. */
const MAX_ENTRIES = 1024

/** The form of a terminal's id, which becomes a part of a path. */
const TERMINAL_ID = /^[A-Za-z0-9_-]{1,64}$/

/** Reads `GET /_ready`. @throws {NotKeeperError} when no keeper said this */
export function greetingIn(body: unknown): Greeting {
  const { protocol, version, startedAt, attached, parked } = objectIn(body, 'the greeting')
  if (!isCount(protocol)) throw new NotKeeperError('its greeting has no protocol')
  const named = isText(version, MAX_VERSION_LENGTH) && isPlain(version) ? version : 'unknown'
  const isWhole = isTime(startedAt) && isCount(attached) && isCount(parked)
  const ready =
    UNDERSTOOD_PROTOCOLS.includes(protocol) && isWhole
      ? { protocol, version: named, startedAt, attached, parked }
      : undefined
  return { protocol, version: named, ready }
}

/** Reads `GET /_terminals`. @throws {NotKeeperError} when a part of it is not as the protocol says */
export function entriesIn(body: unknown): readonly TerminalEntry[] {
  const { terminals } = objectIn(body, 'the list')
  if (!Array.isArray(terminals) || terminals.length > MAX_ENTRIES)
    throw new NotKeeperError('its list has no terminals, or too many')
  return terminals.map(entryIn)
}

/** Reads the number of terminals that an action concerned. @throws {NotKeeperError} */
export function countIn(body: unknown, name: 'ended' | 'renewed'): number {
  const { [name]: count } = objectIn(body, 'the answer')
  if (!isCount(count)) throw new NotKeeperError(`its answer has no ${name}`)
  return count
}

function entryIn(value: unknown): TerminalEntry {
  const entry = objectIn(value, 'an entry')
  const { id, state, title, columns, rows, startedAt, since } = entry
  if (!isText(id) || !TERMINAL_ID.test(id)) throw new NotKeeperError('an entry has no id')
  if (state !== 'attached' && state !== 'parked' && state !== 'exited')
    throw new NotKeeperError('an entry has no state that is known')
  const isWhole =
    isText(title) && isCount(columns) && isCount(rows) && isTime(startedAt) && isTime(since)
  if (!isWhole) throw new NotKeeperError('an entry lacks a field')
  const sub = optional(entry, 'sub', isText)
  if (sub !== undefined && !isEncoded(sub)) throw new NotKeeperError('the sub of an entry is none')
  return {
    ...{ id, state, title, columns, rows, startedAt, since, sub },
    sid: optional(entry, 'sid', isText),
    ends: optional(entry, 'ends', isTime),
    mark: optional(entry, 'mark', isText),
    tab: optional(entry, 'tab', isText),
    parkedUntil: optional(entry, 'parkedUntil', isTime),
  }
}

/** A field that may be absent. @throws {NotKeeperError} when it is there and is not what it has to be */
function optional<Value>(
  entry: Readonly<Record<string, unknown>>,
  name: keyof TerminalEntry,
  is: (value: unknown) => value is Value,
): Value | undefined {
  const value = entry[name]
  if (value === undefined || value === null) return undefined
  if (!is(value)) throw new NotKeeperError(`the ${name} of an entry is none`)
  return value
}

function objectIn(value: unknown, what: string): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null) throw new NotKeeperError(`${what} is no object`)
  return value as Record<string, unknown>
}

function isText(value: unknown, maxLength = MAX_TEXT_LENGTH): value is string {
  return typeof value === 'string' && value.length <= maxLength
}

/** The last time that a date can be, in milliseconds since 1970 (ECMAScript section 21.4.1.1). */
const LAST_MS = 8.64e15

function isTime(value: unknown): value is number {
  return isCount(value) && value <= LAST_MS
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

/** Whether a text is printable ASCII, because doctor and status show it. */
function isPlain(text: string): boolean {
  return /^[ -~]+$/.test(text)
}

/** Whether a text can be percent-decoded. */
function isEncoded(text: string): boolean {
  try {
    decodeURIComponent(text)
    return true
  } catch {
    return false
  }
}
