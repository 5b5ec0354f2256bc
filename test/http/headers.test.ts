/** Which request headers does a service get, and which response headers does the client get? */
import * as fc from 'fast-check'
import t from 'tap'
import { EXPOSED_FIELDS } from '../../src/http/browser.ts'
import { buildLocationRewriter, rewriteRefresh } from '../../src/http/location.ts'
import { Remembered } from '../../src/limits/memo.ts'
import { buildRequestHeaders, hasBody, type ForwardedRequest } from '../../src/http/to-service.ts'
import {
  buildResponseHeaders,
  buildSwitchingHeaders,
  type ReturnedAnswer,
} from '../../src/http/to-client.ts'
import { anyText } from '../helpers/any-text.ts'
import { FORWARDED } from '../helpers/forwarded.ts'

/** The headers that the gateway adds in mode `full`, after the client's. */
const OURS = [
  ['X-Request-Id', 'id-1'],
  ['X-Forwarded-For', '203.0.113.9'],
  ['X-Forwarded-Proto', 'https'],
  ['X-Forwarded-Host', 'houston.hubify.com'],
  ['X-Forwarded-Port', '443'],
  ['X-Forwarded-User', 'alice'],
  ['X-Workspace', 'houston'],
]

type Pair = readonly [name: string, value: string]

/** Converts a flat list of names and values to pairs. */
function pairs(list: readonly string[]): string[][] {
  return Array.from({ length: list.length / 2 }, (_, i) => list.slice(2 * i, 2 * i + 2))
}

/** The headers for a service when a client sends these headers. */
function sent(fields: readonly Pair[], about: Partial<ForwardedRequest> = {}): string[][] {
  const raw = [['Host', 'houston.hubify.com'], ...fields].flat()
  return pairs(buildRequestHeaders(raw, { ...FORWARDED, ...about }))
}

/** The client's headers that pass: without `Host` and without the gateway's own. */
function kept(fields: readonly Pair[], about: Partial<ForwardedRequest> = {}): string[][] {
  const all = sent(fields, { mode: 'none', user: undefined, ...about })
  return all.filter(([name]) => name !== 'Host' && name !== 'X-Request-Id')
}

t.test('a service gets the client’s headers unchanged, followed by the gateway’s', async (t) => {
  const fields: Pair[] = [
    ['accept', '*/*'],
    ['User-Agent', 'curl/8'],
    ['ACCEPT-Language', 'de'],
    ['Content-Type', 'text/plain'],
    ['Content-Length', '3'],
    ['X-Custom', 'a'],
    ['x-custom', 'b'],
    ['Origin', 'https://houston.hubify.com'],
    ['RSC', '1'],
    ['Next-Action', '00ff'],
    ['Next-Router-State-Tree', '%5B%5D'],
    ['Next-Url', '/logs'],
    ['X-OpenClaw-Token', 'hook'],
    ['Sec-Fetch-Site', 'same-origin'],
    ['Via', '2.0 Caddy'],
    ['Empty', ''],
    ['Bytes', 'caf\xe9'],
  ]
  t.same(sent(fields), [['Host', 'houston.hubify.com'], ...fields, ...OURS])
})

t.test('headers that only a proxy may set are removed from a client’s request', async (t) => {
  const forged = [
    'Forwarded',
    'forwarded',
    'FORWARDED',
    'Forwarded-For',
    'X-Forwarded',
    'X-Forwarded-For',
    'x-forwarded-for',
    'X-FORWARDED-FOR',
    'x-Forwarded-fOr',
    'X-Forwarded-Host',
    'X-Forwarded-Proto',
    'X-Forwarded-Protocol',
    'X-Forwarded-Port',
    'X-Forwarded-Prefix',
    'X-Forwarded-Server',
    'X-Forwarded-Scheme',
    'X-Forwarded-Ssl',
    'X-Forwarded-By',
    'X-Forwarded-Uri',
    'X-Forwarded-Method',
    'X-Forwarded-Path',
    'X-Forwarded-User',
    'X-Forwarded-Email',
    'X-Forwarded-Groups',
    'X-Forwarded-Access-Token',
    'X-Forwarded-Preferred-Username',
    'X-Forwarded-Client-Cert',
    'X-Forwarded-Anything',
    'X-Real-IP',
    'x-real-ip',
    'X-Client-IP',
    'X-Cluster-Client-IP',
    'X-Originating-IP',
    'X-Remote-IP',
    'X-Remote-Addr',
    'X-ProxyUser-Ip',
    'True-Client-IP',
    'Client-IP',
    'CF-Connecting-IP',
    'CF-Connecting-IPv6',
    'CF-Access-Jwt-Assertion',
    'CF-Visitor',
    'Fastly-Client-IP',
    'X-Appengine-User-IP',
    'Front-End-Https',
    'X-Original-URL',
    'X-Original-Host',
    'X-Original-URI',
    'X-Original-Method',
    'X-Original-Forwarded-For',
    'X-Rewrite-URL',
    'X-Override-URL',
    'X-HTTP-DestinationURL',
    'X-Host',
    'X-HTTP-Host-Override',
    'X-HTTP-Method-Override',
    'X-HTTP-Method',
    'X-Method-Override',
    'X-Url-Scheme',
    'X-Scheme',
    'X-Request-Id',
    'X-Workspace',
    'x-workspace',
    'X-Workspace-User',
    'X-Workspace-Token',
    'X-Workspace-Role',
    'X-Auth-Request-User',
    'X-Auth-Request-Email',
    'X-WebAuth-User',
    'Remote-User',
    'X-Remote-User',
    'X-Authenticated-User',
    'X-OpenClaw-Scopes',
    'X-Pomerium-Claim-Email',
    'X-Pomerium-Jwt-Assertion',
    'X-Goog-Authenticated-User-Email',
    'X-Amzn-Oidc-Identity',
    'X-MS-Client-Principal',
    'X-MS-Client-Principal-Name',
    'X-Envoy-External-Address',
    'X-Envoy-Original-Path',
    'Tailscale-User-Login',
    'tailscale-user-name',
    'Fly-Client-IP',
    'fly-forwarded-proto',
    'Fly-Region',
    'X-Middleware-Subrequest',
    'x-middleware-subrequest',
    'X-Middleware-Rewrite',
    'X-Middleware-Next',
    'X-Nextjs-Data',
    'X-Nextjs-Matched-Path',
    'X-Next-Revalidated-Tags',
    'X-Now-Route-Matches',
    'X-Invoke-Path',
    'X-Invoke-Status',
    'X-Matched-Path',
    'X-Vercel-Id',
    'X-Prerender-Revalidate',
    'Next-Resume',
    'X-Gateway-Error',
    'Proxy',
    'Expect',
    'Keep-Alive',
    'Proxy-Connection',
    'Proxy-Authorization',
    'Proxy-Authenticate',
    'TE',
    'Trailer',
    'Transfer-Encoding',
    'Upgrade',
    'HTTP2-Settings',
  ]
  t.ok(forged.length >= 40)
  for (const name of forged) {
    t.same(kept([[name, 'forged']]), [], name)
    t.same(sent([[name, 'forged']]), [['Host', 'houston.hubify.com'], ...OURS], name)
  }
})

