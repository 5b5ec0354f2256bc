/** Is the vault in use as it should be? Its entries, how old their credentials are, and whether the next use can be audited. */
import { auditPathOf } from '../../vault/protocol.ts'
import type { SelfCheck } from '../../vault/self-check.ts'
import { fail, pass, skip, warn, type Finding } from './finding.ts'
import type { EntryFacts } from './vault-answer.ts'

/** The names of the checks. */
export const ENTRIES = 'vault-entries'
export const AGE = 'vault-credentials-fresh'
export const AUDIT = 'vault-audit-writable'

/** A credential that is older should be changed (ms): a year. */
const OLD_MS = 365 * 86_400_000

/** With less, the disk is almost full (bytes). */
const LITTLE_BYTES = 64 * 1024 * 1024

/** With less, the next row may not be written (bytes). */
const NO_BYTES = 1024 * 1024

/** So many entries are named for one check. */
const MAX_NAMED = 5

/** Judges the entries. @param now ms since the epoch */
export function judgeEntries(entries: readonly EntryFacts[], now: number): Finding[] {
  if (entries.length === 0)
    return [pass(ENTRIES, 'there are none yet'), skip(AGE, 'there are no entries')]
  return [...judgeUse(entries), judgeAge(entries, now)]
}

function judgeUse(entries: readonly EntryFacts[]): Finding[] {
  const suspended = entries.filter((one) => one.suspended)
  const ungranted = entries.filter(({ grants }) => grants.length === 0)
  const findings: Finding[] = []
  if (suspended.length > 0)
    findings.push(
      warn(
        ENTRIES,
        `suspended, because the service repeats the credential in its answers: ${namesOf(suspended)}`,
        `see "workspace-gateway vault audit" for who asked for what; then "workspace-gateway vault rotate ${suspended[0]?.service} <FILE" with a new credential, or "vault resume"`,
      ),
    )
  if (ungranted.length > 0)
    findings.push(
      warn(
        ENTRIES,
        `granted to no agent: ${namesOf(ungranted)}`,
        `"workspace-gateway vault grant ${ungranted[0]?.service} AGENT", or "vault remove" what nobody needs`,
      ),
    )
  return findings.length > 0 ? findings : [pass(ENTRIES, useText(entries))]
}

function useText(entries: readonly EntryFacts[]): string {
  const shared = entries.filter(({ kind }) => kind === 'workspace')
  const text = entries.length === 1 ? '1 entry' : `${entries.length} entries`
  return shared.length === 0
    ? `${text}, each granted and in use`
    : `${text}, each granted and in use; of another workspace's vault: ${namesOf(shared)}`
}

function judgeAge(entries: readonly EntryFacts[], now: number): Finding {
  const old = entries.filter(({ versions }) => {
    const createdAt = Date.parse(versions.at(-1)?.created_at ?? '')
    return now - createdAt > OLD_MS
  })
  if (old.length > 0)
    return warn(
      AGE,
      `not changed for more than a year: ${namesOf(old)}`,
      `make a new credential at the service, then "workspace-gateway vault rotate ${old[0]?.service} <FILE"`,
    )
  const kept = entries.filter(({ versions }) => versions.length > 1)
  return pass(
    AGE,
    kept.length === 0
      ? 'each was given within a year'
      : `each was given within a year; an older version is kept for now: ${kept
          .slice(0, MAX_NAMED)
          .map(({ service, versions }) => `${service} until ${versions.at(-2)?.kept_until}`)
          .join(', ')}`,
  )
}

function namesOf(entries: readonly EntryFacts[]): string {
  const names = entries.slice(0, MAX_NAMED).map(({ service }) => service)
  const more = entries.length - names.length
  return names.join(', ') + (more > 0 ? ` and ${more} more` : '')
}

/** Judges whether the next row can be written. Without its row a request is refused. */
export function judgeAudit({ audit_error: error, free_bytes: free, paths }: SelfCheck): Finding {
  const folder = paths.find(({ role }) => role === 'state-folder')?.path ?? ''
  const log = auditPathOf(folder)
  if (error === 'ENOENT')
    return fail(
      AUDIT,
      `${log} was removed while the vault runs, which refuses every request until it is started again`,
      'put the file back if somebody has moved it, find out who it was, and restart the vault',
    )
  if (error !== null)
    return fail(
      AUDIT,
      `${log} cannot be written (${error}), so the vault refuses every request`,
      'mount that disk for writing, or give the file back to the user of the vault with mode 600',
    )
  if (free === null) return pass(AUDIT, `${log} can be written to`)
  const text = `${Math.floor(free / 1024 / 1024)} MiB are free on the disk of the vault`
  const remedy =
    'free some space on that disk: without its row in the audit log every request is refused'
  if (free < NO_BYTES) return fail(AUDIT, text, remedy)
  if (free < LITTLE_BYTES) return warn(AUDIT, text, remedy)
  return pass(AUDIT, `${log} can be written to, and ${text}`)
}
