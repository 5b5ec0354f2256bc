/** Can people sign in, and can nobody be sent elsewhere, signed in as someone else or robbed of a token on the way? */
import { SignJWT } from 'jose/jwt/sign'
import t from 'tap'
import { DETAILS, TICKET_EXPIRED_DETAIL } from '../../src/answers/details.ts'
import { assertRefused, cookie, HTTPS, NAVIGATION, ORIGIN, signIn, TYPED } from '../helpers/door.ts'
import { SECRET, startWorkspace, token } from '../helpers/gateway.ts'
import { breakWrites } from '../helpers/full-disk.ts'
import { send, upgrade, type RawAnswer } from '../helpers/wire.ts'

const FORM = 'Content-Type: application/x-www-form-urlencoded'

/** Posts a form of this text. */
const post = (port: number, body: string, headers: readonly string[] = [HTTPS, FORM]) =>
  send(
    port,
    'POST /_gateway/sign-in',
    [...headers, `Content-Length: ${Buffer.byteLength(body)}`],
    body,
  )

t.test(
  'a good token starts a session, by form and by link, and the browser goes where it was going',
  async (t) => {
    const workspace = await startWorkspace(t)
    const { port } = workspace
    for (const how of ['form', 'link']) {
      const good = await token({ ttlSeconds: 600 })
      const fields = new URLSearchParams({ token: good, return_to: '/logs?a=1&b=2#c' }).toString()
      const answer =
        how === 'form'
          ? await post(port, fields)
          : await send(port, `GET /_gateway/sign-in?${fields}`, [HTTPS, ...TYPED])
      t.equal(answer.status, 303)
      t.equal(answer.headers['location'], '/logs?a=1&b=2#c')
      t.equal(answer.headers['cache-control'], 'no-store')
      t.equal(answer.headers['referrer-policy'], 'no-referrer')
      t.equal(answer.body, '')
      const [pair = '', ...attributes] = (answer.headers['set-cookie'] ?? '').split('; ')
      t.match(pair, /^__Host-workspace_session=[\w-]+\.[\w-]+\.[\w-]+$/)
      t.notMatch(answer.raw, good, 'the session has a token of its own')
      const age = Number(attributes[0]?.replace('Max-Age=', ''))
      t.ok(age > 590 && age <= 600, 'it ends with the token')
      t.same(attributes.slice(1), ['Path=/', 'HttpOnly', 'SameSite=Lax', 'Secure'])
      t.notMatch(answer.raw.replace(pair, ''), good, 'the token is in the cookie and nowhere else')
      t.equal(
        (await send(port, 'GET /', [HTTPS, `Cookie: ${pair}`])).status,
        200,
        'the session works',
      )
      const line = await workspace.logLine(({ id }) => id === answer.headers['x-request-id'])
      t.match(line, {
        stage: 'sign-in',
        status: 303,
        user: 'alice',
        path: '/_gateway/sign-in',
        route: 'gateway',
      })
      t.notMatch(JSON.stringify(line), good)
    }
  },
)

t.test(
  'on a plain http loopback host the cookie is the one that a browser keeps there',
  async (t) => {
    const { port } = await startWorkspace(t)
    const rows: Array<[host: string, proto: string, secure: boolean]> = [
      ['localhost:8080', 'http', false],
      ['127.0.0.1:8080', 'http', false],
      ['[::1]', 'http', false],
      ['localhost:8080', 'https', true],
      ['houston.hubify.com', 'http', true],
      ['10.0.0.1', 'http', true],
    ]
    for (const [host, proto, secure] of rows) {
      const answer = await post(port, `token=${await token()}`, [
        `Host: ${host}`,
        `X-Forwarded-Proto: ${proto}`,
        FORM,
      ])
      t.equal(answer.status, 303)
      t.match(
        answer.headers['set-cookie'],
        secure
          ? /^__Host-workspace_session=[^;]+; Max-Age=\d+; Path=\/; HttpOnly; SameSite=Lax; Secure$/
          : /^workspace_session=[^;]+; Max-Age=\d+; Path=\/; HttpOnly; SameSite=Lax$/,
        `${proto}://${host}`,
      )
    }
  },
)

t.test('a token that is not good starts no session', async (t) => {
  const workspace = await startWorkspace(t)
  const { port } = workspace
  const rows: Array<[bad: string, code: 'token-invalid' | 'token-expired']> = [
    ['x', 'token-invalid'],
    ['', 'token-invalid'],
    ['a.b.c', 'token-invalid'],
    [`hub_${'a'.repeat(32)}`, 'token-invalid'],
    [await token({ workspace: 'research' }), 'token-invalid'],
    [await token({ secret: 'another-key-that-is-not-houstons-own' }), 'token-invalid'],
    [await token({ ttlSeconds: -3600 }), 'token-expired'],
    [`${await token()}\n${await token()}`, 'token-invalid'],
  ]
  for (const [bad, code] of rows) {
    const fields = new URLSearchParams({ token: bad, return_to: '/logs' }).toString()
    for (const headers of [[], NAVIGATION]) {
      const answers = [
        await post(port, fields, [HTTPS, FORM, ...headers]),
        await send(port, `GET /_gateway/sign-in?${fields}`, [HTTPS, ...headers]),
      ]
      for (const answer of answers) {
        await assertRefused(t, workspace, answer, {
          code,
          stage: 'sign-in',
          page: headers.length > 0,
        })
        t.equal(answer.headers['set-cookie'], undefined)
        t.equal(answer.headers['location'], undefined)
        if (bad !== '' && bad !== 'x') t.notOk(answer.raw.includes(bad), 'it is not repeated')
      }
    }
  }
})

