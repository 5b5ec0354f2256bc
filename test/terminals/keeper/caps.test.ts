/** How many terminals may there be, and which one makes room? */
import t from 'tap'
import { ERRORS } from '../../../src/answers/errors.ts'
import { BOUNDS, type TerminalBounds } from '../../../src/terminals/keeper/terminals.ts'
import {
  areParked,
  cutOff,
  LogLines,
  openShell,
  openTerminal,
  refusalOf,
  startScriptedTtyd,
  startTestKeeper,
  TestClock,
  type ScriptedShell,
  type TestClient,
} from '../../helpers/kept-terminals.ts'
import { basic } from '../../helpers/ttyd.ts'
import { eventually, until } from '../../helpers/waiting.ts'

const tab = (number: number) => `tab-${number}-0123456789abcdef`

/** A keeper with small bounds. */
async function startSmall(
  t: Parameters<typeof startTestKeeper>[0],
  bounds: Partial<TerminalBounds>,
) {
  const ttyd = await startScriptedTtyd(t)
  const [clock, log] = [new TestClock(), new LogLines()]
  const keeper = await startTestKeeper(
    t,
    ttyd,
    {},
    { clock, log, bounds: { ...BOUNDS, ...bounds } },
  )
  return { ttyd, keeper, clock, log }
}

t.test('64 in all, 16 of a session, 64 MiB', async (t) => {
  const mib64 = 67_108_864
  t.same(BOUNDS, { terminals: 64, perSession: 16, parkedBytes: mib64, unfinishedBytes: mib64 })
  t.match(ERRORS['too-many-terminals'].when, '64 terminals, or the session 16')
})

t.test('the session’s longest parked terminal makes room', async (t) => {
  const { ttyd, keeper, clock, log } = await startSmall(t, { perSession: 2 })
  const one = await openShell(t, keeper, ttyd, { tab: tab(1) })
  const two = await openShell(t, keeper, ttyd, { tab: tab(2) })
  const other = await openShell(t, keeper, ttyd, { tab: tab(1), sid: 'session-2' })
  await cutOff(keeper, other.client)
  clock.pass(1000)
  await cutOff(keeper, two.client)
  clock.pass(1000)
  await cutOff(keeper, one.client)
  const three = await openShell(t, keeper, ttyd, { tab: tab(3) })
  await eventually(() => two.shell.hasEnded(), 'the longest parked one ends')
  t.notOk(one.shell.hasEnded() || other.shell.hasEnded() || three.shell.hasEnded())
  t.same(log.endings(), ['another terminal needed its place'])
})

t.test('a full session, all attached, is refused, and ttyd is not asked', async (t) => {
  const { ttyd, keeper, log } = await startSmall(t, { perSession: 2 })
  for (const number of [1, 2]) await openShell(t, keeper, ttyd, { tab: tab(number) })
  const dials = ttyd.dials()
  const refusal = await refusalOf(keeper.path, `/terminal/ws?tab=${tab(3)}`)
  t.match(refusal, { status: 503, headers: { 'x-workspace-refusal': 'too-many-terminals' } })
  t.equal(ttyd.dials(), dials)
  t.match(log.of('too many terminals'), [{ sid: 'session-1' }])
  t.equal((await openTerminal(t, keeper.path, { tab: tab(1) })).arrival, 'taken-over')
  const { client } = await openShell(t, keeper, ttyd, { tab: tab(1), sid: 'session-2' })
  t.equal(client.arrival, 'new', 'another session has room')
})

t.test('at the cap of all sessions the longest parked of all makes room', async (t) => {
  const { ttyd, keeper, clock } = await startSmall(t, { terminals: 3 })
  const shells: ScriptedShell[] = []
  for (const sid of ['session-1', 'session-2', 'session-3']) {
    const opened = await openShell(t, keeper, ttyd, { sid })
    shells.push(opened.shell)
    if (sid !== 'session-3') await cutOff(keeper, opened.client)
    clock.pass(1000)
  }
  await openShell(t, keeper, ttyd, { sid: 'session-4' })
  await eventually(() => shells[0]?.hasEnded() === true, 'the longest parked one')
  await openShell(t, keeper, ttyd, { sid: '', tab: '' })
  await eventually(() => shells[1]?.hasEnded() === true, 'the next one')
  t.notOk(shells[2]?.hasEnded())
  t.match(await refusalOf(keeper.path, '/terminal/ws', { 'X-Workspace-Session': 'session-5' }), {
    status: 503,
  })
})

t.test('a shell that has exited makes room before one that runs', async (t) => {
  const { ttyd, keeper, clock } = await startSmall(t, { perSession: 2 })
  const one = await openShell(t, keeper, ttyd, { tab: tab(1) })
  await cutOff(keeper, one.client)
  clock.pass(1000)
  const two = await openShell(t, keeper, ttyd, { tab: tab(2) })
  await cutOff(keeper, two.client)
  two.shell.socket.terminate()
  await eventually(() => two.shell.hasEnded(), 'it exits')
  await openShell(t, keeper, ttyd, { tab: tab(3) })
  t.same(
    (await keeper.list()).map((entry) => entry.tab),
    [tab(1), tab(3)],
  )
})

