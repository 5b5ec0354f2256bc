/** Which values does each setting accept, and what is its default? */
import { resolve } from 'node:path'
import t from 'tap'
import { loadConfig, type Config } from '../../src/config/load.ts'
import { SETTINGS } from '../../src/config/settings.ts'
import { isSubject } from '../../src/rules/subject.ts'
import { ADDRESS_SETTINGS } from '../../src/rules/services.ts'
import {
  BASE,
  CONFIG_SECRET as SECRET,
  OTHER_CONFIG_SECRET as OTHER_SECRET,
  problemsOf,
} from '../helpers/configuration.ts'

t.test(
  'with only the required settings, all others have the defaults of the contract',
  async (t) => {
    const { trustedProxies, ...config } = loadConfig(BASE)
    const service = (port: number) => ({
      url: `http://127.0.0.1:${port}`,
      origin: `http://127.0.0.1:${port}`,
      hostname: '127.0.0.1',
      port,
      socketPath: undefined,
    })
    t.strictSame(config, {
      workspace: 'houston',
      domain: 'hubify.com',
      jwtSecret: SECRET,
      jwtPreviousSecrets: [],
      jwtIssuer: undefined,
      jwtLeewaySeconds: 30,
      owners: [],
      sessionMaxSeconds: 30 * 86_400,
      host: '::',
      port: 80,
      socket: undefined,
      dashboardUrl: service(3001),
      apiUrl: service(3000),
      terminalUrl: service(8080),
      healthUrl: service(4000),
      daemonUrl: undefined,
      openclawToken: undefined,
      apiPrefix: 'strip',
      controlUi: undefined,
      openclawMode: 'local',
      healthStrict: false,
      loginUrl: undefined,
      secondFactor: 'off',
      terminalAmr: [],
      terminalMaxAge: 43_200,
      stepUpRoutes: ['terminal'],
      stepUpUrl: undefined,
      allowedHosts: [],
      allowedOrigins: [],
      rateLimit: 10,
      rateLimitSeconds: 60,
      sessionRateLimit: 600,
      sessionRoutes: ['dashboard', 'chat', 'terminal', 'api', 'code'],
      programRoutes: [],
      sensitiveFiles: [],
      stateDir: '/data/gateway',
      vaultSockets: undefined,
      linkSocket: undefined,
      linkOwnerSocket: undefined,
      pidFile: undefined,
      hotRestart: false,
      drainSeconds: 4,
      firstByteSeconds: 900,
      idleSeconds: 900,
      metricsPort: undefined,
      notifyFd: undefined,
      logProbes: false,
      logRefusals: 'summed',
      logLevel: 'info',
    })
    t.equal(trustedProxies.length, 3, '127.0.0.0/8, ::1 and fdaa::/16')
  },
)

/** Values that a setting accepts and values that it refuses. */
interface Spellings {
  readonly good: ReadonlyArray<readonly [text: string, value?: unknown]>
  readonly bad: readonly string[]
}

/** Values that settings with a list of routes accept and refuse. */
const ROUTE_LISTS: Spellings = {
  good: [
    ['none', []],
    ['api', ['api']],
    ['dashboard, chat,api,terminal', ['dashboard', 'chat', 'api', 'terminal']],
  ],
  bad: [
    'health',
    'gateway',
    'all',
    '*',
    'dashboard,',
    'none,api',
    'Dashboard',
    '/api',
    'dashboard chat',
  ],
}

