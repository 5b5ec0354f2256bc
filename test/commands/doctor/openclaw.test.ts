/** Is every way in which OpenClaw turns the gateway away told apart? */
import t, { type Test } from 'tap'
import { startAgentApi } from '../../../embedded/agent-api.ts'
import { examineOpenclaw } from '../../../src/commands/doctor/openclaw.ts'
import { examined } from '../../helpers/examined.ts'
import { startUpstream } from '../../helpers/upstream.ts'

const FORWARDING = 'openclaw-takes-forwarding'
const CREDENTIAL = 'openclaw-takes-credential'

async function agent(t: Test, refuseForwarded: boolean) {
  const { url, close } = await startAgentApi({ refuseForwarded })
  t.teardown(close)
  return url
}

/** OpenClaw, ready, that answers its guarded path so. */
async function guardedBy(t: Test, status: number, settings: Record<string, string> = {}) {
  const upstream = await startUpstream(t, ({ url }, response) => {
    response.statusCode = url === '/readyz' ? 200 : status
    response.end()
  })
  const findings = await examined(examineOpenclaw, { GATEWAY_API_URL: upstream.url, ...settings })
  return { findings, requests: upstream.requests }
}

t.test(
  'in local mode no forwarding header is sent, and OpenClaw accepts the request',
  async (t) => {
    const findings = await examined(examineOpenclaw, { GATEWAY_API_URL: await agent(t, true) })
    t.match(findings[FORWARDING], { verdict: 'pass', detail: /MODE=local/ })
    t.match(findings[CREDENTIAL], { verdict: 'pass' })
  },
)

t.test('in trusted-proxy mode a refusal names the setting of OpenClaw', async (t) => {
  const mode = { GATEWAY_OPENCLAW_MODE: 'trusted-proxy' }
  const refused = await examined(examineOpenclaw, {
    ...mode,
    GATEWAY_API_URL: await agent(t, true),
  })
  t.match(refused[FORWARDING], { verdict: 'fail', remedy: /gateway\.trustedProxies/ })
  t.match(refused[CREDENTIAL], { verdict: 'skip' })
  const taken = await examined(examineOpenclaw, {
    ...mode,
    GATEWAY_API_URL: await agent(t, false),
  })
  t.match(taken[FORWARDING], { verdict: 'pass' })
})

t.test('a refusal in local mode means that another proxy is in between', async (t) => {
  const { url } = await startUpstream(t, (_request, response) => {
    response.writeHead(403).end('{"error":{"type":"proxy_attribution_required"}}')
  })
  const findings = await examined(examineOpenclaw, { GATEWAY_API_URL: url })
  t.match(findings[FORWARDING], { verdict: 'fail', remedy: /something else adds/ })
})

t.test('doctor sends OpenClaw the headers that the gateway sends', async (t) => {
  const local = await guardedBy(t, 200, { GATEWAY_OPENCLAW_TOKEN: 'oc-token-1' })
  for (const { headers } of local.requests) {
    t.notOk(Object.keys(headers).some((name) => name.startsWith('x-forwarded')))
    t.equal(headers.authorization, 'Bearer oc-token-1')
  }
  const proxied = await guardedBy(t, 200, { GATEWAY_OPENCLAW_MODE: 'trusted-proxy' })
  for (const { headers } of proxied.requests) {
    t.match(headers['x-forwarded-for'], /^2001:db8:/)
    t.equal(headers['x-forwarded-user'], 'workspace-gateway-doctor')
    t.equal(headers.authorization, undefined)
  }
})

t.test('each response of OpenClaw to the credential has a finding of its own', async (t) => {
  const token = { GATEWAY_OPENCLAW_TOKEN: 'oc-token-1' }
  const proxy = { GATEWAY_OPENCLAW_MODE: 'trusted-proxy' }
  const cases: Array<[number, Record<string, string>, object]> = [
    [401, token, { verdict: 'fail', remedy: /GATEWAY_OPENCLAW_TOKEN/ }],
    [401, proxy, { verdict: 'warn', remedy: /auth\.mode/ }],
    [401, {}, { verdict: 'warn', detail: /every program/ }],
    [404, {}, { verdict: 'skip' }],
    [429, token, { verdict: 'warn', remedy: /five minutes/ }],
    [500, {}, { verdict: 'warn' }],
  ]
  for (const [status, settings, expected] of cases)
    t.match((await guardedBy(t, status, settings)).findings[CREDENTIAL], expected, `${status}`)
})

t.test('an OpenClaw that is not ready is a warning', async (t) => {
  const { url } = await startUpstream(t, (_request, response) => response.writeHead(503).end())
  const findings = await examined(examineOpenclaw, { GATEWAY_API_URL: url })
  t.match(findings[FORWARDING], { verdict: 'warn' })
})
