/** Can an agent fill the disk with refusals? No: wherever it is refused, ten in a minute have a row each and the others are counted. */
import t from 'tap'
import { startRunningVault } from '../helpers/running-vault.ts'
import { startUpstream } from '../helpers/upstream.ts'
import { ask } from '../helpers/vault-doors.ts'
import { LEASE, startVault } from '../helpers/vault-forwarder.ts'
import { startByteService } from '../helpers/vault-service.ts'
import { eventually } from '../helpers/waiting.ts'
import { send } from '../helpers/wire.ts'

t.test(
  'the forwarding part writes ten rows of refusals in a minute, and counts the others',
  async (t) => {
    const service = await startByteService(t, () => '')
    let now = 1_000_000
    const vault = await startVault(t, service.origin, {
      policy: { allowPrivate: false },
      now: () => now,
    })
    const refused = async () => {
      const { headers } = await send(vault.port, 'GET /s/github/x', [LEASE])
      t.equal(headers['x-vault-error'], 'address-not-allowed')
    }
    for (let i = 0; i < 25; i++) await refused()
    t.equal(vault.rows.length, 10)
    t.match(vault.rows[0], {
      op: 'deny',
      agent: 'coder',
      reason: 'address-not-allowed',
      path: '/x',
    })
    now += 60_000
    await refused()
    t.match(vault.rows[10], { op: 'deny', reason: 'address-not-allowed 15 more in a minute' })
    t.equal(vault.rows.length, 12)
    t.equal(service.dials(), 0)
  },
)

t.test('of a running vault, the doors and the forwarding part have one counter', async (t) => {
  const service = await startUpstream(t)
  const vault = await startRunningVault(t)
  await vault.add(service.url, { upgrade: true })
  // A handshake with a body passes the door, and the forwarding part refuses it.
  const handshake = { Connection: 'Upgrade', Upgrade: 'websocket', 'Content-Length': '0' }
  const headers = { ...handshake, Authorization: `Bearer ${await vault.lease()}` }
  const path = '/s/github/x'
  for (let i = 0; i < 8; i++) {
    t.equal((await ask(vault.coder, { path })).code, 'lease-missing')
    t.equal((await ask(vault.coder, { path, headers })).code, 'bad-request')
  }
  // An answer does not wait for the row of a refusal.
  const denied = () => vault.rows().filter(({ op }) => op === 'deny').length
  await eventually(() => denied() === 10, 'ten rows of refusals')
  vault.program.child.kill('SIGTERM')
  t.equal(await vault.program.exited, 0)
  t.match(vault.rows().at(-1), {
    op: 'deny',
    reason: 'lease-missing 3 more, bad-request 3 more in a minute',
  })
  t.equal(service.requests.length, 0)
})
