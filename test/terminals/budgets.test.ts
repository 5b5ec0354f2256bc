/** What does coming back cost? The session's budget, and for a wrong password the address's. */
import t, { type Test } from 'tap'
import { client } from '../helpers/door.ts'
import { areParked, CREDENTIAL, TAB } from '../helpers/kept-terminals.ts'
import { browser, openPage, startKeptWorkspace } from '../helpers/kept-workspace.ts'
import { basic } from '../helpers/ttyd.ts'
import { eventually } from '../helpers/waiting.ts'
import { send, upgrade } from '../helpers/wire.ts'

const AWAY = client('203.0.113.9')

/** The limits as they are by default. */
const LITERAL = { GATEWAY_RATE_LIMIT: '10' }

t.test('thirty reconnects are thirty of the session’s, and none of the address’s', async (t) => {
  const { ttyd, keeper, port } = await startKeptWorkspace(t, LITERAL)
  const alice = [...(await browser(port)), AWAY]
  for (let i = 0; i < 30; i++) {
    const page = await openPage(t, port, alice)
    await ttyd.shell(0)
    await eventually(() => page.messages.length >= 2, 'title and preferences')
    page.socket.terminate()
    await areParked(keeper)
  }
  t.equal(ttyd.shells.length, 1)
  const strangers = await Promise.all(Array.from({ length: 11 }, () => send(port, 'GET /', [AWAY])))
  t.equal(
    strangers.filter(({ status }) => status === 401).length,
    10,
    'the address’s are all there',
  )
})

t.test('a wrong password for a kept shell spends the address’s budget', async (t) => {
  const { ttyd, keeper, port } = await startKeptWorkspace(t, LITERAL)
  const alice = [...(await browser(port)), AWAY]
  const page = await openPage(t, port, alice)
  ;(await ttyd.shell(0)).print('secret')
  await eventually(() => page.output().includes('secret'), 'output')
  const guess = (password: string) =>
    upgrade(port, `/terminal/ws?tab=${TAB}`, [
      ...alice,
      `Authorization: ${basic(password)}`,
      'Sec-WebSocket-Protocol: tty',
    ])
  const statuses: number[] = []
  for (let i = 0; i < 12; i++) {
    const { answer, closed } = await guess(`user:guess-${i}`)
    await closed
    statuses.push(answer.status)
  }
  t.same(new Set(statuses.slice(0, 10)), new Set([502]), 'ttyd says no by closing the connection')
  t.same(statuses.slice(10), [429, 429])
  t.equal(page.closedWith(), undefined, 'the page has its shell')
  t.equal(keeper.terminals.size, 1)
  const { answer, socket } = await guess(CREDENTIAL)
  t.equal(answer.status, 101, 'the password that this session has proved is no guess')
  socket.destroy()
})

t.test('a browser that sends no password on a WebSocket comes back too', async (t) => {
  const { ttyd, keeper, port } = await startKeptWorkspace(t)
  const safari = await browser(port)
  for (const path of ['/terminal/', '/terminal/token'])
    t.equal(
      (await send(port, `GET ${path}`, [...safari, `Authorization: ${basic(CREDENTIAL)}`])).status,
      200,
    )
  for (let i = 0; i < 3; i++) {
    const page = await openPage(t, port, safari, { credential: '' })
    const shell = await ttyd.shell(0)
    page.type(`round ${i}`)
    await eventually(() => shell.received.includes(`0round ${i}`), 'the same shell')
    page.socket.terminate()
    await areParked(keeper)
  }
  t.equal(ttyd.shells.length, 1)
})

/** Tries a token, and waits until the connection is closed. @returns the close code, or the status of the refusal */
async function tryToken(
  t: Test,
  port: number,
  fields: readonly string[],
  { tab = TAB, credential = CREDENTIAL }: { tab?: string; credential?: string } = {},
): Promise<number | undefined> {
  try {
    const page = await openPage(t, port, fields, { tab, credential, token: 'd3Jvbmc=' })
    await eventually(() => page.closedWith() !== undefined, 'closed')
    return page.closedWith()
  } catch (error) {
    return Number(/Unexpected server response: (\d+)/.exec(String(error))?.[1])
  }
}

