/** Which request targets are accepted, and are the checked bytes the forwarded bytes? */
import * as fc from 'fast-check'
import t from 'tap'
import { routeOf, type RouteName, type SiteMap } from '../../src/rules/site-map.ts'
import { parseTarget, type Target } from '../../src/rules/target.ts'
import { cpuMs, LINEAR_MS } from '../helpers/cpu-time.ts'

const SITE: SiteMap = { controlUi: '/chat', stripApi: true }
const KEEP: SiteMap = { controlUi: undefined, stripApi: false }

/** The decision on a target: refused, or accepted on a route. */
function judge(raw: string, site = SITE): RouteName | 'refused' {
  const target = parseTarget(raw, site)
  return 'reason' in target ? 'refused' : target.route
}

function accepted(raw: string, site = SITE): Target {
  const target = parseTarget(raw, site)
  if ('reason' in target) throw new Error(`${raw} was refused: it ${target.reason}`)
  return target
}

type Row = readonly [raw: string, expected: RouteName | 'refused', why: string]

function refusedBecause(why: string, targets: readonly string[]): Row[] {
  return targets.map((raw) => [raw, 'refused', why])
}

/** Every combination of the spellings: `..`, `.%2e` and so on. */
function pairs(spellings: readonly string[]): string[] {
  return spellings.flatMap((left) => spellings.map((right) => left + right))
}

const DOTS = ['.', '%2e', '%2E', '%252e', '%25252E']
const SLASHES = ['/', '%2f', '%2F', '%252f', '%25252f']