t.test(
  'a token whose session no browser keeps as a cookie is refused at sign-in, with the reason',
  async (t) => {
    const workspace = await startWorkspace(t)
    const withMethods = (length: number) =>
      new SignJWT({ amr: ['x'.repeat(length)], jti: `of-${length}` })
        .setProtectedHeader({ alg: 'HS256' })
        .setSubject('alice')
        .setAudience('houston')
        .setExpirationTime('1h')
        .sign(new TextEncoder().encode(SECRET))
    const long = await withMethods(2900)
    t.ok(long.length <= 4096, `${long.length} characters`)
    const answers = [
      await post(workspace.port, `token=${long}`, [HTTPS, FORM]),
      await send(workspace.port, `GET /_gateway/sign-in?token=${long}`, [HTTPS, ...TYPED]),
    ]
    for (const [i, answer] of answers.entries()) {
      const line = await assertRefused(t, workspace, answer, {
        code: 'token-invalid',
        stage: 'sign-in',
        page: i === 1,
      })
      t.equal(line['reason'], 'too long for a cookie')
      t.equal(answer.headers['set-cookie'], undefined)
      t.notOk(answer.raw.includes(long))
    }
    const bearer = await send(workspace.port, 'GET /', [`Authorization: Bearer ${long}`])
    t.equal(bearer.status, 200, 'it is good for programs')
    const shorter = await post(workspace.port, `token=${await withMethods(2500)}`, [HTTPS, FORM])
    t.equal(shorter.status, 303)
  },
)

t.test('a bad token shows the sign-in page, also where signing in is done elsewhere', async (t) => {
  const workspace = await startWorkspace(t, { GATEWAY_LOGIN_URL: 'https://hubify.com/login' })
  const stale = cookie(await token({ ttlSeconds: -3600 }))
  const answer = await send(workspace.port, 'GET /_gateway/sign-in?token=x', [
    HTTPS,
    stale,
    ...NAVIGATION,
  ])
  await assertRefused(t, workspace, answer, { code: 'token-invalid', stage: 'sign-in', page: true })
  t.match(answer.body, 'The token is not valid for this workspace; copy')
})

t.test('a mistyped token shows the form again, with the same way back', async (t) => {
  const workspace = await startWorkspace(t)
  const { port } = workspace
  const field = (text: string) => /name="return_to" value="([^"]*)"/.exec(text)?.[1]
  const rows: Array<[returnTo: string, kept: string]> = [
    ['/logs?a=1&b=2#c', '/logs?a=1&#38;b=2#c'],
    ['//evil.example', '/'],
    ['https://evil.example/', '/'],
    ['/_gateway/sign-in', '/'],
    ['/"><script>', '/%22%3E%3Cscript%3E'],
    ['', '/'],
  ]
  const bad: Array<[text: string, words: string]> = [
    ['mistyped', DETAILS['token-invalid']],
    [await token({ ttlSeconds: -3600 }), TICKET_EXPIRED_DETAIL],
  ]
  for (const [text, words] of bad)
    for (const [returnTo, kept] of rows) {
      const fields = new URLSearchParams({ token: text, return_to: returnTo }).toString()
      for (const answer of [
        await post(port, fields, [HTTPS, FORM, ...NAVIGATION]),
        await send(port, `GET /_gateway/sign-in?${fields}`, [HTTPS, ...NAVIGATION]),
      ]) {
        t.equal(answer.status, 401)
        t.match(answer.body, '<form method="post" action="/_gateway/sign-in">')
        t.equal(field(answer.body), kept, returnTo)
        t.ok(answer.body.includes(`<p class="alert" role="alert">${words}</p>`))
        t.notMatch(answer.body, 'http-equiv')
        t.match(answer.body, 'workspace-gateway sign-in-link', 'the way to a new one')
      }
    }
  t.equal(workspace.dials(), 0)
})

