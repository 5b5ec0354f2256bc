/** Does the JSON API tell and change exactly what its caller may see and change, and nothing for anybody else? */
import type { Test } from 'tap'
import t from 'tap'
import type { LiveParts, OwnerAction } from '../../src/admin/action.ts'
import { OWNER_ACTIONS } from '../../src/admin/owner-actions.ts'
import { GatewayError } from '../../src/answers/errors.ts'
import { call, jsonOf, OWN_PAGE, pageOf } from '../helpers/api.ts'
import { assertRefused, client, cookie, HTTPS } from '../helpers/door.ts'
import { startWorkspace, token } from '../helpers/gateway.ts'
import { eventually } from '../helpers/waiting.ts'
import { send, upgrade, type RawAnswer } from '../helpers/wire.ts'

const listOf = (t: Test, answer: RawAnswer) =>
  jsonOf(t, answer)['sessions'] as Array<Record<string, unknown>>

t.test('whoever is signed in sees their own session', async (t) => {
  const workspace = await startWorkspace(t, { GATEWAY_OWNERS: 'alice' })
  for (const [subject, isOwner] of [
    ['alice', true],
    ['bob', false],
  ] as const) {
    const page = await pageOf(workspace, subject)
    const own = jsonOf(t, await call(workspace, 'GET /session', page))
    t.match(own, { workspace: 'houston', sub: subject, kind: 'browser', isOwner })
    for (const name of ['createdAt', 'expiresAt', 'authenticatedAt'])
      t.match(own[name], /^20\d\d-\d\d-\d\dT.*Z$/, name)
    const bearer = [`Authorization: Bearer ${await token({ subject })}`]
    t.match(jsonOf(t, await call(workspace, 'GET /session', bearer)), {
      sub: subject,
      kind: 'program',
      createdAt: null,
    })
  }
  t.equal(workspace.dials(), 0)
})

t.test('a page of an allowed origin gets nothing with the cookie of a person', async (t) => {
  const foreign = 'https://app.example.com'
  const workspace = await startWorkspace(t, { GATEWAY_ALLOWED_ORIGINS: foreign })
  const page = await pageOf(workspace)
  const fromThere = page.map((line) => (line.startsWith('Origin:') ? `Origin: ${foreign}` : line))
  for (const [name, { method, path, who }] of Object.entries<OwnerAction<LiveParts>>(
    OWNER_ACTIONS,
  )) {
    if (who === 'machine') continue
    const answer = await call(workspace, `${method} ${path.replace(':id', 'x')}`, fromThere, {})
    t.equal(answer.headers['x-gateway-error'], 'origin-not-allowed', name)
  }
  const made = await call(workspace, 'POST /api-tokens', page, { name: 'ci', scopes: ['owner'] })
  const { token: apiToken } = jsonOf(t, made)
  const program = [HTTPS, `Origin: ${foreign}`, `Authorization: Bearer ${String(apiToken)}`]
  jsonOf(t, await call(workspace, 'GET /sessions', program))
})

t.test('an owner sees the sessions of everybody', async (t) => {
  const workspace = await startWorkspace(t)
  const alice = await pageOf(workspace)
  await pageOf(workspace, 'bob', { from: '2001:db8::7' })
  await call(workspace, 'GET /session', [`Authorization: Bearer ${await token({ subject: 'ci' })}`])
  const sessions = listOf(t, await call(workspace, 'GET /sessions', alice))
  t.match(
    sessions.toSorted((a, b) => String(a['sub']).localeCompare(String(b['sub']))),
    [
      {
        sub: 'alice',
        kind: 'browser',
        current: true,
        device: 'Firefox',
        address: '203.0.113.9',
        sockets: 0,
      },
      { sub: 'bob', kind: 'browser', current: false, device: 'Firefox', address: '2001:db8::7' },
      { sub: 'ci', kind: 'program', current: false, device: null, address: null, createdAt: null },
    ],
  )
  t.equal(sessions[0]?.['sub'], 'alice', 'the one that was seen last comes first')
  const elsewhere = [alice[0] ?? '', ...OWN_PAGE, client('198.51.100.7')]
  const [own] = listOf(t, await call(workspace, 'GET /sessions', elsewhere))
  t.match(own, { address: '203.0.113.9', lastSeenFrom: '198.51.100.7' }, 'where it is seen now')
  t.equal(workspace.dials(), 0)
})

