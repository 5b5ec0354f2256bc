/** Are entries changed as a whole, on the disk and in the audit log, or not at all? */
import { copyFileSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { VaultDocument } from '../../src/vault/at-rest/document.ts'
import { verifyAudit } from '../../src/vault/audit/verify.ts'
import { newestOf, type Entry, type Policy } from '../../src/vault/policy.ts'
import type { Vault } from '../../src/vault/vault.ts'
import { systemError, watchFileSteps } from '../helpers/file-steps.ts'
import { temporaryFolder } from '../helpers/process.ts'
import {
  addEntry,
  changePolicy,
  entryOf,
  MASTER_KEY,
  openVault,
  readable,
} from '../helpers/vault.ts'

const read = (file: string) => JSON.parse(readFileSync(file, 'utf8')) as VaultDocument

t.test('entries are kept over a restart, sorted by service', (t) => {
  const { vault, file, folder, auditPath, close } = openVault(t)
  t.same(vault.entries(), [])
  addEntry(vault, entryOf('slack', { note: 'Zwei Zeilen,\n“quoted”, 😀' }))
  addEntry(vault, entryOf('github', { headers: ['accept'], kind: 'basic' }))
  t.same(
    vault.entries().map(({ policy }) => policy.service),
    ['github', 'slack'],
  )
  const before = readable(vault)
  close()
  t.equal(statSync(file).mode & 0o777, 0o600)
  const again = openVault(t, folder)
  t.same(readable(again.vault), before)
  t.equal(again.vault.find('github')?.policy.kind, 'basic')
  t.equal(again.vault.find('gitlab'), undefined)
  t.same(verifyAudit(auditPath), { rows: 6 })
  t.end()
})

t.test('a change is begun in the audit log, saved, and completed', (t) => {
  const { vault, audit } = openVault(t)
  addEntry(vault, entryOf('github'))
  const [done, begun] = audit.recent(2)
  t.match(begun, { op: 'add', agent: 'owner', service: 'github', version: 1, sequence: 2 })
  t.match(done, { op: 'add', of: begun?.n, reason: 'done', sequence: 2, saved: 2 })
  t.equal(begun?.entry, vault.find('github')?.id)
  t.equal(begun?.saved, 1)
  t.match(audit.last, { sequence: 2, saved: 2 })
  audit.write({ op: 'use' })
  t.match(audit.last, { sequence: 2, saved: 2 }, 'the last row has it, whatever it is')
  t.end()
})

t.test('an edit that changes nothing or throws leaves everything as it is', (t) => {
  const { vault, audit, file } = openVault(t)
  addEntry(vault, entryOf('github'))
  const before = [readFileSync(file, 'utf8'), audit.last.number]
  t.equal(
    vault.change({ op: 'grant', service: 'github' }, (entry) => entry)?.policy.service,
    'github',
  )
  t.equal(
    vault.change({ op: 'remove', service: 'gitlab' }, () => undefined),
    undefined,
  )
  const fail = () => {
    throw new RangeError('no')
  }
  t.throws(() => vault.change({ op: 'grant', service: 'github' }, fail), /no/)
  t.throws(
    () =>
      vault.change({ op: 'grant', service: 'github' }, (entry) => {
        changePolicy(vault, 'github', { note: 'inner' })
        return entry
      }),
    /within the edit/,
  )
  t.same([readFileSync(file, 'utf8'), audit.last.number], before)
  t.end()
})

t.test('an entry that could not be read again is not saved', (t) => {
  const { vault, audit, file } = openVault(t)
  addEntry(vault, entryOf('github'))
  const before = [readFileSync(file, 'utf8'), audit.last.number]
  const edits: Array<Partial<Policy>> = [
    { methods: [] },
    { methods: ['POST', 'GET'] },
    { methods: ['get'] },
    { paths: ['user'] },
    { paths: ['/a', '/a'] },
    { origin: 'https://github.example/path' },
    { origin: 'ftp://github.example' },
    { slot: { header: 'Authorization', template: 'Bearer {}' } },
    { slot: { header: 'authorization', template: 'Bearer' } },
    { slot: { header: 'authorization', template: '{} {}' } },
    { service: 'gitlab' },
    { grants: ['two words'] },
    { note: 'x'.repeat(5000) },
    { note: '\0' },
  ]
  for (const edit of edits)
    t.throws(() => changePolicy(vault, 'github', edit), { code: 'conflict' }, JSON.stringify(edit))
  const editVersions = (edit: (entry: Entry) => Partial<Entry>) => () =>
    vault.change(
      { op: 'rotate', service: 'github' },
      (entry) => entry && { ...entry, ...edit(entry) },
    )
  t.throws(
    editVersions(() => ({ versions: [] })),
    { code: 'conflict' },
    'no version',
  )
  t.throws(
    editVersions(() => ({ id: 'another' })),
    { code: 'conflict' },
    'another id',
  )
  t.throws(
    editVersions((entry) => ({ versions: [{ ...newestOf(entry), value: Buffer.from('short') }] })),
    { code: 'conflict' },
    'a short credential',
  )
  t.throws(
    editVersions((entry) => ({ versions: [{ ...newestOf(entry), keptUntil: 1 }] })),
    { code: 'conflict' },
    'a newest version with an end',
  )
  const other = { ...entryOf('gitlab'), id: vault.find('github')?.id ?? '' }
  t.throws(() => addEntry(vault, other), { code: 'conflict', message: /another entry has this id/ })
  t.same([readFileSync(file, 'utf8'), audit.last.number], before)
  t.end()
})

t.test('listeners hear of each change, and cannot break it', (t) => {
  const errors: unknown[] = []
  const { vault, file } = openVault(t, temporaryFolder(t), {
    onListenerError: (error) => errors.push(error),
  })
  const heard: string[] = []
  vault.onChange(() => {
    throw new Error('a faulty listener')
  })
  vault.onChange((_before, after) => {
    if (after?.policy.note === 'first') changePolicy(vault, 'github', { note: 'second' })
  })
  vault.onChange((before, after) => {
    heard.push(`${before?.policy.note} -> ${after?.policy.note}`)
  })
  addEntry(vault, entryOf('github', { note: 'zero' }))
  changePolicy(vault, 'github', { note: 'first' })
  vault.change({ op: 'remove', service: 'github' }, () => undefined)
  t.same(heard, ['undefined -> zero', 'zero -> first', 'first -> second', 'second -> undefined'])
  t.equal(errors.length, 4)
  t.same(read(file).entries, [])
  t.end()
})

t.test(
  'a change is made, and all listeners hear of it, also when the report of a fault fails',
  (t) => {
    const later: Array<() => void> = []
    const { queueMicrotask } = globalThis
    globalThis.queueMicrotask = (work) => void later.push(work)
    t.teardown(() => {
      globalThis.queueMicrotask = queueMicrotask
    })
    const { vault } = openVault(t, temporaryFolder(t), {
      onListenerError: () => {
        throw new Error('a faulty report')
      },
    })
    vault.onChange(() => {
      throw new Error('a faulty listener')
    })
    const heard: Array<string | undefined> = []
    vault.onChange((_before, after) => heard.push(after?.policy.note))
    addEntry(vault, entryOf('github', { note: 'first' }))
    changePolicy(vault, 'github', { note: 'second' })
    t.same(heard, ['first', 'second'])
    t.equal(later.length, 2)
    for (const work of later) t.throws(work, /a faulty report/)
    t.end()
  },
)

t.test('versions are dropped when their time has passed', (t) => {
  let now = 1000
  const { vault, file } = openVault(t, temporaryFolder(t), { now: () => now })
  const value = Buffer.from('the second secret')
  const entry = entryOf('github')
  const old = { ...newestOf(entry), keptUntil: 5000 }
  const newest = { version: 2, createdAt: 1000, keptUntil: undefined, value }
  addEntry(vault, { ...entry, versions: [old, newest] })
  addEntry(vault, entryOf('slack'))
  const { sequence } = read(file)
  now = 4999
  vault.dropExpiredVersions()
  t.equal(read(file).sequence, sequence)
  now = 5000
  vault.dropExpiredVersions()
  t.same(
    vault.find('github')?.versions.map(({ version }) => version),
    [2],
  )
  t.equal(read(file).entries[0]?.versions.length, 1)
  t.equal(read(file).sequence, sequence + 1)
  t.end()
})

t.test('another master key rewraps one key, and only that', (t) => {
  const { vault, file, folder, audit, close } = openVault(t)
  addEntry(vault, entryOf('github'))
  const before = readable(vault)
  const { salt, dataKey, mac, ...rest } = read(file)
  const newKey = Buffer.alloc(32, 9)
  vault.rekey(newKey)
  const after = read(file)
  t.same(
    { ...after, salt, dataKey, mac },
    { ...rest, salt, dataKey, mac, sequence: rest.sequence + 1 },
  )
  t.not(after.salt, salt)
  t.not(after.dataKey, dataKey)
  t.match(audit.recent(2)[1], { op: 'rekey', agent: 'owner' })
  t.throws(() => vault.rekey(Buffer.alloc(16)), /16 bytes/)
  addEntry(vault, entryOf('slack'))
  vault.change({ op: 'remove', service: 'slack' }, () => undefined)
  close()
  t.throws(
    () => openVault(t, folder, { masterKey: MASTER_KEY }),
    /does not open with this master key/,
  )
  t.same(readable(openVault(t, folder, { masterKey: newKey }).vault), before)
  t.end()
})

t.test('a change seals its own entry anew, with other bytes, and no other entry', (t) => {
  const { vault, file } = openVault(t)
  addEntry(vault, entryOf('github'))
  addEntry(vault, entryOf('slack'))
  const [github, slack] = read(file).entries
  changePolicy(vault, 'github', { grants: ['coder', 'ops'] })
  const after = read(file)
  t.same(after.entries[1], slack)
  t.not(after.entries[0]?.versions[0]?.sealed, github?.versions[0]?.sealed)
  t.same(read(`${file}.prev`).entries, [github, slack], 'the file before is kept')
  t.end()
})

t.test('a failure at any step of a change refuses it with nothing changed, or it is made', (t) => {
  const outcomes: string[] = []
  for (let step = 1, isWhole = false; !isWhole; step++) {
    const { vault, file, folder, close, auditPath } = openVault(t)
    addEntry(vault, entryOf('github'))
    changePolicy(vault, 'github', { note: 'before' })
    const before = readFileSync(file, 'utf8')
    let steps = 0
    let failed = ''
    const putBack = watchFileSteps((name) => {
      if (++steps !== step) return
      failed = name
      throw systemError('ENOSPC')
    })
    let code = ''
    try {
      changePolicy(vault, 'github', { note: 'after' })
    } catch (error) {
      code = String((error as { code?: unknown }).code)
    } finally {
      putBack()
    }
    isWhole = failed === ''
    outcomes.push(code)
    const note = vault.find('github')?.policy.note
    const name = `step ${step}, ${failed}: ${code}`
    t.equal(note, code === '' ? 'after' : 'before', name)
    if (code !== '') t.equal(readFileSync(file, 'utf8'), before, `${name}, the file`)
    const fitting = openVault.bind(undefined, t, folder)
    close()
    t.equal(fitting().vault.find('github')?.policy.note, note, `${name}, after a restart`)
    t.same(verifyAudit(auditPath).problem, undefined, `${name}, the log`)
  }
  t.ok(outcomes.includes('audit-unavailable') && outcomes.includes('not-saved'))
  t.equal(outcomes.at(-1), '')
  t.end()
})

t.test('after a full disk, later changes work', (t) => {
  const { vault, folder, file, auditPath, close } = openVault(t)
  addEntry(vault, entryOf('github'))
  const before = readFileSync(file, 'utf8')
  for (const step of [
    'writeSync',
    'writeFileSync',
    'writeFileSync half',
    'fsyncSync',
    'renameSync',
  ]) {
    const putBack = watchFileSteps((name) => {
      if (name === step) throw systemError('ENOSPC')
    })
    t.throws(
      () => changePolicy(vault, 'github', { note: step }),
      { code: step === 'writeSync' ? 'audit-unavailable' : 'not-saved', message: /ENOSPC/ },
      step,
    )
    putBack()
    t.equal(readFileSync(file, 'utf8'), before, step)
    t.same(
      readdirSync(folder).filter((name) => name.endsWith('.tmp')),
      [],
    )
  }
  changePolicy(vault, 'github', { note: 'later' })
  close()
  t.equal(openVault(t, folder).vault.find('github')?.policy.note, 'later')
  t.same(verifyAudit(auditPath).problem, undefined)
  t.end()
})

t.test('a vault that cannot be made is made later, and the message says why', (t) => {
  const folder = temporaryFolder(t)
  const failAt = (step: string, expected: { name: string; code?: string; message?: RegExp }) => {
    const putBack = watchFileSteps((name) => {
      if (name === step) throw systemError('ENOSPC')
    })
    t.throws(() => openVault(t, folder), expected, step)
    putBack()
  }
  failAt('writeSync', { name: 'VaultError', code: 'audit-unavailable' })
  const full = /^VAULT_FILE .* cannot be written, because the disk is full \(ENOSPC\)/
  failAt('writeFileSync half', { name: 'VaultFileError', message: full })
  const { vault, audit, auditPath } = openVault(t, folder)
  t.same(vault.entries(), [])
  t.match(audit.last, { sequence: 2, saved: 2 })
  t.same(verifyAudit(auditPath).problem, undefined)
  t.end()
})

t.test('a change that can neither be saved nor undone stops changes until a restart', (t) => {
  const { vault, folder, close } = openVault(t)
  addEntry(vault, entryOf('github', { note: 'before' }))
  let renames = 0
  const putBack = watchFileSteps((name) => {
    if (name === 'renameSync') renames++
    // The folder's fsync fails, and then the disk is gone.
    if (renames >= 2 && name !== 'renameSync') throw systemError('EIO')
    if (renames >= 3) throw systemError('EIO')
  })
  t.throws(() => changePolicy(vault, 'github', { note: 'after' }), { code: 'not-saved' })
  putBack()
  t.throws(() => changePolicy(vault, 'github', { note: 'later' }), {
    code: 'not-saved',
    message: /start the vault again/,
  })
  t.equal(vault.find('github')?.policy.note, 'before')
  close()
  t.equal(openVault(t, folder).vault.find('github')?.policy.note, 'after')
  t.end()
})

t.test('a change is not called undone before that is on the disk', (t) => {
  for (const failures of [1, 2]) {
    const { vault, audit, folder, close } = openVault(t)
    addEntry(vault, entryOf('github', { note: 'before' }))
    let isMoved = false
    let count = 0
    const putBack = watchFileSteps((name) => {
      isMoved ||= name === 'renameSync'
      // The fsync of the folder, which comes after the last rename, and that of the folder when the old file is there again.
      if (isMoved && name === 'fsyncSync' && ++count <= failures) throw systemError('EIO')
    })
    t.throws(() => changePolicy(vault, 'github', { note: 'after' }), {
      code: 'not-saved',
      message: failures === 1 ? /nothing has changed/ : /start the vault again/,
    })
    putBack()
    t.equal(count, 2)
    t.equal(audit.recent(1)[0]?.reason, failures === 1 ? 'not-saved' : undefined)
    close()
    t.equal(openVault(t, folder).vault.find('github')?.policy.note, 'before')
  }
  t.end()
})

t.test('a completing row that could not be written is written before the next change', (t) => {
  const { vault, audit, auditPath } = openVault(t)
  addEntry(vault, entryOf('github'))
  let syncs = 0
  const putBack = watchFileSteps((name) => {
    if (name === 'fdatasyncSync' && ++syncs === 2) throw systemError('ENOSPC')
  })
  changePolicy(vault, 'github', { note: 'after' })
  putBack()
  t.match(audit.last, { sequence: 3, saved: 2 })
  changePolicy(vault, 'github', { note: 'later' })
  t.match(audit.last, { sequence: 4, saved: 4 })
  t.same(
    audit.recent(4).map(({ sequence, reason }) => [sequence, reason]),
    [
      [4, 'done'],
      [4, undefined],
      [3, 'done'],
      [3, undefined],
    ],
  )
  t.same(verifyAudit(auditPath).problem, undefined)
  t.end()
})

for (const [when, work] of [
  ['versions are dropped', (vault: Vault) => vault.dropExpiredVersions()],
  ['the vault is closed', (vault: Vault) => vault.close()],
] as const)
  t.test(`a completing row that could not be written is written when ${when}`, (t) => {
    const { vault, audit, folder, file, close } = openVault(t)
    addEntry(vault, entryOf('github'))
    let isMoved = false
    const putBack = watchFileSteps((name) => {
      isMoved ||= name === 'renameSync'
      if (isMoved && name === 'fdatasyncSync') throw systemError('ENOSPC')
    })
    changePolicy(vault, 'github', { grants: [] })
    putBack()
    t.match(audit.last, { sequence: 3, saved: 2 })
    work(vault)
    t.match(audit.last, { sequence: 3, saved: 3 })
    close()
    copyFileSync(`${file}.prev`, file)
    t.throws(() => openVault(t, folder), /is older than the last change/)
    t.end()
  })

t.test('when the audit log is lost, the file opens, and the new log says so', (t) => {
  const { vault, folder, auditPath, close } = openVault(t)
  addEntry(vault, entryOf('github'))
  close()
  rmSync(auditPath)
  const { audit } = openVault(t, folder)
  t.match(audit.recent(2)[1], { op: 'start', reason: 'audit-lost', sequence: 2 })
  t.match(audit.last, { sequence: 2, saved: 2 })
  t.end()
})

t.test('drafts that a killed process has left are removed, and nothing else', (t) => {
  const { folder, close } = openVault(t)
  close()
  const drafts = ['.vault.enc.0123456789abcdef.tmp', '.vault.enc.prev.0123456789abcdef.tmp']
  const others = ['.vault.enc.mine.tmp', 'x.vault.enc.0123456789abcdef.tmp']
  for (const name of [...drafts, ...others]) writeFileSync(join(folder, name), '')
  openVault(t, folder)
  const names = readdirSync(folder)
  t.same(
    [...drafts, ...others].filter((name) => names.includes(name)),
    others,
  )
  t.end()
})

t.test('a closed vault changes nothing', (t) => {
  const { vault, file, close } = openVault(t)
  const before = readFileSync(file, 'utf8')
  close()
  t.throws(() => addEntry(vault, entryOf('github')), { code: 'not-saved', message: /closed/ })
  t.throws(() => vault.rekey(MASTER_KEY), { code: 'not-saved' })
  t.equal(readFileSync(file, 'utf8'), before)
  t.end()
})
