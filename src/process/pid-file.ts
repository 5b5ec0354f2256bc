/** Which process is the gateway? Its number stands in the PID file, which a supervisor or an operator reads. */
import { readFileSync, rmSync } from 'node:fs'
import { codeOf } from '../answers/errors.ts'
import { readWholeFile, writeWholeFile } from '../store/whole-file.ts'

/** A word of a command line that runs the gateway: the installed command, or its source file. */
const GATEWAY_COMMAND = /(?:^|\/)(?:workspace-gateway(?:\.cjs)?|main\.[jt]s)$/

/** A larger file is not a PID file, which has a number and white space (bytes). */
const MAX_PID_FILE_BYTES = 64

/** Another process of ours is running where this one should. */
export class AlreadyRunningError extends Error {
  override readonly name = 'AlreadyRunningError'
}

/**
 * Throws when the file names a gateway that is running. A stale file is ignored, and so is a number that now belongs to
 * another program.
 * @throws {AlreadyRunningError}
 */
export function checkPidFile(path: string): void {
  const pid = readPid(path)
  if (pid !== undefined && pid !== process.pid && isGateway(pid))
    throw new AlreadyRunningError(
      `GATEWAY_PID_FILE "${path}" names process ${pid}, which is running; stop it first or use another file`,
    )
}

/** Writes the number of this process atomically, so that no reader ever sees half of it. */
export function writePidFile(path: string): void {
  writeWholeFile(path, `${process.pid}\n`, { mode: 0o644 })
}

/** Removes the file if it still has the number of this process, since a successor may have written its own. Never throws. */
export function removePidFile(path: string): void {
  if (readPid(path) !== process.pid) return
  try {
    rmSync(path, { force: true })
  } catch {
    // The file stays. It names a process that has ended, which the next gateway ignores.
  }
}

function readPid(path: string): number | undefined {
  let text: string
  try {
    text = readWholeFile(path, MAX_PID_FILE_BYTES).trim()
  } catch {
    return undefined
  }
  return /^[1-9][0-9]{0,9}$/.test(text) ? Number(text) : undefined
}

/** Whether a process is alive and runs the gateway. The kernel reuses numbers, so a stale number may be any program. */
function isGateway(pid: number): boolean {
  try {
    process.kill(pid, 0)
  } catch (error) {
    if (codeOf(error) !== 'EPERM') return false // EPERM: the process is alive and another user's
  }
  try {
    const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
    return words.some((word) => GATEWAY_COMMAND.test(word))
  } catch {
    return true // no /proc on this platform: refusing to start is safer than running twice
  }
}
