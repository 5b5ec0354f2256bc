/** Is every answer of the gateway's own in one form, marked as its own, with nothing of the request in it? */
import t, { type Test } from 'tap'
import { TARGET_DETAILS } from '../../src/answers/details.ts'
import { ERRORS, type ErrorCode } from '../../src/answers/errors.ts'
import { assertRefused, cookie, HTTPS, knock, NAVIGATION, ORIGIN } from '../helpers/door.ts'
import { startTestGateway, startWorkspace, token } from '../helpers/gateway.ts'
import { closedPort } from '../helpers/upstream.ts'
import { exchange, handshake, send, type RawAnswer } from '../helpers/wire.ts'

/** One request for each refusal that can be had from outside. */
async function everyRefusal(): Promise<
  Array<[code: ErrorCode, requestLine: string, headers: string[]]>
> {
  const good = await token()
  const expired = await token({ ttlSeconds: -3600 })
  return [
    ['bad-request', 'POST /', ['Transfer-Encoding: gzip, chunked']],
    ['bad-request', 'GET /', ['X-Forwarded-For: garbage']],
    ['bad-request', 'GET /', ['X-Workspace-Token: a', 'X-Workspace-Token: b']],
    ['bad-request', 'GET /', ['X A: b']],
    ['bad-target', 'GET //x', []],
    ['host-not-served', 'GET /', ['Host: evil.example']],
    ['sensitive-file', 'GET /.env', []],
    ['sign-in-required', 'GET /', []],
    ['token-invalid', 'GET /', ['X-Workspace-Token: x']],
    ['token-expired', 'GET /', [`X-Workspace-Token: ${expired}`]],
    ['origin-not-allowed', 'POST /', [cookie(good), HTTPS, 'Origin: null', 'Content-Length: 0']],
    ['not-found', 'GET /_gateway/x', [`X-Workspace-Token: ${good}`]],
    ['method-not-allowed', 'TRACE /', []],
    ['method-not-allowed', 'POST /health', ['Content-Length: 0']],
    [
      'body-too-large',
      'POST /_gateway/sign-in',
      ['Content-Type: application/x-www-form-urlencoded', 'Content-Length: 20000'],
    ],
    ['expectation-failed', 'GET /', ['Expect: banana']],
    ['upgrade-required', 'GET /', handshake(['Sec-WebSocket-Version: 8'])],
    ['headers-too-large', 'GET /', [`X-A: ${'a'.repeat(17_000)}`]],
    ['upstream-unreachable', 'GET /', [`X-Workspace-Token: ${good}`]],
  ]
}

t.test('every refusal is a problem document with a stable code and the request’s id', async (t) => {
  const gateway = await startTestGateway(t, {
    GATEWAY_DASHBOARD_URL: `http://127.0.0.1:${await closedPort()}`,
  })
  for (const [code, requestLine, headers] of await everyRefusal()) {
    await t.test(`${code} for ${requestLine} ${headers.join().slice(0, 30)}`, async (t) => {
      const answer = await send(gateway.port, requestLine, headers)
      const { status, title } = ERRORS[code]
      t.equal(answer.status, status)
      t.equal(answer.headers['content-type'], 'application/problem+json')
      t.equal(answer.headers['x-gateway-error'], code)
      t.equal(answer.headers['cache-control'], 'no-store')
      t.equal(answer.headers['x-content-type-options'], 'nosniff')
      t.equal(answer.headers['referrer-policy'], 'no-referrer')
      t.match(answer.headers['x-request-id'], /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/)
      t.equal(answer.headers['server'], undefined)
      t.equal(answer.headers['x-powered-by'], undefined)
      t.match(answer.body, /,"detail":"[A-Z][^"]+\.","instance":/)
      t.same(JSON.parse(answer.body), {
        type: `urn:workspace-gateway:${code}`,
        title,
        status,
        code,
        detail: (JSON.parse(answer.body) as { detail: string }).detail,
        instance: answer.headers['x-request-id'],
      })
    })
  }
})

