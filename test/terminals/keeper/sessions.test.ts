/** Does a terminal end with its session, also while no gateway runs? */
import t from 'tap'
import {
  areParked,
  CREDENTIAL,
  cutOff,
  firstMessage,
  LogLines,
  openShell,
  openTerminal,
  refusalOf,
  startScriptedTtyd,
  startTestKeeper,
  TAB,
  TestClock,
} from '../../helpers/kept-terminals.ts'
import { basic } from '../../helpers/ttyd.ts'
import { eventually, SOON_MS, watchForCrashes } from '../../helpers/waiting.ts'

const HOUR_MS = 3_600_000

t.test('at the end that the gateway named, attached or parked, nobody has to ask', async (t) => {
  for (const isParked of [false, true]) {
    const ttyd = await startScriptedTtyd(t)
    const log = new LogLines()
    let aheadMs = 0
    const clock = { elapsed: () => performance.now(), wall: () => Date.now() + aheadMs }
    const keeper = await startTestKeeper(t, ttyd, {}, { clock, log })
    const ends = Date.now() + HOUR_MS
    const { client, shell } = await openShell(t, keeper, ttyd, { ends })
    if (isParked) await cutOff(keeper, client)
    aheadMs = HOUR_MS / 2
    keeper.terminals.check()
    t.equal(keeper.terminals.size, 1)
    t.notOk(shell.hasEnded())
    aheadMs = HOUR_MS
    await eventually(() => shell.hasEnded(), 'the shell ends', SOON_MS)
    t.equal(keeper.terminals.size, 0)
    t.same(log.endings(), ['its session ended'])
    t.match(log.of('terminal ended'), [{ sid: 'session-1' }])
    if (isParked) continue
    // The gateway has some time to say why before the keeper closes the connection with the same code.
    await eventually(() => client.closedWith() === 4401, 'the client’s connection')
  }
})

t.test(
  'a fault of one terminal does not let the shells of others outlive their sessions',
  async (t) => {
    const ttyd = await startScriptedTtyd(t)
    const clock = new TestClock()
    const keeper = await startTestKeeper(t, ttyd, {}, { clock })
    await openShell(t, keeper, ttyd)
    const ends = Date.now() + HOUR_MS
    const { shell } = await openShell(t, keeper, ttyd, { sid: 'session-2', ends })
    const owner = { sid: 'session-1', sub: 'alice', ends: Infinity, mark: undefined }
    const faulty = keeper.terminals.find(owner, TAB, basic(CREDENTIAL))
    if (faulty === undefined) throw new Error('it is there')
    faulty.check = () => {
      throw new Error('as nobody expects')
    }
    t.teardown(() => Reflect.deleteProperty(faulty, 'check'))
    const faults = watchForCrashes() // of the keeper's own look, twice a second
    clock.pass(HOUR_MS)
    await eventually(() => shell.hasEnded(), 'the other one ends')
    t.throws(() => keeper.terminals.check(), { errors: [{ message: 'as nobody expects' }] })
    t.match(faults[0], { message: 'terminals could not be checked' })
    t.equal(keeper.terminals.size, 1)
  },
)

t.test('a session that has ended gets no terminal, and ttyd is not asked', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  for (const ends of [String(Date.now() - 1), '0', '-1', 'nonsense', 'NaN'])
    t.match(
      await refusalOf(keeper.path, `/terminal/ws?tab=${TAB}`, { 'X-Workspace-Session-Ends': ends }),
      { status: 403 },
    )
  t.equal(ttyd.dials(), 0)
})

t.test('DELETE ends the terminals of a session, and no other', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const attached = await openShell(t, keeper, ttyd, { sid: 'a b&c' })
  const parked = await openShell(t, keeper, ttyd, { sid: 'a b&c', tab: `${TAB}2` })
  const exited = await openShell(t, keeper, ttyd, { sid: 'a b&c', tab: `${TAB}3` })
  const other = await openShell(t, keeper, ttyd, { sid: 'a b' })
  const unnamed = await openShell(t, keeper, ttyd, { sid: '' })
  await cutOff(keeper, parked.client, exited.client)
  exited.shell.socket.terminate()
  await eventually(() => exited.shell.hasEnded(), 'one has exited')
  const answer = await keeper.ask('DELETE', `/_terminals?sid=${encodeURIComponent('a b&c')}`)
  t.same(JSON.parse(answer.body), { ended: 3 })
  await eventually(() => attached.shell.hasEnded() && parked.shell.hasEnded(), 'its shells end')
  await eventually(() => attached.client.closedWith() === 4401, 'its client')
  t.notOk(other.shell.hasEnded() || unnamed.shell.hasEnded())
  t.equal(keeper.terminals.size, 2)
  const again = await keeper.ask('DELETE', '/_terminals?sid=nobody')
  t.same(JSON.parse(again.body), { ended: 0 })
  t.equal((await openTerminal(t, keeper.path, { sid: 'a b&c' })).arrival, 'new')
})

