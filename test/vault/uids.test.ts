/**
 * What does an agent's user see of the vault? Its own door, and no secret: not in environments, sockets, files or the data folder.
 * The test needs root, because it runs the vault and two agents as users of the machine.
 */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { workspacesSocket } from '../../src/vault/protocol.ts'
import { as, startVaultAs, userOf, whyNotAs, type User } from '../helpers/other-users.ts'
import { MAIN, temporaryFolder } from '../helpers/process.ts'
import { everythingIn, MASTER_KEY_TEXT } from '../helpers/running-vault.ts'
import { startUpstream } from '../helpers/upstream.ts'
import { CREDENTIAL } from '../helpers/vault-entry.ts'

/** Users that every Debian has, and that own nothing: the vault, and the agents coder and ops. */
const [VAULT, CODER, OPS] = ['daemon', 'games', 'mail'].map(userOf)

const AGENT = new URL('../helpers/look-around.ts', import.meta.url).pathname

t.test(
  'under the uid of an agent no secret can be read, and only its own door opens',
  { skip: whyNotAs([VAULT, CODER, OPS]) },
  async (t) => {
    if (VAULT === undefined || CODER === undefined || OPS === undefined) throw new Error('no users')
    const { url } = await startUpstream(t)
    const folder = temporaryFolder(t)
    const sockets = join(folder, 'sockets')
    const vault = await startVaultAs(t, VAULT, {
      ...{ folder, coder: CODER, ops: OPS },
      folders: [
        ['data', 0o700, VAULT.uid, VAULT.gid],
        ['sockets', 0o711, VAULT.uid, VAULT.gid],
        ['sockets/owner', 0o700, VAULT.uid, VAULT.gid],
        ['sockets/coder', 0o2750, VAULT.uid, CODER.gid],
        ['sockets/ops', 0o2750, VAULT.uid, OPS.gid],
      ],
    })
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
