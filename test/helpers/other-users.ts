/** How does a test run the vault and its agents as different users of the machine? Root alone can, with setpriv(1). */
import { spawn, spawnSync } from 'node:child_process'
import { chmodSync, chownSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { MAIN, watch } from './process.ts'
import { startRunningVault, type RunningVault } from './running-vault.ts'

/** A user of the machine. */
export interface User {
  readonly name: string
  readonly uid: number
  readonly gid: number
}

/** A folder in another one: its mode, the uid of its owner, and the gid of its group. */
export type OwnedFolder = readonly [path: string, mode: number, owner: number, group: number]

/** A user by their name; undefined when the machine has none. */
export function userOf(name: string): User | undefined {
  const found = new RegExp(`^${name}:[^:]*:(\\d+):(\\d+):`, 'm').exec(
    readFileSync('/etc/passwd', 'utf8'),
  )
  return found === null ? undefined : { name, uid: Number(found[1]), gid: Number(found[2]) }
}

/** The arguments with which setpriv(1) runs a command as a user. */
export function as({ uid, gid }: User): string[] {
  return [`--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', '--no-new-privs']
}

/**
 * Why a test with these users has to be skipped; false when it need not be. Root alone may be another user, and other users must be
 * able to read this checkout, which may be in a folder of root.
 */
export function whyNotAs(users: ReadonlyArray<User | undefined>): string | false {
  const canSwitch =
    process.getuid?.() === 0 &&
    users.every(
      (user) =>
        user !== undefined &&
        spawnSync('setpriv', [...as(user), process.execPath, MAIN, 'version']).status === 0,
    )
  return canSwitch
    ? false
    : 'needs root, setpriv, the users of Debian, and a checkout that they can read'
}

/** Starts the vault as a user, with doors for the agents coder and ops, in `data` and `sockets` of a folder that these rows make. */
export async function startVaultAs(
  t: Test,
  vault: User,
  {
    folder,
    folders,
    coder,
    ops,
  }: {
    readonly folder: string
    readonly folders: readonly OwnedFolder[]
    readonly coder: User
    readonly ops: User
  },
): Promise<RunningVault> {
  chmodSync(folder, 0o755)
  for (const [path, mode, owner, group] of folders) {
    mkdirSync(join(folder, path))
    chownSync(join(folder, path), owner, group)
    chmodSync(join(folder, path), mode)
  }
  const settings = {
    VAULT_FILE: join(folder, 'data/.vault.enc'),
    VAULT_STATE_DIR: join(folder, 'data'),
    VAULT_SOCKETS: join(folder, 'sockets'),
    VAULT_AGENTS: `coder:${coder.uid},ops:${ops.uid}`,
  }
  const command = [...as(vault), 'env', '-u', 'NODE_OPTIONS', process.execPath, MAIN, 'vault']
  return await startRunningVault(t, settings, (env) =>
    watch(t, spawn('setpriv', command, { env, stdio: ['ignore', 'pipe', 'pipe'] })),
  )
}
