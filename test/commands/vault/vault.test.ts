/** Do the owner's commands ask a real door, say what became of it, and never print or take a credential where others see it? */
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import t from 'tap'
import { vault } from '../../../src/commands/vault.ts'
import type { Environment } from '../../../src/config/load.ts'
import type { Io } from '../../../src/commands/io.ts'
import { AuditLog } from '../../../src/vault/audit/audit-log.ts'
import { addedEntry } from '../../../src/vault/entry-edits.ts'
import { auditPathOf, DEFAULT_VAULT_ID } from '../../../src/vault/protocol.ts'
import { Vault } from '../../../src/vault/vault.ts'
import { runCommand } from '../../helpers/command.ts'
import { answerOf, startScriptedDoor } from '../../helpers/owner-door.ts'
import { temporaryFolder } from '../../helpers/process.ts'
import { anEntry, CREDENTIAL, startTestVault } from '../../helpers/vault-doors.ts'

const NEW = 'another-credential-of-the-test'
const KEY = Buffer.from(Array.from({ length: 32 }, (_, i) => i + 1)).toString('base64')

const run = (env: Environment, args: string, input: string | { isTTY: true } = '') =>
  runCommand(
    async (own: readonly string[], environment: Environment, io: Io) => {
      const stream =
        typeof input === 'string' ? Readable.from([input]) : Object.assign(Readable.from([]), input)
      return (await vault(own, { ...environment }, io, { input: stream })) ?? -1
    },
    args.split(' ').filter((word) => word !== ''),
    env,
  )

t.test('an entry’s life, from its addition to its removal', async (t) => {
  const { sockets, entries } = await startTestVault(t, { entries: [] })
  const env = { VAULT_SOCKETS: sockets }
  t.match(await run(env, 'list'), { code: 0, out: '', err: /: the vault is empty/ })
  t.match(
    await run(
      env,
      'add acme --origin https://api.acme.example --header X-Key:{} --methods get --paths /v1',
      NEW,
    ),
    { code: 0, out: 'acme added\n', err: /vault grant acme AGENT/ },
  )
  t.match(await run(env, 'add github --grant coder,ops --note x', `${CREDENTIAL}\n`), {
    ...{ code: 0, out: 'github added\n', err: '' },
  })
  t.equal(entries.find('github')?.versions[0]?.value.toString(), CREDENTIAL)
  const list = await run(env, 'list')
  t.match(list.out, /^SERVICE +ORIGIN/)
  t.match(list.out, /^github +https:\/\/api\.github\.com .* coder,ops +1 .* in use$/m)
  t.match(JSON.parse((await run(env, 'list --json')).out), [{ service: 'acme' }, { note: 'x' }])
  const show = await run(env, 'show github')
  t.match(show.out, /^slot +authorization: Bearer \{\}$/m)
  t.match(show.out, /^version 1 .*, in use$/m)
  t.match(await run(env, 'rotate github --overlap 10m', NEW), {
    out: 'github uses version 2 now\n',
  })
  t.match(await run(env, 'rotate github --back'), { out: 'github uses version 3 now\n' })
  t.match(await run(env, 'revoke github coder ops'), { code: 0, out: /coder, ops may no longer/ })
  t.match(await run(env, 'grant github ops'), { code: 0, out: 'ops may use github now\n' })
  t.match(await run(env, 'resume github'), { code: 1, err: /not suspended/ })
  t.match(await run(env, 'remove acme'), { code: 0, out: /^acme removed/ })
  t.match(await run(env, 'show acme'), { code: 1, err: /no entry "acme"/ })
  for (const { out } of [list, show]) t.notMatch(out, CREDENTIAL)
})