t.test('signing in takes exactly one token, in a form', async (t) => {
  const workspace = await startWorkspace(t)
  const { port } = workspace
  const good = await token()
  const refusal = { code: 'bad-request', stage: 'sign-in' } as const
  for (const body of [
    '',
    'return_to=/',
    `Token=${good}`,
    `token=${good}&token=${good}`,
    `token=x&token=${good}`,
    `token[]=${good}`,
  ])
    await assertRefused(t, workspace, await post(port, body), refusal)
  await assertRefused(
    t,
    workspace,
    await send(port, `GET /_gateway/sign-in?token=${good}&token=x`),
    refusal,
  )
  for (const type of [
    'application/json',
    'text/plain',
    'multipart/form-data; boundary=x',
    'application/x-www-form-urlencodedx',
    '',
  ]) {
    const answer = await post(port, `token=${good}`, type === '' ? [] : [`Content-Type: ${type}`])
    t.equal(answer.status, 400, type)
    t.equal(answer.headers['x-gateway-error'], 'bad-request')
    t.equal(answer.headers['set-cookie'], undefined)
  }
  const json = JSON.stringify({ token: good })
  t.equal((await post(port, json, ['Content-Type: application/json'])).status, 400)
  t.equal((await post(port, json)).status, 400)
  const query = await send(port, `POST /_gateway/sign-in?token=${good}`, [
    FORM,
    'Content-Length: 0',
  ])
  t.equal(query.status, 400, 'a form’s token is in its body')
  for (const headers of [
    [`Authorization: Bearer ${good}`],
    [`X-Workspace-Token: ${good}`],
    [cookie(good), HTTPS],
  ]) {
    const answer = await post(port, '', [FORM, ...headers])
    t.equal(answer.status, 400, 'a credential is no sign-in')
    t.equal(answer.headers['set-cookie'], undefined)
  }
  const charset = await post(port, `token=${good}`, [
    'Content-Type: application/x-www-form-urlencoded; charset=UTF-8',
  ])
  t.equal(charset.status, 303)
  const spaced = await post(port, `token=+%0A${await token()}%0D%0A+`)
  t.equal(spaced.status, 303, 'white space from pasting does no harm')
  const ticket = await token()
  const link = encodeURIComponent(`${ORIGIN}/_gateway/sign-in?token=${ticket}&return_to=/logs`)
  t.equal((await post(port, `token=${link}`)).status, 303, 'the whole link was pasted')
  t.equal((await post(port, `token=${ticket}`)).headers['x-gateway-error'], 'ticket-used')
  for (const other of [`${ORIGIN}/`, 'https://', 'http://[', `${ORIGIN}/?token=`])
    t.equal((await post(port, `token=${encodeURIComponent(other)}`)).status, 401, other)
})

t.test('a form of more than 16 KiB is answered 413, whether it says so or not', async (t) => {
  const workspace = await startWorkspace(t)
  const { port } = workspace
  const body = `token=${'x'.repeat(20_000)}`
  const said = await post(port, body)
  await assertRefused(t, workspace, said, { code: 'body-too-large', stage: 'authentication' })
  const size = body.length.toString(16)
  const unsaid = await send(
    port,
    'POST /_gateway/sign-in',
    [FORM, 'Transfer-Encoding: chunked'],
    `${size}\r\n${body}\r\n0\r\n\r\n`,
  )
  t.equal(unsaid.status, 413)
  t.equal(unsaid.headers['x-gateway-error'], 'body-too-large')
  const huge = await post(port, 'x'.repeat(2_000_000))
  t.equal(huge.status, 413, 'the answer arrives although nobody reads the rest')
  const lie = await send(
    port,
    'POST /_gateway/sign-in',
    [FORM, 'Content-Length: 9999999999'],
    'token=x',
  )
  t.equal(lie.status, 413)
})

/** Where a browser must not be sent. */
const ELSEWHERE = [
  'https://evil.example',
  'https://evil.example/',
  'http://evil.example',
  '//evil.example',
  '///evil.example',
  '////evil.example',
  '/\\evil.example',
  '\\\\evil.example',
  '\\/evil.example',
  '/\t/evil.example',
  '/\n/evil.example',
  '/\r\n/evil.example',
  '\t//evil.example',
  ' //evil.example',
  '\u0000//evil.example',
  'https:evil.example',
  'https:/evil.example',
  'https:\\\\evil.example',
  'HTTPS://EVIL.EXAMPLE',
  'javascript:alert(1)',
  'JaVaScRiPt:alert(1)',
  'data:text/html,<script>alert(1)</script>',
  'vbscript:x',
  'ftp://houston.hubify.com/',
  'blob:https://houston.hubify.com/x',
  'file:///etc/passwd',
  'https://houston.hubify.com@evil.example/',
  'https://houston.hubify.com.evil.example/',
  'https://houston.hubify.com:8443/',
  'http://houston.hubify.com/',
  'https://houston.hubify.comevil.example',
  'https://evil.example/https://houston.hubify.com',
  'https://research.hubify.com/',
  'https://[::1]/',
  '/.//evil.example',
  '/..//evil.example',
  '/a/..//evil.example',
  '/a/../\\evil.example',
  '/%2e//evil.example',
  '/x/../../..//evil.example',
  '/.\\evil.example',
  '/_gateway/sign-out',
  '/_gateway/sign-in?token=x',
  '/./_gateway/sign-out',
  '/x/../_gateway/sign-out',
  'null',
  '?',
]

t.test('nobody is sent elsewhere after signing in', async (t) => {
  const { port } = await startWorkspace(t)
  for (const returnTo of ELSEWHERE) {
    const fields = async () =>
      new URLSearchParams({ token: await token(), return_to: returnTo }).toString()
    for (const answer of [
      await post(port, await fields()),
      await send(port, `GET /_gateway/sign-in?${await fields()}`, [HTTPS, ...TYPED]),
    ]) {
      t.equal(answer.status, 303, JSON.stringify(returnTo))
      const location = answer.headers['location'] ?? ''
      t.equal(new URL(location, ORIGIN).origin, ORIGIN)
      t.notMatch(location, /^(?:\/\/|\/\\)|_gateway/)
      t.equal(answer.headers['location']?.includes('\n'), false, 'one Location')
    }
    const { body } = await send(
      port,
      `GET /_gateway/sign-in?return_to=${encodeURIComponent(returnTo)}`,
      [HTTPS],
    )
    const field = /name="return_to" value="([^"]*)"/.exec(body)?.[1] ?? 'none'
    t.equal(new URL(field, ORIGIN).origin, ORIGIN)
  }
  const twice = await post(port, `token=${await token()}&return_to=/a&return_to=//evil.example`)
  t.equal(twice.headers['location'], '/a')
  for (const [returnTo, location] of [
    ['/logs', '/logs'],
    ['/', '/'],
    ['', '/'],
    ['logs', '/logs'],
    ['/terminal/?x=//y#z', '/terminal/?x=//y#z'],
    ['https://houston.hubify.com/logs?x=1', '/logs?x=1'],
    ['/caf\u00e9', '/caf%C3%A9'],
  ] as const)
    t.equal(
      (
        await post(
          port,
          new URLSearchParams({ token: await token(), return_to: returnTo }).toString(),
        )
      ).headers['location'],
      location,
    )
})

