/** Is OpenClaw's control UI reached where the operator put it, and nowhere else? */
import t from 'tap'
import { assertRefused, cookie, DOORS, HTTPS, knock, ORIGIN } from '../helpers/door.ts'
import { startWorkspace, token } from '../helpers/gateway.ts'
import { send } from '../helpers/wire.ts'

t.test('the control UI has a route only when it is switched on', async (t) => {
  const { port, services } = await startWorkspace(t)
  await send(port, 'GET /chat/x', [`Authorization: Bearer ${await token()}`])
  t.equal(services.dashboard.requests[0]?.url, '/chat/x')
  t.equal(services.api.dials(), 0)
})

t.test('the prefix of the control UI is kept for requests and WebSockets', async (t) => {
  for (const prefix of ['/chat', '/agent/ui']) {
    const { port, services } = await startWorkspace(t, { GATEWAY_CONTROL_UI: prefix })
    const signedIn = [cookie(await token()), HTTPS, `Origin: ${ORIGIN}`]
    for (const target of [prefix, `${prefix}/`, `${prefix}/assets/x.js?v=1`, `${prefix}/ws`]) {
      for (const door of DOORS) {
        const answer = await knock(port, door, target, signedIn)
        t.equal(answer.status, door === 'upgrade' ? 101 : 200)
        t.equal(services.api.requests.at(-1)?.url, target)
      }
    }
    for (const target of [`${prefix}x`, prefix.toUpperCase(), `/x${prefix}`]) {
      t.equal((await send(port, `GET ${target}`, signedIn)).status, 200)
      t.equal(services.dashboard.requests.at(-1)?.url, target)
    }
  }
})

t.test('the control UI is not reachable without signing in', async (t) => {
  const workspace = await startWorkspace(t, { GATEWAY_CONTROL_UI: '/chat' })
  for (const door of DOORS)
    for (const target of ['/chat', '/chat/x']) {
      const answer = await knock(workspace.port, door, target)
      await assertRefused(t, workspace, answer, {
        code: 'sign-in-required',
        stage: 'authentication',
      })
    }
})

t.test('no link can point the control UI at a foreign gateway', async (t) => {
  const workspace = await startWorkspace(t, { GATEWAY_CONTROL_UI: '/chat' })
  const signedIn = [cookie(await token()), HTTPS]
  for (const query of [
    'gatewayUrl=wss://evil.example',
    'gatewayurl=x',
    'GATEWAYURL',
    'a=b&gatewayUrl=x',
    'g%61tewayUrl=x',
    '+gatewayUrl=x',
  ]) {
    const answer = await send(workspace.port, `GET /chat/?${query}`, signedIn)
    await assertRefused(t, workspace, answer, { code: 'bad-request', stage: 'authentication' })
  }
  t.equal((await send(workspace.port, 'GET /chat/?session=gateway', signedIn)).status, 200)
})
