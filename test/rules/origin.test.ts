/** Which pages may act with a credential that the browser attaches by itself? */
import t from 'tap'
import { isOfOwnPage, isSafeMethod, isSameOrigin, judgeOrigin } from '../../src/rules/origin.ts'
import type { OriginKind, ProvenanceFields } from '../../src/rules/origin.ts'

const RULES = {
  own: 'https://houston.hubify.com',
  allowed: ['https://app.example.com', 'http://localhost:5173'],
}

type Row = readonly [origins: readonly string[], expected: OriginKind, why: string]

const ROWS: readonly Row[] = [
  [[], 'absent', 'no Origin'],
  [['https://houston.hubify.com'], 'own', 'our own'],
  [['https://app.example.com'], 'allowed', 'an allowed one'],
  [['http://localhost:5173'], 'allowed', 'an allowed one with a port'],
  [['null'], 'foreign', 'a sandboxed frame, a file, a redirect'],
  [['NULL'], 'foreign', 'null in another case'],
  [[''], 'foreign', 'an empty value'],
  [[' '], 'foreign', 'a blank value'],
  [['*'], 'foreign', 'a star is no origin'],
  [['undefined'], 'foreign', 'a client’s mistake'],
  [['https://research.hubify.com'], 'foreign', 'a sibling workspace'],
  [['https://hubify.com'], 'foreign', 'the parent domain'],
  [['https://x.houston.hubify.com'], 'foreign', 'a subdomain'],
  [['https://xhouston.hubify.com'], 'foreign', 'a longer name'],
  [['https://houston.hubify.com.evil.example'], 'foreign', 'our name as a prefix'],
  [['https://houston.hubify.comevil'], 'foreign', 'our name as a prefix without a dot'],
  [['https://evil.example/https://houston.hubify.com'], 'foreign', 'our name in a path'],
  [['https://evil.example?https://houston.hubify.com'], 'foreign', 'our name in a query'],
  [['https://houston.hubify.com@evil.example'], 'foreign', 'our name as a user'],
  [['https://user@houston.hubify.com'], 'foreign', 'userinfo'],
  [['https://houston-hubify.com'], 'foreign', 'another character for the dot'],
  [['https://houstonxhubify.com'], 'foreign', 'any character for the dot'],
  [['http://houston.hubify.com'], 'foreign', 'another scheme'],
  [['wss://houston.hubify.com'], 'foreign', 'the scheme of a WebSocket'],
  [['HTTPS://houston.hubify.com'], 'foreign', 'browsers write schemes in lower case'],
  [['https://HOUSTON.hubify.com'], 'foreign', 'browsers write hosts in lower case'],
  [['https://houston.hubify.com:443'], 'foreign', 'browsers leave the default port out'],
  [['https://houston.hubify.com:8443'], 'foreign', 'another port'],
  [['https://houston.hubify.com:'], 'foreign', 'an empty port'],
  [['https://houston.hubify.com.'], 'foreign', 'a trailing dot is another origin'],
  [['https://houston.hubify.com/'], 'foreign', 'an origin has no path'],
  [['https://houston.hubify.com#'], 'foreign', 'an origin has no fragment'],
  [['https:houston.hubify.com'], 'foreign', 'no slashes'],
  [['//houston.hubify.com'], 'foreign', 'no scheme'],
  [['houston.hubify.com'], 'foreign', 'a host is no origin'],
  [[' https://houston.hubify.com'], 'foreign', 'a space before'],
  [['https://houston.hubify.com\xa0'], 'foreign', 'a no-break space after'],
  [['https://houston.hubify.com\0'], 'foreign', 'NUL after'],
  [['https://ｈouston.hubify.com'], 'foreign', 'a full-width letter'],
  [['https://houston.hubify.com https://evil.example'], 'foreign', 'a list'],
  [['https://houston.hubify.com, https://houston.hubify.com'], 'foreign', 'a joined list'],
  [['https://houston.hubify.com', 'https://houston.hubify.com'], 'foreign', 'the same twice'],
  [['https://houston.hubify.com', 'https://evil.example'], 'foreign', 'ours first of two'],
  [['https://evil.example', 'https://houston.hubify.com'], 'foreign', 'ours last of two'],
  [['', 'https://houston.hubify.com'], 'foreign', 'an empty one and ours'],
  [['https://app.example.com:443'], 'foreign', 'an allowed one with its default port'],
  [['http://app.example.com'], 'foreign', 'an allowed one with another scheme'],
  [['https://x.app.example.com'], 'foreign', 'below an allowed one'],
  [['http://localhost:5174'], 'foreign', 'an allowed host on another port'],
  [['http://localhost'], 'foreign', 'an allowed host without its port'],
  [['chrome-extension://abcdefgh'], 'foreign', 'an extension'],
  [['file://'], 'foreign', 'a file'],
]

t.test('an origin is own, allowed, absent or foreign, and is compared as a whole', async (t) => {
  for (const [origins, expected, why] of ROWS)
    t.equal(judgeOrigin({ origins, fetchSite: undefined }, RULES), expected, why)
})

