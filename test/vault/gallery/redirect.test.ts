/** Attack: the service sends the agent, or the vault, to another host, or gives the agent a credential of its own. */
import t from 'tap'
import { send } from '../../helpers/wire.ts'
import { LEASE, startVault } from '../../helpers/vault-forwarder.ts'
import { answerText, startByteService } from '../../helpers/vault-service.ts'

for (const status of ['301 Moved', '302 Found', '307 Temporary', '308 Permanent']) {
  t.test(`a redirect (${status}) is handed back and not followed`, async (t) => {
    const other = await startByteService(t, () => answerText('other'))
    const service = await startByteService(t, () =>
      answerText('', [`Location: ${other.origin}/x`], status),
    )
    const { port } = await startVault(t, service.origin)
    const answer = await send(port, 'POST /s/github/x', [LEASE])
    t.equal(answer.status, Number.parseInt(status, 10))
    t.equal(answer.headers['location'], `${other.origin}/x`)
    t.equal(other.dials(), 0)
  })
}

t.test('a session cookie of the service, and other addresses of it, are dropped', async (t) => {
  const service = await startByteService(t, () =>
    answerText('ok', [
      'Set-Cookie: session=1',
      'Alt-Svc: h3=":1"',
      'X-Vault-Error: not-granted',
      'X-Kept: 1',
    ]),
  )
  const { port } = await startVault(t, service.origin)
  const { headers } = await send(port, 'GET /s/github/x', [LEASE])
  for (const name of ['set-cookie', 'alt-svc', 'x-vault-error']) t.equal(headers[name], undefined)
  t.equal(headers['x-kept'], '1')
})
