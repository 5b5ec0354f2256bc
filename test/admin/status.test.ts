/** Does the status have the state of the gateway and of its services, and no secret? */
import t from 'tap'
import { token } from '../helpers/gateway.ts'
import { startOperated } from '../helpers/operations.ts'
import { upgrade } from '../helpers/wire.ts'

t.test('the status has the process, the services and what is in memory', async (t) => {
  const { ask, port, services, parts } = await startOperated(t, {
    GATEWAY_TERMINAL_URL: 'unix:/nonexistent/ttyd.sock',
  })
  const { socket } = await upgrade(port, '/', [`Authorization: Bearer ${await token()}`])
  const { status, body } = await ask('/status')
  t.equal(status, 200)
  t.match(JSON.parse(body), {
    workspace: 'houston',
    pid: process.pid,
    listening: { address: '127.0.0.1', port },
    draining: false,
    services: {
      dashboard: { url: services.dashboard.url, state: 'up', inFlight: 0 },
      terminal: { url: 'unix:/nonexistent/ttyd.sock', state: 'down' },
      api: { state: 'up' },
      health: { state: 'up' },
    },
    openWebSockets: 1,
    budgets: { addresses: 1, sessions: 0 },
    rememberedTokens: 1,
  })
  t.notMatch(body, 'test-key-of-houston')
  socket.destroy()
  parts.drain.begin()
  t.match(JSON.parse((await ask('/status')).body), { draining: true })
})
