/** Does real OpenClaw work behind the gateway, in both modes, with the configurations in examples/fly? */
import { createHash, generateKeyPairSync, sign } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { BrowserContext, Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { request, type Dispatcher } from 'undici'
import { WebSocket } from 'ws'
import { client, HTTPS, knock } from '../helpers/door.ts'
import { HOOK_TOKEN, OPENCLAW_TOKEN, RULES, type OpenClawMode } from '../helpers/openclaw.ts'
import { startCaddy } from './caddy.ts'
import { startChromium } from './chromium.ts'
import { startModel } from './model.ts'
import { FOLDER, freePort, startProgram, until } from './neighbour.ts'
import { OWNER, startOpenClaw } from './openclaw.ts'
import { startWiretap } from './wiretap.ts'
import { DOMAIN, startWorkspace } from './workspace.ts'

const MAIN = new URL('../../src/main.ts', import.meta.url).pathname
const HOST = `houston.${DOMAIN}`

/** The time limit for OpenClaw's first page or run. It takes a few seconds, and minutes on a busy machine. */
const PATIENCE_MS = 300_000

/** The client's address. It is not this machine's, because OpenClaw treats local clients as the owner. */
const CLIENT = '203.0.113.9'

/** All programs that run for one mode. */
async function startAll(t: Test, mode: OpenClawMode) {
  const stateFolder = mkdtempSync(join(tmpdir(), 'workspace-gateway-openclaw-'))
  t.teardown(() => rmSync(stateFolder, { recursive: true, force: true }))
  const model = await startModel()
  t.teardown(() => model.stop())
  // Caddy starts first, because OpenClaw's configuration needs the origin of browsers, with its port.
  const port = await freePort()
  const caddy = await startCaddy({ [HOST]: port }, asSeenFrom(CLIENT))
  t.teardown(() => caddy.stop())
  const origin = caddy.origin(HOST)
  const openclaw = await startOpenClaw({
    folder: FOLDER,
    stateFolder,
    mode,
    origins: [origin],
    modelUrl: model.url,
  })
  t.teardown(() => openclaw.stop())
  const wiretap = await startWiretap(openclaw.url)
  t.teardown(() => wiretap.stop())
  const settings = {
    GATEWAY_OPENCLAW_MODE: mode,
    GATEWAY_CONTROL_UI: '/chat',
    ...(mode === 'local' ? { GATEWAY_OPENCLAW_TOKEN: OPENCLAW_TOKEN } : {}),
  }
  /** The gateway for browsers behind Caddy, with the default limits. */
  const workspace = await startWorkspace({ api: openclaw.url, port, settings })
  t.teardown(() => workspace.stop())
  /** The gateway for programs, with higher limits, because the tests send more than ten requests a minute. */
  const patient = await startWorkspace({
    api: wiretap.url,
    settings: { ...settings, GATEWAY_RATE_LIMIT: '10000' },
  })
  t.teardown(() => patient.stop())
  const token = await patient.token(OWNER)
  return { mode, model, openclaw, wiretap, workspace, patient, origin, token }
}

/** The headers that Caddy would send for a remote client. In a test, all programs run on this machine. */
function asSeenFrom(address: string): (caddyfile: string) => string {
  return (caddyfile) =>
    caddyfile.replace('health_uri', `header_up X-Forwarded-For ${address}\n\t\thealth_uri`)
}

type All = Awaited<ReturnType<typeof startAll>>

/** Sends a request as Caddy forwards it: with the workspace's host and the client's address. */
function ask(
  { patient, token }: All,
  path: string,
  {
    method = 'GET',
    body,
    headers = {},
    authorization = `Bearer ${token}`,
    signal,
  }: {
    method?: Dispatcher.HttpMethod
    body?: unknown
    headers?: Record<string, string | string[]>
    authorization?: string
    signal?: AbortSignal
  } = {},
): Promise<Dispatcher.ResponseData> {
  return request(`${patient.url}${path}`, {
    method,
    headers: {
      host: HOST,
      'x-forwarded-for': CLIENT,
      'x-forwarded-proto': 'https',
      authorization,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    ...(signal === undefined ? {} : { signal }),
    headersTimeout: PATIENCE_MS,
    bodyTimeout: PATIENCE_MS,
  })
}

const chat = (stream: boolean) => ({
  method: 'POST' as const,
  body: { model: 'openclaw', stream, messages: [{ role: 'user', content: 'Houston?' }] },
})

for (const mode of ['local', 'trusted-proxy'] as const) {
  t.test(`OpenClaw with openclaw.${mode}.json`, async (t) => {
    const all = await startAll(t, mode)
    await t.test('real OpenClaw alone has the same rules as the stand-in', (t) => rules(t, all))
    await t.test('OpenClaw’s HTTP endpoints work below /api', (t) => endpoints(t, all))
    await t.test('streamed responses arrive as they are generated', (t) => streaming(t, all))
    await t.test('when a client disconnects, the call of the model ends', (t) => aborting(t, all))
    await t.test('webhooks work with their own token', (t) => hooks(t, all))
    await t.test('a program can sign in by WebSocket', (t) => webSocketLogin(t, all))
    await t.test('the token of the workspace never reaches OpenClaw', (t) => ourTokenStays(t, all))
    await t.test('no remote client looks like a local one to OpenClaw', (t) => spoofing(t, all))
    await t.test('the doctor finds no fault', (t) => doctor(t, all))
    await t.test('OpenClaw’s page works at /chat in a browser', (t) => controlUi(t, all))
  })
}

/** Needs a fresh OpenClaw, because OpenClaw counts wrong tokens. */
async function rules(t: Test, { mode, openclaw }: All): Promise<void> {
  for (const [, path, headers, status] of RULES.filter(([ruled]) => ruled === mode)) {
    const { statusCode, body } = await request(openclaw.url + path, { headers })
    await body.dump()
    t.equal(statusCode, status, `${path} ${JSON.stringify(headers)}`)
  }
}

async function endpoints(t: Test, all: All): Promise<void> {
  for (const path of ['/api/health', '/api/healthz', '/api/readyz', '/api/startupz'])
    t.equal((await ask(all, path)).statusCode, 200, path)
  const models = await ask(all, '/api/v1/models')
  t.equal(models.statusCode, 200)
  t.match(await models.body.json(), { object: 'list' })
  const answer = await ask(all, '/api/v1/chat/completions', chat(false))
  t.equal(answer.statusCode, 200)
  const content = all.model.answer.join('')
  t.match(await answer.body.json(), { choices: [{ message: { content } }] })
  const tool = await ask(all, '/api/tools/invoke', {
    method: 'POST',
    body: { tool: 'sessions_list', args: {} },
  })
  t.equal(tool.statusCode, 200)
  t.match(await tool.body.json(), { ok: true })
}

async function streaming(t: Test, all: All): Promise<void> {
  const { model } = all
  const { promise: firstWord, resolve: goOn } = Promise.withResolvers<void>()
  t.teardown(goOn)
  model.pauseMs = 400
  model.beforeLast = firstWord // with a buffer anywhere, the test would stop here
  const { statusCode, headers, body } = await ask(all, '/api/v1/chat/completions', chat(true))
  t.equal(statusCode, 200)
  t.match(headers['content-type'], 'text/event-stream')
  let text = ''
  for await (const chunk of body.setEncoding('utf8') as AsyncIterable<string>) {
    text += chunk
    if (text.includes(model.answer[0] as string)) goOn()
  }
  model.pauseMs = 20
  const words = [...text.matchAll(/"delta":\{[^}]*"content":"([^"]*)"/g)].map(([, word]) => word)
  t.same(
    words.filter((word) => word !== ''),
    model.answer,
  )
  t.match(text, 'data: [DONE]')
}

async function aborting(t: Test, all: All): Promise<void> {
  const { model } = all
  model.endless = true
  t.teardown(() => (model.endless = false))
  for (const isStreamed of [true, false]) {
    const before = model.calls.length
    const caller = new AbortController()
    const asked = ask(all, '/api/v1/chat/completions', {
      ...chat(isStreamed),
      signal: caller.signal,
    })
    const gone = asked.then(async ({ body }) => await body.dump()).catch(() => {})
    const call = await until('the model to be asked', () => model.calls[before], PATIENCE_MS)
    await until('the model to have begun', () => call.written > 0, PATIENCE_MS)
    caller.abort()
    await gone
    await until('the end of the call', () => call.aborted, PATIENCE_MS)
    t.pass(isStreamed ? 'streamed' : 'not streamed')
  }
}

async function hooks(t: Test, all: All): Promise<void> {
  const { token, wiretap } = all
  const wake = { method: 'POST' as const, body: { text: 'wake up', mode: 'now' } }
  wiretap.take()
  const withOwn = await ask(all, '/api/hooks/wake', {
    ...wake,
    headers: { 'x-workspace-token': token },
    authorization: `Bearer ${HOOK_TOKEN}`,
  })
  t.equal(withOwn.statusCode, 200, 'with the token of the hooks')
  await withOwn.body.dump()
  t.match(wiretap.take(), new RegExp(`^authorization: Bearer ${HOOK_TOKEN}\r$`, 'im'))
  const named = await ask(all, '/api/hooks/wake', {
    ...wake,
    headers: { 'x-openclaw-token': HOOK_TOKEN },
  })
  t.equal(named.statusCode, 200, 'with the token of the hooks in X-OpenClaw-Token')
  await named.body.dump()
  const without = await ask(all, '/api/hooks/wake', wake)
  t.equal(without.statusCode, 401, 'with none')
  t.equal(without.headers['x-gateway-error'], undefined, 'says OpenClaw itself')
  await without.body.dump()
}

interface Frame {
  type: string
  event?: string
  ok?: boolean
  payload?: { type?: string; nonce?: string; auth?: { scopes?: string[] } }
  error?: { message: string }
}

/** Signs in as OpenClaw's own programs do: OpenClaw sends a challenge, and the first request is `connect`. */
async function webSocketLogin(t: Test, { mode, patient, token }: All): Promise<void> {
  const socket = new WebSocket(`ws://127.0.0.1:${patient.port}/api`, {
    headers: {
      host: HOST,
      'x-forwarded-for': CLIENT,
      'x-forwarded-proto': 'https',
      authorization: `Bearer ${token}`,
    },
  })
  t.teardown(() => socket.terminate())
  const frames: Frame[] = []
  socket.on('message', (data: Buffer) => frames.push(JSON.parse(data.toString('utf8')) as Frame))
  const challenge = await until('the challenge', () =>
    frames.find(({ event }) => event === 'connect.challenge'),
  )
  const params = {
    minProtocol: 1,
    maxProtocol: 99,
    role: 'operator',
    scopes: ['operator.read'],
    caps: [],
    // With the token, a program needs nothing else. Without it, it is identified by its own key, like the desktop app.
    ...(mode === 'local'
      ? { client: clientOf('cli', 'cli'), auth: { token: OPENCLAW_TOKEN } }
      : {
          client: clientOf('openclaw-linux', 'ui'),
          device: deviceFor(challenge.payload?.nonce ?? ''),
        }),
  }
  socket.send(JSON.stringify({ type: 'req', id: '1', method: 'connect', params }))
  const answer = await until('the answer', () => frames.find(({ type }) => type === 'res'))
  t.match(answer, { ok: true, payload: { type: 'hello-ok' } }, answer.error?.message ?? '')
}

const clientOf = (id: string, mode: string) => ({ id, mode, version: 'dev', platform: 'linux' })

/** A new device that signs the challenge (OpenClaw's device authentication, version 2). */
function deviceFor(nonce: string): object {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  const raw = Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url')
  const id = createHash('sha256').update(raw).digest('hex')
  const signedAt = Date.now()
  const signed = [
    'v2',
    id,
    'openclaw-linux',
    'ui',
    'operator',
    'operator.read',
    signedAt,
    '',
    nonce,
  ]
  const signature = sign(null, Buffer.from(signed.join('|')), privateKey).toString('base64url')
  return { id, publicKey: raw.toString('base64url'), signature, signedAt, nonce }
}

async function ourTokenStays(t: Test, all: All): Promise<void> {
  const { wiretap, model, token } = all
  wiretap.take()
  // After ten wrong Bearer tokens within a minute, OpenClaw responds 429 to that address for five minutes.
  for (let i = 0; i < 12; i += 1) {
    const { statusCode, body } = await ask(all, '/api/v1/models')
    await body.dump()
    t.equal(statusCode, 200, `call ${i + 1}`)
  }
  const answer = await ask(all, '/api/v1/chat/completions', chat(false))
  t.equal(answer.statusCode, 200)
  await answer.body.dump()
  for (const door of [
    { authorization: '', 'x-workspace-token': token },
    { authorization: '', cookie: `__Host-workspace_session=${token}` },
  ]) {
    const { statusCode, body } = await ask(all, '/api/v1/models', { headers: door })
    await body.dump()
    t.equal(statusCode, 200)
  }
  const heard = wiretap.take()
  t.match(heard, 'GET /v1/models')
  const [, payload = '', signature = ''] = token.split('.')
  for (const part of [payload, signature]) t.notOk(heard.includes(part), 'OpenClaw was not told')
  t.notOk(JSON.stringify(model.calls).includes(signature), 'nor was the model')
}

/** Headers with which a client tries to look like another one, or like a local client, which OpenClaw treats as the owner. */
const LIES: ReadonlyArray<readonly string[]> = [
  ['Forwarded: for=127.0.0.1;host=localhost;proto=http'],
  ['X-Real-IP: 127.0.0.1'],
  ['X-Forwarded-For: 127.0.0.1', client(CLIENT)],
  [client(`127.0.0.1, ${CLIENT}`)],
  [client(`::1, ${CLIENT}, 127.0.0.1`)],
  ['X-Forwarded-User: root'],
  ['X-Forwarded-User:'],
  ['X_Forwarded_User: root', 'X_Forwarded_For: 127.0.0.1'],
  ['X-Forwarded-Host: localhost', 'X-Forwarded-Port: 1', 'X-Forwarded-Prefix: /api'],
  ['Tailscale-User-Login: root', 'Tailscale-Headers-Info: x', 'Tailscale-Funnel-Request: ?1'],
  ['CF-Access-Authenticated-User-Email: root@example.com', 'CF-Connecting-IP: 127.0.0.1'],
  ['True-Client-IP: 127.0.0.1', 'X-Client-IP: 127.0.0.1', 'X-Cluster-Client-IP: ::1'],
  ['X-Remote-User: root', 'Remote-User: root', 'X-WebAuth-User: root'],
  // `Connection` names headers of this hop, which the next hop would not get.
  ['Connection: X-Forwarded-For', 'Connection: X-Forwarded-User, X-Forwarded-Proto, Host'],
]

async function spoofing(t: Test, { mode, wiretap, patient, openclaw, token }: All): Promise<void> {
  const models = '/api/v1/models'
  const forwarded = [`Host: ${HOST}`, HTTPS]
  const signedIn = [...forwarded, `Authorization: Bearer ${token}`]
  for (const lie of LIES) {
    const namesAddress = lie.some((line) => line.startsWith('X-Forwarded-For'))
    const headers = [...signedIn, ...(namesAddress ? [] : [client(CLIENT)]), ...lie]
    wiretap.take()
    t.equal((await knock(patient.port, 'request', models, headers)).status, 200, lie.join(' '))
    t.same(whoWasNamed(wiretap.take()), truthIn(mode, CLIENT))
    if (lie.some((line) => line.startsWith('Connection'))) continue // a handshake has its own `Connection`
    t.equal((await knock(patient.port, 'upgrade', '/api', headers)).status, 101)
    t.same(whoWasNamed(wiretap.take()), truthIn(mode, CLIENT), 'as an upgrade too')
  }
  for (const address of ['2001:db8::7', '10.1.2.3']) {
    const headers = [...signedIn, client(address)]
    t.equal((await knock(patient.port, 'request', models, headers)).status, 200, address)
    t.same(whoWasNamed(wiretap.take()), truthIn(mode, address))
  }
  for (const path of ['/api/readyz', '/chat/', models]) {
    const headers = [...forwarded, client(CLIENT), 'X-Forwarded-User: alice']
    const answer = await knock(patient.port, 'request', path, headers)
    t.equal(answer.headers['x-gateway-error'], 'sign-in-required', `${path} for nobody`)
  }
  t.equal(wiretap.take(), '', 'OpenClaw was not asked')
  // OpenClaw reads this header as the caller's permissions, set by the proxy. The gateway never sends it.
  const scoped = [...signedIn, client(CLIENT), 'X-OpenClaw-Scopes: operator.pairing']
  t.equal((await knock(patient.port, 'request', models, scoped)).status, 200, 'X-OpenClaw-Scopes')
  t.notMatch(wiretap.take().toLowerCase(), 'x-openclaw-scopes')
  if (mode === 'local') return
  // OpenClaw does not accept a forwarded local address, so a client on this machine is refused and not treated as the owner.
  const here = await knock(patient.port, 'request', models, signedIn)
  t.equal(here.status, 403)
  t.match(here.body, 'proxy_attribution_required')
  // A request without the gateway and without a forwarded user has no user.
  const direct = await request(`${openclaw.url}/v1/models`)
  t.equal(direct.statusCode, 401)
  await direct.body.dump()
}

/** The headers that OpenClaw's decision depends on, as it received them. */
function whoWasNamed(heard: string): string[] {
  const naming =
    /^(?:forwarded|x[-_]forwarded|x-real|tailscale|cf-|true-client|x-client|x-cluster|.*remote-user|x-webauth)/
  const lines = (heard.split('\r\n\r\n')[0] ?? '').split('\r\n').slice(1)
  return lines
    .map((line) => line.replace(/^[^:]*/, (name) => name.toLowerCase()))
    .filter((line) => naming.test(line))
    .toSorted()
}

function truthIn(mode: OpenClawMode, address: string): string[] {
  if (mode === 'local') return []
  return [
    `x-forwarded-for: ${address}`,
    `x-forwarded-host: ${HOST}`,
    'x-forwarded-proto: https',
    `x-forwarded-user: ${OWNER}`,
  ]
}

async function doctor(t: Test, { patient }: All): Promise<void> {
  const program = startProgram(process.execPath, [MAIN, 'doctor'], { env: patient.env })
  await program.exited
  t.match(program.output(), /^pass +openclaw-takes-forwarding /m)
  t.match(program.output(), /^pass +openclaw-takes-credential /m)
}

interface SeenAnswer {
  readonly path: string
  readonly status: number
  /** The rate limit that counted the request: the address's or the session's. */
  readonly budget: string | undefined
}

/** The responses and messages that all pages of a browser received. */
function watch(context: BrowserContext) {
  const answers: SeenAnswer[] = []
  const frames: string[] = []
  context.on('response', (response) => {
    const headers = response.headers()
    answers.push({
      path: new URL(response.url()).pathname,
      status: response.status(),
      budget: /^"?(\w+)/.exec(headers['ratelimit'] ?? '')?.[1],
    })
  })
  context.on('page', (page) =>
    page.on('websocket', (socket) =>
      socket.on('framereceived', ({ payload }) => frames.push(String(payload))),
    ),
  )
  const welcomes = () => frames.filter((frame) => frame.includes('"hello-ok"'))
  return { answers, frames, welcomes }
}

async function controlUi(t: Test, { mode, origin, workspace, model }: All): Promise<void> {
  const chromium = await startChromium()
  t.teardown(() => chromium.stop())
  const context = await chromium.browser.newContext()
  context.setDefaultTimeout(PATIENCE_MS)
  const { answers, frames, welcomes } = watch(context)
  const page = await context.newPage()
  // A signed-out user opens a link.
  await page.goto(`${origin}/chat/`)
  await page.fill('input[name=token]', await workspace.token(OWNER))
  answers.length = 0
  await page.click('button')
  await page.waitForURL((url) => url.pathname.startsWith('/chat/'))
  if (mode === 'local') {
    // OpenClaw's page asks for OpenClaw's own token once in each browser, because its WebSocket sends the token in a message,
    // which no proxy can add.
    await page.fill('input[type=password]', OPENCLAW_TOKEN)
    await page.getByRole('button', { name: 'Connect', exact: true }).click()
  }
  await until('the page to be connected', () => welcomes().length > 0, PATIENCE_MS)
  const { payload } = JSON.parse(welcomes()[0] as string) as Frame
  t.ok(payload?.auth?.scopes?.includes('operator.admin'), 'as its owner')

  model.answer = ['The eagle', ' has', ' landed.'] // a reply that did not occur before
  await say(page, 'Where are you?')
  await page.getByText('The eagle has landed.').first().waitFor()
  const isAsked = model.calls.some(({ body }) => body.includes('Where are you?'))
  t.ok(isAsked, 'the model was asked')
  await page.screenshot({ path: join(FOLDER, `screenshots/control-ui-${mode}.png`) })
  const first = answers.length
  t.comment(`${first} requests for the page`)
  t.ok(first > 40, `${first} requests`)

  await page.close()
  const before = welcomes().length
  const another = await context.newPage()
  await another.goto(`${origin}/chat/`)
  await until('another tab to be connected', () => welcomes().length > before, PATIENCE_MS)
  t.pass('another tab is asked for nothing')
  t.comment(`${answers.length - first} requests for another tab`)

  const refused = workspace
    .requests('/chat')
    .filter(({ code, stage }) => code !== undefined && stage !== 'authentication')
  t.same(refused, [], 'once signed in, the gateway refused nothing')
  t.same(
    answers.filter(({ status }) => status === 429),
    [],
    'nobody said 429',
  )
  t.notMatch(frames.join('\n'), /NOT_PAIRED|pairing required/i)
  const onPage = answers.filter(({ path }) => path.startsWith('/chat'))
  t.same(new Set(onPage.map(({ budget }) => budget)), new Set(['session']), 'its session paid')
}

/** Types a message and sends it. Enter does nothing while the page is still loading the conversation. */
async function say(page: Page, message: string): Promise<void> {
  const composer = page.locator('textarea:visible').first()
  await composer.fill(message)
  const isSent = async () => {
    await composer.press('Enter')
    return (await composer.inputValue()) === ''
  }
  await until('the message to be sent', isSent, PATIENCE_MS)
}
