/** Does the owner's page do what its buttons say, for its owners alone, and keep what was typed when something is wrong? */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { OWNER_ACTIONS } from '../../src/admin/owner-actions.ts'
import { ACTS } from '../../routes/owner-page.ts'
import { ensureTerminalCredential } from '../../src/terminals/terminal-credential.ts'
import { call, jsonOf, OWN_PAGE, pageOf, ticketOf } from '../helpers/api.ts'
import { assertRefused, cookie, HTTPS, NAVIGATION } from '../helpers/door.ts'
import { codeAt } from '../helpers/factors.ts'
import { enrolApp, enrolPasskey, fieldOf, pageAfter, postForm, SITE } from '../helpers/forms.ts'
import { startWorkspace, token, type TestGateway } from '../helpers/gateway.ts'
import { areParked, cutOff } from '../helpers/kept-terminals.ts'
import { openPage, startKeptWorkspace } from '../helpers/kept-workspace.ts'
import { temporaryFolder } from '../helpers/process.ts'
import { eventually } from '../helpers/waiting.ts'
import { send, type RawAnswer } from '../helpers/wire.ts'

const PAGE = '/_gateway/'

type Fields = Parameters<typeof postForm>[3]
type At = Pick<TestGateway, 'port'>

/** Starts a workspace that keeps factors, with generous limits. */
const startLocal = (t: Test, settings: Record<string, string | undefined> = {}) =>
  startWorkspace(t, { GATEWAY_SECOND_FACTOR: 'local', ...settings })

const open = ({ port }: At, page: readonly string[], query = '') =>
  send(port, `GET ${PAGE}${query}`, [...page, ...NAVIGATION])

const act = (workspace: At, page: readonly string[], fields: Fields) =>
  postForm(workspace, PAGE, page, fields)

/** The fields of a good form for a new token. */
const tokenForm = async (workspace: At, page: readonly string[], name = 'ci') => ({
  act: 'create-api-token',
  once: fieldOf(await open(workspace, page), 'once'),
  ...{ name, scope: 'api', days: '30' },
})

/** What the page says in an alert or a status. */
const saidOn = ({ body }: RawAnswer, role: 'alert' | 'status') =>
  new RegExp(`role="${role}">([^<]*)<`).exec(body)?.[1] ?? ''

const namesIn = async (t: Test, workspace: At, page: readonly string[]) =>
  (jsonOf(t, await call(workspace, 'GET /api-tokens', page))['apiTokens'] as unknown[]).length

/** The ids in the forms of an act. */
const idsOf = ({ body }: RawAnswer, name: string) =>
  [
    ...body.matchAll(
      new RegExp(`value="${name}"><input type="hidden" name="id" value="([^"]+)"`, 'g'),
    ),
  ].map(([, id = '']) => id)

/** A text of a page, as the browser reads it. */
const unescaped = (text = '') =>
  text.replaceAll(/&#(\d+);/g, (_, code) => String.fromCharCode(Number(code)))

/** What a ticket says, besides when it expires. */
const CLAIMS = {
  subject: 'alice',
  issuedAt: undefined,
  tokenId: undefined,
  sessionId: undefined,
  authenticatedAt: undefined,
  methods: [],
  factorAt: undefined,
  sessionExpiresAt: undefined,
  isSessionToken: false,
}

/** Whether an act was done, by the log. */
const actsIn = ({ logLines }: Pick<TestGateway, 'logLines'>) =>
  logLines().flatMap(({ msg, action }) => (msg === 'owner acted' ? [action] : []))

t.test(
  'the page is for whoever is signed in, and runs nothing that it does not name',
  async (t) => {
    const workspace = await startWorkspace(t)
    const page = await pageOf(workspace)
    const shown = await open(workspace, page)
    t.equal(shown.status, 200)
    t.match(shown.headers, {
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      'referrer-policy': 'no-referrer',
      'content-type': 'text/html; charset=utf-8',
    })
    const policy = shown.headers['content-security-policy'] ?? ''
    t.match(
      policy,
      /^default-src 'none'; style-src 'sha256-[^']+'; img-src data:; form-action 'self'/,
    )
    t.match(policy, /frame-ancestors 'none'; script-src 'nonce-[^']+'; connect-src 'self'$/)
    t.notMatch(policy, 'unsafe')
    t.notMatch(shown.body, /<script(?![^>]*src=)| on[a-z]+=| style=/, 'nothing inline')
    t.match(shown.body, '<bdi>alice</bdi>')
    for (const title of ['What is up', 'Sessions', 'Terminals', 'API tokens', 'Refused lately'])
      t.match(shown.body, new RegExp(`<h2 [^>]*>${title}</h2>`))
    t.notMatch(shown.body, 'id="factors"', 'no factors are kept here')
    await send(workspace.port, 'GET /_gateway/nothing', [...page, ...NAVIGATION])
    const more = (await open(workspace, page)).body
    t.match(
      more,
      /Refused lately.*404 not-found.*<code>workspace-gateway explain ID<\/code>/s,
      'how',
    )

    t.match(await send(workspace.port, `HEAD ${PAGE}`, page), { status: 200, body: '' })
    t.match(await send(workspace.port, 'GET /_gateway', page), {
      ...{ status: 302, headers: { location: PAGE } },
    })
    for (const method of ['PUT', 'DELETE', 'PATCH', 'OPTIONS'])
      t.match(await send(workspace.port, `${method} ${PAGE}`, page), {
        ...{ status: 405, headers: { allow: 'GET, HEAD, POST' } },
      })
    const requests = Object.values(workspace.services).flatMap((service) => service.requests)
    t.same(requests, [], 'no service was asked')
  },
)

t.test('a stranger gets the page to sign in, which leads back', async (t) => {
  const workspace = await startWorkspace(t)
  const shown = await send(workspace.port, `GET ${PAGE}`, [HTTPS, ...NAVIGATION])
  await assertRefused(t, workspace, shown, {
    ...{ code: 'sign-in-required', stage: 'authentication', page: true },
  })
  t.equal(fieldOf(shown, 'return_to'), PAGE)
  const posted = await act(workspace, OWN_PAGE, { act: 'end-sessions' })
  await assertRefused(t, workspace, posted, {
    ...{ code: 'sign-in-required', stage: 'authentication', page: true },
  })
  t.equal(fieldOf(posted, 'return_to'), PAGE, 'from a form too')
  const form = [...OWN_PAGE, 'Sec-Fetch-Site: same-origin']
  const back = await postForm(workspace, '/_gateway/sign-in', form, {
    ...{ token: await ticketOf('alice'), return_to: PAGE },
  })
  t.match(back, { status: 303, headers: { location: PAGE } })
})