t.test(
  'null is foreign even if the workspace has no origin or the operator allowed null',
  async (t) => {
    const rules = { own: 'null', allowed: ['null', ''] }
    for (const fetchSite of [undefined, '', 'none', 'same-site', 'cross-site', 'Same-Origin']) {
      t.equal(judgeOrigin({ origins: ['null'], fetchSite }, rules), 'foreign', String(fetchSite))
      t.notOk(isSameOrigin({ origins: ['null'], fetchSite }, rules))
    }
  },
)

t.test('null is own if Sec-Fetch-Site is same-origin (contract, section 3)', async (t) => {
  const ours = { origins: ['null'], fetchSite: 'same-origin' }
  t.equal(judgeOrigin(ours, RULES), 'own')
  t.ok(isSameOrigin(ours, RULES), 'a page under Referrer-Policy: no-referrer')
  t.notOk(isSameOrigin({ ...ours, origins: ['null', 'null'] }, RULES))
  t.notOk(isSameOrigin({ ...ours, origins: ['NULL'] }, RULES))
})

t.test('a present Origin decides, whatever Sec-Fetch-Site is', async (t) => {
  for (const [origins, kind, why] of ROWS.filter(([list]) => list.length > 0))
    for (const fetchSite of [undefined, 'same-origin', 'same-site', 'cross-site', 'none'])
      t.equal(
        isSameOrigin({ origins, fetchSite }, RULES),
        kind === 'own' ||
          kind === 'allowed' ||
          (origins[0] === 'null' && fetchSite === 'same-origin'),
        `${why}, ${fetchSite}`,
      )
})

t.test('without Origin, only Sec-Fetch-Site: same-origin is accepted', async (t) => {
  t.ok(isSameOrigin({ origins: [], fetchSite: 'same-origin' }, RULES))
  for (const fetchSite of [
    undefined,
    '',
    'none',
    'same-site',
    'cross-site',
    'Same-Origin',
    ' same-origin',
    'same-origin ',
    'same-origin, same-origin',
    'same-origin, cross-site',
    'same-origin;x',
    'true',
  ])
    t.notOk(isSameOrigin({ origins: [], fetchSite }, RULES), String(fetchSite))
})

const CLICK = {
  'sec-fetch-mode': 'navigate',
  'sec-fetch-dest': 'document',
  'sec-fetch-user': '?1',
}

t.test(
  'requests of the workspace’s pages and of the user are distinguished from other pages’',
  async (t) => {
    const rows: Array<[fields: ProvenanceFields, reading: boolean, acting: boolean, why: string]> =
      [
        [{}, true, false, 'an old browser'],
        [{ 'sec-fetch-site': 'none' }, true, false, 'the address bar'],
        [{ 'sec-fetch-site': 'same-origin' }, true, true, 'a page of ours'],
        [{ 'sec-fetch-site': 'same-site' }, false, false, 'a sibling workspace'],
        [{ 'sec-fetch-site': 'cross-site' }, false, false, 'anybody'],
        [{ 'sec-fetch-site': 'Same-Origin' }, false, false, 'no browser'],
        [{ 'sec-fetch-site': '' }, false, false, 'no browser'],
        [{ origin: RULES.own }, true, true, 'our own origin'],
        [{ origin: RULES.own, 'sec-fetch-site': 'cross-site' }, true, true, 'Origin decides'],
        [{ origin: 'https://app.example.com' }, true, true, 'an allowed one'],
        [{ origin: `${RULES.own}, ${RULES.own}` }, false, false, 'two lines'],
        [{ origin: '', 'sec-fetch-site': 'same-origin' }, false, false, 'an empty one'],
        [
          { origin: 'https://evil.example', 'sec-fetch-site': 'none' },
          false,
          false,
          'a foreign one',
        ],
        [{ 'sec-fetch-site': 'cross-site', ...CLICK }, true, false, 'a link in a mail'],
        [{ 'sec-fetch-site': 'same-site', ...CLICK }, true, false, 'a link of the portal'],
        [{ origin: 'https://evil.example', ...CLICK }, false, false, 'a form of somebody’s'],
        [
          { 'sec-fetch-site': 'cross-site', ...CLICK, 'sec-fetch-user': '?0' },
          false,
          false,
          'a script that moves its window',
        ],
        [
          { 'sec-fetch-site': 'cross-site', ...CLICK, 'sec-fetch-dest': 'iframe' },
          false,
          false,
          'a frame',
        ],
        [
          { 'sec-fetch-site': 'cross-site', ...CLICK, 'sec-fetch-mode': 'cors' },
          false,
          false,
          'fetch',
        ],
      ]
    for (const [fields, reading, acting, why] of rows) {
      for (const method of ['GET', 'HEAD', 'OPTIONS'])
        t.equal(isOfOwnPage(fields, RULES, method), reading, `${method}: ${why}`)
      for (const method of ['POST', 'PUT', 'DELETE', 'UPGRADE'])
        t.equal(isOfOwnPage(fields, RULES, method), acting, `${method}: ${why}`)
    }
  },
)

t.test('only GET, HEAD and OPTIONS are safe methods', async (t) => {
  for (const method of ['GET', 'HEAD', 'OPTIONS']) t.ok(isSafeMethod(method), method)
  for (const method of ['POST', 'PUT', 'PATCH', 'DELETE', 'TRACE', 'CONNECT', 'get', 'GET ', ''])
    t.notOk(isSafeMethod(method), method)
})
