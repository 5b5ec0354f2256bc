/**
 * Can anybody but the user of the link and the gateway let devices in, speak for one, or take the daemon's key? Owners and modes of two
 * sockets and two files say. The link looks at its files when it starts; here is who has changed them since.
 */
import { lstatSync, statSync, type Stats } from 'node:fs'
import { join } from 'node:path'
import { codeOf } from '../../answers/errors.ts'
import { DEVICES_FILE } from '../../relay/link/device-list.ts'
import { IDENTITY_FILE } from '../../relay/link/identity.ts'
import { octal } from '../advice.ts'
import { fail, pass, skip, warn, type Finding } from './finding.ts'
import { readUsers } from './users.ts'

/** The names of the checks. */
const SOCKETS = 'link-sockets-private'
const FILES = 'link-files-private'

const OTHERS = 0o077
const WRITABLE_BY_OTHERS = 0o022
const ROOT = 0

/** The sockets, as the gateway's settings name them. */
export interface LinkSockets {
  /** GATEWAY_LINK_OWNER_SOCKET: the link makes it. */
  readonly owner: string | undefined
  /** GATEWAY_LINK_SOCKET: the gateway makes it. */
  readonly gateway: string | undefined
}

/** The user of the link; undefined when its socket cannot be looked at. */
export function linkUser({ owner }: LinkSockets): number | undefined {
  return owner === undefined ? undefined : lookAt(owner)?.uid
}

/** Judges both sockets. @param stateDir the folder of the gateway, which belongs to the gateway's user */
export function judgeSockets(sockets: LinkSockets, stateDir: string): Finding[] {
  const users = readUsers()
  const link = linkUser(sockets)
  const gateway = lookAt(stateDir)?.uid
  const problems = [
    openToOthers(sockets.owner, 'can let devices in, as anybody'),
    openToOthers(sockets.gateway, 'can speak for any device'),
  ].filter((finding) => finding !== undefined)
  if (sockets.gateway !== undefined && lookAt(sockets.gateway) === undefined)
    problems.push(
      fail(
        SOCKETS,
        `${sockets.gateway} does not exist, or cannot be looked at, so no device reaches the gateway`,
        'run this as the user that runs the gateway; if the gateway runs, restart it with GATEWAY_LINK_SOCKET in its environment',
      ),
    )
  if (link !== undefined && gateway !== undefined && link !== gateway && link !== ROOT)
    problems.push(
      fail(
        SOCKETS,
        `the link runs as ${users.userName(link)} and the gateway as ${users.userName(gateway)}: neither can open the socket of the other`,
        `stop the link, chown its files to ${users.userName(gateway)}, and start it as that user`,
      ),
    )
  if (problems.length > 0) return problems
  const paths = [sockets.owner, sockets.gateway].filter((path) => path !== undefined)
  if (link === undefined && sockets.owner !== undefined)
    return [skip(SOCKETS, `${sockets.owner} does not exist, or cannot be looked at`)]
  return [pass(SOCKETS, `${paths.join(' and ')}, each for its own user alone`)]
}

function openToOthers(path: string | undefined, power: string): Finding | undefined {
  const stats = path === undefined ? undefined : lookAt(path)
  if (stats === undefined || (stats.mode & OTHERS) === 0) return undefined
  return fail(
    SOCKETS,
    `${path} is open to other users of this machine (mode ${octal(stats.mode)}): who can open it ${power}`,
    `chmod 600 ${path}, look through "workspace-gateway devices list", and see who changed the mode: the socket is made with 600`,
  )
}

/**
 * Judges the files of the link.
 * @param folders where they may be; the first that has the key is judged
 * @param link the user of the link; undefined when it is not known
 */
export function judgeFiles(folders: readonly string[], link: number | undefined): Finding[] {
  const seen = folders.map((folder) => ({ folder, code: whyNot(join(folder, IDENTITY_FILE)) }))
  const folder = seen.find(({ code }) => code === undefined)?.folder
  if (folder === undefined) {
    const closed = seen.find(({ code }) => code === 'EACCES')
    const where =
      closed === undefined ? `none in ${folders.join(' or ')}` : `${closed.folder} is closed`
    return [
      skip(FILES, `${where}; run this as the link's user, with LINK_STATE_DIR as the link has it`),
    ]
  }
  const problems = [
    ...judgeFolder(folder, link),
    ...judgeFile(join(folder, IDENTITY_FILE), link, KEY_READ),
    ...judgeFile(join(folder, DEVICES_FILE), link, LIST_READ),
  ]
  return problems.length > 0
    ? problems
    : [pass(FILES, `${folder} and the daemon's key and devices in it are for their user alone`)]
}

const KEY_READ =
  'if another person could log in here, "workspace-gateway pair --reset --yes" makes a new key, and every device pairs again'
const LIST_READ =
  'if another person could log in here, they can find where devices meet the link and keep them out: revoke and pair them again'

function judgeFolder(folder: string, link: number | undefined): Finding[] {
  const { mode, uid } = statSync(folder)
  const users = readUsers()
  if (link !== undefined && uid !== link && uid !== ROOT)
    return [
      fail(
        FILES,
        `${folder} belongs to ${users.userName(uid)}, and the link is ${users.userName(link)}: it does not start again`,
        `see who has changed that, and chown ${users.userName(link)}: ${folder}`,
      ),
    ]
  if ((mode & OTHERS) === 0) return []
  const text = `${folder} is open to others (mode ${octal(mode)})`
  // A folder that may be read gives its names away, and what is in it has modes of its own.
  return (mode & WRITABLE_BY_OTHERS) === 0
    ? [warn(FILES, text, `chmod 700 ${folder}`)]
    : [
        fail(
          FILES,
          `${text}, who can exchange the daemon's key: the link does not start again`,
          `chmod 700 ${folder}, and look through "workspace-gateway devices list"`,
        ),
      ]
}

function judgeFile(path: string, link: number | undefined, whenRead: string): Finding[] {
  const stats = lookAt(path, lstatSync)
  if (stats === undefined) return [] // the list comes with the first device
  const users = readUsers()
  if (!stats.isFile())
    return [
      fail(
        FILES,
        `${path} is no file of its own: the link does not start again`,
        'see who has put it there, and put the file itself in its place',
      ),
    ]
  if (link !== undefined && stats.uid !== link)
    return [
      fail(
        FILES,
        `${path} belongs to ${users.userName(stats.uid)}, and the link is ${users.userName(link)}: it does not start again`,
        `see who has changed that, and chown ${users.userName(link)}: ${path}`,
      ),
    ]
  if ((stats.mode & OTHERS) === 0) return []
  return [
    fail(
      FILES,
      `${path} is open to others (mode ${octal(stats.mode)}): the link does not start again`,
      `chmod 600 ${path}; ${whenRead}`,
    ),
  ]
}

function lookAt(path: string, look: (path: string) => Stats = statSync): Stats | undefined {
  try {
    return look(path)
  } catch {
    return undefined
  }
}

/** Why a file cannot be looked at; undefined when it can. */
function whyNot(path: string): string | undefined {
  try {
    lstatSync(path)
    return undefined
  } catch (error) {
    return codeOf(error)
  }
}