t.test('a session is ended, and all others are', async (t) => {
  const workspace = await startWorkspace(t)
  const laptop = await pageOf(workspace)
  const phone = await pageOf(workspace)
  const tablet = await pageOf(workspace)
  const isIn = async (page: string[]) => (await open(workspace, page)).status === 200
  const shown = await open(workspace, laptop)
  const [id = '', ...more] = idsOf(shown, 'end-session')
  // A screen reader has no row around the button: its name tells one session from another.
  t.match(shown.body, /aria-label="End: [^";]{1,64} of alice, since 20\d\d-[^"]+ UTC"/)
  t.equal(more.length, 1, 'its own session is not ended, but signed out')
  t.match(shown.body, /action="\/_gateway\/sign-out">\s*<button class="danger">\s*Sign out here/)
  const done = await act(workspace, laptop, { act: 'end-session', id })
  t.match(done, { status: 303, headers: { location: `${PAGE}?done=end-session` } })
  t.equal(
    saidOn(await open(workspace, laptop, '?done=end-session'), 'status'),
    'The session has ended.',
  )
  t.equal([await isIn(phone), await isIn(tablet)].filter(Boolean).length, 1)
  const gone = await act(workspace, laptop, { act: 'end-session', id })
  t.equal(gone.status, 404)
  t.match(saidOn(gone, 'alert'), 'No session has this id')
  t.equal((await act(workspace, laptop, { act: 'end-sessions' })).status, 303)
  t.same([await isIn(laptop), await isIn(phone), await isIn(tablet)], [true, false, false])
  const out = await postForm(workspace, '/_gateway/sign-out', laptop, {})
  t.match(out, { status: 303, headers: { location: '/_gateway/signed-out' } })
  t.notOk(await isIn(laptop))
})

t.test('a program is ended too, whatever the login service calls its session', async (t) => {
  const workspace = await startWorkspace(t)
  const page = await pageOf(workspace)
  const bearer = [`Authorization: Bearer ${await ticketOf('ci', { id: 'urn:uuid:7~"<b>' })}`]
  t.equal((await send(workspace.port, 'GET /api/x', bearer)).status, 200)
  const shown = await open(workspace, page)
  const [id] = idsOf(shown, 'end-session')
  t.equal((await act(workspace, page, { act: 'end-session', id: unescaped(id) })).status, 303)
  t.equal((await send(workspace.port, 'GET /api/x', bearer)).status, 401)
})

t.test('however much there is, the page is small, and says where the rest is', async (t) => {
  const workspace = await startWorkspace(t)
  const page = await pageOf(workspace)
  const { apiTokens, sessions, keys } = workspace.running.parts
  const { kid } = keys.signing
  const claims = { ...CLAIMS, expiresAt: Math.floor(Date.now() / 1000) + 3600 }
  const device = { name: 'Firefox', address: '203.0.113.9' }
  const fill = (from: number, to: number) => {
    for (let i = from; i < to; i++) {
      apiTokens.create({ name: `ci-${i}`, subject: 'alice', expiresAt: undefined })
      const ticket = { claims, oneTimeId: undefined, programId: `program-${i}` }
      sessions.start(ticket, { id: `session-${i}`, tokenId: `t${i}`, kid }, device)
    }
  }
  fill(0, 49)
  const few = await open(workspace, page)
  t.notMatch(few.body, 'All of them, as JSON')
  fill(49, 60)
  const many = await open(workspace, page)
  t.equal(idsOf(many, 'revoke-api-token').length, 50)
  t.match(many.body, '<strong>ci-59</strong>', 'the newest')
  t.equal(idsOf(many, 'end-session').length, 49)
  t.match(many.body, 'Sign out here', 'the own session is among them')
  const links = [...many.body.matchAll(/href="([^"]*)">All of them, as JSON/g)]
  t.equal(links.length, 2)
  const answers = await Promise.all(
    links.map(([, href]) => send(workspace.port, `GET ${href}`, [...page, ...NAVIGATION])),
  )
  t.same(
    answers.map((answer) => Object.values(jsonOf(t, answer)).flat().length),
    [61, 60],
  )
})

t.test('a token is made once, shown once, and revoked', async (t) => {
  const workspace = await startWorkspace(t)
  const page = await pageOf(workspace)
  const form = await tokenForm(workspace, page)
  const [made, twin] = await Promise.all([1, 2].map(() => act(workspace, page, form)))
  const [shown, refused] = made?.status === 200 ? [made, twin] : [twin, made]
  const secret = /<code class="secret" id="secret-0">(hub_[0-9A-Za-z]{32})</.exec(
    shown?.body ?? '',
  )?.[1]
  t.ok(secret, 'one of two at once')
  t.equal(shown?.headers['cache-control'], 'no-store')
  t.equal(refused?.status, 400)
  t.match(saidOn(refused ?? shown!, 'alert'), 'This form was sent before')
  t.notMatch(refused?.body, 'hub_')
  const again = await act(workspace, page, { ...form, name: 'other' })
  t.equal(again.status, 400, 'the same form, with another name')
  t.equal(
    fieldOf(again, 'name') === '' && /value="other"/.test(again.body),
    true,
    'what was typed is kept',
  )
  t.not(fieldOf(again, 'once'), form.once, 'and can be sent now')
  t.equal(await namesIn(t, workspace, page), 1)
  const bearer = [`Authorization: Bearer ${secret}`]
  t.equal((await send(workspace.port, 'GET /api/x', bearer)).status, 200)

  const list = await open(workspace, page)
  t.notMatch(list.body, secret)
  const [id = ''] = idsOf(list, 'revoke-api-token')
  t.equal((await act(workspace, page, { act: 'revoke-api-token', id })).status, 303)
  t.equal((await send(workspace.port, 'GET /api/x', bearer)).status, 401)
  t.same(actsIn(workspace), ['create-api-token', 'revoke-api-token'])
})

t.test('images on a page of a sibling do not use up the form that a person has open', async (t) => {
  const workspace = await startWorkspace(t)
  const page = await pageOf(workspace)
  const form = await tokenForm(workspace, page)
  const image = ['Sec-Fetch-Site: same-site', 'Sec-Fetch-Mode: no-cors', 'Sec-Fetch-Dest: image']
  for (let i = 0; i < 9; i++)
    await send(workspace.port, `GET ${PAGE}`, [page[0] ?? '', HTTPS, ...image])
  t.equal((await act(workspace, page, form)).status, 200)
})

