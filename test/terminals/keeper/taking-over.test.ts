/** What happens when two pages want the same terminal? The newer one has it. */
import t from 'tap'
import {
  openShell,
  openTerminal,
  startScriptedTtyd,
  startTestKeeper,
  type TestClient,
} from '../../helpers/kept-terminals.ts'
import { eventually } from '../../helpers/waiting.ts'

t.test('the older client is closed with 1000, and the shell has one client', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const { client: older, shell } = await openShell(t, keeper, ttyd)
  shell.print('before\r\n')
  await eventually(() => older.output().includes('before'), 'the output')
  const newer = await openTerminal(t, keeper.path)
  t.equal(newer.arrival, 'taken-over')
  await eventually(() => older.closedWith() !== undefined, 'the older one')
  t.equal(older.closedWith(), 1000)
  await eventually(() => newer.output().includes('before'), 'the screen')
  shell.print('after')
  await eventually(() => newer.output().endsWith('after'), 'what follows')
  t.equal(older.output(), 'before\r\n')
  t.equal(keeper.terminals.size, 1)
  t.match(keeper.terminals.counts(), { attached: 1, parked: 0 })
  t.equal(ttyd.shells.length, 1)
})

t.test('what the older client still types is not the shell’s', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const { client: older, shell } = await openShell(t, keeper, ttyd)
  older.socket.pause() // it does not read the close
  const newer = await openTerminal(t, keeper.path)
  await eventually(() => newer.messages.length >= 3, 'it has the terminal')
  older.type('old')
  newer.type('new')
  await eventually(() => shell.received.includes('0new'), 'the newer one’s input')
  older.socket.resume()
  await eventually(() => older.closedWith() === 1000, 'the close')
  newer.type('still new')
  await eventually(
    () => shell.received.includes('0still new'),
    'the older one’s end changes nothing',
  )
  t.same(shell.received, ['0new', '0still new'])
  t.match(keeper.terminals.counts(), { attached: 1, parked: 0 })
})

t.test('many at once: the last one has it, the others are closed with 1000', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const { client, shell } = await openShell(t, keeper, ttyd)
  const clients: TestClient[] = [client]
  clients.push(
    ...(await Promise.all(Array.from({ length: 12 }, () => openTerminal(t, keeper.path)))),
  )
  const open = () => clients.filter((one) => one.closedWith() === undefined)
  await eventually(() => open().length === 1, 'one is left')
  const [winner] = open()
  t.equal(clients.filter((one) => one.closedWith() === 1000).length, clients.length - 1)
  winner?.type('here')
  await eventually(() => shell.received.includes('0here'), 'it has the shell')
  t.equal(keeper.terminals.size, 1)
})
