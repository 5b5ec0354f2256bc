/** What may a program with an API token do, and where does it go no further? Over real sockets, plain and as upgrades. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { NewApiToken } from '../../src/identity/api-tokens.ts'
import { explainDecision } from '../../src/observe/explanation.ts'
import { renderMetrics } from '../../src/admin/measurements.ts'
import { assertRefused, client, cookie, DOORS, HTTPS, knock, ORIGIN } from '../helpers/door.ts'
import { startWorkspace, token as jwtOf } from '../helpers/gateway.ts'
import { temporaryFolder } from '../helpers/process.ts'
import { until } from '../helpers/waiting.ts'
import { send, type RawAnswer } from '../helpers/wire.ts'

const DAY_MS = 86_400_000
const TTY = 'Sec-WebSocket-Protocol: tty'

/** Starts a workspace in which API tokens can be made. */
async function startTokens(t: Test, overrides: Record<string, string | undefined> = {}) {
  const workspace = await startWorkspace(t, overrides)
  const { parts } = workspace.running
  const { apiTokens } = parts
  let made = 0
  return {
    ...workspace,
    parts,
    apiTokens,
    make: (wanted: Partial<NewApiToken> = {}) =>
      apiTokens.create({
        name: `t${made++}`,
        subject: 'alice',
        expiresAt: Date.now() + 90 * DAY_MS,
        ...wanted,
      }),
  }
}

const bearer = (token: string) => `Authorization: Bearer ${token}`

t.test('a token opens what its scopes name, and the service sees its maker', async (t) => {
  const workspace = await startTokens(t, { GATEWAY_CONTROL_UI: '/chat' })
  const { port, make, services, dials } = workspace
  const paths = { api: '/api/x', dashboard: '/x', terminal: '/terminal/ws', chat: '/chat/x' }
  for (const [scope, own] of Object.entries(paths)) {
    const { token } = make({ scopes: [scope], subject: 'Zoë' })
    for (const [route, path] of Object.entries(paths))
      for (const door of DOORS) {
        const before = dials()
        const answer = await knock(port, door, path, [bearer(token), TTY])
        if (path === own) {
          t.equal(answer.status, door === 'upgrade' ? 101 : 200, `${scope}: ${door} ${path}`)
          continue
        }
        const refusal = { code: 'scope-missing', stage: 'authentication', dials: before } as const
        const line = await assertRefused(t, workspace, answer, refusal)
        t.match(line, { route, user: 'Zoë', token: `t${Object.keys(paths).indexOf(scope)}` })
        t.match(answer.headers['www-authenticate'], 'error="insufficient_scope"')
      }
  }
  const { token } = make({ subject: 'bob' })
  await send(port, 'GET /api/y', [`X-Workspace-Token: ${token}`])
  const seen = services.api.requests
  t.notMatch(JSON.stringify(seen), token, 'the service never sees the token')
  await send(port, 'GET /y', [bearer(make({ scopes: ['dashboard'], subject: 'bob' }).token)])
  t.match(services.dashboard.requests.at(-1)?.headers, {
    'x-forwarded-user': 'bob',
    authorization: undefined,
  })
})

t.test('a scope for reading opens GET, HEAD and OPTIONS, and no WebSocket', async (t) => {
  const workspace = await startTokens(t)
  const { port, make, dials } = workspace
  const { token } = make({ scopes: ['api:read'] })
  for (const method of ['GET', 'HEAD', 'OPTIONS'])
    t.equal((await send(port, `${method} /api/x`, [bearer(token)])).status, 200, method)
  const before = dials()
  const refusal = { code: 'scope-missing', stage: 'authentication', dials: before } as const
  for (const method of ['POST', 'PUT', 'PATCH', 'DELETE'])
    await assertRefused(
      t,
      workspace,
      await send(port, `${method} /api/x`, [
        bearer(token),
        'Content-Length: 0',
        'X-HTTP-Method-Override: GET',
      ]),
      refusal,
    )
  await assertRefused(
    t,
    workspace,
    await knock(port, 'upgrade', '/api/x', [bearer(token)]),
    refusal,
  )
})

