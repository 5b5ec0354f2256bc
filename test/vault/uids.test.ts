/**
 * What does an agent's user see of the vault? Its own door, and no secret: not in environments, sockets, files or the data folder.
 * The test needs root, because it runs the vault and two agents as users of the machine.
 */
import { spawn, spawnSync } from 'node:child_process'
import { chmodSync, chownSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { workspacesSocket } from '../../src/vault/protocol.ts'
import { MAIN, temporaryFolder, watch } from '../helpers/process.ts'
import { everythingIn, MASTER_KEY_TEXT, startRunningVault } from '../helpers/running-vault.ts'
import { startUpstream } from '../helpers/upstream.ts'
import { CREDENTIAL } from '../helpers/vault-entry.ts'

/** Users that every Debian has, and that own nothing: the vault, and the agents coder and ops. */
const [VAULT, CODER, OPS] = ['daemon', 'games', 'mail'].map(userOf)

const AGENT = new URL('../helpers/look-around.ts', import.meta.url).pathname

/** Root alone may be another user, and other users must be able to read this checkout, which may be in a folder of root. */
const canSwitch =
  process.getuid?.() === 0 &&
  [VAULT, CODER, OPS].every(
    (user) =>
      user !== undefined &&
      spawnSync('setpriv', [...as(user), process.execPath, MAIN, 'version']).status === 0,
  )

t.test(
  'under the uid of an agent no secret can be read, and only its own door opens',
  {
    skip: canSwitch
      ? false
      : 'needs root, setpriv, the users of Debian, and a checkout that they can read',
  },
  async (t) => {
    if (VAULT === undefined || CODER === undefined || OPS === undefined) throw new Error('no users')
    const { url } = await startUpstream(t)
    const folder = temporaryFolder(t)
    chmodSync(folder, 0o755)
    const sockets = join(folder, 'sockets')
    for (const [path, mode, owner, group] of [
      ['data', 0o700, VAULT.uid, VAULT.gid],
      ['sockets', 0o711, VAULT.uid, VAULT.gid],
      ['sockets/owner', 0o700, VAULT.uid, VAULT.gid],
      ['sockets/coder', 0o2750, VAULT.uid, CODER.gid],
      ['sockets/ops', 0o2750, VAULT.uid, OPS.gid],
    ] as const) {
      mkdirSync(join(folder, path))
      chownSync(join(folder, path), owner, group)
      chmodSync(join(folder, path), mode)
    }
    const vault = await startRunningVault(
      t,
      {
        VAULT_FILE: join(folder, 'data/.vault.enc'),
        VAULT_STATE_DIR: join(folder, 'data'),
        VAULT_SOCKETS: sockets,
        VAULT_AGENTS: `coder:${CODER.uid},ops:${OPS.uid}`,
      },
      (env) =>
        watch(
          t,
          spawn(
            'setpriv',
            [...as(VAULT), 'env', '-u', 'NODE_OPTIONS', process.execPath, MAIN, 'vault'],
            {
              env,
              stdio: ['ignore', 'pipe', 'pipe'],
            },
          ),
        ),
    )
    await vault.add(url)
    const lease = await vault.lease()
    const { pid } = vault.program
    t.match(readFileSync(`/proc/${pid}/status`, 'utf8'), new RegExp(`^Uid:\\t${VAULT.uid}\\t`, 'm'))

    const doors = [vault.owner, workspacesSocket(sockets), vault.coder, vault.ops]
    const lookAs = (user: User): Seen => {
      const args = [...as(user), process.execPath, AGENT, folder, String(pid), ...doors]
      const looked = spawnSync('setpriv', args, {
        ...{ encoding: 'utf8', maxBuffer: 256 * 1024 * 1024, timeout: 30_000, env: {} },
      })
      t.equal(looked.status, 0, looked.stderr)
      return JSON.parse(looked.stdout) as Seen
    }
    const all = lookAs(VAULT)
    t.same(all.opened, doors, 'the user of the vault opens every door')
    t.ok(all.readFiles.length >= 2, 'it reads the files')
    t.match(all.text, MASTER_KEY_TEXT, 'and the environment with which the vault was started')
    for (const [user, own] of [
      [CODER, vault.coder],
      [OPS, vault.ops],
    ] as const) {
      const { opened, readFiles, text } = lookAs(user)
      t.same(opened, [own], `${user.name} opens its own door alone`)
      t.same(readFiles, [], `${user.name} reads no file of the vault`)
      // With neither VAULT_AGENTS nor a list of the folder, and a user's name that is not the agent's.
      const command = [process.execPath, MAIN, 'vault', 'lease', 'github']
      const { stdout, stderr } = spawnSync('setpriv', [...as(user), ...command], {
        ...{ encoding: 'utf8', env: { VAULT_SOCKETS: sockets } },
      })
      if (user === CODER) t.match(stdout, /^hvl_\w+\n$/, 'it finds its door')
      else t.match(stderr, /agent "ops" has no grant for "github"/, 'it finds its door')
      for (const secret of [CREDENTIAL, MASTER_KEY_TEXT, lease]) t.notMatch(text, secret)
    }
    const kept = everythingIn(join(folder, 'data')) + vault.program.stdout()
    for (const secret of [CREDENTIAL, MASTER_KEY_TEXT, lease])
      for (const form of [
        secret,
        Buffer.from(secret)
          .toString('base64')
          .replace(/.{2}=*$/, ''),
      ])
        t.notMatch(kept, form, 'root finds no secret in what the vault has written')
  },
)

interface Seen {
  readonly opened: readonly string[]
  readonly readFiles: readonly string[]
  /** Everything that could be read. */
  readonly text: string
}

interface User {
  readonly name: string
  readonly uid: number
  readonly gid: number
}

function userOf(name: string): User | undefined {
  const found = new RegExp(`^${name}:[^:]*:(\\d+):(\\d+):`, 'm').exec(
    readFileSync('/etc/passwd', 'utf8'),
  )
  return found === null ? undefined : { name, uid: Number(found[1]), gid: Number(found[2]) }
}

function as({ uid, gid }: User): string[] {
  return [`--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', '--no-new-privs']
}