t.test('a person gets a page instead, without a script in it, and never in a frame', async (t) => {
  const gateway = await startTestGateway(t, {
    GATEWAY_DASHBOARD_URL: `http://127.0.0.1:${await closedPort()}`,
  })
  for (const [code, requestLine, headers] of await everyRefusal()) {
    // The parser refuses these two before it knows who is asking; an upgrade is nobody's page.
    if (
      !/^GET|^POST/.test(requestLine) ||
      headers.join().includes('X A') ||
      code === 'headers-too-large' ||
      code === 'upgrade-required'
    )
      continue
    await t.test(`${code} for ${requestLine} ${headers.join().slice(0, 30)}`, async (t) => {
      const answer = await send(gateway.port, requestLine, [...headers, ...NAVIGATION])
      t.equal(answer.status, ERRORS[code].status)
      t.equal(answer.headers['x-gateway-error'], code)
      t.equal(answer.headers['content-type'], 'text/html; charset=utf-8')
      t.match(
        answer.headers['content-security-policy'],
        /^default-src 'none'; style-src 'sha256-[^']+'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'(?:; script-src 'nonce-[^']+'; connect-src 'self')?$/,
      )
      t.notMatch(
        answer.body,
        /<script(?! type="module" nonce=)|javascript:|https?:\/\/| on[a-z]+=/i,
      )
      t.equal(Number(answer.headers['content-length']), answer.body.length)
    })
  }
})

/** A gateway before services of which none is there. */
async function startBeforeNobody(t: Test) {
  const dead = `http://127.0.0.1:${await closedPort()}`
  return startTestGateway(t, {
    GATEWAY_DASHBOARD_URL: dead,
    GATEWAY_TERMINAL_URL: dead,
    GATEWAY_API_URL: dead,
    GATEWAY_HEALTH_URL: dead,
    GATEWAY_CONTROL_UI: '/chat',
    GATEWAY_HEALTH_STRICT: 'true',
  })
}

/** What a problem document says. */
const detailOf = ({ body }: RawAnswer) => (JSON.parse(body) as { detail: string }).detail

/** After how many seconds a page loads itself again. */
const reloadOf = ({ body }: RawAnswer) =>
  /<meta http-equiv="refresh" content="([^"]*)">/.exec(body)?.[1]

t.test('a service that is not there is named in words, with when to try again', async (t) => {
  const { port } = await startBeforeNobody(t)
  const good = `X-Workspace-Token: ${await token()}`
  const rows: Array<[target: string, words: string]> = [
    ['/', 'The dashboard'],
    ['/terminal/', 'The terminal'],
    ['/api/x', 'The agent (OpenClaw)'],
    ['/chat', 'The agent (OpenClaw)'],
    ['/health', 'The stats server'],
  ]
  for (const [target, words] of rows) {
    const detail = `${words} does not answer. It may still be starting. Try again in 10 seconds.`
    const answer = await send(port, `GET ${target}`, [good])
    t.equal(answer.status, 502)
    t.equal(detailOf(answer), detail)
    t.equal(answer.headers['retry-after'], '10')
    if (target === '/health') continue
    const page = await send(port, `GET ${target}`, [good, ...NAVIGATION])
    t.ok(page.body.includes(`<p>${detail}</p>`))
    t.equal(reloadOf(page), '10', 'the page tries again')
    t.equal(page.headers['retry-after'], '10')
    const posted = await send(port, `POST ${target}`, [good, ...NAVIGATION, 'Content-Length: 0'])
    t.equal(posted.status, 502)
    t.equal(reloadOf(posted), undefined, 'a form is not sent again')
  }
  const handshaken = await knock(port, 'upgrade', '/api/ws', [good])
  t.equal(handshaken.status, 502)
  t.equal(handshaken.headers['retry-after'], '10')
  t.match(detailOf(handshaken), 'The agent (OpenClaw) does not answer.')
})

