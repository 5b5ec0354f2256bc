/** Is a gateway that believes the wrong people found out? */
import t, { type Test } from 'tap'
import { examineClientAddress } from '../../../src/commands/doctor/client-address.ts'
import { examined } from '../../helpers/examined.ts'
import { startWorkspace } from '../../helpers/gateway.ts'
import { startUpstream } from '../../helpers/upstream.ts'

const THROUGH = 'client-address-through-proxies'
const TRUSTED = 'client-address-of-trusted-peers'
const OTHERS = 'client-address-of-other-peers'

/** A gateway that trusts some, seen by a doctor who was told of others; 127.0.0.2 plays an address beyond loopback. */
async function seen(t: Test, running: string, told = running, rateLimit = '10') {
  const settings = { GATEWAY_HOST: '0.0.0.0', GATEWAY_RATE_LIMIT: rateLimit }
  const { port } = await startWorkspace(t, { ...settings, GATEWAY_TRUSTED_PROXIES: running })
  return examined(
    examineClientAddress,
    { ...settings, GATEWAY_PORT: String(port), GATEWAY_TRUSTED_PROXIES: told },
    ['127.0.0.2'],
  )
}

t.test(
  'X-Forwarded-For is believed from a trusted proxy, not from its clients or from other peers',
  async (t) => {
    for (const rateLimit of ['1', '2', '10']) {
      const findings = await seen(t, '127.0.0.1', '127.0.0.1', rateLimit)
      t.match(findings[THROUGH], {
        verdict: 'pass',
        detail: /127\.0\.0\.1\/32 means 203\.0\.113\.7/,
      })
      t.match(findings[TRUSTED], { verdict: 'pass' }, `limit ${rateLimit}`)
      t.match(findings[OTHERS], { verdict: 'pass', detail: /from 127\.0\.0\.2 was ignored/ })
    }
  },
)

t.test('a gateway that trusts more proxies than its configuration is a fault', async (t) => {
  const findings = await seen(t, '127.0.0.0/8', '127.0.0.1')
  t.match(findings[OTHERS], { verdict: 'fail', remedy: /GATEWAY_TRUSTED_PROXIES/ })
})

t.test('a gateway that does not trust its proxy is a fault', async (t) => {
  const settings = { GATEWAY_RATE_LIMIT: '10' }
  const { port } = await startWorkspace(t, { ...settings, GATEWAY_TRUSTED_PROXIES: 'none' })
  const told = { ...settings, GATEWAY_PORT: String(port) }
  await examined(examineClientAddress, told) // somebody came before
  const findings = await examined(examineClientAddress, told)
  t.match(findings[TRUSTED], { verdict: 'fail', remedy: /restart it/ })
})

t.test('a program that believes the leftmost entry is a fault', async (t) => {
  const spent = new Map<string, number>()
  const { port } = await startUpstream(t, ({ headers }, response) => {
    const client = String(headers['x-forwarded-for']).split(',')[0] ?? ''
    spent.set(client, (spent.get(client) ?? 0) + 1)
    response.setHeader('RateLimit', `"address";r=${10 - (spent.get(client) ?? 0)};t=60`)
    response.setHeader('RateLimit-Policy', '"address";q=10;w=60')
    response.end()
  })
  const findings = await examined(examineClientAddress, { GATEWAY_PORT: String(port) })
  t.match(findings[TRUSTED], { verdict: 'fail', detail: /leftmost/ })
})

t.test('a check that cannot run from this machine is skipped', async (t) => {
  const { port } = await startUpstream(t)
  const silent = await examined(examineClientAddress, { GATEWAY_PORT: String(port) })
  t.match(silent[TRUSTED], { verdict: 'skip', detail: /budget/ })
  t.match(silent[OTHERS], { verdict: 'skip', detail: /this machine alone/ })
  const open = { GATEWAY_PORT: String(port), GATEWAY_HOST: '::', GATEWAY_TRUSTED_PROXIES: 'none' }
  const untrusted = await examined(examineClientAddress, open)
  t.match(untrusted[THROUGH], { verdict: 'warn', remedy: /GATEWAY_TRUSTED_PROXIES/ })
  t.match(untrusted[TRUSTED], { verdict: 'skip' })
  t.match(untrusted[OTHERS], { verdict: 'skip', detail: /every address/ })
})
