/** Does signing out end what it says, at once and for good, and can nobody else do it? */
import t from 'tap'
import { assertRefused, cookie, HTTPS, NAVIGATION, ORIGIN, signIn } from '../helpers/door.ts'
import { breakWrites } from '../helpers/full-disk.ts'
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

t.test(
  'a session that was signed out is over for programs that copied its token, too',
  async (t) => {
    const workspace = await startWorkspace(t)
    const { port } = workspace
    const mine = await signIn(port, await token())
    const bearer = `Authorization: Bearer ${mine.split('=')[1]}`
    t.equal((await send(port, 'GET /', [bearer])).status, 200)
    const dials = workspace.dials()
    const headers = [mine, HTTPS, `Origin: ${ORIGIN}`, 'Content-Length: 0']
    t.equal((await send(port, 'POST /_gateway/sign-out', headers)).status, 303)
    const line = await assertRefused(t, workspace, await send(port, 'GET /', [bearer]), {
      code: 'token-invalid',
      stage: 'authentication',
      dials,
    })
    t.equal(line['reason'], 'signed out')
  },
)

t.test(
  'all=true ends every session of the person, of programs too, and nobody else’s',
  async (t) => {
    const { port } = await startWorkspace(t)
    const mine = await signIn(port, await token())
    const phone = await signIn(port, await token())
    const program = `Authorization: Bearer ${await token()}`
    const bobs = await signIn(port, await token({ subject: 'bob' }))
    const own = [HTTPS, `Origin: ${ORIGIN}`]
    const open = await upgrade(port, '/', [...own, phone])
    const body = 'all=true'
    const answer = await send(
      port,
      'POST /_gateway/sign-out',
      [...own, mine, FORM, `Content-Length: ${body.length}`],
      body,
    )
    t.equal(answer.status, 303)
    t.equal(answer.headers['location'], '/_gateway/signed-out')
    await open.closed
    for (const credential of [mine, phone, program])
      t.equal((await send(port, 'GET /', [HTTPS, credential])).status, 401)
    t.equal((await send(port, 'GET /', [HTTPS, bobs])).status, 200)
  },
)

t.test('without all=true, other sessions of the person go on', async (t) => {
  const { port } = await startWorkspace(t)
  const phone = await signIn(port, await token())
  for (const body of ['', 'all=false', 'all=', 'all=1']) {
    const mine = await signIn(port, await token())
    const headers = [mine, HTTPS, `Origin: ${ORIGIN}`, FORM, `Content-Length: ${body.length}`]
    t.equal((await send(port, 'POST /_gateway/sign-out', headers, body)).status, 303)
  }
  t.equal((await send(port, 'GET /', [HTTPS, phone])).status, 200)
})

t.test('the page after signing out is for everybody, and says what goes on', async (t) => {
  const workspace = await startWorkspace(t, { GATEWAY_RATE_LIMIT: '1' })
  const { port } = workspace
  for (let i = 0; i < 3; i++) {
    const page = await send(port, 'GET /_gateway/signed-out', NAVIGATION)
    t.equal(page.status, 200, 'also when the budget of the address is used up')
    t.match(page.body, '<h1>You are signed out</h1>')
    t.match(page.body, 'API tokens of programs go on until they are revoked')
    t.match(page.body, '<a class="button" href="/">Sign in again</a>')
    t.notMatch(page.body, 'role="alert"')
  }
  const guess = await send(port, 'GET /_gateway/signed-out', [cookie('x'), HTTPS])
  t.equal(guess.status, 200)
  t.equal((await send(port, 'GET /_gateway/signed-out', [cookie('x'), HTTPS])).status, 429)
  t.equal(workspace.dials(), 0)
})

t.test(
  'when the disk is full, signing out works at once, is saved later, and says so',
  async (t) => {
    const { port, running } = await startWorkspace(t)
    const own = [HTTPS, `Origin: ${ORIGIN}`, 'Content-Length: 0']
    const mine = await signIn(port, await token())
    const open = await upgrade(port, '/', [HTTPS, `Origin: ${ORIGIN}`, mine])
    const mend = breakWrites(running.parts.state)
    const answer = await send(port, 'POST /_gateway/sign-out', [...own, mine])
    t.equal(answer.status, 303)
    t.match(answer.headers['set-cookie'], 'Max-Age=0')
    await open.closed
    t.equal((await send(port, 'GET /', [HTTPS, mine])).status, 401)
    const page = await send(port, `GET ${answer.headers['location']}`, NAVIGATION)
    t.match(page.body, 'role="alert">The workspace cannot write to its disk now.')
    const rows = () =>
      running.parts.state.read(
        (database) => database.prepare('SELECT * FROM sessions').all().length,
      )
    t.equal(rows(), 1)
    mend()
    running.parts.state.flush()
    t.equal(rows(), 0)
  },
)

t.test(
  'an API token signs nobody out, and stays when its person signs out everywhere',
  async (t) => {
    const workspace = await startWorkspace(t)
    const { port, running } = workspace
    const made = running.parts.apiTokens.create({
      ...{ name: 'ci', subject: 'alice', scopes: ['dashboard', 'owner'], expiresAt: undefined },
    })
    const program = `Authorization: Bearer ${made.token}`
    const mine = await signIn(port, await token())
    const body = 'all=true'
    const headers = [HTTPS, FORM, `Content-Length: ${body.length}`]
    const refused = await send(port, 'POST /_gateway/sign-out', [...headers, program], body)
    await assertRefused(t, workspace, refused, { code: 'scope-missing', stage: 'authentication' })
    const own = [...headers, mine, `Origin: ${ORIGIN}`]
    t.equal((await send(port, 'POST /_gateway/sign-out', own, body)).status, 303)
    t.equal((await send(port, 'GET /', [HTTPS, mine])).status, 401)
    t.equal((await send(port, 'GET /', [program])).status, 200)
  },
)
