/** Who is there beside the vault? The users of the gateway, the agents and the services, so that doctor can compare them. */
import { lstatSync, statSync } from 'node:fs'
import { doctorWords, PROBED_SERVICES, SERVICES } from '../../rules/services.ts'
import type { SelfCheck } from '../../vault/self-check.ts'
import { isLoopback } from '../advice.ts'
import type { Examination } from './examination.ts'
import { listeningUsers } from './processes.ts'
import { readUsers, type Users } from './users.ts'

/** A program, and the user that it runs as. */
export interface Party {
  /** `the agent coder`, `openclaw` */
  readonly name: string
  readonly uid: number
  /** Whether it does what an agent, or whoever is in its shell, says. */
  readonly isAgent: boolean
}

/** Everybody, by the user that each runs as. */
export interface Scene {
  readonly self: SelfCheck
  readonly vault: number
  /** Undefined when the state folder of the gateway cannot be looked at. */
  readonly gateway: number | undefined
  readonly agents: SelfCheck['agents']
  /** The services whose ports are open on this machine. */
  readonly services: readonly Party[]
  readonly users: Users
  readonly proc: string
  /** Whether the vault, the gateway, the agents and the services all are one user, which is not root. */
  readonly isOneUser: boolean
}

/** The services that run what an agent or a person at the shell says. The others run code of the workspace. */
const RUNS_AGENTS: ReadonlySet<string> = new Set(['openclaw', 'terminal'])

/** Looks who is there. @param socket the owner's socket, whose owner is the vault's user */
export function sceneOf(
  { config, machine: { proc } }: Examination,
  socket: string,
  self: SelfCheck,
): Scene {
  const vault = ownerOf(() => lstatSync(socket)) ?? self.uid
  const gateway = ownerOf(() => statSync(config.stateDir))
  const services = PROBED_SERVICES.flatMap((name): Party[] => {
    const { port, hostname } = config[SERVICES[name].address.key]
    if (port === undefined || !isLoopback(hostname)) return []
    const words = doctorWords(name).name
    return listeningUsers(proc, port).map((uid) => ({
      name: words,
      uid,
      isAgent: RUNS_AGENTS.has(words),
    }))
  })
  const all = [vault, gateway ?? vault, ...[...self.agents, ...services].map(({ uid }) => uid)]
  const isOneUser = vault !== 0 && self.agents.length > 0 && new Set(all).size === 1
  const { agents } = self
  return { self, vault, gateway, agents, services, users: readUsers(), proc, isOneUser }
}

function ownerOf(look: () => { uid: number }): number | undefined {
  try {
    return look().uid
  } catch {
    return undefined
  }
}
