/** Do both `GATEWAY_OPENCLAW_MODE`s satisfy an OpenClaw that is configured to match, whoever asks and whatever they say? */
import t from 'tap'
import { client, cookie, DOORS, HTTPS, knock, ORIGIN } from '../helpers/door.ts'
import { startTestGateway, token } from '../helpers/gateway.ts'
import {
  HOOK_TOKEN,
  OPENCLAW_TOKEN,
  RULES,
  startOpenClawStandIn,
  type OpenClawMode,
} from '../helpers/openclaw.ts'
import { send } from '../helpers/wire.ts'

const MODES: readonly OpenClawMode[] = ['local', 'trusted-proxy']

/** The settings of the gateway that go with each. */
const settingsFor = (mode: OpenClawMode) => ({
  GATEWAY_OPENCLAW_MODE: mode,
  GATEWAY_CONTROL_UI: '/chat',
  GATEWAY_OPENCLAW_TOKEN: mode === 'local' ? OPENCLAW_TOKEN : undefined,
})

t.test('the stand-in answers as OpenClaw was seen to answer', async (t) => {
  for (const mode of MODES) {
    const { port } = await startOpenClawStandIn(t, mode)
    for (const [, path, headers, status] of RULES.filter(([ruled]) => ruled === mode)) {
      const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`)
      const answer = await send(port, `GET ${path}`, lines)
      t.equal(answer.status, status, `${mode} ${path} ${lines.join(', ')}`)
    }
  }
})

/** What a client may write to be taken for somebody else, or for this machine. */
const LIES = [
  'Forwarded: for=127.0.0.1',
  'X-Real-IP: 127.0.0.1',
  'X-Forwarded-User: root',
  'X-Forwarded-User:',
  'X-Forwarded-Host: localhost',
  'X-Forwarded-Host:',
  'Tailscale-User-Login: root',
  'Connection: close, X-Forwarded-For, X-Forwarded-User',
]

for (const mode of MODES) {
  t.test(`${mode}: everybody who may in gets through, wherever they are`, async (t) => {
    const openclaw = await startOpenClawStandIn(t, mode)
    const settings = { GATEWAY_API_URL: openclaw.url, ...settingsFor(mode) }
    const { port } = await startTestGateway(t, settings)
    const good = await token()
    const credentials = [
      [`Authorization: Bearer ${good}`],
      [`X-Workspace-Token: ${good}`],
      [cookie(good), `Origin: ${ORIGIN}`],
    ]
    for (const address of ['203.0.113.9', '2001:db8::7', '::ffff:203.0.113.9', '10.1.2.3'])
      for (const credential of credentials)
        for (const door of DOORS) {
          const headers = [...credential, client(address), HTTPS]
          const answer = await knock(port, door, '/api/v1/models', headers)
          t.equal(answer.status, door === 'upgrade' ? 101 : 200, `${door} from ${address}`)
        }
    const signedIn = [`Authorization: Bearer ${good}`, client('127.0.0.1, 203.0.113.9'), HTTPS]
    for (const lie of LIES) {
      t.equal((await send(port, 'GET /api/v1/models', [...signedIn, lie])).status, 200, lie)
      const { headers } = openclaw.requests.at(-1) ?? {}
      t.equal(headers?.['x-forwarded-user'], mode === 'local' ? undefined : 'alice')
      t.equal(headers?.['x-forwarded-for'], mode === 'local' ? undefined : '203.0.113.9')
    }
    const hook = [`X-Workspace-Token: ${good}`, client('203.0.113.9'), HTTPS]
    for (const line of [`Authorization: Bearer ${HOOK_TOKEN}`, `X-OpenClaw-Token: ${HOOK_TOKEN}`])
      t.equal((await send(port, 'POST /api/hooks/wake', [...hook, line])).status, 200, line)
    t.equal((await send(port, 'POST /api/hooks/wake', hook)).status, 401, 'no token of the hooks')
  })
}

t.test('modes that do not match are refused, not let in as this machine', async (t) => {
  const signedIn = [`Authorization: Bearer ${await token()}`, client('203.0.113.9'), HTTPS]
  for (const [ours, its, status] of [
    ['trusted-proxy', 'local', 403],
    ['local', 'trusted-proxy', 401],
  ] as const) {
    const openclaw = await startOpenClawStandIn(t, its)
    const settings = { GATEWAY_API_URL: openclaw.url, ...settingsFor(ours) }
    const { port } = await startTestGateway(t, settings)
    const answer = await send(port, 'GET /api/v1/models', signedIn)
    t.equal(answer.status, status)
    t.equal(answer.headers['x-gateway-error'], undefined, 'OpenClaw said so itself')
  }
})

t.test('a client on this very machine is not believed by OpenClaw as a proxied one', async (t) => {
  const openclaw = await startOpenClawStandIn(t, 'trusted-proxy')
  const settings = { GATEWAY_API_URL: openclaw.url, ...settingsFor('trusted-proxy') }
  const { port } = await startTestGateway(t, settings)
  for (const forwarded of [[], [client('127.0.0.1')], [client('::1')]]) {
    const headers = [`Authorization: Bearer ${await token()}`, ...forwarded]
    const answer = await send(port, 'GET /api/v1/models', headers)
    t.equal(answer.status, 403)
    t.match(answer.body, 'proxy_attribution_required')
  }
})
