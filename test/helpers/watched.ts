/** Does a test leave something behind in a gateway's watchdog? It counts what is added from now on. */
import type { Watchdog, Watched } from '../../src/limits/watchdog.ts'

/** @returns how much of what was added since is still checked */
export function countWatched(watchdog: Watchdog): () => number {
  const watched = new Set<Watched>()
  const [add, remove] = [watchdog.add.bind(watchdog), watchdog.delete.bind(watchdog)]
  watchdog.add = (one) => {
    watched.add(one)
    add(one)
  }
  watchdog.delete = (one) => {
    watched.delete(one)
    remove(one)
  }
  return () => watched.size
}
