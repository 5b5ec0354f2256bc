/** Can `return_to` ever lead to another origin? */
import * as fc from 'fast-check'
import t from 'tap'
import { returnPath } from '../../src/rules/return-to.ts'
import { anyText } from '../helpers/any-text.ts'
import { cpuMs, LINEAR_MS } from '../helpers/cpu-time.ts'

const ORIGIN = 'https://houston.hubify.com'

const HOST_STARTS = [
  '//',
  '///',
  '////',
  '/\\',
  '\\/',
  '\\\\',
  '\\',
  '/\\/',
  '/\\\\',
  '\\/\\/',
  '/\t/',
  '/\n/',
  '/\r/',
  '/\r\n/',
  '\t//',
  '\n//',
  ' //',
  '\0//',
  '\x01//',
  '\x1f//',
  '/\t\\',
  '\\\t/',
  '/.//',
  '/./\\',
  '/..//',
  '/../\\',
  '/../..//',
  '/a/..//',
  '/a/b/../..//',
  '/a/..\\/',
  '/%2e//',
  '/%2e%2e//',
  '/%2E%2E\\/',
  '/.%2e//',
  '/a/%2e%2e//',
  '../src/',
  '../',
  '../',
  '/;//',
  '/?//',
  '/#//',
  '?//',
  '#//',
  'https://',
  'http://',
  'HTTPS://',
  'hTtPs://',
  'https:',
  'https:/',
  'https:///',
  'https:////',
  'https:\\\\',
  'https:\\',
  'https:/\\',
  'https:\\/',
  'https:\t//',
  'ht\ttps://',
  'h\nttps://',
  ' https://',
  '\x00https://',
  'http:',
  'http:/',
  'http:\\\\',
  'ws://',
  'wss://',
  'ftp://',
  'file://',
  'file:///',
  'gopher://',
  'blob:https://',
  'blob:null/',
  'filesystem:https://',
  'view-source:https://',
  'jar:https://',
  'data:text/html,//',
  'javascript://',
  'javascript:alert(1)//',
  'JavaScript:alert(1)//',
  'java\tscript:alert(1)//',
  ' javascript:alert(1)//',
  '\x01javascript:alert(1)//',
  'vbscript:',
  'mailto:a@',
  'tel:',
  'about:',
  'intent://',
  'x:',
  'x://',
  '@',
  '//@',
  '//user@',
  '//user:password@',
  'https://houston.hubify.com@',
  'https://houston.hubify.com:443@',
  'https://houston.hubify.com%40',
  'https://houston.hubify.com%2f@',
  'https://houston.hubify.com%5c@',
  'https://houston.hubify.com\\@',
  'https://houston.hubify.com#@',
  'https://houston.hubify.com?@',
  'https://houston.hubify.com;@',
  'https://houston.hubify.com&@',
  'https://houston.hubify.com.',
  'https://houston.hubify.com',
  'https://houston.hubify.com-',
  'https://houston.hubify.com:443.',
  'https://houston.hubify.com:444/',
  'https://houston.hubify.com:80/',
  'https://houston.hubify.com./',
  'https://xhouston.hubify.com/',
  'https://x.houston.hubify.com/',
  'https://research.hubify.com/',
  'https://hubify.com/',
  'http://houston.hubify.com/',
  'http://houston.hubify.com:443/',
  'wss://houston.hubify.com/',
  'https:/houston.hubify.com@',
  '//houston.hubify.com@',
  '//houston.hubify.com.',
  '//houston.hubify.com:80\\@',
  '//\u2000',
  '/\u2000/',
  '\u00a0//',
  '\ufeff//',
  '/\u200b/',
  '／／',
  '/／',
  '／',
  '\u2215\u2215',
  '/\u2215',
  '\u2044\u2044',
  '\u29f8\u29f8',
  '\uff3c\uff3c',
  '/\uff3c',
  '\ufe68',
  '//。',
  '//evil。example/',
  '//evil．example/',
  '//evil｡example/',
  'https:／／',
  'https：//',
  '%2f%2f',
  '/%2f',
  '/%2f%2f',
  '%5c%5c',
  '/%5c',
  '/%5c%5c',
  '/%09/',
  '/%0a/',
  '/%0d%0a/',
  '/%00/',
  '/%20/',
  '%252f%252f',
  '/%252f',
  '%68ttps://',
  'https%3a//',
  'https%3A%2F%2F',
  'http%3A%2F%2F',
  'javascript%3aalert(1)//',
  '\r\nLocation: https://',
  '/\r\nLocation: https://',
  '/a\r\n\r\n<script>//',
  '/%0d%0aLocation:%20https://',
  '/\u560d\u560aLocation: https://',
  '/\u010d\u010aLocation:',
  '//[::1]/',
  '//127.0.0.1/',
  '//2130706433/',
  '//0x7f.1/',
  '//localhost/',
  'https://[::ffff:1.2.3.4]/',
  '//evil.example:443/',
  '//evil.example\\',
  '//evil.example%00.houston.hubify.com/',
  '//evil.example#.houston.hubify.com/',
  '//evil.example?.houston.hubify.com/',
  '//evil.example/houston.hubify.com/',
  '<>//',
  '"//',
  "'//",
  '`//',
  '|//',
  '^//',
  '[//',
  '{//',
  '*//',
  '&//',
  '+//',
  '~//',
  '$//',
  '!//',
  '(//',
  ',//',
  ';//',
  '=//',
  ':',
  '://',
  ':/',
  ':80//',
  '..',
  '/..',
  '/../',
  '//..',
  '//../',
  '/...//',
  '\u202e//',
  '/\u202e/',
  '\ud800//',
  '/\udfff/',
  '\u{1f600}//',
  '//%',
  '//[',
  'https://[',
  'https://%',
  'https://:80',
  'https://',
  'https:///@',
  '/https://',
  '/javascript:',
  '/@',
  '/.',
  '/\u0000/',
  '/ /',
  '/ //',
]

