/** Is everything under way checked, and nothing that has ended? */
import { mock } from 'node:test'
import t from 'tap'
import { Watchdog, type Watched } from '../../src/limits/watchdog.ts'

/** A watchdog, and a step of its clock. */
function startWatchdog() {
  mock.timers.enable({ apis: ['setInterval'] })
  const watchdog = new Watchdog(() => {})
  return { watchdog, step: () => mock.timers.tick(500) }
}

/** Something under way that counts how often it was looked at. */
function something(onCheck: () => void = () => {}): Watched & { checks: number } {
  const one = {
    place: -1,
    checks: 0,
    check() {
      one.checks++
      onCheck()
    },
  }
  return one
}

t.afterEach(() => mock.timers.reset())

t.test('everything under way is checked twice a second, and nothing that has ended', async (t) => {
  const { watchdog, step } = startWatchdog()
  const all = Array.from({ length: 7 }, () => something())
  for (const one of all) watchdog.add(one)
  step()
  t.same(
    all.map(({ checks }) => checks),
    [1, 1, 1, 1, 1, 1, 1],
  )
  // One in the middle, the last, the first, one twice, and one that was never there.
  for (const i of [3, 6, 0, 3]) watchdog.delete(all[i] ?? something())
  watchdog.delete(something())
  step()
  t.same(
    all.map(({ checks }) => checks),
    [1, 2, 2, 1, 2, 2, 1],
  )
  for (const one of all) watchdog.delete(one)
  step()
  t.same(
    all.map(({ checks }) => checks),
    [1, 2, 2, 1, 2, 2, 1],
  )
  t.same(
    all.map(({ place }) => place),
    all.map(() => -1),
  )
  watchdog.close()
})

t.test('an object that leaves during its check does not hide another', async (t) => {
  const { watchdog, step } = startWatchdog()
  const leaving: Watched[] = Array.from({ length: 5 }, () => {
    const one: Watched = something(() => watchdog.delete(one))
    return one
  })
  const staying = Array.from({ length: 5 }, () => something())
  for (const [i, one] of leaving.entries()) {
    watchdog.add(one)
    watchdog.add(staying[i] ?? something())
  }
  step()
  t.same(
    staying.map(({ checks }) => checks),
    [1, 1, 1, 1, 1],
  )
  step()
  t.same(
    staying.map(({ checks }) => checks),
    [2, 2, 2, 2, 2],
  )
  t.ok(leaving.every(({ place }) => place === -1))
  watchdog.close()
})

t.test('a closed watchdog checks nothing', async (t) => {
  const { watchdog, step } = startWatchdog()
  const one = something()
  watchdog.add(one)
  watchdog.close()
  step()
  t.equal(one.checks, 0)
})

t.test('a check that throws does not prevent the others, and is reported once', async (t) => {
  mock.timers.enable({ apis: ['setInterval'] })
  const errors: unknown[] = []
  const watchdog = new Watchdog((error) => errors.push(error))
  const fault = new Error('a fault of ours')
  const bad = () =>
    something(() => {
      throw fault
    })
  const good = [something(), something(), something()]
  for (const one of [good[0], bad(), good[1], bad(), good[2]]) if (one) watchdog.add(one)
  mock.timers.tick(500)
  mock.timers.tick(500)
  t.same(
    good.map(({ checks }) => checks),
    [2, 2, 2],
  )
  t.same(errors, [fault, fault], 'once for each of the two')
  watchdog.close()
})