t.test('an entry of another workspace, and a grant for one', async (t) => {
  const { sockets, entries } = await startTestVault(t, { entries: [], isShared: true })
  const env = { VAULT_SOCKETS: sockets }
  const where = '--kind workspace --origin https://alice.hubify.com'
  const added = await run(env, `add gh ${where} --remote github --grant coder`, 'hub_0123456789ab')
  t.match(added, { code: 0, out: 'gh added\n', err: '' })
  const { policy } = entries.find('gh') ?? {}
  t.match(policy, {
    kind: 'workspace',
    remote: 'github',
    paths: ['/rate_limit', '/repos', '/search'],
  })
  t.match((await run(env, 'show gh')).out, /^remote +github$/m)
  t.match((await run(env, 'list')).out, /^gh +https:\/\/alice\.hubify\.com \(github\) /m)
  t.match(JSON.parse((await run(env, 'list --json')).out), [
    { kind: 'workspace', remote: 'github' },
  ])
  t.match(await run(env, 'grant gh research/*'), { code: 1, err: /not shared on/ })
  t.match(await run(env, 'add github --grant coder,research/*', NEW), { code: 0 })
  t.notMatch((await run(env, 'show github')).out, /^remote/m)
  t.match(await run(env, 'revoke github research/*'), {
    code: 0,
    out: /research\/\* may no longer/,
  })
  t.match(await run(env, 'grant github research/* lab/*'), { code: 0 })
  t.same(entries.find('github')?.policy.grants, ['coder', 'lab/*', 'research/*'])
  t.match(await run(env, 'add x --remote github', NEW), { code: 1, err: /remote \(--remote\)/ })
})

t.test('a credential comes from standard input, and not from a terminal', async (t) => {
  const { sockets, entries } = await startTestVault(t, { entries: [] })
  const env = { VAULT_SOCKETS: sockets }
  t.match(await run(env, 'add github', { isTTY: true }), {
    ...{ code: 64, out: '', err: /a terminal would show it; give it a file/ },
  })
  t.match(await run(env, 'add github', 'x'.repeat(5000)), { code: 1, err: /more than the 4096/ })
  await t.rejects(run(env, `add github --value ${NEW}`), { code: 'ERR_PARSE_ARGS_UNKNOWN_OPTION' })
  const argument = await run(env, `add github ${NEW}`)
  t.match(argument, { code: 64, err: /the credential from standard input/ })
  t.notMatch(argument.err, NEW)
  const bad = await run(env, 'add github --grant mallory --methods fetch', `${NEW} x`)
  t.match(bad, {
    code: 1,
    err: /"FETCH" is no method.*"mallory" is no agent.*value has a space/,
  })
  t.notMatch(bad.err, NEW)
  t.same(entries.entries(), [])
})

t.test('the audit log is shown, and a backup written once', async (t) => {
  const { sockets, owner, coder } = await startTestVault(t)
  const env = { VAULT_SOCKETS: sockets }
  const lease = await run(env, `lease github --ttl 60s --methods get --socket ${coder}`)
  t.match(lease, {
    code: 0,
    out: /^hvl_[A-Za-z0-9]{32}\n$/,
    err: /valid until [^ ]+, at the agent's socket, path \/s\/github\/… /,
  })
  t.match(await run(env, `lease github --socket ${join(sockets, 'ops/agent.sock')}`), {
    ...{ code: 1, err: /"ops" has no grant for "github"; .*vault grant github ops/ },
  })
  t.match(JSON.parse((await run(env, `lease github --json --socket ${coder}`)).out), { env: {} })
  t.match((await run({}, `audit --socket ${owner}`)).out, /coder +lease +github/)
  t.match(JSON.parse((await run(env, 'audit --json --limit 1')).out), [{ op: 'lease' }])
  t.match(await run(env, 'audit --limit 0'), { code: 64 })
  const file = join(temporaryFolder(t), 'backup')
  t.match(await run(env, `backup ${file}`), { code: 0 })
  t.equal(readFileSync(file, 'utf8'), '{"sealed":true}\n')
  t.equal(statSync(file).mode & 0o777, 0o600)
  t.match(await run(env, `backup ${file}`), { code: 1, err: /exists/ })
})

