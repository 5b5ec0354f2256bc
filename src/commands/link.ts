/** `workspace-gateway link`: keep the workspace reachable for paired devices, through a relay. */
import { parseArgs } from 'node:util'
import type { Environment } from '../config/load.ts'
import { loadLinkConfig } from '../config/link-settings.ts'
import { runLink } from '../process/run-link.ts'

/**
 * Runs the link.
 * @returns while it runs
 * @throws an error with a code `ERR_PARSE_ARGS_…` for any argument; {ConfigError} and others from the link's start
 */
export async function link(args: readonly string[], env: Environment): Promise<undefined> {
  parseArgs({ args: [...args], options: {} })
  await runLink(loadLinkConfig(env))
}
