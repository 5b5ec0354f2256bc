/** Does a file open that is not exactly as the vault wrote it? Never, and the refusal says what is wrong and changes nothing. */
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { assert, constantFrom, integer, nat, property } from 'fast-check'
import t, { type Test } from 'tap'
import { checkFile } from '../../../src/vault/at-rest/backup.ts'
import { textOf, type VaultDocument } from '../../../src/vault/at-rest/document.ts'
import { AuditLog } from '../../../src/vault/audit/audit-log.ts'
import { newestOf } from '../../../src/vault/policy.ts'
import { Vault } from '../../../src/vault/vault.ts'
import { temporaryFolder } from '../../helpers/process.ts'
import { addEntry, entryOf, filesIn, MASTER_KEY, openVault, VAULT_ID } from '../../helpers/vault.ts'

type Json = null | boolean | number | string | Json[] | { [key: string]: Json }
type Path = ReadonlyArray<string | number>

const KEYS = { masterKey: MASTER_KEY, vaultId: VAULT_ID }

/** Makes a closed vault with four entries. One of them has every property of a policy; the others lack the one that may be absent. */
function makeFile(t: Test) {
  const { vault, folder, file, auditPath, close } = openVault(t)
  for (const service of ['anthropic', 'github', 'slack']) addEntry(vault, entryOf(service))
  addEntry(vault, entryOf('team', { kind: 'workspace', remote: 'google' }))
  vault.change({ op: 'rotate', service: 'github', agent: 'owner' }, (entry) => {
    if (entry === undefined) return undefined
    const old = { ...newestOf(entry), keptUntil: 5000 }
    const value = Buffer.from('the second secret')
    return {
      ...entry,
      versions: [old, { version: 2, createdAt: 2000, keptUntil: undefined, value }],
    }
  })
  close()
  const text = readFileSync(file, 'utf8')
  const document = () => JSON.parse(text) as { [key: string]: Json }
  /** Puts another content in the place of the file, and returns the refusal of the vault. */
  const refusalOf = (content: string | Buffer): string => {
    writeFileSync(file, content, { mode: 0o600 })
    return refusalHere(folder)
  }
  const check = () => checkFile({ file, ...KEYS })
  return { folder, file, auditPath, text, document, refusalOf, check }
}

/** Opens the vault in a folder. @returns the message of the refusal; empty when the vault opens */
function refusalHere(folder: string, changes: Partial<typeof KEYS> = {}): string {
  const { file, auditPath } = filesIn(folder)
  const before = stateOf(folder)
  const audit = AuditLog.open(auditPath, {})
  try {
    Vault.open({ file, ...KEYS, audit, ...changes }).close()
    return ''
  } catch (error) {
    if (stateOf(folder) !== before) return 'something has changed on the disk'
    return error instanceof Error && error.name === 'VaultFileError' ? error.message : String(error)
  } finally {
    audit.close()
  }
}

/** Everything in a folder but the locks. */
function stateOf(folder: string): string {
  const files = readdirSync(folder, { withFileTypes: true }).filter(
    (one) => one.isFile() && !one.name.endsWith('.lock'),
  )
  return files.map(({ name }) => `${name} ${readFileSync(join(folder, name), 'hex')}`).join('\n')
}

/** All places of a document. */
function pathsOf(value: Json, path: Path = []): Path[] {
  if (typeof value !== 'object' || value === null) return [path]
  const inside = Array.isArray(value)
    ? value.flatMap((one, index) => pathsOf(one, [...path, index]))
    : Object.entries(value).flatMap(([key, one]) => pathsOf(one, [...path, key]))
  return [path, ...inside]
}

function at(value: Json, path: Path): Json {
  let found = value
  for (const key of path) found = (found as { [key: string]: Json })[key] as Json
  return found
}

/** Another value of the same type, which looks possible. */
function otherValue(value: Json): Json {
  if (typeof value === 'boolean') return !value
  if (typeof value === 'number') return value + 1
  if (typeof value === 'string')
    return value.includes('.example') ? value.replace('.example', '.evil') : `${value}a`
  if (value === null) return 7000
  return Array.isArray(value) ? [...value, 'zzz'] : { ...value, more: true }
}