const ROUTES: readonly Row[] = [
  ['/', 'dashboard', 'the root'],
  ['/?', 'dashboard', 'an empty query'],
  ['/logs', 'dashboard', 'a page'],
  ['/logs/', 'dashboard', 'a trailing slash'],
  ['/a/b/c', 'dashboard', 'a deep page'],
  ['/index.html', 'dashboard', 'a dot in a name'],
  ['/_next/static/chunks/app/page-0a1b.js', 'dashboard', 'an asset'],
  ['/_next/static/chunks/app/%5Bid%5D/page.js', 'dashboard', 'encoded brackets of Next.js'],
  ['/_next/static/chunks/app/[id]/(group)/@slot/page.js', 'dashboard', 'raw brackets'],
  ['/_next/image?url=%2Fa.png&w=64&q=75', 'dashboard', 'an encoded slash in the query'],
  ['/.well-known/security.txt', 'dashboard', 'a dot file'],
  ['/...', 'dashboard', 'three dots are a name'],
  ['/....//a', 'dashboard', 'four dots are a name, an empty segment inside is opaque'],
  ['/a..b', 'dashboard', 'dots inside a name'],
  ['/..a', 'dashboard', 'a name that starts with two dots'],
  ['/a..', 'dashboard', 'a name that ends with two dots'],
  ['/a//b', 'dashboard', 'an empty segment further down'],
  ['/a;v=1/b;w=2', 'dashboard', 'path parameters are opaque'],
  ['/;/a', 'dashboard', 'an empty name with parameters'],
  ['/;..', 'dashboard', 'parameters that look like dots'],
  ['/a%20b', 'dashboard', 'a space'],
  ['/a+b', 'dashboard', 'a plus'],
  ['/100%25', 'dashboard', 'a percent sign of its own'],
  ['/50%25zz', 'dashboard', 'a percent sign that is no escape once decoded'],
  ['/20%25de', 'dashboard', 'a percent sign that is a lone byte once decoded'],
  ['/%C3%A9', 'dashboard', 'é'],
  ['/%E2%82%AC', 'dashboard', '€'],
  ['/%F0%9F%98%80', 'dashboard', 'an emoji'],
  ['/%ef%bf%bd', 'dashboard', 'the replacement character itself'],
  ['/%EF%BC%8E%EF%BC%8E/a', 'dashboard', 'full-width dots are letters like others'],
  ['/%EF%BC%8Fterminal', 'dashboard', 'a full-width slash separates nothing'],
  ['/%EF%BC%8F%EF%BC%8Fevil.example', 'dashboard', 'full-width slashes name no host'],
  ['/%E2%80%A5/a', 'dashboard', 'a two-dot leader is a letter'],
  ['/%EF%BD%94erminal', 'dashboard', 'a full-width t is another letter'],
  ['/a%3Fb', 'dashboard', 'an encoded question mark starts no query'],
  ['/a%23b', 'dashboard', 'an encoded hash starts no fragment'],
  ['/a%2fb', 'dashboard', 'an encoded slash inside a route'],
  ['/a%252fb', 'dashboard', 'twice'],
  ['/a:b', 'dashboard', 'a colon'],
  ['/http://example.com/', 'dashboard', 'a URL as a path'],
  ['/@evil.example', 'dashboard', 'an at sign'],
  ['/user:password@evil.example/', 'dashboard', 'userinfo as a name'],
  ["/~user/!$&'()*+,=:@", 'dashboard', 'everything a segment may hold'],
  ['/"<>^`{|}', 'dashboard', 'what clients should escape but do not'],
  ['/?next=/health', 'dashboard', 'a query never changes the route'],
  ['/?/../../terminal', 'dashboard', 'dots in a query are text'],
  ['/?a=b\\c', 'dashboard', 'browsers send backslashes in queries'],
  ['/?%', 'dashboard', 'a query may be no percent-encoding at all'],
  ['/?%00%ff%2e%2e', 'dashboard', 'a query is not decoded here'],
  ['/?//evil.example', 'dashboard', 'slashes in a query'],
  ['/??', 'dashboard', 'a question mark in a query'],
  ['/terminalx', 'dashboard', 'prefixes match whole segments'],
  ['/terminal-', 'dashboard', 'prefixes match whole segments'],
  ['/terminal.', 'dashboard', 'prefixes match whole segments'],
  ['/terminal;', 'dashboard', 'parameters are part of the segment'],
  ['/terminal;x/ws', 'dashboard', 'parameters are part of the segment'],
  ['/terminal%20', 'dashboard', 'a space is part of the segment'],
  ['/terminal%3b/ws', 'dashboard', 'an encoded parameter, too'],
  ['/Terminal/ws', 'dashboard', 'case matters'],
  ['/TERMINAL', 'dashboard', 'case matters'],
  ['/termina', 'dashboard', 'half a prefix'],
  ['/x/terminal', 'dashboard', 'a prefix in another place'],
  ['/apix', 'dashboard', 'prefixes match whole segments'],
  ['/api2/x', 'dashboard', 'prefixes match whole segments'],
  ['/api;/x', 'dashboard', 'parameters are part of the segment'],
  ['/api.', 'dashboard', 'a dot is part of the segment'],
  ['/API/x', 'dashboard', 'case matters'],
  ['/healthz', 'dashboard', 'only /health itself'],
  ['/health/', 'dashboard', 'only /health itself'],
  ['/health/x', 'dashboard', 'only /health itself'],
  ['/health;x', 'dashboard', 'only /health itself'],
  ['/Health', 'dashboard', 'case matters'],
  ['/health%2f', 'dashboard', 'not /health in either form'],
  ['/health%20', 'dashboard', 'not /health in either form'],
  ['/_gatewayx', 'dashboard', 'prefixes match whole segments'],
  ['/chatx', 'dashboard', 'prefixes match whole segments'],
  ['/health', 'health', 'itself'],
  ['/health?x=1', 'health', 'with a query'],
  ['/terminal', 'terminal', 'itself'],
  ['/terminal?arg=1', 'terminal', 'with a query'],
  ['/terminal/', 'terminal', 'with a slash'],
  ['/terminal/ws', 'terminal', 'its WebSocket'],
  ['/terminal//ws', 'terminal', 'an empty segment further down'],
  ['/terminal/w%73', 'terminal', 'an escape that changes no route'],
  ['/terminal/%2fws', 'terminal', 'an encoded slash inside the route'],
  ['/terminal/api', 'terminal', 'only the first segment counts'],
  ['/chat', 'chat', 'itself'],
  ['/chat/session/1?x', 'chat', 'below'],
  ['/api', 'api', 'itself'],
  ['/api?x', 'api', 'with a query'],
  ['/api/', 'api', 'with a slash'],
  ['/api/v1/models', 'api', 'below'],
  ['/api/terminal', 'api', 'only the first segment counts'],
  ['/api/_gateway/sign-in', 'api', 'only the first segment counts'],
  ['/api/v1//x', 'api', 'an empty segment further down'],
  ['/api/%C3%A9', 'api', 'é'],
  ['/api/a%2fb%3Fc', 'api', 'encoded delimiters'],
  ['/api/__openclaw__/catalog-icon/https%3A%2F%2Fx', 'api', 'OpenClaw’s own'],
  [
    '/api/__openclaw__/catalog-icon/https%3A%2F%2Fx.example%2Fa%20b.png%3Fq%3D1%252F2%23f',
    'api',
    'a whole URL in a segment',
  ],
  ['/_gateway/sign-in', 'gateway', 'the gateway itself'],
  ['/_gateway', 'gateway', 'the gateway itself'],
]

