/**
 * Can anybody but the vault's user reach its files, and anybody but an agent its door? Owners and modes say, as the vault reports them,
 * because no other user may look at most of them.
 */
import { selfCheck, type OwnPath, type PathRole } from '../../vault/self-check.ts'
import { fail, pass, skip, warn, type Finding, type Verdict } from './finding.ts'
import { readUsers } from './users.ts'
import type { Scene } from './vault-scene.ts'

/** The names of the checks. */
export const FILES = 'vault-files-private'
export const DOORS = 'vault-doors-private'

const OTHERS = 0o077
const WORLD = 0o007
const GROUP = 0o070
const GROUP_MAY_WRITE = 0o020
const WRITABLE_BY_OTHERS = 0o022
const WORLD_MAY_ENTER = 0o001
const SETGID = 0o2000
const STICKY = 0o1000
const ROOT = 0

/** A path that is there. */
type Found = OwnPath & { readonly found: NonNullable<OwnPath['found']> }

interface Problem {
  readonly verdict: Exclude<Verdict, 'pass' | 'skip'>
  readonly text: string
  readonly remedy: string
}

type Judge = (path: Found, scene: Scene) => Problem | undefined

const PRIVATE_FILE: Judge = (path, scene) =>
  wrongKind(path, 'file') ?? wrongOwner(path, scene) ?? openToOthers(path, 600)

const DATA_FOLDER: Judge = (path, scene) =>
  wrongKind(path, 'folder') ?? wrongOwner(path, scene) ?? openToOthers(path, 700)

/** What each path must be like. */
const JUDGES: Readonly<Record<PathRole, Judge>> = {
  file: PRIVATE_FILE,
  previous: PRIVATE_FILE,
  audit: PRIVATE_FILE,
  'key-file': PRIVATE_FILE,
  'file-folder': DATA_FOLDER,
  'state-folder': DATA_FOLDER,
  above: judgeAbove,
  doors: judgeDoors,
  'owner-folder': (path, scene) => judgeDoorFolder(path, scene) ?? judgeOwnerGroup(path, scene),
  'agent-folder': (path, scene) => judgeDoorFolder(path, scene) ?? judgeAgentGroup(path, scene),
  'owner-socket': judgeSocket,
  'agent-socket': judgeSocket,
}

const DOOR_ROLES: ReadonlySet<PathRole> = new Set([
  ...(['doors', 'owner-folder', 'owner-socket', 'agent-folder', 'agent-socket'] as const),
])

/** Paths without which the vault works. A key's file may be away until the next start, and `.prev` comes with the first change. */
const MAY_BE_MISSING: ReadonlySet<PathRole> = new Set(['previous', 'key-file'])

/** So many faults are named for one check. */
const MAX_NAMED = 5

/** Judges all paths. */
export function judgePaths(scene: Scene): Finding[] {
  const { paths } = scene.self
  return [
    ...judgeSome(FILES, { paths: paths.filter(({ role }) => !DOOR_ROLES.has(role)), scene }),
    ...judgeSome(DOORS, { paths: paths.filter(({ role }) => DOOR_ROLES.has(role)), scene }),
  ]
}

/**
 * What "workspace-gateway vault check" says of paths, in doctor's words. It judges the file itself and the key's file elsewhere, and
 * what is not there may come with the next start.
 */
export function pathWarnings(config: Parameters<typeof selfCheck>[0]): string[] {
  const self = selfCheck(config)
  const scene = {
    ...{ self, vault: self.uid, gateway: undefined, agents: self.agents, users: readUsers() },
    ...{ services: [], proc: '', isOneUser: false },
  }
  const paths = self.paths.filter(
    ({ role, found }) => found !== null && role !== 'file' && role !== 'key-file',
  )
  return problemsOf(paths, scene).map(({ text, remedy }) => `${text}; ${remedy}`)
}

function judgeSome(
  check: string,
  { paths, scene }: { readonly paths: readonly OwnPath[]; readonly scene: Scene },
): Finding[] {
  if (paths.length === 0) return [skip(check, 'the vault reports none')]
  const problems = problemsOf(paths, scene)
  const worstFirst = problems.toSorted((one, other) => rank(one) - rank(other))
  const findings = worstFirst.slice(0, MAX_NAMED).map(({ verdict, text, remedy }) => {
    return verdict === 'fail' ? fail(check, text, remedy) : warn(check, text, remedy)
  })
  if (problems.length > MAX_NAMED)
    findings.push(
      warn(check, `${problems.length - MAX_NAMED} more of this kind`, 'run doctor again'),
    )
  return findings.length > 0 ? findings : [pass(check, passText(check, paths, scene))]
}