t.test('the file opens as it was written, and is right', (t) => {
  const { folder, text, check } = makeFile(t)
  t.equal(refusalHere(folder), '')
  t.same(check(), [])
  t.equal(textOf(JSON.parse(text) as VaultDocument), text)
  t.notMatch(text, /secret-of|second secret/)
  t.notOk(text.includes(Buffer.from('secret-of-github').toString('base64url')))
  t.end()
})

t.test('any field that is changed, removed or there twice makes opening fail', (t) => {
  const { document, refusalOf, check } = makeFile(t)
  const paths = pathsOf(document()).filter((path) => path.length > 0)
  t.ok(paths.length > 80, `${paths.length} fields`)
  for (const path of paths) {
    for (const edit of ['change', 'delete', 'null', 'duplicate'] as const) {
      const edited = document()
      const parent = at(edited, path.slice(0, -1)) as { [key: string]: Json }
      const key = path.at(-1) ?? ''
      const value = parent[key] as Json
      if (edit === 'null' && value === null) continue
      if (Array.isArray(parent) && edit === 'delete') parent.splice(Number(key), 1)
      else if (Array.isArray(parent) && edit === 'duplicate') parent.splice(Number(key), 0, value)
      else if (edit === 'delete') delete parent[key]
      else if (edit === 'change') parent[key] = otherValue(value)
      else if (edit === 'null') parent[key] = null
      else continue
      const why = refusalOf(textOf(edited as unknown as VaultDocument))
      const name = `${edit} ${path.join('.')}`
      if (!why.startsWith('VAULT_FILE ')) t.fail(`${name}: ${why || 'opened'}`)
      const problems = check()
      if (problems.length === 0) t.fail(`${name} is not found`)
      if (path.length > 2 && problems.every(({ entry }) => entry === undefined))
        t.fail(`${name} is in no entry: ${JSON.stringify(problems)}`)
    }
  }
  t.pass()
  t.end()
})

t.test('an entry cannot be sent to another service of a workspace, nor get a name there', (t) => {
  const { document, refusalOf, text } = makeFile(t)
  t.match(JSON.parse(text), { entries: [{}, {}, {}, { policy: { remote: 'google' } }] })
  for (const [index, remote] of [
    [3, 'slack'],
    [3, undefined],
    [1, 'slack'],
    [1, 'github'],
  ] as const) {
    const edited = document()
    const policy = at(edited, ['entries', index, 'policy']) as { [key: string]: Json }
    if (remote === undefined) delete policy['remote']
    else policy['remote'] = remote
    t.match(
      refusalOf(textOf(edited as unknown as VaultDocument)),
      new RegExp(`entry "${index === 3 ? 'team' : 'github'}": its policy or its cred`),
    )
  }
  t.end()
})

t.test('check names the entry whose policy was edited', (t) => {
  const { document, refusalOf, check } = makeFile(t)
  const edits: Record<string, Json> = {
    kind: 'basic',
    origin: 'https://evil.example',
    slot: { header: 'x-other', template: 'Bearer {}' },
    methods: ['DELETE', 'GET', 'POST'],
    paths: ['/'],
    headers: ['x-more'],
    grants: ['coder', 'intruder'],
    ...{ allowPrivate: true, upgrade: true, decode: true, suspended: true },
    note: 'another note',
  }
  for (const [field, value] of Object.entries(edits)) {
    const edited = document()
    const policy = at(edited, ['entries', 1, 'policy']) as { [key: string]: Json }
    t.ok(field in policy && JSON.stringify(policy[field]) !== JSON.stringify(value))
    policy[field] = value
    const why = refusalOf(textOf(edited as unknown as VaultDocument))
    t.match(
      why,
      /^VAULT_FILE .* damaged or was edited: entry "github": its policy or its cred/,
      field,
    )
    t.same(
      check().map(({ entry }) => entry),
      ['github', undefined],
    )
  }
  t.end()
})