t.test('a bad target hears which rule it broke', async (t) => {
  const workspace = await startWorkspace(t)
  const rows: Array<[target: string, rule: keyof typeof TARGET_DETAILS]> = [
    ['http://houston.hubify.com/', 'not in origin form'],
    ['/a#b', 'has a fragment'],
    ['/%zz', 'has a bad escape or invalid UTF-8'],
    ['/%ff', 'has a bad escape or invalid UTF-8'],
    ['/terminal%2fws', 'is another route when decoded'],
    ['//x', 'starts with a double slash'],
    ['/a%5cb', 'has a backslash'],
    ['/a%00b', 'has a control character'],
    ['/a/../b', 'has a dot segment'],
  ]
  t.same(
    [...new Set(rows.map(([, rule]) => rule)), 'has a character that must be escaped'].toSorted(),
    Object.keys(TARGET_DETAILS).toSorted(),
    'every rule, but for what Node’s parser refuses already',
  )
  for (const [target, rule] of rows) {
    const answer = await send(workspace.port, `GET ${target}`)
    const line = await assertRefused(t, workspace, answer, { code: 'bad-target', stage: 'target' })
    t.equal(line['reason'], rule)
    t.equal(detailOf(answer), TARGET_DETAILS[rule], target)
    const page = await send(workspace.port, `GET ${target}`, NAVIGATION)
    t.ok(page.body.includes(`<p>${TARGET_DETAILS[rule]}</p>`))
    t.equal(reloadOf(page), undefined)
  }
})

t.test('a HEAD gets the fields and no body', async (t) => {
  const { port } = await startWorkspace(t)
  const got = await send(port, 'GET /')
  const head = await send(port, 'HEAD /')
  t.equal(head.status, 401)
  t.equal(head.body, '')
  t.equal(head.headers['content-length'], got.headers['content-length'])
  t.equal(head.headers['x-gateway-error'], 'sign-in-required')
})

t.test('nothing of a request is in any answer of the gateway’s own', async (t) => {
  const marks = [
    'zebra',
    '<script>alert(1)</script>',
    '"><img src=x>',
    "'-alert(1)-'",
    '${7*7}',
    '{{7*7}}',
    '\xc3\xa9clair',
  ]
  const gateway = await startTestGateway(t, {
    GATEWAY_DASHBOARD_URL: `http://127.0.0.1:${await closedPort()}`,
  })
  const good = await token()
  const clean = (answer: RawAnswer, mark: string, what: string) => {
    for (const form of [
      mark,
      mark.toLowerCase(),
      encodeURIComponent(mark),
      mark.replaceAll('<', '&#60;').replaceAll('>', '&#62;'),
    ])
      t.notOk(answer.raw.includes(form), `${what}: ${form}`)
  }
  for (const mark of marks) {
    const encoded = encodeURIComponent(mark)
    for (const audience of [[], ['Accept: text/html', 'Sec-Fetch-Mode: navigate']]) {
      const rows: Array<[requestLine: string, headers: string[]]> = [
        [`GET //${encoded}`, []],
        [`GET /${encoded}/.env`, []],
        [`GET /${encoded}/../x?q=${encoded}`, []],
        [`GET /_gateway/${encoded}?q=${encoded}`, [`X-Workspace-Token: ${good}`]],
        [`GET /${encoded}?q=${encoded}`, [`X-Workspace-Token: ${good}`]],
        [`POST /${encoded}`, ['Content-Length: 0']],
        ['GET /', [`Host: ${mark}`]],
        ['GET /', [`Host: ${mark}.example`]],
        ['GET /', [`X-Forwarded-For: ${mark}`]],
        ['GET /', [`Cookie: __Host-workspace_session=${mark}`, HTTPS]],
        ['GET /', [`X-Workspace-Token: ${mark}`]],
        ['GET /', [`Authorization: Bearer ${mark}`]],
        ['GET /', [`Expect: ${mark}`]],
        ['POST /', [`Origin: ${mark}`, HTTPS, cookie(good), 'Content-Length: 0']],
        [
          'GET /',
          [
            `User-Agent: ${mark}`,
            `Referer: ${mark}`,
            `Accept-Language: ${mark}`,
            `X-Request-Id: ${mark}`,
          ],
        ],
        [`GET /_gateway/sign-in?token=${encoded}`, []],
        [`GET /_gateway/sign-in?token=x&error=${encoded}&state=${encoded}`, []],
        [`PUT /_gateway/sign-in?x=${encoded}`, ['Content-Length: 0']],
        [`POST /health?x=${encoded}`, ['Content-Length: 0']],
      ]
      for (const [requestLine, headers] of rows)
        clean(
          await send(gateway.port, requestLine, [...headers, ...audience]),
          mark,
          requestLine.slice(0, 30),
        )
    }
  }
})

