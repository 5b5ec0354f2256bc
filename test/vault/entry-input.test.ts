/** Is every mistake in an entry named, all of them at once, and never the credential? */
import t from 'tap'
import { readEntryInput, readValue } from '../../src/vault/entry-input.ts'
import { PRESETS, presetOf } from '../../src/vault/presets.ts'

const CONTEXT = { agents: ['coder', 'ops'], isShared: false, presetOf }
const VALUE = 'a-credential-of-the-test'
const GOOD = {
  service: 'acme',
  origin: 'https://api.acme.example',
  slot: 'X-Acme-Key: {}',
  methods: ['POST', 'GET', 'GET'],
  paths: ['/v1/', '/health'],
  value: VALUE,
}

/** What makes an entry one of another workspace. */
const OF_WORKSPACE = { kind: 'workspace', slot: undefined, value: `hub_${VALUE}` }

const problemsOf = (change: object): readonly string[] => {
  const input = readEntryInput({ ...GOOD, ...change }, CONTEXT)
  return 'problems' in input ? input.problems : []
}

t.test('an entry is what the owner gives, sorted and without repetitions', async (t) => {
  const input = readEntryInput({ ...GOOD, grants: ['ops', 'coder'], headers: ['X-Trace'] }, CONTEXT)
  if ('problems' in input) throw new Error(input.problems.join())
  t.same(input.policy, {
    service: 'acme',
    kind: 'header',
    origin: 'https://api.acme.example',
    slot: { header: 'x-acme-key', template: '{}' },
    methods: ['GET', 'POST'],
    paths: ['/health', '/v1/'],
    headers: ['x-trace'],
    grants: ['coder', 'ops'],
    allowPrivate: false,
    upgrade: false,
    decode: false,
    suspended: false,
    note: '',
  })
  t.equal(input.value.toString(), VALUE)
})

t.test('what a preset says need not be given, and methods and paths are never all', async (t) => {
  for (const [service, preset] of Object.entries(PRESETS)) {
    const own = preset.paths.length === 0 ? { paths: ['/acme'] } : {}
    const input = readEntryInput({ service, value: VALUE, ...own }, CONTEXT)
    if ('problems' in input) throw new Error(`${service}: ${input.problems.join()}`)
    t.match(input.policy, { origin: preset.origin, kind: preset.kind, slot: preset.slot })
  }
  t.match(problemsOf({ methods: undefined }), [/methods is empty/])
  t.match(problemsOf({ paths: [] }), [/paths is empty/])
})