/** A workspace with a kept shell that is parked, and how often ttyd was asked. */
async function startWithParked(t: Test) {
  const workspace = await startKeptWorkspace(t, LITERAL)
  const alice = [...(await browser(workspace.port)), AWAY]
  for (const path of ['/terminal/', '/terminal/token']) {
    const fields = [...alice, `Authorization: ${basic(CREDENTIAL)}`]
    t.equal((await send(workspace.port, `GET ${path}`, fields)).status, 200)
  }
  const page = await openPage(t, workspace.port, alice)
  await eventually(() => page.messages.length >= 2, 'title and preferences')
  page.socket.terminate()
  await areParked(workspace.keeper)
  return { ...workspace, alice, dials: workspace.ttyd.dials() }
}

t.test('ten wrong tokens for a kept shell use the address’s budget up', async (t) => {
  const { ttyd, keeper, gateway, port, alice, dials } = await startWithParked(t)
  const tries: (number | undefined)[] = []
  for (let i = 0; i < 11; i++) tries.push(await tryToken(t, port, alice))
  t.same(tries, [...Array.from({ length: 10 }, () => 1008), 429])
  const refused = await upgrade(port, `/terminal/ws?tab=${TAB}`, [
    ...alice,
    `Authorization: ${basic(CREDENTIAL)}`,
    'Sec-WebSocket-Protocol: tty',
  ])
  t.equal(refused.answer.status, 429)
  t.ok(Number(refused.answer.headers['retry-after']) > 0)
  t.equal(ttyd.dials(), dials, 'ttyd was never asked')
  t.equal(keeper.terminals.counts().parked, 1)
  const said = () => gateway.logLines().filter(({ reason }) => reason === 'wrong token')
  await eventually(() => said().length === 10, 'the log has the reason of each')
  const elsewhere = [...alice.filter((line) => line !== AWAY), client('203.0.113.10')]
  const page = await openPage(t, port, elsewhere)
  await eventually(() => page.messages.length >= 2, 'another address comes back')
})

t.test('wrong tokens for a shell that is open are paid for too', async (t) => {
  const { ttyd, port, alice, dials } = await startWithParked(t)
  const page = await openPage(t, port, alice)
  await eventually(() => page.messages.length >= 2, 'it is back')
  for (let i = 0; i < 10; i++) t.equal(await tryToken(t, port, alice), 1008)
  t.equal(await tryToken(t, port, alice), 429)
  t.equal(page.closedWith(), undefined)
  t.equal(ttyd.dials(), dials)
})

t.test('a wrong token of a browser that sends no password is paid for', async (t) => {
  const { ttyd, port, alice, dials } = await startWithParked(t)
  for (let i = 0; i < 9; i++)
    t.equal(await tryToken(t, port, alice, { credential: '' }), 1008, `try ${i}`)
  const page = await openPage(t, port, alice, { credential: '' })
  await eventually(() => page.messages.length >= 2, 'the right token is taken')
  page.socket.terminate()
  // Ten loans are used up. The password is proved again, and then the page says a wrong token once more.
  await send(port, 'GET /terminal/token', [...alice, `Authorization: ${basic(CREDENTIAL)}`])
  const before = ttyd.dials()
  t.equal(before, dials + 1)
  t.equal(await tryToken(t, port, alice, { credential: '' }), 1008)
  const refused = await upgrade(port, `/terminal/ws?tab=${TAB}`, [
    ...alice,
    'Sec-WebSocket-Protocol: tty',
  ])
  t.equal(refused.answer.status, 429)
  t.ok(Number(refused.answer.headers['retry-after']) > 0)
  t.equal(ttyd.dials(), before, 'ttyd was never asked')
})

t.test('a wrong token that was lent a password is paid for at a new shell too', async (t) => {
  const { port, alice } = await startWithParked(t)
  for (let i = 0; i < 10; i++)
    t.equal(await tryToken(t, port, alice, { credential: '', tab: `${TAB}-${i}` }), 1008)
  t.same(
    (await Promise.all([send(port, 'GET /', [AWAY]), send(port, 'GET /', [AWAY])])).map(
      ({ status }) => status,
    ),
    [429, 429],
  )
})

t.test('right tokens leave the budget alone, however often they come', async (t) => {
  const { ttyd, keeper, port, alice, dials } = await startWithParked(t)
  for (let i = 0; i < 20; i++) {
    const page = await openPage(t, port, alice, {
      credential: i % 2 === 0 && i < 16 ? '' : CREDENTIAL,
    })
    await eventually(() => page.messages.length >= 2, 'title and preferences')
    page.socket.terminate()
    await areParked(keeper)
  }
  t.equal(ttyd.dials(), dials)
  for (let i = 0; i < 10; i++) t.equal((await send(port, 'GET /', [AWAY])).status, 401)
})
