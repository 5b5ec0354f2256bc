/** How does a test open a vault? In a folder of its own, with a master key, an audit log, and entries. */
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import type { Test } from 'tap'
import { AuditLog } from '../../src/vault/audit/audit-log.ts'
import type { Entry, Policy } from '../../src/vault/policy.ts'
import { Vault, type VaultOptions } from '../../src/vault/vault.ts'
import { temporaryFolder } from './process.ts'

/** The master key of the tests. */
export const MASTER_KEY = Buffer.alloc(32, 7)

/** The id of the tests' vault. */
export const VAULT_ID = 'workspace-of-tests'

/** Makes an entry. */
export function entryOf(service: string, changes: Partial<Policy> = {}, value?: string): Entry {
  const policy: Policy = {
    ...{ service, kind: 'header', origin: `https://${service}.example` },
    slot: { header: 'authorization', template: 'Bearer {}' },
    ...{ methods: ['GET', 'POST'], paths: ['/repos/', '/user'], headers: [], grants: ['coder'] },
    ...{ allowPrivate: false, upgrade: false, decode: false, suspended: false },
    ...{ note: `the note of ${service}`, ...changes },
  }
  const credential = Buffer.from(value ?? `secret-of-${service}-0123456789`)
  const version = { version: 1, createdAt: 1000, keptUntil: undefined, value: credential }
  return { id: randomBytes(9).toString('base64url'), policy, versions: [version] }
}

/** The files of a vault in a folder. */
export function filesIn(folder: string) {
  return { file: join(folder, '.vault.enc'), auditPath: join(folder, 'vault-audit.jsonl') }
}

/** Opens a vault and its audit log. `close` closes both; the end of the test does it too. */
export function openVault(
  t: Test,
  folder: string = temporaryFolder(t),
  options: Partial<VaultOptions> = {},
) {
  const { file, auditPath } = filesIn(folder)
  const audit = AuditLog.open(auditPath, options.now === undefined ? {} : { now: options.now })
  let vault: Vault
  try {
    vault = Vault.open({ file, masterKey: MASTER_KEY, vaultId: VAULT_ID, audit, ...options })
  } catch (error) {
    audit.close()
    throw error
  }
  const close = () => {
    vault.close()
    audit.close()
  }
  t.teardown(close)
  return { vault, audit, folder, file, auditPath, close }
}

/** Adds an entry to a vault, as the owner does. */
export function addEntry(vault: Vault, entry: Entry): void {
  vault.change({ op: 'add', service: entry.policy.service, agent: 'owner' }, () => entry)
}

/** Changes the policy of an entry. */
export function changePolicy(vault: Vault, service: string, changes: Partial<Policy>): void {
  vault.change({ op: 'grant', service, agent: 'owner' }, (entry) => {
    if (entry === undefined) throw new TypeError(`no entry ${service}`)
    return { ...entry, policy: { ...entry.policy, ...changes } }
  })
}

/** The entries with their credentials in text, for a comparison. */
export function readable(vault: Vault): unknown {
  return vault.entries().map(({ id, policy, versions }) => {
    const texts = versions.map(({ version, createdAt, keptUntil, value }) => {
      return { version, createdAt, keptUntil, value: value.toString() }
    })
    return { id, policy, versions: texts }
  })
}
