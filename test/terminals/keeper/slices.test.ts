/** Do other terminals get their turn while the output of one costs as much as it can? */
import headless from '@xterm/headless'
import t, { type Test } from 'tap'
import { loadScreens, Screen } from '../../../src/terminals/keeper/screen.ts'
import { endOfSlice } from '../../../src/terminals/keeper/slices.ts'
import { ownTurn } from '../../../src/terminals/keeper/turns.ts'

await loadScreens()

/** The slices of an output. */
function slicesOf(output: string): string[] {
  const bytes = Buffer.from(output)
  const slices: string[] = []
  for (let at = 0; at < bytes.length;) {
    const end = endOfSlice(bytes, at)
    if (end <= at) throw new Error('no progress')
    slices.push(bytes.subarray(at, end).toString())
    at = end
  }
  return slices
}

t.test('a slice has one costly sequence at most', async (t) => {
  for (const one of [
    '\x1b[9L',
    '\x1b[?1049h',
    '\u009b9S',
    '\x1bM',
    '\x1b[\n9b',
    '\x1bc',
    '\x1b[9J',
  ])
    t.same(slicesOf(one.repeat(9)), Array(9).fill(one), JSON.stringify(one))
  t.same(slicesOf('\x1b['), ['\x1b['])
  t.same(slicesOf(`\x1b[${'1;'.repeat(40)}m`.repeat(2)).length, 2, 'too long to look at')
})

t.test('text and colours are parsed in large slices', async (t) => {
  t.equal(slicesOf('x'.repeat(160_000)).length, 40)
  t.equal(slicesOf('é—â'.repeat(20_000)).length, 35, 'whatever its bytes')
  t.equal(slicesOf('\x1b[1mx\x1b[0m\x1b[K'.repeat(100)).length, 1)
})

t.test('others get their turn between sequences that move every line', async (t) => {
  const screen = new Screen({ columns: 192, rows: 512 }, 1000)
  screen.write(Buffer.from('text\r\n'.repeat(1500)), true)
  await screen.parsed()
  let [turns, isOver] = [0, false]
  const turn = () => {
    turns += 1
    if (!isOver) setImmediate(turn)
  }
  setImmediate(turn)
  screen.write(Buffer.from('\x1b[H\x1b[2147483647L'.repeat(60)), true)
  await screen.parsed()
  isOver = true
  t.ok(turns > 10, `${turns} turns`)
  screen.dispose()
})

/** Counts turns of the event loop, until the test ends. */
function loopTurns(t: Test): () => number {
  let turns = 0
  const count = () => {
    turns += 1
    next = setImmediate(count) // once in a turn
  }
  let next = setImmediate(count)
  t.teardown(() => clearImmediate(next))
  return () => turns
}

t.test('of all that wait for a turn each gets one of its own, in order', async (t) => {
  const turns = loopTurns(t)
  const order: number[] = []
  const at = new Set<number>()
  const callers = Array.from({ length: 20 }, async (_, i) => {
    await ownTurn()
    order.push(i)
    at.add(turns())
  })
  await Promise.all(callers)
  t.same(order, Array.from(order.keys()))
  t.equal(at.size, 20)
})

t.test('the work of sixteen that print at once does not add up', async (t) => {
  const screens = Array.from({ length: 16 }, () => new Screen({ columns: 80, rows: 24 }, 1000))
  const turns = loopTurns(t)
  const parsedAt = new Set<number>()
  const resizedAt = new Set<number>()
  const work = screens.map(async (screen) => {
    screen.write(Buffer.from('text\r\n'.repeat(100)), true)
    await screen.parsed()
    parsedAt.add(turns())
    await screen.resize({ columns: 100, rows: 24 })
    resizedAt.add(turns())
    screen.dispose()
  })
  await Promise.all(work)
  t.equal(parsedAt.size, 16)
  t.equal(resizedAt.size, 16)
})

t.test('of sizes that wait for the parser only the last is made', async (t) => {
  const { prototype } = headless.Terminal
  const sizes = t.capture(
    prototype,
    'resize',
    Reflect.get(prototype, 'resize') as (this: void) => void,
  )
  const screen = new Screen({ columns: 80, rows: 24 }, 1000)
  screen.write(Buffer.from('text\r\n'.repeat(1000)), true)
  const resized = Array.from({ length: 100 }, (_, i) =>
    screen.resize({ columns: 90 + i, rows: 24 }),
  )
  await Promise.all(resized)
  t.same(
    sizes().map(({ args }) => args),
    [[189, 24]],
  )
  screen.dispose()
})
