/** Can a page of an allowed origin read every answer, refusals of every stage too, and nobody else's page any? */
import t from 'tap'
import { EXPOSED_FIELDS } from '../../src/http/browser.ts'
import { ERRORS, type ErrorCode } from '../../src/answers/errors.ts'
import { assertRefused, client, cookie, HTTPS, knock, NAVIGATION, ORIGIN } from '../helpers/door.ts'
import { startTestGateway, startWorkspace, token } from '../helpers/gateway.ts'
import { closedPort } from '../helpers/upstream.ts'
import { exchange, handshake, parseAnswer, send, type RawAnswer } from '../helpers/wire.ts'

const APP = 'https://app.example.com'
const FROM_APP = `Origin: ${APP}`
const ALLOWED = { GATEWAY_ALLOWED_ORIGINS: `${APP},http://localhost:5173` }

/** Whether a browser lets a page of the allowed origin read an answer, and the fields of ours in it. */
function isReadable({ headers }: RawAnswer): boolean {
  return (
    headers['access-control-allow-origin'] === APP &&
    headers['access-control-allow-credentials'] === 'true' &&
    headers['access-control-expose-headers'] === EXPOSED_FIELDS &&
    headers['vary']?.split('\n').includes('Origin') === true
  )
}

/** Whether an answer says anything about CORS. */
const saysNothing = ({ headers }: RawAnswer) =>
  !Object.keys(headers).some((name) => name.startsWith('access-control-'))

t.test('every refusal of every stage can be read, and only by an allowed origin', async (t) => {
  const dead = `http://127.0.0.1:${await closedPort()}`
  const workspace = await startTestGateway(t, {
    ...ALLOWED,
    GATEWAY_DASHBOARD_URL: dead,
    GATEWAY_HEALTH_URL: dead,
    GATEWAY_HEALTH_STRICT: 'true',
  })
  const { port } = workspace
  const good = `X-Workspace-Token: ${await token()}`
  const rows: Array<[code: ErrorCode, requestLine: string, headers: string[]]> = [
    ['bad-request', 'POST /', ['Transfer-Encoding: gzip, chunked']],
    ['expectation-failed', 'GET /', ['Expect: banana']],
    ['method-not-allowed', 'TRACE /', []],
    ['upgrade-required', 'GET /', handshake(['Sec-WebSocket-Version: 8'])],
    ['bad-target', 'GET //x', []],
    ['bad-request', 'GET /', [client('garbage')]],
    ['host-not-served', 'GET /', ['Host: evil.example']],
    ['sensitive-file', 'GET /.env', []],
    ['bad-request', 'GET /', ['X-Workspace-Token: a', 'X-Workspace-Token: b']],
    ['sign-in-required', 'GET /', []],
    ['sign-in-required', 'GET /', NAVIGATION],
    ['token-invalid', 'GET /', ['X-Workspace-Token: x']],
    ['token-invalid', 'GET /_gateway/sign-in?token=x', []],
    ['not-found', 'GET /_gateway/x', [good]],
    ['not-found', 'GET /api/x', [good, 'RSC: 1']],
    ['method-not-allowed', 'POST /health', ['Content-Length: 0']],
    ['upstream-unreachable', 'GET /health', []],
    ['upstream-unreachable', 'GET /', [good]],
    ['bad-request', 'GET /', ['X A: b']], // the parser's own refusals
    ['headers-too-large', 'GET /', [`X-A: ${'a'.repeat(17_000)}`]],
  ]
  for (const [code, requestLine, headers] of rows) {
    const what = `${code} for ${requestLine} ${headers.join().slice(0, 30)}`
    const answer = await send(port, requestLine, [FROM_APP, ...headers])
    t.equal(answer.status, ERRORS[code].status, what)
    t.equal(answer.headers['x-gateway-error'], code)
    t.ok(isReadable(answer), what)
    for (const origin of ['https://evil.example', 'null', `${APP}.evil.example`, ORIGIN])
      t.ok(saysNothing(await send(port, requestLine, [`Origin: ${origin}`, ...headers])), origin)
    t.ok(saysNothing(await send(port, requestLine, headers)), 'no Origin')
    t.ok(saysNothing(await send(port, requestLine, [FROM_APP, FROM_APP, ...headers])), 'two')
  }
})

t.test('a page of an allowed origin reads when to come back after a 429', async (t) => {
  const workspace = await startWorkspace(t, { ...ALLOWED, GATEWAY_RATE_LIMIT: '1' })
  const from = [client('203.0.113.9'), FROM_APP]
  t.equal((await send(workspace.port, 'GET /api/x', from)).status, 401)
  const answer = await send(workspace.port, 'GET /api/x', from)
  await assertRefused(t, workspace, answer, { code: 'rate-limited', stage: 'rate-limit' })
  t.ok(isReadable(answer))
  t.match(answer.headers['retry-after'], /^(?:[1-9]|[1-5][0-9]|60)$/)
  for (const name of ['Retry-After', 'RateLimit', 'X-Request-Id', 'X-Gateway-Error'])
    t.ok(EXPOSED_FIELDS.split(', ').includes(name), name)
})

