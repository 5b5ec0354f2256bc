/** Attack: the name of the service resolves to an address inside, at once or a moment later. */
import t from 'tap'
import { send } from '../../helpers/wire.ts'
import { LEASE, startVault } from '../../helpers/vault-forwarder.ts'
import { startHttpsService, TEST_CA } from '../../helpers/vault-service.ts'

const INSIDE = [
  '127.0.0.1',
  '169.254.169.254',
  '::ffff:169.254.169.254',
  '64:ff9b::a9fe:a9fe',
  '0.0.0.0',
  'fd00::1',
  '100.64.0.1',
  '::1',
]

for (const address of INSIDE) {
  t.test(`a name that resolves to ${address} is not dialled`, async (t) => {
    const service = await startHttpsService(t, 'valid')
    for (const addresses of [[address], ['1.1.1.1', address], [address, '1.1.1.1']]) {
      const vault = await startVault(t, service.origin, {
        extraCa: TEST_CA,
        policy: { allowPrivate: false },
        lookup: async () => addresses,
      })
      const { status, headers } = await send(vault.port, 'GET /s/github/x', [LEASE])
      t.same([status, headers['x-vault-error']], [502, 'address-not-allowed'])
      t.same(vault.endings(), ['address-not-allowed'])
    }
    t.same(service.names, [])
  })
}

t.test(
  'a name is resolved once for a connection, and the address that was checked is dialled',
  async (t) => {
    const service = await startHttpsService(t, 'valid')
    const answers = [['127.0.0.1'], ['169.254.169.254']]
    let lookups = 0
    const { port } = await startVault(t, service.origin, {
      extraCa: TEST_CA,
      lookup: async () => answers[lookups++] ?? [],
    })
    t.equal((await send(port, 'GET /s/github/1', [LEASE])).status, 200)
    t.equal(
      (await send(port, 'GET /s/github/2', [LEASE])).status,
      200,
      'on the connection that is there',
    )
    t.equal(lookups, 1)
    t.equal(service.names.length, 1)
    service.dropConnections()
    const refused = await send(port, 'GET /s/github/3', [LEASE])
    t.equal(refused.headers['x-vault-error'], 'address-not-allowed')
    t.equal(lookups, 2)
    t.same(service.paths, ['/1', '/2'])
  },
)

t.test('a name without an address, and one that cannot be resolved, are refusals', async (t) => {
  for (const lookup of [async () => [], async () => Promise.reject(new Error('ENOTFOUND'))]) {
    const { port } = await startVault(t, 'https://service.test', { lookup })
    t.equal(
      (await send(port, 'GET /s/github/x', [LEASE])).headers['x-vault-error'],
      'service-unreachable',
    )
  }
})
