/** What does the program print when it cannot start, and with which exit code does it end? */
import { spawn } from 'node:child_process'
import { chmodSync, closeSync, existsSync, mkdirSync, openSync, writeFileSync } from 'node:fs'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { SECRET, testSettings } from '../helpers/gateway.ts'
import { MAIN, run, serve, temporaryFolder, watch } from '../helpers/process.ts'
import { commandHelp, helpText } from '../../src/commands/help.ts'
import { VERSION } from '../../src/answers/version.ts'

const NO_STACK = /\n\s+at |node:internal|\.ts:\d+/

t.test(
  'every problem of an invalid configuration is printed at once, and nothing listens',
  async (t) => {
    const begun = performance.now()
    const program = run(t, ['serve'], {
      GATEWAY_WORKSPACE: 'NO',
      GATEWAY_JWT_SECRET: 'short-secret-value',
      GATEWAY_PORT: '70000',
      GATEWAY_API_URL: 'ftp://x',
      GATEWAY_RATE_LIMT: '5',
      GATEWAY_SOCKET: '/tmp/x.sock',
    })
    t.equal(await program.exited, 78)
    t.ok(performance.now() - begun < 10_000)
    const text = program.stderr()
    for (const name of [
      'GATEWAY_WORKSPACE',
      'GATEWAY_JWT_SECRET',
      'GATEWAY_PORT',
      'GATEWAY_API_URL',
      'GATEWAY_RATE_LIMT',
    ])
      t.match(text, name)
    t.match(text, /did you mean GATEWAY_RATE_LIMIT/)
    t.notMatch(text, 'short-secret-value')
    t.notMatch(text, NO_STACK)
    t.equal(program.stdout(), '')
  },
)

t.test('without any setting the program prints which settings it needs', async (t) => {
  const program = run(t, [], {})
  t.equal(await program.exited, 78)
  t.match(program.stderr(), /GATEWAY_WORKSPACE is not set/)
  t.match(program.stderr(), /GATEWAY_JWT_SECRET \(or GATEWAY_JWT_SECRET_FILE\) is not set/)
})

t.test('a secret file that is missing, empty or a folder is a configuration error', async (t) => {
  const folder = temporaryFolder(t)
  writeFileSync(join(folder, 'empty'), '')
  for (const name of ['missing', 'empty', '.']) {
    const program = run(
      t,
      ['serve'],
      testSettings({ GATEWAY_JWT_SECRET: undefined, GATEWAY_JWT_SECRET_FILE: join(folder, name) }),
    )
    t.equal(await program.exited, 78, name)
    t.match(program.stderr(), 'GATEWAY_JWT_SECRET_FILE')
    t.notMatch(program.stderr(), NO_STACK)
  }
})

t.test('a port or socket that cannot be used ends the program with 69 and one line', async (t) => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  const folder = temporaryFolder(t)
  const taken = createServer().listen(join(folder, 'taken.sock'))
  await once(taken, 'listening')
  t.teardown(() => taken.close())
  writeFileSync(join(folder, 'file'), 'not a socket')
  const cases: ReadonlyArray<readonly [string, Record<string, string | undefined>]> = [
    ['a taken port', { GATEWAY_PORT: String(port) }],
    ['an address of another machine', { GATEWAY_HOST: '192.0.2.1' }],
    ['a taken socket', { GATEWAY_PORT: undefined, GATEWAY_SOCKET: join(folder, 'taken.sock') }],
    [
      'a socket in no folder',
      { GATEWAY_PORT: undefined, GATEWAY_SOCKET: join(folder, 'no', 'x.sock') },
    ],
    ['a file in the way', { GATEWAY_PORT: undefined, GATEWAY_SOCKET: join(folder, 'file') }],
  ]
  await Promise.all(
    cases.map(async ([name, settings]) => {
      const program = run(
        t,
        ['serve'],
        testSettings({ GATEWAY_STATE_DIR: join(folder, name), ...settings }),
      )
      t.equal(await program.exited, 69, `${name}: ${program.stderr()}`)
      t.match(program.stderr(), /^workspace-gateway: GATEWAY_(HOST|SOCKET) [^\n]*\n$/, name)
      t.notMatch(program.stderr(), NO_STACK)
    }),
  )
})

t.test(
  'a state folder that cannot be used is logged as an error, and the gateway runs without it',
  async (t) => {
    const folder = temporaryFolder(t)
    writeFileSync(join(folder, 'file'), '')
    const program = await serve(t, { GATEWAY_STATE_DIR: join(folder, 'file', 'state') })
    t.match(await program.logged('state folder cannot be used'), { level: 'error' })
    program.child.kill('SIGTERM')
    t.equal(await program.exited, 0)
  },
)