t.test('a form of another person, or of another session, makes nothing', async (t) => {
  const workspace = await startWorkspace(t)
  const alice = await pageOf(workspace)
  const other = await pageOf(workspace)
  const bob = await pageOf(workspace, 'bob')
  const form = await tokenForm(workspace, alice)
  for (const page of [other, bob]) t.equal((await act(workspace, page, form)).status, 400)
  t.equal(await namesIn(t, workspace, alice), 0)
  t.equal((await act(workspace, alice, form)).status, 200, 'and it is not used up')
})

t.test(
  'a token that cannot be made: one clear sentence, and what was typed is still there',
  async (t) => {
    const workspace = await startWorkspace(t)
    const page = await pageOf(workspace)
    await act(workspace, page, await tokenForm(workspace, page, 'taken'))
    const evil = '"><script>alert(1)</script>'
    const rows: Array<[name: string, sentence: RegExp, kept: boolean]> = [
      ['taken', /^A token of this name is in force/, true],
      ['', /^The name of a token takes/, false],
      ['My Token', /^The name of a token takes/, false],
      [evil, /^The name of a token takes/, false],
      ['a\u0000b\u202ec\r\nSet-Cookie: x=1', /^The name of a token takes/, false],
      ['x'.repeat(10_000), /^The name of a token takes/, false],
    ]
    for (const [name, sentence, kept] of rows) {
      const form = { ...(await tokenForm(workspace, page)), name, scope: 'chat', days: '7' }
      const answer = await act(workspace, page, form)
      t.match(answer, { status: 400, headers: { 'x-gateway-error': 'bad-request' } })
      t.match(saidOn(answer, 'alert'), sentence)
      t.match(answer.body, /<details open>/)
      t.match(answer.body, /value="chat"\s+checked/)
      t.notMatch(answer.body, /value="api"\s+checked/)
      t.match(answer.body, /<option value="7" selected>/)
      t.equal(answer.body.includes(`value="${name}"`) && name !== '', kept)
      t.notMatch(answer.raw, /alert\(1\)|My Token|x=1|xxxxx/, 'nothing else of it comes back')
      t.equal(
        (await act(workspace, page, { ...form, name: `n${rows.length}`, scope: '' })).status,
        400,
      )
    }
    const nothing = (await tokenForm(workspace, page)).once
    const bare = await act(workspace, page, {
      act: 'create-api-token',
      once: nothing,
      name: 'ok',
      days: '7',
    })
    t.match(saidOn(bare, 'alert'), /^Say what the token may use/, 'no box is ticked')
    t.match(bare.body, 'value="ok"')
    t.equal(await namesIn(t, workspace, page), 1)
  },
)

t.test('a form that no page has is not done, and nothing of it comes back', async (t) => {
  const workspace = await startWorkspace(t)
  const page = await pageOf(workspace)
  const evil = '"><i>evil</i>'
  const once = (await tokenForm(workspace, page)).once
  const rows: Fields[] = [
    {},
    { act: '' },
    { act: 'nothing' },
    { act: '__proto__' },
    { act: 'constructor' },
    { act: 'toString' },
    { act: 'list-sessions' },
    { act: 'end-own-session' },
    { act: 'reset-second-factor' },
    { act: evil },
    [
      ['act', 'end-sessions'],
      ['act', 'end-sessions'],
    ],
    [
      ['act', 'end-sessions'],
      ['act', 'revoke-api-token'],
    ],
    [
      ['act', 'end-session'],
      ['id', 'a'],
      ['id', 'b'],
    ],
    { act: 'end-session', id: '' },
    { act: 'create-api-token', once, name: 'ci', scope: 'api', days: '9999' },
    { act: 'create-api-token', once, name: 'ci', scope: 'api', days: evil },
    { act: 'create-api-token', once, name: 'ci', scope: 'vault', days: '7' },
    { act: 'create-api-token', once, name: 'ci', scope: `api:/${evil}`, days: '7' },
    [
      ['act', 'create-api-token'],
      ['once', once],
      ['once', once],
      ['name', 'ci'],
      ['scope', 'api'],
    ],
    [
      ['act', 'create-api-token'],
      ['once', once],
      ['name', 'a'],
      ['name', 'b'],
      ['scope', 'api'],
    ],
    { act: 'create-api-token', once: evil, name: 'ci', scope: 'api' },
  ]
  for (const fields of rows) {
    const answer = await act(workspace, page, fields)
    t.equal(answer.status, 400, JSON.stringify(fields))
    t.match(saidOn(answer, 'alert'), 'The form was not complete. Nothing was done.')
    t.notMatch(answer.body, /evil|xxxxx/)
  }
  for (const name of ['end-session', 'end-terminal', 'revoke-api-token'])
    for (const id of [evil, 'xxxxx'.repeat(1000), '../x', '__proto__', 'a\u0000b']) {
      const answer = await act(workspace, page, { act: name, id })
      t.match(answer.status, name === 'end-terminal' ? /^(404|503)$/ : 404, name)
      t.notMatch(answer.body, /evil|xxxxx/)
    }
  const [session = '', ...rest] = page
  const raw = (type: string, body: string) =>
    send(
      workspace.port,
      `POST ${PAGE}`,
      [
        session,
        ...rest,
        ...NAVIGATION,
        ...(type === '' ? [] : [`Content-Type: ${type}`]),
        `Content-Length: ${body.length}`,
      ],
      body,
    )
  for (const type of ['text/plain', 'application/json', 'multipart/form-data; boundary=x', ''])
    t.equal((await raw(type, 'act=end-sessions')).status, 400, type)
  const long = await raw(
    'application/x-www-form-urlencoded',
    `act=end-sessions&x=${'y'.repeat(20_000)}`,
  )
  t.match(long, { status: 413, headers: { 'x-gateway-error': 'body-too-large' } })
  t.same(actsIn(workspace), [])
})

