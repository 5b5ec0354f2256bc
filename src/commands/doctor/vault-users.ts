/** Do the vault, the gateway and the agents run as different users? Programs of one user can read each other's files and memory. */
import { readsEverything, sharesUid } from '../../config/vault-settings.ts'
import { fail, pass, warn, type Finding } from './finding.ts'
import { mayTrace } from './processes.ts'
import type { Party, Scene } from './vault-scene.ts'

/** The name of the check. */
export const USERS = 'vault-users'

const ROOT = 0

const REMEDY =
  'give each a user of its own, as examples/fly/README.md says: "useradd --system vault", "useradd --create-home --uid 1001 coder", then BOOT_VAULT_USER=vault, BOOT_GATEWAY_USER, BOOT_OPENCLAW_USER=coder, BOOT_TERMINAL_USER, and VAULT_AGENTS=coder:1001'

interface Problem {
  readonly fails: boolean
  readonly text: string
}

/** Compares the users. */
export function judgeUsers(scene: Scene): Finding {
  const { agents, services, users, vault } = scene
  if (scene.isOneUser)
    return warn(
      USERS,
      `the vault, the gateway and the agents all run as ${users.userName(vault)}, so an agent can read the credentials${memoryText(scene)} and open the owner's door: good enough to try the vault, and no protection`,
      REMEDY,
    )
  const parties: Party[] = [
    ...agents.map(({ name, uid }) => ({ name, uid, isAgent: true })),
    ...services.filter(({ uid }) => agents.every((agent) => agent.uid !== uid)),
  ]
  const problems = [
    ...parties.flatMap((party) => problemOf(party, scene)),
    ...agents.filter((agent) => isShared(agent, scene)).map(sharing),
    ...vaultProblems(scene),
  ]
  if (problems.length === 0) return pass(USERS, passText(scene))
  const text = problems.map((problem) => problem.text).join('; ')
  return problems.some(({ fails }) => fails) ? fail(USERS, text, REMEDY) : warn(USERS, text, REMEDY)
}

function problemOf(party: Party, scene: Scene): Problem[] {
  const { name, uid, isAgent } = party
  const { vault, gateway } = scene
  if (isAgent && (uid === ROOT || uid === vault))
    return [{ fails: true, text: readsEverything(party) + (uid === ROOT ? ', as root' : '') }]
  if (uid === ROOT) return [] // a service that runs only what its owner has installed
  if (uid === vault)
    return [{ fails: true, text: `${name} runs as the vault's user${memoryText(scene)}` }]
  if (uid !== gateway) return []
  const text = `${name} runs as the gateway's user (${uid}), and so can open the owner's door and grant everything`
  return [{ fails: isAgent, text }]
}

function isShared(agent: Scene['agents'][number], { agents, vault }: Scene): boolean {
  const { name, uid } = agent
  if (uid === ROOT || uid === vault) return false // the worse fault
  return agents.some((other) => other.uid === uid && other.name !== name)
}

function sharing(agent: Scene['agents'][number]): Problem {
  return { fails: false, text: sharesUid(agent) }
}

function vaultProblems({ vault, gateway, users }: Scene): Problem[] {
  if (vault === gateway)
    return [
      {
        fails: false,
        text: `the vault and the gateway both run as ${users.userName(vault)}, so a fault of the gateway opens the vault`,
      },
    ]
  return vault === ROOT ? [{ fails: false, text: 'the vault runs as root' }] : []
}

/** Who shares the vault's user may read its memory too, unless Yama forbids it (kernel.yama.ptrace_scope). */
function memoryText({ proc }: Scene): string {
  return mayTrace(proc) ? ", the vault's memory" : ''
}

function passText({ vault, gateway, agents, services, users }: Scene): string {
  const named = [
    `the vault runs as ${users.userName(vault)}`,
    ...(gateway === undefined ? [] : [`the gateway as ${users.userName(gateway)}`]),
    ...agents.map(({ name, uid }) => `${name} as ${users.userName(uid)}`),
    ...services
      .filter(({ uid }) => agents.every((agent) => agent.uid !== uid))
      .map(({ name, uid }) => `${name} as ${users.userName(uid)}`),
  ]
  return named.join(', ')
}
