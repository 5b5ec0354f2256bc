/** Which combinations of settings are refused, and which get a warning? */
import t from 'tap'
import { loadConfig, type Environment } from '../../src/config/load.ts'
import { configWarnings, crossSettingProblems } from '../../src/config/rules.ts'
import {
  BASE,
  CONFIG_SECRET as SECRET,
  OTHER_CONFIG_SECRET as OTHER_SECRET,
  problemsOf,
} from '../helpers/configuration.ts'

t.test('settings that contradict each other are refused', async (t) => {
  const table: ReadonlyArray<
    readonly [env: Environment, problem: RegExp | undefined, why: string]
  > = [
    [{ GATEWAY_SOCKET: '/run/x', GATEWAY_PORT: '80' }, /both set/, 'two places to listen on'],
    [{ GATEWAY_SOCKET: '/run/x' }, undefined, 'a port that is only the default'],
    [
      { GATEWAY_PORT: '9100', GATEWAY_METRICS_PORT: '9100' },
      /^GATEWAY_METRICS_PORT "9100" is the port/,
      'metrics on the public port',
    ],
    [
      { GATEWAY_SOCKET: '/run/x', GATEWAY_METRICS_PORT: '80' },
      undefined,
      'the default port is not used with a socket',
    ],
    [
      { GATEWAY_API_URL: 'http://127.0.0.1' },
      /^GATEWAY_API_URL .* own address/,
      'a loop, by the default port',
    ],
    [
      { GATEWAY_PORT: '3001' },
      /^GATEWAY_PORT "3001" is also the default port of GATEWAY_DASHBOARD_URL, "http:\/\/127\.0\.0\.1:3001"/,
      'a loop, by a default service that nobody set',
    ],
    [
      { GATEWAY_PORT: '9000', GATEWAY_TERMINAL_URL: 'http://localhost:9000' },
      /own address/,
      'a loop by name',
    ],
    [
      { GATEWAY_HOST: 'fdaa::3', GATEWAY_HEALTH_URL: 'http://[fdaa::3]:80' },
      /own address/,
      'a loop by the listening address',
    ],
    [
      { GATEWAY_HOST: '10.0.0.5', GATEWAY_HEALTH_URL: 'http://10.0.0.6:80' },
      undefined,
      'another machine',
    ],
    [
      { GATEWAY_SOCKET: '/run/x', GATEWAY_API_URL: 'unix:/run/x' },
      /own address/,
      'a loop over a Unix socket',
    ],
    [
      { GATEWAY_SOCKET: '/run/x', GATEWAY_API_URL: 'http://127.0.0.1:80' },
      undefined,
      'no TCP port is ours',
    ],
    [
      { GATEWAY_API_URL: 'http://houston.hubify.com:81' },
      /own address/,
      'a loop through the proxy in front',
    ],
    [
      { GATEWAY_DOMAIN: 'localhost', GATEWAY_API_URL: 'http://houston.localhost:81' },
      undefined,
      'another port of this machine',
    ],
    [{ GATEWAY_API_URL: 'http://research.hubify.com:81' }, undefined, 'another workspace'],
    [
      { GATEWAY_LOGIN_URL: 'https://houston.hubify.com/login' },
      /^GATEWAY_LOGIN_URL .*circles/,
      'a login page that needs a login',
    ],
    [
      { GATEWAY_LOGIN_URL: 'https://houston.hubify.com/_gatewayx' },
      /circles/,
      'nor is that a page of ours',
    ],
    [
      { GATEWAY_LOGIN_URL: 'https://houston.hubify.com/_gateway/sign-in' },
      undefined,
      'our own page is in front of the door',
    ],
    [{ GATEWAY_LOGIN_URL: 'https://hubify.com/login' }, undefined, 'a page elsewhere'],
    [
      { GATEWAY_STEP_UP_URL: 'https://houston.hubify.com/2fa', GATEWAY_TERMINAL_AMR: 'otp' },
      /^GATEWAY_STEP_UP_URL .* own door/,
      'nor for a second factor',
    ],
    ...['TERMINAL_MAX_AGE', 'STEP_UP_ROUTES', 'STEP_UP_URL'].flatMap((name) => {
      const value = { TERMINAL_MAX_AGE: '60', STEP_UP_ROUTES: 'api' }[name] ?? 'https://hubify.com/'
      const env = { [`GATEWAY_${name}`]: value }
      return [
        [env, new RegExp(`^GATEWAY_${name} is set and no second factor`), 'nothing is asked'],
        [
          { ...env, GATEWAY_SECOND_FACTOR: 'off' },
          /no second factor is asked/,
          'nor when it is off',
        ],
        [
          { ...env, GATEWAY_SECOND_FACTOR: 'local' },
          name === 'STEP_UP_URL' ? /^GATEWAY_STEP_UP_URL .* nothing that the login/ : undefined,
          'a factor that is kept here',
        ],
        [
          { ...env, GATEWAY_SECOND_FACTOR: 'local', GATEWAY_TERMINAL_AMR: 'otp' },
          undefined,
          'both',
        ],
        [{ ...env, GATEWAY_TERMINAL_AMR: 'otp' }, undefined, 'one of the login service'],
      ] as const
    }),
    [
      { GATEWAY_SECOND_FACTOR: 'local', GATEWAY_STEP_UP_ROUTES: 'none' },
      /^GATEWAY_STEP_UP_ROUTES is none/,
      'a factor that nothing asks for',
    ],
    [
      { GATEWAY_JWT_PREVIOUS_SECRETS: SECRET },
      /rotation needs a new secret/,
      'a rotation that changes nothing',
    ],
    [
      { GATEWAY_JWT_PREVIOUS_SECRETS: `${OTHER_SECRET},${SECRET}` },
      /rotation/,
      'anywhere in the list',
    ],
    [{ GATEWAY_JWT_PREVIOUS_SECRETS: OTHER_SECRET }, undefined, 'a rotation'],
  ]
  for (const [env, problem, why] of table) {
    const problems = problemsOf(env)
    t.equal(problems.length, problem === undefined ? 0 : 1, `${why}: ${problems.join()}`)
    if (problem !== undefined) t.match(problems[0], problem)
  }
})

