/**
 * How does a gateway listen on a Unix socket that its successor takes over? Under a name of its own, which a rename puts in the place of
 * the predecessor's in one step, so that a client finds one of the two listening at any moment.
 */
import { existsSync, lstatSync, renameSync, rmSync } from 'node:fs'
import type { Server } from 'node:net'
import { ALIVE_MS, canConnect } from './can-connect.ts'

/** Where a server listens. */
export interface HandedOverSocket {
  /** The path that clients know. */
  readonly path: string
  /**
   * The name under which the socket is opened, in the same folder, with the process id in it: on close, Node removes the file of that
   * name, and so never removes the socket of a successor.
   */
  readonly draft: string
  /** Whether this process replaces the one that listens there now. */
  readonly takesOver: boolean
}

/** The longest path that fits into `sockaddr_un` everywhere (bytes): a longer one would be cut, and name another file. */
const MAX_PATH_BYTES = 103

/** The error of a path where another process listens, or where something else is. */
export class PathTakenError extends Error {}

/**
 * Listens on a Unix socket of mode 600. A socket that a dead process left is replaced. One on which a process listens is left alone,
 * unless it is the predecessor's.
 * @returns Removes the file unless it is a successor's by now. The caller closes the server.
 * @throws {PathTakenError} and errors of the system
 */
export async function listenHandedOver(
  server: Server,
  { path, draft, takesOver }: HandedOverSocket,
): Promise<() => void> {
  if (Math.max(Buffer.byteLength(path), Buffer.byteLength(draft)) > MAX_PATH_BYTES)
    throw new Error(`the path of the socket is longer than ${MAX_PATH_BYTES} bytes`)
  if (!takesOver && (await canConnect({ path }, ALIVE_MS)))
    throw new PathTakenError('another process listens on the socket')
  if (existsSync(path) && inodeOf(path) === undefined)
    throw new PathTakenError('a file that is no socket has its name')
  rmSync(draft, { force: true })
  await listenPrivately(server, draft)
  const own = inodeOf(draft)
  renameSync(draft, path)
  return () => {
    if (inodeOf(path) === own) rmSync(path, { force: true })
  }
}

/** The inode of a socket file; undefined when there is none. */
function inodeOf(path: string): number | undefined {
  const entry = lstatSync(path, { throwIfNoEntry: false })
  return entry?.isSocket() === true ? entry.ino : undefined
}

/** Listens on a socket whose file never had wider permissions than mode 600. */
async function listenPrivately(server: Server, path: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  server.once('error', reject)
  server.once('listening', resolve)
  const umask = process.umask(0o177)
  try {
    // `listen` creates the file before it returns. `exclusive`: the port keeper must not open the socket for us.
    server.listen({ path, exclusive: true })
  } finally {
    process.umask(umask)
  }
  await promise
  server.off('error', reject)
}
