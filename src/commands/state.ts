/** `workspace-gateway state`: how are sessions and API tokens backed up, and restored? */
import {
  closeSync,
  fsyncSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { parseArgs } from 'node:util'
import { codeOf } from '../answers/errors.ts'
import { readSetting, type Environment } from '../config/load.ts'
import { SETTINGS } from '../config/settings.ts'
import { EXIT } from '../process/exit-codes.ts'
import { restoreState, stateCopy } from '../store/state-backup.ts'
import {
  DamagedStateError,
  NewerStateError,
  StateAccessError,
  StateBusyError,
} from '../store/state-errors.ts'
import { takeStateLock } from '../store/state-lock.ts'
import type { Io } from './io.ts'
import { asOwnerOf, becomeOwnerOf } from './open-state.ts'

/** A larger file is no backup (bytes). */
const MAX_BACKUP_BYTES = 1024 * 1024 * 1024

/**
 * Backs the state up to a file, also while a gateway runs, or restores it from one, while none runs. The command needs only
 * one setting, GATEWAY_STATE_DIR.
 * @returns 0; 1 when the file cannot be written, read or used; 64 for a wrong command line; 69 when a gateway runs
 * @throws an error with a code `ERR_PARSE_ARGS_…` for unknown options
 */
export async function state(args: readonly string[], env: Environment, io: Io): Promise<number> {
  const { positionals } = parseArgs({ args: [...args], options: {}, allowPositionals: true })
  const [action, file, ...more] = positionals
  const say = (text: string) => io.err(`workspace-gateway: ${text}\n`)
  if ((action !== 'backup' && action !== 'restore') || file === undefined || more.length > 0) {
    say('state takes "backup FILE" or "restore FILE"')
    return EXIT.usage
  }
  const stateDir = readSetting(SETTINGS.stateDir, env)
  try {
    say(action === 'backup' ? backUp(stateDir, file) : restore(stateDir, file))
    return EXIT.ok
  } catch (error) {
    say(error instanceof Error ? explained(error, action, file, stateDir) : String(error))
    if (error instanceof StateBusyError || error instanceof StateAccessError)
      return EXIT.unavailable
    return error instanceof NewerStateError ? EXIT.config : EXIT.failed
  }
}

function backUp(stateDir: string, file: string): string {
  const content = asOwnerOf(stateDir, () => stateCopy(stateDir))
  if (content === undefined) throw new Error(`there is no state in ${stateDir} yet`)
  const fd = openSync(file, 'wx', 0o600)
  try {
    writeFileSync(fd, content)
    fsyncSync(fd)
  } catch (error) {
    rmSync(file, { force: true }) // half a backup is none
    throw error
  } finally {
    closeSync(fd)
  }
  return `the state was saved to ${file} (${Math.ceil(content.length / 1024)} KiB); keep the signing secret elsewhere, it is not in it`
}

function restore(stateDir: string, file: string): string {
  const stats = statSync(file, { throwIfNoEntry: false })
  if (stats === undefined) throw new Error(`${file} does not exist`)
  if (!stats.isFile()) throw new DamagedStateError('it is not a regular file')
  if (stats.size > MAX_BACKUP_BYTES) throw new DamagedStateError('it is too large')
  const content = readFileSync(file)
  becomeOwnerOf(stateDir)
  const lock = takeStateLock(stateDir)
  if (lock === undefined) throw new StateBusyError(stateDir)
  try {
    const { before } = restoreState(stateDir, content)
    const kept =
      before === undefined ? '' : `; the state before is kept as ${before} in ${stateDir}`
    return `the state was restored from ${file}, and everybody is signed out${kept}`
  } finally {
    lock.release()
  }
}

function explained(error: Error, action: string, file: string, stateDir: string): string {
  if (error instanceof DamagedStateError)
    return action === 'backup'
      ? `the state in ${stateDir} is damaged: ${error.message}`
      : `${file} is no backup of the state: ${error.message}`
  return codeOf(error) === 'EEXIST' ? `${file} exists, and is not overwritten` : error.message
}
