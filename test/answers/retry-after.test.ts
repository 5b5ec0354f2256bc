/** Does a client get the `Retry-After` that docs/errors.md promises for each code? Provoked from outside, code by code. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ServerResponse } from 'node:http'
import t, { type Test } from 'tap'
import { ERRORS, type ErrorCode } from '../../src/answers/errors.ts'
import type { NewApiToken } from '../../src/identity/api-tokens.ts'
import { cookie, HTTPS, knock, NAVIGATION, ORIGIN, signIn, signInPage } from '../helpers/door.ts'
import { call } from '../helpers/api.ts'
import { temporaryFolder } from '../helpers/process.ts'
import { startWorkspace, token } from '../helpers/gateway.ts'
import { openTerminal, startScriptedTtyd, startTestKeeper } from '../helpers/kept-terminals.ts'
import { closedPort, startRawUpstream } from '../helpers/upstream.ts'
import {
  exchange,
  handshake,
  parseAnswer,
  requestBytes,
  send,
  upgrade,
  type RawAnswer,
} from '../helpers/wire.ts'

/** The part of the page about the gateway: the limits service has codes of its own, with a table of their own. */
const [GATEWAY_PART = ''] = readFileSync('docs/errors.md', 'utf8').split('## Of the limits service')

/** What the column `Retry-After` of docs/errors.md says, by code. */
const COLUMN = new Map(
  [...GATEWAY_PART.matchAll(/^\| `([a-z-]+)` \|(.+)\|$/gm)].map(([, code = '', cells = '']) => [
    code,
    cells.split(' | ')[3] ?? '',
  ]),
)

const WINDOW_SECONDS = 60
const bearer = async (options: Parameters<typeof token>[0] = {}) =>
  `Authorization: Bearer ${await token(options)}`

/** One request to a workspace of its own. */
const ask =
  (requestLine: string, headers: () => Promise<readonly string[]>, settings = {}) =>
  async (t: Test) => [
    await send((await startWorkspace(t, settings)).port, requestLine, await headers()),
  ]

/** A workspace with an API token, and the header of a program that has it. */
async function withApiToken(t: Test, wanted: Partial<NewApiToken> = {}) {
  const { port, running } = await startWorkspace(t)
  const { token: apiToken } = running.parts.apiTokens.create({
    ...{ name: 'ci', subject: 'alice', expiresAt: undefined },
    ...wanted,
  })
  return { port, apiToken, headers: [`Authorization: Bearer ${apiToken}`] }
}