/** Each problem once: the file and the audit log are usually in one folder. */
function problemsOf(paths: readonly OwnPath[], scene: Scene): Problem[] {
  const problems = paths.flatMap((path) => problemOf(path, scene) ?? [])
  return [...new Map(problems.map((problem) => [problem.text, problem])).values()]
}

function rank({ verdict }: Problem): number {
  return verdict === 'fail' ? 0 : 1
}

function problemOf(path: OwnPath, scene: Scene): Problem | undefined {
  if (path.found !== null) return JUDGES[path.role]({ ...path, found: path.found }, scene)
  if (path.error === 'ENOENT') return MAY_BE_MISSING.has(path.role) ? undefined : missing(path)
  return {
    verdict: 'warn',
    text: `the vault cannot look at ${path.path} (${path.error ?? 'unknown'})`,
    remedy: `let its user (${scene.users.userName(scene.vault)}) reach it`,
  }
}

function missing({ path, role }: OwnPath): Problem {
  const remedy = DOOR_ROLES.has(role)
    ? 'restart the vault, which makes it again; its leases end'
    : role === 'file'
      ? 'stop the vault and "workspace-gateway vault restore" a backup, because it does not start without the file'
      : 'restart the vault; if it does not start, its log says what is missing'
  return { verdict: 'fail', text: `${path} was removed while the vault runs`, remedy }
}

function wrongKind({ path, found: { kind } }: Found, wanted: string): Problem | undefined {
  if (kind === wanted) return undefined
  return {
    verdict: 'fail',
    text: `${path} is a ${kind === 'other' ? 'file of another kind' : kind}, and not a ${wanted}`,
    remedy: `see who has put it there, and put the ${wanted} itself in its place while the vault is stopped`,
  }
}

function wrongOwner({ path, role, found: { uid } }: Found, scene: Scene): Problem | undefined {
  const { vault, users } = scene
  // What belongs to root is not in anybody's hands; the file and the log are the vault's, which refuses others.
  const mayBeRoot = role !== 'file' && role !== 'previous' && role !== 'audit'
  if (uid === vault || (mayBeRoot && uid === ROOT)) return undefined
  return {
    verdict: 'fail',
    text: `${path} belongs to another user (${users.userName(uid)}), and the vault is ${users.userName(vault)}`,
    remedy: `chown ${users.userName(vault)}: ${path}`,
  }
}

function openToOthers({ path, found: { mode, kind } }: Found, wanted: number): Problem | undefined {
  if ((mode & OTHERS) === 0) return undefined
  // A folder that may be read gives its names away, and what is in it has modes of its own.
  const isSlight = kind === 'folder' && (mode & WRITABLE_BY_OTHERS) === 0
  return {
    verdict: isSlight ? 'warn' : 'fail',
    text: `${path} is open to others (mode ${octal(mode)})`,
    remedy: `chmod ${wanted} ${path}`,
  }
}

/** Whoever can write to a folder above, or owns it, can put other folders in the place of the vault's. */
function judgeAbove({ path, found }: Found, { vault, users }: Scene): Problem | undefined {
  const { uid, mode } = found
  if (uid !== ROOT && uid !== vault)
    return {
      verdict: 'fail',
      text: `${path}, above the vault's folders, belongs to ${users.userName(uid)}, who can exchange them`,
      remedy: `chown root: ${path}, or move the vault's folders (VAULT_FILE, VAULT_STATE_DIR, VAULT_SOCKETS) elsewhere`,
    }
  if ((mode & WRITABLE_BY_OTHERS) === 0 || (mode & STICKY) !== 0) return undefined
  return {
    verdict: 'fail',
    text: `${path}, above the vault's folders, may be written to by others (mode ${octal(mode)}), who can exchange them`,
    remedy: `chmod go-w ${path}`,
  }
}

function judgeDoors(path: Found, scene: Scene): Problem | undefined {
  const { mode } = path.found
  const wrong = wrongKind(path, 'folder') ?? wrongOwner(path, scene)
  if (wrong !== undefined) return wrong
  if ((mode & WRITABLE_BY_OTHERS) !== 0)
    return {
      verdict: 'fail',
      text: `${path.path} may be written to by others (mode ${octal(mode)}), who could exchange a door`,
      remedy: `chmod 711 ${path.path}`,
    }
  const hasOthers = scene.agents.some(({ uid }) => uid !== scene.vault && uid !== ROOT)
  if (!hasOthers || (mode & WORLD_MAY_ENTER) !== 0) return undefined
  return {
    verdict: 'warn',
    text: `no agent can get to its door through ${path.path} (mode ${octal(mode)})`,
    remedy: `chmod 711 ${path.path}`,
  }
}

