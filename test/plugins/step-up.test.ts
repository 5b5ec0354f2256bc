/** Is a route that wants a second factor closed to everybody who has shown none, as request and as upgrade? */
import t, { type Test } from 'tap'
import { ticketOf, pageOf } from '../helpers/api.ts'
import {
  assertRefused,
  client,
  DOORS,
  knock,
  NAVIGATION,
  ORIGIN,
  HTTPS,
  type Door,
} from '../helpers/door.ts'
import { startWorkspace } from '../helpers/gateway.ts'
import { send } from '../helpers/wire.ts'

const RULES = { GATEWAY_TERMINAL_AMR: 'otp,hwk', GATEWAY_TERMINAL_MAX_AGE: '3600' }
const CHALLENGE =
  'Bearer realm="workspace", error="insufficient_user_authentication", acr_values="otp hwk", max_age=3600'

/** The address that each door of the terminal has. */
const ADDRESS: Readonly<Record<Door, string>> = { request: '/terminal/', upgrade: '/terminal/ws' }

/** What ttyd's page sends besides with its handshake. */
const TTY = 'Sec-WebSocket-Protocol: tty'

const knockAt = (port: number, door: Door, headers: readonly string[]) =>
  knock(port, door, ADDRESS[door], door === 'upgrade' ? [...headers, TTY] : headers)

/** Whether a service has answered. */
const hasPassed = (door: Door, status: number) => status === (door === 'upgrade' ? 101 : 200)

async function start(t: Test, settings: Record<string, string> = {}) {
  return startWorkspace(t, { ...RULES, ...settings })
}

t.test('without the factor the terminal is closed, and ttyd is never dialled', async (t) => {
  for (const [who, claims] of [
    ['no method', {}],
    ['another method', { methods: ['pwd'] }],
    ['too long ago', { methods: ['otp'], minutesAgo: 59 + 2 }],
  ] as const)
    for (const door of DOORS) {
      const workspace = await start(t)
      const { port } = workspace
      const page = await pageOf(workspace, 'alice', claims)
      const bearer = [
        `Authorization: Bearer ${await ticketOf('alice', claims)}`,
        client('203.0.113.9'),
      ]
      for (const [kind, headers] of [
        ['a browser', page],
        ['a program', bearer],
      ] as const) {
        const answer = await knockAt(port, door, headers)
        await assertRefused(t, workspace, answer, {
          code: 'step-up-required',
          stage: 'authentication',
        })
        t.equal(answer.headers['www-authenticate'], CHALLENGE, `${who}, ${kind}`)
      }
      t.equal((await knock(port, 'request', '/', page)).status, 200, 'the dashboard stays open')
    }
})

t.test('with it the terminal is open', async (t) => {
  for (const door of DOORS) {
    const workspace = await start(t)
    const { port } = workspace
    const page = await pageOf(workspace, 'alice', { methods: ['pwd', 'otp'], minutesAgo: 58 })
    const bearer = [`Authorization: Bearer ${await ticketOf('alice', { methods: ['hwk'] })}`]
    for (const headers of [page, bearer])
      t.ok(hasPassed(door, (await knockAt(port, door, headers)).status), door)
  }
})

t.test(
  'an API token for the terminal passes, since making it took a factor or the machine',
  async (t) => {
    const { port, running } = await start(t)
    const { token } = running.parts.apiTokens.create({
      name: 'ci',
      subject: 'alice',
      scopes: ['terminal'],
      expiresAt: undefined,
    })
    for (const door of DOORS)
      t.ok(
        hasPassed(door, (await knockAt(port, door, [`Authorization: Bearer ${token}`])).status),
        door,
      )
  },
)

t.test('a browser goes where the factor is shown, and comes back', async (t) => {
  const workspace = await start(t, { GATEWAY_STEP_UP_URL: 'https://hubify.com/verify-2fa?x=1' })
  const page = await pageOf(workspace)
  const answer = await send(workspace.port, 'GET /terminal/?a=1', [...page, ...NAVIGATION])
  t.equal(answer.status, 302)
  t.equal(answer.headers['x-gateway-error'], 'step-up-required')
  t.equal(answer.headers['www-authenticate'], undefined)
  const url = new URL(answer.headers['location'] ?? '')
  t.equal(url.origin + url.pathname, 'https://hubify.com/verify-2fa')
  t.equal(url.searchParams.get('x'), '1')
  t.equal(url.searchParams.get('return_to'), `${ORIGIN}/terminal/?a=1`)
  const state = url.searchParams.get('state') ?? ''
  t.match(answer.headers['set-cookie'], `__Host-workspace_signin=${state}.`)
  t.equal(workspace.dials(), 0)

  const given = (answer.headers['set-cookie'] ?? '').split(';')[0] ?? ''
  const [session = ''] = page
  const query = new URLSearchParams({
    token: await ticketOf('alice', { methods: ['otp'] }),
    state,
    return_to: '/terminal/?a=1',
  })
  const back = await send(workspace.port, `GET /_gateway/sign-in?${query}`, [
    ...[`${session}; ${given}`, HTTPS, client('203.0.113.9')],
    ...['Sec-Fetch-Site: cross-site', ...NAVIGATION],
  ])
  t.match(back, { status: 303, headers: { location: '/terminal/?a=1' } })
  t.equal(workspace.running.parts.sessions.size, 1, 'the same session, renewed')
  const renewed = `Cookie: ${(back.headers['set-cookie'] ?? '').split(';')[0]}`
  t.equal((await send(workspace.port, 'GET /terminal/', [renewed, HTTPS])).status, 200)
})

t.test('without an address for it, the browser goes to a page of the gateway', async (t) => {
  const workspace = await start(t)
  const page = await pageOf(workspace)
  const answer = await send(workspace.port, 'GET /terminal/?a=/b&c', [...page, ...NAVIGATION])
  t.match(answer, {
    status: 302,
    headers: { location: '/_gateway/verify-2fa?next=%2Fterminal%2F%3Fa%3D%2Fb%26c' },
  })
  const posted = await send(workspace.port, 'POST /terminal/token', [
    ...page,
    ...NAVIGATION,
    'Content-Length: 0',
  ])
  t.equal(
    new URLSearchParams(posted.headers['location']?.split('?')[1]).get('next'),
    '/',
    'a form cannot be repeated',
  )
  t.equal(workspace.dials(), 0)
})

t.test('the routes that want it are those that are named', async (t) => {
  const workspace = await start(t, { GATEWAY_STEP_UP_ROUTES: 'dashboard,api' })
  const page = await pageOf(workspace)
  for (const door of DOORS) {
    for (const target of ['/', '/x', '/api/x'])
      await assertRefused(t, workspace, await knock(workspace.port, door, target, page), {
        code: 'step-up-required',
        stage: 'authentication',
      })
  }
  t.equal((await knockAt(workspace.port, 'request', page)).status, 200)
})

t.test('a factor comes after sign-in, scope and origin', async (t) => {
  const workspace = await start(t)
  const { port, running } = workspace
  const [session = ''] = await pageOf(workspace)
  const { token } = running.parts.apiTokens.create({
    name: 'ci',
    subject: 'alice',
    expiresAt: undefined,
  })
  for (const [headers, code] of [
    [[], 'sign-in-required'],
    [[`Authorization: Bearer ${token}`], 'scope-missing'],
    [[session, HTTPS, 'Origin: https://evil.example'], 'origin-not-allowed'],
  ] as const)
    await assertRefused(t, workspace, await knockAt(port, 'upgrade', headers), {
      code,
      stage: 'authentication',
    })
})