t.test('the same names with an underscore or another odd character are removed too', async (t) => {
  for (const name of [
    'X_Forwarded_User',
    'X_Forwarded-For',
    'X-Forwarded_For',
    'x_real_ip',
    'X_Workspace',
    'REMOTE_USER',
    'HTTP_X_FORWARDED_FOR',
    'X.Forwarded.User',
    'X-Forwarded-User.',
    'X-Forwarded-User!',
    "X-Forwarded-User'",
    'X-Forwarded-User~',
    '!X-Forwarded-User',
    'X*Forwarded*User',
    'X|Forwarded|User',
    'X-Forwarded-User ',
    'X-Forwarded-U\u017fer',
    'any_name',
    '_',
    '',
  ])
    t.same(kept([[name, 'forged']]), [], JSON.stringify(name))
})

t.test('names that only look similar pass', async (t) => {
  const fields: Pair[] = [
    'X-Forward',
    'X-ForwardedFor',
    'X-Realip',
    'Flying',
    'X-Workspaces',
    'Hosts',
    'Expectation',
    'X-Nextjs-Request-Id',
    'X-Nextjs-Html-Request-Id',
    'Cf',
    'Tea',
    'X-Middleware',
  ].map((name) => [name, 'v'] as const)
  t.same(kept(fields), fields)
})

t.test('headers that Connection names are removed, but never the gateway’s own', async (t) => {
  const table: ReadonlyArray<readonly [connection: readonly string[], gone: readonly string[]]> = [
    [['keep-alive'], []],
    [['close'], []],
    [['Keep-Alive, Upgrade'], []],
    [['X-Custom'], ['X-Custom']],
    [['x-custom , ACCEPT'], ['X-Custom', 'Accept']],
    [['close,,x-custom,'], ['X-Custom']],
    [
      ['x-custom', 'accept'],
      ['X-Custom', 'Accept'],
    ],
    [['content-length'], []],
    [['host'], []],
    [['X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, X-Forwarded-Port'], []],
    [['X-Forwarded-User, X-Workspace, X-Request-Id'], []],
    [['cookie'], ['Cookie']],
    [['"x-custom"'], []],
    [['connection'], []],
  ]
  const fields: Pair[] = [
    ['Accept', '*/*'],
    ['X-Custom', 'v'],
    ['Cookie', 'a=b'],
    ['Content-Length', '3'],
  ]
  for (const [lines, gone] of table) {
    const connection = lines.map((line) => ['Connection', line] as const)
    const rest = [
      ['Host', 'houston.hubify.com'],
      ...fields.filter(([name]) => !gone.includes(name)),
      ...OURS,
    ]
    t.same(sent([...connection, ...fields]), rest, `${lines.join(' | ')} in front`)
    t.same(sent([...fields, ...connection]), rest, `${lines.join(' | ')} behind`)
  }
  const authorized = sent([['Connection', 'authorization']], { authorization: 'Bearer ours' })
  t.ok(authorized.some(([name, value]) => name === 'Authorization' && value === 'Bearer ours'))
})

t.test('thousands of headers that Connection names are removed, and nothing else', async (t) => {
  const fields = Array.from({ length: 6000 }, (_, i): Pair => [`X-${i % 3}`, `X-${i}`])
  t.same(
    returned([...fields, ['Connection', 'x-0, x-2, x-5']]).slice(0, 2000),
    fields.filter(([name]) => name === 'X-1'),
  )
})

t.test('a WebSocket handshake keeps its own headers, whatever Connection names', async (t) => {
  const handshake: Pair[] = [
    ['Sec-WebSocket-Key', 'dGhlIHNhbXBsZSBub25jZQ=='],
    ['Sec-WebSocket-Version', '13'],
    ['Sec-WebSocket-Protocol', 'tty'],
    ['Sec-WebSocket-Extensions', 'permessage-deflate'],
    ['Origin', 'https://houston.hubify.com'],
  ]
  const names = 'Upgrade, Sec-WebSocket-Key, sec-websocket-protocol, X-Custom'
  t.same(
    kept([['Connection', names], ['Upgrade', 'websocket'], ...handshake, ['X-Custom', 'v']], {
      upgrade: true,
    }),
    [...handshake, ['Connection', 'Upgrade'], ['Upgrade', 'websocket']],
  )
  t.same(
    kept([['Connection', 'sec-websocket-key'], ...handshake.slice(0, 2)]),
    [['Sec-WebSocket-Version', '13']],
    'which means nothing on a plain request',
  )
})