function judgeDoorFolder(path: Found, scene: Scene): Problem | undefined {
  const { mode, uid } = path.found
  const wrong = wrongKind(path, 'folder')
  if (wrong !== undefined) return wrong
  if (uid !== scene.vault) return wrongOwner({ ...path, role: 'file' }, scene)
  const isGroups = (mode & GROUP) !== 0
  if ((mode & WORLD) !== 0 || (mode & GROUP_MAY_WRITE) !== 0)
    return {
      verdict: 'fail',
      text: `${path.path} is open to others (mode ${octal(mode)})`,
      remedy: `chmod 2750 ${path.path}`,
    }
  if (!isGroups || (mode & SETGID) !== 0) return undefined
  return {
    verdict: 'warn',
    text: `${path.path} is open to its group, and gives that group to no socket that is made in it (mode ${octal(mode)})`,
    remedy: `chmod 2750 ${path.path}, and restart the vault`,
  }
}

/** The owner's door is for the gateway, and for no agent. */
function judgeOwnerGroup(path: Found, scene: Scene): Problem | undefined {
  const { agents, gateway, vault, users } = scene
  const { gid, mode } = path.found
  const isGroups = (mode & GROUP) !== 0
  const intruder = agents.find(
    ({ uid }) => isGroups && isOther(uid, scene) && users.groupsOf(uid)?.has(gid) === true,
  )
  if (intruder !== undefined)
    return {
      verdict: 'fail',
      text: `the agent ${intruder.name} is in the group ${users.groupName(gid)} and can open the owner's door at ${path.path}`,
      remedy: `chgrp the folder to the gateway's own group, "chmod 2750 ${path.path}", and restart the vault`,
    }
  if (gateway === undefined || gateway === ROOT || gateway === vault) return undefined
  const groups = users.groupsOf(gateway)
  if (isGroups && groups?.has(gid) !== false) return undefined
  const user = users.userName(gateway)
  return {
    verdict: 'fail',
    text: `the gateway's user (${user}) cannot open the owner's door at ${path.path} (group ${users.groupName(gid)}, mode ${octal(mode)})`,
    remedy: `chgrp ${groupText(gateway, scene)} ${path.path} && chmod 2750 ${path.path}, and restart the vault`,
  }
}

/** An agent's door is for that agent, and for no other. */
function judgeAgentGroup(path: Found, scene: Scene): Problem | undefined {
  const { agents, users } = scene
  const { gid, mode } = path.found
  const agent = agents.find(({ name }) => name === path.agent)
  const isGroups = (mode & GROUP) !== 0
  const other = agents.find(
    ({ uid }) =>
      isGroups &&
      uid !== agent?.uid &&
      isOther(uid, scene) &&
      users.groupsOf(uid)?.has(gid) === true,
  )
  if (other !== undefined)
    return {
      verdict: 'fail',
      text: `the agent ${other.name} is in the group ${users.groupName(gid)} and can open ${path.agent}'s door at ${path.path}`,
      remedy: `chgrp the folder to a group that only ${path.agent} is in, "chmod 2750 ${path.path}", and restart the vault`,
    }
  if (agent === undefined || !isOther(agent.uid, scene)) return undefined
  if (isGroups && users.groupsOf(agent.uid)?.has(gid) !== false) return undefined
  return {
    verdict: 'warn',
    text: `the agent ${agent.name} (${users.userName(agent.uid)}) cannot open its door at ${path.path} (group ${users.groupName(gid)}, mode ${octal(mode)})`,
    remedy: `chgrp ${groupText(agent.uid, scene)} ${path.path} && chmod 2750 ${path.path}, and restart the vault`,
  }
}

/** Whether folders can keep a user out: not the vault's own, and not root. */
function isOther(uid: number, { vault }: Scene): boolean {
  return uid !== vault && uid !== ROOT
}

/** The group of a user for a command: its first one. */
function groupText(uid: number, { users }: Scene): string {
  const [gid] = users.groupsOf(uid) ?? []
  return gid === undefined ? 'GROUP' : users.groupName(gid)
}

function judgeSocket(path: Found, scene: Scene): Problem | undefined {
  const { mode, uid } = path.found
  const wrong = wrongKind(path, 'socket')
  if (wrong !== undefined) return wrong
  if (uid !== scene.vault) return wrongOwner({ ...path, role: 'file' }, scene)
  if ((mode & WORLD) === 0) return undefined
  return {
    verdict: 'fail',
    text: `${path.path} is open to every user who gets into its folder (mode ${octal(mode)})`,
    remedy: `chmod 660 ${path.path}, and see who changed it: the vault makes it with that mode`,
  }
}

function passText(check: string, paths: readonly OwnPath[], { vault, users }: Scene): string {
  const count = paths.filter(({ found }) => found !== null).length
  return check === FILES
    ? `${users.userName(vault)} alone reaches the file, the audit log and their folders`
    : `${count} folders and sockets, each for its own user alone`
}

/** Permission bits with set-group-ID, as in `chmod 2750`. */
function octal(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(3, '0')
}
