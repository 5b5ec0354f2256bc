/** Does signing out end what it says, at once and for good, and can nobody else do it? */
import t from 'tap'
import { assertRefused, cookie, HTTPS, ORIGIN, signIn } from '../helpers/door.ts'
import { startWorkspace, token } from '../helpers/gateway.ts'
import { send, closeCode, upgrade } from '../helpers/wire.ts'

const FORM = 'Content-Type: application/x-www-form-urlencoded'

t.test(
  'signing out expires the cookie, ends the session’s sockets (4401), and nobody else’s',
  async (t) => {
    const workspace = await startWorkspace(t)
    const { port } = workspace
    const mine = [await signIn(port, await token()), HTTPS, `Origin: ${ORIGIN}`]
    const others = [await signIn(port, await token({ subject: 'bob' })), HTTPS, `Origin: ${ORIGIN}`]
    const first = await upgrade(port, '/', mine)
    const second = await upgrade(port, '/terminal/ws', [...mine, 'Sec-WebSocket-Protocol: tty'])
    const foreign = await upgrade(port, '/', others)
    t.same(
      [first, second, foreign].map(({ answer }) => answer.status),
      [101, 101, 101],
    )

    const answer = await send(port, 'POST /_gateway/sign-out', [...mine, 'Content-Length: 0'])
    t.equal(answer.status, 303)
    t.equal(answer.headers['location'], '/_gateway/signed-out')
    t.equal(answer.headers['clear-site-data'], '"cache"')
    t.equal(
      answer.headers['set-cookie'],
      '__Host-workspace_session=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/; HttpOnly; SameSite=Lax; Secure',
    )
    const line = await workspace.logLine(({ id }) => id === answer.headers['x-request-id'])
    t.match(line, { stage: 'sign-out', status: 303, user: 'alice' })
    for (const client of [first, second]) {
      await client.closed
      t.equal(closeCode(client), 4401)
    }
    t.match(second.received().toString(), 'Your session has ended.', 'the terminal says so')
    t.equal(foreign.received().length, 0)
    t.notOk(foreign.socket.destroyed)
    foreign.socket.destroy()
    await foreign.closed
  },
)

t.test('nobody is signed out by another page, or by a link', async (t) => {
  const workspace = await startWorkspace(t)
  const { port } = workspace
  const mine = [cookie(await token()), HTTPS]
  const { answer: open, socket } = await upgrade(port, '/', [...mine, `Origin: ${ORIGIN}`])
  t.equal(open.status, 101)
  const dials = workspace.dials()
  for (const headers of [
    [],
    ['Origin: https://evil.example'],
    ['Origin: null'],
    ['Origin: https://research.hubify.com'],
    ['Sec-Fetch-Site: cross-site'],
  ]) {
    const answer = await send(port, 'POST /_gateway/sign-out', [
      ...mine,
      ...headers,
      'Content-Length: 0',
    ])
    await assertRefused(t, workspace, answer, {
      code: 'origin-not-allowed',
      stage: 'authentication',
      dials,
    })
    t.equal(answer.headers['set-cookie'], undefined)
  }
  const link = await send(port, 'GET /_gateway/sign-out', mine)
  t.equal(link.status, 405)
  t.equal(link.headers['set-cookie'], undefined)
  t.equal(workspace.running.parts.openSockets.size, 1)
  socket.destroy()
  const nobody = await send(port, 'POST /_gateway/sign-out', ['Content-Length: 0'])
  await assertRefused(t, workspace, nobody, {
    code: 'sign-in-required',
    stage: 'authentication',
    dials,
  })
})

t.test('a sign-out with a body of any type is a sign-out', async (t) => {
  const { port } = await startWorkspace(t)
  const fresh = async () => [await signIn(port, await token()), HTTPS, `Origin: ${ORIGIN}`]
  for (const type of [
    FORM,
    'Content-Type: application/json',
    'Content-Type: text/plain',
    'X-Typeless: yes',
  ]) {
    for (const body of ['', 'a=b', '{"broken']) {
      const headers = [...(await fresh()), type, `Content-Length: ${body.length}`]
      t.equal(
        (await send(port, 'POST /_gateway/sign-out', headers, body)).status,
        303,
        `${type} ${body}`,
      )
    }
  }
  t.equal((await send(port, 'POST /_gateway/sign-out', await fresh())).status, 303)
})

t.test('a session that was signed out is over, whoever kept its cookie', async (t) => {
  const { port } = await startWorkspace(t)
  const mine = [cookie(await token()), HTTPS, `Origin: ${ORIGIN}`]
  t.equal((await send(port, 'POST /_gateway/sign-out', [...mine, 'Content-Length: 0'])).status, 303)
  t.equal((await send(port, 'GET /', mine)).status, 401)
})
