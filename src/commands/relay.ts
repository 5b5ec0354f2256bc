/** `workspace-gateway relay`: run a relay, where devices meet daemons. */
import type { Environment } from '../config/load.ts'
import { loadRelayConfig } from '../config/relay-settings.ts'
import { runRelay } from '../process/run-relay.ts'

/**
 * Runs the relay in the foreground.
 * @returns undefined, because it runs until a signal stops it
 * @throws {ConfigError} for a wrong setting; errors of listening
 */
export async function relay(env: Environment): Promise<undefined> {
  await runRelay(loadRelayConfig(env))
  return undefined
}