t.test('a setting that could not be read is not reported a second time', async (t) => {
  t.same(crossSettingProblems({}, {}), [])
  t.same(crossSettingProblems({ loginUrl: 'https://hubify.com/' }, {}), [])
})

t.test('a valid but risky configuration gets warnings', async (t) => {
  const warn = (env: Environment) => configWarnings(loadConfig({ ...BASE, ...env }))
  t.same(warn({}), [])
  t.same(warn({ GATEWAY_API_URL: 'unix:/run/x', GATEWAY_DASHBOARD_URL: 'http://[::1]:3001' }), [])
  t.match(warn({ GATEWAY_ALLOWED_HOSTS: 'a.example,*' }), [/GATEWAY_ALLOWED_HOSTS is \*/])
  t.match(warn({ GATEWAY_API_URL: 'http://10.0.0.6:3000' }), [
    /10\.0\.0\.6:3000 is not on this machine/,
  ])
  t.match(warn({ GATEWAY_API_URL: 'http://127.0.0.1.evil.example:3000' }), [/not on this machine/])
})

t.test(
  'settings of the second factor that do not do what they seem to get a warning',
  async (t) => {
    const warn = (env: Environment) => configWarnings(loadConfig({ ...BASE, ...env }))
    const there = { GATEWAY_STEP_UP_URL: 'https://hubify.com/verify-2fa' }
    t.same(warn({ ...there, GATEWAY_TERMINAL_AMR: 'otp,hwk,swk,mfa' }), [])
    t.same(warn({ GATEWAY_SECOND_FACTOR: 'local' }), [])
    t.match(warn({ ...there, GATEWAY_TERMINAL_AMR: 'otp,totp,OTP' }), [/"totp".*8176/, /"OTP"/])
    t.match(warn({ ...there, GATEWAY_TERMINAL_AMR: 'pwd' }), [/password alone/])
    const elsewhere = { GATEWAY_SECOND_FACTOR: 'local', GATEWAY_STEP_UP_ROUTES: 'api,chat' }
    t.match(warn(elsewhere), [/^GATEWAY_STEP_UP_ROUTES leaves terminal out/])
    t.match(warn({ GATEWAY_TERMINAL_AMR: 'otp' }), [/neither .* led nowhere/])
    t.same(warn({ GATEWAY_TERMINAL_AMR: 'otp', GATEWAY_LOGIN_URL: 'https://hubify.com/' }), [])
    t.same(warn({ GATEWAY_TERMINAL_AMR: 'otp', GATEWAY_SECOND_FACTOR: 'local' }), [])
  },
)

