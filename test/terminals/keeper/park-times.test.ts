/** How long does a terminal wait for its page? */
import t from 'tap'
import {
  areParked,
  cutOff,
  LogLines,
  openShell,
  openTerminal,
  startScriptedTtyd,
  startTestKeeper,
  TestClock,
} from '../../helpers/kept-terminals.ts'
import { eventually } from '../../helpers/waiting.ts'

const SETTINGS = { TERMINALS_PARK_SECONDS: '3600', TERMINALS_PARK_CLOSED_SECONDS: '60' }

for (const [how, seconds, close] of [
  ['went away (1001)', 60, 1001],
  ['was cut off', 3600, undefined],
  ['closed with 1000', 3600, 1000],
  ['closed without a code', 3600, 1005],
  ['closed with a code of its own', 3600, 4000],
] as const)
  t.test(`a page that ${how} is waited for for ${seconds} seconds`, async (t) => {
    const ttyd = await startScriptedTtyd(t)
    const clock = new TestClock()
    const log = new LogLines()
    const keeper = await startTestKeeper(t, ttyd, SETTINGS, { clock, log })
    const { client, shell } = await openShell(t, keeper, ttyd)
    if (close === undefined) client.socket.terminate()
    else client.socket.close(close === 1005 ? undefined : close)
    await areParked(keeper)
    t.match(log.of('terminal parked')[0], { seconds, code: close ?? 1006 })
    const [entry] = await keeper.list()
    t.equal((entry?.parkedUntil ?? 0) - (entry?.since ?? 0), seconds * 1000)
    clock.pass((seconds - 30) * 1000)
    keeper.terminals.check()
    t.equal(keeper.terminals.size, 1)
    t.notOk(shell.hasEnded())
    clock.pass(30_000)
    keeper.terminals.check()
    t.equal(keeper.terminals.size, 0)
    await eventually(() => shell.hasEnded(), 'the shell ends')
    t.same(log.endings(), ['nobody came back'])
    t.equal((await openTerminal(t, keeper.path)).arrival, 'new')
  })

t.test('who comes back in time stops the wait, and the next one is whole', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const clock = new TestClock()
  const keeper = await startTestKeeper(t, ttyd, SETTINGS, { clock })
  const { client, shell } = await openShell(t, keeper, ttyd)
  await cutOff(keeper, client)
  clock.pass(3_500_000)
  const back = await openTerminal(t, keeper.path)
  await eventually(() => back.messages.length >= 3, 'it is drawn')
  await cutOff(keeper, back)
  clock.pass(3_500_000)
  keeper.terminals.check()
  t.equal(keeper.terminals.size, 1)
  t.notOk(shell.hasEnded())
})

t.test('the machine’s clock may be set without ending a terminal', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  let shift = 0
  const clock = { elapsed: () => performance.now(), wall: () => Date.now() + shift }
  const keeper = await startTestKeeper(t, ttyd, SETTINGS, { clock })
  const { client } = await openShell(t, keeper, ttyd)
  await cutOff(keeper, client)
  for (shift of [1e12, -1e12]) {
    keeper.terminals.check()
    t.equal(keeper.terminals.size, 1)
  }
})

t.test('0 seconds end the shell with its connection', async (t) => {
  for (const [settings, close, isKept] of [
    [{ TERMINALS_PARK_SECONDS: '0' }, undefined, false],
    [{ TERMINALS_PARK_SECONDS: '0' }, 1001, true],
    [{ TERMINALS_PARK_CLOSED_SECONDS: '0' }, undefined, true],
    [{ TERMINALS_PARK_CLOSED_SECONDS: '0' }, 1001, false],
  ] as const) {
    const ttyd = await startScriptedTtyd(t)
    const log = new LogLines()
    const keeper = await startTestKeeper(t, ttyd, settings, { log })
    const { client, shell } = await openShell(t, keeper, ttyd)
    if (close === undefined) client.socket.terminate()
    else client.socket.close(close)
    if (isKept) await areParked(keeper)
    else await eventually(() => shell.hasEnded(), 'the shell ends')
    t.equal(keeper.terminals.size, isKept ? 1 : 0)
    t.same(log.endings(), isKept ? [] : ['its connection ended'])
  }
})
