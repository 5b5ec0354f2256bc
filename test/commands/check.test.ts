/** Does `check` print the settings in force, the errors and the advice? */
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { check } from '../../src/commands/check.ts'
import { KNOWN_VARIABLES, type Environment } from '../../src/config/load.ts'
import { SETTINGS } from '../../src/config/settings.ts'
import { runCommand } from '../helpers/command.ts'
import { temporaryFolder } from '../helpers/process.ts'
import { fileIn, openState } from '../helpers/state.ts'

const SECRET = 'k8f2mD5xQ9vB1nR7tY3wL6pZ0sH4jC8a'
const OLD_SECRET = 'Zq4Wm7Xn2Cv5Bb8Nk1Lj3Hg6Fd9Sa0Pe-older'
const BASE: Environment = {
  GATEWAY_WORKSPACE: 'houston',
  GATEWAY_JWT_SECRET: SECRET,
  GATEWAY_STATE_DIR: '/nowhere/at/all',
}

const run = (env: Environment, ...args: string[]) => runCommand(check, args, env)

async function warningsOf(env: Environment): Promise<string[]> {
  const { code, out } = await run({ ...BASE, ...env }, '--json')
  if (code !== 0) throw new Error(out)
  return (JSON.parse(out) as { warnings: string[] }).warnings
}

t.test('a valid configuration is printed completely, with the source of each value', async (t) => {
  const { code, out, err } = await run({ ...BASE, GATEWAY_RATE_LIMIT: '25' })
  t.equal(code, 0)
  t.equal(err, '')
  for (const { env } of Object.values(SETTINGS)) t.match(out, new RegExp(`^  ${env} `, 'm'))
  t.match(out, /^ {2}GATEWAY_WORKSPACE +houston +environment$/m)
  t.match(out, /^ {2}GATEWAY_RATE_LIMIT +25 +environment$/m)
  t.match(out, /^ {2}GATEWAY_RATE_LIMIT_SECONDS +60 +default$/m)
  t.match(out, /^ {2}GATEWAY_LOGIN_URL +- +default$/m)
  t.match(out, 'Nothing in it is unwise.')
})

t.test('secrets are shown only as their size, whatever their source', async (t) => {
  const file = join(temporaryFolder(t), 'jwt')
  writeFileSync(file, `${SECRET}\n`, { mode: 0o600 })
  const env = {
    GATEWAY_WORKSPACE: 'houston',
    GATEWAY_JWT_SECRET_FILE: file,
    GATEWAY_JWT_PREVIOUS_SECRETS: `${OLD_SECRET},${OLD_SECRET}2`,
    GATEWAY_OPENCLAW_TOKEN: 'oc-token-1',
  }
  for (const args of [[], ['--json']]) {
    const { code, out, err } = await run(env, ...args)
    t.equal(code, 0)
    for (const secret of [SECRET, OLD_SECRET, 'oc-token-1']) t.notOk((out + err).includes(secret))
  }
  const { out } = await run(env)
  t.match(out, new RegExp(`^  GATEWAY_JWT_SECRET +set, 32 bytes +file ${file}$`, 'm'))
  t.match(out, /GATEWAY_JWT_PREVIOUS_SECRETS +set, 2 secrets of 38 and 39 bytes +environment/)
  t.match(out, /GATEWAY_OPENCLAW_TOKEN +set, 10 bytes +environment/)
})

t.test('--json prints the same for programs', async (t) => {
  const { out } = await run(BASE, '--json')
  const { valid, problems, settings } = JSON.parse(out) as {
    valid: boolean
    problems: string[]
    settings: Array<Record<string, unknown>>
  }
  t.ok(valid)
  t.same(problems, [])
  t.equal(settings.length, Object.keys(SETTINGS).length)
  t.same(settings[0], {
    name: 'GATEWAY_WORKSPACE',
    value: 'houston',
    secret: false,
    from: 'environment',
  })
})