t.test('one session is ended, and no other', async (t) => {
  const workspace = await startWorkspace(t)
  const [alice, bob] = [await pageOf(workspace), await pageOf(workspace, 'bob')]
  const sessions = listOf(t, await call(workspace, 'GET /sessions', alice))
  const id = String(sessions.find(({ sub }) => sub === 'bob')?.['id'])
  const ended = jsonOf(t, await call(workspace, `DELETE /sessions/${id}`, alice))
  t.same(ended, { ended: 1, saved: true })
  await assertRefused(t, workspace, await call(workspace, 'GET /session', bob), {
    code: 'token-invalid',
    stage: 'authentication',
  })
  jsonOf(t, await call(workspace, 'GET /session', alice))
  for (const gone of [id, 'nothing', '%25'])
    await assertRefused(t, workspace, await call(workspace, `DELETE /sessions/${gone}`, alice), {
      code: 'not-found',
      stage: 'owner',
    })
  const line = await workspace.logLine(({ msg }) => msg === 'owner acted')
  t.match(line, {
    action: 'end-session',
    ...{ by: 'alice', user: 'alice', door: 'api', client: '203.0.113.9' },
    ...{ count: 1, changed: [id] },
  })
})

t.test(
  'the other sessions of a person, or all of a person, or of everybody are ended',
  async (t) => {
    const workspace = await startWorkspace(t)
    const page = await pageOf(workspace)
    const other = await pageOf(workspace)
    const program = [`Authorization: Bearer ${await token()}`]
    const bob = await pageOf(workspace, 'bob')
    const isIn = async (headers: string[]) =>
      (await call(workspace, 'GET /session', headers)).status === 200
    const who = async () => Promise.all([page, other, program, bob].map(isIn))
    t.same(await who(), [true, true, true, true])
    const end = async (body: object, by = page) =>
      jsonOf(t, await call(workspace, 'POST /sessions/end', by, body))
    t.same(await end({ others: true }), { ended: 2, saved: true })
    t.same(await who(), [true, false, false, true])
    t.same(await end({ sub: 'alice' }, bob), { ended: 1, saved: true })
    t.same(await who(), [false, false, false, true])
    t.same(await end({ all: true }, bob), { ended: 1, saved: true })
    t.same(await who(), [false, false, false, false])
    const second = Math.floor(Date.now() / 1000)
    await eventually(() => Date.now() / 1000 >= second + 1, 'tickets of this second are dead too')
    const again = await pageOf(workspace)
    t.ok(await isIn(again), 'whoever signs in afterwards is in')
    t.same(jsonOf(t, await call(workspace, 'DELETE /session', again)), { ended: 1, saved: true })
    t.notOk(await isIn(again))
  },
)

t.test('a request that is not understood changes nothing', async (t) => {
  const workspace = await startWorkspace(t)
  const page = await pageOf(workspace)
  const rows: unknown[] = [
    ...[{}, { sub: 'a', all: true }, { all: false }, { others: 'yes' }, { sub: 7 }, { sub: '' }],
    ...[
      { subject: 'a' },
      { sub: 'alice', rate: 1 },
      [],
      null,
      'all',
      JSON.parse('{"__proto__":{"all":true}}'),
    ],
  ]
  for (const body of rows) {
    const answer = await call(workspace, 'POST /sessions/end', page, body)
    await assertRefused(t, workspace, answer, { code: 'bad-request', stage: 'owner' })
    t.match(JSON.parse(answer.body), { detail: /sub.*others.*all|member sub takes/ })
  }
  for (const [type, body] of [
    ['text/plain', '{"all":true}'],
    ['text/plain; application/json', '{"all":true}'],
    ['text/plain, application/json', '{"all":true}'],
    ['application/jsonp', '{"all":true}'],
    ['application/merge-patch+json', '{"all":true}'],
    ['multipart/form-data; boundary=application/json', '{"all":true}'],
    ['application/x-www-form-urlencoded', 'all=true'],
    ['application/json; charset=utf-8', '{"all":true'],
    ['', '{"all":true}'],
  ] as const) {
    const fields = [
      ...(type === '' ? [] : [`Content-Type: ${type}`]),
      `Content-Length: ${body.length}`,
    ]
    const answer = await send(
      workspace.port,
      'POST /_gateway/v1/sessions/end',
      [...page, ...fields],
      body,
    )
    t.match(answer, { status: 400, headers: { 'x-gateway-error': 'bad-request' } }, type)
  }
  const understood = await send(
    workspace.port,
    'POST /_gateway/v1/sessions/end',
    [...page, 'Content-Type: Application/JSON; charset=utf-8', 'Transfer-Encoding: chunked'],
    'e\r\n{"sub":"nobody\r\n2\r\n"}\r\n0\r\n\r\n',
  )
  t.same(jsonOf(t, understood), { ended: 0, saved: true })
  const long = await call(workspace, 'POST /sessions/end', page, { sub: 'x'.repeat(70_000) })
  t.match(long, { status: 413, headers: { 'x-gateway-error': 'body-too-large' } })
  jsonOf(t, await call(workspace, 'GET /session', page))
  const acts = workspace.logLines().filter(({ msg }) => msg === 'owner acted')
  t.match(acts, [{ count: 0 }])
  t.equal(acts.length, 1, 'the one that was understood, and ended nobody’s session')
  t.equal(workspace.dials(), 0)
})