t.test('the session cookie is removed in any spelling; other cookies pass', async (t) => {
  const table: ReadonlyArray<readonly [cookie: string, passes: string | undefined]> = [
    ['__Host-workspace_session=eyJ', undefined],
    ['workspace_session=eyJ', undefined],
    ['__HOST-WORKSPACE_SESSION=eyJ', undefined],
    ['Workspace_Session=eyJ', undefined],
    ['a=b; __Host-workspace_session=eyJ', 'a=b'],
    ['__Host-workspace_session=eyJ; a=b', 'a=b'],
    ['a=b; __Host-workspace_session=eyJ; c=d', 'a=b; c=d'],
    ['a=b;__Host-workspace_session=eyJ;c=d', 'a=b;c=d'],
    ['__Host-workspace_session=1; __Host-workspace_session=2', undefined],
    ['\t__Host-workspace_session =eyJ', undefined],
    ['a=b', 'a=b'],
    [
      'workspace_session2=x; my_workspace_session=y',
      'workspace_session2=x; my_workspace_session=y',
    ],
    ['a=workspace_session=1', 'a=workspace_session=1'],
  ]
  for (const [cookie, passes] of table) {
    const expected = passes === undefined ? [] : [['Cookie', passes]]
    t.same(kept([['Cookie', cookie]]), expected, cookie)
  }
  t.same(
    kept([
      ['cookie', 'a=b'],
      ['Cookie', '__Host-workspace_session=eyJ'],
      ['COOKIE', 'c=d'],
    ]),
    [
      ['cookie', 'a=b'],
      ['COOKIE', 'c=d'],
    ],
    'each line by itself',
  )
})

t.test(
  'Authorization passes if it is for the service, and is removed if it was for the gateway',
  async (t) => {
    const basic: Pair = ['Authorization', 'Basic dXNlcjpwYXNz']
    const bearer: Pair = ['authorization', 'Bearer service-token']
    t.same(kept([basic]), [basic])
    t.same(kept([bearer]), [bearer])
    t.same(kept([bearer], { dropAuthorization: true }), [])
    t.same(kept([basic], { authorization: 'Bearer ours' }), [['Authorization', 'Bearer ours']])
    t.same(
      kept([bearer], { authorization: 'Bearer ours', dropAuthorization: true }),
      [['Authorization', 'Bearer ours']],
      'exactly one is sent',
    )
    t.same(kept([], { authorization: 'Bearer ours' }), [['Authorization', 'Bearer ours']])
  },
)

t.test('each forwarding mode sends exactly the headers that its service needs', async (t) => {
  const who = { user: 'alice' }
  t.same(sent([], { ...who, mode: 'full' }).slice(1), OURS)
  t.same(sent([], { ...who, mode: 'trusted-proxy' }).slice(1), [
    ['X-Request-Id', 'id-1'],
    ['X-Forwarded-For', '203.0.113.9'],
    ['X-Forwarded-Proto', 'https'],
    ['X-Forwarded-Host', 'houston.hubify.com'],
    ['X-Forwarded-User', 'alice'],
  ])
  t.same(sent([], { ...who, mode: 'none' }).slice(1), [['X-Request-Id', 'id-1']])
  const nobody = sent([['X-Forwarded-User', 'root']], { user: undefined })
  t.same(nobody.slice(1), OURS.slice(0, 5), 'nobody signed in is nobody')
})

t.test('X-Forwarded-Port is the port in Host, or the default of the scheme', async (t) => {
  const table: ReadonlyArray<readonly [host: string, scheme: 'http' | 'https', port: string]> = [
    ['houston.hubify.com', 'https', '443'],
    ['houston.hubify.com', 'http', '80'],
    ['houston.hubify.com:9443', 'https', '9443'],
    ['[::1]', 'http', '80'],
    ['[::1]:8080', 'http', '8080'],
    ['127.0.0.1:1', 'http', '1'],
  ]
  for (const [host, scheme, port] of table) {
    const headers = sent([], { host, scheme })
    t.same(headers[0], ['Host', host])
    t.same(
      headers.find(([name]) => name === 'X-Forwarded-Host'),
      ['X-Forwarded-Host', host],
    )
    t.same(
      headers.find(([name]) => name === 'X-Forwarded-Port'),
      ['X-Forwarded-Port', port],
      host,
    )
  }
})

t.test(
  'a user name is encoded, and two different names never have the same encoding',
  async (t) => {
    const named = (user: string) =>
      sent([], { user }).find(([name]) => name === 'X-Forwarded-User')?.[1] ?? ''
    t.equal(named('alice@example.com'), 'alice@example.com')
    t.equal(named('Zoë'), 'Zo%C3%AB')
    t.equal(named('a b'), 'a%20b')
    t.equal(named('a%20b'), 'a%2520b')
    t.equal(named('100%'), '100%25')
    t.equal(named('🦊'), '%F0%9F%A6%8A')
    t.equal(named('a\r\nX-Evil: 1'), 'a%0D%0AX-Evil:%201')
    fc.assert(
      fc.property(anyText(), (user) => decodeURIComponent(named(user)) === user.toWellFormed()),
    )
  },
)

t.test('no header value that the gateway adds can contain a line break', async () => {
  fc.assert(
    fc.property(anyText(), fc.constantFrom('full', 'trusted-proxy', 'none'), (user, mode) => {
      const headers = buildRequestHeaders([], { ...FORWARDED, user, mode })
      return headers.every((one) => /^[\x21-\x7e][\x20-\x7e]*$/.test(one) || one === '')
    }),
    { numRuns: 1000 },
  )
})