t.test(
  'the way back after signing in is the one thing a page keeps: a path of this origin, escaped',
  async (t) => {
    const { port } = await startWorkspace(t)
    const field = async (target: string) => {
      const { body } = await send(port, `GET ${target}`, NAVIGATION)
      return /name="return_to" value="([^"]*)"/.exec(body)?.[1]
    }
    t.equal(await field('/logs?a=1&b=2'), '/logs?a=1&#38;b=2')
    t.equal(await field(`/"><script>alert(1)</script>`), '/%22%3E%3Cscript%3Ealert(1)%3C/script%3E')
    t.equal(
      await field(`/x?q="><script>alert('1')</script>`),
      '/x?q=%22%3E%3Cscript%3Ealert(%271%27)%3C/script%3E',
    )
    t.equal(await field(`/_gateway/x?token=secret`), '/')
    t.equal(await field(`/_gateway/sign-in?return_to=//evil.example`), '/')
  },
)

t.test('an answer to an error carries one Connection field', async (t) => {
  const { port } = await startWorkspace(t)
  for (const headers of [
    ['Expect: banana'],
    handshake(['Upgrade: h2c']),
    ['Expect: 100-continue', 'Content-Length: 5'],
  ]) {
    const answer = await send(port, 'GET /', headers)
    t.equal(answer.headers['connection'], 'close')
  }
})

t.test('a preflight, a redirect and a page of the gateway’s own are never stored', async (t) => {
  const { port } = await startWorkspace(t, { GATEWAY_ALLOWED_ORIGINS: 'https://app.example.com' })
  const good = await token()
  for (const [requestLine, headers] of [
    ['GET /_gateway/sign-in', []],
    [`GET /_gateway/sign-in?token=${good}`, []],
    ['POST /_gateway/sign-out', [cookie(good), HTTPS, `Origin: ${ORIGIN}`, 'Content-Length: 0']],
    ['OPTIONS /', ['Origin: https://app.example.com', 'Access-Control-Request-Method: PUT']],
  ] as const) {
    const answer = await send(port, requestLine, headers)
    t.equal(answer.headers['cache-control'], 'no-store', requestLine.slice(0, 30))
    t.equal(answer.headers['referrer-policy'], 'no-referrer')
  }
})

t.test('after a refusal the connection goes on, its body thrown away', async (t) => {
  const { port } = await startWorkspace(t)
  const refused =
    'POST /api/x HTTP/1.1\r\nHost: houston.hubify.com\r\nContent-Length: 70000\r\n\r\n'
  const last = 'GET /health HTTP/1.1\r\nHost: houston.hubify.com\r\nConnection: close\r\n\r\n'
  const received = await exchange(
    port,
    `${refused}${'GET /x HTTP/1.1\r\n\r\n'.padEnd(70_000, 'x')}${last}`,
  )
  const statuses = [...received.matchAll(/HTTP\/1\.1 ([0-9]+) /g)].map(([, status]) => status)
  t.same(statuses, ['401', '200'])
})