t.test('the list counts the open WebSockets of a session, which end with it', async (t) => {
  const workspace = await startWorkspace(t)
  const [alice, bob] = [await pageOf(workspace), await pageOf(workspace, 'bob')]
  const open = await Promise.all([1, 2].map(() => upgrade(workspace.port, '/', bob)))
  for (const { answer } of open) t.equal(answer.status, 101)
  const sessions = listOf(t, await call(workspace, 'GET /sessions', alice))
  const row = sessions.find(({ sub }) => sub === 'bob')
  t.match(row, { sockets: 2 })
  jsonOf(t, await call(workspace, `DELETE /sessions/${String(row?.['id'])}`, alice))
  await Promise.all(open.map(({ closed }) => closed))
  const { openSockets } = workspace.running.parts
  await eventually(() => openSockets.size === 0, 'no socket is left')
})

t.test('other methods and paths are refused', async (t) => {
  const workspace = await startWorkspace(t)
  const page = await pageOf(workspace)
  for (const [method, path, allow] of [
    ['POST', '/session', 'GET, HEAD, DELETE'],
    ['PUT', '/sessions', 'GET, HEAD'],
    ['GET', '/sessions/end', 'POST'],
    ['DELETE', '/sessions/end', 'POST'],
    ['GET', '/sessions/x', 'DELETE'],
    ['OPTIONS', '/status', 'GET, HEAD'],
  ] as const) {
    const answer = await call(workspace, `${method} ${path}`, page)
    await assertRefused(t, workspace, answer, {
      ...{ code: 'method-not-allowed', stage: 'authentication' },
    })
    t.equal(answer.headers['allow'], allow, `${method} ${path}`)
  }
  for (const path of ['', '/', '/sessions/x/y', '/explain/x', '/metrics', '/SESSIONS'])
    await assertRefused(t, workspace, await call(workspace, `GET ${path}`, page), {
      code: 'not-found',
      stage: 'authentication',
    })
  const head = await call(workspace, 'HEAD /sessions', page)
  t.match(head, { status: 200, body: '' })
})

t.test('a page of an allowed origin is not the owner’s page', async (t) => {
  const workspace = await startWorkspace(t, { GATEWAY_ALLOWED_ORIGINS: 'https://app.hubify.com' })
  const own = await pageOf(workspace)
  const fields = ['Origin: https://app.hubify.com', 'Sec-Fetch-Site: same-site']
  const page = [...own.filter((line) => !line.startsWith('Origin')), ...fields]
  for (const { requestLine, body } of ACTIONS) {
    const answer = await call(workspace, requestLine, page, body)
    await assertRefused(t, workspace, answer, {
      ...{ code: 'origin-not-allowed', stage: 'authentication' },
    })
  }
  await assertRefused(t, workspace, await call(workspace, 'HEAD /sessions', page), {
    ...{ code: 'origin-not-allowed', stage: 'authentication' },
  })
  const renewal = await send(workspace.port, 'POST /_gateway/renew', [...page, 'Content-Length: 0'])
  t.equal(renewal.headers['x-gateway-error'], 'origin-not-allowed')
  const other = await send(workspace.port, 'GET /', page)
  t.equal(other.status, 200, 'what the services have is open to it as before')
  const bearer = [`Authorization: Bearer ${await token()}`, ...fields]
  t.equal(
    (await call(workspace, 'GET /session', bearer)).status,
    200,
    'so it is to a program there',
  )
})

