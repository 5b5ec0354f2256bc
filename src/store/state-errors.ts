/** Why can the state not be opened? Errors that a command or a start ends with; their messages are complete text for a person. */
import { VERSION } from '../answers/version.ts'

/** The error when a newer program has written the state. The file was not touched. */
export class NewerStateError extends Error {
  override readonly name = 'NewerStateError'

  constructor(path: string, writtenBy: string) {
    super(
      `${path} was written by workspace-gateway ${writtenBy}, and this is ${VERSION}, which cannot read it; start the newer one, or move its state.db files to another folder and restore a backup that this one has made`,
    )
  }
}

/** The error when another process writes the state. */
export class StateBusyError extends Error {
  override readonly name = 'StateBusyError'

  constructor(stateDir: string) {
    super(
      `GATEWAY_STATE_DIR ${stateDir} is in use: another gateway, or a command, writes the state there`,
    )
  }
}

/** The error when a command cannot use the state. */
export class StateAccessError extends Error {
  override readonly name = 'StateAccessError'
}

/** The error when the state file cannot be trusted. The message is the reason, without the file's name. */
export class DamagedStateError extends Error {
  override readonly name = 'DamagedStateError'
}
