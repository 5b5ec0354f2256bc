/**
 * Where are the entries? In memory, and sealed in VAULT_FILE. Each change is first begun in the audit log, then saved, then completed
 * in the audit log, so that after a crash at any moment the file and the log fit together.
 */
import type { StateLock } from '../store/state-lock.ts'
import {
  checkEntry,
  MAX_ENTRIES,
  MAX_FILE_BYTES,
  textOf,
  VAULT_ID,
  VAULT_ID_FORM,
  type EntryDocument,
  type VaultDocument,
} from './at-rest/document.ts'
import { sealEntry, withMac } from './at-rest/entry-seals.ts'
import { explained, lockFile, refusal } from './at-rest/file-errors.ts'
import { FORMAT, KEY_BYTES, newDataKey, wrapDataKey, type WrappedKey } from './at-rest/key-tree.ts'
import { ShapeError } from './at-rest/shapes.ts'
import {
  namedVaultFile,
  NotSavedError,
  openContent,
  previousOf,
  readVaultFile,
  removeDrafts,
  saveOrExplain,
  saveVaultFile,
  type Opened,
} from './at-rest/vault-file.ts'
import type { AuditLog } from './audit/audit-log.ts'
import type { AuditFacts } from './audit-row.ts'
import { newestOf, type Entry } from './policy.ts'
import { VaultError } from './vault-errors.ts'

/** What a vault is opened with. */
export interface VaultOptions {
  /** The path of the sealed file. */
  readonly file: string
  /** 32 bytes. The vault keeps no reference to it. */
  readonly masterKey: Buffer
  /** The id of the workspace's vault: another vault's file does not open. */
  readonly vaultId: string
  readonly audit: AuditLog
  /** The clock, in ms since the epoch. */
  readonly now?: (() => number) | undefined
  /**
   * Gets an error that a listener of {@link Vault.onChange} has thrown. By default the error is thrown outside of the change, where the
   * process reports it as a fault.
   */
  readonly onListenerError?: ((error: unknown) => void) | undefined
}

/** The facts of a change that its caller knows. */
export type ChangeFacts = Pick<AuditFacts, 'op' | 'service' | 'agent' | 'by' | 'reason'>

/** Hears of a change after it was saved. Undefined stands for an entry that was not there, or is not there any more. */
export type ChangeListener = (before: Entry | undefined, after: Entry | undefined) => void

/** The entries, with their sealed form. */
type Contents = ReadonlyMap<string, { readonly entry: Entry; readonly document: EntryDocument }>

/** The parts of the file that are no entries, as they are there. */
type Head = Pick<VaultDocument, 'format' | 'vaultId' | 'sequence' | 'salt' | 'dataKey'>

/** The vault. One process has it open, because it holds the lock `FILE.lock`. */
export class Vault {
  readonly #options: VaultOptions
  readonly #lock: StateLock
  readonly #dataKey: Buffer
  readonly #listeners: ChangeListener[] = []
  #head: Head
  #contents: Contents
  #sorted: readonly Entry[]
  /** The row that completes the last change, while it could not be written. */
  #owed: AuditFacts | undefined
  /** Why nothing can be changed until the next start. */
  #stopped: string | undefined
  #isEditing = false
  /** The changes that listeners have not heard of. */
  #news: Array<[Entry | undefined, Entry | undefined]> = []

  private constructor(options: VaultOptions, lock: StateLock, opened: Opened) {
    const { document, dataKey, entries } = opened
    this.#options = options
    this.#lock = lock
    this.#dataKey = dataKey
    this.#head = document
    this.#contents = contentsOf(entries, document.entries)
    this.#sorted = entries
  }

