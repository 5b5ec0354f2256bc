/**
 * A program that changes a vault and kills itself with SIGKILL before a step of writing (test/helpers/file-steps.ts). It prints `opened`
 * and, after each change, the note that it has saved. Arguments: the folder and the step.
 */
import fs from 'node:fs'
import { join } from 'node:path'
import { watchFileSteps } from './file-steps.ts'

const [folder = '', stepText = '0'] = process.argv.slice(2)
const step = Number(stepText)
let steps = 0

const { writeSync } = fs
const say = (line: string) => writeSync(1, `${line}\n`)

const { AuditLog } = await import('../../src/vault/audit/audit-log.ts')
const { Vault } = await import('../../src/vault/vault.ts')
const { entryOf, MASTER_KEY, VAULT_ID } = await import('./vault.ts')

watchFileSteps((name) => {
  // These two change nothing that lasts.
  if (name === 'closeSync' || name === 'fchmodSync') return
  if (++steps === step) process.kill(process.pid, 'SIGKILL')
})
const audit = AuditLog.open(join(folder, 'vault-audit.jsonl'), {})
const vault = Vault.open({
  file: join(folder, '.vault.enc'),
  ...{ masterKey: MASTER_KEY, vaultId: VAULT_ID, audit },
})
say('opened')
for (const note of ['one', 'two']) {
  vault.change({ op: 'add', service: 'github', agent: 'owner' }, (entry) =>
    entry === undefined
      ? entryOf('github', { note })
      : { ...entry, policy: { ...entry.policy, note } },
  )
  say(note)
}
vault.close()
audit.close()
say('closed')