t.test('the sign-in page is for everybody, and signs nobody in', async (t) => {
  const workspace = await startWorkspace(t)
  const { port } = workspace
  for (const headers of [
    [],
    NAVIGATION,
    [cookie('garbage'), HTTPS],
    ['Authorization: Bearer a.b.c'],
  ]) {
    const page = await send(port, 'GET /_gateway/sign-in?return_to=/logs', headers)
    t.equal(page.status, 200)
    t.equal(page.headers['content-type'], 'text/html; charset=utf-8')
    t.match(page.headers['content-security-policy'], "default-src 'none'")
    t.match(page.body, '<input type="hidden" name="return_to" value="/logs">')
    t.notMatch(page.body, /<script/i)
    t.equal(page.headers['set-cookie'], undefined)
  }
  const head = await send(port, 'HEAD /_gateway/sign-in')
  t.equal(head.status, 200)
  t.equal(head.body, '')
  t.equal(workspace.dials(), 0)
})

/** The token and other fields of the form on a page, by name. */
const fieldsOf = (body: string) =>
  Object.fromEntries(
    [...body.matchAll(/<input type="hidden" name="([^"]*)" value="([^"]*)">/g)].map(
      ([, name = '', value = '']) => [name, value],
    ),
  )

/** The cookies that an answer sets, as a browser sends them. */
const cookiesOf = ({ headers }: Pick<RawAnswer, 'headers'>) =>
  (headers['set-cookie'] ?? '').split('\n').map((line) => line.split(';')[0] ?? '')

/** Whether a token can still sign in. */
async function isUnused(port: number, text: string): Promise<boolean> {
  return (await post(port, `token=${text}`)).status === 303
}

/** A token without a name of its own. */
const nameless = (note: string) =>
  new SignJWT({ note })
    .setProtectedHeader({ alg: 'HS256' })
    .setSubject('alice')
    .setAudience('houston')
    .setExpirationTime('1h')
    .sign(new TextEncoder().encode(SECRET))

t.test('a token that names itself signs in once, and opens nothing afterwards', async (t) => {
  const workspace = await startWorkspace(t)
  const { port } = workspace
  const good = await token()
  const bearer = [`Authorization: Bearer ${good}`]
  t.equal((await send(port, 'GET /', bearer)).status, 200, 'good before it signs in')
  const dials = workspace.dials()
  t.equal((await post(port, `token=${good}`)).status, 303)
  const refusal = { code: 'ticket-used', stage: 'sign-in', dials } as const
  await assertRefused(t, workspace, await post(port, `token=${good}`), refusal)
  const link = `GET /_gateway/sign-in?token=${good}`
  await assertRefused(t, workspace, await send(port, link, [HTTPS]), refusal)
  for (const headers of [bearer, [`X-Workspace-Token: ${good}`], [cookie(good), HTTPS]])
    await assertRefused(t, workspace, await send(port, 'GET /', headers), {
      ...refusal,
      stage: 'authentication',
    })
})

t.test('a token without a name signs in again from a form, and once from a link', async (t) => {
  const { port } = await startWorkspace(t)
  const inForm = await nameless('form')
  for (let i = 0; i < 2; i++) t.equal((await post(port, `token=${inForm}`)).status, 303)
  const inLink = await nameless('link')
  const link = `GET /_gateway/sign-in?token=${inLink}`
  t.equal((await send(port, link, [HTTPS, ...TYPED])).status, 303)
  t.equal((await send(port, link, [HTTPS, ...TYPED])).headers['x-gateway-error'], 'ticket-used')
  const asked = await nameless('asked')
  const page = await send(port, `GET /_gateway/sign-in?token=${asked}`, [HTTPS])
  const fields = new URLSearchParams(fieldsOf(page.body)).toString()
  t.equal((await post(port, fields)).status, 303)
  t.equal((await post(port, fields)).status, 401, 'also when its link led to the page that asks')
})

t.test('of 50 sign-ins at once with one token, one wins', async (t) => {
  const { port, running } = await startWorkspace(t)
  const good = await token()
  const answers = await Promise.all(
    Array.from({ length: 50 }, (_, i) =>
      i % 2 === 0
        ? post(port, `token=${good}`)
        : send(port, `GET /_gateway/sign-in?token=${good}`, [HTTPS, ...TYPED]),
    ),
  )
  t.equal(answers.filter(({ status }) => status === 303).length, 1)
  t.equal(answers.filter(({ status }) => status === 401).length, 49)
  t.equal(answers.filter(({ headers }) => headers['set-cookie'] !== undefined).length, 1)
  t.equal(running.parts.sessions.size, 1)
})