/** The accepted and refused values of each setting. Every one is tested. */
const VALUES: { [Name in keyof Config]: Spellings } = {
  workspace: {
    good: [['houston'], ['a1b'], ['0-9'], ['a'.repeat(30)], ['abc-']],
    bad: [
      'ab',
      '-ab',
      'Houston',
      'hou ston',
      'hou.ston',
      'hou_ston',
      'a'.repeat(31),
      'houston\n',
      'höuston',
      ' houston',
      'houston,research',
      '*',
    ],
  },
  domain: {
    good: [
      ['hubify.com'],
      ['HUBIFY.com', 'hubify.com'],
      ['localhost'],
      ['hubify.com.', 'hubify.com'],
      ['a.b.c.example'],
    ],
    bad: [
      'hubify.com:80',
      'https://hubify.com',
      '1.2.3.4',
      '[::1]',
      '.hubify.com',
      'hubify..com',
      '*',
      '*.hubify.com',
      'hubify.com/',
      'hub ify.com',
      '-a.com',
      'hubify,com',
      '127.1',
    ],
  },
  jwtSecret: {
    good: [
      [OTHER_SECRET],
      ['é'.repeat(6) + 'abcdefghijklmnopqrst'],
      ['correct horse battery staple 4711'],
    ],
    bad: [
      'brief',
      'a'.repeat(64),
      'abcd'.repeat(16),
      SECRET.slice(1),
      'change-me-change-me-change-me-1234',
      'CHANGEME0123456789012345678901234567',
      'replace_this_with_a_real_secret_0123456789',
      'your-jwt-secret-goes-here-0123456789',
      '<put the secret of the workspace here>',
      'placeholder-0123456789-0123456789',
      'xxxxxxxxxxxxxxxxxxxxxxxxxxxxabcdef',
      ` ${SECRET}`,
      `${SECRET} `,
      `${SECRET}\n`,
    ],
  },
  jwtPreviousSecrets: {
    good: [
      [OTHER_SECRET, [OTHER_SECRET]],
      [
        `${OTHER_SECRET}, ${OTHER_SECRET.toLowerCase()}`,
        [OTHER_SECRET, OTHER_SECRET.toLowerCase()],
      ],
      [otherSecrets(3).join(','), otherSecrets(3)],
    ],
    bad: [
      otherSecrets(4).join(','),
      `${OTHER_SECRET},${OTHER_SECRET}`,
      'brief',
      `${OTHER_SECRET},`,
      `,${OTHER_SECRET}`,
      `${OTHER_SECRET},,${OTHER_SECRET}`,
      `${OTHER_SECRET},brief`,
      ',',
      ' ',
    ],
  },
  jwtIssuer: { good: [['https://hubify.com'], ['anything']], bad: [] },
  jwtLeewaySeconds: {
    good: [
      ['0', 0],
      ['30', 30],
      ['120', 120],
    ],
    bad: [
      '121',
      '-1',
      '30s',
      '1e1',
      '0x10',
      '030',
      '3.5',
      ' 30',
      'NaN',
      'Infinity',
      '99999999999999999999',
    ],
  },
  owners: {
    good: [
      ['alice', ['alice']],
      ['alice, user_2x:Y@hubify.com,Zoë Q', ['alice', 'user_2x:Y@hubify.com', 'Zoë Q']],
      ['*', ['*']], // a name like any other
      ['x'.repeat(256), ['x'.repeat(256)]],
    ],
    bad: ['alice,', ',', 'alice,,bob', 'a\u0000b', 'a\tb', 'x'.repeat(257), '\ud800'],
  },
  sessionMaxSeconds: {
    good: [
      ['60', 60],
      ['34560000', 34_560_000], // 400 days, the longest that a browser keeps a cookie
    ],
    bad: ['59', '0', '34560001', '-60', '1h', '30d', 'never'],
  },
  host: {
    good: [
      ['0.0.0.0'],
      ['::1'],
      ['[::1]', '::1'],
      ['127.0.0.1'],
      ['localhost'],
      ['fly-local-6pn'],
      ['fdaa:0:1::3'],
    ],
    bad: [
      '127.0.0.1:80',
      '[::1]:80',
      'http://localhost',
      '1.2.3',
      '256.1.1.1',
      '::g',
      '*',
      'a b',
      '/run/x',
      '127.0.0.1,::1',
    ],
  },
  port: {
    good: [
      ['0', 0],
      ['8000', 8000],
      ['65535', 65_535],
    ],
    bad: ['65536', '-1', '80 ', 'http', '8e1', '80,81'],
  },
  socket: {
    good: [['/run/gateway.sock']],
    bad: ['gateway.sock', './gateway.sock', 'unix:/run/x', `/${'x'.repeat(107)}`],
  },
  ...serviceValues([...ADDRESS_SETTINGS.map(({ key }) => key), 'daemonUrl']),
  openclawToken: {
    good: [['a'], ['sk-abc_DEF.123~+/=']],
    bad: ['a b', 'a\r\nX-Evil: 1', 'tok\u00e9n', ' ', '\t', 'a\u0000'],
  },
  apiPrefix: { good: [['strip'], ['keep']], bad: ['Strip', 'true', 'none', 'strip,keep', ' keep'] },
  controlUi: {
    good: [['/chat'], ['/a/b-c_d.e~f'], ['/terminals'], ['/healthz'], ['/Api']],
    bad: [
      'chat',
      '/',
      '/chat/',
      '//chat',
      '/a//b',
      '/../x',
      '/.hidden',
      '/a/./b',
      '/api',
      '/api/ui',
      '/terminal',
      '/terminal/ui',
      '/health',
      '/health/ui',
      '/_gateway',
      '/_gateway/ui',
      '/_code',
      '/_code/ui',
      '/ch at',
      '/ch%61t',
      '/chat?x',
      '/chat#x',
      '/chät',
      '*',
      'true',
    ],
  },
  openclawMode: {
    good: [['local'], ['trusted-proxy']],
    bad: ['trusted_proxy', 'proxy', 'LOCAL', 'none', 'true'],
  },
  healthStrict: {
    good: [
      ['true', true],
      ['false', false],
    ],
    bad: ['1', '0', 'yes', 'no', 'on', 'TRUE', 'False', ' true'],
  },
  hotRestart: {
    good: [
      ['true', true],
      ['false', false],
    ],
    bad: ['1', 'yes', 'on', 'TRUE', ' true'],
  },
  secondFactor: { good: [['off'], ['local', 'local']], bad: ['on', 'true', 'LOCAL', ' local'] },
  terminalAmr: {
    good: [
      ['otp', ['otp']],
      ['otp, hwk,mfa', ['otp', 'hwk', 'mfa']],
      ['urn:example:2fa', ['urn:example:2fa']],
    ],
    bad: [',', 'otp,', 'one two', '"otp"', '-otp', 'a'.repeat(65)],
  },
  terminalMaxAge: {
    good: [
      ['60', 60],
      ['43200', 43_200],
    ],
    bad: ['59', '0', '-1', '12h', '34560001'],
  },
  stepUpRoutes: {
    good: [
      ['terminal', ['terminal']],
      ['terminal,dashboard', ['terminal', 'dashboard']],
    ],
    bad: ['health', 'gateway', 'Terminal', 'terminal,', ','],
  },
  stepUpUrl: {
    good: [['https://hubify.com/verify-2fa'], ['http://localhost:3000/', 'http://localhost:3000/']],
    bad: [
      'hubify.com/verify-2fa',
      '/verify-2fa',
      'javascript:alert(1)',
      'https://houston.hubify.com/2fa',
    ],
  },
  loginUrl: {
    good: [
      ['https://hubify.com/login'],
      ['http://localhost:3000/', 'http://localhost:3000/'],
      ['https://hubify.com', 'https://hubify.com/'],
      ['https://houston.hubify.com/_gateway/sign-in'],
    ],
    bad: [
      'hubify.com/login',
      '/login',
      '//hubify.com',
      'javascript:alert(1)',
      'ftp://hubify.com',
      'https://',
      'https://user:pass@hubify.com/',
      'data:text/html,x',
      'https://houston.hubify.com/login',
      'https://houston.hubify.com',
      'http://HOUSTON.hubify.com/',
    ],
  },
  trustedProxies: {
    good: [
      ['none', []],
      ['127.0.0.1', [{ bytes: [127, 0, 0, 1], bits: 32 }]],
      ['10.0.0.0/8, 192.0.2.1'],
    ],
    bad: [
      'all',
      '*',
      'true',
      '0.0.0.0/0',
      '::/0',
      '1.2.3',
      '1.2.3.4/33',
      '::1/129',
      'loopback,',
      'none,loopback',
      'loopback none',
      'example.com',
      '1.2.3.4/8/8',
      '::ffff:0:0/0',
      '1.2.3.4-1.2.3.9',
      'Loopback',
    ],
  },
  allowedHosts: {
    good: [
      ['app.example.com', ['app.example.com']],
      ['.example.com,Other.example', ['.example.com', 'other.example']],
      ['*', ['*']],
    ],
    bad: [
      'https://app.example.com',
      'app.example.com:8080',
      '*.example.com',
      '.com',
      '.',
      'a b',
      'a,',
      ',',
      'app.example.com/',
      '127.1',
      '.1.2.3.4',
      'exa*mple.com',
    ],
  },
  allowedOrigins: {
    good: [
      ['https://app.example.com', ['https://app.example.com']],
      [
        'http://localhost:5173, https://App.example.com',
        ['http://localhost:5173', 'https://app.example.com'],
      ],
      ['https://[::1]:8443', ['https://[::1]:8443']],
    ],
    bad: [
      '*',
      'null',
      'app.example.com',
      'https://app.example.com/',
      'https://app.example.com/x',
      'https://app.example.com:443',
      'https://*.example.com',
      'https://',
      'ftp://app.example.com',
      'https://user:pass@app.example.com',
      'https://a.example,',
      'file://',
      'https://a.example https://b.example',
      'chrome-extension://abc',
      'https://a.example?x',
      'https://exa\tmple.com',
    ],
  },
  rateLimit: {
    good: [
      ['1', 1],
      ['100000', 100_000],
    ],
    bad: ['0', '-10', '10.5', 'ten', '1e3', 'unlimited', 'off', '1000000001', '+10', '10/60'],
  },
  rateLimitSeconds: {
    good: [
      ['1', 1],
      ['86400', 86_400],
    ],
    bad: ['0', '86401', '60s', '1m', '-60'],
  },
  sessionRateLimit: { good: [['1', 1]], bad: ['0', '-1', 'off', ''] },
  sessionRoutes: ROUTE_LISTS,
  programRoutes: ROUTE_LISTS,
  sensitiveFiles: { good: [['id_rsa'], ['*.pem,*.p12']], bad: ['', ',', 'a,,b', '*.pem,'] },
  stateDir: {
    good: [
      ['/tmp/x', '/tmp/x'],
      ['data', resolve('data')],
      ['./.data/x/', resolve('.data/x')],
    ],
    bad: ['~', '~/data', '~alice/data', 'file:///data', '.', 'x/..', '../x', '$HOME/x', '-x'],
  },
  logRefusals: {
    good: [
      ['summed', 'summed'],
      ['each', 'each'],
    ],
    bad: ['true', 'none', 'SUMMED', ''],
  },
  logProbes: {
    good: [
      ['true', true],
      ['false', false],
    ],
    bad: ['1', 'yes', 'TRUE'],
  },
  vaultSockets: {
    good: [['/run/workspace/vault'], [`/${'v'.repeat(84)}`]],
    bad: ['vault', './vault', `/${'v'.repeat(85)}`, ''],
  },
  linkSocket: {
    good: [['/run/workspace/link.sock'], [`/${'l'.repeat(94)}`]],
    bad: ['link.sock', './x', `/${'l'.repeat(95)}`, ''],
  },
  linkOwnerSocket: { good: [['/run/workspace/link-owner.sock']], bad: ['x.sock', './x', ''] },
  pidFile: { good: [['/run/gateway.pid']], bad: ['gateway.pid', './x'] },
  drainSeconds: {
    good: [
      ['0', 0],
      ['3600', 3600],
    ],
    bad: ['3601', '-1', '4s'],
  },
  firstByteSeconds: {
    good: [
      ['1', 1],
      ['86400', 86_400],
    ],
    bad: ['0', '86401', 'never'],
  },
  idleSeconds: {
    good: [
      ['1', 1],
      ['86400', 86_400],
    ],
    bad: ['0', '86401', 'never'],
  },
  metricsPort: { good: [['9100', 9100]], bad: ['0', '65536', ':9100', 'true'] },
  notifyFd: { good: [['3', 3]], bad: ['0', '1', '2', '1024', '-3', '/run/x'] },
  logLevel: { good: [['trace'], ['silent']], bad: ['INFO', 'verbose', '30', 'warning', 'true'] },
}

