/** How does a command use the state when no gateway runs? It becomes the owner of the state folder, and then the one writer. */
import { statSync } from 'node:fs'
import { codeOf } from '../answers/errors.ts'
import { makeFolder } from '../store/make-folder.ts'
import { DamagedStateError, StateAccessError } from '../store/state-errors.ts'
import { State } from '../store/state.ts'

/**
 * Opens the state for a command. From then on the process is the owner of the state folder, also when root has started it:
 * files of root would lock the gateway out, and root must not follow what another user has put into the folder.
 * @throws {StateBusyError} when a gateway or another command writes the state; {NewerStateError}; {StateAccessError}
 */
export async function openStateForCommand(stateDir: string): Promise<State> {
  try {
    makeFolder(stateDir, 0o700)
    becomeOwnerOf(stateDir)
    return await State.openForCommand(stateDir)
  } catch (error) {
    if (error instanceof DamagedStateError)
      throw new StateAccessError(
        `the state in ${stateDir} is damaged: ${error.message}; start the gateway, which moves it aside and begins a new one`,
        { cause: error },
      )
    throw codeOf(error) === '' ? error : unusable(stateDir, error)
  }
}

/**
 * Makes the process run as the owner of a folder for good.
 * @throws {StateAccessError} when it belongs to another user and this is not root
 */
export function becomeOwnerOf(folder: string): void {
  const owner = ownerOf(folder)
  if (owner === undefined) return
  process.setgroups?.([])
  process.setgid?.(owner.gid)
  process.setuid?.(owner.uid)
}

/**
 * Runs a function as the owner of a folder.
 * @throws {StateAccessError} when it belongs to another user and this is not root
 */
export function asOwnerOf<T>(folder: string, work: () => T): T {
  const owner = ownerOf(folder)
  if (owner === undefined) return work()
  const { euid, egid, groups } = {
    euid: process.geteuid?.() ?? 0,
    egid: process.getegid?.() ?? 0,
    groups: process.getgroups?.() ?? [],
  }
  process.setgroups?.([])
  process.setegid?.(owner.gid)
  process.seteuid?.(owner.uid)
  try {
    return work()
  } finally {
    process.seteuid?.(euid)
    process.setegid?.(egid)
    process.setgroups?.(groups)
  }
}

/** The owner of a folder whom this process must become; undefined when it is the owner. */
function ownerOf(folder: string): { readonly uid: number; readonly gid: number } | undefined {
  const { uid, gid } = statSync(folder)
  const own = process.geteuid?.()
  if (own === undefined || uid === own) return undefined
  if (own === 0) return { uid, gid }
  throw new StateAccessError(
    `${folder} belongs to another user (${uid}, and this is ${own}); run this as that user or as root`,
  )
}

function unusable(folder: string, cause: unknown): StateAccessError {
  const { message } = cause as Error
  return new StateAccessError(`the state in ${folder} cannot be used: ${message}`, { cause })
}