t.test('a PID file that cannot be written is a configuration error', async (t) => {
  const folder = temporaryFolder(t)
  mkdirSync(join(folder, 'sealed'))
  chmodSync(join(folder, 'sealed'), 0o500)
  const program = run(
    t,
    ['serve'],
    testSettings({ GATEWAY_STATE_DIR: folder, GATEWAY_PID_FILE: join(folder, 'none', 'pid') }),
  )
  t.equal(await program.exited, 78)
  t.match(program.stderr(), 'GATEWAY_PID_FILE')
})

t.test('help, token and an invalid command line', async (t) => {
  const help = run(t, ['help'], {})
  t.equal(await help.exited, 0)
  t.match(help.stdout(), 'GATEWAY_WORKSPACE')
  const env = { GATEWAY_WORKSPACE: 'houston', GATEWAY_JWT_SECRET: SECRET }
  const minted = run(t, ['token', '--sub', 'alice', '--ttl', '90s'], env)
  t.equal(await minted.exited, 0)
  const payload = JSON.parse(
    Buffer.from(minted.stdout().split('.')[1] ?? '', 'base64url').toString(),
  ) as Record<string, number>
  t.match(payload, { sub: 'alice', aud: 'houston' })
  t.equal((payload['exp'] ?? 0) - (payload['iat'] ?? 0), 90)
  const mistakes: ReadonlyArray<readonly [string[], Record<string, string>, number]> = [
    [['token'], env, 64],
    [['token', '--sub', 'a', '--ttl', '1y'], env, 64],
    [['token', '--what'], env, 64],
    [['token', '--sub', 'a', 'b'], env, 64],
    [['token', '--sub', 'a'], {}, 78],
    [['token', '--sub', 'a'], { ...env, GATEWAY_JWT_SECRET: 'short' }, 78],
    [['serve', 'now'], env, 64],
    [['dance'], env, 64],
    [['chekc'], env, 64],
    [['help', 'dance'], env, 64],
    [['help', 'serve', 'check'], env, 64],
    [['version', 'now'], env, 64],
    [[''], env, 64],
  ]
  await Promise.all(
    mistakes.map(async ([args, settings, code]) => {
      const program = run(t, args, settings)
      t.equal(await program.exited, code, args.join(' '))
      t.match(program.stderr(), /^workspace-gateway: /)
      t.notMatch(program.stderr(), NO_STACK)
      t.equal(program.stdout(), '')
    }),
  )
})

t.test(
  'the version and the help of each command are printed, by option and by command',
  async (t) => {
    const answers: ReadonlyArray<readonly [args: string[], text: string]> = [
      [['version'], `workspace-gateway ${VERSION}\n`],
      [['--version'], `workspace-gateway ${VERSION}\n`],
      [['-v'], `workspace-gateway ${VERSION}\n`],
      [['--help'], helpText()],
      [['serve', '--help'], commandHelp('serve')],
      [['token', '-h'], commandHelp('token')],
      [['explain', '--help'], commandHelp('explain')],
      [['help', 'check'], commandHelp('check')],
      [['--help', 'doctor'], commandHelp('doctor')],
    ]
    await Promise.all(
      answers.map(async ([args, text]) => {
        const program = run(t, args, {})
        t.equal(await program.exited, 0, args.join(' '))
        t.equal(program.stdout(), text)
        t.equal(program.stderr(), '')
      }),
    )
  },
)

t.test(
  'a relative state folder is one below the working directory, for the port keeper’s gateway too',
  async (t) => {
    const folder = temporaryFolder(t)
    const child = spawn(process.execPath, [MAIN, 'serve'], {
      cwd: folder,
      env: testSettings({ GATEWAY_STATE_DIR: './state', GATEWAY_HOT_RESTART: 'true' }),
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const program = watch(t, child)
    t.match(await program.logged('listening'), { version: VERSION })
    child.kill('SIGTERM')
    t.equal(await program.exited, 0)
    t.ok(existsSync(join(folder, 'state', 'budgets.json')))
  },
)

t.test('a command that cannot write its output reports that in one line', async (t) => {
  if (!existsSync('/dev/full')) {
    t.pass('no /dev/full on this system')
    return
  }
  const full = openSync('/dev/full', 'w')
  t.teardown(() => closeSync(full))
  for (const command of ['help', 'version', 'token --sub a', 'check']) {
    const child = spawn(process.execPath, [MAIN, ...command.split(' ')], {
      env: testSettings(),
      stdio: ['ignore', full, 'pipe'],
    })
    let errors = ''
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (errors += text))
    const [code] = (await once(child, 'close')) as [number | null]
    t.equal(code, 1, command)
    t.equal(errors, 'workspace-gateway: standard output cannot be written (ENOSPC)\n', command)
  }
})
