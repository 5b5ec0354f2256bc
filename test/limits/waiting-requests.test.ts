/** Do requests that wait, and those that were parsed in vain, count as long as they should? */
import t from 'tap'
import { MAX_WAITING_IN_ALL, WaitingRequests } from '../../src/limits/waiting-requests.ts'

t.test(
  'more requests than the limit are too many, until enough of them are handed on',
  async (t) => {
    const waiting = new WaitingRequests()
    waiting.count(MAX_WAITING_IN_ALL)
    t.notOk(waiting.areTooMany)
    waiting.count(1)
    t.ok(waiting.areTooMany)
    waiting.count(-1)
    t.notOk(waiting.areTooMany)
  },
)

t.test('requests of a connection that ended count for a second', async (t) => {
  let now = 5000
  const waiting = new WaitingRequests(() => now)
  waiting.count(MAX_WAITING_IN_ALL)
  waiting.waste(MAX_WAITING_IN_ALL)
  waiting.count(1)
  t.ok(waiting.areTooMany)
  now += 999
  t.ok(waiting.areTooMany)
  now += 1
  t.notOk(waiting.areTooMany)
})

t.test('the clock is read only when too many requests seem to wait', async (t) => {
  let reads = 0
  const waiting = new WaitingRequests(() => reads++)
  for (let i = 0; i < MAX_WAITING_IN_ALL; i++) {
    waiting.count(1)
    t.notOk(waiting.areTooMany)
  }
  t.equal(reads, 0)
})
