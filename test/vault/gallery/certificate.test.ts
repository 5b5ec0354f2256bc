/** Attack: somebody else answers for the service, with a certificate that is not valid for it. */
import t from 'tap'
import { send } from '../../helpers/wire.ts'
import { LEASE, startVault } from '../../helpers/vault-forwarder.ts'
import {
  answerText,
  startByteService,
  startHttpsService,
  TEST_CA,
} from '../../helpers/vault-service.ts'

const lookup = async () => ['127.0.0.1']

t.test('a valid certificate of a CA that was added is trusted', async (t) => {
  const service = await startHttpsService(t, 'valid')
  const { port } = await startVault(t, service.origin, { lookup, extraCa: TEST_CA })
  t.equal((await send(port, 'GET /s/github/x', [LEASE])).body, '/x')
  t.same(service.names, ['service.test'], 'the server name is that of the entry')
})

t.test('an address in the certificate is enough for an origin that is one', async (t) => {
  const service = await startHttpsService(t, 'valid')
  const { port } = await startVault(t, `https://127.0.0.1:${service.port}`, { extraCa: TEST_CA })
  t.equal((await send(port, 'GET /s/github/x', [LEASE])).status, 200)
})

for (const [name, extraCa] of [
  ['valid', undefined],
  ['expired', TEST_CA],
  ['other-name', TEST_CA],
  ['self-signed', TEST_CA],
] as const) {
  t.test(
    `a certificate (${name}) that is not trusted is refused before anything is sent`,
    async (t) => {
      const service = await startHttpsService(t, name)
      const vault = await startVault(t, service.origin, { lookup, extraCa })
      const { status, headers, body } = await send(vault.port, 'GET /s/github/x', [LEASE])
      t.match(body, /the certificate of .* is not trusted \([A-Z_]+\)/)
      const hasUnknownCa = name === 'valid' || name === 'self-signed'
      t.equal(body.includes('VAULT_EXTRA_CA_FILE'), hasUnknownCa)
      t.same([status, headers['x-vault-error']], [502, 'service-untrusted'])
      t.same(service.paths, [])
      t.same(vault.endings(), ['service-untrusted'])
    },
  )
}

t.test('a service that only has TLS 1.1 is refused', async (t) => {
  const service = await startHttpsService(t, 'valid', { maxVersion: 'TLSv1.1' })
  const { port } = await startVault(t, service.origin, { lookup, extraCa: TEST_CA })
  t.equal((await send(port, 'GET /s/github/x', [LEASE])).status, 502)
  t.same(service.paths, [])
})

t.test(
  'http is refused unless the origin is a loopback address of an entry that allows it',
  async (t) => {
    const service = await startByteService(t, () => answerText('ok'))
    for (const [origin, allowPrivate] of [
      [`http://service.test:${service.port}`, true],
      [`http://localhost:${service.port}`, true],
      [service.origin, false],
    ] as const) {
      const { port } = await startVault(t, origin, { lookup, policy: { allowPrivate } })
      t.equal(
        (await send(port, 'GET /s/github/x', [LEASE])).headers['x-vault-error'],
        'address-not-allowed',
      )
    }
    t.equal(service.dials(), 0)
  },
)
