/** `workspace-gateway relay`: run a relay, where devices meet daemons. */
import { loadRelayConfig, RELAY_SETTINGS } from '../config/relay-settings.ts'
import { runRelay } from '../process/run-relay.ts'

/**
 * Runs the relay in the foreground.
 * @param env the process's environment, from which the secret is removed
 * @returns undefined, because it runs until a signal stops it
 * @throws {ConfigError} for a wrong setting; errors of listening
 */
export async function relay(env: Record<string, string | undefined>): Promise<undefined> {
  const config = loadRelayConfig(env)
  delete env[RELAY_SETTINGS.storeUrl.env]
  await runRelay(config)
  return undefined
}
