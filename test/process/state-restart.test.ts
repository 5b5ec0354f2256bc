/** Do sessions survive a restart and a replacement, does what has ended stay ended, and does one process at a time write? */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { SignJWT } from 'jose/jwt/sign'
import t from 'tap'
import { askAdmin } from '../../src/admin/ask.ts'
import { HTTPS, ORIGIN, signIn } from '../helpers/door.ts'
import { SECRET, testSettings, token } from '../helpers/gateway.ts'
import { PATIENCE_MS, serveWithPortKeeper } from '../helpers/port-keeper.ts'
import { run, serve, temporaryFolder } from '../helpers/process.ts'
import { startUpstream } from '../helpers/upstream.ts'
import { eventually, within } from '../helpers/waiting.ts'
import { gather, open, parseAnswer, requestBytes, send, type RawAnswer } from '../helpers/wire.ts'

const FORM = 'Content-Type: application/x-www-form-urlencoded'

const signOut = (cookie: string) => [cookie, HTTPS, `Origin: ${ORIGIN}`, 'Content-Length: 0']

const refusalOf = async (port: number, headers: readonly string[]) =>
  (await send(port, 'GET /', [HTTPS, ...headers])).headers['x-gateway-error']

/** `sid` in a header line with a session cookie. */
function sidOf(line: string): string {
  const [, payload = ''] = line.split('.')
  return (JSON.parse(Buffer.from(payload, 'base64url').toString()) as { sid: string }).sid
}

/** Opens a connection that has had a request. @returns sends another one, and waits for the end of the connection */
async function keepOpen(port: number): Promise<(bytes: string) => Promise<RawAnswer>> {
  const socket = await open(port)
  const received = gather(socket)
  socket.write(requestBytes('GET /_gateway/live'))
  await received.until((text) => text.includes('live'))
  return async (bytes) => {
    socket.write(bytes)
    const { text } = await received.over
    return parseAnswer(text.slice(text.lastIndexOf('HTTP/1.1 ')))
  }
}

/** The process ids of the children of a process. */
const childrenOf = (pid: number): number[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number)

t.test('sessions live on and endings hold, across restarts and replacements', async (t) => {
  const service = await startUpstream(t)
  const settings = { GATEWAY_DASHBOARD_URL: service.url }
  const first = await serve(t, settings)
  const ticket = await token()
  const living = await signIn(first.port, ticket)
  const ended = await signIn(first.port, await token())
  t.equal((await send(first.port, 'POST /_gateway/sign-out', signOut(ended))).status, 303)

  const second = run(t, ['serve'], testSettings({ GATEWAY_STATE_DIR: first.stateDir }))
  t.equal(await second.exited, 69, 'a second process is refused')
  t.match(second.stderr(), /^workspace-gateway: GATEWAY_STATE_DIR .* is in use[^\n]*\n$/)
  first.child.kill('SIGKILL') // with the log of the database unread, as after a crash
  await first.exited

  const kept = await serveWithPortKeeper(t, { ...settings, GATEWAY_STATE_DIR: first.stateDir })
  for (const round of ['restarted', 'replaced']) {
    t.equal(await refusalOf(kept.port, [living]), undefined, round)
    t.equal(await refusalOf(kept.port, [ended]), 'token-invalid')
    t.equal(await refusalOf(kept.port, [`Authorization: Bearer ${ticket}`]), 'ticket-used')
    if (round === 'restarted') await kept.replace()
  }
  t.equal((await send(kept.port, 'POST /_gateway/sign-out', signOut(living))).status, 303)
  await kept.replace()
  t.equal(await refusalOf(kept.port, [living]), 'token-invalid')
  t.equal(await kept.stop(), 0)
  t.same(
    readdirSync(first.stateDir).filter((name) => name.startsWith('state')),
    ['state.db', 'state.lock'],
  )
})