t.test('answers that are no refusals can be read as well', async (t) => {
  const workspace = await startWorkspace(t, ALLOWED)
  const { port } = workspace
  const session = [HTTPS, cookie(await token())]
  const leaving = [HTTPS, cookie(await token()), 'Content-Length: 0']
  const rows: Array<[status: number, requestLine: string, headers: string[]]> = [
    [200, 'GET /health', []],
    [200, 'GET /_gateway/live', []],
    [200, 'GET /_gateway/ready', session],
    [200, 'GET /_gateway/sign-in', []],
    [200, 'GET /api/x', session],
    [200, 'POST /', [...session, 'Content-Length: 0']],
    [303, 'POST /_gateway/sign-out', leaving],
  ]
  for (const [status, requestLine, headers] of rows) {
    const answer = await send(port, requestLine, [FROM_APP, ...headers])
    t.equal(answer.status, status, requestLine)
    t.ok(isReadable(answer), requestLine)
    t.ok(saysNothing(await send(port, requestLine, [`Origin: ${ORIGIN}`, HTTPS, ...headers])))
  }
})

t.test(
  'what a browser keeps for its own page is not given to a page of an allowed origin',
  async (t) => {
    // Else it would find no CORS fields in the kept answer, and be refused what it may read.
    const session = [HTTPS, cookie(await token())]
    const { port } = await startWorkspace(t, ALLOWED)
    for (const target of ['/', '/_next/static/x.js', '/api/x', '/terminal/'])
      for (const origin of [[], [`Origin: ${ORIGIN}`], ['Origin: https://evil.example']]) {
        const { status, headers } = await send(port, `GET ${target}`, [...session, ...origin])
        t.equal(status, 200)
        t.equal(headers['vary'], 'Origin', `${target} ${origin.join()}`)
      }
    const closed = await startWorkspace(t)
    t.equal(
      (await send(closed.port, 'GET /', session)).headers['vary'],
      undefined,
      'none is allowed',
    )
  },
)

t.test('a redirect to the login page can be seen for what it is', async (t) => {
  const { port } = await startWorkspace(t, { ...ALLOWED, GATEWAY_LOGIN_URL: 'https://hubify.com/' })
  const answer = await send(port, 'GET /', [FROM_APP, ...NAVIGATION])
  t.equal(answer.status, 302)
  t.ok(isReadable(answer))
})

t.test('the own origin on the list stays what it is: not foreign', async (t) => {
  const { port } = await startWorkspace(t, { GATEWAY_ALLOWED_ORIGINS: ORIGIN })
  const headers = [HTTPS, cookie(await token()), `Origin: ${ORIGIN}`]
  t.ok(saysNothing(await send(port, 'GET /', headers)))
})

const PREFLIGHT = [FROM_APP, 'Access-Control-Request-Method: PUT']

t.test('a preflight of an allowed origin is never refused, and costs nothing', async (t) => {
  const workspace = await startWorkspace(t, { ...ALLOWED, GATEWAY_RATE_LIMIT: '2' })
  const { port } = workspace
  const from = client('203.0.113.9')
  for (let i = 0; i < 5; i++)
    for (const path of ['/', '/api/x', '/terminal/', '/_gateway/sign-in', '/_gateway/x']) {
      const answer = await send(port, `OPTIONS ${path}`, [from, ...PREFLIGHT])
      t.equal(answer.status, 204)
      t.ok(isReadable(answer), path)
      t.equal(answer.headers['ratelimit'], undefined)
    }
  t.equal(workspace.dials(), 0)
  const counted: Array<[what: string, headers: string[]]> = [
    ['a foreign origin', ['Origin: https://evil.example', 'Access-Control-Request-Method: PUT']],
    ['no preflight', [FROM_APP]],
    ['a guess beside it', [...PREFLIGHT, 'Authorization: Bearer a.b.c']],
  ]
  for (const [i, [what, headers]] of counted.entries()) {
    const answer = await send(port, 'OPTIONS /', [client(`198.51.100.${i}`), ...headers])
    t.match(answer.headers['ratelimit'], '"address";r=1;', what)
  }
  t.match((await send(port, 'GET /', [from])).headers['ratelimit'], '"address";r=1;', 'untouched')
  const evil = await send(port, 'OPTIONS /.env', [from, ...PREFLIGHT])
  await assertRefused(t, workspace, evil, { code: 'sensitive-file', stage: 'sensitive-files' })
})

t.test('bytes that are no request, and name no origin, are answered without one', async (t) => {
  const { port } = await startTestGateway(t, ALLOWED)
  for (const bytes of [
    'garbage\r\n\r\n',
    `GET / HTTP/1.1\r\nX-Origin: ${APP}\r\nX A: b\r\n\r\n`,
    `GET / HTTP/1.1\r\n${FROM_APP}\r\n${FROM_APP}\r\nX A: b\r\n\r\n`,
  ]) {
    const answer = parseAnswer(await exchange(port, bytes))
    t.equal(answer.status, 400)
    t.ok(saysNothing(answer))
  }
})

t.test('a refused handshake says so too', async (t) => {
  const workspace = await startWorkspace(t, ALLOWED)
  const answer = await knock(workspace.port, 'upgrade', '/', [FROM_APP])
  await assertRefused(t, workspace, answer, { code: 'sign-in-required', stage: 'authentication' })
  t.ok(isReadable(answer))
})
