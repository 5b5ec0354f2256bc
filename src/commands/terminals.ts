/** `workspace-gateway terminals`: keep the shells of terminals. */
import type { Environment } from '../config/load.ts'
import { loadTerminalsConfig } from '../config/terminals-settings.ts'
import { runTerminals } from '../process/run-terminals.ts'
import type { Io } from './io.ts'

/**
 * Runs the keeper of terminals.
 * @returns undefined while it runs
 */
export async function terminals(
  _args: readonly string[],
  env: Environment,
  _io: Io,
): Promise<number | undefined> {
  await runTerminals(loadTerminalsConfig(env))
  return undefined
}
