/** Does a scope permit what its words say, and nothing that a service could read as something else? */
import * as fc from 'fast-check'
import t from 'tap'
import {
  parseScopes,
  permits,
  permitsRequest,
  SCOPE_ROUTES,
  scopeText,
  type Scope,
} from '../../src/rules/scopes.ts'
import { parseTarget, type Target } from '../../src/rules/target.ts'

const STRIPPED = { controlUi: '/chat', stripApi: true }
const KEPT = { controlUi: '/chat', stripApi: false }

/** The target of an accepted address. */
function targetOf(address: string, siteMap = STRIPPED): Target {
  const target = parseTarget(address, siteMap)
  if ('reason' in target) throw new Error(`${address} is refused: ${target.reason}`)
  return target
}

t.test('every spelling of a scope has one meaning and one text', async (t) => {
  const rows: ReadonlyArray<readonly [texts: string[], expected: string[]]> = [
    [['api'], ['api']],
    [['api:read'], ['api:read']],
    [['api:/v1/models'], ['api:/v1/models']],
    [['api:read:/v1/'], ['api:read:/v1']],
    [['api:/'], ['api']],
    [['api:read:/'], ['api:read']],
    [
      ['api,chat:read', 'terminal'],
      ['api', 'chat:read', 'terminal'],
    ],
    [[' api , api', 'api:/'], ['api']],
    [['dashboard:/a-b_c.d~e/$x:y@z'], ['dashboard:/a-b_c.d~e/$x:y@z']],
    [['owner:read,vault'], ['owner:read', 'vault']],
  ]
  for (const [texts, expected] of rows) {
    const scopes = parseScopes(texts)
    t.same(scopes.map(scopeText), expected, texts.join(' '))
    t.same(parseScopes(scopes.map(scopeText)), scopes, 'its text is read as the same')
  }
})

t.test('a text that is no scope, or could be read in two ways, is refused', async (t) => {
  for (const text of [
    ...['', ' ', ',', 'api,', 'API', 'Api', 'apis', 'health', 'gateway', '*', 'all', 'api:write'],
    ...['api:', 'api:read:', 'api:Read', 'api:read:read', 'api:v1', 'api:read:v1', 'api /v1'],
    ...['api:/v1:read', 'api:/v1//x', 'api://x', 'api:/v1//', 'api:/./x', 'api:/v1/..', 'api:/..'],
    ...['api:/v1/%2e', 'api:/v1;x', 'api:/a b', 'api:/é', 'api:/a\\b', 'api:/a?b', 'api:/a#b'],
    ...['api:/a\nb', 'owner:/x', 'vault:x', `api:/${'a'.repeat(256)}`],
    ...['constructor', '__proto__'],
  ])
    t.throws(() => parseScopes([text]), { message: /scope|path/ }, JSON.stringify(text))
  t.throws(() => parseScopes(Array.from({ length: 33 }, (_, i) => `api:/${i}`)), /32 scopes/)
  t.equal(parseScopes(Array.from({ length: 32 }, (_, i) => `api:/${i}`)).length, 32)
})

t.test('a scope is for its route, and for reading alone when it says so', async (t) => {
  for (const route of SCOPE_ROUTES)
    for (const other of SCOPE_ROUTES)
      for (const isReading of [true, false]) {
        const wanted = other as Scope['route']
        t.equal(permits(parseScopes([route]), wanted, isReading, '/x'), route === other)
        t.equal(
          permits(parseScopes([`${route}:read`]), wanted, isReading, '/x'),
          route === other && isReading,
        )
      }
  t.notOk(permits([], 'api', true, '/'), 'without scopes nothing is permitted')
})

t.test('a path in a scope is for whole segments, as the service sees them', async (t) => {
  const rows: ReadonlyArray<readonly [scope: string, address: string, expected: boolean]> = [
    ['api:/v1/models', '/api/v1/models', true],
    ['api:/v1/models', '/api/v1/models/', true],
    ['api:/v1/models', '/api/v1/models?x=1', true],
    ['api:/v1/models', '/api/v1/models/gpt?x=/../', true],
    ['api:/v1/models', '/api/v1/models//x', true],
    ['api:/v1/models', '/api/v1/models/a%2fb', true],
    ['api:/v1/models/', '/api/v1/models', true],
    ['api:/v1/models', '/api/v1/modelsx', false],
    ['api:/v1/models', '/api/v1/models;x', false],
    ['api:/v1/models', '/api/v1/models%2fx', false],
    ['api:/v1/models', '/api/v1/models%20', false],
    ['api:/v1/models', '/api/v1/models%3f', false],
    ['api:/v1/models', '/api/v1/models.', false],
    ['api:/v1/models', '/api/v1/models&x', false],
    ['api:/v1/models', '/api/V1/models', false],
    ['api:/v1/models', '/api/v1/MODELS', false],
    ['api:/v1/models', '/api/v1//models', false],
    ['api:/v1/models', '/api/v1/%6dodels', false],
    ['api:/v1/models', '/api/v1%2fmodels', false],
    ['api:/v1/models', '/api/v1', false],
    ['api:/v1/models', '/api', false],
    ['api:/v1/models', '/api?/v1/models', false],
    ['api:/v1/models', '/api/x?/v1/models', false],
    ['api:/v1/models', '/api/api/v1/models', false],
    ['api:/v1/models', '/v1/models', false],
    ['api:/api/v1', '/api/v1', false],
    ['api:/', '/api', true],
    ['api:/', '/api?x', true],
    ['dashboard:/logs', '/logs/2026', true],
    ['dashboard:/logs', '/', false],
    ['dashboard:/api', '/api/x', false],
    ['terminal:/terminal/ws', '/terminal/ws', true],
    ['terminal:/terminal/ws', '/terminal/token', false],
    ['chat:/chat', '/chat/x', true],
  ]
  for (const [scope, address, expected] of rows)
    t.equal(
      permitsRequest(parseScopes([scope]), targetOf(address), true),
      expected,
      `${scope} ${address}`,
    )
  const kept = targetOf('/api/v1', KEPT)
  t.ok(permitsRequest(parseScopes(['api:/api/v1']), kept, true), 'with the prefix kept')
  t.notOk(permitsRequest(parseScopes(['api:/v1']), kept, true))
})