t.test('who does not know ttyd’s password ends nobody’s terminal', async (t) => {
  const { ttyd, keeper } = await startSmall(t, { terminals: 1 })
  const { client, shell } = await openShell(t, keeper, ttyd)
  await cutOff(keeper, client)
  const Authorization = basic('user:wrong')
  t.equal(await refusalOf(keeper.path, `/terminal/ws?tab=${tab(2)}`, { Authorization }), 'cut')
  t.notOk(shell.hasEnded())
  await areParked(keeper)
})

t.test('a burst of handshakes does not pass the cap', async (t) => {
  const { ttyd, keeper } = await startSmall(t, { perSession: 3 })
  const answers = await Promise.all(
    Array.from({ length: 10 }, (_, i) =>
      openTerminal(t, keeper.path, { tab: tab(i) }).catch(() => undefined),
    ),
  )
  t.equal(answers.filter((client) => client !== undefined).length, 3)
  t.equal(keeper.terminals.size, 3)
  t.equal(ttyd.dials(), 3)
})

t.test('a terminal that comes back during the handshake takes the place', async (t) => {
  const { ttyd, keeper } = await startSmall(t, { terminals: 1 })
  const { client } = await openShell(t, keeper, ttyd)
  await cutOff(keeper, client)
  const answer = ttyd.holdHandshakes()
  const refusal = refusalOf(keeper.path, `/terminal/ws?tab=${tab(2)}`)
  await eventually(() => ttyd.dials() === 2, 'ttyd is asked')
  const back = await openTerminal(t, keeper.path)
  await eventually(() => back.messages.length >= 3, 'it is back')
  answer()
  t.match(await refusal, { status: 503, headers: { 'x-workspace-refusal': 'too-many-terminals' } })
  t.equal(keeper.terminals.size, 1)
  t.equal(back.closedWith(), undefined)
})

t.test(
  'a keeper that stops during the handshake does not say that there are too many',
  async (t) => {
    const { ttyd, keeper, log } = await startSmall(t, {})
    const answer = ttyd.holdHandshakes()
    const refusal = refusalOf(keeper.path, `/terminal/ws?tab=${tab(1)}`)
    await eventually(() => ttyd.dials() === 1, 'ttyd is asked')
    const closed = keeper.close()
    answer()
    t.equal(await refusal, 'cut')
    await closed
    t.same(log.of('too many terminals'), [])
    t.equal(ttyd.shells.length, 0)
  },
)

t.test('a client that leaves during the handshake leaves no terminal and no place', async (t) => {
  const { ttyd, keeper } = await startSmall(t, { terminals: 1 })
  const answer = ttyd.holdHandshakes()
  const leave = new AbortController()
  const leaving = refusalOf(keeper.path, `/terminal/ws?tab=${tab(1)}`, {}, leave.signal)
  await eventually(() => ttyd.dials() === 1, 'ttyd is asked')
  leave.abort()
  t.equal(await leaving, 'cut')
  answer()
  await until('room', async () => (await refusalOf(keeper.path, '/terminal/ws')) === 'accepted')
  await eventually(() => keeper.terminals.size === 0, 'no terminal')
  await openShell(t, keeper, ttyd)
  t.equal(keeper.terminals.size, 1)
})

t.test('parked terminals lose scrollback, then the longest parked ends', async (t) => {
  const parkedBytes = 700_000
  const { ttyd, keeper, clock, log } = await startSmall(t, { parkedBytes })
  const opened: { client: TestClient; shell: ScriptedShell }[] = []
  for (const number of [1, 2]) {
    const { client, shell } = await openShell(t, keeper, ttyd, {
      tab: tab(number),
      columns: 200,
      rows: 50,
    })
    shell.print(`${number}\r\n`.repeat(1000))
    opened.push({ client, shell })
    await cutOff(keeper, client)
    clock.pass(1000)
  }
  // Each has 1050 lines of 200 cells of 12 bytes, 2.5 MB; without scrollback 120 kB.
  await eventually(() => {
    keeper.terminals.check()
    return keeper.terminals.parkedBytes > 100_000 && keeper.terminals.parkedBytes <= parkedBytes
  }, 'they fit')
  t.equal(keeper.terminals.size, 2)
  t.same(log.endings(), [])

  // 500 kB without scrollback, which the two others leave no room for; one of them does.
  const wide = await openShell(t, keeper, ttyd, { tab: tab(3), columns: 500, rows: 80 })
  wide.shell.print('x\r\n'.repeat(200))
  await cutOff(keeper, wide.client)
  await eventually(() => {
    keeper.terminals.check()
    return keeper.terminals.size < 3
  }, 'one ends')
  await eventually(() => opened[0]?.shell.hasEnded() === true, 'the longest parked one')
  keeper.terminals.check()
  t.same(log.endings(), ['parked terminals took too much memory'])
})
