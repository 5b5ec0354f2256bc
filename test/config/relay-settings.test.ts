/** Are the relay's settings checked as the gateway's are? */
import t from 'tap'
import { ConfigError, type Environment } from '../../src/config/load.ts'
import { loadRelayConfig } from '../../src/config/relay-settings.ts'

/** The problems of an environment; none when it is accepted. */
function problemsOf(env: Environment): readonly string[] {
  try {
    loadRelayConfig(env)
    return []
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
}

t.test('nothing has to be set', async (t) => {
  t.match(loadRelayConfig({ PATH: '/bin', GATEWAY_WORKSPACE: 'houston' }), {
    host: '::',
    port: 7654,
    storeUrl: undefined,
    publicUrl: undefined,
    metricsPort: undefined,
    flyMachine: undefined,
    drainSeconds: 4,
    logLevel: 'info',
  })
})

t.test('values and their edges', async (t) => {
  for (const [name, accepted, refused] of [
    ['RELAY_HOST', ['127.0.0.1', '::1', 'relay.internal'], ['', 'a b']],
    ['RELAY_PORT', ['0', '65535'], ['', '-1', '65536', '7654x']],
    ['RELAY_METRICS_PORT', ['0', '9100'], ['', '65536', '7654']],
    [
      'RELAY_PUBLIC_URL',
      ['wss://a.example.com', 'ws://127.0.0.1:1'],
      [
        '',
        'ws://a.example.com',
        'https://a.example.com',
        'wss://a.example.com/x',
        'wss://u:p@a.example.com',
      ],
    ],
    ['RELAY_TRUSTED_PROXIES', ['none', 'loopback,10.0.0.0/8'], ['', 'x', '0.0.0.0/0']],
    ['RELAY_DRAIN_SECONDS', ['0', '600'], ['', '601', '1.5']],
    ['RELAY_LOG_LEVEL', ['debug', 'silent'], ['', 'loud']],
    ['FLY_MACHINE_ID', ['1857a1b2'], ['', 'A', 'a;b', 'a\r\nb', 'a'.repeat(65)]],
  ] as const) {
    for (const value of accepted) t.same(problemsOf({ [name]: value }), [], `${name}=${value}`)
    for (const value of refused) {
      const problems = problemsOf({ [name]: value })
      t.equal(problems.length, 1, `${name}=${value}`)
      t.match(problems[0], name)
    }
  }
})

t.test('a store needs the address of the node, and is never printed', async (t) => {
  const publicUrl = { RELAY_PUBLIC_URL: 'wss://a.example.com' }
  t.same(problemsOf({ RELAY_STORE_URL: 'rediss://u:hunter2@redis:6380', ...publicUrl }), [])
  t.match(problemsOf({ RELAY_STORE_URL: 'redis://redis' }), [/^RELAY_PUBLIC_URL is missing/])
  const long = (length: number) => `wss://${'a.'.repeat((length - 10) / 2)}abcd` // as many characters
  t.match(problemsOf({ RELAY_PUBLIC_URL: long(124) }), [/^RELAY_PUBLIC_URL .*123 characters/])
  t.equal(loadRelayConfig({ RELAY_PUBLIC_URL: long(122) }).publicUrl, long(122))
  const problems = problemsOf({ RELAY_STORE_URL: 'http://u:hunter2@redis', ...publicUrl })
  t.match(problems, [/^RELAY_STORE_URL /])
  t.notMatch(problems.join(), /hunter2/)
})

t.test('an unknown name is a problem, with the nearest one', async (t) => {
  t.match(problemsOf({ RELAY_DRAIN: '1', RELAY_PROT: '1' }), [
    /^RELAY_DRAIN is not a setting/,
    /did you mean RELAY_PORT\?$/,
  ])
})
