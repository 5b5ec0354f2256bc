/** Does the young generation stay as it is while WebSockets open, and grow at other times? */
import { mock } from 'node:test'
import { getHeapSpaceStatistics } from 'node:v8'
import t from 'tap'
import { OpeningBurst } from '../../src/sockets/opening-burst.ts'

/** Whether the young generation has grown by objects that stay. */
function grows(): boolean {
  const size = () =>
    getHeapSpaceStatistics().find(({ space_name: name }) => name === 'new_space')?.space_size ?? 0
  const before = size()
  const kept = Array.from({ length: 600_000 }, (_, i) => ({ i }))
  return kept.length > 0 && size() > before
}

t.test('it grows again when no WebSocket has opened for half a second', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  const burst = new OpeningBurst()
  for (let i = 0; i < 3; i++) {
    burst.note()
    mock.timers.tick(499)
  }
  t.notOk(grows(), 'the burst goes on')
  mock.timers.tick(1)
  t.ok(grows(), 'the burst is over')
  burst.note()
  t.notOk(grows(), 'the next one')
})