t.test('a link that was used says so on a page, with the way to a new one', async (t) => {
  const used = async (port: number) => {
    const good = await token()
    await signIn(port, good)
    return send(port, `GET /_gateway/sign-in?token=${good}&return_to=/logs`, [HTTPS, ...NAVIGATION])
  }
  const builtIn = await startWorkspace(t)
  const page = await used(builtIn.port)
  await assertRefused(t, builtIn, page, { code: 'ticket-used', stage: 'sign-in', page: true })
  t.match(page.body, '<h1>This sign-in link was used before</h1>')
  t.match(page.body, DETAILS['ticket-used'])
  t.match(page.body, '<form method="post" action="/_gateway/sign-in">')
  t.match(page.body, 'workspace-gateway sign-in-link')
  t.match(page.body, '<a href="/logs">')
  t.equal(page.headers['set-cookie'], undefined)

  const elsewhere = await startWorkspace(t, { GATEWAY_LOGIN_URL: 'https://hubify.com/login?a=b' })
  const other = await used(elsewhere.port)
  const [state = ''] = cookiesOf(other).map((pair) => pair.replace('__Host-workspace_signin=', ''))
  t.match(state, /^[\w-]{22}$/)
  t.match(
    other.body,
    `href="https://hubify.com/login?a=b&#38;return_to=https%3A%2F%2Fhouston.hubify.com%2Flogs&#38;state=${state}"`,
  )
  t.notMatch(other.body, '<form')
})

t.test(
  'nobody is signed in by a link or a form that nobody asked for: a page asks first',
  async (t) => {
    const { port } = await startWorkspace(t, { GATEWAY_ALLOWED_ORIGINS: 'https://app.example.com' })
    const site = (name: string) => [
      `Sec-Fetch-Site: ${name}`,
      'Sec-Fetch-Mode: navigate',
      'Sec-Fetch-Dest: document',
    ]
    const fetched = (name: string) => [`Sec-Fetch-Site: ${name}`, 'Sec-Fetch-Mode: cors']
    const rows: Array<[method: 'GET' | 'POST', goesIn: boolean, headers: string[]]> = [
      ['GET', true, site('none')],
      ['GET', true, site('same-origin')],
      ['GET', false, site('same-site')],
      ['GET', false, site('cross-site')],
      ['GET', false, []],
      ['GET', false, ['Accept: text/html']],
      ['GET', false, ['Sec-Fetch-Site: none']],
      ['GET', false, fetched('same-origin')],
      ['GET', false, [...site('none'), 'Origin: https://evil.example']],
      ['GET', false, ['Sec-Fetch-Site: same-origin', 'Sec-Fetch-Mode: no-cors']],
      ['POST', true, []],
      ['POST', true, [`Origin: ${ORIGIN}`]],
      ['POST', true, [`Origin: ${ORIGIN}`, ...site('same-origin')]],
      ['POST', true, ['Origin: null', ...site('same-origin')]],
      ['POST', true, [`Origin: ${ORIGIN}`, ...fetched('same-origin')]],
      ['POST', false, ['Origin: null']],
      ['POST', false, ['Origin: null', ...site('cross-site')]],
      ['POST', false, ['Origin: null', ...site('none')]],
      ['POST', false, ['Origin: https://evil.example']],
      ['POST', false, ['Origin: https://research.hubify.com', ...site('same-site')]],
      ['POST', false, ['Origin: https://app.example.com', ...site('cross-site')]],
      ['POST', false, [`Origin: ${ORIGIN}`, `Origin: ${ORIGIN}`]],
      ['POST', false, [`Origin: ${ORIGIN}.evil.example`]],
      ['POST', false, site('cross-site')],
      ['POST', false, site('same-site')],
      ['POST', false, ['Sec-Fetch-Mode: navigate']],
      ['POST', false, ['Sec-Fetch-User: ?1']],
    ]
    for (const [method, goesIn, headers] of rows) {
      const what = `${method} ${headers.join()}`
      const good = await token()
      const fields = new URLSearchParams({ token: good, return_to: '/logs' }).toString()
      const answer =
        method === 'POST'
          ? await post(port, fields, [HTTPS, FORM, ...headers])
          : await send(port, `GET /_gateway/sign-in?${fields}`, [HTTPS, ...headers])
      t.equal(answer.status, goesIn ? 303 : 200, what)
      const hasSession = cookiesOf(answer).some((pair) => pair.includes('_session'))
      t.equal(hasSession, goesIn, what)
      if (!goesIn) t.ok(await isUnused(port, good), 'nothing is used up')
    }
  },
)

