/** How does `workspace-gateway limits` start, keep, read again and stop? As a real process. */
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { askLimits, BEARER, CALLER_TOKEN, jsonOf } from '../helpers/limits.ts'
import { MAIN, run, temporaryFolder, watch } from '../helpers/process.ts'
import { NO_REDIS, startRedis } from '../helpers/redis.ts'
import { environmentOf, until } from '../helpers/waiting.ts'
import { gather, open, parseAnswer, requestBytes, send } from '../helpers/wire.ts'

/** The fields of a request whose body does not come. */
const HALF = [BEARER, 'Content-Type: application/json', 'Content-Length: 100']

const NEXT_TOKEN = 'the-next-token-of-callers-9876543210'

/** A folder with a token, and settings that use it. */
function prepared(t: Test) {
  const folder = temporaryFolder(t)
  const tokenFile = join(folder, 'token')
  const policyFile = join(folder, 'policies.yaml')
  writeFileSync(tokenFile, `${CALLER_TOKEN}\n`)
  const env = {
    LIMITS_PORT: '0',
    LIMITS_TOKEN_FILE: tokenFile,
    LIMITS_STATE_DIR: join(folder, 'state'),
  }
  return { folder, tokenFile, policyFile, env }
}

/** Starts the service and waits until it is ready. */
async function start(t: Test, env: Record<string, string>) {
  const program = run(t, ['limits'], env)
  const ready = await program.logged('limiting')
  const port = Number(ready['port'])
  const ask = (line: string, body?: unknown) => askLimits(port, line, body, [BEARER])
  return { ...program, port, ready, ask }
}

const policyText = (points: number) =>
  `policies:\n  - name: sandboxes\n    windows: [{points: ${points}, window: 3600}]\n`

t.test('the ready line says where it listens and what it keeps', async (t) => {
  const { folder, env, policyFile } = prepared(t)
  writeFileSync(policyFile, policyText(2))
  const socket = join(folder, 'limits.sock')
  const limits = await start(t, {
    ...env,
    LIMITS_SOCKET: socket,
    LIMITS_POLICY_FILE: policyFile,
  })
  t.match(limits.ready, {
    level: 'info',
    host: '127.0.0.1',
    socket,
    store: 'sqlite',
    policies: ['provision', 'sandboxes'],
    pid: limits.pid,
  })
  t.equal((await limits.ask('POST /v1/sandboxes', { user: 'ada' })).status, 200)
  t.equal((await askLimits(socket, 'POST /v1/sandboxes', { user: 'ada' })).status, 200)
  t.equal((await limits.ask('POST /v1/sandboxes', { user: 'ada' })).status, 429)
})

t.test('what was answered is kept, also when the process is killed at once', async (t) => {
  const { env } = prepared(t)
  for (let round = 0; round < 3; round++) {
    const limits = await start(t, env)
    const user = `user-${round}`
    t.equal((await limits.ask('POST /v1/provision', { user, grant: 'a' })).status, 200)
    limits.child.kill('SIGKILL')
    t.equal(await limits.exited, 'SIGKILL')
  }
  const limits = await start(t, env)
  for (let round = 0; round < 3; round++) {
    const user = `user-${round}`
    t.equal((await limits.ask('POST /v1/provision', { user })).status, 429)
    const again = jsonOf(await limits.ask('POST /v1/provision', { user, grant: 'a' }))
    t.match(again, { repeated: true })
  }
})