t.test('each rule', async (t) => {
  for (const [change, problem] of [
    [{ service: 'Acme' }, /^service takes/],
    [{ service: '-a' }, /^service takes/],
    [{ service: 'x'.repeat(41) }, /^service takes/],
    [{ service: 7 }, /service is no text/],
    [{ kind: 'oauth2' }, /kind "oauth2" is none of header, basic, workspace/],
    [{ origin: undefined }, /origin is not set/],
    [
      { origin: 'https://127.0.0.1:1' },
      /not public, which allow_private \(--allow-private\) allows/,
    ],
    [{ origin: 'https://[::1]' }, /--allow-private/],
    [{ origin: 'https://169.254.169.254', allow_private: true }, /is never dialled/],
    [{ origin: 'https://api.acme.example/' }, /scheme, host and port alone/],
    [{ origin: 'https://api.acme.example/v1' }, /scheme, host and port alone/],
    [{ origin: 'https://u:p@api.acme.example' }, /scheme, host and port alone/],
    [{ origin: 'ftp://api.acme.example' }, /scheme, host and port alone/],
    [{ origin: 'https://0x7f.1' }, /scheme, host and port alone/],
    [{ origin: 'https://a b' }, /scheme, host and port alone/],
    [{ origin: 'https://API.acme.example' }, /written as https:\/\/api\.acme\.example$/],
    [{ origin: 'https://api.acme.example:443' }, /written as https:\/\/api\.acme\.example$/],
    [{ origin: 'https://api.acme.example.' }, /written as/],
    [{ origin: 'https://[0:0:0:0:0:0:0:1]' }, /written as https:\/\/\[::1\]$/],
    [{ origin: 'http://api.acme.example' }, /not https/],
    [{ origin: 'http://127.0.0.1:8080' }, /not https/],
    [{ origin: 'http://localhost:8080', allow_private: true }, /not https/],
    [{ origin: 'http://10.0.0.1', allow_private: true }, /not https/],
    [{ slot: undefined }, /slot \(--header\) takes a header and a template/],
    [{ slot: 'Bearer {}' }, /slot \(--header\) takes a header and a template/],
    [{ slot: 'X-Key: none' }, /0 holes/],
    [{ slot: 'X-Key: {}{}' }, /2 holes/],
    [{ slot: 'X-Key: {} ' }, /no space at its ends/],
    [{ slot: 'X-Key: a\r\nX-Evil: {}' }, /visible ASCII/],
    [{ slot: 'X-Key: ä{}' }, /visible ASCII/],
    [{ slot: 'X(Key): {}' }, /no name of a header/],
    ...[
      ...['Host', 'Content-Length', 'Transfer-Encoding', 'Connection', 'Upgrade', 'TE', 'Expect'],
      ...['Content-Type', 'Range', 'Proxy-Authorization', 'Sec-WebSocket-Key', 'Forwarded'],
    ].map((name) => [{ slot: `${name}: {}` }, /says how a message is sent/] as const),
    [{ kind: 'basic', slot: 'Authorization: Bearer {}' }, /basic takes Authorization: USER:\{\}/],
    [{ kind: 'basic', slot: 'X-Key: u:{}' }, /basic takes Authorization: USER:\{\}/],
    [{ kind: 'workspace', slot: 'X-Key: {}', value: `hub_${VALUE}` }, /workspace takes/],
    [{ kind: 'workspace', slot: undefined }, /begins with hub_/],
    [{ methods: ['CONNECT'] }, /"CONNECT" is no method/],
    [{ methods: ['TRACE'] }, /"TRACE" is no method/],
    [{ methods: ['get'] }, /"get" is no method/],
    [{ methods: ['*'] }, /"\*" is no method/],
    [{ methods: 'GET' }, /methods is no list/],
    [{ paths: ['v1'] }, /"v1" does not begin with a slash/],
    [{ paths: ['/a/../b'] }, /dot segment/],
    [{ paths: ['/a%2fb'] }, /character that a prefix may not have/],
    [{ headers: ['Authorization'] }, /authorization is never forwarded/],
    [{ headers: ['X-Acme-Key'] }, /x-acme-key is never forwarded/],
    [{ headers: ['X-HTTP-Method-Override'] }, /never forwarded/],
    [{ headers: ['Host'] }, /never forwarded/],
    [{ headers: ['X-Original-URL'] }, /never forwarded/],
    [{ headers: ['X_HTTP_Method_Override'] }, /never forwarded/],
    [{ headers: ['a b'] }, /no name of a header/],
    [{ grants: ['mallory'] }, /"mallory" is no agent of VAULT_AGENTS \(coder, ops\)/],
    [{ grants: ['research/*'] }, /"research\/\*" .* not shared .* privacy\.vault_shared_across/],
    [{ grants: ['research/x'] }, /is no agent/],
    [{ remote: 'github' }, /remote \(--remote\) takes an entry of the kind workspace/],
    [{ ...OF_WORKSPACE, remote: 'Git Hub' }, /remote \(--remote\) takes lower-case/],
    [{ ...OF_WORKSPACE, remote: 7 }, /remote is no text/],
    [{ ...OF_WORKSPACE, upgrade: true }, /WebSockets do not pass/],
    [{ allow_private: 'yes' }, /allow_private takes true or false/],
    [{ note: 'a\u001b[2J' }, /control character/],
    [{ note: 'x'.repeat(501) }, /longer than/],
    [{ nots: 'x' }, /"nots" is not a member/],
    [{ suspended: false }, /"suspended" is not a member/],
    [{ value: undefined }, /value is not set/],
    [{ value: 'short' }, /value \(the credential, from standard input\) has 5 bytes/],
    [{ value: 'x'.repeat(4097) }, /has 4097 bytes/],
    [{ value: `${VALUE} x` }, /space/],
    [{ value: `${VALUE}\nx` }, /line break/],
    [{ value: `${VALUE}ä` }, /not ASCII/],
  ] as const) {
    const problems = problemsOf(change)
    t.equal(problems.length, 1, JSON.stringify(change))
    t.match(problems[0], problem)
    t.notMatch(problems.join(), VALUE)
  }
})

