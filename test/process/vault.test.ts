/** How does the vault start, refuse to start, and stop? */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { emptyEnvironment } from '../../src/process/run-vault.ts'
import { auditPathOf, ownerSocket } from '../../src/vault/protocol.ts'
import { MAIN, runBare, temporaryFolder, type Program } from '../helpers/process.ts'
import { ask, CREDENTIAL, leaseAt } from '../helpers/vault-doors.ts'

type Tap = Parameters<typeof runBare>[0]

const KEY = Buffer.from(Array.from({ length: 32 }, (_, i) => i + 1)).toString('base64')

function settings(t: Tap) {
  const folder = temporaryFolder(t)
  return {
    VAULT_FILE: join(folder, 'data', '.vault.enc'),
    VAULT_STATE_DIR: join(folder, 'data'),
    VAULT_SOCKETS: join(folder, 'sockets'),
    VAULT_AGENTS: 'coder:4001,ops:4002',
    VAULT_MASTER_KEY: KEY,
  }
}

const start = (t: Tap, env: Record<string, string>): Program => runBare(t, ['vault'], env)

t.test('it starts with nothing, keeps what it was given, and stops', async (t) => {
  const env = { ...settings(t), VAULT_PORT: '0', UNRELATED_SECRET: 'hunter2' }
  const first = start(t, env)
  t.match(await first.logged('keeping the vault'), { agents: ['coder', 'ops'] })
  t.match(await first.logged('anchor of the audit log'), { row: Number, hash: /^[0-9a-f]{64}$/ })
  const owner = ownerSocket(env.VAULT_SOCKETS)
  const added = await ask(owner, {
    ...{ method: 'POST', path: '/v1/entries' },
    body: { service: 'github', value: CREDENTIAL, grants: ['coder'] },
  })
  t.equal(added.status, 201)
  t.match(await leaseAt(join(env.VAULT_SOCKETS, 'coder', 'agent.sock')), /^hvl_/)
  t.match((await ask(owner, { path: '/v1/status' })).json, { entries: 1, port: Number })
  first.child.kill('SIGHUP')
  await first.logged('nothing to be done on SIGHUP for the vault')
  first.child.kill('SIGTERM')
  t.equal(await first.exited, 0)
  t.notOk(existsSync(owner))
  t.equal(statSync(env.VAULT_FILE).mode & 0o777, 0o600)
  t.notMatch(readFileSync(env.VAULT_FILE, 'utf8'), CREDENTIAL)
  t.notMatch(first.stdout(), CREDENTIAL)

  const second = start(t, env)
  await second.logged('keeping the vault')
  t.match((await ask(owner, { path: '/v1/entries' })).json, { entries: [{ service: 'github' }] })
  const { json } = await ask(owner, { path: '/v1/audit' })
  t.match((json['rows'] as object[])[0], { op: 'start', reason: 'running' })
})

t.test('one vault alone has the file and the doors', async (t) => {
  const env = settings(t)
  const first = start(t, env)
  await first.logged('keeping the vault')
  const second = start(t, env)
  t.equal(await second.exited, 69)
  t.match(second.stderr(), /^workspace-gateway: VAULT_SOCKETS ".+" is in use: another vault/)
  const restore = runBare(t, ['vault', 'restore', env.VAULT_FILE], env)
  t.equal(await restore.exited, 69)
  t.match(restore.stderr(), /a vault runs; stop it first/)
  t.ok(existsSync(ownerSocket(env.VAULT_SOCKETS)), 'the first one keeps them')
  const taken = createServer().listen(0, '127.0.0.1')
  t.teardown(() => taken.close())
  await once(taken, 'listening')
  const { port } = taken.address() as AddressInfo
  const third = start(t, { ...settings(t), VAULT_PORT: String(port) })
  t.equal(await third.exited, 69)
  t.match(third.stderr(), /: VAULT_PORT \d+ is taken by another process\n$/)
})

t.test('one that was killed is replaced', async (t) => {
  const env = settings(t)
  const killed = start(t, env)
  await killed.logged('keeping the vault')
  killed.child.kill('SIGKILL')
  await killed.exited
  await start(t, env).logged('keeping the vault')
})

t.test('it does not start, and says everything that is wrong', async (t) => {
  const env = settings(t)
  for (const [change, problems] of [
    [{ VAULT_PORT: 'x', VAULT_AGENTS: 'x' }, [/VAULT_PORT "x"/, /VAULT_AGENTS/]],
    [
      { NODE_EXTRA_CA_CERTS: '/x', https_proxy: 'http://p' },
      [/VAULT_EXTRA_CA_FILE/, /https_proxy/],
    ],
    [{ VAULT_EXTRA_CA_FILE: MAIN }, [/VAULT_EXTRA_CA_FILE ".+" has no certificate/]],
    [{ VAULT_EXTRA_CA_FILE: '/none' }, [/VAULT_EXTRA_CA_FILE "\/none" cannot be read \(ENOENT\)/]],
    [{ VAULT_MASTER_KEY_FD: '900' }, [/are set; keep one/]],
  ] as const) {
    const refused = start(t, { ...env, ...change })
    t.equal(await refused.exited, 78, JSON.stringify(change))
    for (const problem of problems) t.match(refused.stderr(), problem)
    t.notMatch(refused.stderr(), /\n\s+at /)
  }
  t.notOk(existsSync(ownerSocket(env.VAULT_SOCKETS)))
})

t.test('a file that was changed, or another key, is no vault', async (t) => {
  const env = settings(t)
  const first = start(t, env)
  await first.logged('keeping the vault')
  first.child.kill('SIGTERM')
  await first.exited
  const other = Buffer.alloc(32, 'another key').toString('base64')
  const wrong = start(t, { ...env, VAULT_MASTER_KEY: other })
  t.equal(await wrong.exited, 78)
  t.match(wrong.stderr(), /VAULT_FILE/)
  writeFileSync(env.VAULT_FILE, '{}')
  const damaged = start(t, env)
  t.equal(await damaged.exited, 78)
  t.match(damaged.stderr(), /VAULT_FILE/)
  const warned = { ...env, VAULT_AGENTS: `coder:${process.getuid?.()}` }
  const script = 'unset NODE_OPTIONS; exec "$0" "$1" vault 2>&1'
  const { stdout } = spawnSync('sh', ['-c', script, process.execPath, MAIN], { env: warned })
  const lines = stdout.toString().trimEnd().split('\n')
  t.match(lines[0], /"warn"/)
  t.match(lines.at(-1), /VAULT_FILE/, 'the reason comes last, where a supervisor looks for it')
  t.ok(existsSync(auditPathOf(env.VAULT_STATE_DIR)))
})

t.test('nothing stays in its environment but what Node and the C library read', async (t) => {
  const env: Record<string, string | undefined> = {
    ...{ PATH: '/bin', TZ: 'UTC', VAULT_MASTER_KEY: KEY, AWS_SECRET: 'x', GATEWAY_JWT_SECRET: 'x' },
  }
  emptyEnvironment(env)
  t.same(env, { PATH: '/bin', TZ: 'UTC' })
})