t.test('another site, an allowed one, a sibling and a program get nothing done', async (t) => {
  const allowed = 'https://app.example.com'
  const workspace = await startWorkspace(t, { GATEWAY_ALLOWED_ORIGINS: allowed })
  const page = await pageOf(workspace)
  await pageOf(workspace)
  const { apiTokens } = workspace.running.parts
  const { token: owners } = apiTokens.create({
    ...{ name: 'owner', subject: 'alice', scopes: ['owner', 'terminal'], expiresAt: undefined },
  })
  const [session = ''] = page
  for (const origin of ['https://evil.example', 'https://research.hubify.com', 'null', allowed]) {
    const answer = await act(workspace, [session, HTTPS, `Origin: ${origin}`], {
      act: 'end-sessions',
    })
    await assertRefused(t, workspace, answer, {
      ...{ code: 'origin-not-allowed', stage: 'authentication', page: true },
    })
  }
  const noOrigin = await act(workspace, [session, HTTPS], { act: 'end-sessions' })
  t.equal(noOrigin.headers['x-gateway-error'], 'origin-not-allowed')
  for (const method of ['GET', 'HEAD'])
    t.equal(
      (await send(workspace.port, `${method} ${PAGE}`, [session, HTTPS, `Origin: ${allowed}`]))
        .status,
      403,
      'nor may an allowed origin read it',
    )
  for (const target of ['GET', 'POST']) {
    const answer = await send(workspace.port, `${target} ${PAGE}`, [
      ...[`Authorization: Bearer ${owners}`, HTTPS, 'Content-Length: 0'],
    ])
    await assertRefused(t, workspace, answer, {
      ...{ code: 'scope-missing', stage: 'authentication' },
    })
  }
  t.equal(workspace.dials(), 0)
  t.same(actsIn(workspace), [])
  t.equal(workspace.running.parts.sessions.counts().browser, 2)
})

t.test('who is no owner sees and does what is their own', async (t) => {
  const workspace = await startLocal(t, { GATEWAY_OWNERS: 'olga' })
  const [olga, bob] = [await pageOf(workspace, 'olga'), await pageOf(workspace, 'bob')]
  const { body } = await open(workspace, bob)
  for (const id of ['sessions', 'tokens', 'refusals', 'services'])
    t.notMatch(body, `id="${id}"`, `no ${id}`)
  for (const id of ['terminals', 'factors']) t.match(body, `id="${id}"`)
  t.notMatch(body, /olga|show-terminal-password/)
  for (const [name, more] of [
    ['end-session', { id: 'x' }],
    ['end-sessions', {}],
    ['revoke-api-token', { id: 'x' }],
    [
      'create-api-token',
      { name: 'ci', scope: 'api', once: fieldOf(await open(workspace, olga), 'once') },
    ],
    ['show-terminal-password', {}],
  ] as const) {
    const answer = await act(workspace, bob, { act: name, ...more })
    t.ok([400, 403].includes(answer.status), name)
    t.notMatch(answer.body, 'class="secret"')
  }
  const { backupCodes } = enrolApp(workspace, 'bob')
  const codes = await act(workspace, bob, { act: 'new-backup-codes', code: backupCodes[0] ?? '' })
  t.match(codes.body, 'Keep your backup codes')
  t.same(actsIn(workspace), ['new-backup-codes'])
  t.equal((await open(workspace, olga)).status, 200)
})

t.test('what was done is said in the words of the page alone', async (t) => {
  const workspace = await startWorkspace(t)
  const page = await pageOf(workspace)
  for (const done of [
    '',
    'nothing',
    '__proto__',
    'constructor',
    '<b>x</b>',
    'create-api-token',
    '%00',
  ])
    t.notMatch(
      (await open(workspace, page, `?done=${encodeURIComponent(done)}`)).body,
      'role="status"',
      done,
    )
  const { body } = await open(workspace, page, '?done=end-session&done=end-terminal&problem=evil')
  t.match(body, 'The session has ended.')
  t.notMatch(body, 'evil')
})

t.test('a terminal is seen and ended, and without its keeper the page says so', async (t) => {
  const workspace = await startKeptWorkspace(t)
  const { ttyd, keeper, port } = workspace
  const page = await pageOf(workspace)
  const client = await openPage(t, port, page)
  const shell = await ttyd.shell(0)
  const shown = await open(workspace, page)
  t.match(shown.body, /<span class="badge good">attached<\/span>/)
  t.match(shown.body, /href="\/terminal\/\?tab=[^"]+">Attach</)
  const [id = ''] = idsOf(shown, 'end-terminal')
  t.equal((await act(workspace, page, { act: 'end-terminal', id: 'none' })).status, 404)
  t.equal((await act(workspace, page, { act: 'end-terminal', id })).status, 303)
  await eventually(() => shell.hasEnded() && client.closedWith() !== undefined, 'it has ended')
  const second = await openPage(t, port, page)
  await ttyd.shell(1)
  await cutOff(keeper, second)
  await areParked(keeper)
  t.match(
    (await open(workspace, page)).body,
    /<span class="badge warn">parked<\/span>[^]*waits until/,
  )
  await keeper.close()
  const without = await open(workspace, page)
  t.equal(without.status, 200, 'the page is there without the keeper')
  t.match(without.body, 'id="sessions"')
  t.match(without.body, 'The keeper of terminals does not answer.')
  const end = await act(workspace, page, { act: 'end-terminal', id })
  t.match(end, { status: 502, headers: { 'x-gateway-error': 'upstream-unreachable' } })
  t.match(saidOn(end, 'alert'), 'The keeper of terminals does not answer.')
})

t.test('an act wants a factor in its own form, once, and a wrong one loses nothing', async (t) => {
  const workspace = await startLocal(t)
  const page = await pageOf(workspace, 'alice', { minutesAgo: 50 })
  const { secret, backupCodes } = enrolApp(workspace)
  const form = await tokenForm(workspace, page)
  const asked = await act(workspace, page, form)
  t.equal(asked.status, 200)
  t.match(asked.body, 'It wants a second factor')
  for (const [name, value] of Object.entries(form)) t.equal(fieldOf(asked, name), value, name)
  const wrong = codeAt(secret, Date.now()) === '000000' ? '000001' : '000000'
  for (const [code, sentence] of [
    ['', /^That is no code/],
    ['nonsense', /^That is no code/],
    ['"><b>x', /^That is no code/],
    ['x'.repeat(9000), /^That is no code/],
    [wrong, /^The code is wrong/],
  ] as const) {
    const refused = await act(workspace, page, { ...form, code })
    t.match(refused, { status: 401, headers: { 'x-gateway-error': 'step-up-required' } })
    t.match(refused.headers['www-authenticate'], /error="insufficient_user_authentication"$/)
    t.match(saidOn(refused, 'alert'), sentence)
    t.equal(fieldOf(refused, 'once'), form.once, 'nothing is lost')
    t.notMatch(refused.body, /<b>x|xxxxx/)
  }
  t.equal(await namesIn(t, workspace, page), 0)
  const made = await act(workspace, page, { ...form, code: backupCodes[0] ?? '' })
  t.match(made.body, /class="secret" id="secret-0">hub_/)
  const next = await tokenForm(workspace, page, 'second')
  t.match((await act(workspace, page, next)).body, 'It wants a second factor', 'for that act alone')
  const replayed = await act(workspace, page, { ...next, code: backupCodes[0] ?? '' })
  t.match(saidOn(replayed, 'alert'), 'That code was used before')
  t.match(
    (await send(workspace.port, 'GET /terminal/', [...page, ...NAVIGATION])).status,
    302,
    'nor is the terminal open',
  )
})

