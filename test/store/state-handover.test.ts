/** Does one process at a time write the state while a successor takes over, and does each see what the other wrote? */
import { writeFileSync } from 'node:fs'
import { mock } from 'node:test'
import t from 'tap'
import { State } from '../../src/store/state.ts'
import { takeStateLock } from '../../src/store/state-lock.ts'
import { temporaryFolder } from '../helpers/process.ts'
import { asideIn, fileIn, openState } from '../helpers/state.ts'
import { eventually, within } from '../helpers/waiting.ts'

/** Whether a promise is settled by now. */
const isSettled = (promise: Promise<unknown>) =>
  within(
    20,
    promise.catch(() => {}),
  )

t.test(
  'the successor reads, and writes and judges only after the predecessor has closed',
  async (t) => {
    const stateDir = temporaryFolder(t)
    const old = await openState(t, stateDir)
    old.end('one')
    const next = await openState(t, stateDir, { takesOver: true })
    const heard: string[][] = []
    next.state.onOpened(() => heard.push(next.ended()))
    t.same(next.ended(), ['one'])
    t.throws(() => next.end('no'), { code: 'state-unavailable' })
    t.equal(next.endSurely('early'), false)
    old.end('two')
    t.notOk(await isSettled(next.state.ready))

    old.state.handOver()
    t.throws(() => old.end('no'), { code: 'state-unavailable' })
    t.equal(old.endSurely('late'), false)
    await next.state.takeOver()
    t.ok(await isSettled(next.state.ready))
    t.same(heard, [['early', 'one', 'two']], 'read again, with what it wanted to write before')
    next.end('three')
    t.same(next.state.condition, { health: 'ok' })
    t.same([...old.said('error'), ...next.said('error')], [])
    await next.state.takeOver()
    t.equal(heard.length, 1, 'another call does nothing')
    await t.rejects(State.openForCommand(stateDir), { name: 'StateBusyError' })
  },
)

t.test('whoever was replaced learns of what the successor writes', async (t) => {
  const stateDir = temporaryFolder(t)
  const old = await openState(t, stateDir)
  const next = await openState(t, stateDir, { takesOver: true })
  mock.timers.enable({ apis: ['setInterval'] })
  t.teardown(() => mock.timers.reset())
  old.state.handOver()
  mock.timers.tick(1000)
  await next.state.takeOver()
  mock.timers.tick(1000)
  let heard = 0
  old.state.onOpened(() => heard++)
  mock.timers.tick(1000)
  t.equal(heard, 0, 'nothing was written')
  next.end('one')
  mock.timers.tick(1000)
  t.equal(heard, 1)
  t.same(old.ended(), ['one'])
  mock.timers.tick(1000)
  t.equal(heard, 1)
  next.end('two')
  old.state.catchUp()
  t.equal(heard, 2, 'at once, when it is asked for')
  t.same(old.ended().toSorted(), ['one', 'two'])
  old.state.catchUp()
  mock.timers.tick(1000)
  t.equal(heard, 2)
  old.state.close()
  next.end('three')
  old.state.catchUp()
  mock.timers.tick(2000)
  t.equal(heard, 2)
})

t.test(
  'when another process has the state, the successor goes on with what it can read',
  async (t) => {
    const stateDir = temporaryFolder(t)
    const old = await openState(t, stateDir)
    const next = await openState(t, stateDir, { takesOver: true })
    old.end('one')
    old.state.handOver()
    const lock = takeStateLock(stateDir)
    await next.state.takeOver() // after two seconds
    t.same(next.ended(), ['one'])
    t.throws(() => next.end('two'), { code: 'state-unavailable' })
    t.match(next.said('error'), [/^state not written/])
    await next.state.ready
    lock?.release()
    await eventually(() => next.state.condition.health === 'ok', 'it is tried again')
    next.end('two')
  },
)

t.test(
  'a successor that is closed before it takes over decides nothing and has no lock',
  async (t) => {
    const stateDir = temporaryFolder(t)
    const old = await openState(t, stateDir)
    for (const begin of [() => {}, (state: State) => void state.takeOver()]) {
      const next = await openState(t, stateDir, { takesOver: true })
      begin(next.state)
      next.state.close()
      await t.rejects(next.state.ready, { code: 'state-unavailable' })
      await next.state.takeOver()
      t.throws(() => next.end('no'), { code: 'state-unavailable' })
    }
    old.state.close()
    t.ok((await openState(t, stateDir)).state.condition.health, 'ok')
  },
)

t.test('a predecessor that kept no state, or a damaged one, is taken over too', async (t) => {
  const fresh = temporaryFolder(t)
  const first = await openState(t, fresh, { takesOver: true })
  t.same(first.ended(), [])
  await first.state.takeOver()
  first.end('one')
  first.state.close()

  writeFileSync(fileIn(fresh), 'x'.repeat(5000))
  const second = await openState(t, fresh, { takesOver: true })
  t.match(second.said('warn'), ['state of the predecessor not read'])
  t.same(asideIn(fresh), [], 'it is not the successor’s yet')
  await second.state.takeOver()
  t.equal(second.state.condition.health, 'damaged')
  t.ok(second.watermark())

  second.state.handOver()
  const third = await openState(t, fresh, { takesOver: true })
  await third.state.takeOver()
  t.equal(third.state.condition.health, 'damaged', 'a hot restart is no start')
})