t.test('a path in a scope is the path that the service sees', async (t) => {
  const workspace = await startTokens(t)
  const { port, make, services, dials } = workspace
  const { token } = make({ scopes: ['api:/v1/models,terminal:read:/terminal'] })
  for (const path of ['/api/v1/models', '/api/v1/models/x?y', '/terminal/token'])
    t.equal((await send(port, `GET ${path}`, [bearer(token)])).status, 200, path)
  t.equal(services.terminal.requests.at(-1)?.url, '/terminal/token')
  const before = dials()
  for (const path of [
    ...[
      '/api/v1/modelsx',
      '/api/v1',
      '/api',
      '/api/V1/models',
      '/api/v1//models',
      '/api/v1/%6dodels',
    ],
    ...['/api/v1%2fmodels', '/api/v1/models%2fx', '/api/x?/v1/models', '/v1/models'],
    ...['/api/v1/models/..%23', '/api/v1/models;/x'],
  ])
    for (const door of DOORS)
      await assertRefused(t, workspace, await knock(port, door, path, [bearer(token)]), {
        code: 'scope-missing',
        stage: 'authentication',
        dials: before,
      })
})

t.test('of the gateway’s own routes a token reaches only what is for it', async (t) => {
  const workspace = await startTokens(t)
  const { port, make, parts } = workspace
  const all = ['api', 'dashboard', 'chat', 'terminal', 'vault']
  const { token } = make({ scopes: all })
  const { token: owners } = make({ scopes: ['owner', ...all] })
  const refusal = { code: 'scope-missing', stage: 'authentication' } as const
  for (const credential of [token, owners])
    for (const line of [
      'POST /_gateway/sign-out',
      'POST /_gateway/renew',
      'GET /_gateway/',
      'POST /_gateway/%73ign-out',
    ])
      await assertRefused(
        t,
        workspace,
        await send(port, line, [bearer(credential), 'Content-Length: 0']),
        refusal,
      )
  await assertRefused(
    t,
    workspace,
    await send(port, 'GET /_gateway/v1/x', [bearer(token)]),
    refusal,
  )
  const nothing = await send(port, 'GET /_gateway/v1/x', [bearer(owners)])
  t.equal(nothing.headers['x-gateway-error'], 'not-found', 'the owner’s scope reaches the API')
  t.equal(
    parts.apiTokens.list().every((one) => parts.apiTokens.isLive(one)),
    true,
  )
})

t.test('what is ready is told to anybody, how the services are to owners', async (t) => {
  const { port, make } = await startTokens(t)
  const body = async (headers: string[]) =>
    Object.keys(JSON.parse((await send(port, 'GET /_gateway/ready', headers)).body) as object)
  t.same(await body([]), ['status'])
  t.same(await body([bearer(make().token)]), ['status'])
  t.same(await body([bearer(make({ scopes: ['dashboard,terminal,vault'] }).token)]), ['status'])
  t.ok((await body([bearer(make({ scopes: ['owner:read'] }).token)])).includes('services'))
  t.same(
    await body([bearer(make({ scopes: ['owner'], addresses: ['192.0.2.1'] }).token)]),
    ['status'],
    'from an address that it is not for, a token is none',
  )
})

t.test('a token is refused from addresses that it is not for', async (t) => {
  const workspace = await startTokens(t)
  const { port, make } = workspace
  const { token, apiToken } = make({
    name: 'ci',
    addresses: ['203.0.113.0/24', '2001:db8::/32'],
    rate: 100,
  })
  for (const address of ['203.0.113.9', '2001:db8::1', '::ffff:203.0.113.7'])
    t.equal((await send(port, 'GET /api/x', [bearer(token), client(address)])).status, 200, address)
  const before = workspace.dials()
  for (const door of DOORS)
    for (const address of ['203.0.114.9', '2001:db9::1', '127.0.0.1']) {
      const answer = await knock(port, door, '/api/x', [bearer(token), client(address)])
      const line = await assertRefused(t, workspace, answer, {
        code: 'address-not-allowed',
        stage: 'authentication',
        dials: before,
      })
      t.match(line, { token: 'ci', client: address })
      t.match(answer.headers['ratelimit'], /^"address"/, 'it does not use up the token’s own rate')
    }
  t.equal(apiToken.session.lastSeenFrom, '127.0.0.1', 'the owner sees from where it was tried')
})

