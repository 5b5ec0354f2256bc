/** Do messages that clients begin and do not end fill the keeper's memory? */
import { once } from 'node:events'
import t, { type Test } from 'tap'
import { BOUNDS } from '../../../src/terminals/keeper/terminals.ts'
import {
  areParked,
  openShell,
  startScriptedTtyd,
  startTestKeeper,
  type TestClient,
} from '../../helpers/kept-terminals.ts'
import { eventually } from '../../helpers/waiting.ts'

const MIB = 1024 * 1024

/** A keeper with an eighth of the usual bound, so that a busy machine need not move hundreds of megabytes. */
const startSmallKeeper = (t: Test, ttyd: Parameters<typeof startTestKeeper>[1]) =>
  startTestKeeper(t, ttyd, {}, { bounds: { ...BOUNDS, unfinishedBytes: 8 * MIB } })

t.test('at the common bound the largest one ends, and its terminal waits', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startSmallKeeper(t, ttyd)
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
  await begin(first, 4)
  await begin(second, 2.5)
  fourth.type('typed') // ends, and counts no more
  await begin(third, 2)
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
  const keeper = await startSmallKeeper(t, ttyd)
  const { client, shell } = await openShell(t, keeper, ttyd)
  const count = 10
  for (let i = 0; i < count; i++) {
    client.socket.send(Buffer.alloc(MIB, '0'), { fin: false })
    client.socket.ping('within')
    client.socket.send('end')
  }
  await eventually(() => shell.received.length === count, 'all of them')
  t.equal(client.closedWith(), undefined)
})

t.test('what ttyd does not read counts too, and who types is not cut off', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const tabs = ['first', 'second', 'third', 'fourth', 'fifth'].map((name) => name.padEnd(16, '-'))
  const pastes: TestClient[] = []
  for (const tab of tabs) pastes.push((await openShell(t, keeper, ttyd, { tab })).client)
  const typist = await openShell(t, keeper, ttyd, { tab: 'typist'.padEnd(16, '-') })
  for (const { socket } of ttyd.shells) socket.pause()

  const paste = Buffer.alloc(30 * MIB, '0')
  const unread: number[] = []
  for (const { socket, closedWith } of pastes) {
    const before = keeper.terminals.unreadInputBytes
    socket.send(paste)
    const isOver = () => closedWith() !== undefined || keeper.terminals.unreadInputBytes > before
    await eventually(isOver, 'it is finished, or cut off')
    unread.push(keeper.terminals.unreadInputBytes)
  }
  const cut = pastes.filter(({ closedWith }) => closedWith() !== undefined)
  t.ok(cut.length >= 1 && cut.length <= 3, `${cut.length} of 5 were cut off`)
  t.ok(Math.max(...unread) <= 64 * MIB, `${Math.max(...unread)} bytes wait`)
  t.equal(keeper.terminals.size, 6, 'no shell ended')
  typist.client.type('x')
  typist.client.socket.ping()
  await once(typist.client.socket, 'pong')
  t.equal(typist.client.closedWith(), undefined)

  for (const { socket } of ttyd.shells) socket.resume()
  const lengths = () => ttyd.shells.flatMap(({ received }) => received.map(({ length }) => length))
  await eventually(() => lengths().length === 6 - cut.length, 'the rest arrives')
  t.same(
    lengths().toSorted((a, b) => a - b),
    [2, ...Array<number>(5 - cut.length).fill(30 * MIB)],
  )
})