t.test('a service on the default port of another one gets a warning with both names', async (t) => {
  const warn = (env: Environment) => configWarnings(loadConfig({ ...BASE, ...env }))
  for (const url of ['http://127.0.0.1:3000', 'http://localhost:3000', 'http://[::1]:3000']) {
    const [warning, ...more] = warn({ GATEWAY_DASHBOARD_URL: url })
    t.equal(
      warning,
      `GATEWAY_DASHBOARD_URL "${url}" is also the default of GATEWAY_API_URL: requests for either reach the same program; set GATEWAY_API_URL to where that service listens`,
    )
    t.same(more, [])
  }
  const both = {
    GATEWAY_DASHBOARD_URL: 'http://127.0.0.1:9',
    GATEWAY_API_URL: 'http://127.0.0.1:9',
  }
  t.same(warn(both), [], 'somebody who sets both means it')
  t.same(warn({ GATEWAY_DASHBOARD_URL: 'unix:/x', GATEWAY_API_URL: 'unix:/x' }), [])
})

t.test('a socket of the link that is another socket too is refused', async (t) => {
  const link = '/run/workspace/link.sock'
  const other = (name: string) =>
    `GATEWAY_LINK_SOCKET "${link}" is also ${name}; give it a path of its own`
  for (const [settings, problem] of [
    [{ GATEWAY_SOCKET: link }, other('GATEWAY_SOCKET')],
    [{ GATEWAY_TERMINAL_URL: `unix:${link}` }, other('GATEWAY_TERMINAL_URL')],
    [
      { GATEWAY_LINK_OWNER_SOCKET: '/run/./workspace//link.sock' },
      other('GATEWAY_LINK_OWNER_SOCKET'),
    ],
    [
      { GATEWAY_STATE_DIR: '/run/workspace', GATEWAY_LINK_SOCKET: '/run/workspace/admin.sock' },
      'GATEWAY_LINK_SOCKET "/run/workspace/admin.sock" is also the admin socket in GATEWAY_STATE_DIR; give it a path of its own',
    ],
    [
      { GATEWAY_VAULT_SOCKETS: '/run/workspace' },
      `GATEWAY_LINK_SOCKET "${link}" is in GATEWAY_VAULT_SOCKETS, which is the vault's; give it a path elsewhere`,
    ],
    [
      { GATEWAY_LINK_OWNER_SOCKET: '/run/gateway.sock', GATEWAY_SOCKET: '/run/gateway.sock' },
      'GATEWAY_LINK_OWNER_SOCKET "/run/gateway.sock" is also GATEWAY_SOCKET; give it a path of its own',
    ],
  ] as const)
    t.same(problemsOf({ GATEWAY_LINK_SOCKET: link, ...settings }), [problem])
  const own = { GATEWAY_LINK_SOCKET: link, GATEWAY_LINK_OWNER_SOCKET: '/run/workspace/owner.sock' }
  t.same(problemsOf(own), [])
})
