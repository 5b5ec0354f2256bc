/** Is the old or the new state there, whenever the process is killed? The program of test/helpers/change-until-killed.ts is. */
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import t, { type Test } from 'tap'
import { checkFile } from '../../src/vault/at-rest/backup.ts'
import { verifyAudit } from '../../src/vault/audit/verify.ts'
import { temporaryFolder } from '../helpers/process.ts'
import { changePolicy, filesIn, MASTER_KEY, openVault, VAULT_ID } from '../helpers/vault.ts'

const PROGRAM = new URL('../helpers/change-until-killed.ts', import.meta.url).pathname

const NOTES = ['', 'one', 'two']

function changeUntilKilled(folder: string, step: number) {
  const { stdout, status, signal, stderr } = spawnSync(
    process.execPath,
    [PROGRAM, folder, String(step)],
    { encoding: 'utf8' },
  )
  return { lines: stdout.split('\n').slice(0, -1), ended: signal ?? status, stderr }
}

/** Opens what was left, asserts that it is the last state that was answered or the next one, and that it can be changed. */
function assertKept(t: Test, folder: string, lines: readonly string[], name: string): void {
  const { file, auditPath } = filesIn(folder)
  const { vault, audit, close } = openVault(t, folder)
  const note = vault.find('github')?.policy.note ?? ''
  const answered = Math.max(0, NOTES.indexOf(lines.findLast((line) => NOTES.includes(line)) ?? ''))
  t.ok(
    [NOTES[answered], NOTES[answered + 1]].includes(note),
    `${name}: "${note}" after ${answered}`,
  )
  t.equal(
    audit.last.saved,
    audit.last.sequence === audit.last.saved ? audit.last.sequence : audit.last.sequence - 1,
  )
  if (note !== '') changePolicy(vault, 'github', { note: 'later' })
  close()
  t.same(verifyAudit(auditPath).problem, undefined, `${name}: the audit log`)
  t.same(
    checkFile({ file, masterKey: MASTER_KEY, vaultId: VAULT_ID, saved: audit.last.saved }),
    [],
    `${name}: the file`,
  )
  t.same(
    readdirSync(folder).filter((one) => one.endsWith('.tmp')),
    [],
    `${name}: no drafts`,
  )
}

t.test('killed at every step of making and changing a vault: the old or the new state', (t) => {
  let steps = 0
  for (let step = 1, isWhole = false; !isWhole; step++) {
    const folder = temporaryFolder(t)
    const { lines, ended, stderr } = changeUntilKilled(folder, step)
    isWhole = ended === 0
    if (!isWhole) t.equal(ended, 'SIGKILL', stderr)
    assertKept(t, folder, lines, `step ${step}`)
    steps = step
  }
  t.ok(steps > 30, `${steps} steps`)
  t.end()
})

t.test('killed again and again, at another step each time', (t) => {
  const folder = temporaryFolder(t)
  for (let step = 1; step < 30; step += 4) {
    const { ended, stderr } = changeUntilKilled(folder, step)
    t.equal(ended, 'SIGKILL', stderr)
  }
  const { vault, auditPath, close } = openVault(t, folder)
  t.ok(NOTES.includes(vault.find('github')?.policy.note ?? ''))
  close()
  t.same(verifyAudit(auditPath).problem, undefined)
  t.end()
})