t.test(
  'unknown, revoked and expired tokens get one and the same answer, and explain knows more',
  async (t) => {
    const { port, make, apiTokens, parts, dials } = await startTokens(t)
    const revoked = make({ name: 'revoked' })
    const expired = make({ name: 'expired' })
    const used = make({ name: 'used-before' })
    t.equal((await send(port, 'GET /api/x', [bearer(used.token)])).status, 200)
    apiTokens.revoke(revoked.apiToken)
    apiTokens.revoke(used.apiToken)
    expired.apiToken.session.endsAt = Date.now() - 1
    const before = dials()
    const answers: RawAnswer[] = []
    for (const [secret, reason] of [
      [`hub_${'a'.repeat(32)}`, 'unknown API token'],
      ['hub_', 'unknown API token'],
      [`${used.token}x`, 'unknown API token'],
      [revoked.token, 'API token revoked is revoked'],
      [used.token, 'API token used-before is revoked'],
      [expired.token, 'API token expired has expired'],
    ] as const)
      for (const door of DOORS) {
        const answer = await knock(port, door, '/api/x', [bearer(secret)])
        answers.push(answer)
        t.match(answer, { status: 401, headers: { 'x-gateway-error': 'token-invalid' } }, reason)
        const id = answer.headers['x-request-id'] ?? ''
        const decision = await until('recorded', () => parts.decisions.find(id))
        const explanation = explainDecision(decision)
        t.equal(explanation.reason, reason)
        t.ok(explanation.chain.some(({ detail }) => detail.includes(reason)))
      }
    t.equal(dials(), before)
    const plain = ({ raw, headers }: RawAnswer) =>
      raw
        .replaceAll(headers['x-request-id'] ?? '?', 'ID')
        .replace(/^Date: .*$/m, '')
        .replace(/^(RateLimit): .*$/m, '')
    const requests = answers.filter((_, i) => i % 2 === 0).map(plain)
    t.equal(new Set(requests).size, 1, 'byte for byte')
  },
)

t.test('a token in the session cookie is none', async (t) => {
  const { port, make } = await startTokens(t)
  const { token } = make({ scopes: ['dashboard'] })
  t.equal((await send(port, 'GET /', [bearer(token)])).status, 200)
  const answer = await send(port, 'GET /', [cookie(token), HTTPS, 'Sec-Fetch-Site: same-origin'])
  t.match(answer, { status: 401, headers: { 'x-gateway-error': 'token-invalid' } })
})

t.test('a foreign page cannot open a WebSocket with a token', async (t) => {
  const { port, make } = await startTokens(t)
  const headers = [bearer(make().token), 'Origin: https://evil.example']
  const answer = await knock(port, 'upgrade', '/api/x', headers)
  t.equal(answer.headers['x-gateway-error'], 'origin-not-allowed')
})

t.test('a token with a rate of its own is throttled by nobody else, and at its rate', async (t) => {
  const { port, make } = await startTokens(t, { GATEWAY_RATE_LIMIT: undefined })
  const from = client('203.0.113.9')
  const { token, apiToken } = make({ rate: 30 })
  const other = make({ rate: 1 }).token
  const shared = make().token
  const guesses = await Promise.all(
    Array.from({ length: 12 }, (_, i) =>
      send(port, 'GET /api/x', [bearer(`hub_${String(i).padStart(32, '0')}`), from]),
    ),
  )
  t.equal(guesses.filter(({ status }) => status === 401).length, 10, 'ten guesses')
  t.equal(guesses.filter(({ status }) => status === 429).length, 2, 'and the budget is gone')
  t.equal(
    (await send(port, 'GET /api/x', [bearer(shared), from])).status,
    429,
    'for all who share it',
  )
  const first = await send(port, 'GET /api/x', [bearer(token), from])
  t.match(first.headers, {
    ratelimit: /^"token";r=29;t=60$/,
    'ratelimit-policy': '"token";q=30;w=60',
  })
  const rest = await Promise.all(
    Array.from({ length: 40 }, (_, i) =>
      send(port, i % 2 === 0 ? 'GET /api/x' : 'GET /not-in-scope', [bearer(token), from]),
    ),
  )
  t.equal(rest.filter(({ status }) => status !== 429).length, 29)
  const refused = rest.find(({ status }) => status === 429)
  t.match(refused?.headers['ratelimit'], /^"token";r=0;t=/)
  t.equal(
    (await send(port, 'GET /api/x', [bearer(token), client('203.0.114.1')])).status,
    429,
    'wherever it is used',
  )
  t.equal(
    (await send(port, 'GET /api/x', [bearer(other), from])).status,
    200,
    'another has its own',
  )
  t.equal((await send(port, 'GET /api/x', [bearer(other), from])).status, 429)
  t.ok(apiToken.uses >= 41)
})