t.test('two processes do not share a folder, a port or a socket', async (t) => {
  const { folder, env } = prepared(t)
  const socket = join(folder, 'limits.sock')
  const first = await start(t, { ...env, LIMITS_SOCKET: socket })
  const same = run(t, ['limits'], env)
  t.equal(await same.exited, 69)
  t.match(same.stderr(), `LIMITS_STATE_DIR ${env.LIMITS_STATE_DIR} is in use`)
  const other = { ...env, LIMITS_STATE_DIR: join(folder, 'other') }
  const port = run(t, ['limits'], { ...other, LIMITS_PORT: String(first.port) })
  t.equal(await port.exited, 69)
  t.match(port.stderr(), `LIMITS_PORT ${first.port} is taken by another process`)
  const path = run(t, ['limits'], { ...other, LIMITS_SOCKET: socket })
  t.equal(await path.exited, 69)
  t.match(path.stderr(), `LIMITS_SOCKET "${socket}" is in use`)
  t.equal((await first.ask('POST /v1/provision', { user: 'ada' })).status, 200)
  t.equal((await askLimits(socket, 'GET /v1/provision?user=ada')).status, 200)
  first.child.kill('SIGKILL')
  await first.exited
  const after = await start(t, { ...env, LIMITS_SOCKET: socket })
  t.equal((await askLimits(socket, 'POST /v1/provision', { user: 'ada' })).status, 429)
  after.child.kill('SIGTERM')
  t.equal(await after.exited, 0)
})

t.test('SIGHUP takes a new token beside the old one, and no call is refused', async (t) => {
  const { env, tokenFile } = prepared(t)
  const limits = await start(t, env)
  const ask = async (token: string) =>
    (await send(limits.port, 'GET /v1/provision?user=ada', [`Authorization: Bearer ${token}`]))
      .status
  /** Replaces the tokens while a caller with one that stays in force asks without a pause. */
  async function rotate(tokens: readonly string[], caller: string, lines: number): Promise<void> {
    writeFileSync(tokenFile, `${tokens.join('\n')}\n`)
    const refused: number[] = []
    limits.child.kill('SIGHUP')
    await until('it was read', async () => {
      refused.push(await ask(caller))
      return limits.logLines().filter(({ msg }) => msg === 'tokens read again').length === lines
    })
    t.same(
      refused.filter((status) => status !== 200),
      [],
    )
  }
  t.equal(await ask(NEXT_TOKEN), 401)
  await rotate([CALLER_TOKEN, NEXT_TOKEN], CALLER_TOKEN, 1)
  t.equal(await ask(NEXT_TOKEN), 200)
  await rotate([NEXT_TOKEN], NEXT_TOKEN, 2)
  t.equal(await ask(CALLER_TOKEN), 401)
  t.equal(await ask(NEXT_TOKEN), 200)
})

