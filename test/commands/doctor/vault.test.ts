/** Does doctor find what is wrong around the vault: who it shares a user with, who reaches its files, and who else holds a key? */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { createServer, type Server } from 'node:net'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { VERSION } from '../../../src/answers/version.ts'
import { Examination, type Machine } from '../../../src/commands/doctor/examination.ts'
import type { Finding } from '../../../src/commands/doctor/finding.ts'
import { listeningUsers } from '../../../src/commands/doctor/processes.ts'
import { readUsers } from '../../../src/commands/doctor/users.ts'
import { judgeAudit, judgeEntries } from '../../../src/commands/doctor/vault-entries.ts'
import type { Scene } from '../../../src/commands/doctor/vault-scene.ts'
import { judgeUsers } from '../../../src/commands/doctor/vault-users.ts'
import { examineVault } from '../../../src/commands/doctor/vault.ts'
import { doctor } from '../../../src/commands/doctor.ts'
import { vault as vaultCommand } from '../../../src/commands/vault.ts'
import { loadConfig } from '../../../src/config/load.ts'
import { auditPathOf, ownerSocket } from '../../../src/vault/protocol.ts'
import { selfCheck, type SelfCheck } from '../../../src/vault/self-check.ts'
import { runCommand } from '../../helpers/command.ts'
import { testSettings } from '../../helpers/gateway.ts'
import { as, startVaultAs, userOf, whyNotAs, type User } from '../../helpers/other-users.ts'
import { MAIN, temporaryFolder } from '../../helpers/process.ts'
import { MASTER_KEY_TEXT, startRunningVault } from '../../helpers/running-vault.ts'
import { CREDENTIAL } from '../../helpers/vault-entry.ts'

const OWN = process.getuid?.() ?? 0
const LEASE = `hvl_${'a'.repeat(32)}`

/** A process that a test makes up: its user, its program, and its variables. */
type MadeUp = Readonly<Record<string, string | number>>

/** Where the kernel would show processes: none but those that a test writes there. */
function startProc(t: Test, processes: Readonly<Record<number, MadeUp>> = {}): string {
  const proc = temporaryFolder(t)
  for (const [pid, { uid = OWN, program = 'node', ...env }] of Object.entries(processes)) {
    mkdirSync(join(proc, pid))
    const status = `Name:\t${program}\nUmask:\t0022\nUid:\t9\t${uid}\t${uid}\t${uid}\n`
    writeFileSync(join(proc, pid, 'status'), status)
    const variables = Object.entries(env).map(([name, value]) => `${name}=${value}\0`)
    writeFileSync(join(proc, pid, 'environ'), variables.join(''))
  }
  return proc
}

type Settings = Record<string, string | undefined>

/** What doctor finds. Waiting for an answer has the usual limit, unless the test has a vault that never answers. */
async function look(
  t: Test,
  settings: Settings,
  { patience = 20, ...machine }: Partial<Machine> & { patience?: number } = {},
): Promise<Finding[]> {
  const known = { proc: startProc(t), vaultSockets: join(temporaryFolder(t), 'none'), ...machine }
  const stateDir = temporaryFolder(t)
  const config = loadConfig(testSettings({ GATEWAY_STATE_DIR: stateDir, ...settings }))
  return examineVault(new Examination(config, [], { patience, machine: known }))
}

const of = (findings: readonly Finding[], check: string) =>
  findings.filter((finding) => finding.check === check)

const isFault = ({ verdict }: Finding) => verdict === 'warn' || verdict === 'fail'

/** A vault whose agents are its own user, so that every folder is as the vault makes it. */
const startVault = (t: Test, settings: Record<string, string> = {}) =>
  startRunningVault(t, { VAULT_AGENTS: `coder:${OWN},ops:${OWN}`, ...settings })

const known = ({ env }: { env: Record<string, string> }) => ({
  GATEWAY_VAULT_SOCKETS: env['VAULT_SOCKETS'],
})

/** A door that is no vault's. */
async function startDoor(t: Test, server: Server): Promise<Settings> {
  const sockets = temporaryFolder(t)
  mkdirSync(join(sockets, 'owner'))
  server.listen(ownerSocket(sockets))
  await once(server, 'listening')
  t.teardown(() => server.close())
  return { GATEWAY_VAULT_SOCKETS: sockets }
}

const answering = (bodies: Record<string, unknown>, status = 200) =>
  createHttpServer((request, response) => {
    const body = bodies[request.url ?? '']
    response.writeHead(status).end(typeof body === 'string' ? body : JSON.stringify(body ?? {}))
  })