t.test(
  'the page that asks names the person and posts the same fields, in old browsers too',
  async (t) => {
    const { port } = await startWorkspace(t)
    const good = await token({ subject: '<b>alice</b> "x"' })
    const link = `GET /_gateway/sign-in?token=${good}&return_to=/logs?a=1`
    const page = await send(port, link, [HTTPS, ...NAVIGATION, 'Sec-Fetch-Site: cross-site'])
    t.equal(page.status, 200)
    t.match(page.headers['content-security-policy'], "form-action 'self'")
    t.ok(page.body.includes('<bdi>&#60;b&#62;alice&#60;/b&#62; &#34;x&#34;</bdi>'))
    t.equal(page.body.match(/<button/g)?.length, 1)
    t.match(page.body, '<form method="post" action="/_gateway/sign-in">')
    const fields = fieldsOf(page.body)
    t.match(fields, { token: good, return_to: '/logs?a=1' })
    t.same(cookiesOf(page), [`__Host-workspace_signin=${fields['state']}`])

    // A browser without Sec-Fetch-Site: Origin is null, because of the page's Referrer-Policy.
    const pressed = new URLSearchParams(fields).toString()
    const old = [HTTPS, FORM, 'Origin: null', 'Accept: text/html']
    const withoutCookie = await post(port, pressed, old)
    t.equal(withoutCookie.status, 200, 'the state alone proves nothing')
    const answer = await post(port, pressed, [...old, `Cookie: ${cookiesOf(page)[0]}`])
    t.equal(answer.status, 303)
    t.equal(answer.headers['location'], '/logs?a=1')
  },
)

t.test(
  'where people sign in with an account, the page leads there, and takes a token as well',
  async (t) => {
    const { port } = await startWorkspace(t, { GATEWAY_LOGIN_URL: 'https://hubify.com/login' })
    for (const [target, status] of [
      ['/_gateway/sign-in?return_to=/logs', 200],
      ['/_gateway/sign-in?return_to=/logs&token=mistyped', 401],
    ] as const) {
      const page = await send(port, `GET ${target}`, [HTTPS, ...NAVIGATION])
      t.equal(page.status, status)
      const [, state = ''] = /__Host-workspace_signin=([\w-]{22});/.exec(page.raw) ?? []
      const back = 'return_to=https%3A%2F%2Fhouston.hubify.com%2Flogs'
      t.ok(page.body.includes(`href="https://hubify.com/login?${back}&#38;state=${state}"`))
      t.match(page.body, '<input id="token"')
    }
  },
)

t.test('previews and prefetches are answered, and use nothing up', async (t) => {
  const { port } = await startWorkspace(t)
  const looks: Array<[method: string, headers: string[]]> = [
    ['HEAD', []],
    ['HEAD', TYPED],
    ['GET', ['User-Agent: Slackbot-LinkExpanding 1.0']],
    ['GET', [...TYPED, 'Sec-Purpose: prefetch']],
    ['GET', [...TYPED, 'Sec-Purpose: prefetch;prerender']],
    ['GET', [...TYPED, 'Purpose: prefetch']],
    ['GET', [...TYPED, 'X-Purpose: preview']],
    ['GET', [...TYPED, 'X-Moz: prefetch']],
  ]
  for (const text of [await token(), await nameless('looked at')]) {
    const target = `/_gateway/sign-in?token=${text}`
    for (const [method, headers] of looks) {
      const answer = await send(port, `${method} ${target}`, [HTTPS, ...headers])
      t.equal(answer.status, 200, `${method} ${headers.join()}`)
      t.notMatch(answer.headers['set-cookie'], '_session')
      t.equal(answer.body === '', method === 'HEAD')
    }
    t.equal((await send(port, `GET ${target}`, [HTTPS, ...TYPED])).status, 303)
  }
  const spent = await startWorkspace(t, { GATEWAY_RATE_LIMIT: '2' })
  const statuses = []
  for (let i = 0; i < 3; i++)
    statuses.push((await send(spent.port, 'HEAD /_gateway/sign-in?token=x', [HTTPS])).status)
  t.same(statuses, [401, 401, 429], 'but a guess is a guess')
})

/** A state cookie over https. */
const stateCookie = (state: string) => `__Host-workspace_signin=${state}`

