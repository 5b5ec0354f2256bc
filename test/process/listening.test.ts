/** Where does the program listen, and how do other programs find it? */
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { TYPED } from '../helpers/door.ts'
import { testSettings, token } from '../helpers/gateway.ts'
import { run, serve, temporaryFolder } from '../helpers/process.ts'
import { startUpstream } from '../helpers/upstream.ts'
import { eventually } from '../helpers/waiting.ts'
import { gather, requestBytes, send } from '../helpers/wire.ts'

t.test('the program listens on a free port and logs it', async (t) => {
  const program = await serve(t)
  const line = await program.logged('listening')
  t.match(line, { workspace: 'houston', pid: program.pid })
  t.ok(program.port > 0)
  t.equal((await send(program.port, 'GET /')).status, 401)
})

t.test('the PID file exists while the program listens, and not afterwards', async (t) => {
  const folder = temporaryFolder(t)
  const pidFile = join(folder, 'gateway.pid')
  writeFileSync(pidFile, '999999\n') // no process has this number, as after a crash
  const program = await serve(t, { GATEWAY_PID_FILE: pidFile })
  await eventually(() => readFileSync(pidFile, 'utf8') === `${program.pid}\n`, 'the number')

  const second = run(
    t,
    ['serve'],
    testSettings({ GATEWAY_STATE_DIR: folder, GATEWAY_PID_FILE: pidFile }),
  )
  t.equal(await second.exited, 69)
  t.match(second.stderr(), new RegExp(`names process ${program.pid}, which is running`))
  t.equal(readFileSync(pidFile, 'utf8'), `${program.pid}\n`)

  program.child.kill('SIGTERM')
  t.equal(await program.exited, 0)
  t.equal(existsSync(pidFile), false)
})

t.test('a socket whose folder is missing is not called forbidden', async (t) => {
  const stateDir = temporaryFolder(t)
  const socket = join(stateDir, 'missing', 'gateway.sock')
  const instead = { GATEWAY_HOST: undefined, GATEWAY_PORT: undefined, GATEWAY_SOCKET: socket }
  const settings = testSettings({ GATEWAY_STATE_DIR: stateDir, ...instead })
  const program = run(t, ['serve'], settings)
  t.equal(await program.exited, 69)
  t.match(program.stderr(), `GATEWAY_SOCKET ${socket} cannot be used (its folder does not exist)`)
})

t.test('a PID file with the number of another program, or with nonsense, is ignored', async (t) => {
  await Promise.all(
    [`${process.ppid}\n`, 'nonsense', '', '-1', '1e9'].map(async (content) => {
      const pidFile = join(temporaryFolder(t), 'gateway.pid')
      writeFileSync(pidFile, content)
      const program = await serve(t, { GATEWAY_PID_FILE: pidFile })
      await eventually(() => readFileSync(pidFile, 'utf8') === `${program.pid}\n`, 'the number')
      program.child.kill('SIGTERM')
      t.equal(await program.exited, 0)
    }),
  )
})

t.test('the PID file of a successor is not removed', async (t) => {
  const pidFile = join(temporaryFolder(t), 'gateway.pid')
  const program = await serve(t, { GATEWAY_PID_FILE: pidFile })
  await eventually(() => existsSync(pidFile), 'the file')
  writeFileSync(pidFile, '12345\n')
  program.child.kill('SIGTERM')
  await program.exited
  t.equal(readFileSync(pidFile, 'utf8'), '12345\n')
})

t.test(
  'a Unix socket is for its owner only, replaced when stale, and removed at the end',
  async (t) => {
    const folder = temporaryFolder(t)
    const path = join(folder, 'gateway.sock')
    const stale = createServer().listen(path)
    await once(stale, 'listening')
    stale.unref()
    const service = await startUpstream(t)
    const crashed = run(
      t,
      ['serve'],
      testSettings({
        GATEWAY_PORT: undefined,
        GATEWAY_SOCKET: join(folder, 'second.sock'),
        GATEWAY_STATE_DIR: join(folder, 'state'),
      }),
    )
    await crashed.logged('listening')
    crashed.child.kill('SIGKILL')
    await crashed.exited
    t.ok(existsSync(join(folder, 'second.sock')), 'left over')
    const program = run(
      t,
      ['serve'],
      testSettings({
        GATEWAY_PORT: undefined,
        GATEWAY_SOCKET: join(folder, 'second.sock'),
        GATEWAY_DASHBOARD_URL: service.url,
        GATEWAY_STATE_DIR: join(folder, 'state'),
      }),
    )
    await program.logged('listening')
    stale.close()
    const mode = statSync(join(folder, 'second.sock')).mode
    t.equal(mode & 0o777, 0o600)
    const socket = connect(join(folder, 'second.sock'))
    const received = gather(socket)
    socket.write(
      requestBytes('GET /hello', [`Authorization: Bearer ${await token()}`, 'Connection: close']),
    )
    t.match((await received.over).text, /^HTTP\/1\.1 200 .*\/hello/s)
    program.child.kill('SIGTERM')
    t.equal(await program.exited, 0)
    t.equal(existsSync(join(folder, 'second.sock')), false)
  },
)

t.test('no secret and no token is in the output of the program', async (t) => {
  const service = await startUpstream(t)
  const secret = 'a-secret-of-houston-that-nobody-knows-4711'
  const program = await serve(t, {
    GATEWAY_DASHBOARD_URL: service.url,
    GATEWAY_API_URL: service.url,
    GATEWAY_JWT_SECRET: secret,
    GATEWAY_OPENCLAW_TOKEN: 'claw-token-0815',
  })
  const jwt = await token({ secret })
  t.equal((await send(program.port, 'GET /', [`Authorization: Bearer ${jwt}`])).status, 200)
  t.equal((await send(program.port, `GET /_gateway/sign-in?token=${jwt}`, TYPED)).status, 303)
  await send(program.port, 'GET /api/x?token=abcdefg', [
    `Authorization: Bearer ${jwt}`,
    'Cookie: a=secretcookie',
  ])
  program.child.kill('SIGTERM')
  await program.exited
  for (const text of [
    secret,
    jwt,
    jwt.split('.')[2] ?? '',
    'claw-token',
    'abcdefg',
    'secretcookie',
  ])
    t.notMatch(program.stdout() + program.stderr(), text)
})