t.test(
  'for any headers, forbidden ones are removed and each of the gateway’s is there once',
  async () => {
    const name = fc.oneof(
      fc.constantFrom(
        'X-Forwarded-For',
        'x_forwarded_for',
        'Cookie',
        'Connection',
        'Authorization',
        'Host',
        'Fly-Client-IP',
        'x-workspace-token',
        'Accept',
        'X-Request-ID',
        'te',
      ),
      fc.stringMatching(/^[A-Za-z0-9_.-]{1,20}$/),
    )
    const value = fc.oneof(
      fc.constantFrom(
        'x-forwarded-for',
        'x-request-id, host',
        'workspace_session=1; a=b',
        'keep-alive',
      ),
      fc.stringMatching(/^[\x21-\x7e]{0,20}$/),
    )
    fc.assert(
      fc.property(fc.array(fc.tuple(name, value), { maxLength: 12 }), (fields) => {
        const headers = pairs(
          buildRequestHeaders(fields.flat(), { ...FORWARDED, dropAuthorization: true }),
        )
        const names = headers.map(([one = '']) => one.toLowerCase())
        const forbidden =
          /[^a-z0-9-]|^(?:connection|te|authorization)$|^(?:fly|tailscale|x-workspace)-/
        const once = ['host', ...OURS.map(([one = '']) => one.toLowerCase())]
        return (
          names.every((one) => !forbidden.test(one)) &&
          once.every(
            (one) => names.indexOf(one) === names.lastIndexOf(one) && names.includes(one),
          ) &&
          headers.every(
            ([one, text = '']) => one !== 'Cookie' || !/(?:^|;)\s*workspace_session=/.test(text),
          )
        )
      }),
      { numRuns: 1000 },
    )
  },
)

t.test('X-Nextjs-Data passes only on the paths where Next.js’s router sends it', async (t) => {
  t.same(kept([['x-nextjs-data', '1']], { allowNextData: true }), [['x-nextjs-data', '1']])
  t.same(kept([['x-nextjs-data', '1']]), [])
  t.same(kept([['x-middleware-subrequest', 'src/middleware']], { allowNextData: true }), [])
})

t.test('a flood of invented header names does not fill the memory', async (t) => {
  let asked = 0
  const kinds = new Remembered((name) => {
    asked++
    return name.length
  })
  for (let i = 0; i < 100_000; i++) kinds.of(`x-${i}`)
  t.ok(kinds.size <= 2000, `${kinds.size} names`)
  asked = 0
  t.equal(kinds.of('accept'), 6)
  t.equal(kinds.of('accept'), 6)
  t.equal(asked, 1, 'a name is judged once')
  const before = kinds.size
  t.equal(kinds.of('x'.repeat(15_000)), 15_000)
  t.equal(kinds.size, before, 'a very long one is judged each time')
})

// ------------------------------------------------------------------------------------------------ responses

const RETURNED: ReturnedAnswer = {
  status: 200,
  requestId: 'id-1',
  signedIn: true,
  rewriteLocation: (location) => `rewritten:${location}`,
  isolatedAt: undefined,
  allowOrigin: undefined,
  extra: [],
}

/** The headers for a client when a service responds with these headers. */
function returned(fields: readonly Pair[], about: Partial<ReturnedAnswer> = {}): string[][] {
  return pairs(buildResponseHeaders(fields.flat(), { ...RETURNED, ...about }))
}

/** The policy headers that are added when a service sends none. */
const POLICY: Pair[] = [
  ['X-Content-Type-Options', 'nosniff'],
  ['Referrer-Policy', 'same-origin'],
  ['Content-Security-Policy', "frame-ancestors 'self'"],
  ['Cache-Control', 'private, no-store'],
]
const ID: Pair = ['X-Request-Id', 'id-1']

t.test('a 204 has no Content-Length, even if the service sends one', async (t) => {
  const fields: Pair[] = [
    ['content-Length', '3'],
    ['ETag', '"a"'],
  ]
  t.same(returned(fields, { status: 204 }), [fields[1], ...POLICY, ID])
  // The headers of a 304 would replace those of the response that the client stores.
  const policy = [POLICY[0], POLICY[3]]
  t.same(returned(fields, { status: 304 }), [...fields, ...policy, ID])
})

t.test('a policy header that a service’s Connection removes is added by the gateway', async (t) => {
  const said: Pair[] = [
    ['Cache-Control', 'public'],
    ['X-Content-Type-Options', 'nosniff'],
    ['Content-Security-Policy', "default-src 'self';frame-ancestors 'none'"],
  ]
  const [nosniff, referrer, , cache] = POLICY
  t.same(returned([['Connection', 'cache-control, x-content-type-options'], ...said]), [
    said[2],
    nosniff,
    referrer,
    cache,
    ID,
  ])
})

t.test(
  'a response arrives as the service sent it, plus the policy headers that it lacks',
  async (t) => {
    const fields: Pair[] = [
      ['content-type', 'text/html'],
      ['Content-Length', '3'],
      ['ETag', '"a"'],
      ['Date', 'Thu, 01 Jan 1970 00:00:00 GMT'],
      ['Server', 'ttyd'],
      ['WWW-Authenticate', 'Basic realm="ttyd"'],
      ['Vary', 'RSC'],
      ['vary', 'Accept'],
      ['X_Odd', 'v'],
      ['Content-Encoding', 'gzip'],
    ]
    t.same(returned(fields), [...fields, ...POLICY, ID])
    t.same(
      returned([], { signedIn: false }),
      [...POLICY.slice(0, 3), ID],
      'public answers may be kept',
    )
    t.same(returned([], { extra: ['RateLimit', 'x'] }), [...POLICY, ID, ['RateLimit', 'x']])
  },
)

