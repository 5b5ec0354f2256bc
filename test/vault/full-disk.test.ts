/** What does the real vault do when its audit log cannot grow? It refuses every use and every change, and goes on when there is room. */
import { spawnSync } from 'node:child_process'
import { statSync } from 'node:fs'
import t from 'tap'
import { verifyAudit } from '../../src/vault/audit/verify.ts'
import { auditPathOf } from '../../src/vault/protocol.ts'
import { startRunningVault } from '../helpers/running-vault.ts'
import { startUpstream } from '../helpers/upstream.ts'
import { ask } from '../helpers/vault-doors.ts'

const hasLimits = spawnSync('prlimit', ['--version']).status === 0

t.test(
  'a full disk: uses are refused and not unaudited, and the service is not asked',
  { skip: hasLimits ? false : 'needs prlimit' },
  async (t) => {
    const service = await startUpstream(t)
    const vault = await startRunningVault(t)
    await vault.add(service.url)
    const headers = { authorization: `Bearer ${await vault.lease()}` }
    const use = () => ask(vault.coder, { path: '/s/github/x', headers })
    const log = auditPathOf(vault.env['VAULT_STATE_DIR'] ?? '')
    // The longest file that the process may write: an append then fails in its middle, as on a full disk.
    const limit = (bytes: string) =>
      t.equal(spawnSync('prlimit', [`--pid=${vault.program.pid}`, `--fsize=${bytes}:`]).status, 0)
    t.equal((await use()).status, 200)
    limit(String(statSync(log).size + 50))
    for (let i = 0; i < 5; i++) t.equal((await use()).code, 'audit-unavailable')
    const body = { value: 'ghp_another-credential-of-the-test' }
    const rotate = { method: 'POST', path: '/v1/entries/github/rotate', body }
    t.equal((await ask(vault.owner, rotate)).code, 'audit-unavailable')
    t.equal(service.requests.length, 1)
    limit('unlimited')
    t.equal((await use()).status, 200)
    t.equal((await ask(vault.owner, rotate)).status, 200)
    t.same(verifyAudit(log).problem, undefined)
  },
)
