/** Can a stranger make any reading of a request expensive? Every function that sees what strangers send, and the worst texts. */
import t from 'tap'
import { isCookieBomb } from '../src/rules/client-error.ts'
import { offeredProtocols } from '../src/sockets/dial.ts'
import { clientFrom, parseAddress, parseNetworks } from '../src/http/address.ts'
import { BasicMemory } from '../src/terminals/safari-password.ts'
import { cookieValues, sanitizeSetCookie, withoutOwnCookies } from '../src/http/cookies.ts'
import { bearerToken, findCredential } from '../src/identity/credentials.ts'
import { logFields } from '../src/observe/log-line.ts'
import { rejectionOf } from '../src/observe/record.ts'
import { Exchange } from '../src/request/exchange.ts'
import { fieldLines, isFieldName, isFieldValue, listElements, trimOws } from '../src/http/fields.ts'
import { removeNominated } from '../src/http/hop-by-hop.ts'
import { parseAuthority } from '../src/rules/host.ts'
import { isolationFields } from '../src/http/browser.ts'
import { namesForeignGateway } from '../src/rules/isolation.ts'
import { buildLocationRewriter } from '../src/http/location.ts'
import { loggedPath } from '../src/observe/logged-path.ts'
import { isSameOrigin } from '../src/rules/origin.ts'
import { escapeHtml } from '../src/answers/html.ts'
import { signInPage } from '../src/answers/pages/sign-in-pages.ts'
import { Remembered } from '../src/limits/memo.ts'
import { isNavigation } from '../src/request/request-facts.ts'
import { buildRequestHeaders, hasBody } from '../src/http/to-service.ts'
import { buildResponseHeaders, buildSwitchingHeaders } from '../src/http/to-client.ts'
import { returnPath } from '../src/rules/return-to.ts'
import { namesSensitiveFile, parseFilePattern } from '../src/rules/sensitive.ts'
import { parseScopes, permits } from '../src/rules/scopes.ts'
import { parseTarget } from '../src/rules/target.ts'
import { isTokenShaped } from '../src/identity/token.ts'
import { ApiTokens } from '../src/identity/api-tokens.ts'
import { KeyRing } from '../src/identity/key-ring.ts'
import { Sessions } from '../src/identity/sessions.ts'
import { TokenVerifier } from '../src/identity/verifier.ts'
import { State } from '../src/store/state.ts'
import { traceIdOf } from '../src/http/trace-context.ts'
import { FORWARDED } from './helpers/forwarded.ts'
import { PAGES } from './helpers/pages.ts'
import { SECRET } from './helpers/gateway.ts'
import { browserSession, principalOf } from './helpers/principal.ts'
import { growthProblem, type Reading } from './helpers/growth.ts'

const SESSION = '__Host-workspace_session'

