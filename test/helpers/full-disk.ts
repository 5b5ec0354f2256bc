/** How does a test fill the disk under the state file? It makes writes fail as SQLite does when no page can be added. */
import { GatewayError } from '../../src/answers/errors.ts'
import type { State } from '../../src/store/state.ts'

/** Makes every write of a state fail. @returns a function that frees the disk */
export function breakWrites(state: State): () => void {
  const write = state.write.bind(state)
  state.write = () => {
    throw new GatewayError('state-unavailable', { reason: 'the disk is full' })
  }
  return () => {
    state.write = write
  }
}
