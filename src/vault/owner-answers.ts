/** What did the vault answer at its owner's door? These functions take its JSON to pieces, and believe nothing unchecked. */
import {
  boundedTextIn,
  codeIn,
  countIn,
  listIn,
  objectIn,
  OddAnswerError,
  orNull,
  timeIn,
} from '../services/door-fields.ts'
import { isServiceName } from './entry-input.ts'
import type { AccessesAnswer, AccessView, EntryView } from './protocol.ts'
import { VAULT_ERRORS, type VaultErrorCode } from './vault-errors.ts'

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

/** Reads `GET /v1/entries`. @throws {OddAnswerError} */
export function entriesIn(body: unknown): readonly KnownEntry[] {
  return listIn(objectIn(body)['entries'], entryIn)
}

/** Reads the names of the agents in `GET /v1/status`. @throws {OddAnswerError} */
export function agentsIn(body: unknown): readonly string[] {
  return listIn(objectIn(body)['agents'], textIn)
}

/** Reads `GET /v1/accesses`. @throws {OddAnswerError} */
export function accessesIn(body: unknown): AccessesAnswer {
  const { since, accesses } = objectIn(body)
  return { since: timeIn(since), accesses: listIn(accesses, accessIn) }
}

/** Reads a refusal. @throws {OddAnswerError} */
export function refusalIn(body: unknown): VaultRefusal {
  const { code, detail } = objectIn(body)
  return { code: codeIn(code, VAULT_ERRORS), detail: textIn(detail) }
}

/** Reads an entry. @throws {OddAnswerError} */
export function entryIn(value: unknown): KnownEntry {
  const { service, origin, methods, paths, grants, suspended, note } = objectIn(value)
  if (typeof service !== 'string' || !isServiceName(service))
    throw new OddAnswerError('an entry has no service')
  if (typeof suspended !== 'boolean') throw new OddAnswerError('an entry lacks a field')
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
    last_use: orNull(use, useIn),
    last_refusal: orNull(refusal, lastRefusalIn),
  }
}

function useIn(value: unknown): NonNullable<AccessView['last_use']> {
  const { time, method, path, status, reason } = objectIn(value)
  return {
    ...{ time: timeIn(time), method: textIn(method), path: textIn(path) },
    status: orNull(status, countIn),
    reason: orNull(reason, textIn),
  }
}

function lastRefusalIn(value: unknown): NonNullable<AccessView['last_refusal']> {
  const { time, reason } = objectIn(value)
  return { time: timeIn(time), reason: textIn(reason) }
}

function textIn(value: unknown): string {
  return boundedTextIn(value, MAX_TEXT_LENGTH)
}
