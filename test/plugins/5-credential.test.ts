/** Is the right credential found, does the first one decide alone, and does it end at the gateway? */
import { createHmac } from 'node:crypto'
import t from 'tap'
import { assertRefused, cookie, DOORS, HTTPS, knock, ORIGIN } from '../helpers/door.ts'
import { SECRET, startWorkspace, token } from '../helpers/gateway.ts'
import { send } from '../helpers/wire.ts'

const OTHER_SECRET = 'another-key-that-is-not-houstons-own'
const base64url = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')

/** A token with a header and claims of one's own, signed like ours. */
function forge(header: object, claims: object, secret = SECRET): string {
  const signed = `${base64url(header)}.${base64url(claims)}`
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`
}

const inAnHour = () => Math.floor(Date.now() / 1000) + 3600

t.test('a token opens the door in X-Workspace-Token, as a Bearer and in the cookie', async (t) => {
  const { port, services } = await startWorkspace(t)
  const good = await token()
  for (const headers of [
    [`X-Workspace-Token: ${good}`],
    [`x-workspace-token:   ${good}  `],
    [`Authorization: Bearer ${good}`],
    [`authorization: bearer ${good}`],
    [`Authorization: BEARER   ${good}`],
    [cookie(good), HTTPS],
    [`Cookie: a=b; __Host-workspace_session=${good}; c=d`, HTTPS],
    ['Cookie: a=b', cookie(good), HTTPS],
    [`Cookie: __Host-workspace_session = ${good}`, HTTPS],
    [cookie(good)], // no scheme said: the public host is never plain http to a browser
  ]) {
    for (const door of DOORS) {
      const origin = door === 'upgrade' && headers.includes(HTTPS) ? [`Origin: ${ORIGIN}`] : []
      const sameSite = ['Sec-Fetch-Site: same-origin']
      const answer = await knock(port, door, '/', [
        ...headers,
        ...(origin.length > 0 ? origin : sameSite),
      ])
      t.equal(answer.status, door === 'upgrade' ? 101 : 200, headers.join())
      const seen = JSON.stringify(services.dashboard.requests.at(-1)?.rawHeaders)
      t.notMatch(seen, good, 'it ends at the gateway')
      t.notMatch(seen, 'workspace_session')
      t.match(services.dashboard.requests.at(-1)?.headers, { 'x-forwarded-user': 'alice' })
    }
  }
})

t.test('the first credential that is present decides alone, even when it is bad', async (t) => {
  const workspace = await startWorkspace(t)
  const good = await token()
  const bad = await token({ secret: OTHER_SECRET })
  const expired = await token({ ttlSeconds: -3600 })
  const rows: Array<[headers: string[], code: 'token-invalid' | 'token-expired' | undefined]> = [
    [[`X-Workspace-Token: ${bad}`, `Authorization: Bearer ${good}`, cookie(good)], 'token-invalid'],
    [
      [`X-Workspace-Token: ${expired}`, `Authorization: Bearer ${good}`, cookie(good)],
      'token-expired',
    ],
    [[`X-Workspace-Token: garbage`, cookie(good)], 'token-invalid'],
    [[`X-Workspace-Token: `, `Authorization: Bearer ${good}`], 'token-invalid'],
    [[`X-Workspace-Token: hub_${'a'.repeat(32)}`, cookie(good)], 'token-invalid'],
    [[`Authorization: Bearer ${bad}`, cookie(good)], 'token-invalid'],
    [[`Authorization: Bearer ${expired}`, cookie(good)], 'token-expired'],
    [[`Authorization: Bearer hub_${'a'.repeat(32)}`, cookie(good)], 'token-invalid'],
    [[cookie(bad)], 'token-invalid'],
    [[cookie(expired)], 'token-expired'],
    [[cookie('garbage')], 'token-invalid'],
    [[`X-Workspace-Token: ${good}`, `Authorization: Bearer ${bad}`, cookie(bad)], undefined],
    [[`Authorization: Bearer ${good}`, cookie(bad)], undefined],
    [[`Authorization: Bearer service-own`, cookie(good)], undefined],
  ]
  for (const [headers, code] of rows) {
    for (const door of DOORS) {
      await t.test(`${door} ${headers.map((line) => line.slice(0, 24)).join(' + ')}`, async (t) => {
        const before = workspace.dials()
        const all = [...headers, HTTPS, `Origin: ${ORIGIN}`]
        const answer = await knock(workspace.port, door, '/', all)
        if (code === undefined) t.equal(answer.status, door === 'upgrade' ? 101 : 200)
        else
          await assertRefused(t, workspace, answer, {
            code,
            stage: 'authentication',
            dials: before,
          })
      })
    }
  }
})

t.test('Basic and a Bearer of the service’s own open no door', async (t) => {
  const workspace = await startWorkspace(t)
  for (const value of [
    'Basic dXNlcjpwYXNz',
    'Bearer service-own-token',
    'Bearer a.b',
    'Bearer',
    'Bearer ',
    'Digest username="alice"',
    'Negotiate YII=',
    `Basic ${await token()}`,
    `Token ${await token()}`,
    await token(),
  ]) {
    for (const door of DOORS) {
      for (const target of ['/', '/api/x', '/terminal/ws']) {
        const answer = await knock(workspace.port, door, target, [`Authorization: ${value}`])
        await assertRefused(t, workspace, answer, {
          code: 'sign-in-required',
          stage: 'authentication',
        })
      }
    }
  }
})

t.test(
  'Basic and a Bearer of the service’s own pass to the service when the cookie opens the door',
  async (t) => {
    const { port, services } = await startWorkspace(t)
    const good = await token()
    for (const [target, service] of [
      ['/terminal/', 'terminal'],
      ['/api/x', 'api'],
      ['/', 'dashboard'],
    ] as const) {
      for (const value of [
        'Basic dXNlcjpwYXNz',
        'Bearer service-own-token',
        'Digest username="alice"',
      ]) {
        for (const credential of [cookie(good), `X-Workspace-Token: ${good}`]) {
          const headers = [credential, HTTPS, `Authorization: ${value}`]
          t.equal((await send(port, `GET ${target}`, headers)).status, 200)
          t.equal(services[service].requests.at(-1)?.headers.authorization, value)
        }
      }
    }
  },
)

t.test(
  'no token of ours reaches a service in Authorization, whichever credential decides',
  async (t) => {
    const { port, services } = await startWorkspace(t)
    const first = await token()
    const rows: Array<[what: string, other: string]> = [
      ['the same token', first],
      ['another token, never seen before', await token({ subject: 'bob' })],
      ['an expired one', await token({ ttlSeconds: -3600 })],
      ['an API token', `hub_${'a'.repeat(32)}`],
    ]
    for (const [what, other] of rows) {
      const headers = [`X-Workspace-Token: ${first}`, `Authorization: Bearer ${other}`]
      t.equal((await send(port, 'GET /api/x', headers)).status, 200)
      t.notOk('authorization' in (services.api.requests.at(-1)?.headers ?? {}), what)
    }
    const foreign = await token({ secret: OTHER_SECRET })
    await send(port, 'GET /api/x', [
      `X-Workspace-Token: ${first}`,
      `Authorization: Bearer ${foreign}`,
    ])
    t.equal(
      services.api.requests.at(-1)?.headers.authorization,
      `Bearer ${foreign}`,
      'a JWT of the service’s own passes',
    )
  },
)

t.test('a credential that comes twice is malformed', async (t) => {
  const workspace = await startWorkspace(t)
  const good = await token()
  for (const headers of [
    [`X-Workspace-Token: ${good}`, `X-Workspace-Token: ${good}`],
    [`Authorization: Bearer ${good}`, `Authorization: Bearer ${good}`],
    [`Authorization: Bearer ${good}`, 'Authorization: Basic dXNlcjpwYXNz'],
    ['Authorization: Basic dXNlcjpwYXNz', `authorization: Bearer ${good}`, cookie(good)],
  ]) {
    for (const door of DOORS) {
      const answer = await knock(workspace.port, door, '/', [...headers, HTTPS])
      await assertRefused(t, workspace, answer, { code: 'bad-request', stage: 'authentication' })
      t.equal(answer.headers['set-cookie'], undefined, 'no cookie is at fault, none is expired')
    }
  }
})

t.test('two copies of the session cookie are malformed and are expired', async (t) => {
  const workspace = await startWorkspace(t)
  const good = await token()
  for (const headers of [
    [`Cookie: __Host-workspace_session=${good}; __Host-workspace_session=${good}`],
    [`Cookie: __Host-workspace_session=x; a=b; __Host-workspace_session=${good}`],
    [cookie(good), cookie(good)],
    [cookie(good), 'Cookie: __Host-workspace_session='],
  ]) {
    for (const door of DOORS) {
      const answer = await knock(workspace.port, door, '/', [
        ...headers,
        HTTPS,
        `Origin: ${ORIGIN}`,
      ])
      await assertRefused(t, workspace, answer, { code: 'bad-request', stage: 'authentication' })
      t.match(
        answer.headers['set-cookie'],
        /^__Host-workspace_session=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=\/; HttpOnly; SameSite=Lax; Secure/,
      )
      t.match(
        answer.headers['set-cookie'],
        /\n__Host-workspace_session=; Max-Age=0; Domain=hubify\.com; /,
      )
    }
  }
  const local = await send(workspace.port, 'GET /', [
    'Host: localhost',
    `Cookie: workspace_session=${good}; workspace_session=${good}`,
  ])
  await assertRefused(t, workspace, local, { code: 'bad-request', stage: 'authentication' })
  t.match(local.headers['set-cookie'], /^workspace_session=; Max-Age=0; /)
})

t.test(
  'the __Host- cookie counts wherever the client came by https, the plain one only on loopback over http',
  async (t) => {
    const { port } = await startWorkspace(t)
    const good = await token()
    const secure = cookie(good)
    const plain = `Cookie: workspace_session=${good}`
    const rows: Array<[host: string, proto: string, line: string, status: number]> = [
      ['houston.hubify.com', 'https', secure, 200],
      ['houston.hubify.com', 'https', plain, 401],
      ['houston.hubify.com', 'http', secure, 200],
      ['houston.hubify.com', 'http', plain, 401],
      ['localhost:8080', 'http', plain, 200],
      ['localhost:8080', 'http', secure, 401],
      ['localhost:8080', 'https', secure, 200],
      ['localhost:8080', 'https', plain, 401],
      ['app.localhost', 'http', plain, 200],
      ['127.0.0.1:8080', 'http', plain, 200],
      ['127.9.9.9', 'http', plain, 200],
      ['[::1]:8080', 'http', plain, 200],
      ['10.0.0.1', 'http', plain, 401],
      ['203.0.113.9', 'http', plain, 401],
      ['[fdaa::3]', 'http', plain, 401],
    ]
    for (const [host, proto, line, status] of rows) {
      const answer = await send(port, 'GET /', [
        `Host: ${host}`,
        `X-Forwarded-Proto: ${proto}`,
        line,
      ])
      t.equal(answer.status, status, `${proto}://${host} ${line.slice(0, 26)}`)
    }
  },
)

