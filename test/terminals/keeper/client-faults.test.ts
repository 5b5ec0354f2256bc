/** What can a client do to the keeper? It sends garbage, too much, too little, or twice; its own connection ends at most. */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import * as fc from 'fast-check'
import t from 'tap'
import {
  areParked,
  CREDENTIAL,
  openShell,
  openTerminal,
  startScriptedTtyd,
  startTestKeeper,
  TestClock,
  tokenOf,
  type TestClient,
} from '../../helpers/kept-terminals.ts'
import { eventually, watchForCrashes } from '../../helpers/waiting.ts'

const crashes = watchForCrashes()
const MIB = 1024 * 1024
const FIRST = JSON.stringify({ AuthToken: tokenOf(CREDENTIAL), columns: 80, rows: 24 })

/** The TCP side of a client, for bytes that no WebSocket sends. */
const rawOf = ({ socket }: TestClient) => Reflect.get(socket, '_socket') as Socket

t.test('bytes that are no frames end the connection, and the terminal waits', async (t) => {
  for (const bytes of [
    randomBytes(1000),
    Buffer.alloc(1000, 0xff),
    Buffer.from([0x82, 0x01, 0x30]), // not masked
    Buffer.from([0xc2, 0x81, 0, 0, 0, 0, 0x30]), // compressed, which was not agreed
    Buffer.from([0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]), // 4 GiB
    Buffer.from([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xed]), // 1005, which no frame may have
    Buffer.from('GET / HTTP/1.1\r\n\r\n'),
  ]) {
    const ttyd = await startScriptedTtyd(t)
    const keeper = await startTestKeeper(t, ttyd)
    const { client, shell } = await openShell(t, keeper, ttyd)
    rawOf(client).write(bytes)
    await eventually(() => client.closedWith() !== undefined, bytes.subarray(0, 8).toString('hex'))
    await areParked(keeper)
    t.notOk(shell.hasEnded())
    const back = await openTerminal(t, keeper.path)
    back.type('x')
    await eventually(() => shell.received.includes('0x'), 'the same shell')
  }
  t.same(crashes, [])
})

t.test(
  'a message of 16 MiB reaches the shell, one that is too large ends the connection',
  async (t) => {
    const ttyd = await startScriptedTtyd(t)
    const keeper = await startTestKeeper(t, ttyd)
    const { client, shell } = await openShell(t, keeper, ttyd)
    const large = 'x'.repeat(16 * MIB)
    client.type(large)
    await eventually(() => shell.received.length === 1, 'it arrives')
    t.ok(shell.received[0] === `0${large}`)
    client.type('x'.repeat(40 * MIB))
    await eventually(() => client.closedWith() !== undefined, 'it is too much')
    t.equal(client.closedWith(), 1009)
    await areParked(keeper)
    t.equal(shell.received.length, 1)
  },
)

t.test('messages that ttyd’s page never sends are ttyd’s to judge, in order', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const { client, shell } = await openShell(t, keeper, ttyd)
  const odd = ['9unknown', '', '{', FIRST, '{"AuthToken":"other"}', '1x', '[]', '0', ' ']
  for (const message of odd) client.socket.send(message)
  client.socket.send('0fra', { fin: false })
  client.socket.send('gments')
  await eventually(() => shell.received.length === odd.length + 1, 'all of them')
  t.same(shell.received, [...odd, '0fragments'])
})

t.test('a second first message changes neither token nor size', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const { client } = await openShell(t, keeper, ttyd)
  client.socket.send('{"AuthToken":"other","columns":5,"rows":5}')
  client.socket.terminate()
  await areParked(keeper)
  const wrong = await openTerminal(t, keeper.path, { token: 'other' })
  await eventually(() => wrong.closedWith() === 1008, 'the other token')
  t.match(await keeper.list(), [{ columns: 80, rows: 24 }])
  t.equal((await openTerminal(t, keeper.path)).arrival, 'back')
})

t.test('a terminal that ttyd has not accepted is not kept', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const clock = new TestClock({ standsStill: true })
  const keeper = await startTestKeeper(t, ttyd, {}, { clock })
  const leaving = await openTerminal(t, keeper.path, { first: undefined })
  await eventually(() => keeper.terminals.size === 1, 'it is there')
  leaving.socket.terminate()
  await eventually(() => keeper.terminals.size === 0, 'it is gone')

  const silent = await openTerminal(t, keeper.path, { first: undefined })
  await eventually(() => keeper.terminals.size === 1, 'it is there')
  clock.pass(9999)
  keeper.terminals.check()
  silent.socket.ping()
  await once(silent.socket, 'pong')
  t.equal(silent.closedWith(), undefined)
  clock.pass(1)
  keeper.terminals.check()
  await eventually(() => silent.closedWith() === 1008, 'nothing was said')
  await eventually(() => keeper.terminals.size === 0, 'it is gone')
  t.equal(ttyd.shells.length, 0)
})

t.test('a page that comes again before its first message gets a shell of its own', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  await openTerminal(t, keeper.path, { first: undefined })
  await eventually(() => keeper.terminals.size === 1, 'the first')
  const { client, shell } = await openShell(t, keeper, ttyd)
  t.equal(client.arrival, 'new')
  client.type('x')
  await eventually(() => shell.received.includes('0x'), 'its shell')
})

t.test('whatever is sent, the shell is there afterwards', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const { shell } = await openShell(t, keeper, ttyd)
  const message = fc.oneof(
    fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
    fc
      .tuple(fc.constantFrom('0', '1', '2', '3', '{', '9'), fc.json())
      .map(([first, json]) => first + json),
    fc
      .record({ columns: fc.integer(), rows: fc.double() })
      .map((size) => `1${JSON.stringify(size)}`),
    fc.constantFrom('2', '3', '1{"columns":1,"rows":1}', '1{"columns":65535,"rows":65535}'),
  )
  await fc.assert(
    fc.asyncProperty(
      fc.array(message, { maxLength: 20 }),
      fc.boolean(),
      async (messages, isCut) => {
        const client = await openTerminal(t, keeper.path)
        for (const one of messages) client.socket.send(one)
        shell.print('output\r\n')
        const mark = `mark-${randomBytes(4).toString('hex')}`
        client.type(mark)
        await eventually(() => shell.received.includes(`0${mark}`), 'the shell gets the last one')
        if (isCut) client.socket.terminate()
        else client.socket.close()
      },
    ),
    { numRuns: 30 },
  )
  t.notOk(shell.hasEnded())
  t.equal(ttyd.shells.length, 1)
  t.same(crashes, [])
})

t.test('many small messages in one packet leave others their turn', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const { client, shell } = await openShell(t, keeper, ttyd)
  let [turns, isOver] = [0, false]
  const turn = () => {
    turns += 1
    if (!isOver) setImmediate(turn)
  }
  setImmediate(turn)
  const small = Buffer.from([0x82, 0x81, 0, 0, 0, 0, 0x30])
  rawOf(client).write(Buffer.concat(Array<Buffer>(2000).fill(small)))
  await eventually(() => shell.received.length === 2000, 'all of them')
  isOver = true
  t.ok(turns >= 2000, `${turns} turns`)
})
