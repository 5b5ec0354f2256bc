/** Does the metrics port serve the metrics on the private address, and nothing else? */
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import t from 'tap'
import { privateAddress } from '../../src/admin/metrics-port.ts'
import { startOperated } from '../helpers/operations.ts'
import { send } from '../helpers/wire.ts'

t.test('the metrics port serves the metrics and nothing else', async (t) => {
  const { operations, operationsLog } = await startOperated(t, {}, { metricsPort: 0 })
  const { address = '', port = 0 } = operations.metricsAddress ?? {}
  t.equal(address, privateAddress())
  t.match(operationsLog(), [{ msg: 'metrics served', host: address, port }])
  const answer = await send(port, 'GET /metrics')
  t.equal(answer.status, 200)
  t.equal(answer.headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8')
  t.match(answer.body, /^gateway_open_websockets 0$/m)
  t.equal((await send(port, 'HEAD /metrics')).body, '')
  for (const target of [
    'GET /',
    'GET /status',
    'GET /explain/x',
    'POST /metrics',
    'GET /metrics/',
  ]) {
    const refused = await send(port, target)
    t.equal(refused.status, 404, target)
    t.match(JSON.parse(refused.body), { code: 'not-found' })
  }
})

t.test('a metrics port that is taken does not stop the gateway', async (t) => {
  const other = createServer().listen({ port: 0, host: privateAddress() })
  await once(other, 'listening')
  t.teardown(() => other.close())
  const { port } = other.address() as AddressInfo
  const { operations, operationsLog, ask } = await startOperated(t, {}, { metricsPort: port })
  t.equal(operations.metricsAddress, undefined)
  t.match(operationsLog(), [
    { level: 'warn', msg: 'metrics not served', err: { code: 'EADDRINUSE' } },
  ])
  t.equal((await ask('/metrics')).status, 200, 'the admin door has them all the same')
})

t.test(
  'the private address is the one of Fly’s private network, or the loopback address',
  async (t) => {
    const of = (...addresses: string[]) =>
      privateAddress({
        eth0: addresses.map((address) => ({
          address,
          family: address.includes(':') ? ('IPv6' as const) : ('IPv4' as const),
          netmask: '',
          mac: '',
          internal: false,
          cidr: null,
          scopeid: 0,
        })),
      })
    t.equal(of('10.0.0.2', 'fe80::1', 'fdaa:0:1::2'), 'fdaa:0:1::2')
    t.equal(of('10.0.0.2', 'fd00::1', '2001:db8::1'), '127.0.0.1')
    t.equal(of(), '127.0.0.1')
  },
)
