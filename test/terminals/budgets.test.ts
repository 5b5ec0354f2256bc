/** What does coming back cost? The session's budget, and for a wrong password the address's. */
import t from 'tap'
import { client } from '../helpers/door.ts'
import { CREDENTIAL, TAB } from '../helpers/kept-terminals.ts'
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
    await eventually(() => keeper.terminals.counts().parked === 1, 'parked')
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
    await eventually(() => keeper.terminals.counts().parked === 1, 'parked')
  }
  t.equal(ttyd.shells.length, 1)
})
