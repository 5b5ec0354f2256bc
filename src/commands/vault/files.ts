/** `workspace-gateway vault check|backup|restore|rekey|audit`: the sealed file, its key and the audit log. */
import { existsSync, readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { codeOf } from '../../answers/errors.ts'
import { ConfigError, type Environment } from '../../config/load.ts'
import { loadVaultConfig, VAULT_SETTINGS, type VaultConfig } from '../../config/vault-settings.ts'
import { parseMasterKey } from '../../config/vault-values.ts'
import { EXIT } from '../../process/exit-codes.ts'
import { ALIVE_MS, canConnect } from '../../services/can-connect.ts'
import { readWholeFile, writeNewFile } from '../../store/whole-file.ts'
import { checkFile, restore as restoreFile } from '../../vault/at-rest/backup.ts'
import { VaultFileError } from '../../vault/at-rest/file-errors.ts'
import type { AuditRow } from '../../vault/audit/audit-log.ts'
import { verifyAudit } from '../../vault/audit/verify.ts'
import { auditPathOf, ownerSocket } from '../../vault/protocol.ts'
import { VaultError } from '../../vault/vault-errors.ts'
import { pathWarnings } from '../doctor/vault-paths.ts'
import { CommandError, settingOf, wrongUsage } from '../owner.ts'
import { jsonText, messageText, tableText } from '../printable.ts'
import { askForBytes, askOwner, ownerSocketOf } from './ask-owner.ts'
import { onlyWord, OWNER_OPTIONS, type VaultContext } from './context.ts'
import { HUB_OPTIONS, hubOf } from './hub.ts'

/** Checks settings, file and audit log, with a running vault and without one. @throws {CommandError} with exit code 78 and every problem */
export async function check({ args, env, io }: VaultContext): Promise<void> {
  const { values } = parseArgs({ args: [...args], options: HUB_OPTIONS })
  const { config, warnings } = configOf(env)
  const { file } = config
  const audited = auditedBy(config)
  const keys = await keysOf(config, values.config)
  const isNew = !existsSync(file) && audited.saved === 0
  const problems = (isNew ? [] : checkFile({ ...keys, file, saved: audited.saved })).map(
    ({ entry, what }) => (entry === undefined ? what : `entry "${entry}": ${what}`),
  )
  if (audited.problem !== undefined) problems.push(audited.problem)
  const { first = 1 } = audited
  const missing =
    first > 1
      ? [
          `the audit log begins with row ${first}; if nobody moved older files elsewhere, rows were removed`,
        ]
      : []
  for (const warning of [...warnings, ...pathWarnings(config), ...missing])
    io.err(`workspace-gateway: ${messageText(warning)}\n`)
  if (problems.length > 0)
    throw new CommandError(`the vault is not sound:\n  ${problems.join('\n  ')}`, EXIT.config)
  io.out(
    isNew
      ? `${file} is not there yet; the first start of the vault makes it\n`
      : `${file} opens with the key, and nothing in it was changed\n`,
  )
}

/** Saves the sealed file, also while the vault runs. It needs the key to be of any use. */
export async function backup({ args, env, io }: VaultContext): Promise<void> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: OWNER_OPTIONS,
  })
  const file = onlyWord(positionals, 'backup', 'the path of a new FILE')
  const socket = ownerSocketOf(values.socket, env)
  const content = await askForBytes(socket, { method: 'POST', path: '/v1/backup' })
  try {
    if (!writeNewFile(file, content.toString('utf8'), { durable: true }))
      throw new CommandError(`${file} exists; give the path of a new file`, EXIT.failed)
  } catch (error) {
    if (error instanceof CommandError) throw error
    throw new CommandError(`${file} cannot be written (${codeOf(error)})`, EXIT.failed, {
      cause: error,
    })
  }
  io.out(`${file} written; it opens with the key of this vault only, which is not in it\n`)
}

/** Puts a backup in the place of the file, while no vault runs. */
export async function restore({ args, env, io }: VaultContext): Promise<void> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: { ...HUB_OPTIONS, 'accept-older': { type: 'boolean', default: false } },
  })
  const from = onlyWord(positionals, 'restore', 'the FILE of a backup')
  const { config } = configOf(env)
  const socket = ownerSocket(config.sockets)
  if (await canConnect({ path: socket }, ALIVE_MS))
    throw new CommandError('a vault runs; stop it first', EXIT.unavailable)
  const { file } = config
  const keys = await keysOf(config, values.config)
  try {
    const { sequence } = restoreFile({
      ...keys,
      ...{ file, content: contentOf(from), from, auditPath: auditPathOf(config.stateDir) },
      acceptOlder: values['accept-older'],
    })
    io.out(`${file} restored, with the sequence number ${sequence}\n`)
  } catch (error) {
    if (error instanceof VaultFileError || error instanceof VaultError)
      throw new CommandError(error.message, EXIT.failed, { cause: error })
    throw error
  }
}

function contentOf(path: string): Buffer {
  try {
    return readFileSync(path)
  } catch (error) {
    throw new CommandError(`${path} cannot be read (${codeOf(error)})`, EXIT.failed, {
      cause: error,
    })
  }
}

/** A longer file has no key (bytes). */
const MAX_KEY_FILE_BYTES = 1024

/** Seals the vault with another key. */
export async function rekey({ args, env, io }: VaultContext): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: { ...OWNER_OPTIONS, 'new-key-file': { type: 'string' } },
  })
  const file = values['new-key-file']
  if (file === undefined)
    throw wrongUsage(
      'vault',
      'vault rekey takes --new-key-file FILE, with 32 random bytes in base64 or hex ("openssl rand -base64 32" makes them)',
    )
  const key = newKeyIn(file)
  const socket = ownerSocketOf(values.socket, env)
  await askOwner(socket, { method: 'POST', path: '/v1/rekey', body: { new_key: key } })
  io.out(
    `the vault is sealed with the new key; give it the new key at its next start (VAULT_MASTER_KEY_FD, or VAULT_MASTER_KEY_FILE), and keep the old one for older backups\n`,
  )
}