t.test('a factor is not used up by a form that is wrong', async (t) => {
  const workspace = await startLocal(t)
  const page = await pageOf(workspace)
  const { id, backupCodes } = enrolApp(workspace)
  const [code = ''] = backupCodes
  const form = await tokenForm(workspace, page)
  for (const fields of [
    { ...form, name: 'Wrong Name', code },
    { ...form, name: '', code },
    { act: 'remove-second-factor', id: 'app_none', code },
    { act: 'show-terminal-password', code },
  ]) {
    const answer = await act(workspace, page, fields)
    t.ok([400, 404].includes(answer.status), fields.act)
  }
  t.equal(
    (await act(workspace, page, { ...form, name: 'Wrong Name' })).status,
    400,
    'and is not asked for',
  )
  const removed = await act(workspace, page, { act: 'remove-second-factor', id, code })
  t.match(removed, { status: 303, headers: { location: `${PAGE}?done=remove-second-factor` } })
  t.notOk(workspace.running.parts.factors.isEnrolled('alice'))
})

t.test('a passkey that cannot be added uses no code up', async (t) => {
  const workspace = await startLocal(t)
  const page = await pageOf(workspace)
  const { backupCodes } = enrolApp(workspace)
  const [code = ''] = backupCodes
  const ip = page.map((line) => (line.startsWith('Origin') ? 'Origin: https://127.0.0.1' : line))
  const literal = await postForm(
    workspace,
    '/_gateway/second-factor/passkey',
    [...ip, 'Host: 127.0.0.1'],
    { code },
  )
  t.equal(literal.status, 400, literal.body)
  for (let i = 0; i < 20; i++) await enrolPasskey(workspace)
  const full = await postForm(workspace, '/_gateway/second-factor/passkey', page, { code })
  t.equal(full.status, 400)
  t.match(full.body, 'There are 20 passkeys. Remove one first.')
  const inJson = await call(workspace, 'POST /second-factor/passkey', page, { factor: { code } })
  t.match(inJson, { status: 400, headers: { 'x-gateway-error': 'bad-request' } })
  const good = await postForm(workspace, '/_gateway/second-factor/app', page, { code })
  t.match(good.body, 'class="secret"', 'the code still counts')
})

t.test(
  'five wrong codes lock the app for acts as everywhere, and a backup code still does one',
  async (t) => {
    const workspace = await startLocal(t)
    const page = await pageOf(workspace)
    const { secret, backupCodes } = enrolApp(workspace)
    const right = () => codeAt(secret, Date.now())
    const wrong = right() === '000000' ? '000001' : '000000'
    const tryCode = (code: string) => act(workspace, page, { act: 'new-backup-codes', code })
    for (let i = 0; i < 5; i++) t.match(saidOn(await tryCode(wrong), 'alert'), 'The code is wrong')
    t.match(saidOn(await tryCode(right()), 'alert'), 'Too many codes were wrong')
    t.match(
      (await open(workspace, page)).body,
      /class="alert">\s*Too many codes were wrong[^]*taken again from <time/,
    )
    t.match((await tryCode(backupCodes[0] ?? '')).body, 'Keep your backup codes')
  },
)

t.test('every act judges its request before the factor', async (t) => {
  const workspace = await startLocal(t)
  const page = await pageOf(workspace)
  const { backupCodes } = enrolApp(workspace)
  const factor = { code: backupCodes[0] ?? '' }
  const atAddress = [
    ...page.map((line) => (line.startsWith('Origin') ? 'Origin: https://127.0.0.1' : line)),
    'Host: 127.0.0.1',
  ]
  type Wrong = readonly [path: string, body: object, page?: string[]]
  const wrong: Record<string, Wrong | undefined> = {
    'create-api-token': ['/api-tokens', { name: 'Not This' }],
    'rotate-api-token': ['/api-tokens/none/rotate', {}],
    'begin-app': undefined, // nothing of the request can be wrong
    'begin-passkey': ['/second-factor/passkey', {}, atAddress],
    'new-backup-codes': undefined,
    'remove-second-factor': ['/second-factor/none', {}],
    'show-terminal-password': ['/terminal-password', {}], // there is none
    'grant-vault': ['/vault/github/grants', { agent: 'ops' }], // there is no vault
    'offer-device': ['/device-offers', {}], // there is no link
    'approve-device': ['/devices/AAAAAAAAAAAAAAAAAAAAAA/approve', {}],
  }
  const acts = Object.entries(OWNER_ACTIONS).filter(([, { isAct }]) => isAct)
  t.same(acts.map(([name]) => name).toSorted(), Object.keys(wrong).toSorted(), 'all acts')
  for (const [name, { method }] of acts) {
    const [path, body, as = page] = wrong[name] ?? []
    if (path === undefined) continue
    const answer = await call(workspace, `${method} ${path}`, as, { ...body, factor })
    t.ok([400, 404].includes(answer.status), `${name}: ${answer.body}`)
  }
  const right = await call(workspace, 'POST /second-factor/backup-codes', page, { factor })
  t.equal((jsonOf(t, right)['backupCodes'] as unknown[]).length, 10, 'the code still counts')
})

