/** Does SIGHUP replace the secrets, and does an invalid file change nothing? */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { SECRET, token } from '../helpers/gateway.ts'
import { serve, temporaryFolder, type Program } from '../helpers/process.ts'
import { basic, safari, startTtyd } from '../helpers/ttyd.ts'
import { TTY } from '../helpers/socket-pairs.ts'
import { startUpstream } from '../helpers/upstream.ts'
import { eventually } from '../helpers/waiting.ts'
import { closeCode, send, upgrade } from '../helpers/wire.ts'

const NEXT = 'the-next-key-of-houston-9d2b77c1e04f5a38'
const bearer = async (secret: string) => `Authorization: Bearer ${await token({ secret })}`

/** Sends SIGHUP and waits for its log line. */
async function reload(program: Program): Promise<string> {
  const outcomes = () =>
    program
      .logLines()
      .flatMap(({ msg }) =>
        /^keys replaced|^secrets not reloaded/.test(String(msg)) ? [String(msg)] : [],
      )
  const before = outcomes().length
  program.child.kill('SIGHUP')
  await eventually(() => outcomes().length > before, 'reloaded')
  return outcomes().at(-1) ?? ''
}

t.test('SIGHUP replaces the key and closes the WebSockets of the old one', async (t) => {
  const file = join(temporaryFolder(t), 'secret')
  writeFileSync(file, `${SECRET}\n`)
  const service = await startUpstream(t)
  const program = await serve(t, {
    GATEWAY_JWT_SECRET: undefined,
    GATEWAY_JWT_SECRET_FILE: file,
    GATEWAY_DASHBOARD_URL: service.url,
    GATEWAY_TERMINAL_URL: service.url,
  })
  const [old, next] = [await bearer(SECRET), await bearer(NEXT)]
  t.equal((await send(program.port, 'GET /', [old])).status, 200)
  t.equal((await send(program.port, 'GET /', [next])).status, 401)
  const socket = await upgrade(program.port, '/terminal/ws', [old, TTY])
  t.equal(socket.answer.status, 101)

  for (const bad of ['short', '', 'change-me-change-me-change-me-change-me']) {
    writeFileSync(file, bad)
    t.match(await reload(program), 'secrets not reloaded')
    t.equal((await send(program.port, 'GET /', [old])).status, 200, 'the old one stays')
  }
  t.equal(socket.socket.destroyed, false)

  writeFileSync(file, NEXT)
  socket.socket.on('end', () => socket.socket.end())
  t.match(await reload(program), 'keys replaced')
  t.equal((await send(program.port, 'GET /', [old])).status, 401)
  t.equal((await send(program.port, 'GET /', [next])).status, 200)
  await socket.closed
  t.equal(closeCode(socket), 4401)
  t.notMatch(program.stdout(), /of-houston/)
  program.child.kill('SIGTERM')
  t.equal(await program.exited, 0)
})

t.test('SIGHUP replaces the token for OpenClaw, unless the file is invalid', async (t) => {
  const folder = temporaryFolder(t)
  const file = join(folder, 'claw')
  writeFileSync(file, 'first-token')
  const service = await startUpstream(t)
  const program = await serve(t, {
    GATEWAY_OPENCLAW_TOKEN_FILE: file,
    GATEWAY_API_URL: service.url,
  })
  const auth = await bearer(SECRET)
  const sent = async () => {
    await send(program.port, 'GET /api/x', [auth])
    return service.requests.at(-1)?.headers.authorization
  }
  t.equal(await sent(), 'Bearer first-token')
  writeFileSync(file, 'second-token\n')
  await reload(program)
  t.equal(await sent(), 'Bearer second-token')
  writeFileSync(file, 'two words')
  t.match(await reload(program), 'secrets not reloaded')
  t.equal(await sent(), 'Bearer second-token', 'a bad file keeps the old')
  t.notMatch(program.stdout(), /second-token|two words/)
})

t.test('SIGHUP without secret files changes nothing', async (t) => {
  const service = await startUpstream(t)
  const program = await serve(t, {
    GATEWAY_DASHBOARD_URL: service.url,
    GATEWAY_TERMINAL_URL: service.url,
  })
  const auth = await bearer(SECRET)
  const socket = await upgrade(program.port, '/terminal/ws', [auth, TTY])
  for (let i = 0; i < 5; i++) program.child.kill('SIGHUP')
  await reload(program)
  t.equal((await send(program.port, 'GET /', [auth])).status, 200)
  t.equal(socket.socket.destroyed, false)
  socket.socket.destroy()
})

t.test(
  'the remembered terminal password is gone with its key, even if the key comes back',
  async (t) => {
    const file = join(temporaryFolder(t), 'secret')
    writeFileSync(file, SECRET)
    const ttyd = await startTtyd(t, 'user:pass')
    const program = await serve(t, {
      GATEWAY_JWT_SECRET: undefined,
      GATEWAY_JWT_SECRET_FILE: file,
      GATEWAY_TERMINAL_URL: ttyd.url,
    })
    const browser = safari(program.port, await token())
    t.equal(await browser.openPage('user:pass'), 200)
    const before = await browser.connect()
    t.equal(before.answer.status, 101)
    before.socket.destroy()
    writeFileSync(file, NEXT)
    t.match(await reload(program), 'keys replaced')
    t.equal((await browser.connect()).answer.status, 401)
    writeFileSync(file, SECRET)
    t.match(await reload(program), 'keys replaced')
    t.equal((await browser.connect()).answer.status, 502)
    t.same(ttyd.handshakes(), [basic('user:pass'), undefined])
  },
)
