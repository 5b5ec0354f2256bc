/** What happens when the state cannot be written: what is refused, what waits, and what comes of it in the end? */
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { mock } from 'node:test'
import t from 'tap'
import { putEnding } from '../../src/store/session-rows.ts'
import { State } from '../../src/store/state.ts'
import { temporaryFolder } from '../helpers/process.ts'
import { asideIn, FAR, fileIn, idsIn, openState } from '../helpers/state.ts'

/** Makes the disk of a state full, as far as SQLite knows: it may not add a page. @returns gives the space back */
function fill(state: State): () => void {
  const limit = (pages: number) =>
    state.read((database) => database.prepare(`PRAGMA max_page_count = ${pages}`).get())
  limit(1) // as many as there are
  return () => void limit(1_000_000)
}

/** More than fits into the pages that there are. */
const LONG = 'x'.repeat(20_000)

t.test('with a full disk, what must be saved is refused, and the rest waits', async (t) => {
  const stateDir = temporaryFolder(t)
  mock.timers.enable({ apis: ['setTimeout', 'setInterval'] })
  t.teardown(() => mock.timers.reset())
  const { state, end, endSurely, ended, said } = await openState(t, stateDir)
  end('before')
  const free = fill(state)
  t.throws(() => end(LONG), { code: 'state-unavailable' })
  t.same(ended(), ['before'], 'nothing of it was written')
  t.same(said('error'), [], 'whoever asked was told')

  t.equal(endSurely(LONG), false)
  t.equal(endSurely('small'), false, 'later changes do not overtake it')
  t.same(ended(), ['before'])
  t.same(state.condition, { health: 'unsaved' })
  mock.timers.tick(5000)
  mock.timers.tick(5000)
  t.match(said('error'), [/^state not written/], 'once')

  free()
  mock.timers.tick(5000)
  t.same(ended().toSorted(), ['before', 'small', LONG].toSorted())
  t.same(said('info'), ['state written again'])
  t.same(state.condition, { health: 'ok' })
  t.equal(endSurely('after'), true)
  mock.timers.tick(60_000)
  t.same(said('info'), ['state written again'])

  fill(state)
  t.equal(endSurely(`${LONG}2`), false)
  t.equal(said('error').length, 2, 'the next time it is said again')
})

t.test('what waits is written before what comes later, in its order', async (t) => {
  const { state, ended } = await openState(t, temporaryFolder(t))
  const free = fill(state)
  state.writeSurely((database) => putEnding(database, LONG, 'revoked', FAR))
  state.writeSurely((database) => void database.prepare('DELETE FROM endings').run())
  free()
  state.write((database) => putEnding(database, 'last', 'revoked', FAR))
  t.same(ended(), ['last'])
})

t.test('what waits at the end is written by the end', async (t) => {
  const stateDir = temporaryFolder(t)
  const first = await openState(t, stateDir)
  const free = fill(first.state)
  first.endSurely(LONG)
  free()
  first.state.close()
  t.same((await openState(t, stateDir)).ended(), [LONG])
})

t.test('a change that can never be made does not hold up the others', async (t) => {
  const { state, end, ended, said } = await openState(t, temporaryFolder(t))
  t.equal(
    state.writeSurely((database) => {
      putEnding(database, 'half', 'revoked', FAR)
      putEnding(database, 'not a number', 'revoked', Number.NaN)
    }),
    false,
  )
  end('next')
  t.same(ended(), ['next'])
  t.match(said('error'), [/^state not written/, 'change of the state given up'])
  t.same(state.condition, { health: 'ok' })
})

t.test('what waits is bounded', async (t) => {
  const { state, endSurely, ended, end } = await openState(t, temporaryFolder(t))
  const free = fill(state)
  endSurely(LONG)
  for (let i = 0; i < 10_001; i++) state.writeSurely(() => {})
  free()
  end('last')
  t.same(ended(), ['last'], 'the oldest was given up')
})

