/** Does a cache stay within its bounds, and keep nothing but its entries? */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { Remembered } from '../../src/limits/memo.ts'

t.test('a cached result is not computed again, and the cache is bounded', async (t) => {
  let computed = 0
  const lengths = new Remembered((text) => {
    computed++
    return text.length
  })
  for (const text of ['a', 'b', 'a', 'Ünïcode \ud800', 'Ünïcode \ud800'])
    t.equal(lengths.of(text), text.length)
  t.equal(computed, 3)
  t.equal(lengths.of('x'.repeat(300)), 300)
  t.equal(lengths.size, 3, 'a long text is not kept')
  for (let i = 0; i < 10_000; i++) lengths.of(`name-${i}`)
  t.ok(lengths.size <= 2000)
})

t.test('a cached name keeps nothing of the text that contained it', async (t) => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const heapMib = () => {
    collect()
    return process.memoryUsage().heapUsed / 1024 / 1024
  }
  const names = new Remembered((name) => name.length)
  const before = heapMib()
  for (let i = 0; i < 1500; i++) {
    const head = Buffer.from(`x-a-name-of-its-own-${i}: ${'v'.repeat(60_000)}`).toString('latin1')
    names.of(head.slice(0, head.indexOf(':')))
  }
  const grown = heapMib() - before
  t.equal(names.size, 1500)
  t.ok(grown < 10, `${grown.toFixed(1)} MiB more`)
})
