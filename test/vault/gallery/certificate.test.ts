/** Attack: somebody else answers for the service, with a certificate that is not valid for it. */
import type { Test } from 'tap'
import { startRunningVault } from '../../helpers/running-vault.ts'
import { ask, leaseAt } from '../../helpers/vault-doors.ts'
import { bodyOf, refusalOf, runAgainstVault, type VaultPlace } from './attack.ts'
import {
  answerText,
  startByteService,
  startHttpsService,
  TEST_CA_FILE,
} from '../../helpers/vault-service.ts'

type Certificate = Parameters<typeof startHttpsService>[1]

/** The certificates have the address 127.0.0.1 besides the name. */
const originOf = ({ port }: { port: number }) => `https://127.0.0.1:${port}`

/** A service that is not trusted, although its CA is. */
const untrusted =
  (certificate: Certificate, code: RegExp, options = {}) =>
  async (t: Test, { aim }: VaultPlace) => {
    const service = await startHttpsService(t, certificate, options)
    const { send, endings } = await aim(originOf(service))
    const answer = await send('GET /x')
    t.match(answer.body, code)
    t.equal(refusalOf(answer), '502 service-untrusted')
    t.equal(answer.body.includes('VAULT_EXTRA_CA_FILE'), certificate === 'self-signed')
    t.same(await endings(), ['service-untrusted'])
    return service.paths.length > 0
  }

await runAgainstVault(
  import.meta.url,
  {
    'an expired certificate': untrusted('expired', /not trusted \(CERT_HAS_EXPIRED\)/),
    'a certificate for another name': untrusted('other-name', /\(ERR_TLS_CERT_ALTNAME_INVALID\)/),
    'a certificate that signed itself': untrusted('self-signed', /\([A-Z_]+\)/),
    'a certificate of a CA that nobody has added': async (t) => {
      const service = await startHttpsService(t, 'valid')
      const { add, coder, lease } = await startRunningVault(t)
      await add(originOf(service))
      const headers = { authorization: `Bearer ${await lease()}` }
      const { text, code } = await ask(coder, { path: '/s/github/x', headers })
      t.equal(code, 'service-untrusted')
      t.match(text, 'VAULT_EXTRA_CA_FILE')
      return service.paths.length > 0
    },
    'an old version of TLS': async (t, { aim }) => {
      const service = await startHttpsService(t, 'valid', { maxVersion: 'TLSv1.1' })
      t.equal((await (await aim(originOf(service))).send('GET /x')).status, 502)
      return service.paths.length > 0
    },
    'a valid certificate, which is refused': async (t, { aim }) => {
      const service = await startHttpsService(t, 'valid')
      return bodyOf(await (await aim(originOf(service))).send('GET /x')) !== '/x'
    },
    'http instead of https': async (t, { vault }) => {
      const service = await startByteService(t, () => answerText('ok'))
      for (const [origin, allowed] of [
        [`http://service.test:${service.port}`, true],
        [`http://localhost:${service.port}`, true],
        [`http://192.168.0.1:${service.port}`, true],
        [service.origin, false],
      ] as const) {
        const added = vault.add(origin, {
          ...{ service: 'plain', slot: 'Authorization: Bearer {}', allow_private: allowed },
        })
        await t.rejects(added, /origin/, origin)
      }
      await t.rejects(leaseAt(vault.coder, { service: 'plain' }), /not-granted/)
      return service.dials() > 0
    },
  },
  { VAULT_EXTRA_CA_FILE: TEST_CA_FILE },
)