/** What hostile texts consist of, repeated to 16 KiB. */
const UNITS = [
  // Beginnings of tokens, which a search may begin anew at each.
  ...[
    'eyJ',
    'eyJabcd.',
    'eyJabcd.x',
    'eyJa-_',
    'hub_',
    'hub_A1b2C3d4',
    'hub_A1b2C3d4A1b2C3d4A1b2C3d4A1b2C3d4',
    'a.',
    '.',
    '-',
    '_',
  ],
  // Separators of paths, queries, lists, cookies and fields, alone and with something between them.
  ...['/', '//', '/a', '/.', '/..', '../', '\\', '\\/', '&', 'a&', '=', 'a=', 'a=&', '?', '??'],
  ...[
    ',',
    ', ',
    'a,',
    ', \t',
    ';',
    '; ',
    'a;',
    'a=1;',
    ':',
    '::',
    '1:',
    'a:',
    '|',
    ' ',
    '\t',
    ' a',
  ],
  // Quotes and brackets.
  ...[
    '"',
    '""',
    '"a"',
    '"a":',
    '{"a":',
    '["',
    '[',
    ']',
    '[]',
    '{',
    '}',
    "'",
    '`',
    '<',
    '>',
    '(',
    '\\"',
  ],
  // Escapes, whole and broken, of one layer and of several.
  ...[
    '%',
    '%2',
    '%%',
    '%25',
    '%2525',
    '%2f',
    '%5c',
    '%2e',
    '%20',
    '%00',
    '%ff',
    '%26',
    '%3D',
    '%C3%A9',
  ],
  ...['%CC%81%CC%96', '%EF%B7%BA', '%E2%80%8B', '%EF%BC%8E', '%E4%B8%80', '+', '\\u002e', '\\u'],
  // Names that are looked for, and what is nearly one.
  ...[
    '.env',
    '.en',
    '/.env',
    '.env/',
    '.env;',
    '.env.example;',
    'x.key.',
    '.key,',
    'openclaw.json ',
    'path=',
  ],
  ...[SESSION, `${SESSION}=`, `${SESSION};`, `${SESSION} `, '__host-', 'workspace_session', '\xa0'],
  ...['gatewayUrl', 'gatewayUr&', '%67', 'domain=', 'path=/;', 'Path', 'upgrade,', 'connection,'],
  // Addresses and hosts.
  ...[
    'fdaa::1,',
    '127.0.0.1,',
    '127.0.0.1, ',
    '[::1]:80,',
    '[::1',
    '1.',
    '0x',
    'a-',
    '-a.',
    'xn--a.',
    '@',
    'a@',
  ],
  ...[
    'http://',
    'http:',
    'http://localhost:3001/',
    'localhost:3001',
    'url=',
    'url',
    '5;',
    '5; url=',
    '0',
  ],
  // Policies, pages, traces.
  ...[
    'frame-ancestors',
    'frame-ancestors ',
    ';frame-ancestors',
    '; \t',
    'basic ',
    'Bearer ',
    '&amp;',
    '00-',
    'é',
    '一',
  ],
]

const SITE = { controlUi: '/chat', stripApi: true }
const ADDED = [
  parseFilePattern('a*a*a*.bak'),
  parseFilePattern('*.pem'),
  parseFilePattern('id_rsa'),
]
const FLY = parseNetworks('fdaa::/16').concat(parseNetworks('loopback'))
const ORIGIN = 'https://houston.hubify.com'
const rewrite = buildLocationRewriter(['localhost'], '3001', '/api')
const state = State.inMemory()
const apiTokens = new ApiTokens(state)
apiTokens.create({ name: 'ci', subject: 'alice', expiresAt: undefined })
const PATH_SCOPE = parseScopes(['api:/v1'])
const verifier = new TokenVerifier({
  rules: { workspace: 'houston', issuer: undefined, leewaySeconds: 30 },
  keys: new KeyRing([SECRET]),
  sessions: new Sessions(state, { maxSeconds: 3600, leewaySeconds: 30 }),
  apiTokens,
})
const PRINCIPAL = principalOf(browserSession('s'))
const BROWSER = Object.assign(new Exchange(), {
  principal: PRINCIPAL,
  credential: { kind: 'cookie', outcome: PRINCIPAL } as const,
})
const base64 = (text: string) => Buffer.from(text).toString('base64url')

const RETURNED = {
  status: 200,
  requestId: 'id-1',
  signedIn: true,
  rewriteLocation: rewrite,
  isolatedAt: '/api',
  allowOrigin: ORIGIN,
  extra: [],
}

/** As many fields as fit into 16 KiB, each named by one of the text's characters. */
const manyFields = (text: string) =>
  Array.from({ length: text.length / 16 }, (_, i) => [`${text[i]}`, text[i + 1] ?? '']).flat()

const sensitive = (path: string, query: string) =>
  namesSensitiveFile({ path, decodedPath: path, query, route: 'dashboard', forwarded: '' }, ADDED)

const toService = (name: string) => (text: string) => buildRequestHeaders([name, text], FORWARDED)
const toClient = (name: string) => (text: string) => buildResponseHeaders([name, text], RETURNED)

/** A token whose header or payload is this JSON; longer ones than 4 KiB are refused unread. */
const judgeToken = (header: string, payload: string) => {
  verifier.verify(`${base64(header)}.${base64(payload)}.${base64('x')}`).catch(() => {})
}

