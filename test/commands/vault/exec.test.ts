/** Does `vault exec` run a program as if it were the program, with leases that end with it? Real processes, a vault that is not. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { agentSocket } from '../../../src/vault/protocol.ts'
import { DETAIL, startFakeVault, type FakeVault } from '../../helpers/fake-vault.ts'
import { temporaryFolder, watch, type Program } from '../../helpers/process.ts'
import { eventually, isAlive } from '../../helpers/waiting.ts'

const EXEC = new URL('../../helpers/vault-exec.ts', import.meta.url).pathname

/** Starts the command. */
function start(
  t: Test,
  args: readonly string[],
  env: Record<string, string | undefined> = {},
): Program {
  const environment = { PATH: process.env['PATH'], ...env }
  return watch(
    t,
    spawn(process.execPath, [EXEC, ...args], { env: environment, stdio: ['pipe', 'pipe', 'pipe'] }),
  )
}

/** Starts the command for one service, with a script of Node as the program. */
function startScript(
  t: Test,
  vault: FakeVault,
  script: string,
  { service = 'github', env = {} }: { service?: string; env?: Record<string, string> } = {},
): Program {
  const program = ['--', process.execPath, '-e', script]
  return start(t, [service, '--socket', vault.socket, ...program], env)
}

const PRINT_ENV = 'process.stdout.write(JSON.stringify(process.env))'

t.test('the program gets its variables, and its exit code is the command’s', async (t) => {
  const vault = await startFakeVault(t)
  const one = startScript(t, vault, `${PRINT_ENV}; process.exitCode = 3`, {
    service: 'github,my-api',
    env: { KEPT: 'yes', GH_TOKEN: 'a real one' },
  })
  t.equal(await one.exited, 3)
  const env = JSON.parse(one.stdout()) as Record<string, string>
  t.match(env, { KEPT: 'yes', GITHUB_TOKEN: 'hvl_0', MY_API_TOKEN: 'hvl_1' })
  t.match(env['GITHUB_API_URL'], /^http:\/\/127\.0\.0\.1:\d+\/s\/github$/)
  t.match(env['MY_API_BASE_URL'], /^http:\/\/127\.0\.0\.1:\d+\/s\/my-api$/)
  t.notOk('GH_TOKEN' in env, 'a key that the tools would prefer')
  t.equal(vault.held.size, 0, 'both leases are given back')
})

t.test(
  'two entries of one service: the tools have the first, and a clash is refused',
  async (t) => {
    const vault = await startFakeVault(t)
    vault.origin = 'https://api.github.com'
    const one = startScript(t, vault, PRINT_ENV, { service: 'github,github-bot' })
    t.equal(await one.exited, 0)
    const env = JSON.parse(one.stdout()) as Record<string, string>
    t.match(env, { GITHUB_TOKEN: 'hvl_0', GITHUB_BOT_TOKEN: 'hvl_1' })
    t.match(env['GITHUB_API_URL'], /\/s\/github$/)
    t.match(one.stderr(), /"github-bot" has variables of its own only/)
    vault.origin = 'https://bot.example'
    const clash = startScript(t, vault, PRINT_ENV, { service: 'slack,slack-bot' })
    t.equal(await clash.exited, 64)
    t.match(clash.stderr(), /"slack" and "slack-bot" both set SLACK_BOT_TOKEN/)
    t.equal(clash.stdout(), '')
    t.equal(vault.held.size, 0, 'the leases are given back')
  },
)

t.test('the program does not get the settings of the vault', async (t) => {
  const vault = await startFakeVault(t)
  const one = startScript(t, vault, PRINT_ENV, {
    env: {
      VAULT_MASTER_KEY: 'k',
      VAULT_MASTER_KEY_FILE: '/k',
      VAULT_MASTER_KEY_FD: '9',
      VAULT_SOCKETS: '/run/doors',
      VAULT_ADDR: 'https://vault.example.test',
    },
  })
  t.equal(await one.exited, 0)
  const names = Object.keys(JSON.parse(one.stdout()) as object).filter((name) =>
    /^VAULT/.test(name),
  )
  t.same(names.toSorted(), ['VAULT_ADDR', 'VAULT_SOCKETS'], 'one of them is of another vault')
})

