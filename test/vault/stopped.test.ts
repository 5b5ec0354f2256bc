/** What becomes of running uses when the vault is told to stop? They are cut, and each has its last row. */
import t from 'tap'
import { verifyAudit } from '../../src/vault/audit/verify.ts'
import { auditPathOf } from '../../src/vault/protocol.ts'
import { openSocket, startRunningVault } from '../helpers/running-vault.ts'
import { startUpstream } from '../helpers/upstream.ts'
import { eventually } from '../helpers/waiting.ts'
import { requestBytes } from '../helpers/wire.ts'

const CHUNK = Buffer.alloc(65_536, 'x')
const USES = 20

t.test('uses that run at the stop are cut, and audited to their end', async (t) => {
  let asked = 0
  const { url } = await startUpstream(t, (request, response) => {
    asked++
    if (request.url === '/silent') return
    const more = () => {
      while (!response.destroyed && response.write(CHUNK));
    }
    response.on('drain', more)
    more()
  })
  const vault = await startRunningVault(t)
  await vault.add(url)
  const lease = `Authorization: Bearer ${await vault.lease()}`
  const closed = Array.from({ length: USES }, (_, i) => {
    const socket = openSocket(vault.coder)
    t.teardown(() => socket.destroy())
    if (i % 2 === 0) socket.resume()
    socket.write(requestBytes(`GET /s/github/${i % 3 === 0 ? 'silent' : 'flow'}`, [lease]))
    return socket
  })
  await eventually(() => asked === USES, 'all uses run')
  vault.program.child.kill('SIGTERM')
  t.equal(await vault.program.exited, 0)
  const uses = vault.rows().filter(({ op }) => op === 'use')
  const begun = uses.filter(({ of }) => of === undefined)
  t.equal(begun.length, USES)
  t.same(
    uses
      .filter(({ reason }) => reason === 'cut')
      .map(({ of }) => of ?? 0)
      .toSorted((a, b) => a - b),
    begun.map(({ n }) => n),
    'each has its last row',
  )
  t.same(verifyAudit(auditPathOf(vault.env['VAULT_STATE_DIR'] ?? '')).problem, undefined)
  for (const socket of closed) socket.destroy()
})
