/** Are the settings of the limits service checked as the gateway's are, and is there never a way in without a proof? */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { ConfigError, type Environment } from '../../src/config/load.ts'
import {
  LIMITS_SECRETS,
  LIMITS_SETTINGS,
  loadLimitsConfig,
  nearestLimitsVariable,
} from '../../src/config/limits-settings.ts'
import { temporaryFolder } from '../helpers/process.ts'

const TOKEN = 'Zq4Wm7Xn2Cv5Bb8Nk1Lj3Hg6Fd9Sa0Pe'
const NEXT = 'k8f2mD5xQ9vB1nR7tY3wL6pZ0sH4jC8a'
const SOCKET = { LIMITS_SOCKET: '/run/limits.sock' }
const BOTH = { LIMITS_TOKEN: TOKEN, ...SOCKET }

/** The problems of an environment; none when it is accepted. */
function problemsOf(env: Environment): readonly string[] {
  try {
    loadLimitsConfig(env)
    return []
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
}

/** A file with a content. */
function fileWith(t: Test, content: string | Uint8Array): string {
  const path = join(temporaryFolder(t), 'file')
  writeFileSync(path, content)
  return path
}

t.test('a token or a socket is enough, and nothing else has to be set', async (t) => {
  const defaults = {
    host: '127.0.0.1',
    port: 7655,
    stateDir: '/data/limits',
    storeUrl: undefined,
    policyFile: undefined,
    metricsPort: undefined,
    drainSeconds: 5,
    logLevel: 'info',
  }
  const others = { PATH: '/bin', GATEWAY_PORT: 'x', RELAY_PORT: 'x', MY_LIMITS_PORT: 'x' }
  const alone = { socket: undefined, tokens: [TOKEN], ...defaults }
  t.same({ ...loadLimitsConfig({ LIMITS_TOKEN: TOKEN, ...others }) }, alone)
  t.same(
    { ...loadLimitsConfig({ ...SOCKET, ...others }) },
    { socket: '/run/limits.sock', tokens: undefined, ...defaults },
  )
  t.same({ ...loadLimitsConfig(BOTH) }, { ...alone, socket: '/run/limits.sock' })
  t.ok(Object.isFrozen(loadLimitsConfig(BOTH)))
})

t.test('without a token and without a socket nothing starts', async (t) => {
  const noWay =
    'LIMITS_TOKEN_FILE is not set; name a file with a token of callers, or set LIMITS_SOCKET, or both'
  t.same(problemsOf({}), [noWay])
  t.same(problemsOf({ LIMITS_LOG_LEVEL: 'debug' }), [noWay])
  t.same(problemsOf({ LIMITS_TOKEN: undefined, LIMITS_SOCKET: undefined }), [noWay])
})

t.test('no port is opened without a token, so that none may be asked for', async (t) => {
  const needs = (name: string) =>
    `${name} needs LIMITS_TOKEN_FILE: no port is opened without a token`
  t.same(problemsOf({ ...SOCKET, LIMITS_PORT: '7655' }), [needs('LIMITS_PORT')])
  t.same(problemsOf({ ...SOCKET, LIMITS_HOST: '::', LIMITS_PORT: '1' }), [
    needs('LIMITS_HOST'),
    needs('LIMITS_PORT'),
  ])
  t.match(problemsOf({ LIMITS_HOST: '::1' }), [
    /^LIMITS_TOKEN_FILE is not set/,
    /^LIMITS_HOST needs/,
  ])
  t.same(problemsOf({ ...BOTH, LIMITS_HOST: '::', LIMITS_PORT: '1' }), [])
})

t.test('values and their edges', async (t) => {
  for (const [name, accepted, refused] of [
    ['LIMITS_HOST', ['127.0.0.1', '::1', '[::1]', 'limits.internal'], ['', 'a b', '127.0.0.1:1']],
    ['LIMITS_PORT', ['0', '1', '65535'], ['', '-1', '65536', '7655x', '1e3', ' 1', '007']],
    ['LIMITS_SOCKET', ['/a', `/${'x'.repeat(106)}`], ['', 'a', './a', `/${'x'.repeat(107)}`]],
    ['LIMITS_STATE_DIR', ['/data/x'], ['', 'data', './data', '~/data']],
    ['LIMITS_POLICY_FILE', ['/etc/limits.yaml'], ['', 'limits.yaml']],
    ['LIMITS_METRICS_PORT', ['0', '9100'], ['', '65536', '7655']],
    ['LIMITS_DRAIN_SECONDS', ['0', '600'], ['', '601', '1.5', '-1']],
    ['LIMITS_LOG_LEVEL', ['trace', 'silent'], ['', 'loud', 'INFO']],
    [
      'LIMITS_STORE_URL',
      ['redis://h', 'rediss://h:6380/2', 'redis://u:p@h', 'redis://:p@[::1]:1/'],
      [
        ...['', 'h:6379', 'http://h', 'redis://', 'redis:h', 'unix:/run/redis.sock'],
        ...['redis://h/x', 'redis://h/1/2', 'redis://h?db=1', 'redis://h#1', 'redis://h:x'],
      ],
    ],
  ] as const) {
    for (const value of accepted)
      t.same(problemsOf({ ...BOTH, [name]: value }), [], `${name}=${value}`)
    for (const value of refused) {
      const problems = problemsOf({ ...BOTH, [name]: value })
      t.equal(problems.length, 1, `${name}=${value}`)
      t.match(problems[0], name)
    }
  }
})

t.test('one or two tokens, each on a line of its own', async (t) => {
  for (const [content, tokens] of [
    [TOKEN, [TOKEN]],
    [`${TOKEN}\n`, [TOKEN]],
    [`${TOKEN}\r\n`, [TOKEN]],
    [`${TOKEN}\n${NEXT}\n`, [TOKEN, NEXT]],
    [`${TOKEN}\r\n${NEXT}\r\n`, [TOKEN, NEXT]],
    [`${TOKEN}\n${NEXT}\n\n\n`, [TOKEN, NEXT]],
    ['!"%~'.repeat(8) + '#', ['!"%~'.repeat(8) + '#']],
  ] as const) {
    const shown = JSON.stringify(content)
    t.same(loadLimitsConfig({ LIMITS_TOKEN_FILE: fileWith(t, content) }).tokens, tokens, shown)
  }
  t.same(loadLimitsConfig({ LIMITS_TOKEN: `${TOKEN}\n${NEXT}` }).tokens, [TOKEN, NEXT])
})

t.test('a token that is none is refused, and never quoted', async (t) => {
  const short = TOKEN.slice(1)
  const badLine = /has a line that is empty, or a character that cannot be sent in a header field/
  for (const [content, problem] of [
    ['', /is empty; unset it or give it/],
    ['\n\n', /is empty; unset it or give it/],
    [short, /has a token of fewer than 32 characters/],
    [`${TOKEN}\n${short}`, /has a token of fewer than 32 characters/],
    [`${TOKEN}\n${NEXT}\n${TOKEN}x`, /has more than 2 lines/],
    [`${TOKEN}\n\n${NEXT}`, /has more than 2 lines/],
    [`\n${TOKEN}`, badLine],
    [`${TOKEN} `, badLine],
    [` ${TOKEN}`, badLine],
    [`${TOKEN}\t${NEXT}`, badLine],
    [`${TOKEN} ${NEXT}`, badLine],
    [`${TOKEN}\r${NEXT}`, badLine],
    [`\ufeff${TOKEN}`, badLine],
    [`${TOKEN}é`, badLine],
    [`${TOKEN}\0`, badLine],
    [`${TOKEN}\x7f`, badLine],
    [`${TOKEN}\n${TOKEN}`, /has the same token twice/],
    [`${TOKEN}\nchange-me-${TOKEN}`, /has a token that looks like a placeholder/],
    ['abcd'.repeat(10), /has a token that repeats a few characters/],
    [`${TOKEN}\n${'0'.repeat(40)}`, /has a token that repeats a few characters/],
  ] as const) {
    const shown = JSON.stringify(content)
    const problems = problemsOf({ LIMITS_TOKEN_FILE: fileWith(t, content) })
    t.match(problems, [problem], shown)
    t.match(problems[0], /^LIMITS_TOKEN_FILE /, shown)
    t.notMatch(problems.join(), TOKEN.slice(1, 20), shown)
    if (!content.includes('\0') && !content.startsWith('\n\n'))
      t.match(problemsOf({ LIMITS_TOKEN: content }), [/^LIMITS_TOKEN /], `as a variable: ${shown}`)
  }
})

t.test('a secret comes from one place, and a file of it can be read', async (t) => {
  const folder = temporaryFolder(t)
  for (const [name, value, more] of [
    ['LIMITS_TOKEN', TOKEN, {}],
    ['LIMITS_STORE_URL', 'redis://h', { LIMITS_TOKEN: TOKEN }],
  ] as const) {
    const file = { [`${name}_FILE`]: fileWith(t, value) }
    t.same(problemsOf({ ...more, ...file }), [])
    t.same(problemsOf({ ...more, ...file, [name]: value }), [
      `${name} and ${name}_FILE are both set; keep one`,
    ])
    t.match(problemsOf({ ...more, [`${name}_FILE`]: '' }), [new RegExp(`^${name}_FILE is empty`)])
    for (const [path, code] of [
      [join(folder, TOKEN), 'ENOENT'],
      [folder, 'EISDIR'],
    ] as const)
      t.same(
        problemsOf({ ...more, [`${name}_FILE`]: path }),
        [`${name}_FILE names a file that cannot be read (${code})`],
        'without its path, which may be the secret',
      )
  }
  t.same(LIMITS_SECRETS, ['LIMITS_TOKEN', 'LIMITS_STORE_URL'])
})

t.test('the address of the store is never quoted', async (t) => {
  for (const url of [
    'http://u:hunter2@redis',
    'redis://u:hunter2@redis/x',
    'redis://u:hunter2@',
    'u:hunter2@redis',
    'redis//u:hunter2@redis',
  ]) {
    for (const env of [{ LIMITS_STORE_URL: url }, { LIMITS_STORE_URL_FILE: fileWith(t, url) }]) {
      const problems = problemsOf({ ...BOTH, ...env })
      t.match(problems, [/^LIMITS_STORE_URL/], url)
      t.notMatch(problems.join(), /hunter2/)
    }
  }
})

t.test('a store is one file or one Redis', async (t) => {
  const url = 'redis://redis'
  const twice = 'LIMITS_STORE_URL and LIMITS_STATE_DIR are both set; keep one'
  t.same(problemsOf({ ...BOTH, LIMITS_STATE_DIR: '/x', LIMITS_STORE_URL: url }), [twice])
  const file = { LIMITS_STORE_URL_FILE: fileWith(t, url) }
  t.same(problemsOf({ ...BOTH, LIMITS_STATE_DIR: '/data/limits', ...file }), [twice])
  t.equal(loadLimitsConfig({ ...BOTH, ...file }).storeUrl, url)
})

t.test('the port of the metrics is another one, unless the first is not opened', async (t) => {
  const same = { LIMITS_METRICS_PORT: '7655' }
  t.same(problemsOf({ ...BOTH, ...same }), [
    'LIMITS_METRICS_PORT "7655" is the port that the service itself listens on; give it another',
  ])
  t.match(problemsOf({ ...BOTH, LIMITS_PORT: '1', LIMITS_METRICS_PORT: '1' }), [/"1" is the port/])
  t.same(problemsOf({ ...BOTH, LIMITS_PORT: '0', LIMITS_METRICS_PORT: '0' }), [])
  t.same(problemsOf({ ...SOCKET, ...same }), [])
})

t.test('an unknown name is a problem, with the nearest one', async (t) => {
  t.same(problemsOf({ ...BOTH, LIMITS_TOKENS: TOKEN, LIMITS_POLICYFILE: '/x', LIMITS_X: '' }), [
    'LIMITS_TOKENS is not a setting; did you mean LIMITS_TOKEN?',
    'LIMITS_POLICYFILE is not a setting; did you mean LIMITS_POLICY_FILE?',
    'LIMITS_X is not a setting',
  ])
  t.match(problemsOf({ LIMITS_TOKNE_FILE: '/x' }), [
    'LIMITS_TOKNE_FILE is not a setting; did you mean LIMITS_TOKEN_FILE?',
    /^LIMITS_TOKEN_FILE is not set/,
  ])
  t.match(problemsOf({ ...BOTH, LIMITS_HOST_FILE: '/x' }), [/^LIMITS_HOST_FILE is not a setting/])
  t.equal(nearestLimitsVariable('LIMITS_PROT'), 'LIMITS_PORT')
  t.equal(nearestLimitsVariable('LIMITS_COFFEE'), undefined)
})

t.test('every problem is told at once', async (t) => {
  const names = Object.values(LIMITS_SETTINGS)
    .map(({ env }) => env)
    .filter((env) => env !== 'LIMITS_LOG_LEVEL')
  const problems = problemsOf(Object.fromEntries(names.map((name) => [name, ' '])))
  for (const name of names)
    t.ok(
      problems.some((problem) => problem.startsWith(`${name} `)),
      name,
    )
})
