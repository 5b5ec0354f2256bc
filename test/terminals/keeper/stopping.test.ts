/** How long may clients and ttyd keep the keeper from stopping? */
import { mock } from 'node:test'
import t from 'tap'
import { openShell, startScriptedTtyd, startTestKeeper } from '../../helpers/kept-terminals.ts'
import { eventually, standsStill } from '../../helpers/waiting.ts'

t.test('a client that does not answer the close frame has one second', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const deaf = await openShell(t, keeper, ttyd)
  const prompt = await openShell(t, keeper, ttyd, { tab: 'another'.padEnd(16, '-') })
  deaf.client.socket.pause()
  deaf.shell.socket.pause() // and neither does ttyd
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  let isClosed = false
  const closed = keeper.close().then(() => (isClosed = true))
  await eventually(() => prompt.client.closedWith() === 1012, 'the other one is told')
  await eventually(() => prompt.shell.hasEnded(), 'its shell ends')
  mock.timers.tick(999)
  await standsStill(() => Number(isClosed), 'it')
  t.notOk(isClosed)
  mock.timers.tick(1)
  await closed
  t.equal(keeper.terminals.size, 0)
})
