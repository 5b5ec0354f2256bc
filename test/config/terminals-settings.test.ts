/** Are the keeper's settings checked as the gateway's are? */
import t from 'tap'
import { ConfigError, type Environment } from '../../src/config/load.ts'
import { loadTerminalsConfig } from '../../src/config/terminals-settings.ts'

/** The problems of an environment; none when it is accepted. */
function problemsOf(env: Environment): readonly string[] {
  try {
    loadTerminalsConfig(env)
    return []
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
}

t.test('nothing has to be set', async (t) => {
  t.match(loadTerminalsConfig({ PATH: '/bin', GATEWAY_WORKSPACE: 'houston' }), {
    socket: '/run/workspace/terminals.sock',
    ttydUrl: { hostname: '127.0.0.1', port: 8080 },
    parkSeconds: 43_200,
    parkClosedSeconds: 600,
    scrollback: 1000,
    logLevel: 'info',
  })
})

t.test('values and their edges', async (t) => {
  for (const [name, accepted, refused] of [
    [
      'TERMINALS_SOCKET',
      ['/a', `/${'x'.repeat(90)}`],
      ['', 'a.sock', './a', `/${'x'.repeat(108)}`],
    ],
    [
      'TERMINALS_TTYD_URL',
      ['http://[::1]:1', 'http://h', 'unix:/a'],
      ['', 'https://h', 'http://h/x', 'http://u:p@h', 'unix:a', 'h:1'],
    ],
    [
      'TERMINALS_PARK_SECONDS',
      ['0', '1', '34560000'],
      ['', '-1', '1.5', '34560001', 'never', '1h', ' 1'],
    ],
    ['TERMINALS_PARK_CLOSED_SECONDS', ['0', '34560000'], ['', '-1', 'x']],
    ['TERMINALS_SCROLLBACK', ['0', '10000'], ['', '-1', '10001', '1e3']],
    ['TERMINALS_LOG_LEVEL', ['silent', 'trace'], ['', 'loud', 'INFO']],
  ] as const) {
    for (const value of accepted) t.same(problemsOf({ [name]: value }), [], `${name}=${value}`)
    for (const value of refused) {
      const problems = problemsOf({ [name]: value })
      t.equal(problems.length, 1, `${name}=${value}`)
      t.ok(problems[0]?.startsWith(name), `it is named: ${problems[0]}`)
    }
  }
})

t.test('every problem is named at once, without passwords', async (t) => {
  const problems = problemsOf({
    TERMINALS_PARK_SECONDS: 'x',
    TERMINALS_TTYD_URL: 'http://user:hunter2@h',
    TERMINALS_SCROLLBAK: '1',
    TERMINALS_: '1',
  })
  t.equal(problems.length, 4)
  t.match(
    problems.join('\n'),
    /TERMINALS_SCROLLBAK is not a setting; did you mean TERMINALS_SCROLLBACK\?/,
  )
  t.notMatch(problems.join('\n'), /hunter2/)
})

t.test('the keeper is not its own ttyd', async (t) => {
  t.match(problemsOf({ TERMINALS_SOCKET: '/a', TERMINALS_TTYD_URL: 'unix:/a' }), [
    /TERMINALS_TTYD_URL is the keeper's own socket/,
  ])
  t.same(problemsOf({ TERMINALS_SOCKET: '/a', TERMINALS_TTYD_URL: 'unix:/b' }), [])
})

t.test('a variable that is undefined is not set', async (t) => {
  t.same(problemsOf({ TERMINALS_PARK_SECONDS: undefined, TERMINALS_TYPO: undefined }), [])
})
