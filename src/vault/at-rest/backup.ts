/**
 * How is the sealed file saved elsewhere, put back, and checked? A backup is the file itself: without the master key it is useless, and
 * with it complete.
 */
import { AuditLog } from '../audit/audit-log.ts'
import { textOf, parseDocument, type FileProblem } from './document.ts'
import { withMac } from './entry-seals.ts'
import { explained, lockFile, refusal, VaultFileError } from './file-errors.ts'
import {
  namedVaultFile,
  openContent,
  problemsOf,
  readVaultFile,
  removeDrafts,
  saveOrExplain,
  type FileKeys,
} from './vault-file.ts'

/** Returns the bytes of the file. It needs no key, and may be called while the vault runs. @throws {VaultFileError} */
export function backup(file: string): Buffer {
  const content = readExisting(file)
  const parsed = parseDocument(content)
  if ('problems' in parsed)
    throw refusal(
      namedVaultFile(file),
      `is damaged, so it is no backup: ${parsed.problems[0].what}`,
    )
  return content
}

/** What is restored. */
export interface RestoreOptions extends FileKeys {
  /** The path of the sealed file. */
  readonly file: string
  /** The bytes of the backup. */
  readonly content: Buffer
  /** The path that the backup was read from, for messages. Default: it is not named. */
  readonly from?: string
  readonly auditPath: string
  /** Whether a backup is accepted that is older than the last change. What was revoked since then is granted again. */
  readonly acceptOlder: boolean
  readonly now?: () => number
}

/**
 * Puts a backup in the place of the file. It gets a new sequence number, so that the file that was there before is the older one.
 * @returns the new sequence number
 * @throws {VaultFileError} with nothing changed: also while the vault runs
 * @throws {VaultError} `audit-unavailable`
 */
export function restore(options: RestoreOptions): { sequence: number } {
  const { file, content, from = '', auditPath, now = Date.now } = options
  const named = namedVaultFile(file)
  return explained(named, () => {
    const opened = openContent({ path: from, setting: 'the backup' }, content, options)
    const lock = lockFile(named)
    try {
      const audit = AuditLog.open(auditPath, { now })
      try {
        return replaceBy(opened, audit, options)
      } finally {
        audit.close()
      }
    } finally {
      lock.release()
    }
  })
}

function replaceBy(
  { document, dataKey }: ReturnType<typeof openContent>,
  audit: AuditLog,
  { file, acceptOlder }: RestoreOptions,
): { sequence: number } {
  const { saved, sequence: begun } = audit.last
  const old = document.sequence
  if (old < saved && !acceptOlder)
    throw refusal(
      namedVaultFile(file),
      `stays as it is, because the backup is older than the last change (sequence ${old}, and the audit log knows ${saved}). To use it nevertheless, add --accept-older; what was revoked since then is granted again`,
    )
  removeDrafts(file)
  const sequence = Math.max(begun, old) + 1
  const facts = { op: 'restore', agent: 'owner', sequence } as const
  const of = audit.write({ ...facts, reason: old < saved ? 'older' : undefined })
  saveOrExplain(file, textOf(withMac(dataKey, { ...document, sequence })))
  audit.write({ ...facts, of, reason: 'done' })
  return { sequence }
}

/** What is checked. */
export interface CheckOptions extends FileKeys {
  readonly file: string
  /** The sequence number that the audit log knows (`AuditLog.last.saved`). Default: 0, which means that the age is not checked. */
  readonly saved?: number
}

/** Finds everything that is wrong with the file, with the entry that it is in. It changes nothing. */
export function checkFile(options: CheckOptions): readonly FileProblem[] {
  try {
    const content = readExisting(options.file)
    const problems = problemsOf(options.file, content, options)
    return problems.length > 0 ? problems : ageProblems(content, options.saved ?? 0)
  } catch (error) {
    if (error instanceof VaultFileError) return [{ what: error.message }]
    throw error
  }
}

function ageProblems(content: Buffer, saved: number): readonly FileProblem[] {
  const parsed = parseDocument(content)
  if ('problems' in parsed || parsed.document.sequence >= saved) return []
  return [
    { what: `the file is older than the last change (the audit log knows sequence ${saved})` },
  ]
}

function readExisting(file: string): Buffer {
  const content = readVaultFile(file)
  if (content === undefined) throw refusal(namedVaultFile(file), 'does not exist')
  return content
}