t.test(
  'a gateway that was replaced changes nothing: the next try reaches the successor',
  async (t) => {
    const service = await startUpstream(t, (request, response) => {
      if (request.url === '/stream') {
        response.writeHead(200, { 'Content-Type': 'text/event-stream' }).write('data: 1\n\n')
      } else response.end('hello')
    })
    const program = await serveWithPortKeeper(t, {
      ...{ GATEWAY_DASHBOARD_URL: service.url, GATEWAY_API_URL: service.url },
      GATEWAY_DRAIN_SECONDS: '60',
    })
    const { port } = program
    const own = [HTTPS, `Origin: ${ORIGIN}`]
    const cookie = await signIn(port, await token())
    const bobs = await signIn(port, await token({ subject: 'bob' }))
    const json = [...own, cookie, 'Content-Type: application/json']
    const make = '{"name":"ci"}'
    const made = await send(
      port,
      'POST /_gateway/v1/api-tokens',
      [...json, `Content-Length: ${make.length}`],
      make,
    )
    const apiToken = JSON.parse(made.body) as { id: string; token: string }
    const stream = await open(port)
    const events = gather(stream)
    stream.write(requestBytes('GET /stream', [cookie, HTTPS]))
    await events.until((text) => text.includes('data: 1'))

    const ticket = await token()
    const again = await new SignJWT() // without `jti` it may sign in again and again
      .setProtectedHeader({ alg: 'HS256' })
      .setSubject('bob')
      .setAudience('houston')
      .setExpirationTime('2h')
      .sign(new TextEncoder().encode(SECRET))
    const changes: Array<readonly [line: string, headers: readonly string[], body?: string]> = [
      ['POST /_gateway/sign-in', [HTTPS, FORM], `token=${ticket}`],
      ['POST /_gateway/sign-in', [HTTPS, FORM], `token=${again}`],
      ['POST /_gateway/renew', [...own, bobs, FORM], `token=${again}`],
      ['POST /_gateway/sign-out', [...own, cookie]],
      ['POST /_gateway/sign-out', [...own, cookie, FORM], 'all=true'],
      ['DELETE /_gateway/v1/session', [...own, cookie]],
      [`DELETE /_gateway/v1/sessions/${sidOf(bobs)}`, [...own, cookie]],
      ['POST /_gateway/v1/sessions/end', json, '{"all":true}'],
      [`DELETE /_gateway/v1/api-tokens/${apiToken.id}`, [...own, cookie]],
      ['POST /_gateway/v1/leaked-api-tokens', json, JSON.stringify({ text: apiToken.token })],
    ]
    const kept = await Promise.all(changes.map(() => keepOpen(port)))
    await program.replace()
    await program.said('draining')

    for (const [i, [line, headers, body = '']] of changes.entries()) {
      const answer = await kept[i]!(
        requestBytes(line, [...headers, `Content-Length: ${body.length}`], body),
      )
      t.equal(answer.status, 503, line)
      t.equal(answer.headers['x-gateway-error'], 'state-unavailable')
      t.equal(answer.headers['set-cookie'], undefined)
      t.equal(answer.headers['connection'], 'close', 'the next try reaches the successor')
    }
    t.notOk(stream.destroyed, 'nothing ended there')
    for (const credential of [cookie, bobs, `Authorization: Bearer ${apiToken.token}`])
      t.equal((await send(port, 'GET /api/x', [HTTPS, credential])).status, 200)
    t.type(await signIn(port, ticket), 'string', 'the ticket was not used up')
    t.equal((await send(port, 'POST /_gateway/sign-out', signOut(cookie))).status, 303)

    await events.over
    t.equal(await refusalOf(port, [cookie]), 'token-invalid')
  },
)

t.test('who signs in at the successor is known on connections to the old gateway', async (t) => {
  const service = await startUpstream(t)
  const program = await serveWithPortKeeper(t, {
    GATEWAY_DASHBOARD_URL: service.url,
    GATEWAY_DRAIN_SECONDS: '60',
  })
  const { port } = program
  const kept = await Promise.all(Array.from({ length: 5 }, () => keepOpen(port)))
  await program.replace()
  await program.said('draining')
  for (const ask of kept) {
    const mine = await signIn(port, await token())
    const answer = await ask(requestBytes('GET /', [HTTPS, mine]))
    t.equal(answer.status, 200)
    t.equal(answer.headers['connection'], 'close', 'it is the old one that answers')
  }
})

