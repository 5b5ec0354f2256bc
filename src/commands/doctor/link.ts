/**
 * Do paired devices reach the gateway, and nobody else? The link says, at GATEWAY_LINK_OWNER_SOCKET, whether it has its relay and which
 * devices there are; owners and modes of files say the rest. Without the gateway's settings for a link there is nothing to ask, unless
 * a link runs that the gateway does not know.
 */
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { codeOf } from '../../answers/errors.ts'
import { VERSION } from '../../answers/version.ts'
import type { LinkStatus } from '../../relay/link/owner-protocol.ts'
import { DOOR_MS, notReached, type DoorRemedies } from './door-answer.ts'
import type { Examination } from './examination.ts'
import { fail, pass, skip, warn, type Finding } from './finding.ts'
import { askLinkDevices, askLinkStatus } from './link-answer.ts'
import { judgeDevices, OWNERS, USED, WAITING } from './link-devices.ts'
import { judgeFiles, judgeSockets, linkUser } from './link-paths.ts'

const REACHED = 'link-answers'
const RELAY = 'link-relay'
const TARGET = 'link-target'

/** The checks that need an answer of the link. */
const ASKED = [RELAY, TARGET, WAITING, USED, OWNERS]

export async function examineLink(examination: Examination): Promise<Finding[]> {
  const { config, machine, patience } = examination
  const { linkOwnerSocket: owner, linkSocket: gateway } = config
  const sockets = { owner, gateway }
  if (owner === undefined)
    return gateway === undefined
      ? lookForUnknown(machine.linkOwnerSocket)
      : [unknownOwner(gateway), ...judgeSockets(sockets, config.stateDir)]
  const [status, list] = await Promise.all([
    askLinkStatus(owner, DOOR_MS * patience),
    askLinkDevices(owner, DOOR_MS * patience),
  ])
  const answers =
    'failed' in status
      ? [
          notReached(owner, status, REMEDIES),
          ...ASKED.map((check) => skip(check, 'the link does not answer')),
        ]
      : [judgeVersion(owner, status), judgeRelay(status), judgeTarget(status, gateway)]
  const devices =
    'failed' in status
      ? []
      : 'failed' in list
        ? [WAITING, USED, OWNERS].map((check) => skip(check, 'the link does not list its devices'))
        : judgeDevices(list.devices, config, Date.now())
  const folders = [...machine.linkFolders, join(config.stateDir, 'link')]
  return [
    ...answers,
    ...devices,
    ...judgeSockets(sockets, config.stateDir),
    ...judgeFiles(folders, linkUser(sockets)),
  ]
}

/** A link at the usual place that the gateway was not told of is one whose devices no page shows. */
function lookForUnknown(socket: string): Finding[] {
  try {
    statSync(socket)
  } catch (error) {
    if (codeOf(error) !== 'EACCES') return []
  }
  return [
    warn(
      REACHED,
      `there is a link at ${socket}, and the gateway does not know of it`,
      `set GATEWAY_LINK_OWNER_SOCKET=${socket}, and restart the gateway, whose pages then show its devices`,
    ),
  ]
}

function unknownOwner(gateway: string): Finding {
  return warn(
    REACHED,
    `devices come in at ${gateway}, and GATEWAY_LINK_OWNER_SOCKET is not set, so neither doctor nor a page shows which`,
    'set GATEWAY_LINK_OWNER_SOCKET to the LINK_OWNER_SOCKET of the link, and restart the gateway',
  )
}

function judgeVersion(socket: string, { version, devices, offers }: LinkStatus): Finding {
  if (version === VERSION)
    return pass(
      REACHED,
      `${socket}: ${version}, with ${devices} devices and ${offers} open pairing links`,
    )
  return warn(
    REACHED,
    `the link at ${socket} is ${version}, and this program is ${VERSION}`,
    'restart the one that is older: kill "$(cat /run/workspace/link.pid)" restarts the link under boot.sh; devices come back by themselves, and open pairing links are void',
  )
}

function judgeRelay({ relay, isConnected, since, problem }: LinkStatus): Finding {
  if (isConnected) return pass(RELAY, `connected to ${relay} since ${since ?? 'a moment ago'}`)
  const when = since === null ? 'has never been since it started' : `is not since ${since}`
  return fail(
    RELAY,
    `the link is to be connected to ${relay} (LINK_RELAY_URL), and ${when}: no device gets in${problem === null ? '' : `; ${problem}`}`,
    `ask the relay from this machine: curl ${relay.replace(/^ws/, 'http')}/healthz. If that says ok, the link's log says why it could not connect; it tries again within a minute (docs/runbook.md, "The relay is away")`,
  )
}

function judgeTarget({ target }: LinkStatus, gateway: string | undefined): Finding {
  if (target === 'gateway' && gateway === undefined)
    return fail(
      TARGET,
      'the link hands devices to the gateway, and GATEWAY_LINK_SOCKET is not set here: no device gets an answer',
      'give the gateway the GATEWAY_LINK_SOCKET that the link has, and restart it',
    )
  if (target === 'service' && gateway !== undefined)
    return warn(
      TARGET,
      `the link hands devices to another service (LINK_TARGET), and nobody comes to ${gateway}`,
      'unset LINK_TARGET for the link, or GATEWAY_LINK_SOCKET for the gateway',
    )
  return pass(
    TARGET,
    target === 'gateway'
      ? `devices reach the gateway at ${gateway}`
      : 'devices reach another service (LINK_TARGET)',
  )
}

const REMEDIES: DoorRemedies = {
  check: REACHED,
  program: 'link',
  start:
    'start the link ("workspace-gateway link"), whose log says why if it does not stay; or set GATEWAY_LINK_OWNER_SOCKET to its LINK_OWNER_SOCKET',
  access: () =>
    'run this as the user that runs the gateway, or as root; the link must run as that user too',
  silent: "read the link's log, and restart it",
  settings: ['GATEWAY_LINK_OWNER_SOCKET', 'LINK_OWNER_SOCKET'],
}