t.test('the changes of each minute are made each minute and at the end', async (t) => {
  mock.timers.enable({ apis: ['setTimeout', 'setInterval'] })
  t.teardown(() => mock.timers.reset())
  const { state } = await openState(t, temporaryFolder(t))
  let made = 0
  state.everyMinute(() => made++)
  mock.timers.tick(59_999)
  t.equal(made, 0)
  mock.timers.tick(1)
  t.equal(made, 1)
  mock.timers.tick(60_000)
  t.equal(made, 2)
  state.close()
  t.equal(made, 3)
  mock.timers.tick(120_000)
  t.equal(made, 3)
})

t.test('without a folder the gateway goes on, keeps nothing, and touches nothing', async (t) => {
  mock.timers.enable({ apis: ['setTimeout', 'setInterval'] })
  t.teardown(() => mock.timers.reset())
  const stateDir = temporaryFolder(t) // another user’s
  const { state, end, endSurely, ended } = await openState(t, stateDir, { isUsable: false })
  t.throws(() => end('one'), { code: 'state-unavailable' })
  t.equal(endSurely('two'), false)
  t.same(ended(), [])
  t.same(state.condition, { health: 'unavailable' })
  await state.ready
  mock.timers.tick(60_000)
  state.handOver()
  t.same(readdirSync(stateDir), [])
})

t.test('a state that cannot be opened is opened as soon as it can', async (t) => {
  mock.timers.enable({ apis: ['setTimeout', 'setInterval'] })
  t.teardown(() => mock.timers.reset())
  const stateDir = temporaryFolder(t)
  mkdirSync(`${stateDir}/state.lock`)
  const { state, end, endSurely, ended, said, watermark } = await openState(t, stateDir)
  t.match(said('error'), [/^state not written/])
  t.equal(watermark(), undefined, 'there was none that could have been lost')
  t.throws(() => end('one'), { code: 'state-unavailable' })
  t.equal(endSurely('two'), false)
  let opened = 0
  state.onOpened(() => {
    opened++
    t.same(ended(), ['two'], 'what waited is there when the state is read again')
  })
  mock.timers.tick(5000)
  t.equal(opened, 0)
  rmSync(`${stateDir}/state.lock`, { recursive: true })
  mock.timers.tick(5000)
  t.equal(opened, 1)
  t.same(state.condition, { health: 'ok' })
  end('three')
})

t.test('a state that cannot be written is still read, whatever its disk refuses', async (t) => {
  const stateDir = temporaryFolder(t)
  const first = await openState(t, stateDir)
  first.end('clean')
  first.state.close()
  mkdirSync(`${fileIn(stateDir)}-shm`) // no shared memory, as on a disk without space
  const second = await openState(t, stateDir)
  t.same(second.state.condition, { health: 'unavailable' })
  t.same(second.ended(), ['clean'])
  t.equal(second.watermark(), undefined, 'nobody is signed out')
  t.same(asideIn(stateDir), [])
  second.state.close()

  rmSync(`${fileIn(stateDir)}-shm`, { recursive: true })
  rmSync(`${stateDir}/state.lock`)
  mkdirSync(`${stateDir}/state.lock`)
  t.same((await openState(t, stateDir)).ended(), ['clean'])
})

t.test('a state that is there and cannot be read signs everybody out', async (t) => {
  const stateDir = temporaryFolder(t)
  writeFileSync(fileIn(stateDir), 'x'.repeat(5000), { mode: 0o600 })
  mkdirSync(`${stateDir}/state.lock`)
  const { state, watermark } = await openState(t, stateDir)
  t.same(state.condition, { health: 'unavailable' })
  t.ok(watermark())
})

t.test('a state in memory takes everything and keeps nothing', async (t) => {
  const state = State.inMemory()
  state.write((database) => putEnding(database, 'one', 'revoked', FAR))
  t.same(idsIn(state), ['one'])
  t.same(state.condition, { health: 'in-memory' })
  await state.ready
  state.close()
  state.close()
  t.equal(
    state.read(() => 1),
    undefined,
  )
  t.throws(() => state.write(() => {}), { code: 'state-unavailable' })
  t.equal(
    state.writeSurely(() => {}),
    false,
  )
})
