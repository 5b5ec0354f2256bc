/** Does a workspace run with this state folder, and at which address? Its gateway says so on its admin socket. */
import { askAdmin, GatewayNotReachedError } from '../src/admin/ask.ts'
import { originOf } from './sign-in.ts'

/** The state folder of a workspace whose user named none, in the project's folder. */
export const STATE_FOLDER = '.workspace'

/** A workspace that another process runs. */
export interface RunningWorkspace {
  /** `http://localhost:<port>`; empty when the gateway listens on a Unix socket. */
  readonly origin: string
  /** The process that runs it. */
  readonly pid: number
}

/**
 * The workspace that runs with this state folder; undefined when none does.
 * @throws {GatewayNotReachedError} when one may run and cannot be asked, such as one of another user
 */
export async function runningWorkspace(stateDir: string): Promise<RunningWorkspace | undefined> {
  try {
    const { body } = await askAdmin(stateDir, '/status')
    const { listening, pid } = JSON.parse(body) as Status
    const origin = originOf(typeof listening === 'object' ? (listening?.port ?? 0) : 0)
    return { origin, pid }
  } catch (error) {
    if (error instanceof GatewayNotReachedError && error.isAbsent) return undefined
    throw error
  }
}

/** What is used of the gateway's status. */
interface Status {
  readonly pid: number
  /** What `server.address()` returns: an object for a port, a path for a Unix socket. */
  readonly listening: { readonly port: number } | string | null
}