  /**
   * Opens the vault. It makes an empty one when there is no file and, says the audit log, never was one.
   * @throws {VaultFileError} names VAULT_FILE, and says what to do
   * @throws {VaultError} `audit-unavailable`
   */
  static open(options: VaultOptions): Vault {
    const named = namedVaultFile(options.file)
    if (options.masterKey.length !== KEY_BYTES)
      throw refusal(named, `cannot be opened: VAULT_MASTER_KEY must have ${KEY_BYTES} bytes`)
    if (!VAULT_ID.test(options.vaultId))
      throw refusal(named, `cannot be opened: the id of the vault takes ${VAULT_ID_FORM}`)
    return explained(named, () => {
      const lock = lockFile(named)
      try {
        removeDrafts(options.file)
        const content = readVaultFile(options.file)
        const opened = content === undefined ? make(options) : openKnown(options, content)
        return new Vault(options, lock, opened)
      } catch (error) {
        lock.release()
        throw error
      }
    })
  }

  /** All entries, sorted by service. */
  entries(): readonly Entry[] {
    return this.#sorted
  }

  find(service: string): Entry | undefined {
    return this.#contents.get(service)?.entry
  }

  /**
   * Makes one change: the audit row with the new sequence number, then the file, then the completing row.
   * @param facts `service` names the entry
   * @param edit gets the entry, and returns it as it shall be; undefined removes it, and the same object changes nothing. What it
   * throws is thrown, with nothing changed.
   * @returns the entry as it is now
   * @throws {VaultError} `audit-unavailable`, `not-saved`, or `conflict` for an entry that the format does not allow; nothing has
   * changed then
   */
  change(
    facts: ChangeFacts,
    edit: (entry: Entry | undefined) => Entry | undefined,
  ): Entry | undefined {
    const before = this.find(facts.service ?? '')
    const after = this.#edited(before, edit)
    if (after === before) return before
    const contents = this.#contentsWith(facts, before, after)
    const subject = after ?? before
    this.#commit(
      { ...facts, entry: subject?.id, version: subject && newestOf(subject).version },
      this.#head,
      contents,
    )
    this.#tell(before, after)
    return after
  }

  /** Calls the listener after each change. A listener that throws neither undoes the change nor keeps it from other listeners. */
  onChange(listener: ChangeListener): void {
    this.#listeners.push(listener)
  }

  /**
   * Removes the versions that are not kept any longer. It also writes the completing row of the last change if that could not be
   * written: until then, the log would accept the file before that change.
   * @throws {VaultError} as {@link change} does
   */
  dropExpiredVersions(): void {
    this.#tryToPay()
    const now = (this.#options.now ?? Date.now)()
    const isKept = ({ keptUntil = Infinity }) => keptUntil > now
    for (const { policy, versions } of this.#sorted) {
      if (versions.every(isKept)) continue
      const facts = { op: 'rotate', service: policy.service, reason: 'overlap-ended' } as const
      this.change(facts, (entry) => entry && { ...entry, versions: entry.versions.filter(isKept) })
    }
  }

  /**
   * Wraps the data key with another master key. Nothing else in the file changes but the sequence number and the MAC.
   * @throws {VaultError} `audit-unavailable` or `not-saved`; the old master key is the right one then
   */
  rekey(newMasterKey: Buffer): void {
    const wrapped = wrapDataKey(newMasterKey, this.#head.vaultId, this.#dataKey)
    this.#commit(
      { op: 'rekey', agent: 'owner' },
      { ...this.#head, ...inText(wrapped) },
      this.#contents,
    )
  }

  /** Writes the completing row if it is still missing, releases the lock, and erases the data key. To be called before the log's. */
  close(): void {
    if (this.#stopped === CLOSED) return
    this.#tryToPay()
    this.#stopped = CLOSED
    this.#dataKey.fill(0)
    this.#lock.release()
  }

  #edited(
    before: Entry | undefined,
    edit: (entry: Entry | undefined) => Entry | undefined,
  ): Entry | undefined {
    if (this.#isEditing) throw new TypeError('a change within the edit of another change')
    this.#isEditing = true
    try {
      return edit(before)
    } finally {
      this.#isEditing = false
    }
  }

  /** Returns the contents after a change. */
  #contentsWith(
    { service = '' }: ChangeFacts,
    before: Entry | undefined,
    after: Entry | undefined,
  ): Contents {
    const contents = new Map(this.#contents)
    if (after === undefined) contents.delete(service)
    else contents.set(service, { entry: after, document: this.#sealed(service, before, after) })
    if (contents.size > MAX_ENTRIES)
      throw new VaultError('conflict', `the vault has room for ${MAX_ENTRIES} entries`)
    return contents
  }

  #sealed(service: string, before: Entry | undefined, after: Entry): EntryDocument {
    if (after.policy.service !== service || (before !== undefined && before.id !== after.id))
      throw new VaultError('conflict', 'an entry keeps its service and its id')
    if (before === undefined && this.#sorted.some(({ id }) => id === after.id))
      throw new VaultError('conflict', 'another entry has this id')
    const sealing = { vaultId: this.#head.vaultId, dataKey: this.#dataKey }
    try {
      return checkEntry(sealEntry(sealing, after), '')
    } catch (error) {
      if (error instanceof ShapeError)
        throw new VaultError('conflict', `the entry cannot be saved: ${error.message}`)
      throw error
    }
  }

  #commit(facts: AuditFacts, head: Head, contents: Contents): void {
    if (this.#stopped !== undefined) throw new VaultError('not-saved', this.#stopped)
    const { audit, file } = this.#options
    const sequence = Math.max(this.#head.sequence, audit.last.sequence) + 1
    const entries = sortedByService(contents)
    const document = documentOf(
      this.#dataKey,
      { ...head, sequence },
      entries.map((one) => one.document),
    )
    const text = textOf(document)
    if (Buffer.byteLength(text) > MAX_FILE_BYTES)
      throw new VaultError('conflict', `the file would be longer than ${MAX_FILE_BYTES} bytes`)
    this.#payOwed()
    const of = audit.write({ ...facts, sequence })
    const completing = { ...facts, of, sequence }
    try {
      saveVaultFile(file, text)
    } catch (error) {
      this.#refuse(completing, error)
    }
    this.#head = document
    this.#contents = contents
    this.#sorted = entries.map(({ entry }) => entry)
    this.#owed = { ...completing, reason: 'done' }
    this.#tryToPay()
  }

  #refuse(completing: AuditFacts, error: unknown): never {
    if (error instanceof NotSavedError && !error.isOld) {
      this.#stopped =
        'VAULT_FILE could neither be saved nor put back; start the vault again to see which file is there'
      throw new VaultError('not-saved', this.#stopped, { cause: error })
    }
    this.#owed = { ...completing, reason: 'not-saved' }
    this.#tryToPay()
    const why = error instanceof Error ? error.message : 'unknown'
    throw new VaultError('not-saved', `VAULT_FILE: ${why}; nothing has changed`, { cause: error })
  }

  /** Writes the completing row of the change before. While that fails, nothing is changed, because the log would not fit the file. */
  #payOwed(): void {
    if (this.#owed === undefined) return
    this.#options.audit.write(this.#owed)
    this.#owed = undefined
  }

  /** The change is over, whether or not this row can be written: the row that began it is there. */
  #tryToPay(): void {
    try {
      this.#payOwed()
    } catch {
      // Tried again by the next change and when versions are dropped; at the latest, the next start completes the log.
    }
  }

  /** A listener may make a change: the listeners hear of it after they have heard of this one. */
  #tell(before: Entry | undefined, after: Entry | undefined): void {
    this.#news.push([before, after])
    if (this.#news.length > 1) return
    for (let first = this.#news[0]; first !== undefined; first = this.#news[0]) {
      for (const listener of this.#listeners) this.#call(listener, first)
      this.#news.shift()
    }
  }

  #call(listener: ChangeListener, news: [Entry | undefined, Entry | undefined]): void {
    const { onListenerError = throwLater } = this.#options
    try {
      listener(...news)
    } catch (error) {
      try {
        onListenerError(error)
      } catch (failure) {
        throwLater(failure) // otherwise no listener would hear of this change and of later ones
      }
    }
  }
}

const CLOSED = 'the vault is closed'

/** Not swallowed: a listener that failed may have left a lease alive that the change should end. */
function throwLater(error: unknown): void {
  queueMicrotask(() => {
    throw error
  })
}

function contentsOf(entries: readonly Entry[], documents: readonly EntryDocument[]): Contents {
  const byId = new Map(documents.map((document) => [document.id, document]))
  const contents = new Map<string, { entry: Entry; document: EntryDocument }>()
  for (const entry of entries) {
    const document = byId.get(entry.id)
    if (document !== undefined) contents.set(entry.policy.service, { entry, document })
  }
  return contents
}

function sortedByService(contents: Contents) {
  return [...contents]
    .toSorted(([one], [other]) => (one < other ? -1 : 1))
    .map(([, content]) => content)
}

function documentOf(
  dataKey: Buffer,
  { format, vaultId, sequence, salt, dataKey: wrapped }: Head,
  entries: readonly EntryDocument[],
): VaultDocument {
  return withMac(dataKey, { format, vaultId, sequence, salt, dataKey: wrapped, entries })
}

function inText({ salt, wrapped }: WrappedKey): Pick<Head, 'salt' | 'dataKey'> {
  return { salt: salt.toString('base64url'), dataKey: wrapped.toString('base64url') }
}

/** Makes the first file. */
function make({ file, masterKey, vaultId, audit }: VaultOptions): Opened {
  if (audit.last.saved > 0)
    throw refusal(
      namedVaultFile(file),
      `does not exist, although the audit log knows it (sequence ${audit.last.saved}). Put it back with "workspace-gateway vault restore", from a backup or from ${previousOf(file)}`,
    )
  const dataKey = newDataKey()
  const wrapped = inText(wrapDataKey(masterKey, vaultId, dataKey))
  const sequence = audit.last.sequence + 1
  const document = documentOf(dataKey, { format: FORMAT, vaultId, sequence, ...wrapped }, [])
  const of = audit.write({ op: 'start', reason: 'new-vault', sequence })
  saveOrExplain(file, textOf(document))
  audit.write({ op: 'start', of, reason: 'done', sequence })
  return { document, dataKey, entries: [] }
}

/** Opens a file, and compares its age with the audit log. */
function openKnown({ file, audit, ...keys }: VaultOptions, content: Buffer): Opened {
  const opened = openContent(namedVaultFile(file), content, keys)
  const { sequence } = opened.document
  const { saved, sequence: begun } = audit.last
  if (sequence < saved)
    throw refusal(
      namedVaultFile(file),
      `is older than the last change (sequence ${sequence}, and the audit log knows ${saved}): somebody has put an old file in its place. To use it nevertheless, run "workspace-gateway vault restore ${file} --accept-older"`,
    )
  if (sequence > begun) settle(audit, { op: 'start', reason: 'audit-lost', sequence })
  else if (begun > saved) complete(audit, sequence)
  return opened
}

/** The log knows less than the file: rows are lost, or the log is another one. The log says so from now on. */
function settle(audit: AuditLog, facts: AuditFacts): void {
  const of = audit.write(facts)
  audit.write({ ...facts, of, reason: 'done' })
}

/** Completes the last change that the log knows, because the process was killed during it. */
function complete(audit: AuditLog, sequence: number): void {
  const { saved, sequence: begun } = audit.last
  const rows = audit.recent(Infinity).filter((row) => (row.sequence ?? 0) >= begun)
  const first = rows.findLast((row) => row.of === undefined)
  const isSettled = rows.some((row) => row.of !== undefined)
  const of = first?.n ?? audit.last.number
  const { op = 'start', agent, by, service, entry, version } = first ?? {}
  const facts = { op, agent, by, service, entry, version, of }
  if (sequence > saved) audit.write({ ...facts, reason: 'done', sequence })
  else if (!isSettled) audit.write({ ...facts, reason: 'not-saved', sequence: begun })
}
