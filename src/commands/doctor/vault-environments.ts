/**
 * Does another process hold what only the vault should? Doctor looks at the names of the variables of every process that it may read:
 * the master key, settings of our programs, and credentials of services that are no lease.
 */
import { SECRET_VARIABLES } from '../../config/load.ts'
import { VAULT_SETTINGS } from '../../config/vault-settings.ts'
import { PRESETS } from '../../vault/presets.ts'
import { fail, pass, skip, warn, type Finding } from './finding.ts'
import { readProcesses, type SeenProcess, type Variable } from './processes.ts'
import type { Scene } from './vault-scene.ts'

/** The names of the checks. */
export const KEY = 'vault-key-kept'
export const SETTINGS_KEPT = 'vault-settings-kept'
export const CREDENTIALS = 'vault-credentials-kept'

const MASTER_KEY = VAULT_SETTINGS.masterKey.env
const ROOT = 0

/** The settings of our programs, which no service and no agent gets. */
const OURS = /^(?:GATEWAY|TERMINALS|LINK|RELAY|LIMITS|BOOT)_/

/** Those of the vault by name, because other programs have such variables too (VAULT_ADDR). `vault exec` reads the last two. */
const OF_THE_VAULT: ReadonlySet<string> = new Set(
  Object.values(VAULT_SETTINGS)
    .flatMap(({ env, secret }) => (secret ? [env, `${env}_FILE`] : [env]))
    .filter((name) => name !== VAULT_SETTINGS.sockets.env && name !== VAULT_SETTINGS.agents.env),
)

const SECRETS: ReadonlySet<string> = new Set([...SECRET_VARIABLES, MASTER_KEY])

/** The variables in which the tools of known services look for a credential. */
const CREDENTIAL_VARIABLES: ReadonlySet<string> = new Set(
  Object.values(PRESETS).flatMap(credentialVariables),
)

function credentialVariables({ environment, conflicts }: (typeof PRESETS)[string]): string[] {
  const sample = 'lease'
  const variables = environment('', sample)
  const names = Object.keys(variables).filter((name) => variables[name] === sample)
  return names.concat(conflicts.filter((name) => /_(?:KEY|TOKEN)$/.test(name)))
}

/** So many processes are named for one check. */
const MAX_NAMED = 5

/** A longer name of a variable is cut (characters), because whoever starts a process chooses it. */
const MAX_NAME_LENGTH = 64

/** Looks at the environments. @param pid the vault's own process @param limitMs how long looking may take */
export async function judgeEnvironments(
  scene: Scene,
  { pid, limitMs }: { readonly pid: number; readonly limitMs: number },
): Promise<Finding[]> {
  const all = await readProcesses(scene.proc, limitMs)
  const others = all.filter((one) => one.pid !== pid || one.uid !== scene.vault)
  const agents = new Set(scene.agents.map(({ uid }) => uid))
  const apart = new Set([...agents, ...scene.services.map(({ uid }) => uid)])
  for (const uid of [ROOT, scene.vault, scene.gateway]) if (uid !== undefined) apart.delete(uid)
  return [
    judgeKey(scene, others),
    judgeSettings(
      apart,
      others.filter(({ uid }) => apart.has(uid)),
    ),
    judgeCredentials(
      scene,
      others.filter(({ uid }) => agents.has(uid)),
    ),
  ]
}

function judgeKey(scene: Scene, others: readonly SeenProcess[]): Finding {
  const holders = holding(others, ({ name }) => name === MASTER_KEY)
  // Who reads an environment of root's is root, and needs no key. Where agents are root, they are.
  const isRootSafe = scene.agents.every(({ uid }) => uid !== ROOT)
  const bad = holders.filter(({ uid }) => uid !== ROOT || !isRootSafe)
  if (bad.length > 0)
    return fail(
      KEY,
      `${MASTER_KEY} is in the environment of ${processesText(bad, scene)}, and whoever runs as that user can read it`,
      `give the key to the vault alone, on a descriptor (${VAULT_SETTINGS.masterKeyFd.env}); restart those programs without it; then "workspace-gateway vault rekey --new-key-file FILE", and rotate the credentials if agents could read the key`,
    )
  if (scene.self.key_in_environment)
    return warn(
      KEY,
      `the vault got its key in ${MASTER_KEY}, which stays readable in /proc for its user`,
      `give it on a descriptor (${VAULT_SETTINGS.masterKeyFd.env}), as examples/fly/boot.sh does`,
    )
  const root = holders.length > 0 ? `; ${processesText(holders, scene)} has it, as root` : ''
  return pass(KEY, `no ${MASTER_KEY} outside of the vault in ${seenText(others)}${root}`)
}

