/** Who reaches Hubcode's daemon below /_code/, and what does the daemon see? It listens on GATEWAY_DAEMON_URL. */
import t, { type Test } from 'tap'
import { assertRefused, cookie, DOORS, HTTPS, knock, NAVIGATION, ORIGIN } from '../helpers/door.ts'
import { startWorkspace, token } from '../helpers/gateway.ts'
import { startUpstream } from '../helpers/upstream.ts'
import { send, upgrade } from '../helpers/wire.ts'

/** A workspace with a daemon; `dials` counts the daemon's connections too. */
async function startWithDaemon(t: Test, settings: Record<string, string> = {}) {
  const daemon = await startUpstream(t, (_request, response) => {
    response.setHeader('Content-Type', 'text/html')
    response.setHeader('Set-Cookie', 'a=b; Path=/')
    response.setHeader('Location', 'http://localhost/next')
    response.end('<script>')
  })
  const workspace = await startWorkspace(t, { GATEWAY_DAEMON_URL: daemon.url, ...settings })
  const dials = () => workspace.dials() + daemon.dials()
  return { ...workspace, daemon, dials, bearer: `Authorization: Bearer ${await token()}` }
}

t.test('nobody who is not signed in reaches the daemon', async (t) => {
  for (const door of DOORS)
    for (const path of ['/_code', '/_code/api/health', '/_code/ws']) {
      const workspace = await startWithDaemon(t)
      const answer = await knock(workspace.port, door, path)
      await assertRefused(t, workspace, answer, {
        code: 'sign-in-required',
        stage: 'authentication',
      })
    }
})

t.test('every rule of the path holds before the daemon is dialled', async (t) => {
  const workspace = await startWithDaemon(t)
  const { port, bearer } = workspace
  const inside = await token()
  const rows = [
    ['GET /_code/x', [bearer, 'Host: evil.test'], 'host-not-served', 'host'],
    ['GET /_code/.env', [bearer], 'sensitive-file', 'sensitive-files'],
    ['GET /_code/%2e%2e/api', [bearer], 'bad-target', 'target'],
    [
      'POST /_code/api/chat',
      [cookie(inside), HTTPS, 'Origin: https://evil.test'],
      'origin-not-allowed',
      'authentication',
    ],
  ] as const
  for (const [line, headers, code, stage] of rows)
    await assertRefused(t, workspace, await send(port, line, headers), { code, stage })
  const foreign = [cookie(inside), HTTPS, 'Origin: https://evil.test']
  const answer = await knock(port, 'upgrade', '/_code/ws', foreign)
  const stage = 'authentication'
  await assertRefused(t, workspace, answer, { code: 'origin-not-allowed', stage })
})

t.test(
  'the daemon sees its own path, Host: localhost, and nothing of our credentials',
  async (t) => {
    const { port, daemon, bearer } = await startWithDaemon(t)
    const given = await token()
    const answer = await send(port, 'GET /_code/api/x?y=1', [
      ...[bearer, `Cookie: __Host-workspace_session=${given}; theirs=1`],
      ...[`X-Workspace-Token: ${given}`, 'X-Forwarded-For: 203.0.113.9', HTTPS],
    ])
    t.equal(answer.status, 200)
    const [seen] = daemon.requests
    t.match(seen, { method: 'GET', url: '/api/x?y=1', headers: { host: 'localhost' } })
    t.equal(seen?.headers.cookie, 'theirs=1')
    t.notMatch(JSON.stringify(seen?.rawHeaders), given)
    for (const name of [
      'authorization',
      'x-workspace-token',
      'x-forwarded-for',
      'x-forwarded-user',
    ])
      t.equal(seen?.headers[name], undefined, name)
    await send(port, 'GET /_code', [bearer])
    t.equal(daemon.requests[1]?.url, '/')
  },
)

t.test('a credential of the daemon’s own reaches it beside our cookie', async (t) => {
  const { port, daemon } = await startWithDaemon(t)
  const own = 'Authorization: Bearer of-the-daemon'
  const answer = await send(port, 'GET /_code/x', [cookie(await token()), HTTPS, own])
  t.equal(answer.status, 200)
  t.equal(daemon.requests[0]?.headers.authorization, 'Bearer of-the-daemon')
})

t.test(
  'the workspace’s own origin is the daemon’s own; a foreign one stays as it is',
  async (t) => {
    const friend = 'https://app.example.com'
    const { port, daemon } = await startWithDaemon(t, { GATEWAY_ALLOWED_ORIGINS: friend })
    const browser = [cookie(await token()), HTTPS]
    for (const origin of [ORIGIN, friend])
      t.equal((await send(port, 'POST /_code/x', [...browser, `Origin: ${origin}`])).status, 200)
    t.same(
      daemon.requests.map(({ headers }) => headers.origin),
      ['http://localhost', friend],
    )
    const page = await upgrade(port, '/_code/ws', [...browser, `Origin: ${ORIGIN}`])
    t.equal(page.answer.status, 101)
    t.match(daemon.requests[2], { url: '/ws', headers: { host: 'localhost' } })
    t.equal(daemon.requests[2]?.headers.origin, 'http://localhost')
    page.socket.destroy()
  },
)

t.test('what the daemon answers cannot act as a page of the workspace', async (t) => {
  const { port, bearer } = await startWithDaemon(t)
  const { headers } = await send(port, 'GET /_code/x', [bearer])
  t.match(headers['content-security-policy'], /sandbox/)
  t.equal(headers['set-cookie'], 'a=b; Path=/_code')
  t.equal(headers['location'], '/_code/next')
  const worker = await send(port, 'GET /_code/sw.js', [bearer, 'Service-Worker: script'])
  t.equal(worker.status, 404)
})

t.test('a browser spends its session’s budget there, and a program its address’s', async (t) => {
  const { port, bearer } = await startWithDaemon(t)
  const browser = await send(port, 'GET /_code/x', [cookie(await token()), HTTPS, ...NAVIGATION])
  t.match(browser.headers['ratelimit'], /^"session"/)
  t.match((await send(port, 'GET /_code/x', [bearer])).headers['ratelimit'], /^"address"/)
})

t.test('an API token needs the scope code', async (t) => {
  const workspace = await startWithDaemon(t)
  const { port, running, daemon } = workspace
  const make = (scope: string) =>
    running.parts.apiTokens.create({
      ...{ name: scope, scopes: [scope], subject: 'alice' },
      ...{ rate: undefined, expiresAt: undefined },
    }).token
  const refused = await send(port, 'GET /_code/x', [`Authorization: Bearer ${make('api')}`])
  const stage = 'authentication'
  await assertRefused(t, workspace, refused, { code: 'scope-missing', stage })
  const answer = await send(port, 'GET /_code/x', [`Authorization: Bearer ${make('code')}`])
  t.equal(answer.status, 200)
  t.equal(daemon.requests.length, 1)
})

t.test('without GATEWAY_DAEMON_URL the path is the dashboard’s', async (t) => {
  const { port, services } = await startWorkspace(t)
  await send(port, 'GET /_code/x', [`Authorization: Bearer ${await token()}`])
  t.equal(services.dashboard.requests[0]?.url, '/_code/x')
})
