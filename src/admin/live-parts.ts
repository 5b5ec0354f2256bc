/** What of a running gateway do the owner's actions need? Its parts, as the table of actions names them. */
import type { Config } from '../config/load.ts'
import type { Gateway } from '../parts.ts'
import { readTerminalCredential } from '../terminals/terminal-credential.ts'
import type { LiveParts } from './action.ts'
import { statusOf } from './status.ts'

/** The parts of a running gateway that the actions need. */
export function livePartsOf(gateway: Gateway, config: Config): LiveParts {
  const {
    state,
    sessions,
    apiTokens,
    factors,
    keys,
    openSockets,
    terminals,
    decisions,
    vault,
    link,
  } = gateway.parts
  return {
    workspace: config.workspace,
    owners: config.owners,
    keepsFactors: config.secondFactor === 'local',
    ...{ state, sessions, apiTokens, factors, keys, terminals, decisions, vault, link },
    terminalCredential: () => readTerminalCredential(config.stateDir),
    socketsOf: (sessionId) => openSockets.of(sessionId),
    status: () => statusOf(gateway, config),
  }
}