t.test('a token without a rate spends the ten of its address, as do those beside it', async (t) => {
  const { port, make } = await startTokens(t, { GATEWAY_RATE_LIMIT: undefined })
  const [first, second] = [make().token, make().token]
  const from = client('203.0.113.9')
  for (let i = 0; i < 10; i++) {
    const answer = await send(port, 'GET /api/x', [bearer(i % 2 === 0 ? first : second), from])
    t.match(answer, { status: 200, headers: { 'ratelimit-policy': '"address";q=10;w=60' } })
  }
  t.equal((await send(port, 'GET /api/x', [bearer(first), from])).status, 429)
  t.equal((await send(port, 'GET /api/x', [bearer(first), client('203.0.114.9')])).status, 200)
})

t.test('what lets people out and in is free for sessions, not for tokens', async (t) => {
  const { port, make, dials } = await startTokens(t, { GATEWAY_RATE_LIMIT: undefined })
  const tries = [make({ scopes: ['owner'] }).token, make({ scopes: ['api'], rate: 5 }).token]
  for (const [i, limit] of [10, 5].entries())
    for (const path of ['/_gateway/sign-out', '/_gateway/renew']) {
      const headers = [bearer(tries[i] ?? ''), client(`203.0.113.${i}`), 'Content-Length: 0']
      const answers = []
      for (let n = 0; n < 12; n++) answers.push(await send(port, `POST ${path}`, headers))
      const expected = path === '/_gateway/renew' ? 0 : limit // the second path finds nothing left
      t.equal(answers.filter(({ status }) => status === 403).length, expected, path)
      t.equal(answers.filter(({ status }) => status === 429).length, 12 - expected)
    }
  t.equal(dials(), 0)
})

t.test(
  'in its last 14 days a token says when it expires, in answers of services too',
  async (t) => {
    const { port, make } = await startTokens(t, { GATEWAY_ALLOWED_ORIGINS: 'https://app.example' })
    const soon = Date.now() + 14 * DAY_MS - 60_000
    const { token } = make({ expiresAt: soon, rate: 50 })
    const shared = make({ expiresAt: soon }).token
    const date = new Date(soon).toUTCString()
    for (const [path, status] of [
      ['/api/x', 200],
      ['/not-in-scope', 403],
    ] as const)
      for (const secret of [token, shared]) {
        const answer = await send(port, `GET ${path}`, [bearer(secret)])
        t.equal(answer.status, status)
        t.equal(answer.headers['x-workspace-token-expires'], date)
      }
    const switched = await knock(port, 'upgrade', '/api/x', [bearer(token)])
    t.match(switched, { status: 101, headers: { 'x-workspace-token-expires': date } })
    const readable = await send(port, 'GET /api/x', [bearer(token), 'Origin: https://app.example'])
    t.match(readable.headers['access-control-expose-headers'], 'X-Workspace-Token-Expires')
    for (const secret of [
      make({ expiresAt: soon + 120_000 }).token,
      make({ expiresAt: undefined }).token,
      await jwtOf(),
      `hub_${'a'.repeat(32)}`,
    ]) {
      const answer = await send(port, 'GET /api/x', [bearer(secret)])
      t.notOk(answer.headers['x-workspace-token-expires'])
    }
  },
)

