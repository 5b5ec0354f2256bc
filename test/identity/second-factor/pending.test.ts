/** Is what was begun bounded in number, and does nobody else get it? */
import t from 'tap'
import { Pending } from '../../../src/identity/second-factor/pending.ts'

const owner = (sessionId: string, subject = 'alice') => ({ subject, sessionId })

t.test('an entry counts once, for its owner, in its time', async (t) => {
  let now = 0
  const table = new Pending(1000, () => now)
  table.add('a', owner('s1'))
  t.equal(table.take('a', owner('s2')), undefined)
  t.equal(table.take('a', owner('s1', 'bob')), undefined)
  t.ok(table.find('a', owner('s1')))
  t.ok(table.take('a', owner('s1')))
  t.equal(table.take('a', owner('s1')), undefined)
  table.add('b', owner('s1'))
  now = 1000
  t.equal(table.take('b', owner('s1')), undefined)
  table.add('c', owner('s1'))
  t.equal(table.size, 1, 'what is over is gone with the next one')
  table.forget('alice')
  t.equal(table.size, 0)
})

t.test('a session displaces its own entries first, and the table is bounded', async (t) => {
  const table = new Pending(1000, () => 0)
  table.add('first', owner('other'))
  for (let i = 0; i < 100; i++) table.add(`own ${i}`, owner('greedy'))
  t.equal(table.size, 9)
  t.ok(table.find('first', owner('other')))
  for (let i = 0; i < 10_100; i++) table.add(`of ${i}`, owner(`session ${i}`))
  t.equal(table.size, 10_000)
  t.equal(table.find('first', owner('other')), undefined, 'the oldest gave way')
})
