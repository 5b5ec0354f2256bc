/** Does the terminal work in a browser that sends no Basic credentials on a handshake, and only for its own session? */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { startBuiltInTerminal } from '../../embedded/terminal-built-in.ts'
import { askAdmin } from '../../src/admin/ask.ts'
import { dial, openShell } from '../embedded/terminal-client.ts'
import { assertRefused, cookie, HTTPS, ORIGIN } from '../helpers/door.ts'
import { SECRET, startBefore, startWorkspace, token } from '../helpers/gateway.ts'
import { basic, hello, safari, startTtyd, type Safari } from '../helpers/ttyd.ts'
import { TTY } from '../helpers/socket-pairs.ts'
import { startUpstream, switchingProtocols } from '../helpers/upstream.ts'
import { eventually } from '../helpers/waiting.ts'
import {
  clientFrame,
  handshake,
  open,
  requestBytes,
  send,
  serverFrame,
  upgrade,
  type Upgraded,
} from '../helpers/wire.ts'

const CREDENTIAL = 'user:pass of the terminal'
const NEW_CREDENTIAL = 'user:changed since'

/** A gateway with a terminal, and a signed-in browser. */
async function start(t: Test, overrides: Record<string, string | undefined> = {}) {
  const ttyd = await startTtyd(t, CREDENTIAL)
  const gateway = await startBefore(t, ttyd, overrides)
  const jwt = await token()
  return { ...gateway, ttyd, jwt, browser: safari(gateway.port, jwt) }
}

type Started = Awaited<ReturnType<typeof start>>

/** Asserts that a handshake was forwarded without credentials: ttyd has closed it, which is a 502. */
function assertNotLent(t: Test, { ttyd }: Pick<Started, 'ttyd'>, { answer }: Upgraded): void {
  t.equal(answer.status, 502)
  t.equal(answer.headers['x-gateway-error'], 'upstream-unreachable')
  t.equal(ttyd.handshakes().at(-1), undefined, 'the terminal saw no credentials')
}

/** Asserts that these credentials were added to a handshake, and closes its socket. */
async function assertLent(
  t: Test,
  { ttyd }: Pick<Started, 'ttyd'>,
  { answer, socket, closed }: Upgraded,
  credential = CREDENTIAL,
): Promise<void> {
  t.equal(answer.status, 101)
  t.equal(ttyd.handshakes().at(-1), basic(credential), 'exactly one line')
  socket.destroy()
  await closed
}

t.test('after its page was loaded, the terminal opens and works', async (t) => {
  const { browser, ttyd, settled } = await start(t)
  t.equal(await browser.openPage(CREDENTIAL), 200)
  const { answer, socket, until, received } = await browser.connect()
  t.equal(answer.status, 101)
  t.equal(answer.headers['sec-websocket-protocol'], 'tty')
  t.same(ttyd.handshakes(), [basic(CREDENTIAL)])
  socket.write(hello(CREDENTIAL))
  socket.write(clientFrame(2, '0ls\n'))
  const echoed = serverFrame(2, '0ls\n')
  t.same(await until(echoed.length), echoed)
  t.equal(received().length, echoed.length)
  socket.destroy()
  await settled()
  await assertLent(t, { ttyd }, await browser.connect())
  await assertLent(t, { ttyd }, await browser.connect())
})

t.test('the terminal of npm start opens a shell', async (t) => {
  t.testdir()
  const terminal = await startBuiltInTerminal({
    credential: CREDENTIAL,
    shell: '/bin/sh',
    env: { PATH: process.env['PATH'], HOME: t.testdirName, PS1: '$ ' },
    onUnexpectedExit: () => {},
  })
  t.teardown(() => terminal.close())
  const gateway = await startBefore(t, terminal)
  const jwt = await token()
  const headers = { cookie: `__Host-workspace_session=${jwt}`, 'x-forwarded-proto': 'https' }
  const options = { headers: { ...headers, host: 'houston.hubify.com' }, origin: ORIGIN }
  const early = dial(t, gateway.origin, options)
  const status = new Promise((resolve) => {
    early.on('unexpected-response', (_request, answer) => resolve(answer.statusCode))
  })
  t.equal(await status, 401, 'before, the terminal refuses')
  t.equal(await safari(gateway.port, jwt).openPage(CREDENTIAL), 200)
  const shell = await openShell(t, gateway.origin, options, CREDENTIAL)
  shell.type('echo WORKS-$((6*7))\n')
  t.match(await shell.outputMatching(/WORKS-42/), /WORKS-42/)
  shell.socket.terminate()
  await gateway.settled()
})

