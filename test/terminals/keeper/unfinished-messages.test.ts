/** Do messages that clients begin and do not end fill the keeper's memory? */
import t from 'tap'
import {
  areParked,
  openShell,
  startScriptedTtyd,
  startTestKeeper,
} from '../../helpers/kept-terminals.ts'
import { eventually } from '../../helpers/waiting.ts'

const MIB = 1024 * 1024

t.test('at the common bound the largest one ends, and its terminal waits', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const tabs = ['first', 'second', 'third', 'fourth'].map((name) => name.padEnd(16, '-'))
  const [first, second, third, fourth] = await Promise.all(tabs.map((tab) => openTabOf(tab)))
  async function openTabOf(tab: string) {
    return (await openShell(t, keeper, ttyd, { tab })).client
  }
  if (!first || !second || !third || !fourth) throw new Error('four were opened')
  const begin = (client: typeof first, mib: number) =>
    new Promise((resolve) =>
      client.socket.send(Buffer.alloc(mib * MIB, '0'), { fin: false }, resolve),
    )
  await begin(first, 30)
  await begin(second, 20)
  fourth.type('typed') // ends, and counts no more
  await begin(third, 15)
  await eventually(() => first.closedWith() !== undefined, 'the largest ends')
  await areParked(keeper)
  second.socket.send('end')
  third.socket.send('end')
  await eventually(
    () =>
      ttyd.shells.filter(({ received }) => received.some((text) => text.endsWith('0end')))
        .length === 2,
    'the others arrive',
  )
  t.equal(fourth.closedWith(), undefined)
})

t.test('what has ended does not count, with pings in it or not', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const { client, shell } = await openShell(t, keeper, ttyd)
  const count = 10
  for (let i = 0; i < count; i++) {
    client.socket.send(Buffer.alloc(8 * MIB, '0'), { fin: false })
    client.socket.ping('within')
    client.socket.send('end')
  }
  await eventually(() => shell.received.length === count, 'all of them')
  t.equal(client.closedWith(), undefined)
})
