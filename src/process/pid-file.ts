/** Which process is the gateway? The PID file that a supervisor or an operator reads. */
import { readFileSync, rmSync } from 'node:fs'
import { codeOf } from '../answers/errors.ts'
import { readWholeFile, writeWholeFile } from '../store/whole-file.ts'

/** The word of a command line that runs the gateway: the installed command, or the program itself. */
const GATEWAY_COMMAND = /(?:^|\/)(?:workspace-gateway(?:\.cjs)?|main\.[jt]s)$/

/** More than a number and white space is no PID file, in bytes. */
const MAX_PID_FILE_BYTES = 64

/** A PID file that names another process which is alive. */
export class AlreadyRunningError extends Error {
  constructor(path: string, pid: number) {
    super(
      `GATEWAY_PID_FILE "${path}" names process ${pid}, which is running; stop it first or use another file`,
    )
    this.name = 'AlreadyRunningError'
  }
}

/**
 * Refuses to go on when the file names a gateway that is alive; a stale file, or one whose number now belongs to some
 * other program, is no obstacle.
 * @throws {AlreadyRunningError}
 */
export function checkPidFile(path: string): void {
  const pid = readPid(path)
  if (pid !== undefined && pid !== process.pid && isGateway(pid))
    throw new AlreadyRunningError(path, pid)
}

/** Writes our number, all at once: nobody ever reads half of it. */
export function writePidFile(path: string): void {
  writeWholeFile(path, `${process.pid}\n`, { mode: 0o644 })
}

/** Removes the file if it still holds our number: a successor may have written its own. Never fails: we are at the end. */
export function removePidFile(path: string): void {
  if (readPid(path) !== process.pid) return
  try {
    rmSync(path, { force: true })
  } catch {
    // A file that stays names a process that is gone, which is no obstacle to the next one.
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

/** Whether a process is alive and looks like us; numbers are used again, after a crash above all. */
function isGateway(pid: number): boolean {
  try {
    process.kill(pid, 0)
  } catch (error) {
    if (codeOf(error) !== 'EPERM') return false // EPERM: alive, and another user's
  }
  try {
    const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
    return words.some((word) => GATEWAY_COMMAND.test(word))
  } catch {
    return true // no /proc here: better to refuse than to run twice
  }
}