t.test('a segment of any length passes the stages, and is not reflected', async (t) => {
  const workspace = await startWorkspace(t)
  const page = await pageOf(workspace)
  for (const length of [100, 101, 2000, 12_000])
    for (const [method, path] of [
      ['DELETE', '/sessions/'],
      ['DELETE', '/api-tokens/'],
      ['GET', '/api-tokens/'],
    ] as const) {
      const line = `${method} ${path}${'x'.repeat(length)}`
      const stranger = await call(workspace, line, [])
      await assertRefused(t, workspace, stranger, {
        ...{ code: 'sign-in-required', stage: 'authentication' },
      })
      t.match(stranger.headers['ratelimit'], /^"address"/, 'it is counted')
      t.notMatch(stranger.raw, 'xxx')
      const answer = await call(workspace, line, page)
      const code = method === 'GET' ? 'method-not-allowed' : 'not-found'
      t.equal(answer.headers['x-gateway-error'], code, `${length} characters`)
    }
})

/** Every action, with a path that names nothing that exists and a body that no action takes. */
const ACTIONS = Object.entries<OwnerAction<LiveParts>>(OWNER_ACTIONS)
  .filter(([, { who }]) => who !== 'machine')
  .map(([name, { method, path, who, isAct }]) => {
    const body = method === 'POST' ? { nothing: true } : undefined
    return {
      name,
      method,
      who,
      isAct,
      requestLine: `${method} ${path.replace(':id', 'none')}`,
      body,
    }
  })

type Action = (typeof ACTIONS)[number]

/** What somebody may who is no person in a browser, and not to act as an owner: what is their own, without what a factor is for. */
const ownAlone = ({ who, isAct }: Action) =>
  who === 'self' ? (isAct ? 'step-up-required' : 'yes') : 'scope-missing'

/** What each scope permits: the error code, or `yes`. */
const API_TOKENS: Array<[scope: string, may: (action: Action) => string]> = [
  ['owner', ({ isAct }) => (isAct ? 'step-up-required' : 'yes')],
  ['owner:read', ({ method }) => (method === 'GET' ? 'yes' : 'scope-missing')],
  ...['api', 'dashboard', 'chat', 'terminal', 'vault'].map((scope): [string, () => string] => [
    scope,
    () => 'scope-missing',
  ]),
]

