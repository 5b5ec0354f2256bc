/**
 * What does the vault see of itself? Owner and mode of its files, folders and sockets, the users of its agents, and the free space.
 * Doctor (src/commands/doctor/vault.ts) asks for it, because no other user may look at most of them, and judges it.
 */
import {
  closeSync,
  constants,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  statfsSync,
  statSync,
  type Stats,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { codeOf } from '../answers/errors.ts'
import type { VaultConfig } from '../config/vault-settings.ts'
import { previousOf } from './at-rest/vault-file.ts'
import { agentSocket, auditPathOf, ownerSocket } from './protocol.ts'

/** What a path is to the vault. `above` is a folder above one of the vault's own. */
export const PATH_ROLES = [
  ...(['file', 'previous', 'file-folder', 'audit', 'state-folder', 'key-file'] as const),
  ...(['doors', 'owner-folder', 'owner-socket', 'agent-folder', 'agent-socket', 'above'] as const),
] as const

export type PathRole = (typeof PATH_ROLES)[number]

/** A path, and what is there. */
export interface OwnPath {
  readonly role: PathRole
  readonly path: string
  /** The agent whose door it is; null for everything else. */
  readonly agent: string | null
  /** Null when there is nothing, or when it cannot be looked at. */
  readonly found: {
    readonly kind: 'file' | 'folder' | 'socket' | 'link' | 'other'
    readonly uid: number
    readonly gid: number
    /** The permission bits, with set-group-ID and sticky. */
    readonly mode: number
  } | null
  /** The code of the system's error; null without one. */
  readonly error: string | null
}

/** Everything that the vault reports about itself. No credential, no key, and no content of a file. */
export interface SelfCheck {
  /** The effective user of the vault's process. */
  readonly uid: number
  /** VAULT_AGENTS. */
  readonly agents: ReadonlyArray<{ readonly name: string; readonly uid: number }>
  readonly paths: readonly OwnPath[]
  /** Whether the key came in the environment, where the same user can still read it. */
  readonly key_in_environment: boolean
  /** Why a row could not be added to the audit log, as the code of the system's error; null when the log can be opened for it. */
  readonly audit_error: string | null
  /** The free bytes of the disk of VAULT_FILE and that of VAULT_STATE_DIR, whichever is less; null when the system does not say. */
  readonly free_bytes: number | null
}

/** At most so many parts of an audit log are looked at. */
const MAX_AUDIT_FILES = 50

/** Looks at everything that is the vault's. @param environment The environment that a process was started with, as the kernel keeps it. */
export function selfCheck(
  config: Pick<VaultConfig, 'file' | 'stateDir' | 'sockets' | 'agents'>,
  environment = '/proc/self/environ',
): SelfCheck {
  const { file, stateDir, sockets, agents } = config
  const key = keyIn(environment)
  const folders = [dirname(file), stateDir, sockets]
  if (key.file !== undefined) folders.push(key.file)
  return {
    uid: process.geteuid?.() ?? 0,
    agents: agents.map(({ name, uid }) => ({ name, uid })),
    paths: [
      look('file', file),
      look('previous', previousOf(file)),
      look('file-folder', dirname(file), { follows: true }),
      ...auditFiles(stateDir).map((path) => look('audit', path)),
      look('state-folder', stateDir, { follows: true }),
      ...(key.file === undefined ? [] : [look('key-file', key.file, { follows: true })]),
      look('doors', sockets),
      look('owner-folder', dirname(ownerSocket(sockets))),
      look('owner-socket', ownerSocket(sockets)),
      ...agents.flatMap(({ name }) => [
        look('agent-folder', dirname(agentSocket(sockets, name)), { agent: name }),
        look('agent-socket', agentSocket(sockets, name), { agent: name }),
      ]),
      ...[...new Set(folders.flatMap(foldersAbove))].map((path) =>
        look('above', path, { follows: true }),
      ),
    ],
    key_in_environment: key.isHere,
    audit_error: auditError(auditPathOf(stateDir)),
    free_bytes: freeBytes([dirname(file), stateDir]),
  }
}

/** Looks at a path. @param follows whether a link is followed: where the vault follows it too, and its folders are looked at as well */
function look(
  role: PathRole,
  path: string,
  { agent = null, follows = false }: { agent?: string | null; follows?: boolean } = {},
): OwnPath {
  try {
    const stats = follows ? statSync(path) : lstatSync(path)
    const { uid, gid, mode } = stats
    const found = { kind: kindOf(stats), uid, gid, mode: mode & 0o7777 }
    return { role, path, agent, found, error: null }
  } catch (error) {
    return { role, path, agent, found: null, error: codeOf(error) }
  }
}

function kindOf(stats: Stats): 'file' | 'folder' | 'socket' | 'link' | 'other' {
  if (stats.isFile()) return 'file'
  if (stats.isDirectory()) return 'folder'
  if (stats.isSocket()) return 'socket'
  return stats.isSymbolicLink() ? 'link' : 'other'
}

/** A name that stands for itself in a shell. Others are not the vault's, and end in no command that somebody may copy from doctor. */
const PLAIN_NAME = /^[\w.-]+$/

/** The audit log and its earlier parts. */
function auditFiles(stateDir: string): string[] {
  const log = auditPathOf(stateDir)
  let names: string[] = []
  try {
    names = readdirSync(stateDir)
  } catch {
    // The folder itself is reported.
  }
  const start = basename(log, '.jsonl')
  const parts = names.filter(
    (name) =>
      name.startsWith(start) &&
      PLAIN_NAME.test(name) &&
      name !== basename(log) &&
      !name.endsWith('.lock'),
  )
  return [log, ...parts.slice(0, MAX_AUDIT_FILES).map((name) => join(stateDir, name))]
}

/** Every folder above a path, by its name and, where a link is on the way, by its real name. */
function foldersAbove(start: string): string[] {
  const above = (path: string): string[] => {
    const parent = dirname(path)
    return parent === path ? [] : [parent, ...above(parent)]
  }
  try {
    return [...above(start), ...above(realpathSync(start))]
  } catch {
    return above(start)
  }
}

const KEY = Buffer.from('VAULT_MASTER_KEY=')
const KEY_FILE = Buffer.from('VAULT_MASTER_KEY_FILE=')

/** Finds how the key came. The kernel keeps the environment of the start, from which the vault has removed the key for itself. */
function keyIn(environment: string): { readonly isHere: boolean; readonly file?: string } {
  let bytes: Buffer
  try {
    bytes = readFileSync(environment)
  } catch {
    return { isHere: false }
  }
  let isHere = false
  let file: string | undefined
  for (let from = 0; from < bytes.length;) {
    const end = bytes.indexOf(0, from)
    const variable = bytes.subarray(from, end < 0 ? bytes.length : end)
    if (variable.subarray(0, KEY.length).equals(KEY)) isHere = true
    if (variable.subarray(0, KEY_FILE.length).equals(KEY_FILE))
      file = variable.toString('utf8', KEY_FILE.length)
    from += variable.length + 1
  }
  bytes.fill(0)
  return { isHere, ...(file === undefined ? {} : { file }) }
}

const { O_APPEND, O_NOFOLLOW, O_NONBLOCK, O_WRONLY } = constants

function auditError(path: string): string | null {
  try {
    closeSync(openSync(path, O_WRONLY | O_APPEND | O_NOFOLLOW | O_NONBLOCK))
    return null
  } catch (error) {
    return codeOf(error)
  }
}

function freeBytes(folders: readonly string[]): number | null {
  try {
    return Math.min(
      ...folders.map((folder) => {
        const { bavail, bsize } = statfsSync(folder)
        return bavail * bsize
      }),
    )
  } catch {
    return null
  }
}
