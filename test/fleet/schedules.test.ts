/** Does the SQLite store answer as a plain model does, whatever is asked, whatever the clock does, and across restarts? */
import { join } from 'node:path'
import t from 'tap'
import { SqliteStore } from '../../src/fleet/sqlite-store.ts'
import { runSchedules } from '../helpers/limit-schedules.ts'
import { temporaryFolder } from '../helpers/process.ts'

t.test('10,000 random schedules, with restarts in between', async (t) => {
  const folder = temporaryFolder(t)
  let now = 0
  await runSchedules(t, {
    openStore: (group) => SqliteStore.open(join(folder, String(group)), { now: () => now }),
    setClock(time) {
      now = time
    },
    count: 10_000,
  })
})

t.test('1,000 random schedules in memory', async (t) => {
  let now = 0
  await runSchedules(t, {
    openStore: () => SqliteStore.inMemory({ now: () => now }),
    setClock(time) {
      now = time
    },
    lasts: false,
    count: 1000,
  })
})