const PAYLOADS = [
  ...HOST_STARTS.flatMap((start) => [`${start}evil.example`, `${start}evil.example/a?b#c`, start]),
  'evil.example',
  'www.evil.example',
  'evil.example//',
  '',
]

/** The address to which a browser would go from a page on this origin. */
const destinations = (path: string) =>
  ['/', '/_gateway/sign-in', '/a/b/c?return_to=x'].map((page) => new URL(path, ORIGIN + page))

t.test('no return_to leads to another origin', async (t) => {
  const payloads = new Set(PAYLOADS)
  t.ok(payloads.size >= 200, `${payloads.size} payloads`)
  const astray = [...payloads].filter((payload) => {
    const path = returnPath(payload, ORIGIN)
    return (
      !/^\/(?![/\\])[!-~]*$/.test(path) ||
      destinations(path).some(({ origin }) => origin !== ORIGIN) ||
      destinations(path.replaceAll('\\', '/')).some(({ origin }) => origin !== ORIGIN)
    )
  })
  t.same(astray, [])
})

t.test('a return_to that names another origin leads to the start page', async (t) => {
  const payloads = [
    '//evil.example',
    '/\\evil.example',
    '/\t/evil.example',
    '/.//evil.example',
    '/a/..//evil.example',
    '/%2e%2e//evil.example',
    'https://evil.example/',
    'https://houston.hubify.com@evil.example/',
    'https://houston.hubify.com.evil.example/',
    'https://research.hubify.com/',
    'http://houston.hubify.com/',
    'https://houston.hubify.com:8443/',
    'wss://houston.hubify.com/',
    'blob:https://houston.hubify.com/0',
    'javascript:alert(1)',
    'data:text/html,x',
    'mailto:a@evil.example',
    '',
  ]
  for (const payload of payloads) t.equal(returnPath(payload, ORIGIN), '/', JSON.stringify(payload))
  t.equal(returnPath(undefined, ORIGIN), '/', 'nothing was asked for')
})

