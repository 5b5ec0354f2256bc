/** Which signals count as a second signal, which ends the process at once? */
import t from 'tap'
import { onStopSignals } from '../../src/process/ending.ts'

const KINDS = ['SIGTERM', 'SIGINT'] as const

/** The calls that signals cause when they come this many milliseconds after each other. */
function doneOn(signals: readonly NodeJS.Signals[], milliseconds = 0): string[] {
  const done: string[] = []
  const earlier = new Set(KINDS.flatMap((kind) => process.listeners(kind)))
  onStopSignals({ first: () => done.push('first'), second: () => done.push('second') })
  const clock = performance.now.bind(performance)
  let now = 1000
  performance.now = () => now
  for (const signal of signals) {
    for (const listener of process.listeners(signal)) if (!earlier.has(listener)) listener(signal)
    now += milliseconds
  }
  performance.now = clock
  for (const kind of KINDS)
    for (const listener of process.listeners(kind))
      if (!earlier.has(listener)) process.off(kind, listener)
  return done
}

t.test('a second signal counts as one, whichever of the two it is', async (t) => {
  t.same(doneOn(['SIGTERM']), ['first'])
  t.same(doneOn(['SIGINT']), ['first'])
  t.same(doneOn(['SIGTERM', 'SIGTERM']), ['first', 'second'])
  t.same(doneOn(['SIGTERM', 'SIGINT']), ['first', 'second'])
  t.same(doneOn(['SIGINT', 'SIGTERM']), ['first', 'second'])
  t.same(doneOn(['SIGTERM', 'SIGTERM', 'SIGTERM']), ['first', 'second', 'second'])
})

t.test('one Ctrl+C counts once, also when npm forwards it', async (t) => {
  t.same(doneOn(['SIGINT', 'SIGINT']), ['first'])
  t.same(doneOn(['SIGTERM', 'SIGINT', 'SIGINT']), ['first', 'second'])
})

t.test('two interrupts that come apart count as two', async (t) => {
  t.same(doneOn(['SIGINT', 'SIGINT'], 100), ['first', 'second'])
  const held = Array.from({ length: 5 }, () => 'SIGINT' as const)
  t.same(doneOn(held, 60), ['first', 'second', 'second'], 'a key that is held down')
})
