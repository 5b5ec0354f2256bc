/** Which process is the gateway? The PID file that a supervisor or an operator reads. */
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'

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
  const draft = `${path}.${process.pid}.tmp`
  writeFileSync(draft, `${process.pid}\n`, { mode: 0o644 })
  renameSync(draft, path)
}

/** Removes the file if it still holds our number: a successor may have written its own. */
export function removePidFile(path: string): void {
  if (readPid(path) === process.pid) rmSync(path, { force: true })
}

function readPid(path: string): number | undefined {
  let text: string
  try {
    text = readFileSync(path, 'utf8').trim()
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
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
  try {
    return /workspace-gateway|main\.[jt]s/.test(readFileSync(`/proc/${pid}/cmdline`, 'utf8'))
  } catch {
    return true // no /proc here: better to refuse than to run twice
  }
}
