/**
 * Does the vault work as the example of Fly describes it, from a token to its revocation? boot.sh starts the programs, each under a
 * user of its own; git and an SDK run as the agent.
 */
import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  copyFileSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { temporaryFolder } from '../helpers/process.ts'
import { isAlive } from '../helpers/waiting.ts'
import { FOLDER, run, startProgram, until, type Program } from './neighbour.ts'
import { sdksIn } from './sdks.ts'
import { PIECES, startServices, type Services } from './vault-services.ts'

const ROOT = new URL('../..', import.meta.url).pathname
const BOOT = join(ROOT, 'examples/fly/boot.sh')

/** Users that every Debian has. The agents are named as their users. */
const USERS = { vault: 'daemon', gateway: 'nobody', agent: 'games', terminal: 'mail' } as const

type Role = keyof typeof USERS

if (process.getuid?.() !== 0) {
  t.pass('only root can start programs as other users')
  process.exit()
}

const idOf = (user: string, what: 'u' | 'g') =>
  Number(spawnSync('id', [`-${what}`, user], { encoding: 'utf8' }).stdout)

/** The machine that boot.sh runs. */
interface Machine {
  readonly boot: Program
  readonly folder: string
  readonly services: Services
  readonly masterKey: string
  /** The command line of a program as a user. The owner is root. */
  readonly as: (role: Role | 'owner', program: readonly string[]) => readonly string[]
  /** The environment of every program on the machine that is not one of ours. */
  readonly env: Record<string, string>
  /** Starts a program as a user. */
  readonly start: (role: Role, program: readonly string[], cwd?: string) => Program
  /** Runs a command of the vault to its end. */
  readonly vault: (
    role: Role | 'owner',
    args: readonly string[],
    input?: string,
  ) => { code: number | null; output: string }
}

/** Puts Node, the program and the SDKs where every user can read them: a checkout may be in a home folder. */
async function install(folder: string): Promise<string> {
  const bin = join(folder, 'bin')
  mkdirSync(bin)
  copyFileSync(process.execPath, join(bin, 'node'))
  const bundle = join(bin, 'workspace-gateway.cjs')
  await run(process.execPath, [join(ROOT, 'build/bundle.ts'), bundle])
  const wrapper = `#!/bin/sh\nexec ${bin}/node ${bundle} "$@"\n`
  writeFileSync(join(bin, 'workspace-gateway'), wrapper)
  for (const name of ['node', 'workspace-gateway', 'workspace-gateway.cjs'])
    chmodSync(join(bin, name), 0o755)
  cpSync(sdksIn(FOLDER), join(folder, 'sdks'), { recursive: true })
  return `${bin}:/usr/bin:/bin`
}