t.test(
  'a token in force in an address is refused, counted and marked, whatever else comes with it',
  async (t) => {
    const workspace = await startTokens(t, { GATEWAY_RATE_LIMIT: undefined })
    const { port, make, apiTokens, services } = workspace
    const good = await jwtOf()
    const { token: ours } = make({ rate: 1000 })
    const escaped = (text: string) => Buffer.from(text).toString('hex').replace(/../g, '%$&')
    let address = 0
    for (const [form, of] of Object.entries({
      plain: (secret) => `/api/x?key=${secret}`,
      path: (secret) => `/api/${secret}/x`,
      dashboard: (secret) => `/${secret}`,
      glued: (secret) => `/x?a=1&b=xhub_${secret}y&c`,
      escaped: (secret) => `/x?${escaped(secret)}`,
      'escaped path': (secret) => `/x/${escaped(secret)}`,
      twice: (secret) => `/x?${escaped(secret).replaceAll('%', '%25')}`,
      mixed: (secret) => `/x?a=%2&b=${secret.replace('_', '%5F')}`,
      'sign-in': (secret) => `/_gateway/sign-in?token=${secret}`,
      nothing: (secret) => `/_gateway/x?${secret}`,
      'a WebSocket’s': (secret) => `/api/ws?token=${secret}`,
    } satisfies Record<string, (secret: string) => string>))
      for (const door of DOORS)
        for (const headers of [
          [],
          [bearer(good)],
          [`X-Workspace-Token: ${ours}`],
          [cookie(good), HTTPS, `Origin: ${ORIGIN}`],
        ]) {
          const { token, apiToken } = make()
          const from = client(`203.0.113.${++address % 250}`)
          const answer = await knock(port, door, of(token), [...headers, from])
          const line = await assertRefused(t, workspace, answer, {
            code: 'token-in-url',
            stage: 'credential',
          })
          t.match(line, { token: apiToken.name }, form)
          t.notMatch(JSON.stringify(line), token)
          t.notMatch(answer.raw, token)
          t.type(apiToken.exposedAt, 'number', 'it is marked')
        }
    t.equal(services.api.requests.length, 0)
    const { token } = make()
    const from = client('198.51.100.1')
    for (let i = 0; i < 10; i++)
      t.equal(
        (await send(port, `GET /?${token}`, [from])).headers['x-gateway-error'],
        'token-in-url',
      )
    t.equal((await send(port, 'GET /', [from, bearer(good)])).status, 429, 'the address has paid')
    t.equal(
      (await send(port, 'GET /api/x', [bearer(token)])).status,
      200,
      'it still counts in a header',
    )
    t.equal(apiTokens.find(ours)?.exposedAt, undefined)
  },
)

t.test('a token that is not in force passes in an address, and is not logged', async (t) => {
  const workspace = await startTokens(t)
  const { port, make, apiTokens, logLine } = workspace
  const good = await jwtOf()
  const revoked = make()
  apiTokens.revoke(revoked.apiToken)
  for (const secret of [revoked.token, `hub_${'b'.repeat(32)}`, `hub_${'c'.repeat(12)}`]) {
    const answer = await send(port, `GET /x/${secret}?y=${secret}`, [bearer(good)])
    t.equal(answer.status, 200)
    const line = await logLine(({ id }) => id === answer.headers['x-request-id'])
    t.equal(line['path'], '/x/[token]')
    t.notMatch(JSON.stringify(line), secret)
  }
  t.equal(revoked.apiToken.exposedAt, undefined)
})