t.test('values and fields that are exchanged between entries are named', (t) => {
  const { document, refusalOf, check } = makeFile(t)
  const fields: Path[] = [
    ['versions'],
    ['versions', 0],
    ['versions', 0, 'sealed'],
    ['id'],
    ['policy'],
    ...['origin', 'note'].map((field) => ['policy', field]),
  ]
  for (const field of fields) {
    const edited = document()
    const one = ['entries', 0, ...field]
    const other = ['entries', 2, ...field]
    const [first, second] = [at(edited, one), at(edited, other)]
    const put = (path: Path, value: Json) =>
      ((at(edited, path.slice(0, -1)) as { [key: string]: Json })[path.at(-1) ?? ''] = value)
    put(one, second)
    put(other, first)
    t.match(refusalOf(textOf(edited as unknown as VaultDocument)), /^VAULT_FILE .* entry "/)
    const named = check().map(({ entry }) => entry)
    if (field[0] === 'policy' && field.length === 1) t.ok(named.length > 0)
    else t.ok(named.includes('anthropic') && named.includes('slack'), field.join('.'))
  }
  t.end()
})

t.test('a credential that is moved under another entry does not open', (t) => {
  const { document, refusalOf } = makeFile(t)
  const edited = document()
  const versions = at(edited, ['entries', 0, 'versions'])
  ;(at(edited, ['entries', 1]) as { [key: string]: Json })['versions'] = versions
  t.match(refusalOf(textOf(edited as unknown as VaultDocument)), /entry "github"/)
  t.end()
})

t.test('entries that are removed, added, copied or reordered are noticed', (t) => {
  const { document, refusalOf } = makeFile(t)
  const entries = document()['entries'] as Json[]
  const withEntries = (list: Json[]) =>
    refusalOf(textOf({ ...document(), entries: list } as unknown as VaultDocument))
  t.match(withEntries(entries.slice(1)), /an entry was removed/)
  t.match(withEntries([]), /an entry was removed/)
  t.match(withEntries([...entries, ...entries.slice(2)]), /entry "slack": it is there twice/)
  t.match(withEntries(entries.toReversed()), /out of order/)
  const copy = structuredClone(entries[2]) as { policy: { [key: string]: Json } }
  copy.policy['service'] = 'zzz'
  t.match(withEntries([...entries, copy]), /entry "zzz": another entry has the same id/)
  t.end()
})

t.test('any bytes that are changed, removed or added make opening fail', (t) => {
  const { text, refusalOf, check } = makeFile(t)
  const whole = Buffer.from(text)
  assert(
    property(
      nat(whole.length - 1),
      integer({ min: 1, max: 255 }),
      constantFrom('change', 'remove', 'add'),
      (position, flip, how) => {
        const byte = Buffer.from(how === 'remove' ? [] : [(whole[position] ?? 0) ^ flip])
        const after = whole.subarray(how === 'add' ? position : position + 1)
        const why = refusalOf(Buffer.concat([whole.subarray(0, position), byte, after]))
        return why.startsWith('VAULT_FILE ') && check().length > 0
      },
    ),
    { numRuns: 300 },
  )
  const edited = [` ${text}`, `${text}\n`, `\uFEFF${text}`, text.replace('github', '\\u0067ithub')]
  edited.push(text.replace('"upgrade"', '"upgrade": false,\n        "upgrade"'))
  for (const one of edited) t.match(refusalOf(one), /line \d+ is not written|no JSON/)
  t.end()
})

t.test('a file that is empty, half, huge or something else is refused', (t) => {
  const { text, refusalOf, file } = makeFile(t)
  t.match(refusalOf(''), /^VAULT_FILE \S+ is damaged or was edited: the file is empty/)
  t.match(refusalOf(text.slice(0, text.length / 2)), /is not complete/)
  t.match(refusalOf('[]'), /must be an object/)
  t.match(refusalOf('null'), /must be an object/)
  t.match(refusalOf('['.repeat(1_000_000)), /no JSON/)
  t.match(refusalOf(Buffer.from([0x22, 0xff, 0x22])), /no UTF-8/)
  t.match(
    refusalOf(text.replace('workspace-vault-1', 'workspace-vault-2')),
    /format must be one of/,
  )
  writeFileSync(file, text)
  truncateSync(file, 16 * 1024 * 1024 + 1)
  t.match(refusalOf(readFileSync(file)), /is longer than 16777216 bytes/)
  t.end()
})

t.test('a link, a folder and a file that is open to others are refused', (t) => {
  const { folder, file } = makeFile(t)
  chmodSync(file, 0o604)
  t.match(refusalHere(folder), /open to others \(mode 0604\); run "chmod 600" on it/)
  chmodSync(file, 0o600)
  renameSync(file, `${file}.real`)
  symlinkSync(`${file}.real`, file)
  t.match(refusalHere(folder), /is a link; put the file itself in its place/)
  rmSync(file)
  mkdirSync(file)
  t.match(refusalHere(folder), /no regular file/)
  rmSync(file, { recursive: true })
  linkSync(`${file}.real`, file)
  chmodSync(folder, 0o770)
  const audit = AuditLog.open(join(temporaryFolder(t), 'log'), {})
  t.throws(
    () => Vault.open({ file, ...KEYS, audit }),
    /^VAULT_FILE .* in a folder that others can write to; run "chmod 700/,
  )
  audit.close()
  chmodSync(folder, 0o700)
  t.equal(refusalHere(folder), '')
  t.end()
})

t.test('the file of another vault, and another master key, are refused', (t) => {
  const { folder, document, refusalOf, text } = makeFile(t)
  t.match(
    refusalHere(folder, { vaultId: 'other' }),
    /belongs to the vault "workspace-of-tests", and this one is "other"/,
  )
  t.match(
    refusalHere(folder, { masterKey: Buffer.alloc(32) }),
    /does not open with this master key/,
  )
  t.match(
    refusalHere(folder, { masterKey: Buffer.alloc(31) }),
    /VAULT_MASTER_KEY must have 32 bytes/,
  )
  const edited = { ...document(), vaultId: 'other' }
  writeFileSync(filesIn(folder).file, textOf(edited as unknown as VaultDocument))
  t.match(refusalHere(folder, { vaultId: 'other' }), /does not open with this master key/)
  t.equal(refusalOf(text), '')
  t.end()
})

t.test('a vault is not made with an id with which it could not be opened again', (t) => {
  for (const vaultId of ['', 'two\nlines', 'a'.repeat(65), 'é'.repeat(2000)]) {
    const { file, auditPath } = filesIn(temporaryFolder(t))
    const audit = AuditLog.open(auditPath)
    t.throws(
      () => Vault.open({ file, ...KEYS, vaultId, audit }),
      /the id of the vault takes 1 to 64/,
    )
    t.equal(audit.last.number, 0)
    audit.close()
    t.notOk(existsSync(file))
  }
  t.end()
})

t.test('a refusal shows no control characters of the file', (t) => {
  const { document, refusalOf } = makeFile(t)
  const edited = { ...document(), '\u001b[2J\u009b\u202e': 1 }
  t.match(refusalOf(JSON.stringify(edited)), /: \?\[2J\?\? is no property of the format/)
  t.end()
})

t.test('a lock that is no lock, and a draft that is a folder, are named', (t) => {
  const { folder, file } = makeFile(t)
  const draft = `${file}.0123456789abcdef.tmp`
  mkdirSync(draft)
  t.match(refusalHere(folder), /^VAULT_FILE \S+ cannot be used \(ERR_FS_EISDIR\)/)
  rmSync(draft, { recursive: true })
  writeFileSync(`${file}.lock`, 'no lock '.repeat(100))
  t.match(refusalHere(folder), /^VAULT_FILE \S+\.lock cannot be used \(ERR_SQLITE_ERROR\)/)
  t.end()
})

t.test('an older file is refused, and so is a file that is gone', (t) => {
  const { folder, file, refusalOf, text } = makeFile(t)
  t.match(
    refusalOf(readFileSync(`${file}.prev`)),
    /is older than the last change \(sequence 5, and the audit log knows 6\).*--accept-older/,
  )
  rmSync(file)
  t.match(refusalHere(folder), /does not exist, although the audit log knows it.*vault restore/)
  t.equal(refusalOf(text), '')
  t.end()
})

t.test('a vault that is open is not opened again', (t) => {
  const { folder } = openVault(t)
  const { file } = filesIn(folder)
  const audit = AuditLog.open(join(temporaryFolder(t), 'log'), {})
  t.throws(() => Vault.open({ file, ...KEYS, audit }), /is in use by another process/)
  audit.close()
  t.end()
})