/** Every function that sees a path, a query, a field or a cookie, with the text where it hurts most. */
const READINGS: Readonly<Record<string, Reading>> = {
  'parseTarget, path': (text) => parseTarget(`/${text}`, SITE),
  'parseTarget, query': (text) => parseTarget(`/?${text}`, SITE),
  'parseTarget, below /api': (text) => parseTarget(`/api/${text}`, SITE),
  'namesSensitiveFile, path': (text) => sensitive(`/${text}`, ''),
  'namesSensitiveFile, query': (text) => sensitive('/', `?${text}`),
  'namesSensitiveFile, a path in a value': (text) => sensitive('/', `?path=/.envx${text}`),
  'namesSensitiveFile, another value': (text) => sensitive('/', `?q=.envx${text}`),
  'namesSensitiveFile, a long name': (text) => sensitive('/', `?${text}=.envx`),
  cookieValues: (text) =>
    cookieValues([text, `${text};${SESSION}=x`, `${SESSION}${text}`], SESSION),
  withoutOwnCookies: (text) => withoutOwnCookies(`workspace_session${text};x`),
  'withoutOwnCookies, at the end': (text) => withoutOwnCookies(`${text}workspace_session`),
  sanitizeSetCookie: (text) => [sanitizeSetCookie(text), sanitizeSetCookie(`a=1;${text}`)],
  'findCredential, X-Workspace-Token': (text) => findCredential(['X-Workspace-Token', text], true),
  'findCredential, Authorization': (text) =>
    findCredential(['Authorization', `Bearer ${text}`], true),
  'findCredential, Cookie': (text) =>
    findCredential(['Cookie', `${text};${SESSION}=${text}`], true),
  bearerToken: (text) => [bearerToken(text), bearerToken(`Bearer ${text}\x80`)],
  isTokenShaped: (text) => [isTokenShaped(text), isTokenShaped(`${text}!`)],
  'verify, header': (text) =>
    judgeToken(`{"alg":"HS256","a":${JSON.stringify(text.slice(0, 900))}}`, '{}'),
  'verify, a name in the header': (text) =>
    judgeToken(`{${JSON.stringify(text.slice(0, 900))}:1}`, '{}'),
  'verify, payload': (text) =>
    judgeToken('{"alg":"HS256"}', `{"a":${JSON.stringify(text.slice(0, 900))},"a":1}`),
  'verify, anything': (text) => verifier.verify(text.slice(0, 4096)).catch(() => {}),
  'ApiTokens, an address': (text) => apiTokens.liveIn(text),
  'ApiTokens, a token': (text) => [apiTokens.find(text), apiTokens.find(`hub_${text}`)],
  permits: (text) => [
    permits(PATH_SCOPE, 'api', true, `/v1${text}`),
    permits(PATH_SCOPE, 'api', true, `/v1/${text}`),
  ],
  fieldLines: (text) => fieldLines(manyFields(text), 'a'),
  trimOws: (text) => trimOws(`x${text}x`),
  listElements: (text) => listElements(text),
  isFieldName: (text) => [isFieldName(text), isFieldName(`${text} `)],
  isFieldValue: (text) => [isFieldValue(text), isFieldValue(`${text}\n`)],
  removeNominated: (text) =>
    removeNominated(manyFields(text), 0, text.slice(0, 9).split('').concat('a'), false),
  parseAuthority: (text) => [parseAuthority(text), parseAuthority(text.slice(0, 250))],
  parseAddress: (text) => [parseAddress(text), parseAddress(`::${text}`)],
  clientFrom: (text) => clientFrom('fdaa::2', [text], FLY),
  'clientFrom, many lines': (text) => clientFrom('fdaa::2', text.match(/[^]{1,9}/g) ?? [], FLY),
  Remembered: (text) => new Remembered((key) => key.length).of(text),
  isSameOrigin: (text) =>
    isSameOrigin({ origins: [text], fetchSite: text }, { own: ORIGIN, allowed: [ORIGIN] }),
  returnPath: (text) => returnPath(text, ORIGIN),
  'returnPath, a path': (text) => returnPath(`/${text}`, ORIGIN),
  'returnPath, another host': (text) => returnPath(`//${text}`, ORIGIN),
  isNavigation: (text) => isNavigation('GET', { accept: text }),
  traceIdOf: (text) => [
    traceIdOf(text),
    traceIdOf(`01-${'1'.repeat(32)}-${'1'.repeat(16)}-01-${text}`),
  ],
  namesForeignGateway: (text) => namesForeignGateway(`?${text}%`),
  loggedPath: (text) => loggedPath(text),
  logFields: (text) =>
    logFields({ ...rejectionOf('id', undefined, 400, 'bad-request', text), path: text }),
  BasicMemory: (text) => new BasicMemory().watch(BROWSER, ['authorization', `Basic ${text}`]),
  escapeHtml: (text) => escapeHtml(text),
  signInPage: (text) => PAGES.render(signInPage({ returnTo: text })),
  isCookieBomb: (text) => [
    isCookieBomb(text, text.split(';')),
    isCookieBomb(`${text} HTTP/1.1`, [`cookie: ${text}`]),
  ],
  offeredProtocols: (text) => offeredProtocols({ rawHeaders: ['Sec-WebSocket-Protocol', text] }),
  hasBody: (text) => hasBody(['Content-Length', text]),
  'buildRequestHeaders, a name': (text) => buildRequestHeaders([text, '1'], FORWARDED),
  'buildRequestHeaders, many fields': (text) =>
    buildRequestHeaders(['Connection', text, ...manyFields(text)], FORWARDED),
  'buildRequestHeaders, Host': (text) => buildRequestHeaders([], { ...FORWARDED, host: text }),
  'buildRequestHeaders, user': (text) => buildRequestHeaders([], { ...FORWARDED, user: text }),
  'buildRequestHeaders, Cookie': toService('Cookie'),
  'buildRequestHeaders, Connection': toService('Connection'),
  // What services answer: they are talked into it by whoever writes to them.
  'buildResponseHeaders, a name': (text) => buildResponseHeaders([text, '1'], RETURNED),
  'buildResponseHeaders, many fields': (text) =>
    buildResponseHeaders(['Connection', text, ...manyFields(text)], RETURNED),
  'buildResponseHeaders, Set-Cookie': toClient('Set-Cookie'),
  'buildResponseHeaders, Location': toClient('Location'),
  'buildResponseHeaders, Connection': toClient('Connection'),
  'buildResponseHeaders, Refresh': toClient('Refresh'),
  'buildResponseHeaders, Content-Security-Policy': toClient('Content-Security-Policy'),
  'buildResponseHeaders, WWW-Authenticate': toClient('WWW-Authenticate'),
  'buildResponseHeaders, Access-Control-Allow-Origin': toClient('Access-Control-Allow-Origin'),
  'buildResponseHeaders, X-Content-Type-Options': toClient('X-Content-Type-Options'),
  buildSwitchingHeaders: (text) =>
    buildSwitchingHeaders(['Set-Cookie', text, ...manyFields(text)], '/api'),
  rewriteLocation: (text) => [
    rewrite(text),
    rewrite(`//${text}`),
    rewrite(`http://localhost:3001${text}`),
  ],
  isolationFields: (text) => isolationFields(text),
}

t.ok(new Set(UNITS).size >= 50, `${new Set(UNITS).size} units`)

for (const [name, read] of Object.entries(READINGS))
  t.test(`16 KiB of hostile text cost ${name} little more than harmless text`, async (t) => {
    const problems: string[] = []
    for (const unit of new Set(UNITS)) {
      const problem = growthProblem(read, unit)
      if (problem !== undefined) problems.push(`${JSON.stringify(unit)}: ${problem}`)
    }
    t.same(problems, [])
  })

t.test('the measure finds a cost that is not linear', async (t) => {
  const quadratic: Reading = (text) => /eyJ[\w-]{4,}\.[\w-]+\.[\w-]*/.test(text)
  t.ok(growthProblem(quadratic, 'eyJ'))
  t.notOk(growthProblem((text) => text.split(''), 'eyJ'))
})