async function startMachine(t: Test): Promise<Machine> {
  const folder = temporaryFolder(t)
  chmodSync(folder, 0o711)
  const path = await install(folder)
  const services = await startServices(folder)
  t.teardown(() => services.stop())
  chmodSync(services.caFile, 0o644)
  const home = join(folder, 'home')
  mkdirSync(home)
  chownSync(home, idOf(USERS.agent, 'u'), idOf(USERS.agent, 'g'))
  const [key, data] = [join(folder, 'master-key'), join(folder, 'vault')]
  const masterKey = randomBytes(32).toString('base64')
  writeFileSync(key, masterKey, { mode: 0o600 })
  const doors = join(folder, 'run/vault')
  const boot = startProgram(BOOT, [], {
    env: {
      PATH: path,
      GATEWAY_WORKSPACE: 'houston',
      GATEWAY_JWT_SECRET: randomBytes(48).toString('base64'),
      GATEWAY_HOST: '127.0.0.1',
      GATEWAY_PORT: '0',
      GATEWAY_STATE_DIR: join(folder, 'state'),
      VAULT_MASTER_KEY_FILE: key,
      VAULT_STATE_DIR: data,
      VAULT_FILE: join(data, '.vault.enc'),
      VAULT_AGENTS: [USERS.agent, USERS.terminal].map((u) => `${u}:${idOf(u, 'u')}`).join(','),
      VAULT_EXTRA_CA_FILE: services.caFile,
      BOOT_RUN_DIR: join(folder, 'run'),
      BOOT_LOG_DIR: join(folder, 'log'),
      BOOT_VAULT_USER: USERS.vault,
      BOOT_GATEWAY_USER: USERS.gateway,
      BOOT_OPENCLAW_USER: USERS.agent,
      BOOT_TERMINAL_USER: USERS.terminal,
      BOOT_OPENCLAW: 'sleep 1000',
      BOOT_TERMINAL: 'sleep 1000',
      BOOT_TERMINALS: '',
      BOOT_DASHBOARD: '',
      BOOT_STATS: '',
    },
    stopMs: 30_000,
  })
  t.teardown(() => boot.stop())
  await boot.written(/"msg":"listening"/)
  await until('the doors of the vault', () =>
    readFileSync(join(folder, 'log/vault.log'), 'utf8').includes('keeping the vault'),
  )
  const as = (role: Role | 'owner', program: readonly string[]) => {
    if (role === 'owner') return program
    const user = USERS[role]
    const ids = ['--reuid', user, '--regid', String(idOf(user, 'g')), '--init-groups']
    return ['setpriv', ...ids, '--', ...program]
  }
  const env = { PATH: path, HOME: home, VAULT_SOCKETS: doors }
  return {
    ...{ boot, folder, services, masterKey, as, env },
    start: (role, program, cwd = home) => {
      const [command = '', ...args] = as(role, program)
      const one = startProgram(command, args, { cwd, env })
      t.teardown(() => one.stop())
      return one
    },
    vault: (role, args, input = '') => {
      const [command = '', ...rest] = as(role, ['workspace-gateway', 'vault', ...args])
      const { status, stdout, stderr } = spawnSync(command, rest, {
        ...{ input, env, cwd: home, encoding: 'utf8' },
      })
      return { code: status, output: stdout + stderr }
    },
  }
}

const exec = (service: string, program: readonly string[]) => [
  ...['workspace-gateway', 'vault', 'exec', service, '--', ...program],
]

