/** Does the young generation stay as it is while WebSockets open, and grow at other times? */
import t from 'tap'
import { OpeningBurst } from '../../src/sockets/opening-burst.ts'

t.test('it may grow again when no WebSocket has opened for half a second', async (t) => {
  const said: boolean[] = []
  const timer = { ms: 0, starts: 0, end: () => {} }
  const fake = {
    unref: () => fake,
    refresh: () => void timer.starts++,
  }
  t.intercept(globalThis, 'setTimeout', {
    value: (end: () => void, ms: number) => {
      Object.assign(timer, { end, ms, starts: timer.starts + 1 })
      return fake
    },
  })
  const burst = new OpeningBurst((mayGrow) => said.push(mayGrow))
  for (let i = 0; i < 3; i++) burst.note()
  t.same(said, [false], 'the burst goes on')
  t.match(timer, { ms: 500, starts: 3 }, 'and each WebSocket makes it longer')
  timer.end()
  t.same(said, [false, true], 'the burst is over')
  burst.note()
  t.same(said, [false, true, false], 'the next one')
})
