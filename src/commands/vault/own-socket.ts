/** Which agent runs this command? The one of its user in VAULT_AGENTS, or the only one whose door this user may open. */
import { userInfo } from 'node:os'
import type { Environment } from '../../config/load.ts'
import { VAULT_SETTINGS } from '../../config/vault-settings.ts'
import { findAgentSocket } from '../../vault/agent-client.ts'
import { settingOf, wrongUsage } from '../owner.ts'

/** The socket of the agent that runs this command. @throws {CommandError} when there are several that it may be */
export function ownSocket(env: Environment): string {
  const sockets = settingOf(VAULT_SETTINGS.sockets, env)
  const agents = settingOf(VAULT_SETTINGS.agents, env)
  const found = findAgentSocket(sockets, agents, { uid: process.getuid?.(), username: userName() })
  if ('path' in found) return found.path
  throw wrongUsage(
    'vault',
    `this user may open the doors of several agents (${found.several.join(', ')}); choose with --socket ${sockets}/${found.several[0]}/agent.sock`,
  )
}

/** A uid need not have a name, as in a container. */
function userName(): string {
  try {
    return userInfo().username
  } catch {
    return 'agent'
  }
}