function newKeyIn(file: string): string {
  try {
    const text = readWholeFile(file, MAX_KEY_FILE_BYTES).replace(/(?:\r?\n)+$/, '')
    parseMasterKey(text)
    return text
  } catch (error) {
    const why =
      codeOf(error) === '' && error instanceof Error
        ? error.message
        : `cannot be read (${codeOf(error)})`
    throw new CommandError(`--new-key-file ${file} ${why}`, EXIT.failed, { cause: error })
  }
}

/** Shows the last rows of the audit log, or verifies the whole. */
export async function audit({ args, env, io }: VaultContext): Promise<void> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      ...OWNER_OPTIONS,
      json: { type: 'boolean', default: false },
      limit: { type: 'string', default: '50' },
      anchor: { type: 'string', multiple: true, default: [] },
    },
  })
  const [verb, ...more] = positionals
  if (verb === 'verify' && more.length === 0) {
    verify(settingOf(VAULT_SETTINGS.stateDir, env), anchorsOf(values.anchor), io)
    return
  }
  if (verb !== undefined) throw wrongUsage('vault', 'vault audit takes "verify", or nothing')
  if (values.anchor.length > 0)
    throw wrongUsage('vault', '--anchor is for: workspace-gateway vault audit verify')
  if (!/^[1-9][0-9]{0,3}$/.test(values.limit) || Number(values.limit) > 1000)
    throw wrongUsage('vault', '--limit takes a whole number from 1 to 1000')
  const socket = ownerSocketOf(values.socket, env)
  const path = `/v1/audit?limit=${values.limit}`
  const { rows } = (await askOwner(socket, { path })) as { rows: AuditRowView[] }
  io.out(values.json ? jsonText(rows) : tableText(COLUMNS, rows.map(cellsOf)))
}

type AuditRowView = Readonly<Record<string, string | number | undefined>>

const COLUMNS = 'N,TIME,AGENT,OP,SERVICE,LEASE,METHOD,PATH,STATUS,REASON'.split(',')

function cellsOf(row: AuditRowView): string[] {
  const names = ['n', 'time', 'agent', 'op', 'service', 'lease', 'method', 'path', 'status']
  return [...names, 'reason'].map((name) => String(row[name] ?? '-'))
}

/** Reads anchors such as `81234:HASH`, as the vault's own log has them: row and hash. @throws {CommandError} */
function anchorsOf(texts: readonly string[]): ReadonlyMap<number, string> {
  const anchors = new Map<number, string>()
  for (const text of texts) {
    const [, row = '', hash = ''] = /^([1-9][0-9]{0,14}):([0-9a-fA-F]{64})$/.exec(text) ?? []
    const known = anchors.get(Number(row))
    if (hash === '' || (known !== undefined && known !== hash.toLowerCase()))
      throw wrongUsage(
        'vault',
        hash === ''
          ? `--anchor "${text}" is not ROW:HASH, the number of a row and its 64 hex digits, as in the vault's log ("anchor of the audit log")`
          : `--anchor is given twice for row ${row}, with two hashes`,
      )
    anchors.set(Number(row), hash.toLowerCase())
  }
  return anchors
}

function verify(
  stateDir: string,
  anchors: ReadonlyMap<number, string>,
  io: VaultContext['io'],
): void {
  const path = auditPathOf(stateDir)
  const { rows, problem } = verdictOf(path, { anchors })
  if (problem !== undefined)
    throw new CommandError(`${problem.file}: line ${problem.line}: ${problem.what}`, EXIT.failed)
  const kept = anchors.size === 0 ? '' : ', with the hash of every anchor'
  io.out(`${rows} rows, each as it was written${kept}\n`)
}

function verdictOf(...of: Parameters<typeof verifyAudit>): ReturnType<typeof verifyAudit> {
  try {
    return verifyAudit(...of)
  } catch (error) {
    const path = error instanceof Error && 'path' in error ? String(error.path) : of[0]
    throw new CommandError(`${path} cannot be read (${codeOf(error)})`, EXIT.failed, {
      cause: error,
    })
  }
}

/** What the audit log knows: the sequence number of the last file that was saved, its first row, and what is wrong with the log itself. */
function auditedBy({ stateDir }: VaultConfig): { saved: number; first?: number; problem?: string } {
  const path = auditPathOf(stateDir)
  let saved = 0
  let first: number | undefined
  if (!existsSync(path)) return { saved }
  const seen = (row: AuditRow) => {
    ;({ saved } = row)
    first ??= row.n
  }
  const { problem } = verdictOf(path, { seen, mayBeginLater: true })
  if (problem === undefined) return { saved, ...(first === undefined ? {} : { first }) }
  return { saved, problem: `the audit log ${problem.file}, line ${problem.line}: ${problem.what}` }
}

async function keysOf(
  { masterKey }: VaultConfig,
  hub: string | undefined,
): Promise<{ masterKey: Buffer; vaultId: string }> {
  const { vaultId } = await hubOf(hub).catch(asCommandError)
  return { masterKey, vaultId }
}

function configOf(env: Environment): ReturnType<typeof loadVaultConfig> {
  try {
    return loadVaultConfig(env)
  } catch (error) {
    return asCommandError(error)
  }
}

function asCommandError(error: unknown): never {
  if (!(error instanceof ConfigError)) throw error
  throw new CommandError(error.message, EXIT.config, { cause: error })
}