t.test('cookies that only look like ours open no door', async (t) => {
  const workspace = await startWorkspace(t)
  const good = await token()
  for (const pair of [
    `__host-workspace_session=${good}`,
    `__HOST-WORKSPACE_SESSION=${good}`,
    `__Host-workspace_sessio=${good}`,
    `__Host-workspace_session2=${good}`,
    `x__Host-workspace_session=${good}`,
    `__Secure-workspace_session=${good}`,
    `workspace_session=${good}`,
    `__Host-workspace%5Fsession=${good}`,
    `=__Host-workspace_session=${good}`,
    `$Version=1`,
    `\xa0__Host-workspace_session=${good}`,
    `\xe2\x80\x80__Host-workspace_session=${good}`,
    `__Host-workspace_session\xa0=${good}`,
    `__Host-workspace_session`,
    `__Host-workspace_session=`,
    `a="; __Host-workspace_session_=${good}"`,
  ]) {
    const answer = await send(workspace.port, 'GET /', [`Cookie: ${pair}`, HTTPS])
    await assertRefused(t, workspace, answer, { code: 'sign-in-required', stage: 'authentication' })
  }
  for (const value of [
    `"${good}"`,
    `${good}%20`,
    encodeURIComponent(`${good} `),
    `${good},`,
    `${good}\xa0`,
  ]) {
    const answer = await send(workspace.port, 'GET /', [cookie(value), HTTPS])
    await assertRefused(t, workspace, answer, { code: 'token-invalid', stage: 'authentication' })
  }
})