t.test(
  'with the state that this browser got, a sign-in from another site goes straight in',
  async (t) => {
    const workspace = await startWorkspace(t, { GATEWAY_LOGIN_URL: 'https://hubify.com/login' })
    const { port } = workspace
    const sent = await send(port, 'GET /logs', [HTTPS, ...NAVIGATION])
    t.equal(sent.status, 302)
    t.match(
      sent.headers['set-cookie'],
      /^__Host-workspace_signin=[\w-]{22}; Max-Age=600; Path=\/; HttpOnly; SameSite=None; Secure$/,
    )
    const [pair = ''] = cookiesOf(sent)
    const login = new URL(sent.headers['location'] ?? '')
    const state = login.searchParams.get('state') ?? ''
    t.equal(pair, stateCookie(state), 'the cookie and the address have the same')
    const second = await send(port, 'GET /x', [HTTPS, ...NAVIGATION, `Cookie: ${pair}`])
    t.same(cookiesOf(second), [pair], 'several tabs share it')
    t.match(second.headers['location'], `state=${state}`)

    const foreign = ['Origin: https://hubify.com', 'Sec-Fetch-Site: same-site', ...NAVIGATION]
    const back = (fields: Record<string, string>, cookies: string, how: 'GET' | 'POST') => {
      const text = new URLSearchParams({ ...fields, return_to: '/logs' }).toString()
      const headers = [HTTPS, ...foreign.slice(how === 'GET' ? 1 : 0)]
      if (cookies !== '') headers.push(`Cookie: ${cookies}`)
      return how === 'GET'
        ? send(port, `GET /_gateway/sign-in?${text}`, headers)
        : post(port, text, [FORM, ...headers])
    }
    const other = 'A'.repeat(22)
    for (const how of ['GET', 'POST'] as const) {
      for (const [given, cookies, why] of [
        [other, pair, 'another state'],
        [state.slice(1), pair, 'a part of it'],
        ['', pair, 'none'],
        [state, '', 'no cookie'],
        [other, `${pair}; ${stateCookie(other)}`, 'a second cookie that somebody planted'],
        [state, `${pair}; ${stateCookie(other)}`, 'the first of two'],
        [state, `${pair}; ${pair}`, 'the same twice'],
        ['', stateCookie(''), 'both empty'],
        ['short', stateCookie('short'), 'no state of ours'],
        [state, `workspace_signin=${state}`, 'the cookie for plain http'],
      ] as const) {
        const good = await token()
        const answer = await back({ token: good, state: given }, cookies, how)
        t.equal(answer.status, 200, `${how}: ${why}`)
        t.ok(await isUnused(port, good))
      }
      const answer = await back({ token: await token(), state }, `a=b; ${pair}`, how)
      t.equal(answer.status, 303, how)
      t.equal(answer.headers['location'], '/logs')
    }
    const planted = await send(port, 'GET /logs', [
      HTTPS,
      ...NAVIGATION,
      `Cookie: ${pair}; ${stateCookie(other)}`,
    ])
    const [expired = '', fresh = ''] = (planted.headers['set-cookie'] ?? '').split('\n')
    t.match(expired, /^__Host-workspace_signin=; Max-Age=0; Domain=hubify\.com; /)
    t.match(fresh, /^__Host-workspace_signin=[\w-]{22}; Max-Age=600/)
    t.notOk(
      [pair, stateCookie(other)].some((old) => fresh.startsWith(old)),
      'neither is used again',
    )
    const reflected = await send(port, 'GET /logs', [
      HTTPS,
      ...NAVIGATION,
      `Cookie: ${stateCookie('"><script>aaaaaaaaaaaa')}`,
    ])
    t.notMatch(reflected.raw, 'script')
  },
)

t.test('a script of an allowed origin cannot read the state of this browser', async (t) => {
  const { port } = await startWorkspace(t, {
    GATEWAY_LOGIN_URL: 'https://hubify.com/login',
    GATEWAY_ALLOWED_ORIGINS: 'https://app.example.com',
  })
  const state = 'S'.repeat(22)
  const fetched = [
    HTTPS,
    'Origin: https://app.example.com',
    'Sec-Fetch-Site: cross-site',
    'Sec-Fetch-Mode: cors',
    'Accept: text/html',
    `Cookie: ${stateCookie(state)}`,
  ]
  for (const target of ['/_gateway/sign-in', `/_gateway/sign-in?token=${await token()}`]) {
    const answer = await send(port, `GET ${target}`, fetched)
    t.equal(answer.status, 200)
    t.equal(answer.headers['access-control-allow-origin'], 'https://app.example.com')
    t.notMatch(answer.raw, state)
    t.equal(answer.headers['set-cookie'], undefined)
  }
})

t.test(
  'on a loopback host over plain http the state is in the cookie that browsers keep there',
  async (t) => {
    const { port } = await startWorkspace(t, { GATEWAY_LOGIN_URL: 'https://hubify.com/login' })
    const sent = await send(port, 'GET /', ['Host: localhost:8080', ...NAVIGATION])
    t.match(
      sent.headers['set-cookie'],
      /^workspace_signin=[\w-]{22}; Max-Age=600; Path=\/; HttpOnly; SameSite=Lax$/,
    )
    const state = new URL(sent.headers['location'] ?? '').searchParams.get('state')
    const answer = await send(port, `GET /_gateway/sign-in?token=${await token()}&state=${state}`, [
      'Host: localhost:8080',
      `Cookie: ${cookiesOf(sent)[0]}`,
      'Sec-Fetch-Site: cross-site',
      ...NAVIGATION,
    ])
    t.equal(answer.status, 303)
  },
)

/** The claims in the session cookie of an answer. */
function claimsOf(answer: Pick<RawAnswer, 'headers'>): Record<string, unknown> {
  const [, payload = ''] = (cookiesOf(answer)[0] ?? '').split('.')
  return JSON.parse(Buffer.from(payload, 'base64url').toString()) as Record<string, unknown>
}

t.test(
  'each sign-in is a session of its own, but one that returns with our state renews',
  async (t) => {
    const { port, running } = await startWorkspace(t)
    const first = await post(port, `token=${await token()}`)
    const [mine = ''] = cookiesOf(first)
    const again = await post(port, `token=${await token()}`, [HTTPS, FORM, `Cookie: ${mine}`])
    t.not(claimsOf(again)['sid'], claimsOf(first)['sid'], 'a new one, also for the same person')
    t.equal((await send(port, 'GET /', [HTTPS, `Cookie: ${mine}`])).status, 200)

    const state = 'S'.repeat(22)
    const { socket, answer: open } = await upgrade(port, '/', [
      HTTPS,
      `Origin: ${ORIGIN}`,
      `Cookie: ${mine}`,
    ])
    t.equal(open.status, 101)
    const returned = await post(
      port,
      `token=${await token({ ttlSeconds: 7200 })}&state=${state}&return_to=/logs`,
      [HTTPS, FORM, 'Origin: https://hubify.com', `Cookie: ${mine}; ${stateCookie(state)}`],
    )
    t.equal(returned.status, 303)
    t.equal(returned.headers['location'], '/logs')
    t.equal(claimsOf(returned)['sid'], claimsOf(first)['sid'])
    t.not(claimsOf(returned)['jti'], claimsOf(first)['jti'])
    t.ok(Number(claimsOf(returned)['exp']) > Number(claimsOf(first)['exp']) + 3000)
    t.notOk(socket.destroyed, 'what is open goes on')
    t.equal(running.parts.openSockets.size, 1)
    socket.destroy()
  },
)