t.test('paths on this origin are kept, with query and fragment', async (t) => {
  const rows: ReadonlyArray<readonly [asked: string, expected: string, why: string]> = [
    ['/', '/', 'the start page'],
    ['/logs', '/logs', 'a page'],
    ['/logs/', '/logs/', 'a trailing slash'],
    ['/logs?a=1&b=%2F%2F#c', '/logs?a=1&b=%2F%2F#c', 'query and fragment'],
    ['/?next=//evil.example', '/?next=//evil.example', 'slashes in a query are text'],
    ['/#//evil.example', '/#//evil.example', 'slashes in a fragment are text'],
    ['/a//b', '/a//b', 'an empty segment further down'],
    ['/a/%2e%2e%2fb', '/a/%2e%2e%2fb', 'a segment that only looks like dots'],
    ['/a/./b/../c', '/a/c', 'dot segments as a browser resolves them'],
    ['/a b', '/a%20b', 'a space'],
    ['/ä?ö#ü', '/%C3%A4?%C3%B6#%C3%BC', 'letters'],
    ['/a;b=1,c/@d:e', '/a;b=1,c/@d:e', 'everything a segment may hold'],
    ['/terminal', '/terminal', 'another service'],
    ['/%2F%2Fevil.example', '/%2F%2Fevil.example', 'encoded slashes stay encoded'],
    ['logs', '/logs', 'a relative path'],
    ['?a', '/?a', 'a query'],
    ['https://houston.hubify.com', '/', 'this origin'],
    ['https://houston.hubify.com/a?b#c', '/a?b#c', 'this origin, a page'],
    ['HTTPS://HOUSTON.HUBIFY.COM:443/a', '/a', 'this origin, in another spelling'],
    ['https://user@houston.hubify.com/a', '/a', 'userinfo is dropped'],
    ['//houston.hubify.com/a', '/a', 'this host'],
    ['  /a  ', '/a', 'white space around'],
    ['/_gatewayx', '/_gatewayx', 'a page of the dashboard'],
    ['/_gateway/', '/_gateway/', 'the owner’s page'],
    [
      'https://houston.hubify.com/_gateway/',
      '/_gateway/',
      'the owner’s page, as the login page says it',
    ],
  ]
  for (const [asked, expected, why] of rows) t.equal(returnPath(asked, ORIGIN), expected, why)
})

t.test('no return_to leads back to the sign-in page', async (t) => {
  for (const asked of [
    '/_gateway',
    '/_gateway/sign-in',
    '/_gateway/?done=end-session',
    '/_gateway/#sessions',
    '/_gateway//',
    '/_gateway/./sign-in',
    '/_gateway/sign-in?return_to=/_gateway/sign-in',
    '/a/../_gateway/sign-out',
    '/%2e/_gateway/sign-in',
    'https://houston.hubify.com/_gateway/sign-in?token=x',
  ])
    t.equal(returnPath(asked, ORIGIN), '/', asked)
})

t.test('another port or scheme is another origin', async (t) => {
  t.equal(returnPath('http://localhost:3000/a', 'http://localhost:3000'), '/a')
  t.equal(returnPath('http://localhost:3001/a', 'http://localhost:3000'), '/')
  t.equal(returnPath('http://localhost/a', 'http://localhost:3000'), '/')
  t.equal(returnPath('https://localhost:3000/a', 'http://localhost:3000'), '/')
  t.equal(returnPath('http://[::1]:80/a', 'http://[::1]'), '/a')
})

t.test('without an origin of the request, every return_to leads to the start page', async (t) => {
  for (const asked of ['/a', 'https://evil.example/', '//evil.example', 'null'])
    t.equal(returnPath(asked, 'null'), '/', asked)
})

const RUNS = { seed: 20_260_106, numRuns: 5000 }

t.test(
  'for any text, the result is on this origin, and a second pass does not change it',
  async () => {
    const hostile = fc
      .array(
        fc.constantFrom(
          ...['/', '\\', '.', '..', ':', '@', '?', '#', '\t', '\n', ' ', '%2f', '%2e', '%5c', '／'],
          ...[
            'https:',
            'javascript:',
            'evil.example',
            'houston.hubify.com',
            'a',
            '\0',
            '\u2028',
            '[',
            ']',
          ],
        ),
        { maxLength: 8 },
      )
      .map((parts) => parts.join(''))
    fc.assert(
      fc.property(fc.oneof(hostile, anyText(12)), (asked) => {
        const path = returnPath(asked, ORIGIN)
        return (
          /^\/(?![/\\])[!-~]*$/.test(path) &&
          destinations(path).every(({ href }) => href === ORIGIN + path) &&
          returnPath(path, ORIGIN) === path
        )
      }),
      RUNS,
    )
  },
)

t.test('16 KiB of a hostile return_to are parsed in linear time', async (t) => {
  for (const unit of [
    '/',
    '../',
    '\\',
    '%2e%2e/',
    '@',
    '?',
    '#',
    '\t',
    'a:',
    ' ',
    '／',
    '.',
    'a/',
  ]) {
    const cost = cpuMs(() => {
      returnPath(`/a/${unit.repeat(Math.floor((16 * 1024) / unit.length))}`, ORIGIN)
      returnPath(unit.repeat(Math.floor((16 * 1024) / unit.length)), ORIGIN)
    })
    t.ok(cost < LINEAR_MS, JSON.stringify(unit))
  }
})