t.test('who may do what', async (t) => {
  const workspace = await startWorkspace(t, { GATEWAY_OWNERS: 'alice,carol' })
  const { apiTokens } = workspace.running.parts
  const ownSession = 'end-own-session' // would sign the caller out, so it has a new one each time
  const program = async (subject: string) => [`Authorization: Bearer ${await token({ subject })}`]
  let made = 0
  const apiToken = async (subject: string, scope: string) => {
    const wanted = { name: `ci-${++made}`, subject, expiresAt: undefined, scopes: [scope] }
    return [`Authorization: Bearer ${apiTokens.create(wanted).token}`]
  }
  const callers: Array<
    [who: string, headers: () => Promise<string[]>, may: (action: Action) => string]
  > = [
    ['nobody', async () => OWN_PAGE, () => 'sign-in-required'],
    ['an owner’s browser', () => pageOf(workspace), () => 'yes'],
    [
      'another browser',
      () => pageOf(workspace, 'bob'),
      ({ who }) => (who === 'self' ? 'yes' : 'scope-missing'),
    ],
    ['an owner’s program', () => program('alice'), ownAlone],
    ['another program', () => program('bob'), ownAlone],
    [
      'a foreign page',
      async () => (await pageOf(workspace)).with(2, 'Origin: https://research.hubify.com'),
      ({ method }) => (method === 'GET' ? 'yes' : 'origin-not-allowed'),
    ],
    [
      'a page that does not say who it is',
      async () => (await pageOf(workspace)).toSpliced(2, 1),
      ({ method }) => (method === 'GET' ? 'yes' : 'origin-not-allowed'),
    ],
    ...API_TOKENS.map(([scope, may]): (typeof callers)[number] => [
      `an API token for ${scope}`,
      () => apiToken('alice', scope),
      may,
    ]),
    ['an API token of another person', () => apiToken('bob', 'owner'), ownAlone],
    [
      'an API token in the cookie',
      async () => {
        const [bearer = ''] = await apiToken('alice', 'owner')
        return [cookie(bearer.split(' ')[2] ?? ''), ...OWN_PAGE]
      },
      () => 'token-invalid',
    ],
    ['a ticket in the cookie', async () => [cookie(await token()), ...OWN_PAGE], () => 'yes'],
    [
      'a session token as Bearer',
      async () => {
        const [line = ''] = await pageOf(workspace)
        return [`Authorization: Bearer ${line.split('=')[1]}`, HTTPS]
      },
      () => 'yes',
    ],
    [
      'an owner who signed in an hour ago',
      () => pageOf(workspace, 'alice', { minutesAgo: 59 }),
      ({ isAct }) => (isAct ? 'step-up-required' : 'yes'),
    ],
    [
      'an unknown API token',
      async () => [`Authorization: Bearer hub_${'x'.repeat(32)}`],
      () => 'token-invalid',
    ],
  ]
  for (const [who, headersOf, may] of callers) {
    let headers = await headersOf()
    for (const action of ACTIONS) {
      const { status, headers: fields } = await call(
        workspace,
        action.requestLine,
        headers,
        action.body,
      )
      const code = fields['x-gateway-error'] ?? ''
      // An action that is allowed finds nothing under this name, or does not understand this body.
      const outcome = [200, 400, 404].includes(status) ? 'yes' : code
      t.equal(outcome, may(action), `${who}: ${action.name}`)
      if (action.name === ownSession && outcome === 'yes') headers = await headersOf()
    }
  }
  t.notOk(
    workspace.logLines().some(({ msg, action }) => msg === 'owner acted' && action !== ownSession),
  )
  const requests = Object.values(workspace.services).flatMap((service) => service.requests)
  t.same(requests, [], 'no service was asked; an owner’s status looks whether they listen')
})

t.test('a page spends the budget of its session, a program that of its address', async (t) => {
  const workspace = await startWorkspace(t, { GATEWAY_RATE_LIMIT: '2' })
  const page = await pageOf(workspace)
  for (let i = 0; i < 5; i++) jsonOf(t, await call(workspace, 'GET /sessions', page))
  const { token: program } = jsonOf(
    t,
    await call(workspace, 'POST /api-tokens', page, { name: 'ci', scopes: ['owner:read'] }),
  )
  const headers = [`Authorization: Bearer ${String(program)}`, client('198.51.100.7')]
  const statuses: number[] = []
  for (let i = 0; i < 3; i++)
    statuses.push((await call(workspace, 'GET /sessions', headers)).status)
  t.same(statuses, [200, 200, 429])
})

t.test(
  'what cannot be written now is said, and what must be on the disk is not done',
  async (t) => {
    const workspace = await startWorkspace(t)
    const page = await pageOf(workspace)
    await pageOf(workspace, 'bob')
    const { state } = workspace.running.parts
    state.write = () => {
      throw new GatewayError('state-unavailable', { reason: 'disk full' })
    }
    const made = await call(workspace, 'POST /api-tokens', page, { name: 'ci' })
    await assertRefused(t, workspace, made, { code: 'state-unavailable', stage: 'owner' })
    t.match(jsonOf(t, await call(workspace, 'GET /api-tokens', page)), { apiTokens: [] })
    t.same(jsonOf(t, await call(workspace, 'POST /sessions/end', page, { sub: 'bob' })), {
      ...{ ended: 1, saved: false },
    })
    t.equal(listOf(t, await call(workspace, 'GET /sessions', page)).length, 1)
    const acts = workspace.logLines().filter(({ msg }) => msg === 'owner acted')
    t.match(acts, [{ action: 'end-sessions', saved: false }])
  },
)