/** A service's own policy headers, with values that differ from the gateway's. */
const THEIRS: Readonly<Record<string, string>> = {
  'X-Content-Type-Options': 'NoSniff',
  'Content-Security-Policy': "default-src 'self'; Frame-Ancestors *",
}

t.test('a service’s own policy headers are not replaced', async (t) => {
  for (const [name] of POLICY) {
    for (const spelling of [name, name.toLowerCase(), name.toUpperCase()]) {
      const theirs = THEIRS[name] ?? 'theirs'
      const rest = POLICY.filter(([other]) => other !== name)
      t.same(returned([[spelling, theirs]]), [[spelling, theirs], ...rest, ID], spelling)
    }
  }
  t.same(
    returned([['X-Content-Type-Options', 'off']]),
    [...POLICY, ID],
    'no other value says anything',
  )
  const two: Pair[] = [
    ['Content-Security-Policy', "default-src 'self'"],
    ['content-security-policy', 'sandbox'],
  ]
  t.same(returned(two).slice(0, 2), two)
  t.ok(
    returned([['Content-Security-Policy-Report-Only', "default-src 'self'"]]).some(
      ([name]) => name === 'Content-Security-Policy',
    ),
    'a report is no policy',
  )
})

t.test(
  'hop-by-hop headers, and those that only the gateway sends, are removed from a response',
  async (t) => {
    for (const name of [
      'Keep-Alive',
      'keep-alive',
      'Proxy-Authenticate',
      'Proxy-Connection',
      'Transfer-Encoding',
      'TE',
      'Trailer',
      'Upgrade',
      'Connection',
      'X-Gateway-Error',
      'x-gateway-error',
      'X-Workspace-Terminal',
      'x-workspace-terminal-kept',
      'X-Workspace-Refusal',
      'X-Request-ID',
    ])
      t.same(returned([[name, 'x']]), [...POLICY, ID], name)
  },
)

t.test(
  'a service’s Connection removes the service’s headers, but never the gateway’s',
  async (t) => {
    t.same(
      returned([
        ['First', '1'],
        ['Connection', 'close, X-Internal'],
        ['X-Internal', 'v'],
        ['Connection', 'first'],
      ]),
      [...POLICY, ID],
    )
    t.same(
      returned([
        ['Connection', 'x-request-id, cache-control, content-length'],
        ['Content-Length', '3'],
      ]),
      [['Content-Length', '3'], ...POLICY, ID],
    )
  },
)

t.test(
  'each Set-Cookie stays separate; none leaves this workspace or sets the session cookie',
  async (t) => {
    t.same(
      returned([
        ['Set-Cookie', 'a=1; Path=/'],
        ['set-cookie', 'b=2; Expires=Thu, 01 Jan 2032 00:00:00 GMT'],
        ['Set-Cookie', 'c=3; Domain=hubify.com; Secure'],
        ['Set-Cookie', '__Host-workspace_session=evil; Secure; Path=/'],
        ['Set-Cookie', ' Workspace_Session =evil'],
      ]).slice(0, -5),
      [
        ['Set-Cookie', 'a=1; Path=/'],
        ['set-cookie', 'b=2; Expires=Thu, 01 Jan 2032 00:00:00 GMT'],
        ['Set-Cookie', 'c=3; Secure'],
      ],
    )
  },
)

t.test(
  'an allowed foreign origin may read a response, unless the service sends CORS headers itself',
  async (t) => {
    const allowOrigin = 'https://app.example.com'
    const cors: Pair[] = [
      ['Access-Control-Allow-Origin', allowOrigin],
      ['Vary', 'Origin'],
      ['Access-Control-Allow-Credentials', 'true'],
    ]
    const exposed: Pair = ['Access-Control-Expose-Headers', EXPOSED_FIELDS]
    t.same(returned([], { allowOrigin }), [...POLICY, ...cors, exposed, ID])
    const theirs: Pair = ['access-control-allow-origin', '*']
    t.same(returned([theirs], { allowOrigin }), [theirs, ...POLICY, exposed, ID])
    const credentials: Pair = ['Access-Control-Allow-Credentials', 'true']
    t.same(
      returned([credentials], { allowOrigin }),
      [credentials, ...POLICY, ...cors.slice(0, 2), exposed, ID],
      'said once: "true, true" is nothing to a browser',
    )
    const own: Pair = ['Access-Control-Expose-Headers', 'X-Own']
    t.same(returned([own], { allowOrigin }), [own, ...POLICY, ...cors, ID])
  },
)

t.test('Location, Content-Location and Refresh are rewritten, and nothing else', async (t) => {
  t.same(returned([['location', '/x']]).slice(0, 1), [['location', 'rewritten:/x']])
  t.same(returned([['Content-Location', '/x']]).slice(0, 1), [['Content-Location', 'rewritten:/x']])
  t.same(returned([['REFRESH', '5; url=/x']]).slice(0, 1), [['REFRESH', '5; url=rewritten:/x']])
  t.same(returned([['X-Location', '/x']]).slice(0, 1), [['X-Location', '/x']])
})