t.test('without a vault it says so', async (t) => {
  const socket = join(temporaryFolder(t), 'none.sock')
  t.match(await run({}, `list --socket ${socket}`), { code: 69, err: /no vault runs/ })
  t.match(await run({}, `lease github --socket ${socket}`), { code: 69, err: /no vault runs/ })
  t.match(await run({ VAULT_SOCKETS: 'relative' }, 'list'), { code: 78, err: /VAULT_SOCKETS/ })
})

t.test('what answers in the place of a vault controls no terminal', async (t) => {
  const detail = 'one\u001b[2J\u202e\ntwo'
  const refusing = await startScriptedDoor(t, () => answerOf({ detail }, '400 Bad Request'))
  t.match(await run({ VAULT_SOCKETS: refusing.sockets }, 'list'), {
    ...{ code: 1, out: '' },
    err: 'workspace-gateway: one\\u{1b}[2J\\u{202e}\ntwo\n',
  })
  const other = await startScriptedDoor(
    t,
    () => 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\u001b[2J',
  )
  const answered = await run({ VAULT_SOCKETS: other.sockets }, 'list')
  t.match(answered, { code: 69, out: '', err: /owner\.sock: what answers there is no vault\n$/ })
})

t.test('wrong usage', async (t) => {
  for (const args of [
    'dance',
    'show',
    'show a b',
    'rotate x --back --overlap 1m',
    'rotate x --overlap soon',
    'grant github',
    'rekey',
    'audit again',
    'restore',
    'add x --header a --basic b',
  ])
    t.match(await run({}, args), { code: 64, err: /help vault/ }, args)
  t.match(await run({}, 'lst'), { code: 64, err: /did you mean "vault list"\?/ })
})

/** A vault's file with one entry, and the settings for it. No process has it open. */
function startFile(t: Parameters<typeof temporaryFolder>[0]) {
  const folder = temporaryFolder(t)
  const env = {
    VAULT_FILE: join(folder, 'vault', '.vault.enc'),
    VAULT_STATE_DIR: join(folder, 'vault'),
    VAULT_SOCKETS: join(folder, 'sockets'),
    VAULT_MASTER_KEY: KEY,
  }
  const open = () => {
    const audit = AuditLog.open(auditPathOf(env.VAULT_STATE_DIR), {})
    const masterKey = Buffer.from(KEY, 'base64')
    const kept = Vault.open({ file: env.VAULT_FILE, masterKey, vaultId: DEFAULT_VAULT_ID, audit })
    return {
      kept,
      close() {
        kept.close()
        audit.close()
      },
    }
  }
  const made = open()
  const { policy } = anEntry()
  made.kept.change({ op: 'add', service: 'github' }, () =>
    addedEntry(policy, Buffer.from(CREDENTIAL), Date.now()),
  )
  made.close()
  return { env, folder, open }
}

t.test('check names what is wrong, with no vault running', async (t) => {
  const { env } = startFile(t)
  t.match(await run(env, 'check'), { code: 0, out: /opens with the key/, err: '' })
  t.match(await run(env, 'audit verify'), { code: 0, out: /^\d+ rows, each as it was written\n$/ })
  const other = Buffer.alloc(32, 'another key').toString('base64')
  t.match(await run({ ...env, VAULT_MASTER_KEY: other }, 'check'), { code: 78, err: /not sound/ })
  t.match(await run({ ...env, VAULT_PORT: 'x' }, 'check'), { code: 78, err: /VAULT_PORT "x"/ })
  const content = readFileSync(env.VAULT_FILE, 'utf8')
  writeFileSync(env.VAULT_FILE, content.replace('https://api.github.com', 'https://evil.example'))
  t.match(await run(env, 'check'), { code: 78, err: /entry "github"/ })
  writeFileSync(env.VAULT_FILE, content)
  const log = auditPathOf(env.VAULT_STATE_DIR)
  const lines = readFileSync(log, 'utf8').split('\n')
  const [first = ''] = lines
  const anchor = (JSON.parse(first) as { hash: string }).hash
  t.match(await run(env, `audit verify --anchor 1:${anchor.toUpperCase()}`), {
    code: 0,
    out: /as it was written, with the hash of every anchor\n$/,
  })
  t.match(await run(env, `audit verify --anchor 2:${anchor}`), {
    code: 1,
    err: /line 2: row 2 has/,
  })
  t.match(await run(env, `audit verify --anchor 1:${anchor} --anchor 1:${'0'.repeat(64)}`), {
    ...{ code: 64, err: /given twice for row 1/ },
  })
  t.match(await run(env, `audit verify --anchor ${anchor}`), { code: 64, err: /is not ROW:HASH/ })
  t.match(await run(env, `audit --anchor 1:${anchor}`), { code: 64, err: /audit verify/ })
  writeFileSync(log, lines.slice(1).join('\n'))
  t.match(await run(env, 'check'), { code: 0, err: /the audit log begins with row 2/ })
  t.match(await run(env, 'audit verify'), { code: 1, err: /--anchor 1:HASH/ })
  writeFileSync(log, lines.join('\n'))
  writeFileSync(log, readFileSync(log, 'utf8').replace('"github"', '"gitlab"'))
  t.match(await run(env, 'audit verify'), { code: 1, err: /line \d+: the row was changed/ })
  t.match(await run(env, 'check'), { code: 78, err: /the audit log .+, line \d+/ })
})

t.test('check finds what the vault would not start with: an older file, or none', async (t) => {
  const { env, open } = startFile(t)
  const old = readFileSync(env.VAULT_FILE)
  const opened = open()
  opened.kept.change({ op: 'remove', service: 'github' }, () => undefined)
  opened.close()
  writeFileSync(env.VAULT_FILE, old)
  t.match(await run(env, 'check'), { code: 78, err: /older than the last change/ })
  rmSync(env.VAULT_FILE)
  t.match(await run(env, 'check'), { code: 78, err: /VAULT_FILE .* does not exist/ })
  rmSync(auditPathOf(env.VAULT_STATE_DIR))
  t.match(await run(env, 'check'), { code: 0, out: /the first start of the vault makes it/ })
})

t.test('a backup is restored, an older one only when asked for', async (t) => {
  const { env, folder, open } = startFile(t)
  const old = join(folder, 'old')
  writeFileSync(old, readFileSync(env.VAULT_FILE))
  const opened = open()
  opened.kept.change({ op: 'remove', service: 'github' }, () => undefined)
  opened.close()
  t.match(await run(env, `restore ${old}`), { code: 1, err: /older.*--accept-older/s })
  t.match(await run(env, `restore ${old} --accept-older`), { code: 0, out: /restored/ })
  const again = open()
  t.ok(again.kept.find('github'))
  again.close()
  t.match(await run(env, `restore ${join(folder, 'none')}`), { code: 1, err: /ENOENT/ })
  writeFileSync(old, 'no backup')
  const damaged = await run(env, `restore ${old}`)
  t.match(damaged, { code: 1, err: `the backup ${old} is damaged` })
  t.notMatch(damaged.err, 'VAULT_FILE', 'which is sound')
})

t.test('rekey takes the new key from a file, and says what is to be done', async (t) => {
  const { sockets, entries } = await startTestVault(t)
  const env = { VAULT_SOCKETS: sockets }
  const file = join(temporaryFolder(t), 'key')
  t.match(await run(env, `rekey --new-key-file ${file}`), { code: 1, err: /ENOENT/ })
  writeFileSync(file, 'no key')
  t.match(await run(env, `rekey --new-key-file ${file}`), { code: 1, err: /is not 32 bytes/ })
  writeFileSync(file, `${KEY}\n`)
  t.match(await run(env, `rekey --new-key-file ${file}`), { code: 0, out: /at its next start/ })
  t.equal(entries.rekeyed[0]?.toString('base64'), KEY)
  t.ok(existsSync(file))
})
