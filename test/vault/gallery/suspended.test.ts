/** Attack: an agent lets the service repeat the credential again and again. */
import t from 'tap'
import { send } from '../../helpers/wire.ts'
import { CREDENTIAL } from '../../helpers/vault-entry.ts'
import { LEASE, startVault } from '../../helpers/vault-forwarder.ts'
import { answerText, startByteService } from '../../helpers/vault-service.ts'

t.test(
  'the third repetition in ten minutes suspends the entry, which is not dialled any more',
  async (t) => {
    const service = await startByteService(t, () => answerText(CREDENTIAL))
    const vault = await startVault(t, service.origin)
    for (let i = 0; i < 3; i++) {
      t.equal(vault.isSuspended(), false)
      t.equal((await send(vault.port, 'GET /s/github/x', [LEASE])).status, 200)
    }
    t.equal(vault.isSuspended(), true)
    const { status, headers, body } = await send(vault.port, 'GET /s/github/x', [LEASE])
    t.same([status, headers['x-vault-error']], [403, 'suspended'])
    t.match(body, 'workspace-gateway vault resume github')
    t.equal(service.dials(), 3)
  },
)

t.test('an answer that repeats it often counts once', async (t) => {
  const service = await startByteService(t, () =>
    answerText(`${CREDENTIAL} ${CREDENTIAL}`, [`X-A: ${CREDENTIAL}`, `X-B: ${CREDENTIAL}`]),
  )
  const vault = await startVault(t, service.origin)
  await send(vault.port, 'GET /s/github/x', [LEASE])
  t.equal(vault.isSuspended(), false)
  t.equal(vault.rows.filter(({ op }) => op === 'reflected').length, 1)
})