t.test('an invalid configuration exits with 78 and prints every problem', async (t) => {
  const env = { GATEWAY_JWT_SECRET: 'short', GATEWAY_PORTT: '80' }
  const { code, out, err } = await run(env)
  t.equal(code, 78)
  t.equal(out, '')
  t.match(err, /^workspace-gateway: invalid configuration:\n/)
  for (const name of ['GATEWAY_PORTT', 'GATEWAY_WORKSPACE', 'GATEWAY_JWT_SECRET'])
    t.match(err, new RegExp(`^  ${name} `, 'm'))
  const json = await run(env, '--json')
  t.equal(json.code, 78)
  t.match(JSON.parse(json.out), { valid: false, problems: { length: 3 } })
})

t.test('text from the environment cannot control the terminal', async (t) => {
  const { out } = await run({ ...BASE, GATEWAY_JWT_ISSUER: 'a\u001b[2Jb' })
  t.notOk(out.includes('\u001b'))
  t.match(out, String.raw`"a\u001b[2Jb"`)
})

t.test('a valid but risky configuration gets advice', async (t) => {
  const folder = temporaryFolder(t)
  const secretFile = join(folder, 'jwt')
  writeFileSync(secretFile, SECRET)
  chmodSync(secretFile, 0o644)
  const writable = join(folder, 'openclaw')
  writeFileSync(writable, 'oc-token-1')
  chmodSync(writable, 0o620)
  const openFolder = join(folder, 'state')
  mkdirSync(openFolder)
  chmodSync(openFolder, 0o755)
  const doors = join(folder, 'vault')
  mkdirSync(join(doors, 'owner'), { recursive: true })
  chmodSync(join(doors, 'owner'), 0o2755)
  const cases: Array<[Environment, RegExp]> = [
    [
      { GATEWAY_VAULT_SOCKETS: doors, GATEWAY_OWNERS: 'alice' },
      /^GATEWAY_VAULT_SOCKETS: .*\/owner is open to every user .*\(mode 755\)/,
    ],
    [{ GATEWAY_VAULT_SOCKETS: '/run/none' }, /^GATEWAY_OWNERS is not set while GATEWAY_VAULT/],
    [{ GATEWAY_ALLOWED_HOSTS: '*' }, /^GATEWAY_ALLOWED_HOSTS is \*/],
    [{ GATEWAY_TRUSTED_PROXIES: 'none' }, /^GATEWAY_TRUSTED_PROXIES is none while GATEWAY_HOST ::/],
    [
      { GATEWAY_JWT_SECRET: undefined, GATEWAY_JWT_SECRET_FILE: secretFile },
      /^GATEWAY_JWT_SECRET_FILE .* every user .*\(mode 644\); chmod 600/,
    ],
    [
      { GATEWAY_OPENCLAW_TOKEN_FILE: writable },
      /^GATEWAY_OPENCLAW_TOKEN_FILE .* written by others \(mode 620\)/,
    ],
    [{ GATEWAY_API_URL: 'http://192.0.2.77:3000' }, /192\.0\.2\.77:3000 is not on this machine/],
    [{ GATEWAY_API_URL: 'http://0.0.0.0:3000' }, /^GATEWAY_API_URL .* names every address/],
    [{ GATEWAY_JWT_PREVIOUS_SECRETS: OLD_SECRET }, /^GATEWAY_JWT_PREVIOUS_SECRETS .* 1 secret:/],
    [{ GATEWAY_STATE_DIR: openFolder }, /^GATEWAY_STATE_DIR .*\(mode 755\); chmod 700/],
    [{ GATEWAY_JWT_LEEWAY_SECONDS: '120' }, /^GATEWAY_JWT_LEEWAY_SECONDS is 120, the maximum/],
    [{ GATEWAY_LOGIN_URL: 'http://login.example.com/' }, /^GATEWAY_LOGIN_URL .* plain http/],
    [
      { GATEWAY_STEP_UP_URL: 'http://login.example.com/', GATEWAY_TERMINAL_AMR: 'otp' },
      /^GATEWAY_STEP_UP_URL .* plain http/,
    ],
    [
      { GATEWAY_ALLOWED_ORIGINS: 'http://app.example.com' },
      /^GATEWAY_ALLOWED_ORIGINS has http:\/\/app\.example\.com, plain http/,
    ],
  ]
  for (const [env, expected] of cases) {
    const warnings = await warningsOf(env)
    t.ok(
      warnings.some((line) => expected.test(line)),
      `${expected} in ${JSON.stringify(warnings)}`,
    )
    const { code, out } = await run({ ...BASE, ...env })
    t.equal(code, 0, 'it is legal')
    t.match(out, 'Legal, but unwise:')
  }
})