t.test(
  'strangers leave room for callers also where the process may have few files open',
  async (t) => {
    const { folder, env } = prepared(t)
    const socket = join(folder, 'limits.sock')
    const limited = ['-c', 'ulimit -n 160 && exec "$@"', 'sh', process.execPath, MAIN, 'limits']
    const child = spawn('sh', limited, {
      env: { ...process.env, ...env, LIMITS_SOCKET: socket },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const limits = watch(t, child)
    const port = Number((await limits.logged('limiting'))['port'])
    const strangers = await Promise.all(Array.from({ length: 100 }, () => open(port)))
    const oldest = strangers.map((stranger) => once(stranger, 'close'))[0]
    for (const to of [port, socket])
      t.equal((await askLimits(to, 'GET /v1/provision?user=ada', undefined, [BEARER])).status, 200)
    await oldest
    for (const stranger of strangers) stranger.destroy()
  },
)

t.test('SIGHUP reads no pipe and no device, which would keep every caller waiting', async (t) => {
  const { env, policyFile, tokenFile } = prepared(t)
  writeFileSync(policyFile, policyText(1))
  const limits = await start(t, { ...env, LIMITS_POLICY_FILE: policyFile })
  const refused = (count: number) =>
    until('both are refused', () => {
      const said = limits.logLines().filter(({ msg }) => String(msg).includes('not read again'))
      return said.length === 2 * count
    })
  const kinds: ReadonlyArray<(path: string) => unknown> = [
    (path) => execFileSync('mkfifo', [path]),
    (path) => symlinkSync('/dev/zero', path),
    (path) => mkdirSync(path),
  ]
  for (const [round, make] of kinds.entries()) {
    for (const path of [tokenFile, policyFile]) {
      rmSync(path)
      make(path)
    }
    limits.child.kill('SIGHUP')
    await refused(round + 1)
    t.equal((await limits.ask('GET /v1/sandboxes?user=ada')).status, 200)
  }
})

t.test('SIGHUP reads policies again, and a bad file changes nothing', async (t) => {
  const { env, policyFile, tokenFile } = prepared(t)
  writeFileSync(policyFile, policyText(1))
  const limits = await start(t, { ...env, LIMITS_POLICY_FILE: policyFile })
  const ask = async () => (await limits.ask('POST /v1/sandboxes', { user: 'ada' })).status
  const logged = (message: string, count: number) =>
    until(message, () => limits.logLines().filter(({ msg }) => msg === message).length === count)
  t.equal(await ask(), 200)
  t.equal(await ask(), 429)
  writeFileSync(policyFile, policyText(2))
  limits.child.kill('SIGHUP')
  await logged('policies read again', 1)
  t.equal(await ask(), 200, 'one more, with what was taken before')
  t.equal(await ask(), 429)
  for (const bad of ['policies: [', policyText(0), '']) {
    writeFileSync(policyFile, bad)
    writeFileSync(tokenFile, bad === '' ? '' : 'too short')
  }
  limits.child.kill('SIGHUP')
  await logged('policies not read again; those in force stay', 1)
  await logged('tokens not read again; those in force stay', 1)
  t.equal(await ask(), 429)
  t.equal((await limits.ask('GET /v1/sandboxes?user=ada')).status, 200)
  // Each file is for itself.
  writeFileSync(policyFile, policyText(3))
  limits.child.kill('SIGHUP')
  await logged('policies read again', 2)
  t.equal(await ask(), 200)
  writeFileSync(policyFile, 'policies: [')
  writeFileSync(tokenFile, `${CALLER_TOKEN}\n${NEXT_TOKEN}`)
  limits.child.kill('SIGHUP')
  await logged('policies not read again; those in force stay', 2)
  const next = [`Authorization: Bearer ${NEXT_TOKEN}`]
  t.equal((await send(limits.port, 'GET /v1/sandboxes?user=ada', next)).status, 200)
})

t.test('SIGTERM lets a request end whose body is half sent, and then ends with 0', async (t) => {
  const { env } = prepared(t)
  const limits = await start(t, env)
  const body = '{"user":"ada"}'
  const fields = [BEARER, 'Content-Type: application/json', `Content-Length: ${body.length}`]
  const bytes = requestBytes('POST /v1/provision', fields, body)
  const socket = await open(limits.port)
  const received = gather(socket)
  socket.write(bytes.slice(0, -5))
  const idle = await open(limits.port)
  const idleReceived = gather(idle)
  idle.write(requestBytes('GET /healthz'))
  await idleReceived.until((text) => text.includes('"ok"'))
  limits.child.kill('SIGTERM')
  await limits.logged('stopping')
  await idleReceived.over
  await t.rejects(open(limits.port), 'no further connection is taken')
  socket.write(bytes.slice(-5))
  const answer = parseAnswer((await received.over).text)
  t.equal(answer.status, 200)
  t.equal(answer.headers['connection'], 'close')
  t.equal(await limits.exited, 0)
  const again = await start(t, env)
  t.equal((await again.ask('POST /v1/provision', { user: 'ada' })).status, 429)
})

t.test('a request that does not end is waited for as long as the setting says', async (t) => {
  const { env } = prepared(t)
  const limits = await start(t, { ...env, LIMITS_DRAIN_SECONDS: '0' })
  const socket = await open(limits.port)
  const received = gather(socket)
  socket.write(requestBytes('POST /v1/provision', HALF))
  await limits.ask('GET /v1/provision?user=ada')
  limits.child.kill('SIGTERM')
  t.equal(await limits.exited, 0)
  await received.over
})

t.test('a second signal ends it at once', async (t) => {
  const { env } = prepared(t)
  const limits = await start(t, { ...env, LIMITS_DRAIN_SECONDS: '600' })
  const socket = await open(limits.port)
  socket.write(requestBytes('POST /v1/provision', HALF))
  await limits.ask('GET /v1/provision?user=ada')
  limits.child.kill('SIGTERM')
  await limits.logged('stopping')
  limits.child.kill('SIGTERM')
  t.equal(await limits.exited, 1)
})

t.test('a signal that means something to the gateway ends nothing', async (t) => {
  const { env } = prepared(t)
  const limits = await start(t, env)
  limits.child.kill('SIGUSR2')
  await limits.logged('nothing to be done on SIGUSR2 for the limits service')
  t.equal((await limits.ask('GET /v1/provision?user=ada')).status, 200)
})

t.test('metrics are on a port of their own, and nowhere else', async (t) => {
  const { env } = prepared(t)
  const limits = await start(t, { ...env, LIMITS_METRICS_PORT: '0' })
  await limits.ask('POST /v1/provision', { user: 'ada' })
  const { host, port } = await limits.logged('metrics served')
  const address = String(host).includes(':') ? `[${String(host)}]` : String(host)
  const text = await (await fetch(`http://${address}:${String(port)}/metrics`)).text()
  for (const line of [
    'rate_limit_decisions_total{policy="provision",result="allowed"} 1',
    'limits_store_away 0',
    'limits_draining 0',
  ])
    t.ok(text.split('\n').includes(line), line)
  t.match(text, /^limits_event_loop_delay_seconds\{quantile="1"\} [0-9.e-]+$/m)
  t.equal((await limits.ask('GET /metrics')).status, 404)
})

t.test(
  'secrets are neither in the log nor in the arguments nor in what children get',
  async (t) => {
    const { env } = prepared(t)
    const { LIMITS_TOKEN_FILE: _file, ...rest } = env
    const limits = await start(t, {
      ...rest,
      LIMITS_TOKEN: CALLER_TOKEN,
      LIMITS_LOG_LEVEL: 'trace',
    })
    await limits.ask('POST /v1/provision', { user: 'ada' })
    await send(limits.port, 'GET /v1/provision', ['Authorization: Bearer guessed-secret'])
    await limits.logged('strangers refused')
    limits.child.kill('SIGHUP')
    await limits.logged('tokens read again')
    t.match(await environmentOf(limits.pid, /main\.ts\0limits/), CALLER_TOKEN, 'as it was started')
    limits.child.kill('SIGTERM')
    const cmdline = readFileSync(`/proc/${limits.pid}/cmdline`, 'utf8')
    t.equal(await limits.exited, 0)
    t.notMatch(limits.stdout() + limits.stderr() + cmdline, CALLER_TOKEN)
    t.notMatch(limits.stdout() + limits.stderr(), 'guessed-secret')
  },
)

t.test('what is wrong with the settings is said, and ends with 78 or 64', async (t) => {
  const { folder, env, policyFile } = prepared(t)
  const refuses = async (changes: Record<string, string>, ...texts: readonly string[]) => {
    const program = run(t, ['limits'], { ...env, ...changes })
    t.equal(await program.exited, 78, texts.join())
    for (const text of texts) t.match(program.stderr(), text)
    t.notMatch(program.stderr(), /^\s+at /m, 'no stack')
  }
  await refuses(
    { LIMITS_PROT: '1', LIMITS_DRAIN_SECONDS: 'x' },
    'LIMITS_PROT is not a setting; did you mean LIMITS_PORT?',
    'LIMITS_DRAIN_SECONDS "x"',
  )
  await refuses({ LIMITS_TOKEN_FILE: join(folder, 'none') }, 'LIMITS_TOKEN_FILE')
  await refuses({ LIMITS_HOST: '203.0.113.1' }, 'LIMITS_HOST "203.0.113.1"')
  await refuses({ LIMITS_POLICY_FILE: policyFile }, 'LIMITS_POLICY_FILE')
  writeFileSync(policyFile, 'policies: 7')
  await refuses({ LIMITS_POLICY_FILE: policyFile }, `LIMITS_POLICY_FILE ${policyFile}`)
  await refuses(
    { LIMITS_SOCKET: join(folder, 'none', 'limits.sock') },
    'LIMITS_SOCKET',
    'cannot be created (ENOENT)',
  )
  mkdirSync(join(folder, 'damaged'))
  writeFileSync(join(folder, 'damaged', 'limits.db'), 'no database at all'.repeat(100))
  await refuses({ LIMITS_STATE_DIR: join(folder, 'damaged') }, 'LIMITS_STATE_DIR')
  const usage = run(t, ['limits', 'now'], env)
  t.equal(await usage.exited, 64)
  const check = run(t, ['limits', 'check'], env)
  t.equal(await check.exited, 0)
  t.match(check.stdout(), 'provision  1 in 3600 s')
  const help = run(t, ['help', 'limits'], {})
  t.equal(await help.exited, 0)
  t.match(help.stdout(), 'workspace-gateway limits [check]')
})

t.test(
  'a port that another program has is told with 69, and the folder is free again',
  async (t) => {
    const { env } = prepared(t)
    const server = createServer().listen(0, '127.0.0.1')
    t.teardown(() => server.close())
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const taken = run(t, ['limits'], { ...env, LIMITS_PORT: String(port) })
    t.equal(await taken.exited, 69)
    t.match(taken.stderr(), `LIMITS_PORT ${port} is taken`)
    await start(t, env)
  },
)

t.test('many processes share a Redis', { skip: NO_REDIS }, async (t) => {
  const { env } = prepared(t)
  const redis = await startRedis(t)
  const { LIMITS_STATE_DIR: _folder, ...rest } = env
  const shared = { ...rest, LIMITS_STORE_URL: redis.url }
  const [one, two] = [await start(t, shared), await start(t, shared)]
  t.equal(one.ready['store'], 'redis')
  const callers = Array.from({ length: 50 }, (_, i) => (i % 2 === 0 ? one : two))
  const answers = await Promise.all(
    callers.map((limits) => limits.ask('POST /v1/provision', { user: 'ada' })),
  )
  t.equal(answers.filter(({ status }) => status === 200).length, 1)
  t.equal(answers.filter(({ status }) => status === 429).length, 49)
  t.match(jsonOf(await send(two.port, 'GET /healthz')), { status: 'ok', store: 'redis' })
  redis.wire.down(true)
  t.equal((await one.ask('POST /v1/provision', { user: 'bob' })).status, 503)
  t.match(jsonOf(await send(one.port, 'GET /healthz')), { status: 'degraded', store: 'away' })
  for (const limits of [one, two]) {
    limits.child.kill('SIGTERM')
    t.equal(await limits.exited, 0)
    t.notMatch(limits.stdout(), /redis:\/\//)
  }
})

const mounts = 'mount -t tmpfs -o size=16k tmpfs "$1" && shift && exec "$@"'
const inMount = ['-rm', 'sh', '-c', mounts, 'sh']
const canMount = spawnSync('unshare', [...inMount, '/mnt', 'true']).status === 0

t.test(
  'of a full disk nobody is told to move the file away',
  { skip: canMount ? false : 'needs unshare and mount' },
  async (t) => {
    const { folder, env } = prepared(t)
    const disk = join(folder, 'disk')
    mkdirSync(disk)
    const program = watch(
      t,
      spawn(
        'unshare',
        [...inMount, disk, 'env', '-u', 'NODE_OPTIONS', process.execPath, MAIN, 'limits'],
        {
          env: { ...env, LIMITS_STATE_DIR: join(disk, 'state') },
          stdio: ['ignore', 'pipe', 'pipe'],
        },
      ),
    )
    t.equal(await program.exited, 69, 'a later start may succeed')
    t.match(
      program.stderr(),
      /limits\.db cannot be used: (?:database or disk is full|disk I\/O error); free/,
    )
    t.notMatch(program.stderr(), /move the files/)
  },
)