t.test('each kind of successful response of the terminal proves the credentials', async (t) => {
  for (const path of ['/terminal', '/terminal/', '/terminal/token']) {
    const { browser, ttyd } = await start(t)
    await browser.get(path, CREDENTIAL)
    await assertLent(t, { ttyd }, await browser.connect())
  }
})

t.test('before the terminal has accepted credentials, none are added', async (t) => {
  const { browser, ttyd } = await start(t)
  assertNotLent(t, { ttyd }, await browser.connect())
  t.equal((await browser.get('/terminal/')).status, 401)
  assertNotLent(t, { ttyd }, await browser.connect())
  t.equal((await browser.get('/terminal/favicon.png', CREDENTIAL)).status, 404)
  assertNotLent(t, { ttyd }, await browser.connect())
})

t.test('a wrong password is never added, and removes the accepted one', async (t) => {
  const { browser, ttyd } = await start(t)
  t.equal(await browser.openPage('user:wrong'), 401)
  assertNotLent(t, { ttyd }, await browser.connect())
  await browser.openPage(CREDENTIAL)
  await assertLent(t, { ttyd }, await browser.connect())
  t.equal((await browser.get('/terminal/token', 'user:wrong')).status, 401)
  assertNotLent(t, { ttyd }, await browser.connect())
})

t.test('a page request without credentials removes nothing, and gets no credentials', async (t) => {
  const { browser, ttyd } = await start(t)
  await browser.openPage(CREDENTIAL)
  t.equal((await browser.get('/terminal/token')).status, 401, 'over HTTP nothing is lent')
  await assertLent(t, { ttyd }, await browser.connect())
})

t.test(
  'no other session gets the credentials, neither of the same user nor of another',
  async (t) => {
    const { browser, ttyd, port } = await start(t)
    await browser.openPage(CREDENTIAL)
    for (const jwt of [
      await token(),
      await token({ ttlSeconds: 7200 }),
      await token({ subject: 'eve' }),
    ])
      assertNotLent(t, { ttyd }, await safari(port, jwt).connect())
    await assertLent(t, { ttyd }, await browser.connect())
  },
)

t.test('two sessions with two passwords each get their own', async (t) => {
  // The service accepts everything, so the credentials that were sent are remembered.
  const service = await startUpstream(t)
  const gateway = await startBefore(t, service)
  const lentTo = async (browser: Safari) => {
    const { answer, socket } = await browser.connect()
    t.equal(answer.status, 101)
    socket.destroy()
    return service.requests.at(-1)?.headers.authorization
  }
  const [alice, bob] = [
    safari(gateway.port, await token()),
    safari(gateway.port, await token({ subject: 'bob' })),
  ]
  await alice.get('/terminal/', CREDENTIAL)
  await bob.get('/terminal/', NEW_CREDENTIAL)
  t.equal(await lentTo(alice), basic(CREDENTIAL))
  t.equal(await lentTo(bob), basic(NEW_CREDENTIAL))
})

t.test('programs get no credentials, even with the token of the session', async (t) => {
  const { browser, ttyd, port, jwt } = await start(t)
  await browser.openPage(CREDENTIAL)
  for (const line of [`Authorization: Bearer ${jwt}`, `X-Workspace-Token: ${jwt}`]) {
    assertNotLent(t, { ttyd }, await upgrade(port, '/terminal/ws', [line, TTY]))
    const withCookie = [line, cookie(jwt), HTTPS, `Origin: ${ORIGIN}`, TTY]
    assertNotLent(t, { ttyd }, await upgrade(port, '/terminal/ws', withCookie))
  }
  await assertLent(t, { ttyd }, await browser.connect())
})

t.test('credentials that programs send are not remembered', async (t) => {
  const { browser, ttyd, port, jwt } = await start(t)
  const fields = [`X-Workspace-Token: ${jwt}`, `Authorization: ${basic(CREDENTIAL)}`]
  t.equal((await send(port, 'GET /terminal/token', fields)).status, 200)
  assertNotLent(t, { ttyd }, await browser.connect())
})

