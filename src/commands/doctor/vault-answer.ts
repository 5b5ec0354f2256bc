/** What does the vault answer to doctor? Its status and its entries, with every member checked, because another program may answer. */
import { codeOf } from '../../answers/errors.ts'
import { askDoor } from '../../services/ask-door.ts'
import type { EntryView } from '../../vault/protocol.ts'
import { PATH_ROLES, type OwnPath, type SelfCheck } from '../../vault/self-check.ts'

/** The status of a vault. */
export interface VaultStatus {
  readonly version: string
  readonly pid: number
  /** Undefined when the vault does not report about itself, because it is of another release. */
  readonly self: SelfCheck | undefined
}

/** What doctor looks at of an entry. */
export type EntryFacts = Pick<EntryView, 'service' | 'kind' | 'grants' | 'suspended' | 'versions'>

/** Why there is no answer: the code of the system's error, or one of these. */
export interface NoVault {
  readonly failed: string
}

/** The vault did not answer in time. */
export const SILENT = 'ETIMEDOUT'

/** What answers is no vault. */
export const GARBAGE = 'garbage'

/** How long the vault may take for an answer (ms). It is on this machine, and answers from memory. */
export const VAULT_MS = 2000

/** A longer answer is refused (bytes): a thousand entries are shorter. */
const MAX_BYTES = 16 * 1024 * 1024

/** Asks for the status. Never rejects. */
export async function askStatus(socket: string, limitMs: number): Promise<VaultStatus | NoVault> {
  const answer = await askForJson(socket, '/v1/status', limitMs)
  if ('failed' in answer) return answer
  const { json } = answer
  if (!isObject(json) || !isText(json['version']) || !isNumber(json['pid']))
    return { failed: GARBAGE }
  const self = json['self_check']
  const { version, pid } = json as { version: string; pid: number }
  return { version, pid, self: isSelfCheck(self) ? self : undefined }
}

/** Asks for the entries. Never rejects. */
export async function askEntries(
  socket: string,
  limitMs: number,
): Promise<{ readonly entries: readonly EntryFacts[] } | NoVault> {
  const answer = await askForJson(socket, '/v1/entries', limitMs)
  if ('failed' in answer) return answer
  const entries = isObject(answer.json) ? answer.json['entries'] : undefined
  return isListOf(entries, isEntry) ? { entries } : { failed: GARBAGE }
}

async function askForJson(
  socket: string,
  path: string,
  limitMs: number,
): Promise<{ readonly json: unknown } | NoVault> {
  const startedAt = performance.now()
  try {
    const question = { method: 'GET', path, limitMs, maxBytes: MAX_BYTES } as const
    const { status, bytes } = await askDoor(socket, question)
    return status === 200
      ? { json: JSON.parse(bytes.toString('utf8')) as unknown }
      : { failed: GARBAGE }
  } catch (error) {
    // The body of an answer that the time limit cuts fails with another error than its head.
    if (performance.now() - startedAt >= limitMs - 1) return { failed: SILENT }
    const code = codeOf(error)
    return { failed: /^E[A-Z]+$/.test(code) ? code : GARBAGE }
  }
}

type Members = Readonly<Record<string, unknown>>

function isObject(value: unknown): value is Members {
  return typeof value === 'object' && value !== null
}

function isText(value: unknown): value is string {
  return typeof value === 'string'
}

function isNumber(value: unknown): value is number {
  return typeof value === 'number'
}

function isListOf<T>(value: unknown, isOne: (one: unknown) => one is T): value is readonly T[] {
  return Array.isArray(value) && value.every(isOne)
}

function isNullOr(value: unknown, isOne: (one: unknown) => boolean): boolean {
  return value === null || isOne(value)
}

function isSelfCheck(value: unknown): value is SelfCheck {
  return (
    isObject(value) &&
    isNumber(value['uid']) &&
    isListOf(value['agents'], isAgent) &&
    isListOf(value['paths'], isOwnPath) &&
    typeof value['key_in_environment'] === 'boolean' &&
    isNullOr(value['audit_error'], isText) &&
    isNullOr(value['free_bytes'], isNumber)
  )
}

function isAgent(value: unknown): value is SelfCheck['agents'][number] {
  return isObject(value) && isText(value['name']) && isNumber(value['uid'])
}

function isOwnPath(value: unknown): value is OwnPath {
  return (
    isObject(value) &&
    PATH_ROLES.some((role) => role === value['role']) &&
    isText(value['path']) &&
    isNullOr(value['agent'], isText) &&
    isNullOr(value['error'], isText) &&
    isNullOr(value['found'], isFound)
  )
}

function isFound(value: unknown): boolean {
  return (
    isObject(value) &&
    isText(value['kind']) &&
    ['uid', 'gid', 'mode'].every((name) => isNumber(value[name]))
  )
}

function isEntry(value: unknown): value is EntryFacts {
  return (
    isObject(value) &&
    isText(value['service']) &&
    isText(value['kind']) &&
    isListOf(value['grants'], isText) &&
    typeof value['suspended'] === 'boolean' &&
    isListOf(value['versions'], isVersion)
  )
}

function isVersion(value: unknown): value is EntryFacts['versions'][number] {
  return (
    isObject(value) &&
    isNumber(value['version']) &&
    isText(value['created_at']) &&
    isNullOr(value['kept_until'], isText)
  )
}