function judgeSettings(apart: ReadonlySet<number>, others: readonly SeenProcess[]): Finding {
  if (apart.size === 0)
    return skip(SETTINGS_KEPT, 'agents and services have no user of their own, by which to tell')
  if (!others.some(isRead)) return skip(SETTINGS_KEPT, NOT_READ)
  const isSetting = ({ name }: Variable) => OURS.test(name) || OF_THE_VAULT.has(name)
  const bad = holding(others, isSetting)
  if (bad.length === 0)
    return pass(SETTINGS_KEPT, `no setting of our programs in ${seenText(others)}`)
  const text = bad
    .slice(0, MAX_NAMED)
    .map((one) => `${processText(one)}: ${namesIn(one, isSetting)}`)
    .join('; ')
  const hasSecret = bad.some(({ variables = [] }) =>
    variables.some(({ name }) => SECRETS.has(name)),
  )
  const remedy =
    'start services and agents without them, as examples/fly/boot.sh does (env -u NAME)'
  return hasSecret
    ? fail(SETTINGS_KEPT, `secrets in ${text}`, `${remedy}, and change those secrets`)
    : warn(SETTINGS_KEPT, `settings in ${text}`, remedy)
}

function judgeCredentials(scene: Scene, others: readonly SeenProcess[]): Finding {
  if (scene.agents.length === 0) return skip(CREDENTIALS, 'VAULT_AGENTS names no agent')
  if (!others.some(isRead)) return skip(CREDENTIALS, NOT_READ)
  const isCredential = ({ name, isLease }: Variable) => CREDENTIAL_VARIABLES.has(name) && !isLease
  const bad = holding(others, isCredential)
  if (bad.length === 0)
    return pass(CREDENTIALS, `no credential of a known service in ${seenText(others)}`)
  const text = bad
    .slice(0, MAX_NAMED)
    .map((one) => `${processText(one)}: ${namesIn(one, isCredential)}`)
    .join('; ')
  return warn(
    CREDENTIALS,
    `agents still hold what is no lease, in ${text}`,
    'start the agent without them and with "workspace-gateway vault exec SERVICE -- PROGRAM"; then rotate those credentials at the service, because the agent has seen them',
  )
}

const NOT_READ =
  'there is no process of an agent or service that this user may read; run this as root to see them'

function isRead({ variables }: SeenProcess): boolean {
  return variables !== undefined
}

function holding(
  processes: readonly SeenProcess[],
  isMeant: (variable: Variable) => boolean,
): SeenProcess[] {
  return processes.filter(({ variables = [] }) => variables.some(isMeant))
}

function processesText(processes: readonly SeenProcess[], { users }: Scene): string {
  const named = processes
    .slice(0, MAX_NAMED)
    .map((one) => `${processText(one)} of ${users.userName(one.uid)}`)
  const more = processes.length - named.length
  return named.join(', ') + (more > 0 ? ` and ${more} more` : '')
}

function processText({ pid, program }: SeenProcess): string {
  return `process ${pid} (${program})`
}

function namesIn(
  { variables = [] }: SeenProcess,
  isMeant: (variable: Variable) => boolean,
): string {
  const names = [...new Set(variables.filter(isMeant).map(({ name }) => name))]
  const shown = names.slice(0, MAX_NAMED).map((name) => name.slice(0, MAX_NAME_LENGTH))
  return shown.join(' ') + (names.length > MAX_NAMED ? ' …' : '')
}

function seenText(processes: readonly SeenProcess[]): string {
  const read = processes.filter(isRead).length
  const unread = processes.length - read
  return `${read} processes${unread > 0 ? ` (${unread} of other users may be read by root alone)` : ''}`
}