t.test('a token in the address opens no door', async (t) => {
  const workspace = await startWorkspace(t)
  const good = await token()
  for (const door of DOORS) {
    for (const query of [`token=${good}`, `access_token=${good}`, `workspace_token=${good}`]) {
      const answer = await knock(workspace.port, door, `/api/x?${query}`)
      await assertRefused(t, workspace, answer, {
        code: 'sign-in-required',
        stage: 'authentication',
      })
    }
  }
})

t.test('a token that is not exactly ours is refused', async (t) => {
  const workspace = await startWorkspace(t)
  const claims = { aud: 'houston', sub: 'alice', exp: inAnHour() }
  const header = { alg: 'HS256', typ: 'JWT' }
  const good = forge(header, claims)
  t.equal((await send(workspace.port, 'GET /api', [`Authorization: Bearer ${good}`])).status, 200)
  const dials = workspace.dials()
  const [head = '', body = '', signature = ''] = good.split('.')
  const rows: Record<string, string> = {
    'for another workspace': forge(header, { ...claims, aud: 'research' }),
    'for another workspace, in the same key': await token({ workspace: 'research' }),
    'for a name that starts like ours': forge(header, { ...claims, aud: 'houston2' }),
    'for our name in capitals': forge(header, { ...claims, aud: 'Houston' }),
    'for nobody': forge(header, { sub: 'alice', exp: inAnHour() }),
    'for a list without us': forge(header, { ...claims, aud: ['research'] }),
    'without an end': forge(header, { aud: 'houston', sub: 'alice' }),
    'with an end in words': forge(header, { ...claims, exp: String(inAnHour()) }),
    'with an infinite end': forge(header, claims).replace(
      body,
      Buffer.from('{"aud":"houston","sub":"alice","exp":1e400}').toString('base64url'),
    ),
    'without a subject': forge(header, { aud: 'houston', exp: inAnHour() }),
    'with an empty subject': forge(header, { ...claims, sub: '' }),
    'not valid yet': forge(header, { ...claims, nbf: inAnHour() }),
    'issued in the future': forge(header, { ...claims, iat: inAnHour() }),
    unsigned: `${base64url({ alg: 'none' })}.${body}.`,
    'unsigned with our signature': `${base64url({ alg: 'none' })}.${body}.${signature}`,
    'with alg None': forge({ alg: 'None' }, claims),
    'with alg hs256': forge({ alg: 'hs256' }, claims),
    'with alg HS512': forge({ alg: 'HS512' }, claims),
    'with alg RS256': forge({ alg: 'RS256' }, claims),
    'without alg': forge({ typ: 'JWT' }, claims),
    'with crit': forge({ ...header, crit: ['exp'] }, claims),
    'with b64': forge({ ...header, b64: false, crit: ['b64'] }, claims),
    'with a key of its own': forge({ ...header, jwk: { kty: 'oct', k: 'AA' } }, claims),
    'with a key from elsewhere': forge({ ...header, jku: 'https://evil.example/keys' }, claims),
    'with a certificate': forge({ ...header, x5u: 'https://evil.example/cert' }, claims),
    'with another key': forge(header, claims, OTHER_SECRET),
    'with an empty key': forge(header, claims, ''),
    'with a changed claim': `${head}.${base64url({ ...claims, sub: 'root' })}.${signature}`,
    'with a signature cut short': good.slice(0, -1),
    'with padding': `${good}=`,
    'longer than 4 KiB': forge(header, { ...claims, x: 'x'.repeat(4096) }),
  }
  for (const [what, bad] of Object.entries(rows)) {
    await t.test(what, async (t) => {
      const answer = await send(workspace.port, 'GET /api', [`X-Workspace-Token: ${bad}`])
      await assertRefused(t, workspace, answer, {
        code: 'token-invalid',
        stage: 'authentication',
        dials,
      })
      t.equal(answer.headers['www-authenticate'], 'Bearer realm="workspace", error="invalid_token"')
    })
  }
  const expired = await send(workspace.port, 'GET /api', [
    `X-Workspace-Token: ${await token({ ttlSeconds: -31 })}`,
  ])
  await assertRefused(t, workspace, expired, {
    code: 'token-expired',
    stage: 'authentication',
    dials,
  })
  const leeway = await send(workspace.port, 'GET /api', [
    `X-Workspace-Token: ${await token({ ttlSeconds: -20 })}`,
  ])
  t.equal(leeway.status, 200, 'within the leeway')
  const list = forge(header, { ...claims, aud: ['research', 'houston'] })
  t.equal((await send(workspace.port, 'GET /api', [`X-Workspace-Token: ${list}`])).status, 200)
})
