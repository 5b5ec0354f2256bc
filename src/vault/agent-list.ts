/**
 * How does an agent find its own door? The vault writes which agent has which uid to a file beside the doors, because an agent can open
 * its door and cannot list the folder. The file has no secret, and only the vault and root can write it.
 */
import { rmSync } from 'node:fs'
import type { Logger } from 'pino'
import { codeOf } from '../answers/errors.ts'
import { parseAgents, type Agent } from '../config/vault-values.ts'
import { readWholeFile, writeWholeFile } from '../store/whole-file.ts'
import { agentListOf } from './protocol.ts'

/** A longer file is no list of agents (bytes). */
const MAX_BYTES = 256 * 1024

/** Writes the list. Without it, agents need --socket, which is logged. */
export function writeAgentList(sockets: string, agents: readonly Agent[], logger: Logger): void {
  const path = agentListOf(sockets)
  try {
    const lines = agents.map(({ name, uid }) => `${name}:${uid}\n`)
    writeWholeFile(path, lines.join(''), { mode: 0o644 })
  } catch (error) {
    logger.info(
      { path, code: codeOf(error) },
      'the list of agents could not be written, so some agents need --socket; the folder is to be the vault’s own',
    )
  }
}

/** Removes the list, if it is there. */
export function removeAgentList(sockets: string): void {
  try {
    rmSync(agentListOf(sockets), { force: true })
  } catch {
    // Nobody is misled: the doors that it names do not answer.
  }
}

/** Reads the list. @returns an empty one when there is none that can be read */
export function readAgentList(sockets: string): readonly Agent[] {
  try {
    const text = readWholeFile(agentListOf(sockets), MAX_BYTES)
    return parseAgents(text.trim().replaceAll('\n', ','))
  } catch {
    return []
  }
}