t.test('the address in Refresh is rewritten as browsers parse it', async (t) => {
  const own = 'http://localhost:3001/x?a=b#c'
  const table: ReadonlyArray<readonly [refresh: string, plain: string, stripped: string]> = [
    ['5', '5', '5'],
    ['', '', ''],
    ['5;', '5;', '5;'],
    ['0; url=', '0; url=', '0; url='],
    [`5; url=${own}`, '5; url=/x?a=b#c', '5; url=/api/x?a=b#c'],
    [`5;url=${own}`, '5;url=/x?a=b#c', '5;url=/api/x?a=b#c'],
    [`5 ,\tURL \t= ${own} `, '5 ,\tURL \t= /x?a=b#c', '5 ,\tURL \t= /api/x?a=b#c'],
    [`5.5; Url="${own}"`, '5.5; Url="/x?a=b#c"', '5.5; Url="/api/x?a=b#c"'],
    [`0; url='${own}' x`, "0; url='/x?a=b#c' x", "0; url='/api/x?a=b#c' x"],
    [`0; url="${own}`, '0; url="/x?a=b#c', '0; url="/api/x?a=b#c'],
    [`0; ${own}`, '0; /x?a=b#c', '0; /api/x?a=b#c'],
    [`0 ${own}`, '0 /x?a=b#c', '0 /api/x?a=b#c'],
    [`; url=${own}`, '; url=/x?a=b#c', '; url=/api/x?a=b#c'],
    [
      '0; url=//localhost:3001//evil.example',
      '0; url=/.//evil.example',
      '0; url=/api//evil.example',
    ],
    ['0; url=/logs', '0; url=/logs', '0; url=/api/logs'],
    ['0; url=logs', '0; url=logs', '0; url=logs'],
    [
      '0; url=https://example.com/x',
      '0; url=https://example.com/x',
      '0; url=https://example.com/x',
    ],
  ]
  const plain = buildLocationRewriter(HOSTS, '3001', '')
  const stripped = buildLocationRewriter(HOSTS, '3001', '/api')
  for (const [refresh, asPlain, asStripped] of table) {
    t.equal(rewriteRefresh(refresh, plain), asPlain, refresh)
    t.equal(rewriteRefresh(refresh, stripped), asStripped, `${refresh} behind /api`)
  }
})

t.test(
  'a service’s policy without frame-ancestors gets the gateway’s policy in addition',
  async (t) => {
    const ours = POLICY[2]?.[1]
    const policies = (...values: string[]) =>
      returned(values.map((value): Pair => ['content-security-policy', value]))
        .filter(([name = '']) => name.toLowerCase() === 'content-security-policy')
        .map(([, value]) => value)
    for (const silent of [
      "default-src 'self'",
      'sandbox',
      '',
      'img-src frame-ancestors',
      'frame-ancestorsx *',
      'x-frame-ancestors *',
    ])
      t.same(policies(silent), [silent, ours], silent)
    for (const said of [
      'frame-ancestors *',
      ' FRAME-ANCESTORS',
      "default-src 'self' ; frame-ancestors x",
      "a b, frame-ancestors 'none'",
      'a;\tframe-ancestors;b',
    ])
      t.same(policies(said), [said], said)
    t.same(policies("default-src 'self'", 'frame-ancestors x'), [
      "default-src 'self'",
      'frame-ancestors x',
    ])
  },
)

t.test(
  'a 304 does not change the policies of the response that a browser has stored',
  async (t) => {
    // A cache replaces the stored headers, except the type, with those of a 304 (RFC 9111 section 3.2).
    const CSP = 'Content-Security-Policy'
    const updating = (isolated: boolean, fields: readonly Pair[], status = 304) =>
      returned(fields, { status, isolatedAt: isolated ? '/api' : undefined })
        .filter(([name = '']) => /^(?:content-security-policy|referrer-policy)$/i.test(name))
        .map(([, value]) => value)
    const own = "frame-ancestors 'self'"
    for (const isolated of [true, false]) t.same(updating(isolated, [['ETag', '"1"']]), [])
    t.same(updating(true, [['Content-Type', 'text/plain']]), [])
    t.same(updating(true, [['Content-Type', 'text/html']]), [own, 'sandbox'])
    for (const policy of ['default-src *', 'frame-ancestors *', 'sandbox allow-scripts', '']) {
      const ours = policy.startsWith('frame') ? [] : [own]
      t.same(updating(false, [[CSP, policy]]), [policy, ...ours], policy)
      for (const fields of [
        [[CSP, policy]],
        [
          [CSP, policy],
          ['Content-Type', 'text/plain'],
        ],
      ] as Pair[][])
        t.same(updating(true, fields), [policy, ...ours, 'sandbox'], policy)
      const nominated: Pair[] = [
        [CSP, policy],
        ['Connection', CSP],
      ]
      t.same(updating(true, nominated), [], 'taken away')
    }
    // A cache combines a partial response (206) with the stored rest, which gets the new headers too.
    t.same(updating(true, [['Content-Type', 'text/plain']], 206), ['same-origin', own, 'sandbox'])
    t.same(updating(false, [['Content-Type', 'text/html']], 206), ['same-origin', own])
  },
)

t.test(
  'nosniff with characters around it that browsers do not trim counts as missing',
  async (t) => {
    for (const value of ['nosniff\xa0', '\xa0nosniff', 'nosniff, nosniff', '"nosniff"', 'no-sniff'])
      t.same(
        returned([['X-Content-Type-Options', value]])
          .filter(([name = '']) => /^x-content-type-options$/i.test(name))
          .map((pair) => pair[1]),
        ['nosniff'],
        JSON.stringify(value),
      )
  },
)