const REFUSED: readonly Row[] = [
  ...refusedBecause('dot segments in every spelling', [
    ...DOTS.flatMap((dot) => [`/${dot}`, `/a/${dot}/b`, `/terminal/${dot}`]),
    ...pairs(DOTS).flatMap((dots) => [`/${dots}/a`, `/a/${dots}`, `/api/v1/${dots}/x`]),
    ...SLASHES.flatMap((left) => SLASHES.map((right) => `/a${left}..${right}b`)),
    ...SLASHES.map((slash) => `/a${slash}%2e%2E`),
  ]),
  ...refusedBecause('a dot segment with a tail', [
    '/..;/a',
    '/a/..;',
    '/a/..;x=1/b',
    '/a/.;x/b',
    '/a/..%3b/b',
    '/a/..%3Bx/b',
    '/a/%2e%2e;/b',
    '/a/%2e%2e%3b%2fb',
    '/a/..%253b/b',
    '/api/..;/terminal',
    '/api/.%2e;x/terminal',
    '/a/..%20/b',
    '/a/%20../b',
    '/a/.%20/b',
    '/a/..%20;x/b',
    '/a/..%c2%a0/b',
    '/a/..%e2%80%83/b',
    '/a/..%2520/b',
    '/terminal/..;/..;/api',
  ]),
  ...refusedBecause('backslashes are slashes to some', [
    '/\\',
    '/\\evil.example',
    '\\\\evil.example',
    '/a\\b',
    '/a\\..\\b',
    '/..\\a',
    '/%5c',
    '/%5C',
    '/%5cevil.example',
    '/a%5cb',
    '/a/..%5c..%5cb',
    '/a%255cb',
    '/a%25255cb',
    '/a%2525255cb',
    '/api\\x',
    '/api%5cx',
    '/api/a%5c..%5cb',
    '/terminal\\ws',
    '/terminal%5Cws',
  ]),
  ...refusedBecause('control characters', [
    '/%00',
    '/a%00',
    '/a%00.html',
    '/%2500',
    '/%252500',
    '/terminal%00',
    '/api/%00',
    '/a%0d%0aX:y',
    '/a%0a',
    '/a%0D',
    '/a%09b',
    '/a%08',
    '/a%1b[31m',
    '/a%7f',
    '/a%250a',
    '/a%c2%85',
    '/a%C2%9B31m',
    '/health%00',
    '/health%0a',
    '/health%09',
  ]),
  ...refusedBecause('bytes that a target cannot hold', [
    '/a b',
    '/a\tb',
    '/a\nb',
    '/a\rb',
    '/a\0b',
    '/a\x7fb',
    '/a\x85b',
    '/\xc3\xa9',
    '/\xff',
    '/\xc0\xae\xc0\xae/',
    '/\xef\xbc\x8e\xef\xbc\x8e/',
    '/?a b',
    '/?a\nb',
    '/?a\0',
    '/?\xc3\xa9',
    '/?\x7f',
    '/\u{12f}\u{12e}',
    '/ HTTP/1.1',
    '/api\t',
    '/health ',
  ]),
  ...refusedBecause('a fragment', [
    '/#',
    '/a#b',
    '/terminal#/health',
    '/health#',
    '/?a#b',
    '/?#',
    '/api/x#/../y',
    '/#?a',
    '/a#%2e',
  ]),
  ...refusedBecause('a leading double slash', [
    '//',
    '///',
    '//evil.example',
    '//evil.example/terminal',
    '//terminal/ws',
    '//health',
    '//api/x',
    '/%2f',
    '/%2F',
    '/%2fevil.example',
    '/%2f/evil.example',
    '/%252f',
    '/%252fevil.example',
    '/%25252fevil.example',
    '/%2525252fevil.example',
    '//?x',
  ]),
  ...refusedBecause('a double slash where the prefix was', [
    '/api//',
    '/api//x',
    '/api//evil.example/x',
    '/api///x',
    '/api/%2f',
    '/api/%2fevil.example',
    '/api/%2Fevil.example',
    '/api/%252fevil.example',
    '/api//?x',
  ]),
  ...refusedBecause('no origin form', [
    '',
    '*',
    '?',
    '?a',
    'a',
    'terminal',
    'api/x',
    '.',
    '..',
    './a',
    '../a',
    'http://houston.hubify.com/',
    'http://houston.hubify.com',
    'HTTP://houston.hubify.com/terminal',
    'https://houston.hubify.com/health',
    'http://evil.example/health',
    'http:///health',
    'http:/health',
    'ws://houston.hubify.com/terminal/ws',
    'file:///etc/passwd',
    'houston.hubify.com:80',
    'houston.hubify.com:443',
    '[::1]:80',
    '%2f',
    '%2fhealth',
    '\\',
    ' /',
    '\t/',
    'javascript:alert(1)',
  ]),
  ...refusedBecause('broken percent-encoding', [
    '/%',
    '/a%',
    '/%2',
    '/%2/',
    '/a%2',
    '/%zz',
    '/%g0',
    '/%0g',
    '/% 20',
    '/%%',
    '/%%20',
    '/%u002e',
    '/%u002e%u002e/a',
    '/%-1',
    '/%0x2e',
    '/%2%65',
    '/%2%35',
    '/terminal%',
    '/health%',
    '/api/%',
    '/api/a%2',
    '/chat/%e',
  ]),
  ...refusedBecause('no UTF-8', [
    '/%ff',
    '/%fe',
    '/%80',
    '/%bf',
    '/%c0%ae',
    '/%c0%ae%c0%ae/a',
    '/a/%c0%ae%c0%ae/b',
    '/%c0%af',
    '/a%c0%afb',
    '/%c1%9c',
    '/%c0%80',
    '/%e0%80%ae',
    '/%e0%80%af',
    '/%f0%80%80%ae',
    '/%f8%80%80%80%ae',
    '/%fc%80%80%80%80%ae',
    '/%c3',
    '/%c3/',
    '/%c3%',
    '/%e2%82',
    '/%ed%a0%80',
    '/%ed%bf%bf',
    '/%f4%90%80%80',
    '/%a0',
    '/api/%ff',
    '/terminal/%80',
  ]),
  ...refusedBecause('another route when decoded', [
    '/%74erminal',
    '/t%65rminal/ws',
    '/termina%6c',
    '/termina%6C/ws',
    '/%74%65%72%6d%69%6e%61%6c',
    '/%2574erminal',
    '/%252574erminal',
    '/%25252574erminal',
    '/%2525252574erminal',
    '/terminal%2fws',
    '/terminal%2Fws',
    '/terminal%2f',
    '/terminal%252fws',
    '/terminal%25252fws',
    '/terminal%2525252fws',
    '/terminal%252525252fws',
    '/terminal%25%32%66ws',
    '/terminal%25%32%35%32%66ws',
    '/%61pi',
    '/%61pi/x',
    '/ap%69/x',
    '/api%2f',
    '/api%2fx',
    '/api%2F%2Fx',
    '/api%252fx',
    '/api%2fv1/models',
    '/%63hat',
    '/chat%2fx',
    '/%68ealth',
    '/healt%68',
    '/healt%2568',
    '/%5fgateway/sign-in',
    '/_gateway%2fsign-in',
    '/%5Fgateway%2Fsign-in',
    '/_gatewa%79',
  ]),
]