t.test(
  'the terminal’s password is shown to its owners, with a factor, and the log says to whom',
  async (t) => {
    const workspace = await startLocal(t, { GATEWAY_OWNERS: 'alice' })
    const [page, bob] = [await pageOf(workspace), await pageOf(workspace, 'bob')]
    const { backupCodes } = enrolApp(workspace)
    enrolApp(workspace, 'bob')
    const form = { act: 'show-terminal-password' }
    const none = await act(workspace, page, form)
    t.equal(none.status, 400)
    t.match(saidOn(none, 'alert'), 'not kept in the state folder')
    const { secret } = await ensureTerminalCredential(workspace.config.stateDir)
    const [user, password = ''] = secret.split(':')
    t.match((await act(workspace, page, form)).body, 'It wants a second factor')
    const shown = await act(workspace, page, { ...form, code: backupCodes[0] ?? '' })
    t.match(shown, { status: 200, headers: { 'cache-control': 'no-store' } })
    t.ok(shown.body.includes(`>${password}<`) && shown.body.includes(`>${user}<`))
    t.notMatch((await open(workspace, page)).body, password)
    const answers = [
      await act(workspace, bob, form),
      await call(workspace, 'POST /terminal-password', bob, {}),
      await call(workspace, 'POST /terminal-password', page, {}),
    ]
    t.same(
      answers.map(({ status }) => status),
      [403, 403, 401],
    )
    for (const { body } of answers) t.notMatch(body, password)
    t.match(
      workspace.logLines().filter(({ msg }) => msg === 'owner acted'),
      [{ action: 'show-terminal-password', by: 'alice', changed: ['terminal password shown'] }],
    )
    t.notMatch(JSON.stringify(workspace.logLines()), password)
  },
)

t.test('new backup codes replace the old ones, and are shown once', async (t) => {
  const workspace = await startLocal(t)
  const page = await pageOf(workspace)
  const { backupCodes } = enrolApp(workspace)
  const shown = await act(workspace, page, { act: 'new-backup-codes', code: backupCodes[0] ?? '' })
  const codes = [...shown.body.matchAll(/<li><code>([^<]+)<\/code>/g)].map(([, code]) => code ?? '')
  t.equal(codes.length, 10)
  t.match(shown.body, 'href="/_gateway/"', 'and back')
  const old = await act(workspace, page, { act: 'new-backup-codes', code: backupCodes[1] ?? '' })
  t.equal(old.status, 401)
  t.notMatch((await open(workspace, page)).body, codes[0])
  t.match((await open(workspace, page)).body, '10 of 10 left')
})

t.test('a passkey counts for the act and the session that it was asked for', async (t) => {
  const workspace = await startLocal(t)
  const { device } = await enrolPasskey(workspace)
  const [page, other] = [await pageOf(workspace), await pageOf(workspace)]
  const optionsIn = ({ body }: RawAnswer) =>
    JSON.parse(unescaped(/data-options="([^"]*)"/.exec(body)?.[1])) as object
  const answerTo = (asked: RawAnswer) => {
    device.counter++
    return JSON.stringify(device.get(optionsIn(asked), SITE.origin))
  }
  const form = await tokenForm(workspace, page)
  const passkey = answerTo(await act(workspace, page, form))
  const elsewhere = await act(workspace, page, { act: 'new-backup-codes', passkey })
  t.match(saidOn(elsewhere, 'alert'), 'That took too long, or was sent twice', 'another act')
  const another = answerTo(await act(workspace, page, form))
  const theirs = await act(workspace, other, {
    ...(await tokenForm(workspace, other)),
    passkey: another,
  })
  t.match(saidOn(theirs, 'alert'), 'That took too long, or was sent twice', 'another session')
  const verified = await send(workspace.port, 'GET /_gateway/verify-2fa', [...page, ...NAVIGATION])
  const forVerify = await act(workspace, page, { ...form, passkey: answerTo(verified) })
  t.equal(forVerify.status, 401, 'asked for on another page')
  for (const text of ['{', '{}', '[]', 'null', '{"response":{"clientDataJSON":"x"}}'])
    t.equal((await act(workspace, page, { ...form, passkey: text })).status, 401, text)
  const good = await act(workspace, page, { ...form, passkey: another })
  t.match(good.body, 'hub_', 'the right act and session')
})

t.test('wrong codes spend the budget of the address, also in JSON', async (t) => {
  const workspace = await startLocal(t, { GATEWAY_RATE_LIMIT: '10' })
  enrolApp(workspace)
  for (const [address, guess] of [
    [
      '203.0.113.2',
      (page: string[]) =>
        act(workspace, page, { act: 'new-backup-codes', code: 'aaaa-aaaa-aaaa-aaaa' }),
    ],
    [
      '203.0.113.3',
      (page: string[]) =>
        call(workspace, 'POST /second-factor/backup-codes', page, {
          factor: { code: 'aaaa-aaaa-aaaa-aaaa' },
        }),
    ],
  ] as const) {
    const page = await pageOf(workspace, 'alice', { from: address })
    const answers = []
    for (let i = 0; i < 12; i++) answers.push(await guess(page))
    t.same(
      answers.map(({ status }) => status),
      [...Array<number>(10).fill(401), 429, 429],
    )
    t.match(answers.at(-1)?.headers['retry-after'], /^\d+$/)
  }
  t.same(actsIn(workspace), [])
})

t.test(
  'without a factor, a sign-in that is too long ago leads to another one and back',
  async (t) => {
    const login = 'https://hubify.com/login'
    const workspace = await startLocal(t, { GATEWAY_LOGIN_URL: login })
    const page = await pageOf(workspace, 'alice', { minutesAgo: 11 })
    const form = await tokenForm(workspace, page)
    const asked = await act(workspace, page, form)
    t.match(asked, { status: 401, headers: { 'x-gateway-error': 'step-up-required' } })
    t.match(asked.body, 'not older than 10 minutes')
    const href = unescaped(/class="button" href="([^"]+)"/.exec(asked.body)?.[1])
    const url = new URL(href)
    t.equal(url.searchParams.get('return_to'), `https://houston.hubify.com${PAGE}`)
    const state = url.searchParams.get('state') ?? ''
    const pair =
      /__Host-workspace_signin=[^;\n]+/.exec(asked.headers['set-cookie'] ?? '')?.[0] ?? ''
    const [session = '', ...rest] = page
    const ticket = await ticketOf('alice')
    const back = await send(
      workspace.port,
      `GET /_gateway/sign-in?token=${ticket}&state=${state}&return_to=${PAGE}`,
      [`${session}; ${pair}`, ...rest, ...NAVIGATION],
    )
    t.match(back, { status: 303, headers: { location: PAGE } })
    t.match((await act(workspace, pageAfter(back, page), form)).body, 'hub_', 'the same form now')

    const plain = await startLocal(t)
    const late = await pageOf(plain, 'alice', { minutesAgo: 11 })
    const refused = await act(plain, late, await tokenForm(plain, late))
    t.equal(refused.status, 401)
    t.match(refused.body, /action="\/_gateway\/sign-out">\s*<button>\s*Sign out, and sign in again/)
    const inJson = await call(plain, 'POST /api-tokens', late, { name: 'ci' })
    t.match(inJson, { status: 401, headers: { 'x-gateway-error': 'step-up-required' } })
    t.match(inJson.headers['www-authenticate'], 'max_age=600')
    const fresh = await pageOf(plain, 'alice', { minutesAgo: 9 })
    t.match((await act(plain, fresh, await tokenForm(plain, fresh))).body, 'hub_')
  },
)

