/**
 * Is the state folder writable, and for this user alone? A test file and the modes of its files tell. Are sessions and API
 * tokens kept in it? Their file and the running gateway tell.
 */
import { readdirSync, rmSync, statSync, writeFileSync, type Stats } from 'node:fs'
import { basename, join } from 'node:path'
import { codeOf } from '../../answers/errors.ts'
import { terminalCredentialFile } from '../../terminals/terminal-credential.ts'
import { askAdmin } from '../../admin/ask.ts'
import { octal } from '../advice.ts'
import { damageText, lookAtState } from '../state-look.ts'
import type { Examination } from './examination.ts'
import { fail, pass, skip, warn, type Finding } from './finding.ts'

const PRIVATE = 'state-folder-private'
const WRITABLE = 'state-folder-writable'
const KEPT = 'state-kept'

/** Permission bits of group and others. */
const OTHERS = 0o077

export async function examineStateFolder({ config }: Examination): Promise<Finding[]> {
  const { stateDir } = config
  let folder: Stats
  try {
    folder = statSync(stateDir)
  } catch (error) {
    return codeOf(error) === 'ENOENT'
      ? [
          warn(
            PRIVATE,
            `${stateDir} does not exist`,
            'the gateway makes it when it starts; if it runs already, its log says why it could not',
          ),
          skip(WRITABLE, 'there is no state folder yet'),
          skip(KEPT, 'there is no state folder yet'),
        ]
      : [
          fail(
            PRIVATE,
            `${stateDir} cannot be looked at (${codeOf(error)})`,
            'run this as the user that runs the gateway',
          ),
          skip(WRITABLE, 'the state folder cannot be looked at'),
          skip(KEPT, 'the state folder cannot be looked at'),
        ]
  }
  if (!folder.isDirectory()) {
    return [
      fail(PRIVATE, `${stateDir} is not a folder`, 'set GATEWAY_STATE_DIR to a folder'),
      skip(WRITABLE, 'there is no state folder'),
      skip(KEPT, 'there is no state folder'),
    ]
  }
  return [
    examinePrivacy(stateDir, folder),
    examineWriting(stateDir, folder),
    examineState(stateDir, await healthOf(stateDir)),
  ]
}

function examinePrivacy(stateDir: string, { mode }: Stats): Finding {
  if ((mode & OTHERS) !== 0) {
    return fail(
      PRIVATE,
      `${stateDir} is open to other users of this machine (mode ${octal(mode)})`,
      `chmod 700 ${stateDir}, and change what lay open in it: the terminal's credential first`,
    )
  }
  const open = readdirSafely(stateDir).filter((name) => isOpenFile(join(stateDir, name)))
  if (open.length > 0) {
    return fail(
      PRIVATE,
      `files in ${stateDir} are open to other users: ${open.slice(0, 5).join(', ')}`,
      open.includes(basename(terminalCredentialFile(stateDir)))
        ? 'chmod 600 them; "workspace-gateway terminal-credential --rotate" makes a password that nobody has read'
        : 'chmod 600 them',
    )
  }
  return pass(PRIVATE, `${stateDir} has mode ${octal(mode)}`)
}

/** Writes a file, because a full disk and a read-only one have the right modes too. */
function examineWriting(stateDir: string, { uid }: Stats): Finding {
  const probe = join(stateDir, `.doctor-${process.pid}`)
  try {
    writeFileSync(probe, 'x', { flag: 'wx', mode: 0o600 })
  } catch (error) {
    const code = codeOf(error)
    const remedies: Record<string, string> = {
      ENOSPC: 'free some space on that disk',
      EDQUOT: 'free some space on that disk',
      EROFS: 'mount that disk for writing',
    }
    return fail(
      WRITABLE,
      `${stateDir} cannot be written to (${code})`,
      remedies[code] ?? `give it to the user that runs the gateway: chown -R USER ${stateDir}`,
    )
  } finally {
    rmSync(probe, { force: true })
  }
  const own = process.geteuid?.()
  return pass(
    WRITABLE,
    own === undefined || own === uid
      ? `${stateDir} can be written to`
      : `${stateDir} can be written to by this user (${own}); it belongs to user ${uid}`,
  )
}

/** What the running gateway says of its state; undefined when none runs with this folder. */
async function healthOf(stateDir: string): Promise<string | undefined> {
  try {
    const { body } = await askAdmin(stateDir, '/status')
    const { state } = JSON.parse(body) as { state?: { health?: string } }
    return state?.health
  } catch {
    return undefined // other questions find out why
  }
}

/** Looks at the file with the sessions and API tokens, and asks the gateway whether it can write it. */
function examineState(stateDir: string, health: string | undefined): Finding {
  const look = lookAtState(stateDir)
  if (look.kind === 'newer') return fail(KEPT, look.why, 'start the program that wrote it')
  if (look.kind === 'damaged')
    return fail(
      KEPT,
      `the state in ${stateDir} is damaged: ${look.why}`,
      'restart the gateway, which moves it aside and begins a new one; then "workspace-gateway state restore FILE", if there is a backup. When its mode alone was changed, and nobody else has written it, chmod 600 it before the restart, which then keeps it',
    )
  if (health === 'unsaved' || health === 'unavailable')
    return fail(
      KEPT,
      'the gateway cannot write its state: one-time sign-ins are refused, and revocations are kept in memory alone',
      'its log says why; free some space on that disk, or make it writable: the gateway then goes on by itself',
    )
  if (look.kind === 'unreadable')
    return skip(KEPT, `the state in ${stateDir} cannot be looked at: ${look.why}`)
  if (look.kind === 'none' && (health === 'ok' || health === 'damaged'))
    return fail(
      KEPT,
      'the state file was deleted while the gateway runs: sessions, API tokens and revocations are in memory alone',
      'restart the gateway, which begins a new one: everybody signs in again; then make new API tokens, or "workspace-gateway state restore FILE" while it is stopped',
    )
  if (look.kind === 'none') return pass(KEPT, 'nobody has signed in yet')
  if (look.damage !== undefined)
    return warn(
      KEPT,
      `the state in ${stateDir}: ${damageText(look.damage)}`,
      'stop the gateway and run "workspace-gateway state restore FILE", or make new API tokens; the next start forgets this line',
    )
  return pass(KEPT, `sessions and API tokens are kept, by workspace-gateway ${look.writtenBy}`)
}

function readdirSafely(path: string): string[] {
  try {
    return readdirSync(path)
  } catch {
    return []
  }
}

function isOpenFile(path: string): boolean {
  try {
    const { mode } = statSync(path)
    return (mode & OTHERS) !== 0
  } catch {
    return false
  }
}