t.test('each target is accepted on its route, or refused', async (t) => {
  const rows = [...ROUTES, ...REFUSED]
  const targets = new Set(rows.map(([raw]) => raw))
  t.ok(targets.size >= 300, `${targets.size} targets`)
  const wrong = rows.filter(([raw, expected]) => judge(raw) !== expected)
  t.same(wrong, [])
})

t.test('an accepted target is forwarded byte for byte, without a stripped /api', async (t) => {
  const rows: ReadonlyArray<readonly [raw: string, forwarded: string, why: string]> = [
    ['/api', '/', 'the prefix alone is the root'],
    ['/api?a=1', '/?a=1', 'the root with a query'],
    ['/api/', '/', 'the root'],
    ['/api/v1/models', '/v1/models', 'below'],
    ['/api/api/x', '/api/x', 'stripped once'],
    ['/api/a%2Fb?c=%2f', '/a%2Fb?c=%2f', 'escapes keep their spelling'],
    ['/terminal/w%73?x', '/terminal/w%73?x', 'other prefixes stay'],
    ['/chat/x', '/chat/x', 'other prefixes stay'],
    ['/a//b/?', '/a//b/?', 'nothing is tidied'],
    ['/health?', '/health?', 'an empty query stays'],
  ]
  for (const [raw, forwarded, why] of rows) t.equal(accepted(raw).forwarded, forwarded, why)
  const untouched = ROUTES.filter(([, route]) => route !== 'api').map(([raw]) => raw)
  t.same(
    untouched,
    untouched.map((raw) => accepted(raw).forwarded),
  )
})