t.test('a stream in the old gateway ends with its session in the new one', async (t) => {
  const service = await startUpstream(t, (_request, response) => {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' }).write('data: 1\n\n')
  })
  const program = await serveWithPortKeeper(t, {
    GATEWAY_DASHBOARD_URL: service.url,
    GATEWAY_DRAIN_SECONDS: '60',
  })
  const { port, stateDir } = program
  const [mine, others] = [await signIn(port, await token()), await signIn(port, await token())]
  const open1 = await open(port)
  const open2 = await open(port)
  const [first, second] = [gather(open1), gather(open2)]
  open1.write(requestBytes('GET /stream', [mine, HTTPS]))
  open2.write(requestBytes('GET /stream', [others, HTTPS]))
  for (const events of [first, second]) await events.until((text) => text.includes('data: 1'))
  await program.replace()
  await program.said('draining')
  t.equal((await send(port, 'POST /_gateway/sign-out', signOut(mine))).status, 303)
  await first.over
  t.notOk(open2.destroyed, 'and no other stream does')
  open2.destroy()
  await second.over
  t.match(JSON.parse((await askAdmin(stateDir, '/status')).body), { state: { health: 'ok' } })
})

t.test('a predecessor that dies silently holds nobody up for longer than it lives', async (t) => {
  const service = await startUpstream(t)
  const program = await serveWithPortKeeper(t, { GATEWAY_DASHBOARD_URL: service.url })
  const cookie = await signIn(program.port, await token())
  let isHeld = false
  // On a busy machine the old one may retire before it is stopped; then this is tried again.
  for (let attempt = 1; attempt <= 5 && !isHeld; attempt++) {
    const old = await program.gatewayPid()
    const served = service.requests.length
    program.child.kill('SIGUSR2')
    await eventually(() => childrenOf(program.pid).length === 2, 'the successor', PATIENCE_MS)
    process.kill(old, 'SIGSTOP')
    await program.said('gateway replaced', attempt)
    const socket = await open(program.port)
    const received = gather(socket)
    socket.write(requestBytes('GET /', [cookie, HTTPS, 'Connection: close']))
    isHeld = !(await within(300, received.over))
    if (isHeld) {
      t.equal(service.requests.length, served, 'nothing is decided while the old one may write')
      const live = await send(program.port, 'GET /_gateway/live')
      t.equal(live.status, 200, 'what needs no session goes on')
    }
    process.kill(old, 'SIGKILL')
    t.match((await received.over).text, /^HTTP\/1\.1 200 /)
    await eventually(() => childrenOf(program.pid).length === 1, 'the old one is gone', PATIENCE_MS)
  }
  t.ok(isHeld)
  const ended = await signIn(program.port, await token())
  t.equal((await send(program.port, 'POST /_gateway/sign-out', signOut(ended))).status, 303)
})

t.test('a successor that cannot start leaves the writer as it was', async (t) => {
  const secretFile = join(temporaryFolder(t), 'secret')
  writeFileSync(secretFile, SECRET)
  const service = await startUpstream(t)
  const program = await serveWithPortKeeper(t, {
    GATEWAY_DASHBOARD_URL: service.url,
    GATEWAY_JWT_SECRET: undefined,
    GATEWAY_JWT_SECRET_FILE: secretFile,
  })
  writeFileSync(secretFile, 'too short')
  program.child.kill('SIGUSR2')
  await program.said('successor not ready; the gateway goes on')
  const cookie = await signIn(program.port, await token())
  t.equal(await refusalOf(program.port, [cookie]), undefined)
  writeFileSync(secretFile, SECRET)
  await program.replace()
  t.equal(await refusalOf(program.port, [cookie]), undefined)
})

t.test('a state of a newer program keeps the gateway from starting (78)', async (t) => {
  const first = await serve(t)
  first.child.kill('SIGTERM')
  await first.exited
  const { DatabaseSync } = await import('node:sqlite')
  const database = new DatabaseSync(join(first.stateDir, 'state.db'))
  database.exec("PRAGMA user_version = 99; UPDATE meta SET value = '7.8.9'")
  database.close()
  for (const command of ['serve', 'check']) {
    const program = run(t, [command], testSettings({ GATEWAY_STATE_DIR: first.stateDir }))
    t.equal(await program.exited, 78)
    t.match(
      program.stderr(),
      /^workspace-gateway: .* written by workspace-gateway 7\.8\.9[^\n]*\n$/,
    )
  }
})