t.test(
  'a foreign page is refused, or gets no credentials if the operator allows its origin',
  async (t) => {
    const friend = 'https://friend.example'
    const { ttyd, port, jwt, browser, logLine } = await start(t, {
      GATEWAY_ALLOWED_ORIGINS: friend,
    })
    await browser.openPage(CREDENTIAL)
    const from = (origin: string) =>
      upgrade(port, '/terminal/ws', [cookie(jwt), HTTPS, `Origin: ${origin}`, TTY])
    for (const origin of ['https://research.hubify.com', 'https://evil.example', 'null']) {
      const { dials } = ttyd
      const before = dials()
      const { answer } = await from(origin)
      const refusal = { code: 'origin-not-allowed', stage: 'authentication' } as const
      await assertRefused(t, { logLine, dials }, answer, { ...refusal, dials: before })
    }
    assertNotLent(t, { ttyd }, await from(friend))
    await assertLent(t, { ttyd }, await browser.connect())
  },
)

t.test('credentials in a handshake are not replaced', async (t) => {
  const { browser, ttyd } = await start(t)
  await browser.openPage(CREDENTIAL)
  const own = await browser.connect([`Authorization: ${basic('user:wrong')}`])
  t.equal(own.answer.status, 502)
  t.equal(ttyd.handshakes().at(-1), basic('user:wrong'))
  const empty = await browser.connect(['Authorization:'])
  t.equal(empty.answer.status, 502, 'an empty one is one')
  const hidden = await browser.connect([
    `Authorization: ${basic('user:wrong')}`,
    'Connection: Upgrade, Authorization',
  ])
  assertNotLent(t, { ttyd }, hidden)
  await assertLent(t, { ttyd }, await browser.connect(['Connection: Upgrade, Authorization']))
})

t.test('credentials that never reached the service do not count as accepted', async (t) => {
  const service = await startUpstream(t)
  const { port, ...gateway } = await startBefore(t, service)
  const jwt = await token()
  const fields = [cookie(jwt), HTTPS, `Authorization: ${basic(CREDENTIAL)}`]
  const answer = await send(port, 'GET /terminal/', [...fields, 'Connection: close, Authorization'])
  t.equal(answer.status, 200)
  t.equal(service.requests.at(-1)?.headers.authorization, undefined)
  t.equal(gateway.running.parts.basicMemory.size, 0)
})

t.test('a response of the gateway itself proves no credentials', async (t) => {
  const { browser, running, port, jwt } = await start(t)
  const fields = [cookie(jwt), HTTPS, `Authorization: ${basic(CREDENTIAL)}`]
  for (const [line, extra] of [
    ['GET /terminal/.env', []],
    ['GET /terminal/', ['RSC: 1']],
    ['POST /terminal/', ['Content-Length: 0']],
    ['GET /terminal/', ['Service-Worker: script']],
  ] as const)
    t.ok((await send(port, line, [...fields, ...extra])).status >= 400)
  t.equal(running.parts.basicMemory.size, 0)
  t.equal((await send(port, 'GET /_gateway/sign-in', fields)).status, 200)
  t.equal(running.parts.basicMemory.size, 0)
  await browser.get('/terminal/', CREDENTIAL)
  t.equal(running.parts.basicMemory.size, 1)
})

t.test('the other services neither prove nor get credentials', async (t) => {
  const { port, services, running } = await startWorkspace(t, { GATEWAY_CONTROL_UI: '/chat' })
  const jwt = await token()
  const session = [cookie(jwt), HTTPS, `Origin: ${ORIGIN}`]
  const authorization = `Authorization: ${basic(CREDENTIAL)}`
  for (const path of ['/', '/x', '/api/x', '/chat/', '/health', '/terminalx'])
    t.equal((await send(port, `GET ${path}`, [...session, authorization])).status, 200)
  t.equal(running.parts.basicMemory.size, 0)
  t.equal((await send(port, 'GET /terminal/', [...session, authorization])).status, 200)
  t.equal(running.parts.basicMemory.size, 1)
  for (const path of ['/', '/_next/hmr', '/api/ws', '/chat/ws', '/terminalx/ws']) {
    const { answer, socket, closed } = await upgrade(port, path, [...session, TTY])
    t.equal(answer.status, 101)
    socket.destroy()
    await closed
  }
  const seen = [...services.dashboard.requests, ...services.api.requests]
  const handshakes = seen.filter(({ headers }) => headers.upgrade !== undefined)
  t.equal(handshakes.length, 5)
  for (const { headers, url } of handshakes) t.equal(headers.authorization, undefined, url)
})