t.test(
  'an entry of another workspace has what the service’s preset says, but its address',
  async (t) => {
    const given = { kind: 'workspace', value: `hub_${VALUE}` }
    const input = readEntryInput(
      { ...given, service: 'model', remote: 'anthropic', origin: 'https://alice.hubify.com' },
      CONTEXT,
    )
    if ('problems' in input) throw new Error(input.problems.join())
    const preset = PRESETS['anthropic']
    t.match(input.policy, {
      ...{ service: 'model', remote: 'anthropic', kind: 'workspace', methods: preset?.methods },
      ...{ paths: preset?.paths, headers: preset?.headers, origin: 'https://alice.hubify.com' },
      slot: { header: 'authorization', template: 'Bearer {}' },
    })
    for (const service of Object.keys(PRESETS)) {
      const { problems } = readEntryInput({ ...given, service, paths: ['/x'] }, CONTEXT) as {
        problems: string[]
      }
      t.match(problems, [/^origin is not set/], `${service}: never its own address`)
      t.equal(problems.length, 1)
    }
  },
)

t.test('a shared vault grants other workspaces, and not what is one’s own already', async (t) => {
  const shared = { ...CONTEXT, isShared: true }
  const grants = ['research/*', 'coder']
  t.match(readEntryInput({ ...GOOD, grants }, shared), { policy: { grants: grants.toSorted() } })
  t.match(readEntryInput({ ...GOOD, ...OF_WORKSPACE, grants }, shared), {
    problems: [/"research\/\*" .* not shared on/],
  })
})

t.test('what is right', async (t) => {
  for (const change of [
    { origin: 'https://api.acme.example:8443' },
    { origin: 'https://[2606:4700::1111]' },
    { origin: 'http://127.0.0.1:8080', allow_private: true },
    { origin: 'http://[::1]:8080', allow_private: true },
    { kind: 'basic', slot: 'Authorization: user:{}', value: 'a pass word: ä' },
    { kind: 'basic', slot: 'Authorization: :{}' },
    { kind: 'workspace', slot: undefined, value: 'hub_abcdefghij' },
    { slot: 'Authorization: token {}' },
    { methods: ['PROPFIND', 'QUERY'] },
    { value: `${VALUE}\n` },
    { value: `${VALUE}\r\n` },
  ])
    t.same(problemsOf(change), [], JSON.stringify(change))
})

t.test('every problem is named at once', async (t) => {
  t.equal(problemsOf({ origin: 'x', slot: 'y', methods: [], paths: ['z'], value: '1' }).length, 5)
  t.match(readEntryInput([], CONTEXT), { problems: ['the body is no JSON object'] })
  t.match(readEntryInput(undefined, CONTEXT), { problems: ['the body is no JSON object'] })
})

t.test('one final line break of a credential is cut, and no more', async (t) => {
  t.match(readValue(`${VALUE}\n`, 'header'), { value: Buffer.from(VALUE) })
  t.match(readValue(`${VALUE}\n\n`, 'header'), { problem: /line break/ })
  t.match(readValue('päßwörter-ok', 'basic'), { value: Buffer.from('päßwörter-ok') })
  t.match(readValue('a\tbcdefghijklm', 'basic'), { problem: /control/ })
})
