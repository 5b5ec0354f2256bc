/** How does the machine's owner ask the running gateway? At its admin socket. */
import { askAdmin } from '../../src/admin/ask.ts'
import type { AdminRoute } from '../../src/admin/door.ts'

/** Asks the admin socket. @throws {Error} when it refuses */
export async function askOwner<Answer>(
  stateDir: string,
  method: AdminRoute['method'],
  path: string,
  body?: object,
): Promise<Answer> {
  const answer = await askAdmin(stateDir, path, { method, body })
  if (answer.status === 200) return JSON.parse(answer.body) as Answer
  throw new Error(`the admin socket answers ${answer.status} to ${method} ${path}: ${answer.body}`)
}

/** Ends the session of somebody. */
export async function revokeSession(stateDir: string, id: string): Promise<void> {
  await askOwner(stateDir, 'DELETE', `/sessions/${id}`)
}

/** How many terminals the keeper has, of one session or of all. */
export async function terminalsOf(stateDir: string, id?: string): Promise<number> {
  const { terminals } = await askOwner<{ terminals: { session: string | null }[] }>(
    stateDir,
    'GET',
    '/terminals',
  )
  return terminals.filter(({ session }) => id === undefined || session === id).length
}
