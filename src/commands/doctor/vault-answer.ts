/** What does the vault answer to doctor? Its status and its entries, with every member checked, because another program may answer. */
import type { EntryView } from '../../vault/protocol.ts'
import { PATH_ROLES, type OwnPath, type SelfCheck } from '../../vault/self-check.ts'
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

/** The status of a vault. */
export interface VaultStatus {
  readonly version: string
  readonly pid: number
  /** Undefined when the vault does not report about itself, because it is of another release. */
  readonly self: SelfCheck | undefined
}

/** What doctor looks at of an entry. */
export type EntryFacts = Pick<EntryView, 'service' | 'kind' | 'grants' | 'suspended' | 'versions'>

/** Asks for the status. Never rejects. */
export async function askStatus(
  socket: string,
  limitMs: number,
): Promise<VaultStatus | NoAnswerOfDoor> {
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
): Promise<{ readonly entries: readonly EntryFacts[] } | NoAnswerOfDoor> {
  const answer = await askForJson(socket, '/v1/entries', limitMs)
  if ('failed' in answer) return answer
  const entries = isObject(answer.json) ? answer.json['entries'] : undefined
  return isListOf(entries, isEntry) ? { entries } : { failed: GARBAGE }
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