t.test(
  'a login service that posts from another site renews, too: the state knows the session',
  async (t) => {
    const { port } = await startWorkspace(t, { GATEWAY_LOGIN_URL: 'https://login.example/' })
    const mine = await signIn(port, await token({ ttlSeconds: 600 }))
    const away = await send(port, 'GET /_gateway/renew', [HTTPS, mine, ...NAVIGATION])
    const state = new URL(away.headers['location'] ?? '').searchParams.get('state')
    const [remembered = ''] = cookiesOf(away)
    t.match(remembered, new RegExp(`^__Host-workspace_signin=${state}\\.[\\w-]{22}$`))
    const { sid } = claimsOf({ headers: { 'set-cookie': mine.slice('Cookie: '.length) } })
    // Browsers send no SameSite=Lax cookie with a form of another site.
    const back = async (subject: string) =>
      post(port, `token=${await token({ subject, ttlSeconds: 7200 })}&state=${state}`, [
        HTTPS,
        FORM,
        'Origin: https://login.example',
        'Sec-Fetch-Site: cross-site',
        `Cookie: ${remembered}`,
      ])
    const renewed = await back('alice')
    t.equal(renewed.status, 303)
    t.equal(claimsOf(renewed)['sid'], sid)
    const other = await back('bob')
    t.equal(other.status, 303)
    t.not(claimsOf(other)['sid'], sid)
    t.equal((await send(port, 'GET /', [HTTPS, mine])).status, 401, 'alice is signed out')
    const again = await back('alice')
    t.equal(again.status, 303)
    t.not(claimsOf(again)['sid'], sid, 'an ended session is not revived')
  },
)

t.test('signing in as another person ends the session that this browser had', async (t) => {
  const { port, running } = await startWorkspace(t)
  const bobs = await signIn(port, await token({ subject: 'bob' }))
  const elsewhere = await signIn(port, await token({ subject: 'bob' }))
  const { closed, answer: open } = await upgrade(port, '/', [HTTPS, `Origin: ${ORIGIN}`, bobs])
  t.equal(open.status, 101)
  const good = await token()
  const page = await send(port, `GET /_gateway/sign-in?token=${good}`, [HTTPS, bobs])
  t.match(page.body, 'You are signed in as <bdi>bob</bdi> now. That session ends.')
  t.equal((await send(port, 'GET /', [HTTPS, bobs])).status, 200, 'not before the button')
  const state = 'S'.repeat(22)
  const answer = await post(port, `token=${good}&state=${state}`, [
    HTTPS,
    FORM,
    `${bobs}; ${stateCookie(state)}`,
  ])
  t.equal(answer.status, 303)
  t.equal(claimsOf(answer)['sub'], 'alice')
  await closed
  t.equal((await send(port, 'GET /', [HTTPS, bobs])).status, 401)
  t.equal((await send(port, 'GET /', [HTTPS, elsewhere])).status, 200, 'in this browser only')
  t.equal(running.parts.sessions.size, 2)
})

t.test('a session token is no ticket', async (t) => {
  const workspace = await startWorkspace(t)
  const session = (await signIn(workspace.port, await token())).split('=')[1] ?? ''
  const answer = await post(workspace.port, `token=${session}`)
  await assertRefused(t, workspace, answer, { code: 'token-invalid', stage: 'sign-in' })
})

t.test(
  'when the disk is full, signing in says so and uses nothing up, and sessions go on',
  async (t) => {
    const workspace = await startWorkspace(t, { GATEWAY_RATE_LIMIT: '2' })
    const { port, running } = workspace
    const mine = await signIn(port, await token())
    const good = await token()
    const mend = breakWrites(running.parts.state)
    for (let i = 0; i < 4; i++) {
      const answer = await post(port, `token=${good}`)
      await assertRefused(t, workspace, answer, { code: 'state-unavailable', stage: 'sign-in' })
      t.equal(answer.headers['retry-after'], '10')
      t.equal(answer.headers['set-cookie'], undefined)
    }
    const page = await post(port, `token=${good}`, [
      HTTPS,
      FORM,
      ...NAVIGATION,
      'Sec-Fetch-Site: same-origin',
    ])
    t.equal(page.status, 503)
    t.notMatch(page.body, 'http-equiv', 'a form is not sent again by itself')
    t.equal((await send(port, 'GET /', [HTTPS, mine, 'Sec-Fetch-Site: same-origin'])).status, 200)
    t.equal(
      (await post(port, `token=${await nameless('x')}`)).status,
      303,
      'without a one-time token',
    )
    mend()
    t.equal((await post(port, `token=${good}`)).status, 303)
  },
)
