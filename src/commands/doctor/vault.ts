/**
 * Does the vault keep what it should? Doctor asks it at the owner's door, and compares users, modes and environments with what keeps
 * agents from credentials. Without GATEWAY_VAULT_SOCKETS there is nothing to ask, unless a vault runs that the gateway does not know.
 */
import { lstatSync } from 'node:fs'
import { dirname } from 'node:path'
import { codeOf } from '../../answers/errors.ts'
import { VERSION } from '../../answers/version.ts'
import { SETTINGS } from '../../config/settings.ts'
import { ownerSocket } from '../../vault/protocol.ts'
import type { Examination } from './examination.ts'
import { pass, skip, warn, type Finding } from './finding.ts'
import { readUsers } from './users.ts'
import { DOOR_MS, notReached, type DoorRemedies } from './door-answer.ts'
import { askEntries, askStatus, type VaultStatus } from './vault-answer.ts'
import { AGE, AUDIT, ENTRIES, judgeAudit, judgeEntries } from './vault-entries.ts'
import { CREDENTIALS, judgeEnvironments, KEY, SETTINGS_KEPT } from './vault-environments.ts'
import { DOORS, FILES, judgePaths } from './vault-paths.ts'
import { sceneOf } from './vault-scene.ts'
import { judgeUsers, USERS } from './vault-users.ts'

const REACHED = 'vault-answers'

const { env: SETTING } = SETTINGS.vaultSockets

/** How long looking at the environments may take (ms). */
const PROCESSES_MS = 3000

/** The checks that need the vault's report on itself. */
const SELF_CHECKS = [USERS, FILES, DOORS, KEY, SETTINGS_KEPT, CREDENTIALS, AUDIT]

export async function examineVault(examination: Examination): Promise<Finding[]> {
  const { config, machine, patience } = examination
  if (config.vaultSockets === undefined) return lookForUnknown(machine.vaultSockets)
  const socket = ownerSocket(config.vaultSockets)
  const [status, list] = await Promise.all([
    askStatus(socket, DOOR_MS * patience),
    askEntries(socket, DOOR_MS * patience),
  ])
  if ('failed' in status)
    return [
      notReached(socket, status, remediesAt(socket)),
      ...[...SELF_CHECKS, ENTRIES, AGE].map((check) => skip(check, 'the vault does not answer')),
    ]
  const entries =
    'failed' in list
      ? [ENTRIES, AGE].map((check) => skip(check, 'the vault does not list its entries'))
      : judgeEntries(list.entries, Date.now())
  const own = await judgeSelf(examination, socket, status)
  return [judgeVersion(socket, status), ...own, ...entries]
}

async function judgeSelf(
  examination: Examination,
  socket: string,
  { self, pid }: VaultStatus,
): Promise<Finding[]> {
  if (self === undefined)
    return SELF_CHECKS.map((check) => skip(check, 'this vault does not report on itself'))
  const scene = sceneOf(examination, socket, self)
  const limitMs = PROCESSES_MS * examination.patience
  return [
    judgeUsers(scene),
    ...judgePaths(scene),
    ...(await judgeEnvironments(scene, { pid, limitMs })),
    judgeAudit(self),
  ]
}

/** A vault at the default place that the gateway was not told of is one that its owner's page does not show. */
function lookForUnknown(sockets: string): Finding[] {
  const socket = ownerSocket(sockets)
  try {
    lstatSync(socket)
  } catch (error) {
    if (codeOf(error) !== 'EACCES') return [] // the folder of a door lets in whom it is for
  }
  return [
    warn(
      REACHED,
      `there is a vault at ${socket}, and the gateway does not know of it`,
      `set ${SETTING}=${sockets}, give the gateway's user the group of ${dirname(socket)}, and restart the gateway`,
    ),
  ]
}

function judgeVersion(socket: string, { version, pid }: VaultStatus): Finding {
  if (version === VERSION) return pass(REACHED, `${socket}: ${version}, process ${pid}`)
  return warn(
    REACHED,
    `the vault at ${socket} is ${version}, and this program is ${VERSION}`,
    'restart the one that is older: kill "$(cat /run/workspace/vault.pid)" restarts the vault under boot.sh, and ends its leases',
  )
}

function remediesAt(socket: string): DoorRemedies {
  return {
    check: REACHED,
    program: 'vault',
    start:
      'start the vault ("workspace-gateway vault"), whose log says why if it does not stay; or set GATEWAY_VAULT_SOCKETS to its VAULT_SOCKETS',
    access: () => accessRemedy(dirname(socket)),
    silent:
      "read the vault's log: it opens this door first, and answers when its file is open; then restart it",
    settings: [SETTING, 'VAULT_SOCKETS'],
  }
}

/** Which group opens the owner's door? That of its folder, when the folder has one. */
function accessRemedy(folder: string): string {
  const asOther = 'or run this as the user that runs the gateway'
  try {
    const { gid, mode } = lstatSync(folder)
    const users = readUsers()
    if ((mode & 0o070) !== 0)
      return `usermod -aG ${users.groupName(gid)} ${users.userName(process.geteuid?.() ?? 0)}, and start the gateway again with that group; ${asOther}`
    return `chgrp the folder to the gateway's group, "chmod 2750 ${folder}", and restart the vault; ${asOther}`
  } catch {
    return `chmod 711 ${dirname(folder)}, so that its doors can be reached; ${asOther}`
  }
}
