/** What stays the same while one gateway replaces another? The process id, the admin socket and the budgets. */
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { SECRET, testSettings, token } from '../helpers/gateway.ts'
import { PATIENCE_MS, serveWithPortKeeper } from '../helpers/port-keeper.ts'
import { run, serve, temporaryFolder } from '../helpers/process.ts'
import { startRawUpstream, startUpstream } from '../helpers/upstream.ts'
import { eventually } from '../helpers/waiting.ts'
import { gather, open, requestBytes, send, upgrade } from '../helpers/wire.ts'

const authorization = async () => `Authorization: Bearer ${await token()}`

t.test(
  'the port keeper keeps its process id, its PID file and its admin socket while the gateway changes',
  async (t) => {
    const pidFile = join(temporaryFolder(t), 'gateway.pid')
    const program = await serveWithPortKeeper(t, { GATEWAY_PID_FILE: pidFile })
    const number = () => (existsSync(pidFile) ? readFileSync(pidFile, 'utf8') : '')
    await eventually(() => number() === `${program.pid}\n`, 'the number', PATIENCE_MS)
    const first = await program.gatewayPid()
    t.not(first, program.pid)

    await program.replace()
    const second = await program.gatewayPid()
    t.notOk([first, program.pid].includes(second), 'the admin door is the new one’s at once')
    await program.said('stopped')
    t.equal(await program.gatewayPid(), second, 'and stays so when the old one has ended')
    t.equal(statSync(join(program.stateDir, 'admin.sock')).mode & 0o777, 0o600)
    t.equal(number(), `${program.pid}\n`)

    const settings = { GATEWAY_STATE_DIR: program.stateDir, GATEWAY_HOT_RESTART: 'true' }
    const twice = run(t, ['serve'], testSettings({ ...settings, GATEWAY_PID_FILE: pidFile }))
    t.equal(await twice.exited, 69)
    t.match(twice.stderr(), `names process ${program.pid}, which is running`)
    const sameState = run(t, ['serve'], testSettings(settings))
    t.equal(await sameState.exited, 69)
    t.match(sameState.stderr(), `GATEWAY_STATE_DIR ${program.stateDir} is in use: another gateway`)
    const samePort = run(
      t,
      ['serve'],
      testSettings({
        GATEWAY_STATE_DIR: temporaryFolder(t),
        GATEWAY_HOT_RESTART: 'true',
        GATEWAY_PORT: `${program.port}`,
      }),
    )
    t.equal(await samePort.exited, 69)
    t.match(samePort.stderr(), `GATEWAY_PORT ${program.port} is taken by another process`)
    t.equal(await program.gatewayPid(), second, 'the one that runs was not touched')

    t.equal(await program.stop(), 0)
    t.equal(existsSync(pidFile), false)
    t.same(readdirSync(program.stateDir), ['budgets.json', 'state.db', 'state.lock'])
  },
)

t.test('a successor that cannot start changes nothing', async (t) => {
  const secretFile = join(temporaryFolder(t), 'secret')
  writeFileSync(secretFile, SECRET)
  const service = await startUpstream(t)
  const program = await serveWithPortKeeper(t, {
    GATEWAY_JWT_SECRET: undefined,
    GATEWAY_JWT_SECRET_FILE: secretFile,
    GATEWAY_DASHBOARD_URL: service.url,
  })
  const auth = await authorization()
  const first = await program.gatewayPid()
  const socket = await upgrade(program.port, '/', [auth])
  writeFileSync(secretFile, 'too short')
  program.child.kill('SIGUSR2')
  await program.said('successor not ready; the gateway goes on')
  t.match(program.logLines().at(-1), { level: 'error', code: 78 })
  const reason = 'GATEWAY_JWT_SECRET_FILE is shorter than 32 bytes'
  await eventually(() => program.stderr().includes(reason), 'the reason', PATIENCE_MS)
  t.equal(await program.gatewayPid(), first)
  t.equal((await send(program.port, 'GET /', [auth])).status, 200)
  t.equal(socket.received().length, 0, 'nobody was told to come back')
  socket.socket.destroy()

  writeFileSync(secretFile, SECRET)
  await program.replace()
  t.not(await program.gatewayPid(), first, 'mended, it can be replaced')
})

t.test('a SIGUSR2 during a replacement causes another replacement', async (t) => {
  const program = await serveWithPortKeeper(t)
  program.child.kill('SIGUSR2')
  await program.said('replacing the gateway')
  program.child.kill('SIGUSR2')
  await program.said('gateway replaced', 2)
  t.equal(await program.stop(), 0)
})

