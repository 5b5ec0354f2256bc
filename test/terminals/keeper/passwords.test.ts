/** Must who comes back bring the password and the token that ttyd accepted before? */
import t from 'tap'
import { SecretDigest } from '../../../src/terminals/keeper/digest.ts'
import {
  areParked,
  CREDENTIAL,
  cutOff,
  LogLines,
  openShell,
  openTerminal,
  refusalOf,
  startScriptedTtyd,
  startTestKeeper,
  TAB,
} from '../../helpers/kept-terminals.ts'
import { basic } from '../../helpers/ttyd.ts'
import { eventually } from '../../helpers/waiting.ts'

t.test('a wrong token leaves the terminal as it is, and ttyd is not asked', async (t) => {
  const log = new LogLines()
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd, {}, { log })
  const { client, shell } = await openShell(t, keeper, ttyd)
  shell.print('secret')
  await eventually(() => client.output().includes('secret'), 'the output')
  await cutOff(keeper, client)
  const dials = ttyd.dials()
  const firsts = [
    '{"AuthToken":"wrong","columns":200,"rows":50}',
    '{"columns":80,"rows":24}',
    '{"AuthToken":["dXNlcjpjb3JyZWN0IGhvcnNl"]}',
    '{"AuthToken":null}',
    '{broken',
    '0ls\r',
    '',
    Buffer.alloc(100_000, '{'),
  ]
  for (const first of firsts) {
    const stranger = await openTerminal(t, keeper.path, { first })
    stranger.type('rm -rf /\r') // behind the first message, and never for the shell
    await eventually(() => stranger.closedWith() !== undefined, 'it is refused')
    t.equal(stranger.closedWith(), 1008)
    t.same(stranger.messages, [])
  }
  t.notOk(shell.hasEnded())
  t.equal(ttyd.dials(), dials)
  t.equal(log.of('a terminal was asked for without its token').length, firsts.length)
  t.notMatch(JSON.stringify(log.lines), /AuthToken|dXNlcjpj|horse/)
  const [entry] = await keeper.list()
  t.match(entry, { state: 'parked', columns: 80, rows: 24 })

  const owner = await openTerminal(t, keeper.path)
  await eventually(() => owner.output().includes('secret'), 'the owner gets it')
  owner.type('ls')
  await eventually(() => shell.received.includes('0ls'), 'and the shell')
  t.same(shell.received, ['0ls'])
})

t.test('a wrong token does not take an attached terminal from its client', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const { client, shell } = await openShell(t, keeper, ttyd)
  const stranger = await openTerminal(t, keeper.path, { token: 'wrong' })
  t.equal(stranger.arrival, 'taken-over')
  await eventually(() => stranger.closedWith() === 1008, 'it is refused')
  client.type('still mine')
  await eventually(() => shell.received.includes('0still mine'), 'the client has its shell')
  t.equal(client.closedWith(), undefined)
})

t.test('a wrong password is for ttyd to refuse, as without a keeper', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const { client, shell } = await openShell(t, keeper, ttyd)
  await cutOff(keeper, client)
  for (const Authorization of [basic('user:wrong'), '', 'Bearer x', basic(`${CREDENTIAL} `)])
    t.equal(await refusalOf(keeper.path, `/terminal/ws?tab=${TAB}`, { Authorization }), 'cut')
  t.notOk(shell.hasEnded())
  await areParked(keeper)
})

t.test('a client that comes back and says nothing is not waited for', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(
    t,
    ttyd,
    {},
    { times: { ttydMs: 10_000, firstMessageMs: 50 } },
  )
  const { client, shell } = await openShell(t, keeper, ttyd)
  await cutOff(keeper, client)
  const silent = await openTerminal(t, keeper.path, { first: undefined })
  await eventually(() => silent.closedWith() !== undefined, 'it is cut off')
  t.same(silent.messages, [])
  t.notOk(shell.hasEnded())
  t.equal((await openTerminal(t, keeper.path)).arrival, 'back')
})

t.test('a password that was changed at ttyd opens a new shell, not the old one', async (t) => {
  const ttyd = await startScriptedTtyd(t)
  const keeper = await startTestKeeper(t, ttyd)
  const { client } = await openShell(t, keeper, ttyd)
  await cutOff(keeper, client)
  ttyd.setCredential('user:new')
  const { client: newer, shell } = await openShell(t, keeper, ttyd, { credential: 'user:new' })
  t.equal(newer.arrival, 'new')
  await cutOff(keeper, newer)
  const back = await openTerminal(t, keeper.path, { credential: 'user:new' })
  t.equal(back.arrival, 'back')
  back.type('new')
  await eventually(() => shell.received.includes('0new'), 'its own shell, though the tab has two')
})

t.test('a digest matches its secret alone, and shows nothing of it', async (t) => {
  const [one, other] = [new SecretDigest('secret'), new SecretDigest('secret')]
  t.ok(one.matches('secret') && other.matches('secret'))
  for (const wrong of ['', 'secre', 'secret ', 'Secret', 'secret\0', 'ſecret'])
    t.notOk(one.matches(wrong))
  t.notOk(new SecretDigest('').matches('x'))
  t.ok(new SecretDigest('').matches(''))
  t.same(Object.keys(one), [])
  t.notMatch(JSON.stringify(one), /secret/)
})