/** Secrets that differ in their first character. */
function otherSecrets(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${i}${OTHER_SECRET}`)
}

function serviceValues<Name extends keyof Config>(names: readonly Name[]) {
  const values = {
    good: [
      [
        'http://localhost:9999',
        {
          url: 'http://localhost:9999',
          origin: 'http://localhost:9999',
          hostname: 'localhost',
          port: 9999,
          socketPath: undefined,
        },
      ],
      [
        'http://[::1]:9999/',
        {
          url: 'http://[::1]:9999/',
          origin: 'http://[::1]:9999',
          hostname: '[::1]',
          port: 9999,
          socketPath: undefined,
        },
      ],
      [
        'http://backend.internal',
        {
          url: 'http://backend.internal',
          origin: 'http://backend.internal',
          hostname: 'backend.internal',
          port: 80,
          socketPath: undefined,
        },
      ],
      [
        'unix:/run/service.sock',
        {
          url: 'unix:/run/service.sock',
          origin: 'http://localhost',
          hostname: 'localhost',
          port: undefined,
          socketPath: '/run/service.sock',
        },
      ],
    ],
    bad: [
      'localhost:3001',
      '127.0.0.1:3001',
      '3001',
      'https://127.0.0.1:3001',
      'ws://127.0.0.1:3001',
      'http://',
      'http://127.0.0.1:99999',
      'http://127.0.0.1:0',
      'http://127.0.0.1:3001/base',
      'http://127.0.0.1:3001/?a',
      'http://127.0.0.1:3001/#a',
      'http://user:pass@127.0.0.1:3001',
      'http://user@127.0.0.1:3001',
      'http://a b:3001',
      'unix:run/x',
      'unix:',
      `unix:/${'x'.repeat(107)}`,
      'file:///x',
      'javascript:1',
      'http://127.0.0.1:80',
      'http://localhost',
      'http://[::1]',
      'http://0.0.0.0:80',
      'http://[::]:80',
      'http://[::ffff:127.0.0.1]:80',
      'http://x.localhost',
      'http://houston.hubify.com:8080',
    ],
  } as const
  return Object.fromEntries(names.map((name) => [name, values])) as Record<Name, typeof values>
}

t.test('each setting accepts the values that it should', async (t) => {
  const wanted = { GATEWAY_SECOND_FACTOR: 'local', GATEWAY_TERMINAL_AMR: 'otp' } // some settings need one of them
  for (const [name, { env }] of Object.entries(SETTINGS)) {
    for (const [text, value = text] of VALUES[name as keyof Config].good) {
      const config = loadConfig({ ...BASE, ...wanted, [env]: text })
      const seen = config[name as keyof Config]
      if (Array.isArray(seen) && !Array.isArray(value)) t.ok(seen.length > 0, `${env}=${text}`)
      else t.strictSame(seen, value, `${env}=${text}`)
    }
  }
})

t.test(
  'each setting refuses other values with one line that names it, and nothing starts',
  async (t) => {
    for (const [name, { env, accepts, secret }] of Object.entries(SETTINGS)) {
      for (const text of ['', ...VALUES[name as keyof Config].bad]) {
        const problems = problemsOf({ [env]: text })
        t.ok(problems.length > 0, `${env}=${JSON.stringify(text)} is refused`)
        t.ok(problems[0]?.startsWith(env), problems[0] ?? '')
        if (secret && text.trim().length > 1) t.notOk(problems.join('').includes(text), 'not shown')
        if (text === '') t.match(problems[0], `${env} is empty; unset it or give it ${accepts}`)
      }
    }
  },
)

t.test('no setting accepts garbage', async (t) => {
  const garbage = [
    '\u0000',
    '\ufffd',
    '{}',
    '[]',
    '${SECRET}',
    '$(id)',
    '../../etc/passwd',
    '-',
    '%00',
    ';',
    '\\',
    '"',
    '🦊',
  ]
  for (const [name, { env }] of Object.entries(SETTINGS)) {
    if (name === 'jwtIssuer' || name === 'sensitiveFiles') continue // any text is a valid issuer, and any name a valid file name
    for (const text of garbage) {
      if (name === 'openclawToken' && /^[\x21-\x7e]+$/.test(text)) continue
      if (name === 'owners' && isSubject(text)) continue // any name is valid
      t.ok(problemsOf({ [env]: text }).length > 0, `${env}=${JSON.stringify(text)}`)
    }
  }
})

t.test(
  'each setting has a complete sentence as its description, and states what it accepts',
  async (t) => {
    for (const {
      env,
      description,
      accepts,
      default: fallback,
      required,
      secret,
      parse,
    } of Object.values(SETTINGS)) {
      t.match(env, /^GATEWAY_[A-Z_]+$/)
      t.match(description, /^[A-Z<].*\.$/s)
      t.notMatch(accepts, /[.;]$/)
      if (typeof fallback === 'string')
        t.doesNotThrow(() => parse(fallback), `${env}: its own default`)
      if (required) t.equal(fallback, undefined)
      if (secret) t.ok(fallback === undefined || fallback === '', 'no secret has a default')
    }
    const names = Object.values(SETTINGS).map(({ env }) => env)
    t.equal(new Set(names).size, names.length)
  },
)