t.test(
  'an isolated service can send no header for the whole origin, not even with a 101',
  async (t) => {
    const isolated = (fields: readonly Pair[], about: Partial<ReturnedAnswer> = {}) =>
      returned(fields, { isolatedAt: '/api', ...about }).slice(0, -POLICY.length - 1)
    const switched = (fields: readonly Pair[]) =>
      pairs(buildSwitchingHeaders(fields.flat(), '/api'))
    for (const name of [
      'Clear-Site-Data',
      'clear-site-data',
      'NEL',
      'Report-To',
      'Reporting-Endpoints',
      'ALT-SVC',
      'Strict-Transport-Security',
      'Public-Key-Pins',
      'Public-Key-Pins-Report-Only',
      'Expect-CT',
      'Accept-CH',
      'Critical-CH',
      'Origin-Agent-Cluster',
      'Service-Worker-Allowed',
      'Set-Login',
      'Speculation-Rules',
      'Use-As-Dictionary',
      'Activate-Storage-Access',
      'IdP-SignIn-Status',
      'Secure-Session-Registration',
      'Sec-Session-Registration',
      'Secure-Session-Challenge',
      'Sec-Session-Challenge',
      'Shared-Storage-Write',
      'Cache-Group-Invalidation',
    ]) {
      t.same(isolated([[name, 'x']]), [], name)
      t.same(switched([[name, 'x']]), [], `${name} with a 101`)
      t.same(returned([[name, 'x']])[0], [name, 'x'], `${name} of a service that shares the origin`)
    }
    for (const challenge of [
      'Basic realm="ttyd"',
      'basic',
      'Bearer, Basic realm="x"',
      'Digest x',
      'NTLM',
      'Negotiate',
    ]) {
      t.same(isolated([['WWW-Authenticate', challenge]]), [], challenge)
      t.same(switched([['www-authenticate', challenge]]), [], challenge)
    }
    const harmless: Pair[] = [
      ['WWW-Authenticate', 'Bearer realm="openclaw"'],
      ['Link', '</x>; rel=next'],
      ['Permissions-Policy', 'camera=()'],
      ['Cross-Origin-Resource-Policy', 'same-origin'],
      ['ETag', '"a"'],
      ['Retry-After', '3'],
    ]
    t.same(isolated(harmless), harmless)
  },
)

t.test(
  'an isolated service cannot let a foreign page read responses with the user’s cookie',
  async (t) => {
    const allowOrigin = 'https://app.example.com'
    const credentials: Pair = ['access-control-allow-Credentials', 'true']
    const told = (fields: readonly Pair[], about: Partial<ReturnedAnswer>) =>
      returned(fields, { isolatedAt: '/api', ...about })
        .filter(([name = '']) => /^access-control-allow-/i.test(name))
        .map(([name = '', value]) => `${name.toLowerCase()}: ${value}`)
    const both = [
      `access-control-allow-origin: ${allowOrigin}`,
      'access-control-allow-credentials: true',
    ]
    for (const origin of [
      'https://evil.example',
      'https://research.hubify.com',
      'null',
      '*',
      allowOrigin,
    ]) {
      const field: Pair = ['Access-Control-Allow-Origin', origin]
      const alone = [`access-control-allow-origin: ${origin}`]
      for (const fields of [
        [field, credentials],
        [credentials, field],
      ]) {
        t.same(told(fields, {}), alone, origin)
        t.same(told(fields, { allowOrigin }), origin === allowOrigin ? both : alone, origin)
      }
      t.same(pairs(buildSwitchingHeaders([...field, ...credentials], '/api')), [[...field]])
    }
    t.same(told([credentials], {}), [])
    t.same(told([credentials], { allowOrigin }), both, 'the gateway itself allows it')
    t.same(
      told(
        [
          ['Access-Control-Allow-Origin', allowOrigin],
          ['Access-Control-Allow-Origin', 'https://evil.example'],
          credentials,
        ],
        { allowOrigin },
      ).includes('access-control-allow-credentials: true'),
      false,
    )
  },
)

t.test('a 101 passes unchanged, without the headers that only the gateway sends', async (t) => {
  const fields: Pair[] = [
    ['Upgrade', 'websocket'],
    ['Connection', 'Upgrade'],
    ['Sec-WebSocket-Accept', 's3pPLMBiTxaQ9kYGzzhZRbK+xOo='],
    ['sec-websocket-protocol', 'tty'],
    ['Sec-WebSocket-Extensions', 'permessage-deflate'],
    ['Set-Cookie', 'a=1'],
  ]
  const dropped: Pair[] = [
    ['X-Gateway-Error', 'x'],
    ['x-request-id', 'theirs'],
    ['X-Workspace-Terminal', 'back'],
    ['x-workspace-terminal-kept', '43200'],
    ['X-Workspace-Refusal', 'too-many-terminals'],
    ['Content-Length', '5'],
    ['transfer-encoding', 'chunked'],
    ['Set-Cookie', '__Host-workspace_session=evil'],
  ]
  t.same(pairs(buildSwitchingHeaders([...fields, ...dropped].flat(), undefined)), fields)
})

const HOSTS = ['localhost', '127.0.0.1', '[::1]', '0.0.0.0']