t.test(
  'requests of the program reach the door while it runs, and nothing listens afterwards',
  async (t) => {
    const vault = await startFakeVault(t)
    vault.onRequest = (request, response) =>
      void response.end(`${request.method} ${request.url} ${request.headers.authorization}`)
    const one = startScript(
      t,
      vault,
      `const { GITHUB_API_URL: base, GITHUB_TOKEN: token } = process.env
    const headers = { authorization: 'Bearer ' + token }
    fetch(base + '/user?a=b', { headers }).then((r) => r.text()).then((text) => console.log(base, text))`,
    )
    t.equal(await one.exited, 0)
    const [base = '', ...rest] = one.stdout().trim().split(' ')
    t.same(rest, ['GET', '/s/github/user?a=b', 'Bearer', 'hvl_0'])
    await t.rejects(fetch(base))
  },
)

t.test('a port of the vault’s own is used as it is', async (t) => {
  const vault = await startFakeVault(t)
  const server = createServer((request, response) => void response.end(request.url))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  vault.baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/s/github`
  const one = startScript(t, vault, 'process.stdout.write(process.env.GITHUB_API_URL)')
  t.equal(await one.exited, 0)
  t.equal(one.stdout(), vault.baseUrl)
})

t.test('standard streams are those of the command', async (t) => {
  const vault = await startFakeVault(t)
  const one = startScript(t, vault, 'process.stdin.pipe(process.stdout); console.error("err")')
  one.child.stdin?.end('typed')
  t.equal(await one.exited, 0)
  t.equal(one.stdout(), 'typed')
  t.equal(one.stderr(), 'err\n')
})

t.test('what stands behind -- is the program’s, and narrows nothing', async (t) => {
  const vault = await startFakeVault(t)
  const script = ['-e', 'process.stdout.write(process.argv.slice(1).join())']
  const program = [process.execPath, ...script, '--', '--methods', 'PUT', '--', '-h']
  const narrow = ['--methods', 'get,post', '--paths', '/repos,/user']
  const one = start(t, ['github', '--socket', vault.socket, ...narrow, '--', ...program])
  t.equal(await one.exited, 0)
  t.equal(one.stdout(), '--methods,PUT,--,-h')
  t.same(vault.asked[0]?.body, {
    service: 'github',
    methods: ['GET', 'POST'],
    paths: ['/repos', '/user'],
  })
})

t.test(
  'every signal reaches the program, and its end by a signal is 128 and the number',
  async (t) => {
    for (const [signal, number] of [
      ['SIGHUP', 1],
      ['SIGINT', 2],
      ['SIGQUIT', 3],
      ['SIGUSR1', 10],
      ['SIGUSR2', 12],
      ['SIGTERM', 15],
    ] as const) {
      const vault = await startFakeVault(t)
      const one = start(t, [
        'github',
        '--socket',
        vault.socket,
        '--',
        'sh',
        '-c',
        'echo $$; exec cat',
      ])
      await eventually(() => one.stdout().endsWith('\n'), 'it runs')
      one.child.kill(signal)
      t.equal(await one.exited, 128 + number, signal)
      t.notOk(isAlive(Number(one.stdout())), signal)
      t.equal(vault.held.size, 0, signal)
    }
  },
)

t.test('a program that ends in its own way on a signal has that exit code', async (t) => {
  const vault = await startFakeVault(t)
  const script =
    "process.on('SIGTERM', () => process.exit(5)); process.stdin.resume(); console.log('up')"
  const one = startScript(t, vault, script)
  await eventually(() => one.stdout() === 'up\n', 'it runs')
  t.equal(vault.held.size, 1)
  one.child.kill('SIGTERM')
  t.equal(await one.exited, 5)
  t.equal(vault.held.size, 0)
})

t.test('a signal before the program starts leaves it nothing to do', async (t) => {
  const vault = await startFakeVault(t)
  const file = join(temporaryFolder(t), 'ran')
  const late = `process.stdin.resume().on('end', () => require('node:fs').writeFileSync(${JSON.stringify(file)}, ''))`
  const one = start(t, ['a,b', '--socket', vault.socket, '--', process.execPath, '-e', late])
  vault.refuse = ({ body }) => {
    if (body['service'] === 'b') one.child.kill('SIGTERM')
    return undefined
  }
  // The answer may overtake the signal by a little, so the program may also be started and ended by it.
  t.equal(await one.exited, 143)
  t.equal(vault.held.size, 0)
  t.notOk(existsSync(file))
})

t.test('a lease is renewed while the program runs', async (t) => {
  const vault = await startFakeVault(t)
  vault.leaseMs = 300
  const one = startScript(t, vault, 'process.stdin.resume()')
  const renewals = () => vault.asked.filter(({ body }) => body['renew'] === true).length
  await eventually(() => renewals() >= 2, 'two renewals')
  one.child.stdin?.end()
  t.equal(await one.exited, 0)
  t.equal(vault.held.size, 0)
})

t.test('a lease that cannot be renewed any longer is said, and the program goes on', async (t) => {
  const vault = await startFakeVault(t)
  vault.leaseMs = 300
  const env = { TEST_LONGEST_MS: '0' }
  const one = startScript(t, vault, 'process.stdin.resume()', { env })
  await eventually(() => one.stderr().includes('the lease for "github" ends'), 'it is said')
  one.child.stdin?.end()
  t.equal(await one.exited, 0)
})

t.test('a message that nobody reads ends neither the program nor the renewals', async (t) => {
  const vault = await startFakeVault(t)
  vault.leaseMs = 300
  vault.refuse = ({ body, authorization }) =>
    body['renew'] === true && authorization === 'Bearer hvl_0' ? 'lease-expired' : undefined
  const script = "process.stdin.on('data', () => process.exit(5))"
  const one = startScript(t, vault, script, { service: 'a,b' })
  one.child.stderr?.destroy()
  const renewals = (token: string): number =>
    vault.asked.filter(
      ({ body, authorization }) => body['renew'] === true && authorization === `Bearer ${token}`,
    ).length
  await eventually(() => renewals('hvl_0') > 0, 'one lease is refused, which is said')
  const before = renewals('hvl_1')
  await eventually(() => renewals('hvl_1') >= before + 2, 'the other one lives on')
  one.child.stdin?.write('end')
  t.equal(await one.exited, 5)
  t.equal(vault.held.size, 0, 'both are given back')
})

t.test('a vault that has gone does not keep the command from ending', async (t) => {
  const vault = await startFakeVault(t)
  const one = startScript(t, vault, "process.stdin.resume(); console.log('up')")
  await eventually(() => one.stdout() === 'up\n', 'it runs')
  await vault.stop()
  one.child.stdin?.end()
  t.equal(await one.exited, 0)
})

t.test('what a shell says of a program that it cannot run', async (t) => {
  const vault = await startFakeVault(t)
  const folder = temporaryFolder(t)
  writeFileSync(join(folder, 'plain'), 'no program')
  chmodSync(join(folder, 'plain'), 0o600)
  for (const [program, code, words] of [
    ['no-such-program', 127, '"no-such-program" is not found'],
    [join(folder, 'plain'), 126, 'cannot be run (EACCES)'],
    [folder, 126, 'cannot be run (EACCES)'],
    [join(folder, 'plain', 'x'), 126, 'cannot be run (ENOTDIR)'],
  ] as const) {
    const one = start(t, ['github', '--socket', vault.socket, '--', program])
    t.equal(await one.exited, code)
    t.match(one.stderr(), words)
    t.equal(vault.held.size, 0)
  }
})

t.test(
  'a refusal is 77 with the words of the vault, and what was given before is given back',
  async (t) => {
    for (const [code, exitCode] of [
      ['not-granted', 77],
      ['suspended', 77],
      ['audit-unavailable', 69],
      ['too-many-leases', 69],
      ['bad-request', 1],
    ] as const) {
      const vault = await startFakeVault(t)
      vault.refuse = ({ body }) => (body['service'] === 'b' ? code : undefined)
      const file = join(temporaryFolder(t), 'ran')
      const one = start(t, ['a,b', '--socket', vault.socket, '--', 'touch', file])
      t.equal(await one.exited, exitCode, code)
      t.equal(one.stderr(), `workspace-gateway: ${DETAIL}\n`)
      t.equal(vault.held.size, 0)
      t.notOk(existsSync(file), 'the program is not started')
    }
  },
)

t.test('without a vault it is 69, and the program is not started', async (t) => {
  const folder = temporaryFolder(t)
  const file = join(folder, 'ran')
  const one = start(t, ['github', '--socket', join(folder, 'a.sock'), '--', 'touch', file])
  t.equal(await one.exited, 69)
  t.match(one.stderr(), /a\.sock: no vault runs with this socket/)
  t.notOk(existsSync(file))
})

t.test('a wrong command line is 64, and asks no vault', async (t) => {
  const vault = await startFakeVault(t)
  const socket = ['--socket', vault.socket]
  for (const args of [
    [],
    ['github'],
    ['github', 'cat'],
    ['github', '--'],
    ['--', 'cat'],
    ['Git Hub', '--', 'cat'],
    ['github,', '--', 'cat'],
    ['github', 'slack', '--', 'cat'],
    ['github,slack', '--methods', 'GET', '--', 'cat'],
  ]) {
    const one = start(t, [...socket, ...args])
    t.equal(await one.exited, 64, args.join(' '))
    t.match(one.stderr(), /^workspace-gateway: /)
  }
  t.same(vault.asked, [])
})

t.test('the door is found in the folder of the doors', async (t) => {
  const vault = await startFakeVault(t)
  const sockets = temporaryFolder(t)
  const addDoor = (name: string) => {
    mkdirSync(join(sockets, name))
    symlinkSync(vault.socket, agentSocket(sockets, name))
  }
  addDoor('coder')
  const args = ['github', '--', 'sh', '-c', 'printf %s "$GITHUB_TOKEN"']
  const one = start(t, args, { VAULT_SOCKETS: sockets })
  t.equal(await one.exited, 0)
  t.equal(one.stdout(), 'hvl_0')
  addDoor('ops')
  const two = start(t, args, { VAULT_SOCKETS: sockets })
  t.equal(await two.exited, 64)
  t.match(two.stderr(), `--socket ${sockets}/coder/agent.sock`)
  const uid = process.getuid?.()
  const three = start(t, args, { VAULT_SOCKETS: sockets, VAULT_AGENTS: `ops:${uid}` })
  t.equal(await three.exited, 0)
  const four = start(t, args, { VAULT_SOCKETS: 'relative' })
  t.equal(await four.exited, 78)
})

t.test('the command itself has no lease in its environment or arguments', async (t) => {
  const vault = await startFakeVault(t)
  const one = startScript(t, vault, "process.stdin.resume(); console.log('up')")
  await eventually(() => one.stdout() === 'up\n', 'it runs')
  for (const file of ['environ', 'cmdline'])
    t.notMatch(readFileSync(`/proc/${one.pid}/${file}`, 'utf8'), 'hvl_')
  one.child.stdin?.end()
  t.equal(await one.exited, 0)
})
