/** Is an environment a valid configuration, and are all its problems reported? */
import { chmodSync, existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import {
  ConfigError,
  KNOWN_VARIABLES,
  loadConfig,
  readSetting,
  SECRET_VARIABLES,
  type Environment,
} from '../../src/config/load.ts'
import { SETTINGS } from '../../src/config/settings.ts'

const SECRET = 'k8f2mD5xQ9vB1nR7tY3wL6pZ0sH4jC8a'
const OTHER_SECRET = 'Zq4Wm7Xn2Cv5Bb8Nk1Lj3Hg6Fd9Sa0Pe'
const BASE: Environment = { GATEWAY_WORKSPACE: 'houston', GATEWAY_JWT_SECRET: SECRET }

function failure(env: Environment): ConfigError {
  try {
    loadConfig(env)
  } catch (error) {
    if (error instanceof ConfigError) return error
    throw error
  }
  throw new Error('was taken')
}

t.test('an empty environment reports all missing settings', async (t) => {
  const { problems, message, name } = failure({})
  t.equal(name, 'ConfigError')
  t.same(problems, [
    'GATEWAY_WORKSPACE is not set; it takes 3 to 30 lower-case letters, digits and hyphens, not starting with a hyphen',
    'GATEWAY_JWT_SECRET (or GATEWAY_JWT_SECRET_FILE) is not set; it takes at least 32 bytes, no placeholder',
  ])
  t.equal(message, `invalid configuration:\n${problems.map((line) => `  ${line}`).join('\n')}`)
})

t.test('all problems are reported at once', async (t) => {
  const { problems } = failure({
    GATEWAY_WORKSPACE: 'X',
    GATEWAY_JWT_SECRET: 'short',
    GATEWAY_PORT: 'http',
    GATEWAY_RATE_LIMIT: '0',
    GATEWAY_SOCKET: '/run/x.sock',
    GATEWAY_DASHBOARD_URL: '',
    GATEWAY_TRUSTED_PROXY: 'none',
    GATEWAY_ALLOWED_ORIGINS: '*',
  })
  t.equal(problems.length, 8, problems.join('\n'))
  for (const line of problems) t.match(line, /^GATEWAY_[A-Z_]+:? .*$/, 'one line each')
})

t.test('a message shows the wrong value, truncated if it is long', async (t) => {
  const { message } = failure({ ...BASE, GATEWAY_PORT: 'y'.repeat(5000) })
  t.match(
    message,
    `GATEWAY_PORT "${'y'.repeat(100)}" is not a whole number; it takes a whole number from 0 to 65535`,
  )
  t.ok(message.length < 400)
})

t.test('an unknown GATEWAY_ name is an error that suggests the nearest setting', async (t) => {
  const table: ReadonlyArray<readonly [name: string, meant: string | undefined]> = [
    ['GATEWAY_TRUSTED_PROXY', 'GATEWAY_TRUSTED_PROXIES'],
    ['GATEWAY_RATELIMIT', 'GATEWAY_RATE_LIMIT'],
    ['GATEWAY_RATE_LIMITS', 'GATEWAY_RATE_LIMIT'],
    ['GATEWAY_JWT_SECERT', 'GATEWAY_JWT_SECRET'],
    ['GATEWAY_JWT_SECRET_FILES', 'GATEWAY_JWT_SECRET_FILE'],
    ['GATEWAY_ALLOWED_ORIGIN', 'GATEWAY_ALLOWED_ORIGINS'],
    ['GATEWAY_Port', 'GATEWAY_PORT'],
    ['GATEWAY_HOTS', 'GATEWAY_HOST'],
    ['GATEWAY_DISABLE_AUTHENTICATION', undefined],
    ['GATEWAY_', undefined],
  ]
  for (const [name, meant] of table) {
    const { problems } = failure({ ...BASE, [name]: 'hidden-value' })
    t.equal(problems.length, 1)
    t.equal(
      problems[0],
      `${name} is not a setting${meant === undefined ? '' : `; did you mean ${meant}?`}`,
    )
  }
  t.equal(failure({ ...BASE, GATEWAY_TYPO: '' }).problems.length, 1, 'an empty one too')
  t.doesNotThrow(() => loadConfig({ ...BASE, GATEWAY_TYPO: undefined }))
  t.doesNotThrow(() =>
    loadConfig({ ...BASE, PATH: '/bin', gateway_port: 'x', MY_GATEWAY_PORT: 'x' }),
  )
})

t.test('an inherited property of the environment object is not a setting', async (t) => {
  const env = Object.create({ GATEWAY_TYPO: 'x' }) as Record<string, string>
  t.doesNotThrow(() => loadConfig(Object.assign(env, BASE)))
})

t.test('no message shows a secret', async (t) => {
  const hidden = 'hunter2-hunter2'
  const environments: Environment[] = [
    { ...BASE, GATEWAY_JWT_SECRET: hidden },
    { ...BASE, GATEWAY_JWT_SECRET: `change-me-${hidden}-0123456789-0123456789` },
    { ...BASE, GATEWAY_JWT_SECRET: `${SECRET}-${hidden} ` },
    { ...BASE, GATEWAY_JWT_PREVIOUS_SECRETS: `${OTHER_SECRET},${hidden}` },
    { ...BASE, GATEWAY_JWT_PREVIOUS_SECRETS: SECRET },
    { ...BASE, GATEWAY_OPENCLAW_TOKEN: `${hidden} with spaces` },
    { ...BASE, GATEWAY_JWT_SECRET: undefined, GATEWAY_JWT_SECRET_FILE: hidden },
    { ...BASE, GATEWAY_JWT_SECRET: undefined, GATEWAY_JWT_SECRET_FILE: `/${hidden}` },
    { ...BASE, GATEWAY_JWT_SECRET_FILE: `/${hidden}` },
    { ...BASE, GATEWAY_DASHBOARD_URL: `http://user:${hidden}@127.0.0.1:3001` },
    { ...BASE, GATEWAY_LOGIN_URL: `https://user:${hidden}@hubify.com/` },
    { ...BASE, GATEWAY_API_URL: `http://user:a/"@ ${hidden}@127.0.0.1:3001` },
    { ...BASE, GATEWAY_API_URL: `http://user:${hidden.repeat(20)}@127.0.0.1:3001` },
    { ...BASE, GATEWAY_ALLOWED_ORIGINS: `https://user:${hidden}@app.example.com` },
  ]
  for (const env of environments) {
    const error = failure(env)
    for (const text of [hidden, SECRET, OTHER_SECRET])
      t.notOk(error.message.includes(text), error.message)
    t.equal(error.cause, undefined)
  }
})

t.test('a secret can be read from a file, without its final line break', async (t) => {
  const folder = t.testdir()
  const path = join(folder, 'secret')
  const env: Environment = { GATEWAY_WORKSPACE: 'houston', GATEWAY_JWT_SECRET_FILE: path }
  for (const ending of ['', '\n', '\r\n', '\n\n']) {
    writeFileSync(path, OTHER_SECRET + ending)
    t.equal(loadConfig(env).jwtSecret, OTHER_SECRET, JSON.stringify(ending))
  }
  for (const content of [
    '',
    '\n',
    'short\n',
    ` ${OTHER_SECRET}\n`,
    `${OTHER_SECRET} \n`,
    `\n${OTHER_SECRET}`,
  ]) {
    writeFileSync(path, content)
    const { problems } = failure(env)
    t.equal(problems.length, 1)
    t.match(problems[0], /^GATEWAY_JWT_SECRET_FILE /, 'the variable that was set is the one named')
  }
  for (const name of SECRET_VARIABLES) {
    writeFileSync(path, `${OTHER_SECRET}\n`)
    const both = failure({ ...BASE, [name]: SECRET, [`${name}_FILE`]: path })
    t.ok(both.problems.includes(`${name} and ${name}_FILE are both set; keep one`), name)
  }
  t.same(
    loadConfig({
      ...BASE,
      GATEWAY_JWT_PREVIOUS_SECRETS_FILE: path,
      GATEWAY_OPENCLAW_TOKEN_FILE: path,
    }),
    { ...loadConfig(BASE), jwtPreviousSecrets: [OTHER_SECRET], openclawToken: OTHER_SECRET },
  )
})

t.test('bytes that are not UTF-8 are no setting: two secrets would be one', async (t) => {
  const path = join(t.testdir(), 'secret')
  for (const name of SECRET_VARIABLES)
    for (const byte of [0x80, 0xc3, 0xfe, 0xff]) {
      writeFileSync(path, Buffer.concat([Buffer.from(SECRET), Buffer.alloc(9, byte)]))
      const { [name]: _, ...rest } = BASE
      t.match(failure({ ...rest, [`${name}_FILE`]: path }).problems, [
        new RegExp(`^${name}_FILE has bytes that are not UTF-8; it takes `),
      ])
    }
  // This is how Node decodes a variable with such a byte.
  t.match(failure({ ...BASE, GATEWAY_WORKSPACE: 'houst\uFFFDn' }).problems, [
    /^GATEWAY_WORKSPACE has bytes that are not UTF-8; it takes /,
  ])
})

t.test('the path of a file is no secret', async (t) => {
  const path = join(
    t.testdir({ 'a-secret-in-a-file-of-its-own': OTHER_SECRET }),
    'a-secret-in-a-file-of-its-own',
  )
  for (const name of SECRET_VARIABLES)
    t.same(failure({ ...BASE, [name]: path }).problems, [
      `${name} is the path of a file; set ${name}_FILE to it`,
    ])
  t.equal(loadConfig({ ...BASE, GATEWAY_JWT_SECRET: `${path}-not` }).jwtSecret, `${path}-not`)
})

t.test('a file without an end is not read to its end', async (t) => {
  for (const path of ['/dev/zero', '/proc/self/pagemap'].filter((one) => existsSync(one)))
    t.same(failure({ ...BASE, GATEWAY_OPENCLAW_TOKEN_FILE: path }).problems, [
      'GATEWAY_OPENCLAW_TOKEN_FILE names a file that cannot be read (it is longer than 65536 bytes)',
    ])
})

t.test('an empty file of earlier secrets means none, an empty variable is a mistake', async (t) => {
  const folder = t.testdir({ empty: '', line: '\n' })
  for (const name of ['empty', 'line']) {
    const path = join(folder, name)
    t.same(loadConfig({ ...BASE, GATEWAY_JWT_PREVIOUS_SECRETS_FILE: path }), loadConfig(BASE))
    t.match(failure({ ...BASE, GATEWAY_OPENCLAW_TOKEN_FILE: path }).problems, [/is empty/])
  }
  t.match(failure({ ...BASE, GATEWAY_JWT_PREVIOUS_SECRETS: '' }).problems, [/is empty; unset it/])
})

t.test('a secret file that cannot be read is an error, not a missing secret', async (t) => {
  const folder = t.testdir({ folder: {} })
  const cases: ReadonlyArray<readonly [path: string, problem: RegExp]> = [
    [join(folder, 'missing'), /cannot be read \(ENOENT\)$/],
    [join(folder, 'folder'), /cannot be read \(EISDIR\)$/],
    ['', /is empty/],
  ]
  for (const [path, problem] of cases) {
    const { problems } = failure({ ...BASE, GATEWAY_OPENCLAW_TOKEN_FILE: path })
    t.equal(problems.length, 1)
    t.match(problems[0], problem)
  }
  const secret = join(folder, 'secret')
  writeFileSync(secret, OTHER_SECRET)
  chmodSync(secret, 0)
  if (process.getuid?.() !== 0)
    t.match(failure({ ...BASE, GATEWAY_OPENCLAW_TOKEN_FILE: secret }).message, /EACCES/)
  t.match(
    failure({ ...BASE, GATEWAY_PORT_FILE: secret }).message,
    /GATEWAY_PORT_FILE is not a setting/,
  )
})

t.test('a checked configuration is frozen', async (t) => {
  const config = loadConfig({ ...BASE, GATEWAY_ALLOWED_HOSTS: 'a.example' })
  const isDeepFrozen = (value: unknown): boolean =>
    typeof value !== 'object' ||
    value === null ||
    (Object.isFrozen(value) && Object.values(value).every(isDeepFrozen))
  t.ok(isDeepFrozen(config))
  t.throws(() => {
    ;(config.allowedHosts as string[]).push('*')
  }, TypeError)
  t.throws(() => {
    ;(config as { rateLimit: number }).rateLimit = 1e9
  }, TypeError)
})

t.test('one setting can be read alone', async (t) => {
  t.equal(readSetting(SETTINGS.workspace, BASE), 'houston')
  t.equal(readSetting(SETTINGS.jwtIssuer, {}), undefined)
  t.equal(readSetting(SETTINGS.port, {}), 80)
  t.throws(() => readSetting(SETTINGS.workspace, {}), { message: /^GATEWAY_WORKSPACE is not set/ })
})

t.test('the known variables and the secret variables are listed', async (t) => {
  t.same(SECRET_VARIABLES, [
    'GATEWAY_JWT_SECRET',
    'GATEWAY_JWT_PREVIOUS_SECRETS',
    'GATEWAY_OPENCLAW_TOKEN',
  ])
  for (const name of SECRET_VARIABLES) t.ok(KNOWN_VARIABLES.includes(`${name}_FILE`))
  t.equal(KNOWN_VARIABLES.length, Object.keys(SETTINGS).length + SECRET_VARIABLES.length)
  t.equal(new Set(KNOWN_VARIABLES).size, KNOWN_VARIABLES.length, 'no two settings share one')
})
