/** `workspace-gateway limits`: run the service with the limits of the control plane, or check what it would run with. */
import { parseArgs } from 'node:util'
import type { LimitPolicies, LimitPolicy } from '../config/limit-policies.ts'
import { readLimitPolicies } from '../config/limit-policy-file.ts'
import {
  LIMITS_SECRETS,
  LIMITS_SETTINGS,
  loadLimitsConfig,
  type LimitsConfig,
} from '../config/limits-settings.ts'
import { ConfigError, readSetting, type Environment } from '../config/load.ts'
import { EXIT } from '../process/exit-codes.ts'
import type { Io } from './io.ts'
import { jsonText } from './printable.ts'

/**
 * Runs the service, or checks its settings and policies.
 * @param env the process's environment, from which the secrets are removed
 * @returns undefined while the service runs; for `check`, 0, or 78 when the service would not start
 * @throws {ConfigError} for a wrong setting; errors of the start; an error with a code `ERR_PARSE_ARGS_…` for unknown arguments
 */
export async function limits(
  args: readonly string[],
  env: Record<string, string | undefined>,
  io: Io,
): Promise<number | undefined> {
  const [verb, ...rest] = args
  if (verb === 'check') return check(rest, env, io)
  if (verb !== undefined) {
    io.err(
      'workspace-gateway: limits takes check, or nothing to run it; settings are LIMITS_… variables\nTry "workspace-gateway help limits".\n',
    )
    return EXIT.usage
  }
  const config = loadLimitsConfig(env)
  const sources = { ...env } // for SIGHUP
  for (const name of LIMITS_SECRETS) delete env[name]
  const { runLimits } = await import('../process/run-limits.ts')
  await runLimits(config, sources)
  return undefined
}

/** Checks the settings, the tokens and the file of policies. It opens neither a port nor the store. */
async function check(args: readonly string[], env: Environment, io: Io): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: { json: { type: 'boolean', default: false } },
  })
  const problems: string[] = []
  const config = await orProblems(problems, () => loadLimitsConfig(env))
  const policies = await orProblems(problems, () => readLimitPolicies(policyFileIn(env)))
  if (config === undefined || policies === undefined) {
    if (values.json) io.out(jsonText({ valid: false, problems }))
    else io.err(`workspace-gateway: ${new ConfigError(problems).message}\n`)
    return EXIT.config
  }
  if (values.json) io.out(jsonText({ valid: true, problems, ...factsOf(config, policies) }))
  else io.out(report(config, policies))
  return EXIT.ok
}

async function orProblems<Found>(
  problems: string[],
  read: () => Found | Promise<Found>,
): Promise<Found | undefined> {
  try {
    return await read()
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    problems.push(...error.problems)
    return undefined
  }
}

/** The path of the file; undefined also when the setting is wrong, which is a problem of its own. */
function policyFileIn(env: Environment): string | undefined {
  try {
    return readSetting(LIMITS_SETTINGS.policyFile, env)
  } catch {
    return undefined
  }
}

function factsOf(config: LimitsConfig, policies: LimitPolicies) {
  const { host, port, socket, tokens, storeUrl, stateDir } = config
  return {
    port: tokens === undefined ? null : { host, port, tokens: tokens.length },
    socket: socket ?? null,
    store: storeUrl === undefined ? { kind: 'sqlite', stateDir } : { kind: 'redis' },
    policies: [...policies.values()],
  }
}

function report(config: LimitsConfig, policies: LimitPolicies): string {
  const { port, socket, store } = factsOf(config, policies)
  const width = Math.max(...[...policies.keys()].map(({ length }) => length))
  const lines = [
    ...(port === null
      ? []
      : [`Port    ${port.host} ${port.port}, for callers with ${tokensText(port.tokens)}`]),
    ...(socket === null ? [] : [`Socket  ${socket}, for whoever can open it`]),
    `Kept    ${'stateDir' in store ? `in SQLite, in ${store.stateDir}` : 'in the Redis of LIMITS_STORE_URL'}`,
    '',
    'Policies',
    ...[...policies.values()].map((policy) => `  ${policy.name.padEnd(width)}  ${words(policy)}`),
  ]
  return `The configuration is valid.\n\n${lines.join('\n')}\n`
}

function tokensText(count: number): string {
  return count === 1 ? 'one token' : `${count} tokens`
}

function words({ windows, storeAway }: LimitPolicy): string {
  const all = windows.map(({ points, seconds }) => `${points} in ${seconds} s`).join(', ')
  return `${all}; while the store is away: ${storeAway}`
}