t.test(
  'a Location with the service’s own address becomes a path; any other is unchanged',
  async (t) => {
    const table: ReadonlyArray<readonly [location: string, plain: string, stripped: string]> = [
      ['http://localhost:3001/logs', '/logs', '/api/logs'],
      ['http://localhost:3001/logs?a=b#c', '/logs?a=b#c', '/api/logs?a=b#c'],
      ['https://localhost:3001/logs', '/logs', '/api/logs'],
      ['HTTP://LOCALHOST:3001/Logs', '/Logs', '/api/Logs'],
      ['http://127.0.0.1:3001/', '/', '/api/'],
      ['http://[::1]:3001/x', '/x', '/api/x'],
      ['http://0.0.0.0:3001/x', '/x', '/api/x'],
      ['//localhost:3001/x', '/x', '/api/x'],
      ['http://localhost:3001', '/', '/api/'],
      ['http://localhost:3001?a=b', '/?a=b', '/api/?a=b'],
      ['http://localhost:3001#a', '/#a', '/api/#a'],
      ['http://localhost:3001/@x:y', '/@x:y', '/api/@x:y'],
      // A text that a browser would read as another host stays a path.
      ['http://localhost:3001//evil.example/x', '/.//evil.example/x', '/api//evil.example/x'],
      ['http://localhost:3001/\\evil.example', '/./\\evil.example', '/api/\\evil.example'],
      ['http://localhost:3001/\t/evil.example', '/.//evil.example', '/api//evil.example'],
      ['ht\ttp://localhost:3001//evil.example', '/.//evil.example', '/api//evil.example'],
      // Addresses of other servers.
      ['http://localhost/x', 'http://localhost/x', 'http://localhost/x'],
      ['http://localhost:3002/x', 'http://localhost:3002/x', 'http://localhost:3002/x'],
      ['http://localhost:30011/x', 'http://localhost:30011/x', 'http://localhost:30011/x'],
      ['https://example.com/x', 'https://example.com/x', 'https://example.com/x'],
      [
        'https://houston.hubify.com/x',
        'https://houston.hubify.com/x',
        'https://houston.hubify.com/x',
      ],
      [
        'http://localhost.evil.example:3001/',
        'http://localhost.evil.example:3001/',
        'http://localhost.evil.example:3001/',
      ],
      [
        'http://localhost:3001.evil.example/',
        'http://localhost:3001.evil.example/',
        'http://localhost:3001.evil.example/',
      ],
      [
        'http://localhost:3001@evil.example/',
        'http://localhost:3001@evil.example/',
        'http://localhost:3001@evil.example/',
      ],
      ['http://user@localhost:3001/', 'http://user@localhost:3001/', 'http://user@localhost:3001/'],
      [
        'http://localhost:3001\\evil.example',
        'http://localhost:3001\\evil.example',
        'http://localhost:3001\\evil.example',
      ],
      ['//evil.example/x', '//evil.example/x', '//evil.example/x'],
      ['ftp://localhost:3001/x', 'ftp://localhost:3001/x', 'ftp://localhost:3001/x'],
      ['javascript:alert(1)', 'javascript:alert(1)', 'javascript:alert(1)'],
      // Relative addresses, which the browser resolves against the address of the request.
      ['logs', 'logs', 'logs'],
      ['./logs', './logs', './logs'],
      ['?a=b', '?a=b', '?a=b'],
      ['#a', '#a', '#a'],
      ['', '', ''],
      ['/logs', '/logs', '/api/logs'],
      ['/', '/', '/api/'],
      ['/v1//models', '/v1//models', '/api/v1//models'],
      ['/api/x', '/api/x', '/api/api/x'],
      [
        '/login?to=http://localhost:3001/',
        '/login?to=http://localhost:3001/',
        '/api/login?to=http://localhost:3001/',
      ],
    ]
    const plain = buildLocationRewriter(HOSTS, '3001', '')
    const stripped = buildLocationRewriter(HOSTS, '3001', '/api')
    for (const [location, asPlain, asStripped] of table) {
      t.equal(plain(location), asPlain, JSON.stringify(location))
      t.equal(stripped(location), asStripped, `${JSON.stringify(location)} behind /api`)
    }
    const port80 = buildLocationRewriter(HOSTS, '80', '')
    t.equal(port80('http://localhost/x'), '/x')
    t.equal(port80('https://localhost/x'), 'https://localhost/x')
    t.equal(
      buildLocationRewriter(['localhost'], undefined, '')('http://localhost/x'),
      'http://localhost/x',
    )
  },
)

t.test('a Location with the service’s own address never leads out of this workspace', async () => {
  const origin = 'https://houston.hubify.com'
  const path = fc.stringMatching(/^[/\\.:@?#%2fe\t a[\]]{0,12}$/)
  fc.assert(
    fc.property(
      path,
      fc.constantFrom('', '/api'),
      fc.constantFrom('/', '', '?'),
      (rest, stripped, start) => {
        const rewrite = buildLocationRewriter(HOSTS, '3001', stripped)
        const location = `http://localhost:3001${start}${rest}`
        const answer = rewrite(location)
        if (answer === location) return true // not the service's own address: unchanged
        return URL.parse(answer, `${origin}/somewhere`)?.origin === origin
      },
    ),
    { numRuns: 3000 },
  )
})

t.test('a request has a body if it has a Content-Length or a Transfer-Encoding', async (t) => {
  const table: ReadonlyArray<readonly [raw: string[], body: boolean]> = [
    [[], false],
    [['Content-Length', '0'], false],
    [['content-length', '00'], false],
    [['Content-Length', '1'], true],
    [['CONTENT-LENGTH', '10'], true],
    [['Transfer-Encoding', 'chunked'], true],
    [['Content-Type', 'text/plain'], false],
  ]
  for (const [raw, body] of table) t.equal(hasBody(raw), body, raw.join(': '))
})

t.test('a Connection list that ends with keep-alive or close still names headers', async (t) => {
  for (const value of ['X-Foo, close', 'close, X-Foo', 'X-Foo, keep-alive', 'X-Foo, Upgrade'])
    t.same(
      kept([
        ['Connection', value],
        ['X-Foo', 'a'],
        ['X-Bar', 'b'],
      ]),
      [['X-Bar', 'b']],
      value,
    )
})

t.test(
  'a forbidden name inside a longer name passes, and a value does not act as Connection',
  async (t) => {
    for (const name of ['My-X-Forwarded-For', 'Not-Fly-Client', 'Xcf-Ray']) {
      t.same(kept([[name, 'a']]), [[name, 'a']], name)
    }
    const fields: Pair[] = [
      ['Authorization', 'X-Foo'],
      ['X-Foo', 'a'],
    ]
    t.same(kept(fields), fields)
    t.same(kept([['Connection', 'X-Foo, close']], { allowNextData: true }), [])
  },
)
