/** Attack: the name of the service resolves to an address inside, at once or a moment later. In this process, with a resolver of its own. */
import { runAttacks, refusalOf } from './attack.ts'
import { LEASE, startVault } from '../../helpers/vault-forwarder.ts'
import { startHttpsService, TEST_CA } from '../../helpers/vault-service.ts'
import { send } from '../../helpers/wire.ts'

const INSIDE = [
  ...['127.0.0.1', '169.254.169.254', '::ffff:169.254.169.254', '64:ff9b::a9fe:a9fe'],
  ...['0.0.0.0', 'fd00::1', '100.64.0.1', '::1'],
]

runAttacks(import.meta.url, {
  'a name that resolves to an address inside, alone or beside a public one': async (t) => {
    const service = await startHttpsService(t, 'valid')
    for (const address of INSIDE)
      for (const addresses of [[address], ['1.1.1.1', address], [address, '1.1.1.1']]) {
        const vault = await startVault(t, service.origin, {
          extraCa: TEST_CA,
          policy: { allowPrivate: false },
          lookup: async () => addresses,
        })
        const answer = await send(vault.port, 'GET /s/github/x', [LEASE])
        t.equal(refusalOf(answer), '502 address-not-allowed', addresses.join())
        t.same(vault.endings(), ['address-not-allowed'])
      }
    return service.names.length > 0
  },
  'a name that resolves to another address a moment later': async (t) => {
    const service = await startHttpsService(t, 'valid')
    const answers = [['127.0.0.1'], ['169.254.169.254']]
    let lookups = 0
    const { port } = await startVault(t, service.origin, {
      extraCa: TEST_CA,
      lookup: async () => answers[lookups++] ?? [],
    })
    const ask = (path: string) => send(port, `GET /s/github${path}`, [LEASE])
    t.equal((await ask('/1')).status, 200)
    t.equal((await ask('/2')).status, 200, 'on the connection that is there')
    t.equal(lookups, 1, 'it is resolved once for a connection')
    t.equal(service.names.length, 1)
    service.dropConnections()
    t.equal(refusalOf(await ask('/3')), '502 address-not-allowed')
    t.equal(lookups, 2)
    t.same(service.names, ['service.test'], 'the server name is that of the entry')
    return service.paths.join() !== '/1,/2'
  },
  'a name without an address, and one that cannot be resolved': async (t) => {
    const refusals: string[] = []
    for (const lookup of [async () => [], async () => Promise.reject(new Error('ENOTFOUND'))]) {
      const { port } = await startVault(t, 'https://service.test', { lookup })
      refusals.push(refusalOf(await send(port, 'GET /s/github/x', [LEASE])))
    }
    t.same([...new Set(refusals)], ['502 service-unreachable'])
    return refusals.some((refusal) => !refusal.startsWith('502'))
  },
})
