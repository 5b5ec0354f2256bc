/**
 * How does a program of ours listen on a Unix socket? For its owner only, unless the caller gives another mode, and in the place of a
 * file that a dead process has left. A socket on which a process listens is left alone, also one that was made a moment ago.
 */
import { chmodSync, linkSync, renameSync, rmSync, statSync, type BigIntStats } from 'node:fs'
import { dirname } from 'node:path'
import { codeOf } from '../answers/errors.ts'
import { ALIVE_MS, canConnect } from './can-connect.ts'

/**
 * Listens on a Unix socket.
 * @param listen Listens on the path. Rejects with the code `EADDRINUSE` while another process does.
 * @param mode The permissions of the file, which never had wider ones. Default: 0o600.
 */
export async function openSocketFile(
  path: string,
  listen: () => Promise<unknown>,
  mode = 0o600,
): Promise<void> {
  await removeStaleSocket(path)
  const umask = process.umask(0o777 & ~mode)
  try {
    await listen()
    setMode(path, mode)
  } finally {
    process.umask(umask)
  }
}

/** Where the folder has a default ACL, the umask has no effect. */
function setMode(path: string, mode: number): void {
  try {
    chmodSync(path, mode)
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error // another process that starts has it in its hand, see removeFile
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
  let file: BigIntStats
  try {
    file = statSync(path, { bigint: true })
  } catch {
    return
  }
  if (!file.isSocket()) return // another kind of file stays, and `listen` reports EADDRINUSE
  if (!(await canConnect({ path }, ALIVE_MS))) removeFile(path, file)
}

/**
 * Removes a file if it is still the one that was looked at. Of two processes that start at once both find the same file stale, and
 * the slower one must not remove the socket that the faster one has put in its place: it is moved, looked at, and put back.
 */
function removeFile(path: string, { ino, mtimeNs }: BigIntStats): void {
  const moved = `${path}.${process.pid}`
  try {
    renameSync(path, moved)
  } catch {
    return // the other one was faster, or `listen` says what is wrong
  }
  const found = statSync(moved, { bigint: true })
  if (found.ino !== ino || found.mtimeNs !== mtimeNs) putBack(moved, path)
  rmSync(moved, { force: true })
}

function putBack(moved: string, path: string): void {
  try {
    linkSync(moved, path)
  } catch {
    // A third process listens there by now.
  }
}
