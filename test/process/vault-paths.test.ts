/** Does the vault refuse a path that it cannot use, in a sentence that names the setting, with exit code 78 and nothing left open? */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { ownerSocket } from '../../src/vault/protocol.ts'
import { MAIN, runBare, temporaryFolder, watch } from '../helpers/process.ts'
import { MASTER_KEY_TEXT } from '../helpers/running-vault.ts'

const PATHS = ['VAULT_FILE', 'VAULT_STATE_DIR', 'VAULT_SOCKETS'] as const

function settings(folder: string) {
  return {
    VAULT_FILE: join(folder, 'data', '.vault.enc'),
    VAULT_STATE_DIR: join(folder, 'state'),
    VAULT_SOCKETS: join(folder, 'sockets'),
    VAULT_AGENTS: 'coder:4001',
    VAULT_MASTER_KEY: MASTER_KEY_TEXT,
  }
}

/** Starts a vault with each path setting below a folder that cannot be used, and asserts that it is refused. */
async function assertRefused(t: Test, below: string, why: RegExp, start = runBare): Promise<void> {
  for (const name of PATHS) {
    const folder = temporaryFolder(t)
    const env = { ...settings(folder), [name]: join(below, 'deep', 'er') }
    const vault = start(t, ['vault'], env)
    t.equal(await vault.exited, 78, name)
    t.match(vault.stderr(), why, name)
    t.match(vault.stderr(), name)
    t.notMatch(vault.stdout(), 'keeping the vault')
    t.notOk(existsSync(ownerSocket(env.VAULT_SOCKETS)), 'no door is left')
  }
}

t.test('where no folders can be made', (t) =>
  assertRefused(t, '/proc', /\/proc\/deep.* cannot be made: .*\(E[A-Z]+\)/),
)

t.test('through a file', async (t) => {
  const file = join(temporaryFolder(t), 'file')
  writeFileSync(file, 'as it was')
  await assertRefused(t, file, /a file is where a folder must be \(ENOTDIR\)/)
})

t.test('through a link that leads nowhere', async (t) => {
  const folder = temporaryFolder(t)
  symlinkSync(join(folder, 'nothing'), join(folder, 'link'))
  await assertRefused(t, join(folder, 'link'), /a link that leads nowhere/)
  t.same(readdirSync(folder), ['link'])
})

t.test('through links that lead in a circle', async (t) => {
  const link = join(temporaryFolder(t), 'link')
  symlinkSync(link, link)
  await assertRefused(t, link, /links lead in a circle/)
})

const mounts = ['-rm', 'sh', '-c', 'mount -t tmpfs -o ro tmpfs "$1" && shift && exec "$@"', 'sh']
const canMount = spawnSync('unshare', [...mounts, '/mnt', 'true']).status === 0

t.test(
  'on a file system that cannot be written',
  { skip: canMount ? false : 'needs unshare and mount' },
  async (t) => {
    const folder = join(temporaryFolder(t), 'mount')
    mkdirSync(folder)
    await assertRefused(
      t,
      folder,
      /the file system there cannot be written \(EROFS\)/,
      (t, args, env) => {
        const command = ['env', '-u', 'NODE_OPTIONS', process.execPath, MAIN, ...args]
        const stdio = ['ignore', 'pipe', 'pipe'] as const
        return watch(
          t,
          spawn('unshare', [...mounts, folder, ...command], { env, stdio: [...stdio] }),
        )
      },
    )
  },
)

t.test('certificates in a pipe, which would be waited for without an end', async (t) => {
  const folder = temporaryFolder(t)
  const pipe = join(folder, 'pipe')
  spawnSync('mkfifo', [pipe])
  const vault = runBare(t, ['vault'], { ...settings(folder), VAULT_EXTRA_CA_FILE: pipe })
  t.equal(await vault.exited, 78)
  t.match(vault.stderr(), /VAULT_EXTRA_CA_FILE .*it is no regular file/)
})
