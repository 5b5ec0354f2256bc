/** Does a shell survive its connection, and does only its owner get it back? */
import t from 'tap'
import {
  cutOff,
  openShell,
  openTerminal,
  startScriptedTtyd,
  startTestKeeper,
  TAB,
} from '../../helpers/kept-terminals.ts'
import { eventually } from '../../helpers/waiting.ts'

t.test('a connection that was cut gets the same shell back, with its screen', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const first = await openTerminal(t, keeper.path)
  t.equal(first.arrival, 'new')
  const shell = await ttyd.shell(0)
  shell.print('hello\r\n')
  await eventually(() => first.output().includes('hello'), 'the output')
  first.socket.terminate()
  await eventually(() => keeper.terminals.counts().parked === 1, 'it is parked')
  shell.print('meanwhile\r\n')
  const second = await openTerminal(t, keeper.path)
  t.equal(second.arrival, 'back')
  await eventually(() => second.output().includes('meanwhile'), 'the screen')
  t.ok(second.output().endsWith('hello\r\nmeanwhile\r\n'))
  t.same(second.messages.slice(0, 2), ['1sh (houston)', '2{ }'])
  second.type('ls\r')
  await eventually(() => shell.received.includes('0ls\r'), 'input reaches the same shell')
  t.equal(ttyd.shells.length, 1)
})

t.test('characters are as wide as the page was told', async (t) => {
  for (const [preferences, column] of [
    ['2{}', 3],
    ['2{"unicodeVersion":"6"}', 2],
  ] as const) {
    const ttyd = await startScriptedTtyd(t)
    const keeper = await startTestKeeper(t, ttyd)
    const { client, shell } = await openShell(t, keeper, ttyd)
    shell.socket.send(Buffer.from(preferences))
    shell.print('👩\x1b[mb\x1b[D')
    await eventually(() => client.output().includes('b'), 'the output')
    await cutOff(keeper, client)
    const back = await openTerminal(t, keeper.path)
    await eventually(() => back.output() !== '', 'the screen')
    t.match(back.output(), `\x1b[1;${column}H`)
  }
})

t.test('nobody else gets it', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const first = await openTerminal(t, keeper.path)
  ;(await ttyd.shell(0)).print('secret')
  await eventually(() => first.output().includes('secret'), 'the output')
  first.socket.terminate()
  await eventually(() => keeper.terminals.counts().parked === 1, 'it is parked')
  const others = [{ sid: 'session-2' }, { sub: 'mallory' }, { tab: `${TAB}x` }, { sid: '' }]
  for (const [i, other] of others.entries()) {
    const client = await openTerminal(t, keeper.path, other)
    t.equal(client.arrival, 'new')
    ;(await ttyd.shell(i + 1)).print('other')
    await eventually(() => client.output().includes('other'), 'a shell of its own')
    t.notMatch(client.output(), /secret/)
  }
  const guess = await openTerminal(t, keeper.path, { token: 'guess' })
  await eventually(() => guess.closedWith() !== undefined, 'a wrong token is refused')
  t.equal(guess.closedWith(), 1008)
  t.notMatch(guess.output(), /secret/)
  await t.rejects(openTerminal(t, keeper.path, { credential: 'user:wrong' }))
  t.equal((await openTerminal(t, keeper.path)).arrival, 'back')
})