t.test('last seen, and from where, is noted of every kind of session', async (t) => {
  const { port, make, parts } = await startTokens(t)
  const { token, apiToken } = make()
  await send(port, 'GET /api/x', [bearer(token), client('203.0.113.1')])
  t.match(apiToken, { uses: 1, session: { lastSeenFrom: '203.0.113.1' } })
  const before = apiToken.session.lastSeenAt
  t.ok(Math.abs(before - Date.now()) < 60_000)
  await send(port, 'GET /api/x', [bearer(token), client('203.0.113.2')])
  t.match(apiToken, { uses: 2, session: { lastSeenFrom: '203.0.113.2' } })
  t.ok(apiToken.session.lastSeenAt >= before)
  const jwt = bearer(await jwtOf())
  await send(port, 'GET /api/x', [jwt, client('203.0.113.3')])
  const [program] = [...parts.sessions.programs()]
  t.equal(program?.lastSeenFrom, '203.0.113.3', 'of a token that was verified')
  await send(port, 'GET /api/x', [jwt, client('203.0.113.4')])
  t.equal(program?.lastSeenFrom, '203.0.113.4', 'and of one that was remembered')
})

t.test('tokens, revocations, rates and last uses survive a restart', async (t) => {
  const settings = { GATEWAY_STATE_DIR: temporaryFolder(t), GATEWAY_RATE_LIMIT: undefined }
  const first = await startTokens(t, settings)
  const { token, apiToken } = first.make({ name: 'ci', rate: 3 })
  const revoked = first.make({ name: 'revoked' })
  first.apiTokens.revoke(revoked.apiToken)
  for (let i = 0; i < 2; i++)
    t.equal(
      (await send(first.port, 'GET /api/x', [bearer(token), client('203.0.113.9')])).status,
      200,
    )
  const { lastSeenAt } = apiToken.session
  await first.running.close()
  const next = await startTokens(t, settings)
  const known = next.apiTokens.named('ci')
  t.match(known, { id: apiToken.id, session: { lastSeenAt, lastSeenFrom: '203.0.113.9' } })
  t.equal((await send(next.port, 'GET /api/x', [bearer(revoked.token)])).status, 401)
  const answer = await send(next.port, 'GET /api/x', [bearer(token)])
  t.equal(answer.status, 200)
  t.match(answer.headers['ratelimit'], /^"token";r=0;/, 'the two from before count')
  t.equal((await send(next.port, 'GET /api/x', [bearer(token)])).status, 429)
})

t.test('no file, log line, metric or record has a token', async (t) => {
  const workspace = await startTokens(t)
  const { port, make, apiTokens, parts, config, logLines, running } = workspace
  const made = [make({ scopes: ['api', 'dashboard'] }), make(), make()]
  const [live, revoked, rotated] = made
  if (live === undefined || revoked === undefined || rotated === undefined) return
  made.push(apiTokens.rotate(rotated.apiToken))
  apiTokens.revoke(revoked.apiToken)
  const ids: string[] = []
  for (const { token } of made)
    for (const door of DOORS)
      for (const path of [
        '/api/x',
        `/${token}`,
        `/x?${token}`,
        `/%68${token.slice(1)}`,
        '/terminal/',
      ]) {
        const answer = await knock(port, door, path, [bearer(token)])
        ids.push(answer.headers['x-request-id'] ?? '')
        t.notMatch(answer.raw, token)
      }
  parts.state.flush()
  const files = readdirSync(config.stateDir).filter((name) => name.startsWith('state.db'))
  t.ok(files.length >= 2, 'the database and its log')
  const places = new Map([
    ...files.map((name) => [name, readFileSync(join(config.stateDir, name), 'latin1')] as const),
    ['log', JSON.stringify(logLines())],
    ['metrics', renderMetrics(parts)],
    ['records', JSON.stringify(ids.map((id) => parts.decisions.find(id)))],
  ])
  await running.close()
  for (const name of readdirSync(config.stateDir))
    places.set(`${name} after the end`, readFileSync(join(config.stateDir, name), 'latin1'))
  for (const [place, text] of places) {
    for (const { token, apiToken } of made) {
      t.notOk(text.includes(token.slice(4)), `${place} has no token`)
      t.notOk(
        text.includes(token.slice(4, 20)) || text.includes(token.slice(-16)),
        'nor half of one',
      )
      if (/^(?:log|metrics|records|state\.db-wal)$/.test(place))
        t.ok(
          text.includes(apiToken.name) || (place === 'metrics' && apiToken.uses === 0),
          `${place} was searched: it has the name`,
        )
    }
  }
})
