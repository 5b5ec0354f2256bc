/** How does a command use the state when no gateway runs? It becomes the owner of the state folder, and then the one writer. */
import { mkdirSync, statSync } from 'node:fs'
import { codeOf } from '../answers/errors.ts'
import { DamagedStateError, StateAccessError } from '../store/state-errors.ts'
import { State } from '../store/state.ts'

/**
 * Opens the state for a command. From then on the process is the owner of the state folder, also when root has started it:
 * files of root would lock the gateway out, and root must not follow what another user has put into the folder.
 * @throws {StateBusyError} when a gateway or another command writes the state; {NewerStateError}; {StateAccessError}
 */
export async function openStateForCommand(stateDir: string): Promise<State> {
  becomeOwnerOf(stateDir)
  try {
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
 * Makes the process run as the owner of a folder for good. The folder is made when it is missing.
 * @throws {StateAccessError} when it belongs to another user and this is not root
 */
export function becomeOwnerOf(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    const { uid, gid } = statSync(folder)
    const own = process.geteuid?.()
    if (own === undefined || uid === own) return
    if (own !== 0)
      throw new StateAccessError(
        `${folder} belongs to another user (${uid}, and this is ${own}); run this as that user or as root`,
      )
    process.setgroups?.([])
    process.setgid?.(gid)
    process.setuid?.(uid)
  } catch (error) {
    throw codeOf(error) === '' ? error : unusable(folder, error)
  }
}

function unusable(folder: string, cause: unknown): StateAccessError {
  const { message } = cause as Error
  return new StateAccessError(`the state in ${folder} cannot be used: ${message}`, { cause })
}