t.test('a changed password replaces the old one', async (t) => {
  const { browser, ttyd } = await start(t)
  await browser.openPage(CREDENTIAL)
  ttyd.credential = NEW_CREDENTIAL
  t.equal(await browser.openPage(NEW_CREDENTIAL), 200)
  await assertLent(t, { ttyd }, await browser.connect(), NEW_CREDENTIAL)
})

t.test('credentials that the terminal no longer accepts are used once and forgotten', async (t) => {
  const { browser, ttyd } = await start(t)
  await browser.openPage(CREDENTIAL)
  ttyd.credential = NEW_CREDENTIAL
  t.equal((await browser.connect()).answer.status, 502)
  t.equal(ttyd.handshakes().at(-1), basic(CREDENTIAL))
  assertNotLent(t, { ttyd }, await browser.connect())
  ttyd.credential = CREDENTIAL
  assertNotLent(t, { ttyd }, await browser.connect())
  await browser.openPage(CREDENTIAL)
  await assertLent(t, { ttyd }, await browser.connect())
})

t.test('the same holds when the terminal refuses with an HTTP response', async (t) => {
  for (const status of [401, 403, 200]) {
    const service = await startUpstream(t, undefined, (_request, socket) => {
      socket.end(`HTTP/1.1 ${status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`)
    })
    const { port, running } = await startBefore(t, service)
    const browser = safari(port, await token())
    await browser.get('/terminal/', CREDENTIAL)
    t.equal(running.parts.basicMemory.size, 1)
    t.equal((await browser.connect()).answer.status, status)
    t.equal(service.requests.at(-1)?.headers.authorization, basic(CREDENTIAL))
    t.equal(running.parts.basicMemory.size, 0)
  }
})

t.test(
  'a browser that disconnects during its handshake does not remove the credentials',
  async (t) => {
    let isWaiting = false
    let switches = false
    const service = await startUpstream(t, undefined, (request, socket) => {
      isWaiting = true
      if (switches) socket.write(switchingProtocols(request))
    })
    const gateway = await startBefore(t, service)
    const jwt = await token()
    const browser = safari(gateway.port, jwt)
    await browser.get('/terminal/', CREDENTIAL)
    const fields = handshake([cookie(jwt), HTTPS, `Origin: ${ORIGIN}`, TTY])
    const leaving = await open(gateway.port)
    leaving.write(requestBytes('GET /terminal/ws', fields))
    await eventually(() => isWaiting, 'the handshake has arrived')
    leaving.destroy()
    await gateway.logLine(({ websocket }) => websocket === true)
    switches = true
    const { answer, socket } = await browser.connect()
    t.equal(answer.status, 101)
    t.equal(service.requests.at(-1)?.headers.authorization, basic(CREDENTIAL))
    socket.destroy()
    await gateway.settled()
  },
)

t.test('signing out forgets the credentials of that session alone', async (t) => {
  const { browser, ttyd, port, jwt, running } = await start(t)
  const other = safari(port, await token())
  await browser.openPage(CREDENTIAL)
  await other.openPage(CREDENTIAL)
  const fields = [cookie(jwt), HTTPS, `Origin: ${ORIGIN}`, 'Content-Length: 0']
  t.equal((await send(port, 'POST /_gateway/sign-out', fields)).status, 303)
  t.equal(running.parts.basicMemory.size, 1)
  t.equal((await browser.connect()).answer.status, 401)
  t.same(ttyd.handshakes(), [], 'the terminal saw no handshake')
  await assertLent(t, { ttyd }, await other.connect())
})

t.test('a response that was in flight when the session signed out proves nothing', async (t) => {
  let answerNow = () => {}
  const service = await startUpstream(t, (_request, response) => {
    answerNow = () => void response.end('late')
  })
  const { port, running } = await startBefore(t, service)
  const jwt = await token()
  const late = safari(port, jwt).get('/terminal/', CREDENTIAL)
  await eventually(() => service.requests.length === 1, 'the request has arrived')
  const fields = [cookie(jwt), HTTPS, `Origin: ${ORIGIN}`, 'Content-Length: 0']
  t.equal((await send(port, 'POST /_gateway/sign-out', fields)).status, 303)
  answerNow()
  await late // a 200, or the 401 of a session that is over
  t.equal(running.parts.basicMemory.size, 0)
})

