/** Attack: the origin of an entry is an address inside, of cloud metadata, or written so that a check takes it for another. */
import type { Test } from 'tap'
import { refusalOf, runAgainstVault, type VaultPlace } from './attack.ts'
import { startHttpsService, TEST_CA_FILE } from '../../helpers/vault-service.ts'

const SLOT = { slot: 'Authorization: Bearer {}' }

/** Whether the vault takes an entry that leads to one of these hosts. */
const added =
  (allowPrivate: boolean, ...hosts: readonly string[]) =>
  async (t: Test, { vault }: VaultPlace) => {
    let isTaken = false
    for (const host of hosts) {
      const entry = { ...SLOT, service: 'inside', allow_private: allowPrivate }
      const problem = await vault.add(`https://${host}`, entry).then(
        () => '',
        (error: Error) => error.message,
      )
      t.match(problem, /origin/, host)
      isTaken ||= problem === ''
    }
    return isTaken
  }

await runAgainstVault(
  import.meta.url,
  {
    'addresses of metadata, also for an entry that allows private ones': added(
      true,
      ...['169.254.169.254', '100.100.100.200', '168.63.129.16', '[fd00:ec2::254]'],
      ...['[fe80::1]', '0.0.0.0', '224.0.0.1', '255.255.255.255', '[::]', '[ff02::1]'],
    ),
    'mapped, translated and compatible addresses': added(
      true,
      ...['[::ffff:169.254.169.254]', '[::ffff:a9fe:a9fe]', '[64:ff9b::a9fe:a9fe]'],
      ...['[::169.254.169.254]', '[2002:a9fe:a9fe::1]', '[::ffff:0:169.254.169.254]'],
    ),
    'private addresses that the owner has not allowed': added(
      false,
      ...['127.0.0.1', '10.0.0.1', '172.16.0.1', '192.168.1.1', '100.64.0.1', '[::1]', '[fd00::1]'],
      '[::ffff:127.0.0.1]',
    ),
    'addresses that are written in another way': added(
      true,
      ...['0x7f.1', '2130706433', '0177.0.0.1', '127.1', '127.0.0.1.', '169.254.43518'],
      ...['[fe80::1%25eth0]', '127。0。0。1', 'user@127.0.0.1', '127.0.0.1:99999', 'a b'],
    ),
    'a name that resolves to an address inside': async (t, { aim }) => {
      const service = await startHttpsService(t, 'valid')
      const { send, endings } = await aim(`https://localhost:${service.port}`, {
        allow_private: false,
      })
      t.equal(refusalOf(await send('GET /x')), '502 address-not-allowed')
      t.same(await endings(), ['address-not-allowed'])
      return service.names.length > 0
    },
  },
  { VAULT_EXTRA_CA_FILE: TEST_CA_FILE },
)
