/**
 * How does the sealed file get to the disk and back? It is replaced as a whole and durably, the file before it stays as `.prev`, and
 * it is read only if nobody else can have read or exchanged it.
 */
import { linkSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { randomBytes } from 'node:crypto'
import { codeOf } from '../../answers/errors.ts'
import { readWholeBytes, syncFolder, withDraft } from '../../store/whole-file.ts'
import { MAX_FILE_BYTES, parseDocument, type FileProblem, type VaultDocument } from './document.ts'
import { unsealDocument, type Sealing } from './entry-seals.ts'
import {
  explained,
  refusal,
  refuseUnlessPrivate,
  type NamedFile,
  type VaultFileError,
} from './file-errors.ts'
import { unwrapDataKey } from './key-tree.ts'

/** Whose file is expected. */
export interface FileKeys {
  readonly masterKey: Buffer
  readonly vaultId: string
}

/** The sealed file as an error names it. */
export function namedVaultFile(path: string): NamedFile {
  return { path, setting: 'VAULT_FILE' }
}

/** Where the file before the last change is. */
export function previousOf(path: string): string {
  return `${path}.prev`
}

/** @returns the bytes; undefined when there is no file @throws {VaultFileError} */
export function readVaultFile(path: string): Buffer | undefined {
  const file = namedVaultFile(path)
  return explained(file, () => {
    try {
      return readWholeBytes(path, Infinity, (stats) => {
        refuseUnlessPrivate(file, stats)
        if (stats.size > MAX_FILE_BYTES)
          throw refusal(
            file,
            `is longer than ${MAX_FILE_BYTES} bytes, so it is no file of the vault`,
          )
      })
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return undefined
      throw error
    }
  })
}

/** An opened file. */
export type Opened = ReturnType<typeof openContent>

/** Opens the content of a file with all checks except that of its age. @throws {VaultFileError} which names the first problems */
export function openContent(file: NamedFile, content: Buffer, keys: FileKeys) {
  const { document, dataKey } = unlock(file, content, keys)
  const { entries, problems } = unsealDocument({ vaultId: keys.vaultId, dataKey }, document)
  if (problems.length > 0) throw damaged(file, problems)
  return { document, dataKey, entries }
}

/** Finds everything that is wrong with the content of a file. */
export function problemsOf(path: string, content: Buffer, keys: FileKeys): readonly FileProblem[] {
  const parsed = parseDocument(content)
  if ('problems' in parsed) return parsed.problems
  const { document, dataKey } = unlock(namedVaultFile(path), content, keys)
  return unsealDocument({ vaultId: keys.vaultId, dataKey }, document).problems
}

function unlock(
  file: NamedFile,
  content: Buffer,
  { masterKey, vaultId }: FileKeys,
): { document: VaultDocument; dataKey: Sealing['dataKey'] } {
  const parsed = parseDocument(content)
  if ('problems' in parsed) throw damaged(file, parsed.problems)
  const { document } = parsed
  if (document.vaultId !== vaultId)
    throw refusal(file, `belongs to the vault "${document.vaultId}", and this one is "${vaultId}"`)
  const dataKey = unwrapDataKey(masterKey, vaultId, {
    salt: Buffer.from(document.salt, 'base64url'),
    wrapped: Buffer.from(document.dataKey, 'base64url'),
  })
  if (dataKey === undefined)
    throw refusal(
      file,
      'does not open with this master key: the key is another one (after "workspace-gateway vault rekey", give the new one), or the wrapped key in the file was changed',
    )
  return { document, dataKey }
}

/** At most so many problems are in one message. */
const NAMED_PROBLEMS = 3

function damaged(file: NamedFile, problems: readonly FileProblem[]): VaultFileError {
  const named = problems
    .slice(0, NAMED_PROBLEMS)
    .map(({ entry, what }) => (entry === undefined ? what : `entry "${entry}": ${what}`))
  const more = problems.length > NAMED_PROBLEMS ? '; and more' : ''
  const remedy = file.setting.startsWith('VAULT_')
    ? `"workspace-gateway vault check" lists the problems, and "workspace-gateway vault restore" puts a backup in its place, or ${previousOf(file.path)}`
    : 'Nothing was changed'
  return refusal(file, `is damaged or was edited: ${named.join('; ')}${more}. ${remedy}`)
}

/** The file could not be saved. */
export class NotSavedError extends Error {
  override readonly name = 'NotSavedError'
  /** Whether the file is surely the old one. Otherwise the next start shows which one it is. */
  readonly isOld: boolean

  constructor(isOld: boolean, cause: unknown) {
    super(`the file was not saved (${codeOf(cause)})`, { cause })
    this.isOld = isOld
  }
}

/**
 * Saves the file: a draft, fsync, a second name `.prev` for the present file, a rename, and fsync of the folder. At each moment the
 * path names the old or the new file.
 * @throws {NotSavedError} after the old file was put back
 */
export function saveVaultFile(path: string, content: string): void {
  let isFirst = false
  let isMoved = false
  try {
    withDraft(path, content, { mode: 0o600, durable: true }, (draft) => {
      isFirst = !linkOver(path, previousOf(path))
      renameSync(draft, path)
      isMoved = true
    })
    syncFolder(dirname(path))
  } catch (error) {
    throw new NotSavedError(!isMoved || putBack(path, isFirst), error)
  }
}

/** The same where there is no vault that goes on afterwards. @throws {VaultFileError} */
export function saveOrExplain(path: string, content: string): void {
  explained(namedVaultFile(path), () => {
    try {
      saveVaultFile(path, content)
    } catch (error) {
      throw error instanceof NotSavedError ? error.cause : error
    }
  })
}

function putBack(path: string, isFirst: boolean): boolean {
  try {
    if (isFirst) rmSync(path)
    else linkOver(previousOf(path), path)
    syncFolder(dirname(path)) // otherwise the new file may be there again after a power failure
    return true
  } catch {
    return false
  }
}

/** Gives a file a second name, in the place of the file that has it. @returns false when there is no file */
function linkOver(path: string, name: string): boolean {
  const draft = `${name}.${randomBytes(8).toString('hex')}.tmp`
  try {
    linkSync(path, draft)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return false
    throw error
  }
  try {
    renameSync(draft, name)
  } finally {
    rmSync(draft, { force: true }) // rename(2) does nothing when both names are of one file
  }
  return true
}

/** Removes the drafts that a killed process has left. To be called with the lock. */
export function removeDrafts(path: string): void {
  const folder = dirname(path)
  const start = `${basename(path)}.`
  for (const name of readdirSync(folder))
    if (name.startsWith(start) && /^(?:prev\.)?[0-9a-f]{16}\.tmp$/.test(name.slice(start.length)))
      rmSync(join(folder, name), { force: true })
}
