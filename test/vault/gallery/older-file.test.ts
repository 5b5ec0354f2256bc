/** Attack: whoever can write the vault's files puts older ones in their place, to bring a grant back that was revoked. */
import { randomBytes } from 'node:crypto'
import { cpSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { runBare, temporaryFolder } from '../../helpers/process.ts'
import { startRunningVault, type RunningVault } from '../../helpers/running-vault.ts'
import { leaseAt } from '../../helpers/vault-doors.ts'
import { runAttacks } from './attack.ts'

/** A vault that is stopped after its grant to ops was revoked, and the files from before. */
async function revoked(test: Test) {
  const vault = await startRunningVault(test)
  await vault.add('http://127.0.0.1:1', { grants: ['coder', 'ops'] })
  const data = vault.env['VAULT_STATE_DIR'] ?? ''
  const older = join(temporaryFolder(test), 'older')
  cpSync(data, older, { recursive: true })
  await vault.command('/v1/entries/github/revoke', { agents: ['ops'] })
  await stop(vault)
  return { vault, data, older }
}

async function stop({ program }: RunningVault): Promise<void> {
  program.child.kill('SIGTERM')
  await program.exited
}

/** Whether ops gets a lease from the vault that is started with what is there now. */
async function isGranted(test: Test, vault: RunningVault): Promise<boolean> {
  const again = await startRunningVault(test, vault.env)
  const lease = await leaseAt(again.ops, { service: 'github' }).catch(() => '')
  await stop(again)
  return lease !== ''
}

runAttacks(import.meta.url, {
  'the older file alone': async (test) => {
    const { vault, data, older } = await revoked(test)
    cpSync(join(older, '.vault.enc'), join(data, '.vault.enc'))
    const program = runBare(test, ['vault'], vault.env)
    test.not(await program.exited, 0)
    test.match(program.stderr(), /older than the last change/)
    return program.stdout().includes('keeping the vault')
  },
  'the older file with its older log': async (test) => {
    const { vault, data, older } = await revoked(test)
    cpSync(older, data, { recursive: true })
    return isGranted(test, vault)
  },
  'the file of another vault': async (test) => {
    const { vault, data } = await revoked(test)
    const other = await startRunningVault(test, {
      VAULT_MASTER_KEY: randomBytes(32).toString('base64'),
    })
    await other.add('http://127.0.0.1:1', { grants: ['ops'] })
    await stop(other)
    cpSync(join(other.env['VAULT_STATE_DIR'] ?? '', '.vault.enc'), join(data, '.vault.enc'))
    const program = runBare(test, ['vault'], vault.env)
    test.not(await program.exited, 0)
    return program.stdout().includes('keeping the vault')
  },
})