t.test('a service on an address that other machines can reach gets advice', async (t) => {
  const outer = Object.values(networkInterfaces())
    .flat()
    .find((one) => one?.internal === false && one.family === 'IPv4')
  if (outer === undefined) {
    t.pass('this machine has loopback alone')
    return
  }
  const warnings = await warningsOf({ GATEWAY_TERMINAL_URL: `http://${outer.address}:8080` })
  t.ok(warnings.some((line) => /^GATEWAY_TERMINAL_URL .* bound beyond loopback/.test(line)))
})

t.test('a good configuration gets no advice', async (t) => {
  const doors = temporaryFolder(t)
  mkdirSync(join(doors, 'owner'))
  chmodSync(join(doors, 'owner'), 0o2750)
  const quiet: Environment[] = [
    { GATEWAY_VAULT_SOCKETS: doors, GATEWAY_OWNERS: 'alice' },
    { GATEWAY_VAULT_SOCKETS: '/run/none', GATEWAY_OWNERS: 'alice' },
    { GATEWAY_TRUSTED_PROXIES: 'none', GATEWAY_HOST: '127.0.0.1' },
    { GATEWAY_TRUSTED_PROXIES: 'none', GATEWAY_HOST: '::1' },
    { GATEWAY_TRUSTED_PROXIES: 'none', GATEWAY_SOCKET: '/run/gateway.sock' },
    { GATEWAY_LOGIN_URL: 'https://login.example.com/' },
    { GATEWAY_LOGIN_URL: 'http://localhost:9000/' },
    { GATEWAY_JWT_LEEWAY_SECONDS: '119' },
    { GATEWAY_API_URL: 'unix:/run/openclaw.sock' },
    { GATEWAY_API_URL: 'http://[::1]:3000' },
  ]
  for (const env of quiet) t.same(await warningsOf(env), [], JSON.stringify(env))
})

t.test('--explain prints the meaning of a setting', async (t) => {
  const { code, out } = await run({ ...BASE, GATEWAY_PORT: '8080' }, '--explain', 'GATEWAY_PORT')
  t.equal(code, 0)
  t.equal(
    out,
    `GATEWAY_PORT
  The TCP port to listen on. 0 takes a free one.
  Takes    a whole number from 0 to 65535
  Default  80
  Now      8080, from the environment
`,
  )
  for (const name of KNOWN_VARIABLES)
    t.equal((await run(BASE, '--explain', name)).code, 0, `${name} is explained`)
})