/** Responses with each code, one for each case of its `Retry-After` at least. */
const PROVOKED: Readonly<Record<ErrorCode, (t: Test) => Promise<RawAnswer[]>>> = {
  'bad-request': ask('POST /', async () => ['Transfer-Encoding: gzip, chunked']),
  'bad-target': ask('GET //x', async () => []),
  'sign-in-required': ask('GET /', async () => []),
  'token-invalid': ask('GET /', async () => ['X-Workspace-Token: x']),
  'token-expired': ask('GET /', async () => [await bearer({ ttlSeconds: -3600 })]),
  async 'token-in-url'(t) {
    const { port, apiToken } = await withApiToken(t)
    return [await send(port, `GET /?key=${apiToken}`), await knock(port, 'upgrade', `/${apiToken}`)]
  },
  async 'ticket-used'(t) {
    const { port } = await startWorkspace(t)
    const ticket = await token()
    await signIn(port, ticket)
    const asCookie = [cookie(ticket), HTTPS, `Origin: ${ORIGIN}`]
    return [
      await send(port, `GET /_gateway/sign-in?token=${ticket}`),
      await knock(port, 'upgrade', '/', asCookie),
    ]
  },
  async 'step-up-required'(t) {
    const { port, headers } = await withApiToken(t, { scopes: ['owner'] })
    const json = ['Content-Type: application/json', 'Content-Length: 15']
    const fields = [...headers, ...json]
    return [await send(port, 'POST /_gateway/v1/api-tokens', fields, '{"name":"more"}')]
  },
  'sensitive-file': ask('GET /.env', async () => []),
  'origin-not-allowed': ask('POST /', async () => [
    ...[cookie(await token()), HTTPS, 'Origin: null', 'Content-Length: 0'],
  ]),
  async 'scope-missing'(t) {
    const { port, headers } = await withApiToken(t, { scopes: ['api:read'] })
    return [
      await send(port, 'GET /', headers),
      await send(port, 'POST /api/x', [...headers, 'Content-Length: 0']),
      await knock(port, 'upgrade', '/api/x', headers),
    ]
  },
  async 'address-not-allowed'(t) {
    const { port, headers } = await withApiToken(t, { addresses: ['203.0.113.0/24'] })
    return [
      await send(port, 'GET /api/x', headers),
      await knock(port, 'upgrade', '/api/x', headers),
    ]
  },
  async 'other-subject'(t) {
    const { port } = await startWorkspace(t)
    const fields = await signInPage(port, await token())
    const form = `token=${await token({ subject: 'mallory' })}`
    const type = 'Content-Type: application/x-www-form-urlencoded'
    const headers = [...fields, type, `Content-Length: ${form.length}`]
    return [await send(port, 'POST /_gateway/renew', headers, form)]
  },
  'not-found': ask('GET /_gateway/x', async () => [await bearer()]),
  'method-not-allowed': ask('TRACE /', async () => []),
  async 'request-timeout'(t) {
    const { port, running } = await startWorkspace(t)
    running.app.server.headersTimeout = 100
    return [parseAnswer(await exchange(port, 'GET / HTTP/1.1\r\nX-Slow: '))]
  },
  'body-too-large': ask('POST /_gateway/sign-in', async () => [
    ...['Content-Type: application/x-www-form-urlencoded', 'Content-Length: 20000'],
  ]),
  'expectation-failed': ask('GET /', async () => ['Expect: banana']),
  'host-not-served': ask('GET /', async () => ['Host: evil.example']),
  'upgrade-required': ask('GET /', async () => handshake(['Sec-WebSocket-Version: 8'])),
  async 'rate-limited'(t) {
    const { port } = await startWorkspace(t, {
      GATEWAY_RATE_LIMIT: '1',
      GATEWAY_RATE_LIMIT_SECONDS: `${WINDOW_SECONDS}`,
    })
    await send(port, 'GET /')
    return [await send(port, 'GET /'), await knock(port, 'upgrade', '/')]
  },
  'headers-too-large': ask('GET /', async () => [`X-A: ${'a'.repeat(17_000)}`]),
  async 'internal-error'(t) {
    const { port } = await startWorkspace(t)
    failNextHead(t)
    return [parseAnswer(await exchange(port, requestBytes('GET /')))]
  },
  async 'upstream-unreachable'(t) {
    const dead = `http://127.0.0.1:${await closedPort()}`
    const { port } = await startWorkspace(t, { GATEWAY_DASHBOARD_URL: dead })
    const headers = [await bearer()]
    return Promise.all([
      send(port, 'GET /', headers),
      send(port, 'GET /', [...headers, ...NAVIGATION]),
      knock(port, 'upgrade', '/', headers),
    ])
  },
  async draining(t) {
    const { port, running } = await startWorkspace(t)
    running.parts.drain.begin()
    return Promise.all([
      send(port, 'GET /health'),
      send(port, 'GET /_gateway/ready'),
      knock(port, 'upgrade', '/', [await bearer(), `Origin: ${ORIGIN}`]),
    ])
  },
  async 'upstream-busy'(t) {
    const { port, running } = await startWorkspace(t)
    const headers = [await bearer()]
    const { dashboard } = running.parts.services
    dashboard.inFlight += 1024
    const request = await send(port, 'GET /', headers)
    dashboard.inFlight -= 1024
    const open = await Promise.all(Array.from({ length: 64 }, () => upgrade(port, '/', headers)))
    const webSocket = await knock(port, 'upgrade', '/', headers)
    for (const { socket } of open) socket.destroy()
    return [request, webSocket]
  },
  async 'too-many-terminals'(t) {
    const keeper = await startTestKeeper(t, await startScriptedTtyd(t))
    await Promise.all(Array.from({ length: 64 }, () => openTerminal(t, keeper.path, { sid: '' })))
    const { port } = await startWorkspace(t, { GATEWAY_TERMINAL_URL: keeper.url })
    const asPage = [cookie(await token()), HTTPS, `Origin: ${ORIGIN}`]
    const headers = [...asPage, 'Sec-WebSocket-Protocol: tty']
    return [await knock(port, 'upgrade', '/terminal/ws', headers)]
  },
  async 'state-unavailable'(t) {
    const { port, running } = await startWorkspace(t)
    running.parts.state.close()
    const form = `token=${await token()}`
    const type = 'Content-Type: application/x-www-form-urlencoded'
    const headers = [HTTPS, type, `Content-Length: ${form.length}`]
    return [await send(port, 'POST /_gateway/sign-in', headers, form)]
  },
  async 'vault-unavailable'(t) {
    const settings = { GATEWAY_VAULT_SOCKETS: temporaryFolder(t) }
    return [await call(await startWorkspace(t, settings), 'GET /vault', [cookie(await token())])]
  },
  async 'link-unavailable'(t) {
    const settings = { GATEWAY_LINK_OWNER_SOCKET: join(temporaryFolder(t), 'link.sock') }
    return [await call(await startWorkspace(t, settings), 'GET /devices', [cookie(await token())])]
  },
  async 'upstream-timeout'(t) {
    const silent = await startRawUpstream(t, () => {})
    const settings = { GATEWAY_HEALTH_URL: silent.url, GATEWAY_HEALTH_STRICT: 'true' }
    return [await send((await startWorkspace(t, settings)).port, 'GET /health')]
  },
}

/** Makes the next response head that a gateway writes fail: services in these tests give no lists of fields. */
function failNextHead(t: Test): void {
  const writeHead: unknown = Reflect.get(ServerResponse.prototype, 'writeHead')
  const mend = () => Reflect.set(ServerResponse.prototype, 'writeHead', writeHead)
  t.teardown(mend)
  Reflect.set(ServerResponse.prototype, 'writeHead', () => {
    mend()
    throw new TypeError('cannot be written')
  })
}

for (const [code, provoke] of Object.entries(PROVOKED)) {
  t.test(`${code} comes with the Retry-After of its column`, async (t) => {
    const answers = await provoke(t)
    const sent = answers.map(({ status, headers }) => {
      t.equal(headers['x-gateway-error'], code)
      t.equal(status, ERRORS[code as ErrorCode].status)
      return headers['retry-after']
    })
    const column = COLUMN.get(code) ?? ''
    if (column === 'none') for (const one of sent) t.equal(one, undefined)
    else if (/^\d+$/.test(column)) for (const one of sent) t.equal(one, column)
    else if (column.startsWith('computed: seconds')) {
      for (const one of sent) t.match(one, /^[1-9][0-9]*$/)
      for (const one of sent) t.ok(Number(one) <= WINDOW_SECONDS)
    } else t.same(sent, /^(\d+); (\d+) for a WebSocket$/.exec(column)?.slice(1))
  })
}

t.test('every code has a row, and no other has', async (t) => {
  t.same([...COLUMN.keys()], Object.keys(ERRORS))
})
