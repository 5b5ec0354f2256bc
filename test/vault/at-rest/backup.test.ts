/** Is a backup complete with the master key, and useless without it? And is nothing older put back by accident? */
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { backup, checkFile, restore } from '../../../src/vault/at-rest/backup.ts'
import { verifyAudit } from '../../../src/vault/audit/verify.ts'
import { temporaryFolder } from '../../helpers/process.ts'
import {
  addEntry,
  entryOf,
  filesIn,
  MASTER_KEY,
  openVault,
  readable,
  VAULT_ID,
} from '../../helpers/vault.ts'

const KEYS = { masterKey: MASTER_KEY, vaultId: VAULT_ID }

/** A closed vault with one entry, a backup of it, and what happened after the backup. */
function makeBackup(t: Test) {
  const { vault, folder, file, auditPath, close } = openVault(t)
  addEntry(vault, entryOf('github'))
  const content = backup(file)
  const before = readable(vault)
  vault.change({ op: 'remove', service: 'github', agent: 'owner' }, () => undefined)
  close()
  return {
    folder,
    file,
    auditPath,
    content,
    before,
    options: { file, content, auditPath, ...KEYS },
  }
}

t.test('a backup is complete with the master key, also on another machine', (t) => {
  const { content, before } = makeBackup(t)
  const folder = temporaryFolder(t)
  const { file, auditPath } = filesIn(folder)
  t.same(restore({ file, content, auditPath, ...KEYS, acceptOlder: false }), { sequence: 3 })
  const { vault, audit } = openVault(t, folder)
  t.same(readable(vault), before)
  t.match(audit.recent(2)[1], { op: 'restore', agent: 'owner', sequence: 3 })
  t.end()
})

t.test('a backup is useless without the master key', (t) => {
  const { content, options, file } = makeBackup(t)
  const present = readFileSync(file)
  t.notOk(content.includes('secret-of-github'))
  for (const masterKey of [Buffer.alloc(32), Buffer.alloc(32, 8)])
    t.throws(
      () => restore({ ...options, masterKey, acceptOlder: true }),
      /does not open with this master key/,
    )
  t.throws(
    () => restore({ ...options, vaultId: 'other', acceptOlder: true }),
    /belongs to the vault/,
  )
  t.same(readFileSync(file), present)
  t.end()
})

t.test('an older backup is restored only if that is said', (t) => {
  const { options, file, auditPath, folder, before } = makeBackup(t)
  const present = readFileSync(file)
  const rows = verifyAudit(auditPath)
  t.throws(
    () => restore({ ...options, acceptOlder: false }),
    /older than the last change \(sequence 2, and the audit log knows 3\).*--accept-older/,
  )
  t.same(readFileSync(file), present)
  t.same(verifyAudit(auditPath), rows)
  t.same(restore({ ...options, acceptOlder: true }), { sequence: 4 })
  t.same(readFileSync(`${file}.prev`), present, 'the file before is kept')
  const { vault, audit } = openVault(t, folder)
  t.same(readable(vault), before)
  t.match(audit.recent(2)[1], { op: 'restore', reason: 'older' })
  writeFileSync(file, present)
  t.match(checkFile({ file, ...KEYS, saved: audit.last.saved }), [{ what: /older/ }])
  t.end()
})

t.test('a backup that was edited is not restored', (t) => {
  const { options, content, file } = makeBackup(t)
  const present = readFileSync(file)
  const edited = Buffer.from(
    content.toString().replace('https://github.example', 'https://github.exampla'),
  )
  t.throws(() => restore({ ...options, content: edited, acceptOlder: true }), /entry "github"/)
  t.throws(
    () => restore({ ...options, content: content.subarray(9), acceptOlder: true }),
    /no JSON/,
  )
  t.same(readFileSync(file), present)
  t.end()
})

t.test('nothing is restored while the vault runs, but a backup can be made', (t) => {
  const { folder, options, file } = makeBackup(t)
  openVault(t, folder)
  t.throws(() => restore({ ...options, acceptOlder: true }), /is in use by another process/)
  t.same(backup(file), readFileSync(file))
  t.end()
})

t.test('a damaged file, or none, is no backup', (t) => {
  const { file } = makeBackup(t)
  writeFileSync(file, readFileSync(file).subarray(0, 100))
  t.throws(() => backup(file), /is damaged, so it is no backup: the file is no JSON/)
  rmSync(file)
  t.throws(() => backup(file), /does not exist/)
  t.match(checkFile({ file, ...KEYS }), [{ what: /does not exist/ }])
  t.end()
})