t.test(
  'a session that has ended while a form was open: sign in, and back to the page',
  async (t) => {
    for (const loginUrl of [undefined, 'https://hubify.com/login']) {
      const workspace = await startWorkspace(t, { GATEWAY_LOGIN_URL: loginUrl })
      const [page, other] = [await pageOf(workspace), await pageOf(workspace)]
      const form = await tokenForm(workspace, page)
      t.equal((await act(workspace, other, { act: 'end-sessions' })).status, 303)
      const answer = await act(workspace, page, form)
      if (loginUrl === undefined) {
        t.match(answer, { status: 401, headers: { 'x-gateway-error': 'token-invalid' } })
        t.match(answer.body, 'Your session has ended')
        t.equal(fieldOf(answer, 'return_to'), PAGE)
      } else {
        t.equal(answer.status, 302)
        const { searchParams } = new URL(answer.headers['location'] ?? '')
        t.equal(searchParams.get('return_to'), `https://houston.hubify.com${PAGE}`)
      }
      t.equal(workspace.running.parts.apiTokens.size, 0)
    }
  },
)

t.test(
  'what does not work with the factors is said, with what to do, wherever one is shown',
  async (t) => {
    const workspace = await startLocal(t)
    const { factors } = workspace.running.parts
    const page = await pageOf(workspace)
    enrolApp(workspace)
    const shown = factors.enrolmentOf('alice')
    const rows = [
      [
        { ...shown, isLost: true, totp: undefined, backupCodes: undefined },
        'lost',
        /second-factor reset/,
      ],
      [
        {
          ...shown,
          totp: { ...shown.totp, problem: 'factor-key-missing' },
          backupCodes: { ...shown.backupCodes, problem: 'factor-key-missing' },
        },
        'factor-key-missing',
        /bring the key back/,
      ],
      [
        { ...shown, totp: { ...shown.totp, problem: 'clock-behind' } },
        'clock-behind',
        /clock of the workspace/,
      ],
      [{ ...shown, lockedUntil: Date.now() + 60_000 }, 'locked', /Too many codes were wrong/],
    ] as const
    for (const [enrolment, problem, sentence] of rows) {
      factors.enrolmentOf = () => enrolment as never
      t.match((await open(workspace, page)).body, sentence, `${problem}, on the page`)
      const verify = await send(workspace.port, 'GET /_gateway/verify-2fa', [
        ...page,
        ...NAVIGATION,
      ])
      t.match(verify.body, sentence, `${problem}, where one is shown`)
      t.equal(/name="code"/.test(verify.body), problem === 'clock-behind' || problem === 'locked')
      const asked = await act(workspace, page, { act: 'new-backup-codes' })
      t.match(asked.body, sentence, `${problem}, with an act`)
      const own = jsonOf(t, await call(workspace, 'GET /second-factor', page))
      t.match(own, { problems: [{ problem, detail: sentence }] })
      t.equal((own['problems'] as unknown[]).length, 1)
    }
    Reflect.deleteProperty(factors, 'enrolmentOf')
    t.same(jsonOf(t, await call(workspace, 'GET /second-factor', page))['problems'], [])
  },
)

t.test('a state folder that cannot be used is said, and the page is there', async (t) => {
  const folder = temporaryFolder(t)
  writeFileSync(join(folder, 'file'), '')
  const settings = { GATEWAY_STATE_DIR: join(folder, 'file', 'state') }
  const workspace = await startWorkspace(t, settings)
  const page = [cookie(await token()), ...OWN_PAGE] // nobody can begin a session now
  const shown = await open(workspace, page)
  t.equal(shown.status, 200)
  t.match(shown.body, 'The state folder of the workspace cannot be used')
  const form = await tokenForm(workspace, page)
  const made = await act(workspace, page, form)
  t.match(made, { status: 503, headers: { 'x-gateway-error': 'state-unavailable' } })
  t.match(made.headers['retry-after'], /^\d+$/)
  t.match(saidOn(made, 'alert'), /^Nothing was changed\./)
  t.match(made.body, 'value="ci"', 'what was typed is kept')
  t.equal((await act(workspace, page, form)).status, 503, 'and the form is not used up')

  const local = await startLocal(t, settings)
  const asked = await act(local, page, await tokenForm(local, page))
  t.match(asked.body, 'It wants a second factor', 'nobody counts as without one')
  t.match(asked.body, 'Your second factors cannot be read, or were lost with a damaged state')
})