t.test(
  'without the setting nothing is asked, and a vault at the usual place is named',
  async (t) => {
    t.same(await look(t, {}), [])
    const { env } = await startVault(t)
    const sockets = String(env['VAULT_SOCKETS'])
    const [finding, ...more] = await look(t, {}, { vaultSockets: sockets })
    t.match(finding, {
      ...{ check: 'vault-answers', verdict: 'warn', detail: /the gateway does not know of it/ },
      remedy: `set GATEWAY_VAULT_SOCKETS=${sockets}, give`,
    })
    t.same(more, [])
  },
)

t.test('a sound vault passes every question', async (t) => {
  const vault = await startVault(t, { VAULT_AGENTS: `coder:${OWN}` })
  await vault.add('http://127.0.0.1:1')
  const findings = await look(t, known(vault), { proc: startProc(t, { 7: { PATH: '/bin' } }) })
  t.match(of(findings, 'vault-answers'), [
    { verdict: 'pass', detail: `${vault.owner}: ${VERSION}, process ${vault.program.pid}` },
  ])
  for (const check of [
    ...['vault-files-private', 'vault-doors-private', 'vault-credentials-kept', 'vault-entries'],
    ...['vault-credentials-fresh', 'vault-audit-writable'],
  ])
    t.match(of(findings, check), [{ verdict: 'pass' }], JSON.stringify(of(findings, check)))
  t.match(of(findings, 'vault-key-kept'), [
    { verdict: 'warn', detail: /got its key in VAULT_MASTER_KEY/, remedy: /VAULT_MASTER_KEY_FD/ },
  ])
  t.match(of(findings, 'vault-settings-kept'), [{ verdict: 'skip' }])
  t.equal(findings.length, 10)
  const page = readFileSync('docs/vault.md', 'utf8')
  const explained = [...page.matchAll(/^\| `(vault-[a-z-]+)` \| [a-z]/gm)].map(([, name]) => name)
  t.same(
    explained,
    findings.map(({ check }) => check),
    'each is in docs/vault.md, in this order',
  )
})

