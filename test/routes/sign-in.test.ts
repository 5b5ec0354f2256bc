/** Can people sign in, and can nobody be sent elsewhere, signed in as someone else or robbed of a token on the way? */
import { SignJWT } from 'jose/jwt/sign'
import t from 'tap'
import { DETAILS } from '../../src/answers/details.ts'
import { assertRefused, cookie, HTTPS, NAVIGATION, ORIGIN, TYPED } from '../helpers/door.ts'
import { SECRET, startWorkspace, token } from '../helpers/gateway.ts'
import { send } from '../helpers/wire.ts'

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
    [await token({ ttlSeconds: -3600 }), DETAILS['token-expired']],
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
        t.ok(answer.body.includes(`<p class="bad" role="alert">${words}</p>`))
        t.notMatch(answer.body, 'http-equiv')
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

t.test('a token that names itself signs in once', async (t) => {
  const { port } = await startWorkspace(t)
  const good = await token()
  t.equal((await post(port, `token=${good}`)).status, 303)
  t.equal((await post(port, `token=${good}`)).status, 401)
})
