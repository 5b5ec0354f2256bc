/** Is what a person types lost or doubled, and does anything else reach the shell? */
import type { Socket } from 'node:net'
import t from 'tap'
import { FROM_CLIENT } from '../../../src/terminals/protocol.ts'
import {
  cutOff,
  openShell,
  openTerminal,
  startScriptedTtyd,
  startTestKeeper,
  TestClock,
  tokenOf,
  CREDENTIAL,
  type ScriptedShell,
} from '../../helpers/kept-terminals.ts'
import { eventually, standsStill } from '../../helpers/waiting.ts'

const typed = ({ received }: ScriptedShell) =>
  received.filter((text) => text.startsWith('0')).map((text) => text.slice(1))

t.test('input behind the first message, while the screen is drawn, is in order', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const { client, shell } = await openShell(t, keeper, ttyd)
  for (let i = 0; i < 20; i++) shell.print('x'.repeat(50_000)) // something to draw
  await cutOff(keeper, client)
  const back = await openTerminal(t, keeper.path)
  const keys = Array.from({ length: 200 }, (_, i) => `${i},`)
  for (const key of keys) back.type(key)
  await eventually(() => typed(shell).length >= keys.length, 'all of it')
  t.equal(typed(shell).join(''), keys.join(''))
})

t.test('input in the same packet as the first message is not lost', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const { client, shell } = await openShell(t, keeper, ttyd)
  await cutOff(keeper, client)
  const back = await openTerminal(t, keeper.path, { first: undefined })
  const raw = Reflect.get(back.socket, '_socket') as Socket
  raw.cork()
  back.socket.send(JSON.stringify({ AuthToken: tokenOf(CREDENTIAL), columns: 80, rows: 24 }))
  back.type('a')
  back.type('b')
  raw.uncork()
  await eventually(() => typed(shell).length === 2, 'both')
  t.same(typed(shell), ['a', 'b'])
})

t.test('over many cuts every key arrives once, in order', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  let { client, shell } = await openShell(t, keeper, ttyd)
  for (let i = 0; i < 30; i++) {
    client.type(`${i};`)
    await eventually(() => typed(shell).length === i + 1, 'it arrives')
    await cutOff(keeper, client)
    client = await openTerminal(t, keeper.path)
  }
  t.equal(typed(shell).join(''), Array.from({ length: 30 }, (_, i) => `${i};`).join(''))
})

t.test(
  'a question in what nobody saw is answered once, and not again when it is drawn',
  async (t) => {
    const ttyd = await startScriptedTtyd(t)
    const keeper = await startTestKeeper(t, ttyd)
    const { client, shell } = await openShell(t, keeper, ttyd)
    await cutOff(keeper, client)
    shell.print('\x1b[c')
    await eventually(() => shell.received.length > 0, 'the answer')
    t.same(shell.received, ['0\x1b[?1;2c'])
    for (let i = 0; i < 3; i++) {
      const back = await openTerminal(t, keeper.path)
      await eventually(() => back.messages.length >= 3, 'the screen')
      t.notOk(back.output().includes('\x1b[c'), 'the page is not asked')
      await cutOff(keeper, back)
    }
    const last = await openTerminal(t, keeper.path)
    last.type('x')
    await eventually(() => shell.received.includes('0x'), 'what is behind any other answer')
    t.same(shell.received, ['0\x1b[?1;2c', '0x'])
  },
)

t.test('a question that a client got is the client’s to answer', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const { client, shell } = await openShell(t, keeper, ttyd)
  shell.print('\x1b[c')
  await eventually(() => client.output() === '\x1b[c', 'it is asked')
  await cutOff(keeper, client)
  await eventually(() => keeper.terminals.parkedBytes > 0, 'the output is parsed')
  const back = await openTerminal(t, keeper.path)
  back.type('x')
  await eventually(() => shell.received.includes('0x'), 'what is behind any answer')
  t.same(shell.received, ['0x'])
})

t.test('a shell that reads nothing: input waits at the client, and comes whole', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const { client, shell } = await openShell(t, keeper, ttyd)
  shell.socket.pause()
  const piece = 'p'.repeat(1_000_000)
  for (let i = 0; i < 40; i++) client.type(piece)
  await standsStill(() => client.socket.bufferedAmount, 'the client’s side')
  t.ok(client.socket.bufferedAmount > 20_000_000, 'most of it waits at the client')
  client.socket.send(Buffer.of(FROM_CLIENT.pause))
  shell.socket.resume()
  await eventually(() => shell.received.length === 40, 'all of it')
  t.ok(shell.received.every((text) => text.length === piece.length + 1))
})

t.test('a client that is cut off while it is not read is noticed', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const clock = new TestClock()
  const keeper = await startTestKeeper(t, ttyd, {}, { clock })
  const { client, shell } = await openShell(t, keeper, ttyd)
  shell.socket.pause()
  for (let i = 0; i < 20; i++) client.type('p'.repeat(1_000_000))
  await standsStill(() => client.socket.bufferedAmount, 'the client’s side')
  t.ok(client.socket.bufferedAmount > 0, 'it is not read any more')
  client.socket.terminate()
  await eventually(() => {
    clock.pass(20_000) // it is probed this often
    keeper.terminals.check()
    return keeper.terminals.counts().parked === 1
  }, 'it is parked')
  t.notOk(shell.hasEnded())
})

t.test('reconnecting does not let more input in while the shell reads nothing', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  let { client, shell } = await openShell(t, keeper, ttyd)
  shell.socket.pause()
  const piece = 'p'.repeat(8_000_000)
  for (let i = 0; i < 3; i++) client.type(piece)
  await standsStill(() => client.socket.bufferedAmount, 'the client’s side')
  t.ok(client.socket.bufferedAmount > 0, 'it is not read any more')
  client.socket.terminate()
  for (let i = 0; i < 5; i++) {
    client = await openTerminal(t, keeper.path)
    for (let j = 0; j < 3; j++) client.type(piece)
    await standsStill(() => client.socket.bufferedAmount, 'the client’s side')
    t.ok(client.socket.bufferedAmount > 16_000_000, 'nothing of it is read')
    client.socket.terminate()
  }
  shell.socket.resume()
  client = await openTerminal(t, keeper.path)
  client.type('end')
  await eventually(() => shell.received.includes('0end'), 'the shell goes on')
  t.ok(shell.received.length <= 3)
})