t.test('each request is counted once, whichever gateway handled it', async (t) => {
  const program = await serveWithPortKeeper(t, {
    GATEWAY_RATE_LIMIT: '8',
    GATEWAY_RATE_LIMIT_SECONDS: '3600',
    GATEWAY_DRAIN_SECONDS: '60',
  })
  const remaining = async (port: number) =>
    Number(/r=([0-9]+)/.exec((await send(port, 'GET /')).headers['ratelimit'] ?? '')?.[1])
  const kept = await open(program.port)
  const received = gather(kept)
  kept.write(requestBytes('GET /'))
  await received.until((text) => text.includes('\r\n\r\n'))
  t.equal(await remaining(program.port), 6)
  await program.replace()
  await program.said('draining')
  t.equal(await remaining(program.port), 5, 'what was spent before is spent')
  kept.write(requestBytes('GET /')) // handled by the old gateway, while the new one counts too
  await received.over
  await program.said('stopped')
  const after: number[] = []
  await eventually(() => !existsSync(join(program.stateDir, 'budgets.json')), 'taken', PATIENCE_MS)
  for (let i = 0; i < 4; i++) after.push(await remaining(program.port))
  t.same(after, [3, 2, 1, 0])
  t.equal((await send(program.port, 'GET /')).status, 429)
  await program.replace()
  t.equal((await send(program.port, 'GET /')).status, 429, 'no replacement gives it back')
})

t.test(
  'the port keeper and the gateway end together, and the next start needs no cleanup',
  async (t) => {
    const settings = {
      GATEWAY_STATE_DIR: temporaryFolder(t),
      GATEWAY_PID_FILE: join(temporaryFolder(t), 'gateway.pid'),
    }
    const first = await serveWithPortKeeper(t, settings)
    process.kill(await first.gatewayPid(), 'SIGKILL')
    t.equal(await first.exited, 1, 'a supervisor sees a crash as a crash')

    const second = await serveWithPortKeeper(t, settings)
    const orphan = await second.gatewayPid()
    const port = second.port
    second.child.kill('SIGKILL')
    await second.exited
    await eventually(() => !existsSync(`/proc/${orphan}`), 'the gateway has ended too', PATIENCE_MS)

    const third = await serveWithPortKeeper(t, { ...settings, GATEWAY_PORT: `${port}` })
    t.equal(await third.gatewayPid().then((pid) => pid > 0), true, 'with its admin door')
    third.child.kill('SIGINT')
    t.equal(await third.exited, 0)
  },
)

t.test(
  'SIGHUP reaches the gateway; SIGUSR2 without a port keeper does not end the process',
  async (t) => {
    const kept = await serveWithPortKeeper(t)
    kept.child.kill('SIGHUP')
    await kept.said('keys replaced')
    process.kill(await kept.gatewayPid(), 'SIGUSR2')
    await kept.said('nothing to be done on SIGUSR2 for a gateway that has a port keeper')

    const alone = await serve(t)
    alone.child.kill('SIGUSR2')
    await alone.logged('nothing to be done on SIGUSR2 without GATEWAY_HOT_RESTART')
    t.equal((await send(alone.port, 'GET /')).status, 401)
  },
)

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  t.test(`${signal} to both processes, as systemd sends it, counts once`, async (t) => {
    const sockets: Socket[] = []
    const service = await startRawUpstream(t, (socket) => sockets.push(socket))
    const kept = await serveWithPortKeeper(t, { GATEWAY_DASHBOARD_URL: service.url })
    const client = await open(kept.port)
    const received = gather(client)
    client.write(requestBytes('GET /', [await authorization(), 'Connection: close']))
    await eventually(() => service.dials() === 1, 'in flight', PATIENCE_MS)
    const gateway = await kept.gatewayPid()
    kept.child.kill(signal)
    await kept.said('draining')
    process.kill(gateway, signal)
    process.kill(gateway, 'SIGTERM')
    kept.child.kill('SIGHUP') // handled after the other signals, so its log line shows that they were handled
    await kept.said('keys replaced')
    for (const socket of sockets) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
    t.match((await received.over).text, /^HTTP\/1\.1 200 /, 'the request was waited for')
    t.equal(await kept.exited, 0)
  })
}

t.test('a PID file that cannot be written ends both processes, with 78', async (t) => {
  const program = run(
    t,
    ['serve'],
    testSettings({
      GATEWAY_STATE_DIR: temporaryFolder(t),
      GATEWAY_HOT_RESTART: 'true',
      GATEWAY_PID_FILE: '/nonexistent/gateway.pid',
    }),
  )
  t.equal(await program.exited, 78)
  t.match(
    program.stderr(),
    'GATEWAY_PID_FILE "/nonexistent/gateway.pid" cannot be written (ENOENT)',
  )
  t.match(program.logLines().at(-1), { msg: 'stopped' })
})
