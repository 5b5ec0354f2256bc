/** Which environments does the vault accept, and does its key come in exactly one way? */
import {
  chmodSync,
  closeSync,
  fstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { ConfigError, type Environment } from '../../src/config/load.ts'
import { loadVaultConfig, nearestVaultVariable } from '../../src/config/vault-settings.ts'
import { temporaryFolder } from '../helpers/process.ts'

const KEY = Buffer.from(Array.from({ length: 32 }, (_, i) => i * 7 + 1))
const BASE64 = KEY.toString('base64')

function problemsOf(env: Environment): readonly string[] {
  try {
    loadVaultConfig({ VAULT_MASTER_KEY: BASE64, ...env })
    return []
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
}

t.test('nothing but the key has to be set', async (t) => {
  const { config, warnings } = loadVaultConfig({ VAULT_MASTER_KEY: BASE64, PATH: '/bin' })
  t.match(config, {
    file: '/data/vault/.vault.enc',
    sockets: '/run/workspace/vault',
    agents: [],
    port: undefined,
    stateDir: '/data/vault',
    logLevel: 'info',
  })
  t.same(config.masterKey, KEY)
  t.same(warnings, [])
})

t.test('the key in each of its encodings', async (t) => {
  for (const text of [BASE64, KEY.toString('base64url'), KEY.toString('hex')])
    t.same(loadVaultConfig({ VAULT_MASTER_KEY: text }).config.masterKey, KEY, text)
  const spare = `${'A'.repeat(42)}B` // bits that belong to no byte
  for (const text of ['', 'x', 'a'.repeat(64), KEY.toString('hex').slice(1), `${BASE64}=`, spare]) {
    const problems = problemsOf({ VAULT_MASTER_KEY: text })
    t.equal(problems.length, 1, text)
    t.match(problems[0], /^VAULT_MASTER_KEY /)
    if (text.length > 1) t.notOk(problems[0]?.includes(text), 'it is not printed')
  }
})

t.test('the key comes in exactly one way', async (t) => {
  const file = join(temporaryFolder(t), 'key')
  writeFileSync(file, `${BASE64}\n`)
  t.same(loadVaultConfig({ VAULT_MASTER_KEY_FILE: file }).config.masterKey, KEY)
  t.throws(() => loadVaultConfig({}), /VAULT_MASTER_KEY_FD \(or .*\) is not set/)
  t.match(problemsOf({ VAULT_MASTER_KEY_FILE: file }), [/both set; keep one/])
  const fd = openSync(file, 'r')
  t.match(problemsOf({ VAULT_MASTER_KEY_FD: String(fd) }), [
    /VAULT_MASTER_KEY_FD and VAULT_MASTER_KEY are set/,
  ])
})

t.test('a descriptor is read whole and closed, also when it has no key', async (t) => {
  const file = join(temporaryFolder(t), 'key')
  const isOpen = (fd: number): boolean => {
    try {
      fstatSync(fd)
      return true
    } catch {
      return false
    }
  }
  for (const [content, problem] of [
    [`${BASE64}\n`, undefined],
    ['no key', /^VAULT_MASTER_KEY_FD \d+ is not 32 bytes/],
    ['x'.repeat(2000), /has more than a key/],
  ] as const) {
    writeFileSync(file, content)
    const fd = openSync(file, 'r')
    const env = { VAULT_MASTER_KEY_FD: String(fd), VAULT_MASTER_KEY: undefined }
    if (problem === undefined) t.same(loadVaultConfig(env).config.masterKey, KEY)
    else t.match(problemsOf(env), [problem])
    t.notOk(isOpen(fd), content.slice(0, 10))
  }
  const closed = openSync(file, 'r')
  closeSync(closed)
  t.match(problemsOf({ VAULT_MASTER_KEY_FD: String(closed), VAULT_MASTER_KEY: undefined }), [
    /cannot be read \(EBADF\)/,
  ])
})

t.test('a descriptor of Node itself is neither read nor closed', async (t) => {
  const targets = new Map<string, string>()
  for (const name of readdirSync('/proc/self/fd')) {
    try {
      targets.set(name, readlinkSync(`/proc/self/fd/${name}`))
    } catch {
      // The descriptor with which the folder was read.
    }
  }
  const all = [...targets.values()]
  const isOwn = (target: string): boolean =>
    target.startsWith('anon_inode:') ||
    (target.startsWith('pipe:') && all.filter((one) => one === target).length > 1)
  const own = [...targets].filter(([fd, target]) => Number(fd) > 2 && isOwn(target))
  t.ok(own.some(([, target]) => target.startsWith('pipe:')))
  t.ok(own.some(([, target]) => target.startsWith('anon_inode:')))
  for (const [fd, target] of own) {
    t.match(problemsOf({ VAULT_MASTER_KEY_FD: fd, VAULT_MASTER_KEY: undefined }), [
      `VAULT_MASTER_KEY_FD ${fd} is no file or pipe that was given to the program`,
    ])
    t.equal(readlinkSync(`/proc/self/fd/${fd}`), target)
  }
})

t.test('values and their edges', async (t) => {
  for (const [name, accepted, refused] of [
    ['VAULT_FILE', ['/a'], ['', 'a']],
    ['VAULT_SOCKETS', ['/a'], ['', 'a', `/${'x'.repeat(100)}`]],
    [
      'VAULT_AGENTS',
      ['coder:1001', 'coder:1001, ops:1002', 'a:0'],
      [
        'coder',
        'coder:',
        'Coder:1',
        'a:1,a:2',
        'owner:1',
        'a:1,',
        'a:-1',
        'a:4294967295',
        '../x:1',
      ],
    ],
    ['VAULT_PORT', ['0', '65535'], ['', '-1', '65536', 'x']],
    ['VAULT_STATE_DIR', ['/a'], ['', './a']],
    ['VAULT_EXTRA_CA_FILE', ['/a'], ['', 'a']],
    ['VAULT_LOG_LEVEL', ['silent'], ['', 'loud']],
  ] as const) {
    for (const value of accepted) t.same(problemsOf({ [name]: value }), [], `${name}=${value}`)
    for (const value of refused) {
      const problems = problemsOf({ [name]: value })
      t.equal(problems.length, 1, `${name}=${value}`)
      t.ok(problems[0]?.startsWith(name), `it is named: ${problems[0]}`)
    }
  }
  t.match(
    problemsOf({ VAULT_SOCKETS: `/${'x'.repeat(70)}`, VAULT_AGENTS: `${'a'.repeat(30)}:1` }),
    [/agent\.sock", which is longer than the 107 bytes/],
  )
})

t.test('it does not start where Node trusts or runs what it was not told to', async (t) => {
  for (const [name, value, remedy] of [
    ['NODE_TLS_REJECT_UNAUTHORIZED', '0', /accepts every certificate/],
    ['NODE_EXTRA_CA_CERTS', '/ca.pem', /VAULT_EXTRA_CA_FILE/],
    ['NODE_OPTIONS', '--require x', /NODE_OPTIONS is set/],
    ['NODE_USE_ENV_PROXY', '1', /unset it/],
    ['http_proxy', 'http://p', /http_proxy is set/],
    ['HTTPS_PROXY', 'http://p', /HTTPS_PROXY is set/],
    ['All_Proxy', 'http://p', /All_Proxy is set/],
  ] as const) {
    t.match(problemsOf({ [name]: value }), [remedy], name)
    t.same(problemsOf({ [name]: '' }), [], `${name} is empty`)
  }
  t.same(problemsOf({ NODE_TLS_REJECT_UNAUTHORIZED: '1', no_proxy: 'x' }), [])
  t.equal(problemsOf({ NODE_OPTIONS: 'x', http_proxy: 'x', VAULT_PORT: 'x' }).length, 3, 'at once')
})

t.test('an unknown name is a warning, because other programs use such names', async (t) => {
  const env = { VAULT_MASTER_KEY: BASE64, VAULT_ADDR: 'x', VAULT_SOCKET: 'x' }
  t.match(loadVaultConfig(env).warnings, [
    /VAULT_ADDR is not a setting/,
    /VAULT_SOCKET is not a setting; did you mean VAULT_SOCKETS\?/,
  ])
  t.equal(nearestVaultVariable('VAULT_MASTER_KEY_FIL'), 'VAULT_MASTER_KEY_FILE')
})

t.test('a key file that others can read is a warning', async (t) => {
  const path = join(temporaryFolder(t), 'key')
  writeFileSync(path, BASE64, { mode: 0o600 })
  t.same(loadVaultConfig({ VAULT_MASTER_KEY_FILE: path }).warnings, [])
  chmodSync(path, 0o640)
  t.match(loadVaultConfig({ VAULT_MASTER_KEY_FILE: path }).warnings, [
    /^VAULT_MASTER_KEY_FILE ".+" is open to others \(mode 640\).*chmod 600/,
  ])
})

t.test('agents that are no borders are a warning', async (t) => {
  const own = process.getuid?.() ?? 0
  const { warnings } = loadVaultConfig({
    VAULT_MASTER_KEY: BASE64,
    VAULT_AGENTS: `a:4001,b:4001,c:${own}`,
  })
  t.match(warnings, [/c has the uid \d+, which can read everything/, /b shares the uid 4001/])
})