t.test('/api is kept if configured', async (t) => {
  t.match(accepted('/api/v1/models?x', KEEP), { route: 'api', forwarded: '/api/v1/models?x' })
  t.match(accepted('/api', KEEP), { forwarded: '/api' })
  t.match(accepted('/api//x', KEEP), { forwarded: '/api//x' }, 'no host when nothing is stripped')
})

t.test('without a control UI, its path belongs to the dashboard', async (t) => {
  t.equal(judge('/chat/x', KEEP), 'dashboard')
  t.equal(judge('/chat%2fx', KEEP), 'dashboard', 'it is no route, so nothing changes')
})

t.test('the path is decoded once for decisions and the log', async (t) => {
  t.match(accepted('/a%20b/%C3%A9%2525?%20'), {
    path: '/a%20b/%C3%A9%2525',
    decodedPath: '/a b/é%25',
    query: '?%20',
  })
  t.match(accepted('/plain?'), { path: '/plain', decodedPath: '/plain', query: '?' })
})

/** Texts that parsers often misread. */
const hostileTarget = fc
  .array(
    fc.oneof(
      { weight: 3, arbitrary: fc.constantFrom('/', '//', '%2f', '%252f', '%', '%25', '%2', '25') },
      {
        weight: 3,
        arbitrary: fc.constantFrom('.', '..', '%2e', '%2E', '%252e', ';', '%3b', '%20'),
      },
      { weight: 3, arbitrary: fc.constantFrom('terminal', 'api', 'health', 'chat', '_gateway') },
      { weight: 1, arbitrary: fc.constantFrom('t%65rminal', '%61pi', 'ap%2569', 'ws', '%5c') },
      { weight: 1, arbitrary: fc.constantFrom('?', '#', '\\', '%00', '%c0%ae', '%C3%A9', 'é') },
      { weight: 1, arbitrary: fc.constantFrom('5', '35', '%35', '2e', '2f', '6c', 'F', '%ff') },
    ),
    { maxLength: 12 },
  )
  .map((parts) => `/${parts.join('')}`)

const latin1 = fc
  .uint8Array({ maxLength: 40 })
  .map((bytes) => `/${Buffer.from(bytes).toString('latin1')}`)

const anyTarget = fc.oneof(hostileTarget, latin1)