t.test('--explain never prints a secret, and reports an invalid value', async (t) => {
  const secret = await run(BASE, '--explain', 'GATEWAY_JWT_SECRET_FILE')
  t.match(secret.out, /^ {2}Now {6}set, 32 bytes, from the environment$/m)
  t.match(secret.out, 'GATEWAY_JWT_SECRET_FILE takes the path of a file')
  t.notOk(secret.out.includes(SECRET))
  const short = await run({ GATEWAY_JWT_SECRET: 'hunter2' }, '--explain', 'GATEWAY_JWT_SECRET')
  t.match(short.out, /Now {6}wrong: GATEWAY_JWT_SECRET is shorter than 32 bytes/)
  t.notOk(short.out.includes('hunter2'))
  const missing = await run({}, '--explain', 'GATEWAY_WORKSPACE')
  t.match(missing.out, /^ {2}Now {6}missing$/m)
  const unset = await run({}, '--explain', 'GATEWAY_LOGIN_URL', '--json')
  t.match(JSON.parse(unset.out), { default: 'not set', now: 'the default', secret: false })
})

t.test(
  '--explain accepts names in any form, and suggests a setting for a misspelt one',
  async (t) => {
    t.match((await run({}, '--explain', 'rate-limit')).out, /^GATEWAY_RATE_LIMIT\n/)
    const close = await run({}, '--explain', 'GATEWAY_RATE_LIMT')
    t.equal(close.code, 64)
    t.equal(
      close.err,
      'workspace-gateway: GATEWAY_RATE_LIMT is not a setting; did you mean GATEWAY_RATE_LIMIT?\n',
    )
    const far = await run({}, '--explain', 'GATEWAY_COFFEE_MACHINE')
    t.equal(far.code, 64)
    t.match(far.err, '"workspace-gateway help" lists them')
  },
)

t.test('--explain knows the settings of the keeper of terminals too', async (t) => {
  const { out } = await run({ TERMINALS_SCROLLBACK: '5' }, '--explain', 'terminals-scrollback')
  t.match(out, /^TERMINALS_SCROLLBACK\n/)
  t.match(out, /^ {2}Default {2}1000\n {2}Now {6}5, from the environment$/m)
  const close = await run({}, '--explain', 'TERMINALS_PARK_SECOND')
  t.match(close, { code: 64, err: /did you mean TERMINALS_PARK_SECONDS\?/ })
})

t.test('unknown arguments are a usage error', async (t) => {
  await t.rejects(run(BASE, '--jsn'), { code: 'ERR_PARSE_ARGS_UNKNOWN_OPTION' })
  await t.rejects(run(BASE, 'now'), { code: 'ERR_PARSE_ARGS_UNEXPECTED_POSITIONAL' })
})