/** The environment of every process that this user may look at. */
function environments(): string {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/environ`, 'utf8')
      } catch {
        return '' // it has ended
      }
    })
    .join('\0')
}

const STREAM = `
  import Anthropic from '@anthropic-ai/sdk'
  const messages = [{ role: 'user', content: 'hello' }]
  const stream = await new Anthropic({ maxRetries: 0 }).messages.create({ model: 'fake-1', max_tokens: 9, stream: true, messages })
  for await (const event of stream) if (event.type === 'content_block_delta') console.log('piece: ' + event.delta.text)`

t.test('from a token to its revocation, with a user for each program', async (t) => {
  const machine = await startMachine(t)
  const { boot, folder, services, vault, start } = machine
  const sdks = join(folder, 'sdks')
  const secrets = [1, 2].map(() => `secret-${randomBytes(16).toString('hex')}`)
  const [gitToken = '', modelKey = ''] = secrets
  const where = ['--origin', services.origin, '--allow-private']

  t.test('the owner adds the credentials and grants them to one agent', async (t) => {
    const git = ['add', 'github-git', ...where, '--paths', '/acme']
    t.match(vault('owner', git, gitToken), { code: 0, output: 'no agent may use it yet' })
    t.equal(vault('owner', ['grant', 'github-git', USERS.agent]).code, 0)
    const model = ['add', 'anthropic', ...where, '--grant', USERS.agent]
    t.equal(vault('owner', model, modelKey).code, 0)
  })

  t.test('the agent clones a private repository', async (t) => {
    const clone = ['git', 'clone', '-q', 'https://github.com/acme/site.git']
    const client = start('agent', exec('github-git', clone))
    t.equal(await client.exited, 0, client.output())
    t.equal(readFileSync(join(folder, 'home/site/README'), 'utf8'), 'the site\n')
    const basic = Buffer.from(`x-access-token:${gitToken}`).toString('base64')
    t.equal(services.came.at(-1)?.headers.authorization, `Basic ${basic}`)
  })

  t.test('an SDK of the agent streams', async (t) => {
    const { promise, resolve } = Promise.withResolvers<void>()
    services.beforeSecond = promise
    const client = start(
      'agent',
      exec('anthropic', ['node', '--input-type=module', '-e', STREAM]),
      sdks,
    )
    await client.written(new RegExp(`piece: ${PIECES[0]}`))
    resolve()
    t.equal(await client.exited, 0, client.output())
    t.match(client.output(), `piece: ${PIECES[1]}`)
    t.equal(services.came.at(-1)?.headers['x-api-key'], modelKey)
  })

  t.test('the user of the terminal gets at nothing of it', async (t) => {
    const came = services.came.length
    t.match(vault('terminal', ['exec', 'github-git', '--', 'true']), {
      code: 77,
      output: `vault grant github-git ${USERS.terminal}`,
    })
    const doors = join(folder, 'run/vault')
    const agents = ['--socket', join(doors, USERS.agent, 'agent.sock')]
    t.match(vault('terminal', ['exec', 'github-git', ...agents, '--', 'true']), {
      code: 69,
      output: "belongs to another agent's user",
    })
    for (const role of ['terminal', 'agent'] as const)
      t.match(vault(role, ['list']), { code: 69, output: 'the socket is the owner’s' }, role)
    for (const role of ['terminal', 'agent', 'gateway'] as const)
      for (const path of ['vault/.vault.enc', 'vault/vault-audit.jsonl', 'master-key']) {
        const [command = '', ...args] = machine.as(role, ['cat', join(folder, path)])
        t.match(spawnSync(command, args, { encoding: 'utf8' }).stderr, 'Permission denied', path)
      }
    t.equal(services.came.length, came, 'the service was not asked')
  })

  t.test('no credential and no key is in an environment, or in a file of the vault', async (t) => {
    const all = environments()
    // Not with t.match, whose report would be every environment of this machine.
    t.ok(all.includes(`VAULT_MASTER_KEY_FILE=${join(folder, 'master-key')}`), 'of boot.sh')
    for (const secret of [...secrets, machine.masterKey]) t.notOk(all.includes(secret))
    const vaultPid = readFileSync(join(folder, 'run/vault.pid'), 'utf8').trim()
    t.notMatch(readFileSync(`/proc/${vaultPid}/environ`, 'utf8'), 'VAULT_MASTER_KEY=')
    for (const name of readdirSync(join(folder, 'vault'))) {
      const bytes = readFileSync(join(folder, 'vault', name), 'latin1')
      for (const secret of secrets) t.notMatch(bytes, secret, name)
    }
  })

  t.test('the user of the gateway sees who used what', async (t) => {
    const gatewayPid = readFileSync(join(folder, 'run/gateway.pid'), 'utf8').trim()
    t.match(
      readFileSync(`/proc/${gatewayPid}/environ`, 'utf8'),
      `GATEWAY_VAULT_SOCKETS=${join(folder, 'run/vault')}\0`,
    )
    const { code, output } = vault('gateway', ['audit'])
    t.equal(code, 0, output)
    t.match(output, new RegExp(`${USERS.agent} +use +github-git .*GET +/acme/site\\.git/info/refs`))
    t.match(output, new RegExp(`${USERS.agent} +use +anthropic .*POST +/v1/messages`))
  })

  t.test('a revocation cuts a stream, and ends the next attempt', async (t) => {
    services.beforeSecond = new Promise(() => {})
    const client = start(
      'agent',
      exec('anthropic', ['node', '--input-type=module', '-e', STREAM]),
      sdks,
    )
    await client.written(new RegExp(`piece: ${PIECES[0]}`))
    for (const service of ['anthropic', 'github-git'])
      t.equal(vault('owner', ['revoke', service, USERS.agent]).code, 0)
    t.not(await client.exited, 0)
    t.notMatch(client.output(), PIECES[1])
    const came = services.came.length
    t.match(vault('agent', ['exec', 'github-git', '--', 'git', 'ls-remote', 'x']), { code: 77 })
    t.equal(services.came.length, came)
  })

  t.test('the end of the machine leaves nothing running', async (t) => {
    const pids = ['vault', 'gateway', 'openclaw', 'terminal'].map((name) =>
      Number(readFileSync(join(folder, 'run', `${name}.pid`), 'utf8')),
    )
    boot.signal('SIGTERM')
    t.equal(await boot.exited, 0, boot.output())
    for (const pid of pids) t.notOk(isAlive(pid))
  })
})
