/**
 * What did the vault answer at its owner's door? Its JSON is checked here field by field, because what listens on the socket may be an
 * older or a newer vault, another program, or a broken one.
 */
import { isServiceName } from './entry-input.ts'
import type { AccessesAnswer, AccessView, EntryView } from './protocol.ts'
import { VAULT_ERRORS, type VaultErrorCode } from './vault-errors.ts'

/** What answers is no vault, or one whose answer cannot be understood. */
export class NotVaultError extends Error {}

/** What the gateway needs of an entry. */
export type KnownEntry = Pick<
  EntryView,
  'service' | 'origin' | 'methods' | 'paths' | 'grants' | 'suspended' | 'note'
>

/** A refusal of the vault: its code, and its sentence. */
export interface VaultRefusal {
  readonly code: VaultErrorCode
  readonly detail: string
}

/** The longest text that is believed (UTF-16 code units). A sentence of the vault may quote a list of paths. */
const MAX_TEXT_LENGTH = 4096

/** How many elements a list may have: the vault has at most 1,000 entries. */
const MAX_ELEMENTS = 1000

/** Reads `GET /v1/entries`. @throws {NotVaultError} */
export function entriesIn(body: unknown): readonly KnownEntry[] {
  return listIn(objectIn(body)['entries'], entryIn)
}

/** Reads the names of the agents in `GET /v1/status`. @throws {NotVaultError} */
export function agentsIn(body: unknown): readonly string[] {
  return listIn(objectIn(body)['agents'], textIn)
}

/** Reads `GET /v1/accesses`. @throws {NotVaultError} */
export function accessesIn(body: unknown): AccessesAnswer {
  const { since, accesses } = objectIn(body)
  return { since: timeIn(since), accesses: listIn(accesses, accessIn) }
}

/** Reads a refusal. @throws {NotVaultError} */
export function refusalIn(body: unknown): VaultRefusal {
  const { code, detail } = objectIn(body)
  if (typeof code !== 'string' || !Object.hasOwn(VAULT_ERRORS, code))
    throw new NotVaultError('it refused without a code that is known')
  return { code: code as VaultErrorCode, detail: textIn(detail) }
}

/** Reads an entry. @throws {NotVaultError} */
export function entryIn(value: unknown): KnownEntry {
  const { service, origin, methods, paths, grants, suspended, note } = objectIn(value)
  if (typeof service !== 'string' || !isServiceName(service))
    throw new NotVaultError('an entry has no service')
  if (typeof suspended !== 'boolean') throw new NotVaultError('an entry lacks a field')
  return {
    ...{ service, suspended, origin: textIn(origin), note: textIn(note) },
    methods: listIn(methods, textIn),
    paths: listIn(paths, textIn),
    grants: listIn(grants, textIn),
  }
}

function accessIn(value: unknown): AccessView {
  const { agent, service, uses, refusals, last_use: use, last_refusal: refusal } = objectIn(value)
  return {
    ...{ agent: textIn(agent), service: textIn(service) },
    ...{ uses: countIn(uses), refusals: countIn(refusals) },
    last_use: use === null ? null : useIn(use),
    last_refusal: refusal === null ? null : lastRefusalIn(refusal),
  }
}

function useIn(value: unknown): NonNullable<AccessView['last_use']> {
  const { time, method, path, status, reason } = objectIn(value)
  return {
    ...{ time: timeIn(time), method: textIn(method), path: textIn(path) },
    status: status === null ? null : countIn(status),
    reason: reason === null ? null : textIn(reason),
  }
}

function lastRefusalIn(value: unknown): NonNullable<AccessView['last_refusal']> {
  const { time, reason } = objectIn(value)
  return { time: timeIn(time), reason: textIn(reason) }
}

function objectIn(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new NotVaultError('it answered no object where there is one')
  return value as Record<string, unknown>
}

function listIn<Value>(value: unknown, read: (one: unknown) => Value): readonly Value[] {
  if (!Array.isArray(value) || value.length > MAX_ELEMENTS)
    throw new NotVaultError('it answered no list where there is one, or a long one')
  return value.map(read)
}

function textIn(value: unknown): string {
  if (typeof value === 'string' && value.length <= MAX_TEXT_LENGTH) return value
  throw new NotVaultError('it answered no text where there is one, or a long one')
}

function countIn(value: unknown): number {
  if (Number.isSafeInteger(value) && (value as number) >= 0) return value as number
  throw new NotVaultError('it answered no count where there is one')
}

/** A time as the vault writes it: RFC 3339 in UTC, with milliseconds. */
function timeIn(value: unknown): string {
  if (typeof value === 'string' && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(value))
    return value
  throw new NotVaultError('it answered no time where there is one')
}