t.test(
  'a state that is or was damaged is named, and one of a newer program is an error',
  async (t) => {
    const stateDir = temporaryFolder(t)
    const env = { GATEWAY_STATE_DIR: stateDir }
    writeFileSync(fileIn(stateDir), 'x'.repeat(5000))
    t.match(await warningsOf(env), [/is damaged \(.*the next start moves it aside/])
    const { state } = await openState(t, stateDir)
    t.match(await warningsOf(env), [/was damaged when it was opened at .*API tokens are gone/])
    state.close()
    const again = await openState(t, stateDir)
    t.same(await warningsOf(env), [])
    again.state.write((database) =>
      database.exec("PRAGMA user_version = 99; UPDATE meta SET value = '7.8.9'"),
    )
    const { code, err } = await run({ ...BASE, ...env })
    t.equal(code, 78)
    t.match(err, /^workspace-gateway: .*written by workspace-gateway 7\.8\.9[^\n]*\n$/)
    const { out } = await run({ ...BASE, ...env }, '--json')
    t.match(JSON.parse(out), { valid: false, problems: [/7\.8\.9/] })
  },
)

t.test('settings of the link that contradict are unwise, and what lets strangers in', async (t) => {
  const [socket, owner] = ['/run/link.sock', '/run/link-owner.sock']
  const both = {
    GATEWAY_LINK_SOCKET: socket,
    GATEWAY_LINK_OWNER_SOCKET: owner,
    GATEWAY_OWNERS: 'alice',
  }
  const about = async (env: Environment) =>
    (await warningsOf(env)).filter((line) => /LINK_|GATEWAY_OWNERS/.test(line))
  t.same(await about(both), [])
  t.same(await about({ ...both, LINK_OWNER_SOCKET: owner, LINK_AUTO_APPROVE: 'false' }), [])
  for (const [env, line] of [
    [{ GATEWAY_LINK_OWNER_SOCKET: undefined }, /^GATEWAY_LINK_OWNER_SOCKET is not set while/],
    [{ GATEWAY_OWNERS: undefined }, /^GATEWAY_OWNERS is not set while there is a link/],
    [{ LINK_TARGET: 'http://127.0.0.1:6767' }, /^LINK_TARGET is set while GATEWAY_LINK_SOCKET/],
    [
      { LINK_OWNER_SOCKET: '/run/other.sock' },
      /other\.sock and GATEWAY_LINK_OWNER_SOCKET .* differ/,
    ],
    [{ LINK_AUTO_APPROVE: 'true' }, /^LINK_AUTO_APPROVE is true: whoever opens/],
    [
      { LINK_RELAY_URL: 'http://x' },
      /gateway link" would not start: LINK_RELAY_URL "http:\/\/x" is not a/,
    ],
    [{ LINK_RELAY_URL: 'wss://x', LINK_FOO: '1' }, /would not start: LINK_FOO is not a setting/],
  ] as const) {
    const [found = '', ...more] = await about({ ...both, ...env })
    t.match(found, line)
    t.same(more, [])
  }
})

t.test('settings with which the relay would not start are told', async (t) => {
  t.match(
    (await warningsOf({ RELAY_PORT: 'abc' })).filter((line) => line.includes('RELAY_')),
    [/gateway relay" would not start: RELAY_PORT "abc" is not a whole number/],
  )
  t.same(
    (await warningsOf({ RELAY_PORT: '7654' })).filter((line) => line.includes('RELAY_')),
    [],
  )
})

/** The environment of a limits service of which nothing is unwise. */
const LIMITS = { LIMITS_TOKEN: OLD_SECRET }

/** The advice about the limits service. */
const aboutLimits = async (env: Environment) =>
  (await warningsOf(env)).filter((line) => line.includes('LIMITS_'))

t.test('settings with which the limits service would not start are told', async (t) => {
  t.same(await aboutLimits({}), [])
  t.same(await aboutLimits(LIMITS), [])
  t.same(await aboutLimits({ LIMITS_SOCKET: '/run/limits.sock' }), [])
  const refused = '"workspace-gateway limits" would not start:'
  t.same(await aboutLimits({ LIMITS_DRAIN_SECONDS: 'x', LIMITS_PROT: '1' }), [
    `${refused} LIMITS_PROT is not a setting; did you mean LIMITS_PORT?`,
    `${refused} LIMITS_DRAIN_SECONDS "x" is not a whole number; it takes a whole number from 0 to 600`,
    `${refused} LIMITS_TOKEN_FILE is not set; name a file with a token of callers, or set LIMITS_SOCKET, or both`,
  ])
  const [short = ''] = await aboutLimits({ LIMITS_TOKEN: 'hunter2' })
  t.match(short, 'LIMITS_TOKEN has a token of fewer than 32 characters')
  t.notMatch(short, 'hunter2')
})

t.test('the policy file of the limits service is read, and each problem told', async (t) => {
  const file = join(temporaryFolder(t), 'limits.yaml')
  const env = { ...LIMITS, LIMITS_POLICY_FILE: file }
  t.match(await aboutLimits(env), [/limits" would not start: LIMITS_POLICY_FILE .* \(ENOENT\)$/])
  writeFileSync(
    file,
    'policies:\n- name: a\n  windows: [{points: 1e3, window: 60}]\n  store: x\n',
    {
      mode: 0o644,
    },
  )
  t.match(await aboutLimits(env), [
    /limits" would not start: LIMITS_POLICY_FILE .*limits\.yaml line 3: .*points takes a whole number/,
    /limits" would not start: LIMITS_POLICY_FILE .*limits\.yaml line 4: .*store is not known/,
  ])
  writeFileSync(file, 'policies: [{name: a, windows: [{points: 1, window: 60}]}]')
  t.same(await aboutLimits(env), [])
  chmodSync(file, 0o664)
  t.same(await aboutLimits(env), [
    'LIMITS_POLICY_FILE names a file that can be written by others (mode 664), who set the limits then; chmod go-w it',
  ])
})

t.test('a token that others can read, on the disk or on the way, is unwise', async (t) => {
  const file = join(temporaryFolder(t), 'token')
  writeFileSync(file, OLD_SECRET, { mode: 0o600 })
  const env = { LIMITS_TOKEN_FILE: file }
  t.same(await aboutLimits(env), [])
  chmodSync(file, 0o644)
  t.same(await aboutLimits(env), [
    'LIMITS_TOKEN_FILE names a file that can be read by every user of this machine (mode 644); chmod 600 it',
  ])
  chmodSync(file, 0o620)
  t.match(await aboutLimits({ ...env, LIMITS_DRAIN_SECONDS: 'x' }), [
    /^LIMITS_TOKEN_FILE names a file that can be written by others \(mode 620\)/,
    /would not start: LIMITS_DRAIN_SECONDS/,
  ])
  const store = { ...LIMITS, LIMITS_STORE_URL_FILE: file }
  writeFileSync(file, 'redis://h')
  t.match(await aboutLimits(store), [/^LIMITS_STORE_URL_FILE names a file/])
  for (const host of ['0.0.0.0', '::', 'fdaa::1', 'limits.internal'])
    t.match(await aboutLimits({ ...LIMITS, LIMITS_HOST: host }), [
      new RegExp(`^LIMITS_HOST ${host} is beyond loopback, and .* without TLS`),
    ])
  for (const host of ['127.0.0.1', '::1', 'localhost', '127.0.0.2'])
    t.same(await aboutLimits({ ...LIMITS, LIMITS_HOST: host }), [], host)
})

t.test('settings of the limits service are explained too', async (t) => {
  const port = await run(BASE, '--explain', 'LIMITS_PORT')
  t.match(port, { code: 0, out: /^LIMITS_PORT\n[^]* Default {2}7655\n {2}Now {6}the default\n$/ })
  const env = { ...BASE, LIMITS_STORE_URL: 'redis://u:hunter2@h', LIMITS_TOKEN: OLD_SECRET }
  for (const [name, now] of [
    ['limits-store-url', 'set, 19 bytes, from the environment'],
    ['LIMITS_TOKEN_FILE', 'set, 38 bytes, from the environment'],
  ] as const) {
    const { code, out } = await run(env, '--explain', name)
    t.equal(code, 0)
    t.match(out, `  Now      ${now}\n`)
    t.match(out, '_FILE takes the path of a file')
    t.notMatch(out, /hunter2|Zq4Wm7/)
  }
  const wrong = await run(BASE, '--explain', 'LIMITS_TOKNE_FILE')
  t.match(wrong, { code: 64, err: 'did you mean LIMITS_TOKEN_FILE?' })
})

t.test('settings of the link and of the relay are explained too', async (t) => {
  const link = await run(BASE, '--explain', 'LINK_RELAY_URL')
  t.equal(link.code, 0)
  t.match(link.out, /^LINK_RELAY_URL\n.*relay/)
  const relay = await run(
    { ...BASE, RELAY_STORE_URL: 'redis://u:secret@h' },
    '--explain',
    'relay-store-url',
  )
  t.match(relay.out, /RELAY_STORE_URL_FILE takes the path of a file/)
  t.notMatch(relay.out, 'secret@')
  const wrong = await run(BASE, '--explain', 'RELAY_PROT')
  t.equal(wrong.code, 64)
  t.match(wrong.err, 'did you mean RELAY_PORT?')
})
