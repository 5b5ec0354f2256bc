/** Where are the sockets of the terminal? In a folder that only this user can open. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** The longest path of a Unix socket on every system, in bytes. macOS has the lowest limit. */
export const SOCKET_PATH_BYTES = 103

/**
 * Creates a folder with mode 700. It is not in the state folder, because the path of a socket must be short.
 * @param longest the longest name of a socket in it
 */
export async function privateFolder(longest: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'workspace-terminal-'))
  if (Buffer.byteLength(join(folder, longest)) <= SOCKET_PATH_BYTES) return folder
  await rm(folder, { recursive: true })
  throw new Error(`The path of TMPDIR (${tmpdir()}) is too long for a socket in it.`)
}