t.test('DELETE ends one terminal, which its client is told with 1000', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const log = new LogLines()
  const keeper = await startTestKeeper(t, ttyd, {}, { log })
  const one = await openShell(t, keeper, ttyd)
  const two = await openShell(t, keeper, ttyd, { tab: `${TAB}2` })
  const [{ id } = { id: '' }] = await keeper.list()
  t.same(JSON.parse((await keeper.ask('DELETE', `/_terminals/${id}`)).body), { ended: 1 })
  await eventually(() => one.shell.hasEnded() && one.client.closedWith() === 1000, 'it ends')
  t.notOk(two.shell.hasEnded())
  t.same(log.endings(), ['its owner ended it'])
  t.match(log.of('terminal ended'), [{ terminal: id }])
  t.same(JSON.parse((await keeper.ask('DELETE', `/_terminals/${id}`)).body), { ended: 0 })
})

t.test('a renewal holds, though a page that came before it says its token after it', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const ends = Date.now() + HOUR_MS
  const { client } = await openShell(t, keeper, ttyd, { ends })
  await cutOff(keeper, client)
  const back = await openTerminal(t, keeper.path, { ends: ends + 1, first: undefined })
  t.match(await keeper.list(), [{ ends: ends + 1 }], 'what the gateway said in the handshake')
  await keeper.ask('PUT', `/_terminals?sid=session-1&ends=${ends + HOUR_MS}`)
  back.socket.send(firstMessage())
  await eventually(() => back.messages.length >= 2, 'it is back')
  t.match(await keeper.list(), [{ ends: ends + HOUR_MS, state: 'attached' }])
})

t.test('PUT moves the end of a session', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const clock = new TestClock()
  const keeper = await startTestKeeper(t, ttyd, {}, { clock })
  const ends = Date.now() + HOUR_MS
  const { client, shell } = await openShell(t, keeper, ttyd, { ends })
  const other = await openShell(t, keeper, ttyd, { sid: 'session-2', ends })
  await cutOff(keeper, client, other.client)
  const renewed = ends + HOUR_MS
  const answer = await keeper.ask('PUT', `/_terminals?sid=session-1&ends=${renewed}`)
  t.same(JSON.parse(answer.body), { renewed: 1 })
  t.match(await keeper.list(), [{ ends: renewed }, { ends }])
  clock.pass(HOUR_MS)
  keeper.terminals.check()
  t.equal(keeper.terminals.size, 1)
  t.notOk(shell.hasEnded())

  t.same(JSON.parse((await keeper.ask('PUT', '/_terminals?sid=session-1')).body), { renewed: 1 })
  t.equal((await keeper.list())[0]?.ends, undefined, 'never')
  clock.pass(2 * HOUR_MS)
  keeper.terminals.check()
  t.equal(keeper.terminals.size, 1)

  await keeper.ask('PUT', '/_terminals?sid=session-1&ends=1')
  keeper.terminals.check()
  await eventually(() => shell.hasEnded(), 'an end that has passed')
})

t.test('who comes back brings the end of the session as it is now', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const ends = Date.now() + HOUR_MS
  const { client } = await openShell(t, keeper, ttyd, { ends })
  await cutOff(keeper, client)
  await openTerminal(t, keeper.path, { ends: ends + HOUR_MS, token: 'wrong' })
  const back = await openTerminal(t, keeper.path, { ends: ends + HOUR_MS })
  await eventually(() => back.messages.length >= 3, 'it is back')
  t.match(await keeper.list(), [{ ends: ends + HOUR_MS }])
})

t.test(
  'a session that ends while its client is coming back ends the shell all the same',
  async (t) => {
    const ttyd = await startScriptedTtyd(t)
    const log = new LogLines()
    const keeper = await startTestKeeper(t, ttyd, {}, { log })
    const { client, shell } = await openShell(t, keeper, ttyd)
    await cutOff(keeper, client)
    const back = await openTerminal(t, keeper.path, { first: undefined })
    t.equal(back.arrival, 'back')
    await keeper.ask('DELETE', '/_terminals?sid=session-1')
    await eventually(() => shell.hasEnded(), 'the shell')
    for (let i = 0; i < 10; i++) back.socket.send(firstMessage())
    await eventually(() => back.closedWith() === 1012, 'it is told to come again')
    t.same(back.messages, [])
    t.same(log.of('terminal continued'), [], 'there was nothing to go on with')
    t.same(log.of('a terminal was asked for without its token'), [], 'a client cannot fill the log')
    t.equal(keeper.terminals.size, 0)
  },
)

t.test('the list has what the gateway named, and no secret', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const { client, shell } = await openShell(t, keeper, ttyd, {
    sub: 'al%C3%AFce',
    columns: 100,
    rows: 30,
  })
  shell.print('\x1b]2;vim notes\x07')
  shell.print(`\x1b]2;${'😀'.repeat(200_000)}\x07`)
  await eventually(() => client.messages.length >= 4, 'the titles')
  await cutOff(keeper, client)
  await eventually(() => keeper.terminals.list()[0]?.title !== 'sh (houston)', 'the title')
  const answer = await keeper.ask('GET', '/_terminals')
  t.match(answer.headers, { 'content-type': 'application/json', 'cache-control': 'no-store' })
  t.ok(answer.body.length < 4096, 'a title has a bound')
  t.notMatch(answer.body, /correct|horse|dXNlcj|Basic/)
  const [entry] = await keeper.list()
  t.match(entry, {
    state: 'parked',
    sid: 'session-1',
    sub: 'al%C3%AFce',
    tab: TAB,
    columns: 100,
    rows: 30,
  })
  await areParked(keeper)
  t.match(JSON.parse((await keeper.ask('GET', '/_ready')).body), {
    protocol: 1,
    attached: 0,
    parked: 1,
  })
})
