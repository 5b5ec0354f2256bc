/** Which settings does the limits service have? Those in LIMITS_SETTINGS, each declared once. */
import { ConfigError, type Environment } from './load.ts'
import {
  readProgramSettings,
  unknownVariables,
  type ProgramSettings,
  type ValuesOf,
} from './program-settings.ts'
import { nearestName } from './nearest.ts'
import { oneOf, optional, wholeNumber, withDefault } from './setting.ts'
import {
  parseAbsolutePath,
  parseCallerTokens,
  parseListenHost,
  parseSocketPath,
  parseStoreUrl,
} from './values.ts'

/** How the names of the settings of the limits service begin. */
export const LIMITS_PREFIX = 'LIMITS_'

/** The declarations of the settings, by their names in the code. */
export const LIMITS_SETTINGS = {
  host: withDefault('127.0.0.1', {
    env: 'LIMITS_HOST',
    description: 'The address to listen on, for callers with a token.',
    accepts: 'an IP address or a host name',
    parse: parseListenHost,
  }),
  port: withDefault('7655', {
    env: 'LIMITS_PORT',
    description:
      'The port to listen on, for HTTP/1.1 without TLS. It is opened only when there is a token.',
    ...wholeNumber(0, 65_535),
  }),
  socket: optional({
    env: 'LIMITS_SOCKET',
    description:
      'A Unix socket to listen on, besides the port or without one. It is created with mode 600, and who can open it needs no token.',
    accepts: 'an absolute path',
    parse: parseSocketPath,
  }),
  tokens: optional({
    env: 'LIMITS_TOKEN',
    description:
      'The token of callers, as Authorization: Bearer. Two lines are two tokens, so that one can be replaced by another; SIGHUP reads the file again.',
    accepts: 'one or two lines, each a token of 32 or more visible ASCII characters; a secret',
    secret: true,
    parse: parseCallerTokens,
  }),
  stateDir: withDefault('/data/limits', {
    env: 'LIMITS_STATE_DIR',
    description:
      'The folder of the SQLite file with what was taken, created with mode 700. Not used with LIMITS_STORE_URL.',
    accepts: 'an absolute path',
    parse: parseAbsolutePath,
  }),
  storeUrl: optional({
    env: 'LIMITS_STORE_URL',
    description:
      'The Redis that the processes of many machines share. Without it one process keeps a file of its own.',
    accepts: 'redis://host:port, rediss://…, or with a user and password; a secret',
    secret: true,
    parse: parseStoreUrl,
  }),
  policyFile: optional({
    env: 'LIMITS_POLICY_FILE',
    description:
      'A YAML file with more policies than the built-in one, provision, or with another of this name. SIGHUP reads it again.',
    accepts: 'an absolute path',
    parse: parseAbsolutePath,
  }),
  metricsPort: optional({
    env: 'LIMITS_METRICS_PORT',
    description:
      "A port for Prometheus, on the machine's private address (fdaa::/16) or else on 127.0.0.1. Metrics are served nowhere else.",
    ...wholeNumber(0, 65_535),
  }),
  drainSeconds: withDefault('5', {
    env: 'LIMITS_DRAIN_SECONDS',
    description: 'How long requests under way may take to end when the service stops.',
    ...wholeNumber(0, 600),
  }),
  logLevel: withDefault('info', {
    env: 'LIMITS_LOG_LEVEL',
    description: 'The least severe log line that is written.',
    ...oneOf('trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'),
  }),
} as const satisfies ProgramSettings

/** The values of the settings. */
export type LimitsConfig = ValuesOf<typeof LIMITS_SETTINGS>

const NAMES: readonly string[] = Object.values(LIMITS_SETTINGS).flatMap(({ env, secret }) =>
  secret ? [env, `${env}_FILE`] : [env],
)

/** The variables that hold secrets. */
export const LIMITS_SECRETS: readonly string[] = Object.values(LIMITS_SETTINGS)
  .filter(({ secret }) => secret)
  .map(({ env }) => env)

/**
 * Reads and checks the settings. An empty value and an unknown `LIMITS_` name are errors, and so is a way in for nobody.
 * @throws {ConfigError} with every problem
 */
export function loadLimitsConfig(env: Environment): LimitsConfig {
  const { values, problems: wrong } = readProgramSettings(LIMITS_SETTINGS, env)
  const problems = [...unknownVariables(LIMITS_PREFIX, NAMES, env), ...wrong]
  const { tokens, host, port, metricsPort, storeUrl } = LIMITS_SETTINGS
  const isSet = ({ env: name }: { env: string }) =>
    env[name] !== undefined || env[`${name}_FILE`] !== undefined
  if (!isSet(tokens)) {
    if (!isSet(LIMITS_SETTINGS.socket))
      problems.push(
        'LIMITS_TOKEN_FILE is not set; name a file with a token of callers, or set LIMITS_SOCKET, or both',
      )
    for (const setting of [host, port])
      if (isSet(setting))
        problems.push(`${setting.env} needs LIMITS_TOKEN_FILE: no port is opened without a token`)
  }
  if (isSet(storeUrl) && isSet(LIMITS_SETTINGS.stateDir))
    problems.push('LIMITS_STORE_URL and LIMITS_STATE_DIR are both set; keep one')
  // Without a token the other port is not opened.
  const own = isSet(tokens) ? values.port : undefined
  if (values.metricsPort !== undefined && values.metricsPort !== 0 && values.metricsPort === own)
    problems.push(
      `${metricsPort.env} "${values.metricsPort}" is the port that the service itself listens on; give it another`,
    )
  if (problems.length > 0) throw new ConfigError(problems)
  return Object.freeze(values as LimitsConfig)
}

/** The setting that is nearest to a misspelt name; undefined when none is near. */
export function nearestLimitsVariable(name: string): string | undefined {
  return nearestName(name, NAMES, 3)
}
