/**
 * How does a program of ours listen on a Unix socket? For its owner only, and in the place of a file that a dead process has
 * left. A socket on which a process listens is left alone.
 */
import { chmodSync, rmSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { codeOf } from '../answers/errors.ts'
import { ALIVE_MS, canConnect } from './can-connect.ts'

/**
 * Listens on a Unix socket with mode 600.
 * @param listen Listens on the path. Rejects with the code `EADDRINUSE` while another process does.
 */
export async function openSocketFile(path: string, listen: () => Promise<unknown>): Promise<void> {
  await removeStaleSocket(path)
  const umask = process.umask(0o177)
  try {
    await listen()
    chmodSync(path, 0o600)
  } finally {
    process.umask(umask)
  }
}

/** Whether a socket cannot be made because its folder is missing. For that too, Node says EACCES (libuv, `uv_pipe_bind`). */
export function isFolderMissing(path: string): boolean {
  try {
    statSync(dirname(path))
    return false
  } catch (error) {
    return codeOf(error) === 'ENOENT'
  }
}

/** Removes a socket file on which no process listens, because such a file makes `listen` fail with EADDRINUSE. */
async function removeStaleSocket(path: string): Promise<void> {
  try {
    if (!statSync(path).isSocket()) return // another kind of file stays, and `listen` reports EADDRINUSE
  } catch {
    return
  }
  if (!(await canConnect({ path }, ALIVE_MS))) rmSync(path, { force: true })
}