t.test('a vault that cannot be asked is told apart by its reason', async (t) => {
  const sockets = temporaryFolder(t)
  const expectOne = async (settings: Settings, expected: object, patience?: number) => {
    const findings = await look(t, settings, patience === undefined ? {} : { patience })
    t.match(findings[0], { check: 'vault-answers', verdict: 'fail', ...expected })
    t.equal(findings.length, 10)
    for (const one of findings.slice(1)) t.equal(one.verdict, 'skip', one.check)
  }
  const setting = { GATEWAY_VAULT_SOCKETS: sockets }
  await expectOne(setting, { detail: /does not exist/, remedy: /start the vault/ })
  mkdirSync(join(sockets, 'owner'))
  const ended = createServer().listen(join(sockets, 'first.sock'))
  await once(ended, 'listening')
  renameSync(join(sockets, 'first.sock'), ownerSocket(sockets))
  ended.close()
  await once(ended, 'close')
  await expectOne(setting, { detail: /has ended/, remedy: /start the vault/ })

  for (const [why, server] of [
    ['no HTTP', createServer((socket) => void socket.end('SSH-2.0-x\r\n'))],
    ['nothing', createServer((socket) => void socket.end())],
    [
      'another protocol',
      createServer(
        (socket) =>
          void socket
            .on('error', () => {})
            .write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n'),
      ),
    ],
    ['no JSON', answering({ '/v1/status': '<html>' })],
    ['other JSON', answering({ '/v1/status': 'null' })],
    ['an error', answering({ '/v1/status': { version: VERSION, pid: 1 } }, 500)],
    ['a number too few', answering({ '/v1/status': { version: VERSION } })],
  ] as const) {
    const settings = await startDoor(t, server)
    await expectOne(settings, { detail: /no vault|no answer \(ECONNRESET\)/ })
    t.pass(why)
  }

  const open: Array<{ destroy(): void }> = []
  t.teardown(() => open.forEach((socket) => socket.destroy()))
  for (const start of ['', 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{']) {
    const silent = createServer((socket) => {
      open.push(socket)
      socket.on('error', () => {})
      if (start !== '') socket.write(start)
    })
    const settings = await startDoor(t, silent)
    await expectOne(settings, { detail: /no answer within 2 s/, remedy: /the vault.s log/ }, 0.1)
  }
})

t.test(
  'a vault of another release is named, and what it does not report is not judged',
  async (t) => {
    const settings = await startDoor(
      t,
      answering({ '/v1/status': { version: '0.0.1', pid: 7 }, '/v1/entries': { entries: [] } }),
    )
    const findings = await look(t, settings)
    t.match(of(findings, 'vault-answers'), [
      { verdict: 'warn', detail: /is 0\.0\.1, and this program is/, remedy: /restart/ },
    ])
    t.match(of(findings, 'vault-files-private'), [{ verdict: 'skip', detail: /does not report/ }])
    t.match(of(findings, 'vault-entries'), [{ verdict: 'pass' }])
  },
)

/** Everybody with a user of his own, unless the test says otherwise. */
function sceneOf(change: Partial<Scene>): Scene {
  const agents = [
    { name: 'coder', uid: 4001 },
    { name: 'ops', uid: 4002 },
  ]
  return {
    ...{ self: {} as SelfCheck, vault: 4000, gateway: 4003, agents, users: readUsers() },
    services: [{ name: 'openclaw', uid: 4001, isAgent: true }],
    ...{ proc: '/nowhere', isOneUser: false },
    ...change,
  }
}

t.test('who shares a user with the vault, and what that means', async (t) => {
  const one = (name: string, uid: number) => ({ name, uid })
  const service = (name: string, uid: number, isAgent = false) => ({ name, uid, isAgent })
  for (const [change, verdict, detail] of [
    [{}, 'pass', /^the vault runs as 4000, the gateway as 4003, coder as 4001, ops as 4002$/],
    [{ gateway: undefined }, 'pass', /^the vault runs as 4000, coder/],
    [{ isOneUser: true }, 'warn', /all run as 4000.*, the vault's memory .* no protection/],
    [{ agents: [one('coder', 0)] }, 'fail', /coder has the uid 0, which can read everything.*root/],
    [{ agents: [one('coder', 4000)] }, 'fail', /coder has the uid 4000, which can read everything/],
    [{ agents: [one('coder', 4003)] }, 'fail', /coder runs as the gateway's user .* owner's door/],
    [{ agents: [one('a', 4001), one('b', 4001)] }, 'warn', /a shares the uid 4001 .*; b shares/],
    [{ vault: 4003 }, 'warn', /the vault and the gateway both run as 4003/],
    [{ vault: 0 }, 'warn', /^the vault runs as root$/],
    [{ services: [service('terminal', 0, true)] }, 'fail', /terminal has the uid 0/],
    [{ services: [service('terminal', 4003, true)] }, 'fail', /terminal runs as the gateway's/],
    [{ services: [service('stats', 0)] }, 'pass', /coder as 4001, ops as 4002, stats as /],
    [{ services: [service('stats', 4000)] }, 'fail', /stats runs as the vault's user, the vault's/],
    [{ services: [service('stats', 4003)] }, 'warn', /stats runs as the gateway's user/],
  ] as ReadonlyArray<[Partial<Scene>, string, RegExp]>) {
    const finding = judgeUsers(sceneOf(change))
    t.match(finding, { check: 'vault-users', verdict, detail }, JSON.stringify(change))
    if (verdict !== 'pass') t.match(finding.remedy, /useradd .*VAULT_AGENTS=coder:1001/)
  }
})

t.test('memory is mentioned unless the kernel keeps it', async (t) => {
  const proc = startProc(t)
  mkdirSync(join(proc, 'sys/kernel/yama'), { recursive: true })
  for (const [scope, expected] of [
    ['0\n', true],
    ['1\n', false],
  ] as const) {
    writeFileSync(join(proc, 'sys/kernel/yama/ptrace_scope'), scope)
    const { detail } = judgeUsers(sceneOf({ isOneUser: true, proc }))
    t.equal(detail.includes('memory'), expected, scope)
  }
})

t.test('who listens on the port of a service is compared too', async (t) => {
  const vault = await startVault(t, { VAULT_AGENTS: 'coder:4001' })
  const proc = startProc(t)
  mkdirSync(join(proc, 'net'))
  // 3000 is 0BB8. A connection (01) of somebody else to that port is no listener.
  writeFileSync(
    join(proc, 'net/tcp'),
    [
      '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode',
      '   0: 0100007F:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000  4007        0 1 1',
      '   1: 0100007F:0BB8 0100007F:D431 01 00000000:00000000 00:00000000 00000000  4008        0 2 1',
      `   2: 0100007F:0BB9 00000000:0000 0A 00000000:00000000 00:00000000 00000000  4009        0 3 1\n`,
    ].join('\n'),
  )
  const settings = { ...known(vault), GATEWAY_API_URL: 'http://127.0.0.1:3000' }
  const [finding] = of(
    await look(t, { ...settings, GATEWAY_DASHBOARD_URL: 'http://127.0.0.1:1' }, { proc }),
    'vault-users',
  )
  t.equal(finding?.verdict, 'warn', 'the vault of this test runs as the user of the gateway')
  writeFileSync(
    join(proc, 'net/tcp6'),
    `   0: 00000000000000000000000000000000:0BB8 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 ${OWN} 0 1 1\n`,
  )
  t.same(listeningUsers(proc, 3000), [4007, OWN])
  const [worse] = of(await look(t, settings, { proc }), 'vault-users')
  t.match(worse, { verdict: 'fail', detail: new RegExp(`openclaw has the uid ${OWN}`) })
})

const FILES = 'vault-files-private'
const DOORS = 'vault-doors-private'

t.test(
  'each file, folder and socket that others can reach is named with its command',
  async (t) => {
    const vault = await startVault(t)
    await vault.add('http://127.0.0.1:1') // makes the file before, .vault.enc.prev
    const {
      VAULT_FILE: file = '',
      VAULT_STATE_DIR: data = '',
      VAULT_SOCKETS: doors = '',
    } = vault.env
    const log = auditPathOf(data)
    for (const [check, path, mode, usual, verdict, remedy] of [
      [FILES, file, 0o644, 0o600, 'fail', `chmod 600 ${file}`],
      [FILES, `${file}.prev`, 0o620, 0o600, 'fail', `chmod 600 ${file}.prev`],
      [FILES, log, 0o604, 0o600, 'fail', `chmod 600 ${log}`],
      [FILES, data, 0o755, 0o700, 'warn', `chmod 700 ${data}`],
      [FILES, data, 0o720, 0o700, 'fail', `chmod 700 ${data}`],
      [FILES, dirname(data), 0o777, 0o700, 'fail', `chmod go-w ${dirname(data)}`],
      [DOORS, doors, 0o713, 0o711, 'fail', `chmod 711 ${doors}`],
      [DOORS, join(doors, 'owner'), 0o2755, 0o700, 'fail', `chmod 2750 ${join(doors, 'owner')}`],
      [DOORS, join(doors, 'coder'), 0o2770, 0o700, 'fail', `chmod 2750 ${join(doors, 'coder')}`],
      [DOORS, join(doors, 'ops'), 0o750, 0o700, 'warn', `chmod 2750 ${join(doors, 'ops')}, and`],
      [DOORS, vault.owner, 0o666, 0o600, 'fail', `chmod 660 ${vault.owner}`],
      [DOORS, vault.coder, 0o606, 0o600, 'fail', `chmod 660 ${vault.coder}`],
    ] as const) {
      chmodSync(path, mode)
      const [finding] = of(await look(t, known(vault)), check)
      t.match(finding, { verdict, remedy }, `${path} ${mode.toString(8)}`)
      t.match(finding?.detail, path)
      chmodSync(path, usual)
    }
    for (const check of [FILES, DOORS])
      t.match(of(await look(t, known(vault)), check), [{ verdict: 'pass' }], 'nothing else is')
    chmodSync(file, 0o644)
    chmodSync(log, 0o644)
    chmodSync(data, 0o755)
    const verdicts = of(await look(t, known(vault)), FILES).map(({ verdict }) => verdict)
    t.equal(verdicts.length, 3, 'each is named once')
    t.same(verdicts, verdicts.toSorted(), 'the worst first')
  },
)

t.test('"vault check" says the same of the same', async (t) => {
  const vault = await startVault(t)
  await vault.add('http://127.0.0.1:1')
  const { VAULT_FILE: file = '', VAULT_STATE_DIR: data = '', VAULT_SOCKETS: doors = '' } = vault.env
  const check = () =>
    runCommand(
      async (args, env, io) => (await vaultCommand(args, { ...env }, io)) ?? -1,
      ['check'],
      vault.env,
    )
  const unwise = (text: string) => text.replace(/^workspace-gateway: VAULT_AGENTS: .*\n/gm, '')
  t.match(await check(), { code: 0, out: /nothing in it was changed/ })
  t.equal(unwise((await check()).err), '')
  for (const [path, mode, usual, expected] of [
    [`${file}.prev`, 0o640, 0o600, 0],
    [auditPathOf(data), 0o604, 0o600, 0],
    [data, 0o755, 0o700, 0],
    [join(doors, 'coder'), 0o2770, 0o700, 0],
    [file, 0o644, 0o600, 78],
  ] as const) {
    chmodSync(path, mode)
    const { code, err } = await check()
    t.equal(code, expected, path)
    const findings = await look(t, known(vault))
    const [found] = [FILES, DOORS].flatMap((name) => of(findings, name).filter(isFault))
    if (expected === 0)
      t.equal(unwise(err), `workspace-gateway: ${found?.detail}; ${found?.remedy}\n`)
    else t.match(err, /is open to others \(mode 0644\); run "chmod 600"/)
    t.match(found?.detail, `${path} is open to others (mode ${mode.toString(8)})`)
    chmodSync(path, usual)
  }
})

t.test('what is gone, or is something else, is named', async (t) => {
  const vault = await startVault(t)
  const { VAULT_FILE: file = '', VAULT_STATE_DIR: data = '' } = vault.env
  renameSync(file, `${file}.aside`)
  t.match(of(await look(t, known(vault)), FILES), [
    { verdict: 'fail', detail: `${file} was removed`, remedy: /vault restore/ },
  ])
  symlinkSync(`${file}.aside`, file)
  t.match(of(await look(t, known(vault)), FILES), [
    { verdict: 'fail', detail: `${file} is a link, and not a file` },
  ])
  rmSync(file)
  renameSync(`${file}.aside`, file)
  rmSync(vault.coder)
  t.match(of(await look(t, known(vault)), DOORS), [
    { verdict: 'fail', detail: `${vault.coder} was removed`, remedy: /restart the vault/ },
  ])
  renameSync(auditPathOf(data), `${data}/elsewhere`)
  t.match(of(await look(t, known(vault)), 'vault-audit-writable'), [
    { verdict: 'fail', detail: /was removed while the vault runs/ },
  ])
})

t.test('a file that only begins like the audit log is in no command to copy', async (t) => {
  const stateDir = temporaryFolder(t)
  const log = auditPathOf(stateDir)
  for (const name of ['', '.81234', '.1;reboot', ' x', '\u001b[2J', '\n', '.$(reboot)'])
    writeFileSync(log + name, '')
  const config = { file: join(stateDir, 'v'), stateDir, sockets: join(stateDir, 's'), agents: [] }
  const audited = selfCheck(config).paths.filter(({ role }) => role === 'audit')
  t.same(
    audited.map(({ path }) => path),
    [log, `${log}.81234`],
  )
})

t.test('the file of the key is looked at, and so is what is above it', async (t) => {
  const folder = temporaryFolder(t)
  const key = join(folder, 'keys/key')
  mkdirSync(dirname(key))
  const other = join(folder, 'rest')
  mkdirSync(other)
  writeFileSync(key, `${MASTER_KEY_TEXT}\n`, { mode: 0o600 })
  const environ = join(folder, 'environ')
  writeFileSync(environ, `A=1\0VAULT_MASTER_KEY_FILE=${key}\0`)
  const config = { file: join(other, 'v'), stateDir: other, sockets: join(other, 's'), agents: [] }
  const looked = selfCheck(config, environ)
  t.match(
    looked.paths.find(({ role }) => role === 'key-file'),
    { path: key, found: { kind: 'file', mode: 0o600, uid: OWN } },
  )
  t.ok(looked.paths.some(({ role, path }) => role === 'above' && path === dirname(key)))
  t.equal(looked.key_in_environment, false)
  t.notMatch(JSON.stringify(looked), MASTER_KEY_TEXT)
  writeFileSync(environ, `VAULT_MASTER_KEY=${MASTER_KEY_TEXT}`)
  t.equal(selfCheck(config, environ).key_in_environment, true)
  t.equal(selfCheck(config, join(folder, 'none')).key_in_environment, false)
  t.equal(selfCheck(config).audit_error, 'ENOENT')
})

const KEY = 'vault-key-kept'
const SETTINGS = 'vault-settings-kept'
const CREDENTIALS = 'vault-credentials-kept'

t.test('the master key, settings and credentials in other processes are named', async (t) => {
  const vault = await startVault(t, { VAULT_AGENTS: 'coder:4001' })
  const kept = async (process: MadeUp) => {
    const proc = startProc(t, { 123: { program: 'agent', uid: 4001, ...process } })
    const findings = await look(t, known(vault), { proc })
    const text = JSON.stringify(findings)
    for (const secret of [MASTER_KEY_TEXT, CREDENTIAL, LEASE]) t.notMatch(text, secret)
    return (check: string) => of(findings, check)
  }
  const clean = await kept({ PATH: '/bin', GITHUB_TOKEN: LEASE, VAULT_SOCKETS: '/x' })
  t.match(clean(SETTINGS), [{ verdict: 'pass', detail: /in 1 processes$/ }])
  t.match(clean(CREDENTIALS), [{ verdict: 'pass' }])
  const others = await kept({ VAULT_ADDR: 'http://127.0.0.1:8200', ANTHROPIC_API_KEY: '' })
  t.match(others(SETTINGS), [{ verdict: 'pass' }], 'another program has such a variable too')
  t.match(others(CREDENTIALS), [{ verdict: 'pass' }], 'an empty one is none')

  const key = await kept({ VAULT_MASTER_KEY: MASTER_KEY_TEXT })
  t.match(key(KEY), [
    { verdict: 'fail', detail: /process 123 \(agent\) of 4001/, remedy: /FD.*vault rekey/ },
  ])
  t.match(key(SETTINGS), [{ verdict: 'fail', detail: /VAULT_MASTER_KEY/ }])
  const ofRoot = await kept({ uid: 0, program: 'boot.sh', VAULT_MASTER_KEY: MASTER_KEY_TEXT })
  t.not(ofRoot(KEY)[0]?.verdict, 'fail', 'who reads an environment of root needs no key')
  t.match(ofRoot(SETTINGS), [{ verdict: 'skip', detail: /run this as root/ }])

  const own = startProc(t, { [process.pid]: { uid: 4001, VAULT_MASTER_KEY: MASTER_KEY_TEXT } })
  const [itself] = of(await look(t, known(vault), { proc: own }), KEY)
  t.not(itself?.verdict, 'fail', 'doctor may be started with the settings of the vault')
  t.notMatch(itself?.detail, String(process.pid))

  const secret = await kept({ GATEWAY_JWT_SECRET: CREDENTIAL, BOOT_VAULT: 'x' })
  t.match(secret(SETTINGS), [
    {
      ...{ verdict: 'fail', remedy: /env -u NAME.*change those secrets/ },
      detail: /secrets in process 123 \(agent\): GATEWAY_JWT_SECRET BOOT_VAULT/,
    },
  ])
  const long = await kept({ [`GATEWAY_${'x'.repeat(5000)}`]: '1' })
  t.match(long(SETTINGS), [{ verdict: 'warn', detail: /: GATEWAY_x{56}$/ }], 'a name is cut')
  const setting = await kept({ LIMITS_X: '1', VAULT_FILE: '/data/vault/.vault.enc' })
  t.match(setting(SETTINGS), [{ verdict: 'warn', detail: /LIMITS_X VAULT_FILE$/ }])

  for (const name of [
    ...['GITHUB_TOKEN', 'GH_TOKEN', 'ANTHROPIC_API_KEY', 'ANTHROPIC_AUTH_TOKEN'],
    ...['OPENAI_API_KEY', 'SLACK_BOT_TOKEN', 'GEMINI_API_KEY', 'GOOGLE_API_KEY'],
  ])
    t.match(
      (await kept({ [name]: CREDENTIAL }))(CREDENTIALS),
      [{ verdict: 'warn', detail: new RegExp(`123 \\(agent\\): ${name}$`), remedy: /vault exec/ }],
      name,
    )
  const service = await kept({ uid: 4009, GITHUB_TOKEN: CREDENTIAL })
  t.match(service(CREDENTIALS), [{ verdict: 'skip' }], 'this is no process of an agent')
})

t.test(
  'a real process is seen by its number, and the vault itself is none of the others',
  async (t) => {
    const vault = await startVault(t)
    const proc = temporaryFolder(t)
    const script = 'process.stdin.resume(); console.log()'
    const holder = spawn(process.execPath, ['-e', script], {
      env: { VAULT_MASTER_KEY: MASTER_KEY_TEXT, GITHUB_TOKEN: CREDENTIAL },
      stdio: ['pipe', 'pipe', 'ignore'],
    })
    t.teardown(() => holder.kill('SIGKILL'))
    await once(holder.stdout, 'data')
    for (const pid of [vault.program.pid, holder.pid, process.pid])
      symlinkSync(`/proc/${pid}`, join(proc, String(pid)))
    const findings = await look(t, known(vault), { proc })
    t.match(of(findings, KEY), [
      { verdict: 'fail', detail: new RegExp(`of process ${holder.pid} \\(\\S+\\) of [^,]*,`) },
    ])
    t.match(of(findings, CREDENTIALS), [
      { verdict: 'warn', detail: new RegExp(`process ${holder.pid} \\(\\S+\\): GITHUB_TOKEN$`) },
    ])
  },
)

t.test('entries that are suspended, granted to nobody, old, or of another workspace', async (t) => {
  const now = Date.parse('2027-01-01T00:00:00Z')
  const version = (number: number, created_at: string, kept_until: string | null = null) => ({
    ...{ version: number, created_at, kept_until },
  })
  const entry = (change: object = {}) => ({
    ...{ service: 'github', kind: 'header', grants: ['coder'], suspended: false },
    versions: [version(1, '2026-06-01T00:00:00Z')],
    ...change,
  })
  const USE = 'vault-entries'
  const FRESH = 'vault-credentials-fresh'
  for (const [entries, check, verdict, detail, remedy] of [
    [[], USE, 'pass', /none yet/, undefined],
    [[entry()], USE, 'pass', /^1 entry, each granted and in use$/, undefined],
    [[entry({ kind: 'workspace' })], USE, 'pass', /another workspace's vault: github/, undefined],
    [[entry({ suspended: true })], USE, 'warn', /suspended.*: github$/, /vault rotate github/],
    [[entry({ grants: [] })], USE, 'warn', /granted to no agent: github/, /vault grant github/],
    [[entry()], FRESH, 'pass', /within a year$/, undefined],
    [
      [entry({ versions: [version(1, '2025-12-31T00:00:00Z')] })],
      ...([FRESH, 'warn', /more than a year: github/, /vault rotate github/] as const),
    ],
    [
      [
        entry({
          versions: [
            version(1, '2020-01-01T00:00:00Z', '2027-01-02T00:00:00Z'),
            version(2, '2026-12-31T00:00:00Z'),
          ],
        }),
      ],
      ...([FRESH, 'pass', /kept for now: github until 2027-01-02/, undefined] as const),
    ],
  ] as const)
    t.match(of(judgeEntries(entries, now), check), [{ verdict, detail, ...(remedy && { remedy }) }])

  const vault = await startVault(t)
  await vault.add('http://127.0.0.1:1', { grants: [] })
  t.match(of(await look(t, known(vault)), USE), [{ verdict: 'warn', detail: /no agent: github/ }])
})

t.test('an audit log that cannot be written, and a disk that is almost full', async (t) => {
  const MIB = 1024 * 1024
  for (const [change, verdict, detail] of [
    [{ free_bytes: 900 * MIB }, 'pass', /900 MiB are free/],
    [{ free_bytes: null }, 'pass', /can be written/],
    [{ free_bytes: 63 * MIB }, 'warn', /^63 MiB are free/],
    [{ free_bytes: MIB - 1 }, 'fail', /^0 MiB are free/],
    [{ audit_error: 'EROFS', free_bytes: 0 }, 'fail', /cannot be written \(EROFS\)/],
    [{ audit_error: 'ENOENT' }, 'fail', /was removed/],
  ] as const) {
    const self = { uid: 1, agents: [], paths: [], key_in_environment: false, audit_error: null }
    t.match(judgeAudit({ ...self, free_bytes: 1, ...change }), { verdict, detail })
  }
})

t.test('the whole doctor prints these lines, and no secret', async (t) => {
  const vault = await startVault(t)
  await vault.add('http://127.0.0.1:1')
  const proc = startProc(t, {
    123: { program: 'a\u001b[2J', VAULT_MASTER_KEY: MASTER_KEY_TEXT, GITHUB_TOKEN: CREDENTIAL },
  })
  const env = testSettings({ GATEWAY_STATE_DIR: temporaryFolder(t), ...known(vault) })
  for (const args of [[], ['--json']]) {
    const options = { outerAddresses: [], patience: 20, machine: { proc } }
    const { code, out } = await runCommand(doctor, args, env, options)
    t.equal(code, 1)
    t.match(out, 'vault-key-kept')
    t.match(out, /process 123 \(a/)
    t.notMatch(out, '\u001b')
    for (const secret of [MASTER_KEY_TEXT, CREDENTIAL]) t.notMatch(out, secret)
  }
})

/** Users that every Debian has, and that own nothing: the vault, the agents coder and ops, and the gateway. */
const [VAULT, CODER, OPS, GATEWAY] = ['daemon', 'games', 'mail', 'news'].map(userOf)

t.test(
  'with a user for each, doctor passes as the gateway’s user, and finds each wrong owner and group',
  { skip: whyNotAs([VAULT, CODER, OPS, GATEWAY]) },
  async (t) => {
    if (VAULT === undefined || CODER === undefined) throw new Error('no users')
    if (OPS === undefined || GATEWAY === undefined) throw new Error('no users')
    const folder = temporaryFolder(t)
    const sockets = join(folder, 'sockets')
    const file = join(folder, 'data/.vault.enc')
    const vault = await startVaultAs(t, VAULT, {
      ...{ folder, coder: CODER, ops: OPS },
      folders: [
        ['state', 0o700, GATEWAY.uid, GATEWAY.gid],
        ['data', 0o700, VAULT.uid, VAULT.gid],
        ['sockets', 0o711, 0, 0],
        ['sockets/owner', 0o2750, VAULT.uid, GATEWAY.gid],
        ['sockets/coder', 0o2750, VAULT.uid, CODER.gid],
        ['sockets/ops', 0o2750, VAULT.uid, OPS.gid],
      ],
    })
    const settings = { ...known(vault), GATEWAY_STATE_DIR: join(folder, 'state') }
    /** The real command, as a user. */
    const doctorAs = (user: User, tries = 5): Finding[] => {
      const ran = spawnSync('setpriv', [...as(user), process.execPath, MAIN, 'doctor', '--json'], {
        ...{ encoding: 'utf8', timeout: 60_000, env: testSettings(settings) },
      })
      t.notMatch(ran.stdout, MASTER_KEY_TEXT)
      const { findings } = JSON.parse(ran.stdout) as { findings: Finding[] }
      // The command has its usual patience, and the machine of a test may be busy.
      const isBusy = of(findings, 'vault-answers')[0]?.detail.includes('no answer within') === true
      if (isBusy && tries > 1) return doctorAs(user, tries - 1)
      return findings.filter(({ check }) => check.startsWith('vault-'))
    }
    const asGateway = doctorAs(GATEWAY)
    for (const check of ['vault-answers', FILES, DOORS, 'vault-audit-writable'])
      t.match(of(asGateway, check), [{ verdict: 'pass' }], JSON.stringify(of(asGateway, check)))
    t.match(of(asGateway, CREDENTIALS), [{ verdict: 'skip', detail: /run this as root/ }])
    t.match(of(doctorAs(OPS), 'vault-answers'), [
      {
        ...{ verdict: 'fail', detail: /may not be opened by user mail/ },
        remedy: `usermod -aG news mail`,
      },
    ])

    const users = of(await look(t, settings), 'vault-users')
    t.match(users, [
      { verdict: 'pass', detail: 'the vault runs as daemon, the gateway as news, coder as games' },
    ])
    for (const [check, path, [uid, gid], expected] of [
      [FILES, file, [OPS.uid, OPS.gid], { detail: /belongs to another user \(mail\)/ }],
      [FILES, join(folder, 'data'), [CODER.uid, 0], { remedy: /^chown daemon: \S+\/data$/ }],
      [FILES, folder, [CODER.uid, 0], { detail: /belongs to games, who can exchange them/ }],
      [DOORS, sockets, [CODER.uid, 0], { detail: /belongs to another user/ }],
      [DOORS, vault.coder, [OPS.uid, CODER.gid], { detail: /belongs to another user/ }],
      [
        ...([DOORS, join(sockets, 'owner'), [VAULT.uid, CODER.gid]] as const),
        { detail: /the agent coder is in the group games and can open the owner's door/ },
      ],
      [
        ...([DOORS, join(sockets, 'owner'), [VAULT.uid, VAULT.gid]] as const),
        { detail: /the gateway's user \(news\) cannot open/, remedy: /^chgrp news / },
      ],
      [
        ...([DOORS, join(sockets, 'coder'), [VAULT.uid, OPS.gid]] as const),
        { detail: /the agent ops is in the group mail and can open coder's door/ },
      ],
      [
        ...([DOORS, join(sockets, 'coder'), [VAULT.uid, VAULT.gid]] as const),
        { verdict: 'warn', detail: /the agent coder \(games\) cannot open its door/ },
      ],
    ] as ReadonlyArray<
      [string, string, [number, number], Partial<Record<keyof Finding, unknown>>]
    >) {
      const before = ownersOf(path)
      const mode = check === DOORS && path !== sockets && path !== vault.coder ? 0o2750 : undefined
      chownSync(path, uid, gid)
      if (mode !== undefined) chmodSync(path, mode) // chown takes the set-group-ID bit away
      const found = of(await look(t, settings), check)
      t.match(found[0], { verdict: 'fail', ...expected }, path)
      chownSync(path, ...before)
      if (mode !== undefined) chmodSync(path, mode)
    }
    const after = await look(t, settings)
    for (const check of [FILES, DOORS]) t.match(of(after, check), [{ verdict: 'pass' }])
  },
)

function ownersOf(path: string): [number, number] {
  const { uid, gid } = lstatSync(path)
  return [uid, gid]
}
