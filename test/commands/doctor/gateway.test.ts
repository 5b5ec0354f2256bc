/** Is a gateway that is not the one of this environment recognised? */
import t from 'tap'
import { examineGateway } from '../../../src/commands/doctor/gateway.ts'
import { examined } from '../../helpers/examined.ts'
import { startWorkspace } from '../../helpers/gateway.ts'
import { temporaryFolder } from '../../helpers/process.ts'
import { startUpstream } from '../../helpers/upstream.ts'

t.test(
  'a gateway as configured passes, and no service is dialled for a refused request',
  async (t) => {
    const { port, services } = await startWorkspace(t)
    const findings = await examined(examineGateway, { GATEWAY_PORT: String(port) })
    for (const { check, verdict, detail } of Object.values(findings))
      t.equal(verdict, 'pass', `${check}: ${detail}`)
    t.equal(services.dashboard.requests.length, 0)
    t.same(
      services.api.requests.map(({ url }) => url),
      ['/readyz'],
    )
  },
)

t.test('doctor spends no client’s budget', async (t) => {
  const { port } = await startWorkspace(t, { GATEWAY_RATE_LIMIT: '1' })
  for (let round = 0; round < 5; round++) {
    const findings = await examined(examineGateway, { GATEWAY_PORT: String(port) })
    for (const { check, verdict, detail } of Object.values(findings))
      t.equal(verdict, 'pass', `${check}: ${detail}`)
  }
})

t.test(
  'where this machine is not trusted, a spent budget is a warning that names it',
  async (t) => {
    const { port } = await startWorkspace(t, {
      GATEWAY_RATE_LIMIT: '1',
      GATEWAY_TRUSTED_PROXIES: 'none',
    })
    const settings = { GATEWAY_PORT: String(port), GATEWAY_TRUSTED_PROXIES: 'none' }
    await examined(examineGateway, settings)
    const findings = await examined(examineGateway, settings)
    t.match(findings['gateway-asks-for-sign-in'], { verdict: 'warn', remedy: /again in \d+ s/ })
  },
)

t.test('a gateway with another secret or workspace is a fault', async (t) => {
  const { port } = await startWorkspace(t, { GATEWAY_WORKSPACE: 'research' })
  const sameHost = await startWorkspace(t, {
    GATEWAY_JWT_SECRET: 'another-key-of-houston-77aa88bb99cc',
  })
  const secret = await examined(examineGateway, { GATEWAY_PORT: String(sameHost.port) })
  t.match(secret['gateway-takes-tokens'], { verdict: 'fail', remedy: /restart it, or send SIGHUP/ })
  const workspace = await examined(examineGateway, { GATEWAY_PORT: String(port) })
  t.match(workspace['gateway-takes-tokens'], { verdict: 'fail', detail: /does not serve houston/ })
})

t.test('a token that lacks a second factor is a good one', async (t) => {
  const rules = { GATEWAY_TERMINAL_AMR: 'otp', GATEWAY_STEP_UP_ROUTES: 'terminal,api' }
  const { port, services } = await startWorkspace(t, rules)
  const findings = await examined(examineGateway, { GATEWAY_PORT: String(port), ...rules })
  const detail = /401 step-up-required/
  t.match(findings['gateway-takes-tokens'], { verdict: 'pass', detail })
  t.equal(services.api.dials(), 0)
})

t.test('another program on the port is recognised', async (t) => {
  const { port } = await startUpstream(t)
  const findings = await examined(examineGateway, { GATEWAY_PORT: String(port) })
  t.match(findings['gateway-listens'], { verdict: 'fail', remedy: /another program/ })
  t.match(findings['gateway-asks-for-sign-in'], { verdict: 'skip' })
})

t.test('a program that lets everybody in is a fault', async (t) => {
  const { port } = await startUpstream(t, (_request, response) => {
    response.setHeader('X-Request-Id', 'x')
    response.end('welcome')
  })
  const findings = await examined(examineGateway, { GATEWAY_PORT: String(port) })
  t.match(findings['gateway-asks-for-sign-in'], { verdict: 'fail', detail: /200 from a service/ })
  t.match(findings['gateway-refuses-sensitive-files'], { verdict: 'fail' })
})

t.test('a gateway that is stopping, or whose health is strict, is a warning', async (t) => {
  const { port, running } = await startWorkspace(t)
  running.parts.drain.begin()
  const draining = await examined(examineGateway, { GATEWAY_PORT: String(port) })
  t.match(draining['gateway-listens'], { verdict: 'warn', detail: /503 \(draining\)/ })
  const strict = await startWorkspace(t, {
    GATEWAY_HEALTH_STRICT: 'true',
    GATEWAY_HEALTH_URL: 'http://127.0.0.1:1',
  })
  const unhealthy = await examined(examineGateway, { GATEWAY_PORT: String(strict.port) })
  t.match(unhealthy['gateway-listens'], { verdict: 'warn', remedy: /stats server/ })
})

t.test('a Unix socket is examined too, and port 0 cannot be', async (t) => {
  const socket = `${temporaryFolder(t)}/gateway.sock`
  const settings = { GATEWAY_SOCKET: socket, GATEWAY_PORT: undefined, GATEWAY_HOST: undefined }
  await startWorkspace(t, settings)
  const findings = await examined(examineGateway, settings)
  t.match(findings['gateway-takes-tokens'], { verdict: 'pass' })
  const unknown = await examined(examineGateway, { GATEWAY_PORT: '0' })
  t.match(unknown['gateway-listens'], { verdict: 'fail', detail: /GATEWAY_PORT is 0/ })
})
