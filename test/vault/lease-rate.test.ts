/** Can an agent fill the disk with leases? No: after a burst it gets one a second, and the rows are those of the leases that it got. */
import t from 'tap'
import { LeaseRate } from '../../src/vault/lease-rate.ts'
import { ask, leaseAt, startTestVault } from '../helpers/vault-doors.ts'

t.test('a burst, then one a second, for each agent by itself', (t) => {
  let now = 1_000_000
  const rate = new LeaseRate({ now: () => now })
  const take = (agent = 'coder') => rate.take(agent)
  const refusal = { code: 'too-many-leases', message: /"coder" has asked for 300 leases/ }
  for (let i = 0; i < 300; i++) take()
  t.throws(take, refusal)
  take('ops')
  now += 1000
  take()
  t.throws(take, refusal)
  now += 300_000
  for (let i = 0; i < 300; i++) take()
  t.throws(take, refusal)
  now -= 3_600_000
  t.throws(take, refusal, 'a clock that was set back gives nothing away')
  now += 1000
  take()
  t.end()
})

t.test('leases that are given back and renewals count, and a refused one has no row', async (t) => {
  const vault = await startTestVault(t)
  const leases = { path: '/v1/leases' }
  const bearer = (token: string) => ({ Authorization: `Bearer ${token}` })
  for (let i = 0; i < 150; i++) {
    const headers = bearer(await leaseAt(vault.coder))
    const renewal = { ...leases, method: 'POST', headers, body: { renew: true } }
    t.equal((await ask(vault.coder, renewal)).status, 200)
    t.equal((await ask(vault.coder, { ...leases, method: 'DELETE', headers })).status, 204)
  }
  const body = { service: 'github' }
  const rows = vault.rows.length
  for (let i = 0; i < 20; i++) {
    const { status, code } = await ask(vault.coder, { ...leases, method: 'POST', body })
    t.same([status, code], [429, 'too-many-leases'])
  }
  t.equal(vault.rows.length, rows + 10, 'the rows of ten refusals')
  vault.now += 1000
  await leaseAt(vault.coder)
})