const RUNS = { seed: 20_260_101, numRuns: 10_000 }

/** Decodes valid escapes and leaves the rest, as lenient services do. This is not the code under test. */
function decodeLeniently(text: string): string {
  return text.replace(/%([0-9a-f]{2})/gi, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  )
}

t.test('no target makes the parser throw', async () => {
  fc.assert(
    fc.property(anyTarget, (raw) => {
      parseTarget(raw, SITE)
      parseTarget(raw.slice(1), KEEP)
    }),
    RUNS,
  )
})

t.test('an accepted target is not changed', async (t) => {
  let taken = 0
  fc.assert(
    fc.property(anyTarget, (raw) => {
      const target = parseTarget(raw, SITE)
      if ('reason' in target) return true
      taken++
      const whole = target.path + target.query
      const sent = target.route === 'api' ? whole.replace(/^\/api(?=\/)|^\/api(?=$|\?)/, '') : whole
      return whole === raw && target.forwarded === (sent.startsWith('/') ? sent : `/${sent}`)
    }),
    RUNS,
  )
  t.ok(taken > 200, `${taken} were taken`)
})

t.test('however often a service decodes a path, the route stays the same', async (t) => {
  let decoded = 0
  fc.assert(
    fc.property(hostileTarget, (raw) => {
      const target = parseTarget(raw, SITE)
      if ('reason' in target) return true
      for (let form = target.path, next; ; form = next) {
        if (routeOf(form, SITE) !== target.route) return false
        if (/(?:^|\/)\.{1,2}(?:;[^/]*)?(?:\/|$)|\\|^\/\//.test(form)) return false
        if (Buffer.from(form).some((byte) => byte < 0x20 || byte === 0x7f)) return false
        next = decodeLeniently(form)
        if (next === form) return true
        decoded++
      }
    }),
    RUNS,
  )
  t.ok(decoded > 200, `${decoded} forms were decoded`)
})

t.test('a URL parser finds the checked path, and this workspace’s host', async () => {
  fc.assert(
    fc.property(anyTarget, (raw) => {
      const target = parseTarget(raw, SITE)
      if ('reason' in target) return true
      const { origin, pathname } = new URL(target.forwarded, 'http://service.internal')
      return (
        origin === 'http://service.internal' &&
        routeOf(new URL(raw, 'http://service.internal').pathname, SITE) === target.route &&
        pathname.split('/').length === target.forwarded.split('?')[0]?.split('/').length
      )
    }),
    RUNS,
  )
})

t.test('16 KiB of a hostile target are parsed in linear time', async (t) => {
  const size = 16 * 1024
  const rows: ReadonlyArray<readonly [unit: string, before: string, after: string]> = [
    ['.', '/', ''],
    ['../src/', '/', ''],
    ['../', '/', ''],
    ['/', '/a', ''],
    ['a/', '/', ''],
    ['%2e', '/', ''],
    ['%2f', '/a', ''],
    ['25', '/%', ''],
    ['25', '/%', '2e'],
    ['25', '/a%', '5c'],
    ['%25', '/', ''],
    ['%2525', '/', '2f'],
    ['%253', '/%252', '%2535'],
    ['%25%32%35', '/', ''],
    ['%2', '/', ''],
    ['%', '/', ''],
    [';', '/..', ''],
    [';', '/', '/..'],
    ['..;', '/', ''],
    ['%20', '/', ''],
    ['%20', '/..', 'a'],
    ['%20.', '/', ''],
    ['\\', '/', ''],
    ['%C3%A9', '/', ''],
    ['%E2%80%83', '/', 'a'],
    ['?', '/', ''],
    ['#', '/', ''],
    ['/terminal', '', ''],
    ['/api/', '', ''],
    ['a', '/', '\n'],
  ]
  for (const [unit, before, after] of rows) {
    const raw = before + unit.repeat(Math.floor(size / unit.length)) + after
    const elapsed = cpuMs(() => parseTarget(raw, SITE))
    t.ok(elapsed < LINEAR_MS, `${before}${unit}…${after} took ${elapsed.toFixed(1)} ms`)
  }
})
