/** May a door be opened in this folder? Its owner and its mode decide who can reach the socket, so both are checked first. */
import { lstatSync, type Stats } from 'node:fs'
import { dirname } from 'node:path'
import { codeOf } from '../../answers/errors.ts'
import { ConfigError } from '../../config/load.ts'
import { makeFolder } from '../../store/make-folder.ts'

const SETGID = 0o2000
const WORLD = 0o007
const GROUP = 0o070
const GROUP_MAY_WRITE = 0o020
const OTHERS_MAY_WRITE = 0o022
const ROOT = 0

/**
 * Makes the folder of a door with mode 700, or checks the one that is there: it belongs to this user, and has mode 700 or 2750.
 * The folder above it may be root's, and nobody else may write to it.
 * @returns the mode of the socket: 0o660 where the folder gives it the group that may open it, else 0o600
 * @throws {ConfigError}
 */
export function prepareDoorFolder(folder: string): number {
  const above = dirname(folder)
  make(above, 0o711)
  const problem = problemAbove(lookAt(above))
  if (problem !== undefined) throw refusal(above, problem)
  make(folder, 0o700)
  const stats = lookAt(folder)
  const wrong = problemOfDoor(stats)
  if (wrong !== undefined) throw refusal(folder, wrong)
  return (stats.mode & GROUP) === 0 ? 0o600 : 0o660
}

function make(folder: string, mode: number): void {
  try {
    makeFolder(folder, mode)
  } catch (error) {
    // What is there is looked at next.
    if (codeOf(error) === 'ENOTDIR' && isThere(folder)) return
    throw new ConfigError([`VAULT_SOCKETS: the folder ${(error as Error).message}`])
  }
}

function isThere(path: string): boolean {
  try {
    return lstatSync(path, { throwIfNoEntry: false }) !== undefined
  } catch {
    return false
  }
}

function lookAt(folder: string): Stats {
  try {
    return lstatSync(folder)
  } catch (error) {
    throw refusal(folder, `cannot be looked at (${codeOf(error)})`)
  }
}

function problemAbove(stats: Stats): string | undefined {
  const own = process.geteuid?.() ?? stats.uid
  if (!stats.isDirectory()) return 'is no folder'
  if (stats.uid !== own && stats.uid !== ROOT)
    return `belongs to another user (${stats.uid}, and this is ${own})`
  if ((stats.mode & OTHERS_MAY_WRITE) !== 0)
    return `may be written to by others (mode ${octal(stats)}), who could exchange a door; run "chmod 711" on it`
  return undefined
}

function problemOfDoor(stats: Stats): string | undefined {
  const own = process.geteuid?.() ?? stats.uid
  if (!stats.isDirectory()) return 'is no folder'
  if (stats.uid !== own) return `belongs to another user (${stats.uid}, and this is ${own})`
  const { mode } = stats
  if ((mode & WORLD) !== 0 || (mode & GROUP_MAY_WRITE) !== 0)
    return `is open to others (mode ${octal(stats)}); run "chmod 2750" on it, or "chmod 700"`
  if ((mode & GROUP) !== 0 && (mode & SETGID) === 0)
    return `is open to its group, and gives that group to nothing that is made in it (mode ${octal(stats)}); run "chmod 2750" on it`
  return undefined
}

function octal({ mode }: Stats): string {
  return (mode & 0o7777).toString(8)
}

function refusal(folder: string, problem: string): ConfigError {
  return new ConfigError([`VAULT_SOCKETS: the folder "${folder}" ${problem}`])
}
