/** When is an entry suspended? */
import t from 'tap'
import { Reflections, REFLECTIONS_MS } from '../../../src/vault/forward/reflections.ts'
import { entryOf } from '../../helpers/vault-entry.ts'

const start = () => {
  const clock = { now: 0 }
  const suspended: string[] = []
  const reflections = new Reflections({
    now: () => clock.now,
    suspend: ({ id }) => void suspended.push(id),
  })
  return { clock, suspended, note: (id = 'a') => reflections.note({ ...entryOf(), id }) }
}

t.test('the third answer with the credential within ten minutes suspends the entry', async (t) => {
  const { clock, suspended, note } = start()
  note()
  clock.now = REFLECTIONS_MS - 2
  note()
  t.same(suspended, [])
  clock.now = REFLECTIONS_MS - 1
  note()
  t.same(suspended, ['a'])
  note()
  t.same(suspended, ['a'], 'it is counted anew from then on')
})

t.test('answers of other entries, and those long ago, do not count', async (t) => {
  const { clock, suspended, note } = start()
  note()
  note('b')
  note('b')
  clock.now = REFLECTIONS_MS
  note()
  note()
  t.same(suspended, [])
})
