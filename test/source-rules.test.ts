/** What must the code never do? Rules that hold for every file on the request path, read from the files. */
import { globSync, readFileSync } from 'node:fs'
import t from 'tap'
import { STAGES } from '../src/request/outcome.ts'

/** Every file that runs in production, without comments and imports of types. */
const FILES = globSync(['src/**/*.ts', 'plugins/*.ts', 'routes/*.ts'])
  .toSorted()
  .map((path) => {
    const code = readFileSync(path, 'utf8')
      .replace(/^\s*(?:\/?\*|\/\/).*$/gm, '')
      .replace(/^import type .*$/gm, '')
    return { path, code }
  })

/** The files in which a pattern occurs. */
const having = (pattern: RegExp) =>
  FILES.filter(({ code }) => pattern.test(code)).map(({ path }) => path)

/** The same without the subcommands, which run beside the gateway and ask it and its services, and without what browsers run. */
const onRequestPath = (pattern: RegExp) =>
  having(pattern).filter(
    (path) =>
      !/^src\/(?:commands\/|admin\/ask\.ts|answers\/scripts\/|relay\/(?:client|page)\/)/.test(path),
  )

t.test(
  'connections are opened in few places, none of them to an address of a request',
  async (t) => {
    t.ok(FILES.length > 30)
    t.same(onRequestPath(/from 'undici'/), [])
    t.same(
      onRequestPath(/\brequest\b.*from 'node:http'/),
      [
        'src/relay/link/gateway-notices.ts',
        'src/relay/target/forward.ts',
        'src/services/ask-door.ts',
        'src/sockets/dial.ts',
        'src/terminals/ask-keeper.ts',
        'src/terminals/keeper/plain-requests.ts',
        'src/vault/forward/ask-service.ts',
      ],
      'the link tells the gateway, and asks a service for a device; the gateway asks a service for a WebSocket, and the keeper of terminals for its list; the keeper asks ttyd; a program asks the vault or the link, and the vault the fixed origin of an entry',
    )
    t.same(
      onRequestPath(/\bconnect\b.*from 'node:net'|\.connect\(/),
      [
        'src/relay/link/target-connection.ts',
        'src/services/can-connect.ts',
        'src/services/connection.ts',
        'src/services/redis-connection.ts',
        'src/terminals/keeper/ttyd-link.ts',
      ],
      'the link reaches its target, which is configured; looks whether a service is up, and whether a stale socket of ours is alive; asks a service; asks the store of a relay or of limits; and opens a shell at ttyd',
    )
    t.same(
      onRequestPath(/\bnew \w*Socket\(/),
      [
        'src/observe/line-output.ts',
        'src/relay/link/relay-socket.ts',
        'src/services/connection.ts',
        'src/terminals/keeper/ttyd-link.ts',
      ],
      'writes to standard output; the link dials the relay; asks a service; and the keeper of terminals opens a shell at ttyd',
    )
    t.same(
      onRequestPath(
        /\bfetch\(|from 'node:(?:https|http2|tls|dgram|dns|quic)'|\bEventSource\b|new WebSocket\(/,
      ),
      [
        'src/http/reset.ts',
        'src/relay/link/relay-socket.ts',
        'src/terminals/keeper/ttyd-link.ts',
        'src/vault/forward/ask-service.ts',
        'src/vault/forward/dial.ts',
      ],
      'asks what kind of connection it has; the link dials the relay that is configured; opens a shell at ttyd; the vault asks the fixed origin of an entry, at an address that was checked',
    )
  },
)

t.test('nothing inflates, runs or evaluates what was sent', async (t) => {
  t.same(having(/from 'node:(?:vm|worker_threads|repl|inspector)'/), [])
  t.same(
    having(/from 'node:zlib'/),
    ['src/vault/forward/decode.ts'],
    'answers of services whose entry says so, within a bound',
  )
  t.same(
    having(/from 'node:cluster'/),
    ['src/process/port-keeper.ts'],
    'starts this program again, on SIGUSR2',
  )
  t.same(
    having(/from 'node:child_process'/),
    [
      'src/commands/remote/own-terminal.ts',
      'src/commands/vault/run-child.ts',
      'src/process/notify.ts',
    ],
    'stty for the terminal of remote, the program of vault exec, and what tells systemd; never by a request',
  )
  const elsewhere = /\beval\(|new Function\(|\bimport\((?!'(?:\.\.?\/)+[a-z/-]+\.ts'\))|\brequire\(/
  const late = ['src/services/redis-connection.ts', 'src/terminals/keeper/screen.ts']
  const scripted = 'src/fleet/redis-store.ts'
  t.same(having(elsewhere), [scripted, ...late])
  t.notMatch(
    FILES.find(({ path }) => path === scripted)?.code.replace(
      /^  eval\(\n    script: string,/m,
      '',
    ),
    elsewhere,
    'a method that rate-limiter-flexible calls sends a fixed script to Redis',
  )
  for (const { path, code } of FILES.filter((file) => late.includes(file.path)))
    t.notMatch(
      code.replace(/\bimport\('(?:@redis\/client|@xterm\/(?:headless|addon-unicode11))'\)/g, ''),
      elsewhere,
      `${path} loads packages by name, when the first QR code is drawn, the first terminal opened, or many processes share a store`,
    )
})

t.test('a request target is never read as a URL', async (t) => {
  t.same(having(/new URL\(|URL\.parse\(/), [
    'src/config/link-settings.ts', // the configured page
    'src/config/rules.ts',
    'src/config/values.ts',
    'src/relay/protocol/offer.ts', // the relay of a pairing link, which is no request
    'src/relay/target/service-connection.ts', // the configured page of devices
    'src/request/login.ts', // the configured sign-in address
    'src/rules/return-to.ts', // compares whole origins, after it has built the address anew
    'src/vault/at-rest/document.ts', // the origin of an entry, which the owner gives
    'src/vault/forward/dial.ts', // the same
  ])
})

t.test('no signature is accepted by code of ours: jose does it, in constant time', async (t) => {
  t.same(
    having(/createHmac|createVerify|jwtDecrypt|decodeJwt/),
    [
      'src/identity/key-ring.ts',
      'src/identity/second-factor/backup-codes.ts',
      'src/vault/at-rest/key-tree.ts',
    ],
    'what refuses a forged token before jose sees it, the digest by which a backup code is found, which is not compared, and the MAC of a file',
  )
  t.same(
    having(/timingSafeEqual/),
    [
      'src/fleet/callers.ts',
      'src/identity/key-ring.ts',
      'src/request/login.ts',
      'src/terminals/keeper/digest.ts',
      'src/vault/at-rest/key-tree.ts',
    ],
    'the digest of a token of callers, a forged token, the state of a sign-in, the digest of an accepted password and the MAC of a file: none accepts a signature',
  )
  t.same(having(/compactVerify\(/), ['src/identity/verifier.ts'])
  t.same(
    having(
      /\b(?:secret|signature|mac|password)\s*[!=]==?\s*[a-z]|[a-z]\s*[!=]==?\s*(?:secret|signature|mac|password)\b/i,
    ).filter((path) => path !== 'src/config/values.ts' && path !== 'src/config/rules.ts'),
    [],
  )
})

t.test(
  'Retry-After is written in one place, from the table of src/answers/errors.ts',
  async (t) => {
    t.same(having(/['"]Retry-After['"]/), ['src/answers/problem.ts'])
  },
)

t.test('the environment is read in one place', async (t) => {
  t.same(having(/process\.env/), ['src/main.ts'])
})

/** Names and accesses of what Node and ws do not document, each with a line that would use it. */
const INTERNALS: ReadonlyArray<readonly [name: RegExp, use: string]> = [
  [/\bReflect\./, "Reflect.get(socket, 'server')"],
  [/\._(?!writev?\b)[a-z]/, 'socket._handle.fd'],
  [/\[k[A-Z]\w*\]/, 'server[kConnections].idle()'],
  [/\.prototype\b/, 'Server.prototype.close.call(server)'],
  [/\b_httpMessage\b/, 'const { _httpMessage: response } = socket'],
  [/\brawPacket\b/, 'const { rawPacket } = error'],
  [/\.parser\b/, 'socket.parser?.pause()'],
  [/\bonIncoming\b/, '{ onIncoming: () => 2 }'],
  [/\bnew ServerResponse\b/, 'const response = new ServerResponse(request)'],
  [/\bassignSocket\b/, 'response.assignSocket(socket)'],
  [/\b(?:response|raw)\.on(?:ce)?\('socket'/, "response.once('socket', destroy)"],
  [/\bshouldKeepAlive\b/, 'reply.raw.shouldKeepAlive = false'],
  [/\bemit\('drain'/, "response.emit('drain')"],
  [/\bhttpAllowHalfOpen\b/, 'server.httpAllowHalfOpen = true'],
  [/\bhandleUpgrade\b/, 'app.websocketServer.handleUpgrade = takeOver'],
  [/\bsetFlagsFromString\b/, "setFlagsFromString('--no-opt')"],
]

/** Where such a name means something else: ws documents `handleUpgrade` for a server of one's own; and xterm.js has internals too. */
const ELSEWHERE: Readonly<Record<string, readonly string[]>> = {
  [String(/\bhandleUpgrade\b/)]: [
    'src/relay/server/server.ts',
    'src/terminals/keeper/handshakes.ts',
  ],
  [String(/\bReflect\./)]: ['src/terminals/keeper/xterm-internals.ts'],
  [String(/\._(?!writev?\b)[a-z]/)]: ['src/terminals/keeper/xterm-internals.ts'],
}

t.test('what Node and ws do not document is used in one place', async (t) => {
  for (const [name, use] of INTERNALS) {
    t.match(use, name)
    t.same(
      having(name).filter((path) => path !== 'src/http/node-internals.ts'),
      ELSEWHERE[String(name)] ?? [],
      String(name),
    )
  }
  // Both are documented for those who derive from stream.Writable.
  t.same(having(/\._writev?\b/), ['src/services/connection.ts'])
})

/** Test code that sleeps by itself, and why. */
const SLEEPERS: Readonly<Record<string, string>> = {
  'test/helpers/waiting.ts': 'the helpers through which every other test waits',
  'test/neighbours/next-app/app/gates.ts': 'a program of its own, built by Next.js',
  'test/neighbours/terminals-cuts.neighbours.ts': 'a program of the shell that prints at a pace',
  'test/neighbours/terminals-soak.ts': 'a program of the shell that prints at a pace',
  'test/neighbours/terminals-upgrades.neighbours.ts':
    'a program of the shell that prints at a pace',
  'test/neighbours/two-workspaces.neighbours.ts': 'text that runs in a page',
}

t.test(
  'no test sleeps: it waits for what it can see, through test/helpers/waiting.ts',
  async (t) => {
    const sleeping = globSync('test/**/*.{ts,tsx}', { exclude: ['**/node_modules/**'] })
      .filter((path) => path !== 'test/source-rules.test.ts')
      .filter((path) => {
        const code = readFileSync(path, 'utf8')
        return (
          /\bsetTimeout\b(?!')|\bAtomics\.wait|\bonce\(AbortSignal\.timeout/.test(code) ||
          /\bsleep \d?\.\d/.test(code.replace(/; do sleep [\d.]+; done/g, ''))
        )
      })
    t.same(sleeping.toSorted(), Object.keys(SLEEPERS))
  },
)

t.test('the time limit of a test is that of its file, in .taprc', async (t) => {
  // A smaller limit in a test can end a whole file that is only slow, as on a busy machine. A hang is found without it.
  const limit = /\bt\.setTimeout\(|\bt\.test\([^\n]*\{[^}\n]*\btimeout:|^ *\{ timeout: \S+ \},$/m
  for (const text of ['t.setTimeout(1)', "t.test('x', { timeout: 1 }, ", '  { timeout: 1 },'])
    t.match(text, limit)
  const limited = globSync('test/**/*.test.ts').filter((path) =>
    limit.test(readFileSync(path, 'utf8')),
  )
  t.same(limited, ['test/source-rules.test.ts'])
})

t.test(
  'decorators are for the exchange, the stages and the writers of responses only',
  async (t) => {
    const decorated = FILES.flatMap(({ path, code }) =>
      [...code.matchAll(/\.(decorate\w*)\(\s*('\w+')?/g)].map(
        ([, method, name]) => `${path} ${method} ${name}`,
      ),
    )
    t.same(decorated, [
      "plugins/problem-details.ts decorate 'answerProblem'",
      "plugins/problem-details.ts decorate 'writeAnswer'",
      "plugins/problem-details.ts decorate 'writePage'",
      "plugins/request-log.ts decorateRequest 'exchange'",
      "src/request/stage.ts decorate 'stages'",
    ])
    const declared = FILES.filter(({ code }) => /interface FastifyInstance \{/.test(code))
    t.same(
      declared.map(({ path }) => path),
      ['plugins/problem-details.ts', 'src/request/stage.ts'],
      'and no other file declares one',
    )
  },
)

t.test(
  'every numbered plugin is a stage, made by stage() under the name of its file',
  async (t) => {
    const numbered = FILES.filter(({ path }) => /^plugins\/[0-9]+-/.test(path))
    t.same(
      numbered.map(({ path }) => path.replace(/^plugins\/[0-9]+-|\.ts$/g, '')).toSorted(),
      STAGES.slice(0, STAGES.indexOf('upstream') + 1).toSorted(),
    )
    for (const { path, code } of numbered) {
      const [, number = '', name = ''] = /^plugins\/([0-9]+)-(.+)\.ts$/.exec(path) ?? []
      t.equal(STAGES[Number(number)], name, `${path} has the number of its place`)
      t.same(
        [...code.matchAll(/\bstage(?:Hook)?\(\s*'([a-z-]+)'/g)].map(([, named]) => named),
        [name],
        path,
      )
      t.notMatch(
        code,
        /addHook\('onRequest'|outcome\.stage =/,
        `${path} leaves the rest to stage()`,
      )
    }
  },
)