t.test(
  'the credentials are forgotten when the token expires, even within the leeway',
  async (t) => {
    const { ttyd, port, running } = await start(t, { GATEWAY_JWT_LEEWAY_SECONDS: '60' })
    const browser = safari(port, await token({ ttlSeconds: 4 }))
    t.equal((await browser.get('/terminal/', CREDENTIAL)).status, 200)
    t.equal(running.parts.basicMemory.size, 1)
    await eventually(() => running.parts.basicMemory.size === 0, 'forgotten', 15_000)
    assertNotLent(t, { ttyd }, await browser.connect())
  },
)

t.test('the credentials are forgotten when the token’s key is removed', async (t) => {
  const previous = 'another-key-of-houston-81c0a7d6e5f4b392'
  const settings = { GATEWAY_JWT_PREVIOUS_SECRETS: previous }
  const { browser, ttyd, port, running } = await start(t, settings)
  const old = safari(port, await token({ secret: previous }))
  await browser.openPage(CREDENTIAL)
  await old.openPage(CREDENTIAL)
  running.setKeys([SECRET])
  t.equal(running.parts.basicMemory.size, 1)
  t.equal((await old.connect()).answer.status, 401)
  running.setKeys([SECRET, previous])
  assertNotLent(t, { ttyd }, await old.connect())
  await assertLent(t, { ttyd }, await browser.connect())
})

t.test(
  'a client with the session but without the password can try ten tokens of the terminal',
  async (t) => {
    const { browser, ttyd } = await start(t)
    await browser.openPage(CREDENTIAL)
    const statuses: number[] = []
    for (let i = 0; i < 14; i++) {
      const opened = await browser.connect()
      statuses.push(opened.answer.status)
      if (opened.answer.status === 101) {
        opened.socket.write(hello(`user:guess${i}`))
        t.equal((await opened.until(4)).readUInt16BE(2), 1008, 'the terminal ends it')
      }
      opened.socket.destroy()
      await opened.closed
    }
    t.same(statuses, [...Array.from({ length: 10 }, () => 101), 502, 502, 502, 502])
    t.equal(ttyd.handshakes().filter((one) => one !== undefined).length, 10)
    await browser.openPage(CREDENTIAL)
    await assertLent(t, { ttyd }, await browser.connect())
  },
)

t.test('the password appears in no response, log line, decision, metric or file', async (t) => {
  const { browser, ttyd, jwt, config, logLines, logLine, running } = await start(t, {
    GATEWAY_LOG_LEVEL: 'trace',
  })
  const answers = [await browser.get('/terminal/', CREDENTIAL)]
  const opened = await browser.connect()
  answers.push(opened.answer)
  opened.socket.write(hello('user:wrong'))
  t.equal((await opened.until(4)).readUInt16BE(2), 1008, 'the terminal ends it')
  opened.socket.destroy()
  ttyd.credential = NEW_CREDENTIAL
  answers.push((await browser.connect()).answer, (await browser.connect()).answer)
  t.same(
    answers.map(({ status }) => status),
    [200, 101, 502, 502],
  )
  t.same(ttyd.handshakes(), [basic(CREDENTIAL), basic(CREDENTIAL), undefined])
  const ids = answers.map(({ headers }) => headers['x-request-id'] ?? '')
  for (const id of ids) await logLine((line) => line['id'] === id)
  const paths = [...ids.map((id) => `/explain/${id}`), '/metrics', '/status']
  const told = await Promise.all(paths.map((path) => askAdmin(config.stateDir, path)))
  for (const { status } of told) t.equal(status, 200)
  await running.close()
  const files = readdirSync(config.stateDir).map((name) =>
    readFileSync(join(config.stateDir, name), 'utf8'),
  )
  t.ok(files.length > 0, 'budgets were saved')
  const everything = [
    ...answers.map(({ raw }) => raw),
    opened.received().toString('latin1'),
    JSON.stringify(logLines()),
    ...told.map(({ body }) => body),
    ...files,
  ].join('\n')
  t.match(everything, /terminal\/ws/, 'there was something to look at')
  const [, encoded = ''] = basic(CREDENTIAL).split(' ')
  for (const secret of [encoded, CREDENTIAL, 'pass of the terminal', encoded.slice(4, -4)])
    t.notOk(everything.includes(secret), `${secret} is nowhere`)
  t.notOk(everything.includes(jwt))
})