t.test('an act in JSON wants the factor in its body', async (t) => {
  const workspace = await startLocal(t)
  const page = await pageOf(workspace, 'alice', { minutesAgo: 50 })
  const { backupCodes, id } = enrolApp(workspace)
  const { device } = await enrolPasskey(workspace)
  const make = (factor?: unknown, name = 'ci', as = page) =>
    call(workspace, 'POST /api-tokens', as, factor === undefined ? { name } : { name, factor })
  const missing = await make()
  await assertRefused(t, workspace, missing, { code: 'step-up-required', stage: 'owner' })
  t.match(JSON.parse(missing.body), { detail: /^This act wants a second factor/ })
  for (const factor of [
    null,
    7,
    'x',
    [],
    ['123456'],
    {},
    { code: 1 },
    { code: 'a', passkey: {} },
    { pin: '1' },
  ])
    await assertRefused(t, workspace, await make(factor), { code: 'bad-request', stage: 'owner' })
  for (const factor of [
    { code: '' },
    { code: 'abc' },
    { code: 'aaaa-aaaa-aaaa-aaaa' },
    { code: 'x'.repeat(60_000) },
    { passkey: null },
    { passkey: { id: 'x' } },
  ])
    await assertRefused(t, workspace, await make(factor), {
      code: 'step-up-required',
      stage: 'owner',
    })
  const [code = '', second = ''] = backupCodes
  await assertRefused(t, workspace, await make({ code }, 'Bad Name'), {
    code: 'bad-request',
    stage: 'owner',
  })
  t.match(jsonOf(t, await make({ code })), { name: 'ci', token: /^hub_/ })
  await assertRefused(t, workspace, await make({ code }, 'two'), {
    code: 'step-up-required',
    stage: 'owner',
  })

  const challenge = async (about: unknown, as = page) =>
    call(workspace, 'POST /second-factor/challenge', as, { act: about })
  for (const about of ['', 'nothing', '__proto__', 'list-sessions', 7, 'x'.repeat(60_000)])
    await assertRefused(t, workspace, await challenge(about), {
      code: 'bad-request',
      stage: 'owner',
    })
  const passkeyFor = async (about: string) => {
    const { options } = jsonOf(t, await challenge(about))
    device.counter++
    return { passkey: device.get(options as object, SITE.origin) }
  }
  const wrongAct = await passkeyFor('new-backup-codes')
  await assertRefused(t, workspace, await make(wrongAct, 'two'), {
    code: 'step-up-required',
    stage: 'owner',
  })
  t.match(jsonOf(t, await make(await passkeyFor('create-api-token'), 'two')), { name: 'two' })
  const gone = await call(workspace, `DELETE /second-factor/${id}`, page, {
    factor: { code: second },
  })
  t.same(jsonOf(t, gone), { removed: 1 })

  const { token: secret } = workspace.running.parts.apiTokens.create({
    ...{ name: 'owner', subject: 'alice', scopes: ['owner'], expiresAt: undefined },
  })
  const program = [`Authorization: Bearer ${secret}`]
  const byProgram = await make({ code: backupCodes[2] }, 'three', program)
  await assertRefused(t, workspace, byProgram, { code: 'step-up-required', stage: 'owner' })
  t.match(
    jsonOf(t, await make({ code: backupCodes[2] }, 'three')),
    { name: 'three' },
    'and its code is not used up',
  )
})

t.test('refusals are listed for owners, without those that lead to sign in', async (t) => {
  const workspace = await startLocal(t, {
    GATEWAY_OWNERS: 'olga',
    GATEWAY_LOGIN_URL: 'https://hubify.com/login',
  })
  const { port } = workspace
  const olga = await pageOf(workspace, 'olga')
  await send(port, 'GET /secret-page?token=hub_x', [HTTPS, ...NAVIGATION]) // 302 to the login page
  await send(port, 'GET /terminal/', [...olga, ...NAVIGATION]) // 302 to the second factor
  const refused = await send(port, 'GET /api/models?key=value', [HTTPS])
  await workspace.logLine(({ id }) => id === refused.headers['x-request-id'])
  const { refusals } = jsonOf(t, await call(workspace, 'GET /refusals', olga))
  t.match(refusals, [
    {
      id: refused.headers['x-request-id'],
      status: 401,
      code: 'sign-in-required',
      path: '/api/models',
      user: null,
    },
  ])
  t.equal((refusals as unknown[]).length, 1)
  const { body } = await open(workspace, olga)
  t.match(body, refused.headers['x-request-id'])
  t.notMatch(body, /302|secret-page|key=value/)
  const bob = await call(workspace, 'GET /refusals', await pageOf(workspace, 'bob'))
  t.equal(bob.headers['x-gateway-error'], 'scope-missing')
})

t.test('a page that asks for a factor says for what', async (t) => {
  const workspace = await startLocal(t)
  const page = await pageOf(workspace)
  await ensureTerminalCredential(workspace.config.stateDir)
  enrolApp(workspace)
  await enrolPasskey(workspace)
  const [app = '', passkey = ''] = idsOf(await open(workspace, page), 'remove-second-factor')
  const scopes: Fields = [
    ...Object.entries(await tokenForm(workspace, page)),
    ['scope', 'terminal'],
  ]
  const sentences: ReadonlyArray<readonly [fields: Fields, sentence: RegExp]> = [
    [scopes, /^Make the API token ci for api, terminal, valid for 30 days\.$/],
    [{ act: 'remove-second-factor', id: app }, /^Remove your authenticator app\.$/],
    [{ act: 'remove-second-factor', id: passkey }, /^Remove the passkey .*laptop/],
    [{ act: 'new-backup-codes' }, /^Make new backup codes, /],
    [{ act: 'show-terminal-password' }, /^Show the password of the terminal\.$/],
  ]
  const saidIn = ({ body }: RawAnswer) => unescaped(/<p class="act">.*?>([^<]+)</s.exec(body)?.[1])
  for (const [fields, sentence] of sentences)
    t.match(saidIn(await act(workspace, page, fields)), sentence)
  for (const [path, sentence] of [
    ['app', /^Set up an authenticator app/],
    ['passkey', /^Add a passkey\.$/],
  ] as const)
    t.match(
      saidIn(await postForm(workspace, `/_gateway/second-factor/${path}`, page, {})),
      sentence,
    )
  for (const [name, { says }] of Object.entries(ACTS))
    t.equal(says !== undefined, OWNER_ACTIONS[name as keyof typeof OWNER_ACTIONS].isAct, name)
})

t.test('everything that the page does has a twin in JSON', async (t) => {
  const workspace = await startLocal(t)
  const page = await pageOf(workspace)
  enrolApp(workspace)
  for (const name of Object.keys(ACTS)) {
    const action = OWNER_ACTIONS[name as keyof typeof OWNER_ACTIONS]
    t.not(action.who, 'machine', name)
    const { headers } = await call(workspace, `PATCH ${action.path.replace(':id', 'x')}`, page)
    t.ok(headers['allow']?.split(', ').includes(action.method), name)
  }
  const twins: Record<string, string> = {
    [PAGE]: 'the actions above',
    '/_gateway/sign-out': 'DELETE /session',
    '/_gateway/second-factor/app': 'POST /second-factor/app',
    '/_gateway/second-factor/passkey': 'POST /second-factor/passkey',
  }
  const { body } = await open(workspace, page)
  for (const [, action = ''] of body.matchAll(/<form[^>]* action="([^"]*)"/g))
    t.ok(twins[action], action)
  for (const [, name = ''] of body.matchAll(/name="act" value="([^"]*)"/g)) t.ok(name in ACTS, name)
  const places: string[] = Object.values(OWNER_ACTIONS).map(
    ({ method, path }) => `${method} ${path}`,
  )
  for (const twin of Object.values(twins).slice(1)) t.ok(places.includes(twin), twin)
})