t.test('of the gateway’s own side, a token reaches the owner’s actions alone', async (t) => {
  const everything = parseScopes([...SCOPE_ROUTES])
  for (const [address, expected] of [
    ['/_gateway/v1', true],
    ['/_gateway/v1/sessions?x', true],
    ['/_gateway/v1x', false],
    ['/_gateway/%76%31/sessions', false],
    ['/_gateway/v1%2fsessions', false],
    ['/_gateway/V1/sessions', false],
    ['/_gateway/sign-out', false],
    ['/_gateway/%73ign-out', false],
    ['/_gateway/renew', false],
    ['/_gateway', false],
    ['/_gateway/', false],
    ['/_gateway/anything', false],
    ['/health', false],
  ] as const)
    for (const isReading of [true, false])
      t.equal(permitsRequest(everything, targetOf(address), isReading), expected, address)
  const sessions = targetOf('/_gateway/v1/sessions')
  t.ok(permitsRequest(parseScopes(['owner:read']), sessions, true))
  t.notOk(permitsRequest(parseScopes(['owner:read']), sessions, false))
  const others = parseScopes(SCOPE_ROUTES.filter((route) => route !== 'owner'))
  t.notOk(permitsRequest(others, sessions, true))
})

/** What programs of several kinds take a path for: as sent, decoded once and twice, cleaned as URLs and as file names are. */
function readingsOf(forwarded: string): string[] {
  const path = forwarded.split('?', 1)[0] ?? ''
  const texts = [path]
  for (let i = 0; i < 3; i++) {
    try {
      texts.push(decodeURIComponent(texts.at(-1) ?? ''))
    } catch {
      break
    }
  }
  return texts.flatMap((text) => [
    text,
    text.replace(/\/{2,}/g, '/'),
    text.replace(/;[^/]*/g, ''),
    new URL(`http://x${text.startsWith('/') ? '' : '/'}${text.replace(/^\/+/, '/')}`).pathname,
    resolved(text),
    resolved(text.replace(/;[^/]*/g, '')),
  ])
}

/** A path without empty and dot segments, as a file system resolves it. */
function resolved(text: string): string {
  const segments: string[] = []
  for (const segment of text.split(/[/\\]/)) {
    if (segment === '..') segments.pop()
    else if (segment !== '' && segment !== '.') segments.push(segment)
  }
  return `/${segments.join('/')}`
}

t.test('what passes a path is at or below it, however a service reads it', async () => {
  const piece = fc.constantFrom(
    ...[
      '/',
      '/',
      '//',
      '.',
      '..',
      '%2e',
      '%2E%2e',
      '%252e',
      '%2f',
      '%252F',
      '%5c',
      '\\',
      ';',
      ';x',
    ],
    ...['v1', 'v1', 'V1', 'models', 'models', '%6dodels', '%256d', 'admin', 'a', '?', '%3f', '%23'],
    ...[
      '&',
      '%00',
      '%20',
      '.models',
      '%c0%ae',
      '%ef%bc%8e',
      'é',
      '%',
      '%2',
      ':',
      '@',
      '/v1/models',
    ],
  )
  const start = fc.constantFrom('/api', '/api/v1', '/api/v1/models', '/api/v1/models/', '/api/')
  let passed = 0
  fc.assert(
    fc.property(start, fc.array(piece, { maxLength: 8 }), (first, rest) => {
      const target = parseTarget(first + rest.join(''), STRIPPED)
      if ('reason' in target) return true
      const scopes = parseScopes(['api:/v1/models'])
      if (!permitsRequest(scopes, target, true)) return true
      passed++
      return readingsOf(target.forwarded).every(
        (path) => path === '/v1/models' || path.startsWith('/v1/models/'),
      )
    }),
    { seed: 20_261_128, numRuns: 30_000 },
  )
  if (passed < 500) throw new Error(`only ${passed} passed: the test says little`)
})

t.test('a scope with a path permits nothing that the scope without it would not', async () => {
  const path = fc.array(fc.constantFrom('/a', '/b', '/', '/a/b', '%2f', '?', 'c'), { maxLength: 5 })
  const scope = fc.record({
    route: fc.constantFrom('api', 'dashboard', 'terminal', 'chat'),
    reading: fc.constantFrom('', ':read'),
    prefix: fc.constantFrom('', ':/a', ':/a/b', ':/b'),
  })
  fc.assert(
    fc.property(scope, path, fc.boolean(), ({ route, reading, prefix }, pieces, isReading) => {
      const target = `/${pieces.join('')}`
      const wanted = route as Scope['route']
      const narrow = permits(parseScopes([route + reading + prefix]), wanted, isReading, target)
      const wide = permits(parseScopes([route + reading]), wanted, isReading, target)
      return !narrow || wide
    }),
    { seed: 20_261_129, numRuns: 3000 },
  )
})
