/** Does the boot script of examples/fly start, restart and stop the programs of a workspace, by process id? */
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { request, type IncomingMessage } from 'node:http'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { MAIN, temporaryFolder } from '../helpers/process.ts'
import { environmentOf, eventually, isAlive, runsProgram } from '../helpers/waiting.ts'

const SCRIPT = new URL('../../examples/fly/boot.sh', import.meta.url).pathname
const SERVICES = ['dashboard', 'gateway', 'openclaw', 'stats', 'terminal', 'terminals']

if (process.platform !== 'linux') {
  t.pass('it is written for Linux')
  process.exit()
}

/** Runs the script with services that only sleep, unless other ones are given. */
function boot(t: Test, folder: string, overrides: Record<string, string | undefined> = {}) {
  const child = spawn(SCRIPT, {
    env: {
      PATH: process.env['PATH'],
      GATEWAY_STATE_DIR: join(folder, 'state'),
      GATEWAY_JWT_SECRET: 'not-for-services',
      BOOT_RUN_DIR: join(folder, 'run'),
      BOOT_LOG_DIR: join(folder, 'log'),
      BOOT_STOP_SECONDS: '1',
      BOOT_PAUSE_SECONDS: '0',
      BOOT_TERMINAL: 'bash -c \'sleep 1000; : "$1"\' ttyd "$1"',
      BOOT_OPENCLAW: 'sleep 1000',
      BOOT_DASHBOARD: 'sleep 1000',
      BOOT_STATS: 'sleep 1000',
      BOOT_GATEWAY: 'sleep 1000',
      BOOT_TERMINALS: 'sleep 1000',
      BOOT_CREDENTIAL: 'echo user:of-a-test',
      ...overrides,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let out = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (out += text))
  const exited = once(child, 'close').then(([code, signal]) => (code ?? signal) as number | string)
  t.teardown(async () => {
    child.kill('SIGTERM')
    await exited
  })
  const pidFile = (name: string) => join(folder, 'run', `${name}.pid`)
  const pidOf = (name: string) =>
    existsSync(pidFile(name)) ? Number(readFileSync(pidFile(name), 'utf8')) : 0
  return {
    child,
    exited,
    out: () => out,
    pidOf,
    said: (text: string) => eventually(() => out.includes(text), `"${text}" in ${out}`),
  }
}

t.test('every service is started, watched by its own process id, and stopped', async (t) => {
  const folder = temporaryFolder(t)
  const { child, exited, said, pidOf, out } = boot(t, folder)
  await said('gateway started')
  const pids = SERVICES.map(pidOf)
  for (const pid of pids) t.ok(isAlive(pid))
  await runsProgram(pidOf('stats'), /^sleep\0/) // no shell in between
  const environment = await environmentOf(pidOf('terminal'), /^bash\0-c\0sleep 1000/)
  t.match(environment, 'PATH=', 'it is its environment')
  t.notMatch(environment, /GATEWAY_|not-for-services/, 'secrets of the gateway stay its own')
  child.kill('SIGTERM')
  t.equal(await exited, 0)
  for (const pid of pids) t.notOk(isAlive(pid))
  t.same(readdirSync(join(folder, 'run')), ['boot.lock'])
  for (const line of out().trim().split('\n')) t.match(JSON.parse(line), { name: 'boot' })
})

t.test('the terminal gets a credential that no other user can read', async (t) => {
  const folder = temporaryFolder(t)
  const file = join(folder, 'state', 'terminal-credential')
  const settings = { BOOT_CREDENTIAL: `${process.execPath} ${MAIN} terminal-credential` }
  const first = boot(t, folder, settings)
  await first.said('terminal started')
  const credential = readFileSync(file, 'utf8').trim()
  t.match(credential, /^user:[A-Za-z0-9_-]{24}$/)
  t.equal(statSync(file).mode & 0o777, 0o600)
  t.equal(statSync(join(folder, 'state')).mode & 0o777, 0o700)
  t.notOk(first.out().includes(credential))
  t.match(first.out(), `made ${file}, the terminal's user and password`)
  await runsProgram(first.pidOf('terminal'), new RegExp(`\0${credential}\0$`))
  first.child.kill('SIGTERM')
  await first.exited
  const second = boot(t, folder, settings)
  await second.said('terminal started')
  t.equal(readFileSync(file, 'utf8').trim(), credential, 'it is kept')
  second.child.kill('SIGTERM')
  await second.exited
  chmodSync(file, 0o644)
  const third = boot(t, folder, settings)
  t.equal(await third.exited, 78)
  t.match(third.out(), /can be read by others \(mode 0644\)/)
  t.notOk(third.out().includes(credential))
  t.notMatch(third.out(), /started/)
})

t.test('a terminal that is restarted gets the current credential', async (t) => {
  const folder = temporaryFolder(t)
  const kept = join(folder, 'kept')
  writeFileSync(kept, 'user:first')
  const { said, pidOf, out } = boot(t, folder, { BOOT_CREDENTIAL: `cat ${kept}` })
  await said('gateway started')
  const isGiven = (credential: string) => {
    const pid = pidOf('terminal')
    return (
      pid > 0 && isAlive(pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(credential)
    )
  }
  await eventually(() => isGiven('user:first'), 'the first credential')
  writeFileSync(kept, 'user:second')
  process.kill(pidOf('terminal'), 'SIGTERM')
  await eventually(() => isGiven('user:second'), 'the second credential')
  rmSync(kept)
  process.kill(pidOf('terminal'), 'SIGTERM')
  await said('terminal ended with 78 and is given up (it has no credential)')
  t.match(out(), `${kept}: No such file`)
  t.ok(isAlive(pidOf('gateway')), 'the others go on')
  t.notMatch(out(), /user:(?:first|second)/)
})

t.test(
  'the script notices a service that ends while the script runs another program',
  async (t) => {
    const folder = temporaryFolder(t)
    const bin = join(folder, 'bin')
    mkdirSync(bin)
    // This program, which the script waits for, ends the terminal: its process is gone when the program returns.
    const mv = `#!/bin/bash
    read -r pid <"$1"
    if [[ $1 == */terminal.pid* && ! -e ${folder}/done ]]; then
      : >${folder}/done
      kill -KILL "$pid"
      while read -r line <"/proc/$pid/stat" && [[ \${line##*) } != Z* ]]; do :; done
    fi
    exec /bin/mv "$@"`
    writeFileSync(join(bin, 'mv'), mv, { mode: 0o755 })
    const { said, pidOf } = boot(t, folder, { PATH: `${bin}:${process.env['PATH']}` })
    await said('terminal ended with 137, again in 0 s')
    await eventually(() => isAlive(pidOf('terminal')), 'the terminal again')
  },
)

t.test('a service that ends while the script is busy is started again', async (t) => {
  const folder = temporaryFolder(t)
  const held = join(folder, 'held')
  const asked = join(folder, 'asked')
  const command = `if [[ -e ${held} ]]; then touch ${asked}; while [[ -e ${held} ]]; do sleep 0.05; done; fi; echo user:x`
  const { said, pidOf } = boot(t, folder, { BOOT_CREDENTIAL: `bash -c '${command}'` })
  await said('gateway started')
  writeFileSync(held, '')
  process.kill(pidOf('terminal'), 'SIGKILL')
  await eventually(() => existsSync(asked), 'the script to wait for the credential')
  const pids = [pidOf('gateway'), pidOf('stats')]
  for (const pid of pids) process.kill(pid, 'SIGKILL')
  await eventually(() => pids.every((pid) => !existsSync(`/proc/${pid}`)), 'bash to reap them')
  rmSync(held)
  for (const name of ['gateway', 'stats'])
    await said(`${name} ended with 137, again in 0 s; it said: (nothing)`)
  await eventually(
    () => ['gateway', 'stats'].every((name) => isAlive(pidOf(name)) && !pids.includes(pidOf(name))),
    'both again',
  )
})

t.test('no credential is made without a terminal', async (t) => {
  const folder = temporaryFolder(t)
  const { said } = boot(t, folder, { BOOT_TERMINAL: '', BOOT_CREDENTIAL: 'false' })
  await said('gateway started')
  t.same(readdirSync(join(folder, 'state')), [])
})

t.test('the keeper of terminals is put between the gateway and ttyd', async (t) => {
  const folder = temporaryFolder(t)
  const socket = join(folder, 'run/gateway/terminals.sock')
  const { said, pidOf, out } = boot(t, folder, { TERMINALS_SCROLLBACK: '500' })
  await said('gateway started')
  const order = ['terminal', 'terminals', 'gateway'].map((name) => out().indexOf(`${name} started`))
  t.ok(
    order.every((place, i) => place >= 0 && place > (order[i - 1] ?? -1)),
    out(),
  )
  t.match(
    `\0${await environmentOf(pidOf('gateway'), /^sleep\0/)}`,
    `\0GATEWAY_TERMINAL_URL=unix:${socket}\0`,
  )
  const keeper = await environmentOf(pidOf('terminals'), /^sleep\0/)
  t.match(keeper, `\0TERMINALS_SOCKET=${socket}\0`)
  t.match(keeper, '\0TERMINALS_SCROLLBACK=500\0')
  t.notMatch(keeper, /GATEWAY_|BOOT_|not-for-services/, 'it needs no secret')
  t.notMatch(await environmentOf(pidOf('stats'), /^sleep\0/), /TERMINALS_/)
  t.equal(statSync(join(folder, 'run/gateway')).mode & 0o777, 0o700)
})

t.test('a restart of the gateway leaves the keeper of terminals alone', async (t) => {
  const folder = temporaryFolder(t)
  const { child, exited, said, pidOf, out } = boot(t, folder, {
    BOOT_GATEWAY: `bash -c 'trap "kill -0 $(<${folder}/run/terminals.pid) && echo the keeper is there >&2; exit 0" TERM; echo ready >&2; while :; do sleep 0.05; done'`,
  })
  await said('gateway started')
  const gatewaySays = (text: string) =>
    eventually(
      () => readFileSync(join(folder, 'log/gateway.log'), 'utf8').includes(text),
      `"${text}" of the gateway`,
    )
  const [ttyd, keeper] = [pidOf('terminal'), pidOf('terminals')]
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    await gatewaySays('ready')
    const gateway = pidOf('gateway')
    process.kill(gateway, signal)
    await eventually(() => ![0, gateway].includes(pidOf('gateway')), 'another gateway')
    t.equal(pidOf('terminals'), keeper)
    t.equal(pidOf('terminal'), ttyd)
    t.ok(isAlive(keeper) && isAlive(ttyd))
  }
  await gatewaySays('ready')
  child.kill('SIGTERM')
  t.equal(await exited, 0)
  await gatewaySays('the keeper is there')
  t.notOk(isAlive(keeper), out())
  t.same(readdirSync(join(folder, 'run')), ['boot.lock'])
})

t.test('the keeper of terminals is restarted alone, and at once', async (t) => {
  const folder = temporaryFolder(t)
  const { said, pidOf } = boot(t, folder, {
    BOOT_TERMINALS: `bash -c 'trap "exit 0" TERM; echo ready; while :; do sleep 0.05; done'`,
    BOOT_PAUSE_SECONDS: '1000',
  })
  await said('gateway started')
  const log = join(folder, 'log/terminals.log')
  await eventually(() => readFileSync(log, 'utf8').includes('ready'), 'the keeper')
  const [keeper, gateway] = [pidOf('terminals'), pidOf('gateway')]
  process.kill(keeper, 'SIGTERM')
  await said('terminals was stopped; starting it again')
  await eventually(() => ![0, keeper].includes(pidOf('terminals')), 'another keeper')
  t.equal(pidOf('gateway'), gateway)
})

t.test('without the keeper of terminals the gateway speaks to ttyd directly', async (t) => {
  const urlWith = async (settings: Record<string, string>, command = /^sleep\0/) => {
    const { said, pidOf, out } = boot(t, temporaryFolder(t), settings)
    await said('gateway started')
    t.notMatch(out(), 'terminals started')
    const environment = await environmentOf(pidOf('gateway'), command)
    return /\0GATEWAY_TERMINAL_URL=([^\0]*)\0/.exec(`\0${environment}`)?.[1]
  }
  t.equal(await urlWith({ BOOT_TERMINALS: '' }), undefined, "the gateway's default")
  const other = { BOOT_TERMINALS: '', GATEWAY_TERMINAL_URL: 'http://127.0.0.1:8081' }
  t.equal(await urlWith(other), 'http://127.0.0.1:8081')
  const socket = { TERMINALS_SOCKET: '/tmp/t.sock', GATEWAY_TERMINAL_URL: 'unix:/tmp/t.sock' }
  t.equal(await urlWith({ BOOT_TERMINALS: '', ...socket }), 'http://127.0.0.1:8080')
  const own = { ...socket, TERMINALS_TTYD_URL: 'unix:/tmp/ttyd.sock' }
  t.equal(await urlWith({ BOOT_TERMINALS: '', ...own }), 'unix:/tmp/ttyd.sock')
})

t.test("an address of ttyd that was the gateway's is the keeper's", async (t) => {
  const ttydOf = async (settings: Record<string, string>) => {
    const { said, pidOf } = boot(t, temporaryFolder(t), settings)
    await said('gateway started')
    const environment = await environmentOf(pidOf('terminals'), /^sleep\0/)
    return /\0TERMINALS_TTYD_URL=([^\0]*)\0/.exec(`\0${environment}`)?.[1]
  }
  t.equal(await ttydOf({}), undefined)
  const named = { GATEWAY_TERMINAL_URL: 'http://127.0.0.1:8081' }
  t.equal(await ttydOf(named), 'http://127.0.0.1:8081')
  t.equal(await ttydOf({ ...named, TERMINALS_TTYD_URL: 'unix:/t.sock' }), 'unix:/t.sock')
  const folder = temporaryFolder(t)
  const socket = join(folder, 'own/terminals.sock')
  t.equal(
    await ttydOf({ TERMINALS_SOCKET: socket, GATEWAY_TERMINAL_URL: `unix:${socket}` }),
    undefined,
  )
  t.equal(statSync(join(folder, 'own')).mode & 0o777, 0o700)
})

t.test('the real keeper of terminals runs unless another command is given', async (t) => {
  const folder = temporaryFolder(t)
  const program = join(folder, 'workspace-gateway')
  // "serve" only waits here; every other command is the real one.
  writeFileSync(
    program,
    `#!/bin/bash\n[[ $1 != serve ]] || exec sleep 1000\nexec ${process.execPath} ${MAIN} "$@"\n`,
    { mode: 0o755 },
  )
  const defaults = { BOOT_GATEWAY: `${program} serve`, BOOT_TERMINALS: undefined }
  const { child, exited, said, pidOf } = boot(t, folder, defaults)
  await said('gateway started')
  const socket = join(folder, 'run/gateway/terminals.sock')
  const log = () => readFileSync(join(folder, 'log/terminals.log'), 'utf8')
  await eventually(() => log().includes('keeping terminals'), 'the keeper')
  t.equal(statSync(socket).mode & 0o777, 0o600)
  const asked = request({ socketPath: socket, path: '/_ready', agent: false }).end()
  const [answer] = (await once(asked, 'response')) as [IncomingMessage]
  t.equal(answer.resume().statusCode, 200)
  const keeper = pidOf('terminals')
  child.kill('SIGTERM')
  t.equal(await exited, 0)
  t.notOk(isAlive(keeper))

  const wrong = boot(t, temporaryFolder(t), { ...defaults, TERMINALS_SCROLLBACK: 'many' })
  await wrong.said('terminals ended with 78 and is given up')
  t.match(wrong.out(), /TERMINALS_SCROLLBACK \\"many\\" is not a whole number/)
  t.ok(isAlive(wrong.pidOf('gateway')), 'the others go on')
})

/** A vault that writes down the key that it gets, and waits. */
const vaultThatWrites = (file: string) => `bash -c 'cat <&3 >${file}; exec sleep 1000'`

t.test('the vault gets its key on a descriptor, and its own settings alone', async (t) => {
  const folder = temporaryFolder(t)
  const [given, key] = [join(folder, 'given'), join(folder, 'master-key')]
  writeFileSync(key, 'key-of-a-test\n', { mode: 0o600 })
  const { child, exited, said, pidOf, out } = boot(t, folder, {
    BOOT_VAULT: vaultThatWrites(given),
    VAULT_MASTER_KEY_FILE: key,
    VAULT_AGENTS: 'coder:1001',
    TERMINALS_SCROLLBACK: '500',
    NODE_OPTIONS: '--no-warnings',
    NODE_TLS_REJECT_UNAUTHORIZED: '0',
    https_proxy: 'http://127.0.0.1:9',
    SOMETHING_ELSE: 'x',
  })
  await said('gateway started')
  const vault = await environmentOf(pidOf('vault'), /^sleep\0/)
  t.equal(readFileSync(given, 'utf8'), 'key-of-a-test\n')
  const names = vault.split('\0').flatMap((line) => line.split('=')[0] || [])
  t.same(
    names.filter((name) => !['PWD', 'SHLVL', '_', 'OLDPWD'].includes(name)).toSorted(),
    ['HOME', 'PATH', 'TZ', 'VAULT_AGENTS', 'VAULT_MASTER_KEY_FD', 'VAULT_SOCKETS'],
    'nothing else is inherited',
  )
  t.match(vault, `VAULT_SOCKETS=${join(folder, 'run/vault')}\0`)
  const others = SERVICES.filter((name) => name !== 'terminal')
  for (const name of others)
    t.notMatch(
      await environmentOf(pidOf(name), /^sleep\0/),
      /(?<!GATEWAY_)VAULT_|BOOT_|key-of-a-test/,
      name,
    )
  t.match(
    `\0${await environmentOf(pidOf('gateway'), /^sleep\0/)}`,
    `\0GATEWAY_VAULT_SOCKETS=${join(folder, 'run/vault')}\0`,
    'the gateway knows where the doors are',
  )
  t.notMatch(await environmentOf(pidOf('terminal'), /^bash\0-c\0sleep 1000/), /VAULT_|BOOT_/)
  t.notMatch(await environmentOf(pidOf('gateway'), /^sleep\0/), /TERMINALS_/)
  t.notMatch(out(), 'key-of-a-test')

  writeFileSync(key, 'another-key\n')
  process.kill(pidOf('vault'), 'SIGKILL')
  await eventually(() => readFileSync(given, 'utf8') === 'another-key\n', 'the new key')
  child.kill('SIGTERM')
  t.equal(await exited, 0)
})

t.test('without its key there is no vault, and the others go on', async (t) => {
  const none = boot(t, temporaryFolder(t))
  await none.said('gateway started')
  t.notMatch(none.out(), 'vault')
  t.notMatch(await environmentOf(none.pidOf('gateway'), /^sleep\0/), 'VAULT')
  const folder = temporaryFolder(t)
  const missing = { VAULT_MASTER_KEY_FILE: join(folder, 'missing') }
  const both = { ...missing, VAULT_MASTER_KEY: 'x' }
  for (const settings of [missing, both]) {
    const { said, pidOf } = boot(t, temporaryFolder(t), { BOOT_VAULT: 'sleep 1000', ...settings })
    await said('vault ended with 78 and is given up (it has no key')
    await said('gateway started')
    t.equal(pidOf('vault'), 0)
  }
})

t.test('a key starts the vault with the program of the gateway', async (t) => {
  const folder = temporaryFolder(t)
  const program = join(folder, 'workspace-gateway')
  writeFileSync(program, '#!/bin/bash\nexec sleep 1000 # "$@"\n', { mode: 0o755 })
  const { said } = boot(t, folder, {
    BOOT_GATEWAY: `${program} serve`,
    VAULT_MASTER_KEY: 'key-of-a-test',
  })
  await said('vault started')
  await said('gateway started')
})

t.test('the gateway is told another place of the doors', async (t) => {
  for (const [settings, sockets] of [
    [{ VAULT_SOCKETS: '/tmp/doors' }, '/tmp/doors'],
    [{ GATEWAY_VAULT_SOCKETS: '/tmp/of-my-own' }, '/tmp/of-my-own'],
  ] as const) {
    const { said, pidOf } = boot(t, temporaryFolder(t), {
      BOOT_VAULT: 'sleep 1000',
      VAULT_MASTER_KEY: 'key-of-a-test',
      ...settings,
    })
    await said('gateway started')
    const environment = `\0${await environmentOf(pidOf('gateway'), /^sleep\0/)}`
    t.match(environment, `\0GATEWAY_VAULT_SOCKETS=${sockets}\0`)
  }
})

/** The names of the variables in an environment, without those that bash sets. */
const namesIn = (environment: string) =>
  environment
    .split('\0')
    .flatMap((line) => line.split('=')[0] || [])
    .filter((name) => !['PWD', 'SHLVL', '_', 'OLDPWD'].includes(name))
    .toSorted()

/** A link that only waits. */
const LINK = { BOOT_LINK: 'sleep 1000', LINK_RELAY_URL: 'wss://relay.example.com' }

t.test(
  'the link is started after the gateway, and gets no secret of another program',
  async (t) => {
    const folder = temporaryFolder(t)
    const { child, exited, said, pidOf, out } = boot(t, folder, {
      ...LINK,
      LINK_LOG_LEVEL: 'debug',
      GATEWAY_WORKSPACE: 'houston',
      GATEWAY_DOMAIN: 'hubify.com',
      GATEWAY_OPENCLAW_TOKEN: 'not-for-services',
      BOOT_VAULT: 'sleep 1000',
      VAULT_MASTER_KEY: 'key-of-a-test',
      TERMINALS_SCROLLBACK: '500',
      RELAY_STORE_URL: 'redis://of-another-program',
      LIMITS_TOKEN: 'of-the-control-plane',
      NODE_EXTRA_CA_CERTS: '/etc/ssl/own-relay.pem',
      NODE_OPTIONS: '--no-warnings',
      ANTHROPIC_API_KEY: 'of-an-agent',
    })
    await said('link started')
    t.ok(out().indexOf('gateway started') < out().indexOf('link started'), out())
    const [socket, owner] = ['link', 'link-owner'].map((name) =>
      join(folder, `run/gateway/${name}.sock`),
    )
    const link = `\0${await environmentOf(pidOf('link'), /^sleep\0/)}`
    t.same(
      namesIn(link),
      [
        ...['GATEWAY_DOMAIN', 'GATEWAY_LINK_SOCKET', 'GATEWAY_WORKSPACE', 'HOME', 'LINK_LOG_LEVEL'],
        ...[
          'LINK_OWNER_SOCKET',
          'LINK_RELAY_URL',
          'LINK_STATE_DIR',
          'NODE_EXTRA_CA_CERTS',
          'PATH',
          'TZ',
        ],
      ],
      'nothing else is inherited',
    )
    t.match(link, `\0GATEWAY_LINK_SOCKET=${socket}\0`)
    t.match(link, `\0LINK_OWNER_SOCKET=${owner}\0`)
    t.match(link, `\0LINK_STATE_DIR=${join(folder, 'state/link')}\0`)
    const gateway = `\0${await environmentOf(pidOf('gateway'), /^sleep\0/)}`
    t.match(gateway, `\0GATEWAY_LINK_SOCKET=${socket}\0`, 'they meet there')
    t.match(gateway, `\0GATEWAY_LINK_OWNER_SOCKET=${owner}\0`, 'its pages show devices')
    t.notMatch(gateway, /\0(?:LINK|LIMITS)_/)
    t.notMatch(await environmentOf(pidOf('vault'), /^sleep\0/), /LINK_|LIMITS_/, 'vault')
    for (const name of SERVICES.filter((one) => one !== 'gateway' && one !== 'terminal'))
      t.notMatch(await environmentOf(pidOf(name), /^sleep\0/), /LINK_|RELAY_|LIMITS_/, name)
    const terminal = await environmentOf(pidOf('terminal'), /^bash\0-c\0sleep/)
    t.notMatch(terminal, /LINK_|RELAY_|LIMITS_/)
    t.equal(statSync(join(folder, 'run/gateway')).mode & 0o777, 0o700)
    t.equal(readlinkSync(join(folder, 'run/link-owner.sock')), owner, 'where commands look for it')
    const pid = pidOf('link')
    child.kill('SIGTERM')
    t.equal(await exited, 0)
    t.notOk(isAlive(pid))
    t.same(readdirSync(join(folder, 'run')), ['boot.lock'])
  },
)

t.test('without a relay there is no link, and the gateway opens no socket for one', async (t) => {
  const { said, pidOf, out } = boot(t, temporaryFolder(t), { LINK_STATE_DIR: '/nowhere' })
  await said('gateway started')
  t.notMatch(await environmentOf(pidOf('gateway'), /^sleep\0/), 'LINK')
  t.notMatch(out(), 'link')
})

t.test('sockets and a folder that were named for the link are used', async (t) => {
  const folder = temporaryFolder(t)
  const own = {
    GATEWAY_LINK_SOCKET: join(folder, 'doors/link.sock'),
    LINK_OWNER_SOCKET: join(folder, 'doors/owner.sock'),
    LINK_STATE_DIR: join(folder, 'kept'),
  }
  const { said, pidOf } = boot(t, folder, { ...LINK, ...own })
  await said('link started')
  const link = `\0${await environmentOf(pidOf('link'), /^sleep\0/)}`
  for (const [name, value] of Object.entries(own)) t.match(link, `\0${name}=${value}\0`)
  t.equal(statSync(join(folder, 'doors')).mode & 0o777, 0o700)
  t.notOk(existsSync(join(folder, 'run/link-owner.sock')), 'who has named it knows it')
})

t.test('a link to another service leaves the gateway out, but for its pages', async (t) => {
  const folder = temporaryFolder(t)
  const { said, pidOf } = boot(t, folder, {
    ...LINK,
    LINK_TARGET: 'http://127.0.0.1:6767',
    HUBCODE_HOME: join(folder, 'hubcode'),
  })
  await said('link started')
  const link = `\0${await environmentOf(pidOf('link'), /^sleep\0/)}`
  t.match(link, '\0LINK_TARGET=http://127.0.0.1:6767\0')
  t.match(link, `\0HUBCODE_HOME=${join(folder, 'hubcode')}\0`)
  t.notMatch(link, /LINK_STATE_DIR|GATEWAY_LINK_SOCKET/, 'the key is in HUBCODE_HOME')
  const gateway = await environmentOf(pidOf('gateway'), /^sleep\0/)
  t.match(gateway, 'GATEWAY_LINK_OWNER_SOCKET=')
  t.notMatch(gateway, 'GATEWAY_LINK_SOCKET=')
})

t.test('the link is restarted alone, and a wrong setting gives it up alone', async (t) => {
  const folder = temporaryFolder(t)
  const { said, pidOf } = boot(t, folder, {
    ...LINK,
    BOOT_LINK: `bash -c 'trap "exit 0" TERM; echo ready; while :; do sleep 0.05; done'`,
    BOOT_PAUSE_SECONDS: '1000',
  })
  await said('link started')
  const log = join(folder, 'log/link.log')
  await eventually(() => readFileSync(log, 'utf8').includes('ready'), 'the link')
  const [link, gateway] = [pidOf('link'), pidOf('gateway')]
  process.kill(link, 'SIGTERM')
  await said('link was stopped; starting it again')
  await eventually(() => ![0, link].includes(pidOf('link')), 'another link')
  t.equal(pidOf('gateway'), gateway)

  const wrong = boot(t, temporaryFolder(t), {
    ...LINK,
    BOOT_LINK: `bash -c 'echo LINK_TARGET is wrong; exit 78'`,
  })
  await wrong.said('link ended with 78 and is given up')
  t.match(wrong.out(), 'it said: LINK_TARGET is wrong')
  t.equal(wrong.out().split('link started').length, 2, 'once')
  t.ok(isAlive(wrong.pidOf('gateway')), 'the others go on')
})

t.test('the real link runs unless another command is given', async (t) => {
  const folder = temporaryFolder(t)
  const program = join(folder, 'workspace-gateway')
  writeFileSync(
    program,
    `#!/bin/bash\n[[ $1 != serve ]] || exec sleep 1000\nexec ${process.execPath} ${MAIN} "$@"\n`,
    { mode: 0o755 },
  )
  const { child, exited, said } = boot(t, folder, {
    BOOT_GATEWAY: `${program} serve`,
    GATEWAY_WORKSPACE: 'houston',
    LINK_RELAY_URL: 'ws://127.0.0.1:1',
  })
  await said('link started')
  const log = () => readFileSync(join(folder, 'log/link.log'), 'utf8')
  await eventually(() => log().includes('linking devices'), 'the link')
  t.equal(statSync(join(folder, 'run/gateway/link-owner.sock')).mode & 0o777, 0o600)
  t.equal(statSync(join(folder, 'state/link')).mode & 0o777, 0o700)
  t.equal(statSync(join(folder, 'state/link/daemon-keypair.json')).mode & 0o777, 0o600)
  const env = { LINK_OWNER_SOCKET: join(folder, 'run/link-owner.sock') }
  const list = spawnSync(process.execPath, [MAIN, 'devices', 'list', '--json'], {
    env,
    encoding: 'utf8',
  })
  t.same(JSON.parse(list.stdout), [], 'commands find it by the name beside the folder')
  child.kill('SIGTERM')
  t.equal(await exited, 0)
  t.same(readdirSync(join(folder, 'run')), ['boot.lock'])
})

const isRoot = process.getuid?.() === 0

t.test(
  'the keeper of terminals is the gateway’s user, and so is its folder',
  { skip: isRoot ? false : 'root alone can start programs as another user' },
  async (t) => {
    const folder = temporaryFolder(t)
    const { said, pidOf, child, exited } = boot(t, folder, { BOOT_GATEWAY_USER: 'nobody' })
    await said('gateway started')
    await runsProgram(pidOf('terminals'), /^sleep\0/)
    const status = readFileSync(`/proc/${pidOf('terminals')}/status`, 'utf8')
    const { uid: owner, mode } = statSync(join(folder, 'run/gateway'))
    t.match(status, new RegExp(`^Uid:\\t${owner}\\t`, 'm'))
    t.not(owner, 0)
    t.match(status, /^CapAmb:\t0+$/m, 'it needs no right to listen on port 80')
    t.equal(mode & 0o777, 0o700)
    t.equal(statSync(join(folder, 'run')).mode & 0o777, 0o711)
    child.kill('SIGTERM')
    t.equal(await exited, 0)
    t.same(readdirSync(join(folder, 'run')), ['boot.lock'])
  },
)

t.test(
  'the vault and each agent have a user of their own, and each agent can enter its own door alone',
  { skip: isRoot ? false : 'root alone can start programs as another user' },
  async (t) => {
    const folder = temporaryFolder(t)
    chmodSync(folder, 0o711)
    const [vaultData, given] = [join(folder, 'vault-data'), join(folder, 'vault-data/given')]
    const idOf = (user: string, what: 'u' | 'g') =>
      Number(execFileSync('id', [`-${what}`, user], { encoding: 'utf8' }))
    const { child, exited, said, pidOf } = boot(t, folder, {
      BOOT_VAULT: vaultThatWrites(given),
      BOOT_VAULT_USER: 'daemon',
      BOOT_GATEWAY_USER: 'nobody',
      BOOT_OPENCLAW_USER: 'games',
      BOOT_TERMINAL_USER: 'mail',
      VAULT_MASTER_KEY: 'key-of-a-test',
      VAULT_AGENTS: `coder:${idOf('games', 'u')}, ops:${idOf('mail', 'u')}`,
      VAULT_STATE_DIR: vaultData,
      VAULT_FILE: join(vaultData, '.vault.enc'),
    })
    await said('gateway started')
    const users = { vault: 'daemon', openclaw: 'games', terminal: 'mail', gateway: 'nobody' }
    for (const [name, user] of Object.entries(users)) {
      await runsProgram(pidOf(name), name === 'terminal' ? /^bash\0-c\0sleep/ : /^sleep\0/)
      const status = readFileSync(`/proc/${pidOf(name)}/status`, 'utf8')
      t.match(status, new RegExp(`^Uid:\\t${idOf(user, 'u')}\\t`, 'm'), `${name} is ${user}`)
    }
    t.equal(readFileSync(given, 'utf8'), 'key-of-a-test\n', 'the key reaches the other user')
    t.equal(statSync(vaultData).mode & 0o7777, 0o700)
    t.equal(statSync(vaultData).uid, idOf('daemon', 'u'))
    const doors = join(folder, 'run/vault')
    t.equal(statSync(doors).mode & 0o7777, 0o711)
    t.equal(statSync(doors).uid, idOf('daemon', 'u'), 'the vault writes the list of agents there')
    const groups = { coder: 'games', ops: 'mail', owner: 'nobody' }
    t.same(readdirSync(doors).toSorted(), Object.keys(groups).toSorted())
    for (const [door, user] of Object.entries(groups)) {
      const { mode, uid, gid } = statSync(join(doors, door))
      t.equal(mode & 0o7777, 0o2750, door)
      t.equal(uid, idOf('daemon', 'u'), door)
      t.equal(gid, idOf(user, 'g'), door)
    }
    const enter = (user: string, door: string) =>
      spawnSync('setpriv', [
        ...['--reuid', user, '--regid', String(idOf(user, 'g')), '--init-groups'],
        ...['ls', join(doors, door)],
      ]).status
    t.equal(enter('games', 'coder'), 0)
    for (const door of ['ops', 'owner']) t.not(enter('games', door), 0, `not ${door}`)
    child.kill('SIGTERM')
    t.equal(await exited, 0)
    t.same(readdirSync(join(folder, 'run')), ['boot.lock'])

    const unknown = boot(t, temporaryFolder(t), {
      BOOT_VAULT: 'sleep 1000',
      BOOT_VAULT_USER: 'daemon',
      VAULT_MASTER_KEY: 'x',
      VAULT_AGENTS: 'coder:4000000',
      VAULT_STATE_DIR: vaultData,
      VAULT_FILE: join(vaultData, '.vault.enc'),
    })
    t.equal(await unknown.exited, 78)
    t.match(
      unknown.out(),
      'VAULT_AGENTS names the uid 4000000 for coder, and there is no such user',
    )
  },
)

t.test(
  'a vault of the script’s own user still has a door for the user of the gateway, and of each agent',
  { skip: isRoot ? false : 'root alone can start programs as another user' },
  async (t) => {
    const folder = temporaryFolder(t)
    chmodSync(folder, 0o711)
    const data = join(folder, 'vault-data')
    const users = {
      BOOT_VAULT: 'sleep 1000',
      BOOT_GATEWAY_USER: 'nobody',
      VAULT_MASTER_KEY: 'key-of-a-test',
      VAULT_STATE_DIR: data,
      VAULT_FILE: join(data, '.vault.enc'),
    }
    const idOf = (user: string, what: 'u' | 'g') =>
      Number(execFileSync('id', [`-${what}`, user], { encoding: 'utf8' }))
    const { said, child, exited } = boot(t, folder, {
      ...users,
      VAULT_AGENTS: `coder:${idOf('games', 'u')}`,
    })
    await said('gateway started')
    for (const [door, user] of [
      ['owner', 'nobody'],
      ['coder', 'games'],
    ] as const) {
      const { mode, uid, gid } = statSync(join(folder, 'run/vault', door))
      t.same([mode & 0o7777, uid, gid], [0o2750, 0, idOf(user, 'g')], door)
    }
    child.kill('SIGTERM')
    t.equal(await exited, 0)

    // An agent in the gateway's group could open the owner's door.
    const same = boot(t, temporaryFolder(t), {
      ...users,
      VAULT_AGENTS: `coder:${idOf('nobody', 'u')}`,
    })
    t.equal(await same.exited, 78)
    t.match(
      same.out(),
      `VAULT_AGENTS: the user of coder (${idOf('nobody', 'u')}) is in the group ${idOf('nobody', 'g')}, which opens the door of owner`,
    )
    t.notMatch(same.out(), /started/)
  },
)

t.test(
  'the link is the gateway’s user, and no agent reaches its sockets and its key',
  { skip: isRoot ? false : 'root alone can start programs as another user' },
  async (t) => {
    const folder = temporaryFolder(t)
    chmodSync(folder, 0o711)
    const idOf = (user: string, what: 'u' | 'g') =>
      execFileSync('id', [`-${what}`, user], { encoding: 'utf8' }).trim()
    // Each makes what it makes on a machine: the gateway its socket, the link its own socket and its key.
    const made = {
      link: join(folder, 'run/gateway/link.sock'),
      owner: join(folder, 'run/gateway/link-owner.sock'),
      key: join(folder, 'state/link/daemon-keypair.json'),
    }
    const { said, pidOf, child, exited } = boot(t, folder, {
      ...LINK,
      BOOT_GATEWAY: `bash -c 'touch "$GATEWAY_LINK_SOCKET"; exec sleep 1000'`,
      BOOT_LINK: `bash -c 'touch "$LINK_OWNER_SOCKET" "$LINK_STATE_DIR/daemon-keypair.json"; exec sleep 1000'`,
      BOOT_GATEWAY_USER: 'nobody',
      BOOT_SERVICE_USER: 'games',
      BOOT_TERMINAL_USER: 'mail',
      HUBCODE_HOME: join(folder, 'of-an-agent'),
    })
    await said('link started')
    await runsProgram(pidOf('link'), /^sleep\0/)
    await runsProgram(pidOf('gateway'), /^sleep\0/)
    const status = readFileSync(`/proc/${pidOf('link')}/status`, 'utf8')
    t.match(status, new RegExp(`^Uid:\\t${idOf('nobody', 'u')}\\t`, 'm'))
    t.match(status, /^CapAmb:\t0+$/m, 'it needs no right to listen on port 80')
    t.equal(statSync(join(folder, 'state/link')).mode & 0o7777, 0o700)
    const canRead = (user: string, path: string) =>
      spawnSync('setpriv', [
        ...['--reuid', user, '--regid', idOf(user, 'g'), '--init-groups'],
        ...['cat', path],
      ]).status === 0
    for (const [name, path] of Object.entries(made)) {
      t.ok(canRead('nobody', path), `${name}: for the gateway's user`)
      for (const user of ['games', 'mail']) t.notOk(canRead(user, path), `${name}: not for ${user}`)
    }
    t.notOk(canRead('games', join(folder, 'run/link-owner.sock')), 'nor by its other name')
    t.notOk(existsSync(join(folder, 'of-an-agent')), 'the key is not in the folder of an agent')
    child.kill('SIGTERM')
    t.equal(await exited, 0)
    t.same(readdirSync(join(folder, 'run')), ['boot.lock'])
  },
)

/** Makes a folder with a program named node that reports this version. */
function fakeNode(folder: string, version: string): string {
  const bin = join(folder, `node-${version}`)
  mkdirSync(bin)
  const script = `[[ \${1-} == --version ]] && echo ${version} && exit\nexec sleep 1000\n`
  writeFileSync(join(bin, 'node'), `#!/bin/bash\n${script}`, { mode: 0o755 })
  return bin
}

/** Makes a program that starts the gateway with the Node of the PATH, as the installed command does. */
function fakeGateway(folder: string): string {
  const file = join(folder, 'workspace-gateway')
  writeFileSync(file, '#!/usr/bin/env node\n', { mode: 0o755 })
  return file
}

const SYSTEM = '/usr/bin:/bin'

t.test('a Node that is too old is reported in one line, and nothing is started', async (t) => {
  const folder = temporaryFolder(t)
  const old = fakeNode(folder, 'v20.19.2')
  const program = fakeGateway(folder)
  for (const command of [`${program} serve`, `node ${program} serve`, `${old}/node x`]) {
    const { exited, out } = boot(t, folder, {
      PATH: `${old}:${SYSTEM}`,
      BOOT_GATEWAY: command,
      BOOT_CREDENTIAL: 'false',
    })
    t.equal(await exited, 78, command)
    const lines = out().trim().split('\n')
    t.equal(lines.length, 1)
    t.match(lines[0], `needs Node 24 or newer; there is ${old}/node (v20.19.2)`)
  }
})

t.test('the gateway runs with the first Node on the PATH that is new enough', async (t) => {
  const folder = temporaryFolder(t)
  const [old, right] = [fakeNode(folder, 'v20.19.2'), fakeNode(folder, 'v24.1.0')]
  const { said, pidOf } = boot(t, folder, {
    PATH: `${old}:${right}:${SYSTEM}`,
    BOOT_GATEWAY: `${fakeGateway(folder)} serve`,
    BOOT_CREDENTIAL: `bash -c '[[ $(node --version) == v24* ]] && echo user:x'`,
    BOOT_TERMINALS: `${fakeGateway(folder)} terminals`,
    BOOT_STATS: 'node server.js',
  })
  await said('gateway started')
  await said(`the gateway runs with ${right}/node (v24.1.0)`)
  for (const name of ['gateway', 'terminals'])
    t.match(
      await environmentOf(pidOf(name), /^sleep\0/),
      `PATH=${right}:${old}:`,
      `the PATH of the ${name} alone`,
    )
  t.match(
    await environmentOf(pidOf('stats'), /^sleep\0/),
    `PATH=${old}:${right}:`,
    "the services' is as it was",
  )
})

t.test('the script requires the Node version of package.json', async (t) => {
  const { engines } = JSON.parse(
    readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
  ) as { engines: { node: string } }
  const [, major] = /^>=(\d+)\./.exec(engines.node) ?? []
  t.match(readFileSync(SCRIPT, 'utf8'), `NODE_MAJOR=${major}\n`)
})

t.test(
  'an invalid configuration ends everything at once, with the exit code of the gateway',
  async (t) => {
    const { exited, out } = boot(t, temporaryFolder(t), {
      BOOT_GATEWAY: "bash -c 'echo GATEWAY_PORT is wrong >&2; exit 78'",
    })
    t.equal(await exited, 78)
    t.equal(out().split('gateway started').length, 2, 'once')
    t.match(out(), /given up .*it said: GATEWAY_PORT is wrong/)
  },
)

t.test('a service that ends five times in a minute is not restarted until SIGUSR1', async (t) => {
  const folder = temporaryFolder(t)
  const mended = join(folder, 'mended')
  const { child, exited, said, out, pidOf } = boot(t, folder, {
    BOOT_DASHBOARD: `bash -c '[[ ! -e ${mended} ]] || exec sleep 1000; echo Cannot find module; exit 3'`,
  })
  await said('dashboard ended with 3 and is given up')
  t.equal(out().split('dashboard started').length, 6)
  t.match(out(), /given up \(5 ends within 60 s\); it said: Cannot find module/)
  t.ok(isAlive(pidOf('gateway')), 'the others go on')
  writeFileSync(mended, '')
  child.kill('SIGUSR1')
  await eventually(() => pidOf('dashboard') > 0, 'the dashboard runs again')
  child.kill('SIGTERM')
  t.equal(await exited, 0)
})

t.test('the script ends when the gateway cannot be started', async (t) => {
  const { exited, out } = boot(t, temporaryFolder(t), {
    BOOT_GATEWAY: "bash -c 'echo port taken >&2; exit 69'",
  })
  t.equal(await exited, 69)
  t.equal(out().split('gateway started').length, 6)
})

t.test('a gateway that ends with 0 is started again, however often', async (t) => {
  const folder = temporaryFolder(t)
  const ready = join(folder, 'ready')
  const { child, exited, out, pidOf } = boot(t, folder, {
    BOOT_GATEWAY: `bash -c 'trap "exit 0" TERM; echo $$ >${ready}; while :; do sleep 0.05; done'`,
  })
  const isReady = () =>
    existsSync(ready) &&
    pidOf('gateway') > 0 &&
    Number(readFileSync(ready, 'utf8')) === pidOf('gateway')
  for (let round = 1; round <= 6; round++) {
    await eventually(isReady, `start ${round}`)
    const pid = pidOf('gateway')
    process.kill(pid, 'SIGTERM')
    await eventually(() => ![0, pid].includes(pidOf('gateway')), 'another process')
  }
  t.notMatch(out(), /given up/)
  child.kill('SIGTERM')
  t.equal(await exited, 0)
})

t.test('a SIGTERM is obeyed, however early it comes', async (t) => {
  for (let round = 1; round <= 12; round++) {
    const { child, exited, said } = boot(t, temporaryFolder(t), { GATEWAY_DRAIN_SECONDS: '0' })
    await said('terminal started')
    child.kill('SIGTERM')
    t.equal(await exited, 0)
  }
})

t.test('the script avoids the commands during which bash 5.2 loses signals', async (t) => {
  // A loop of "wait -n", "kill" and "wait" lost up to 5 of 1,200 SIGTERMs. This loop lost none of 2,500.
  const script = readFileSync(SCRIPT, 'utf8').replace(/#.*$/gm, '')
  t.notMatch(script, /\bwait -n\b/)
  const loop = script.slice(script.indexOf("trap 'signals="))
  t.ok(loop.length > 100)
  t.notMatch(loop, /\$\((?!\()|`/, 'a command is expanded while signals are awaited')
})

t.test(
  'only one script runs, and it ends the services that a killed script has left behind',
  async (t) => {
    const folder = temporaryFolder(t)
    const first = boot(t, folder)
    await first.said('gateway started')
    const second = boot(t, folder)
    t.equal(await second.exited, 69)
    t.match(second.out(), `already running as process ${first.child.pid}`)
    const pids = SERVICES.map(first.pidOf)
    first.child.kill('SIGKILL')
    await once(first.child, 'exit')
    for (const pid of pids) t.ok(isAlive(pid), 'they outlive a killed parent')
    const third = boot(t, folder)
    await third.said('gateway started')
    for (const pid of pids) t.notOk(isAlive(pid))
    third.child.kill('SIGTERM')
    t.equal(await third.exited, 0)
  },
)

t.test('a service that ignores SIGTERM is killed', async (t) => {
  const { child, exited, said, pidOf } = boot(t, temporaryFolder(t), {
    BOOT_STATS: "bash -c 'trap : TERM; while :; do sleep 0.05; done'",
  })
  await said('gateway started')
  const pid = pidOf('stats')
  child.kill('SIGTERM')
  t.equal(await exited, 0)
  t.notOk(isAlive(pid))
})
