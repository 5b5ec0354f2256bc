/** What happens when a shell exits, or ttyd ends? */
import t from 'tap'
import {
  cutOff,
  LogLines,
  openShell,
  openTerminal,
  pause,
  startScriptedTtyd,
  startTestKeeper,
  TestClock,
} from '../../helpers/kept-terminals.ts'
import { eventually, until } from '../../helpers/waiting.ts'

const NOTE = 'This shell ended while you were away.'

t.test('a shell that exits closes its client with 1000, however ttyd says so', async (t) => {
  for (const end of ['cut', 1000, 1001, 1006, 1008, 1011, 1012, 3000, 4999] as const) {
    const ttyd = await startScriptedTtyd(t)
    const log = new LogLines()
    const keeper = await startTestKeeper(t, ttyd, {}, { log })
    const { client, shell } = await openShell(t, keeper, ttyd)
    shell.print('bye')
    if (end === 'cut' || end === 1006) shell.socket.terminate() // what ttyd does
    else shell.socket.close(end)
    await eventually(() => client.closedWith() !== undefined, 'the close')
    t.equal(client.closedWith(), 1000, String(end))
    t.equal(client.output(), 'bye')
    await eventually(() => keeper.terminals.size === 0, 'it is forgotten')
    t.same(log.endings(), ['the shell ended'])
    t.equal((await openTerminal(t, keeper.path)).arrival, 'new')
  }
})

t.test('ttyd’s refusal of the token passes as it is', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const client = await openTerminal(t, keeper.path, { token: 'wrong' })
  await eventually(() => client.closedWith() !== undefined, 'the close')
  t.equal(client.closedWith(), 1008)
  t.same(client.messages, [])
  await eventually(() => keeper.terminals.size === 0, 'it is not kept')
})

t.test('a shell that exits while parked leaves its last screen and a note', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const clock = new TestClock()
  const log = new LogLines()
  const keeper = await startTestKeeper(t, ttyd, { TERMINALS_PARK_SECONDS: '3600' }, { clock, log })
  const { client, shell } = await openShell(t, keeper, ttyd)
  await cutOff(keeper, client)
  shell.print('the build is done\r\n')
  shell.socket.terminate()
  await eventually(() => log.of('shell ended while parked').length === 1, 'it is noticed')
  t.same(
    (await keeper.list()).map(({ state }) => state),
    ['exited'],
  )
  clock.pass(3_000_000)
  keeper.terminals.check()
  const back = await openTerminal(t, keeper.path)
  t.equal(back.arrival, 'back')
  await eventually(() => back.closedWith() !== undefined, 'the close')
  t.equal(back.closedWith(), 1000)
  t.match(back.output(), new RegExp(`the build is done[^]*${NOTE}\r\n$`))
  await eventually(() => keeper.terminals.size === 0, 'it was seen')
  t.equal((await openTerminal(t, keeper.path)).arrival, 'new')
})

t.test('nobody comes back to a shell that has exited: its screen goes in time', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const clock = new TestClock()
  const keeper = await startTestKeeper(t, ttyd, { TERMINALS_PARK_SECONDS: '60' }, { clock })
  const { client, shell } = await openShell(t, keeper, ttyd)
  await cutOff(keeper, client)
  shell.socket.terminate()
  await eventually(() => shell.hasEnded(), 'the shell')
  clock.pass(60_000)
  keeper.terminals.check()
  t.equal(keeper.terminals.size, 0)
})

t.test('a client that is cut off before it has read the end gets it when it is back', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const { client, shell } = await openShell(t, keeper, ttyd)
  client.socket.pause() // as behind a tunnel that is gone, and nobody has noticed
  shell.print('the last words')
  shell.socket.terminate()
  await eventually(() => shell.hasEnded(), 'the shell')
  await cutOff(keeper, client)
  t.same(
    (await keeper.list()).map(({ state }) => state),
    ['exited'],
  )
  const back = await openTerminal(t, keeper.path)
  await eventually(() => back.closedWith() === 1000, 'the close')
  t.match(back.output(), /the last words/)
})

t.test('a client that has asked for a pause gets the rest all the same', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const { client, shell } = await openShell(t, keeper, ttyd)
  await pause(client, shell)
  shell.print('the last words')
  shell.socket.terminate()
  await eventually(() => client.closedWith() === 1000, 'the close')
  t.equal(client.output(), 'the last words')
})

t.test('a client that has fallen behind gets the last screen', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const { client, shell } = await openShell(t, keeper, ttyd)
  await pause(client, shell)
  for (let i = 0; i < 40; i++) shell.print(`${'y'.repeat(79)}\r\n`.repeat(800))
  shell.print('the last words')
  shell.socket.close()
  await eventually(() => client.closedWith() === 1000, 'the close')
  t.match(client.output(), /the last words$/)
  t.ok(client.output().length < 1_500_000, 'the screen, and not the backlog')
})

t.test('ttyd ends: every shell has exited, and the next one is new', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const one = await openShell(t, keeper, ttyd, { tab: 'tab-1-0123456789abcdef' })
  const two = await openShell(t, keeper, ttyd, { tab: 'tab-2-0123456789abcdef' })
  await cutOff(keeper, two.client)
  for (const { shell } of [one, two]) shell.socket.terminate()
  await eventually(() => one.client.closedWith() === 1000, 'the attached one')
  const states = async () => (await keeper.list()).map(({ state }) => state)
  await until('both are noticed', async () => (await states()).every((state) => state === 'exited'))
  t.same(await states(), ['exited'])
})
