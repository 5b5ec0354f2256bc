/** Which settings does the keeper of terminals have? Those in TERMINALS_SETTINGS, each declared once. */
import { nearestName } from './nearest.ts'
import { oneOf, withDefault, wholeNumber } from './setting.ts'
import { ConfigError, type Environment } from './load.ts'
import {
  readProgramSettings,
  unknownVariables,
  type ProgramSettings,
  type ValuesOf,
} from './program-settings.ts'
import { parseServiceUrl, parseSocketPath } from './values.ts'

/** How the names of the keeper's settings begin. */
export const PREFIX = 'TERMINALS_'

/** The declarations of the keeper's settings, by their names in the code. */
export const TERMINALS_SETTINGS = {
  socket: withDefault('/run/workspace/terminals.sock', {
    env: 'TERMINALS_SOCKET',
    description:
      'The Unix socket that the keeper listens on, in GATEWAY_TERMINAL_URL as unix:/path. It is created with mode 600: who can open it can do what the gateway can.',
    accepts: 'an absolute path',
    parse: parseSocketPath,
  }),
  ttydUrl: withDefault('http://127.0.0.1:8080', {
    env: 'TERMINALS_TTYD_URL',
    description: 'Where ttyd listens, started with --base-path /terminal.',
    accepts: 'http://host:port or unix:/path',
    parse: parseServiceUrl,
  }),
  parkSeconds: withDefault('43200', {
    env: 'TERMINALS_PARK_SECONDS',
    description:
      'How long a terminal whose connection was lost waits for its page, in seconds. 0 ends it at once.',
    ...wholeNumber(0, 34_560_000),
  }),
  parkClosedSeconds: withDefault('600', {
    env: 'TERMINALS_PARK_CLOSED_SECONDS',
    description:
      'How long a terminal waits whose page was reloaded or closed, which look the same, in seconds. 0 ends it at once.',
    ...wholeNumber(0, 34_560_000),
  }),
  scrollback: withDefault('1000', {
    env: 'TERMINALS_SCROLLBACK',
    description: 'How many lines above the screen are kept for a page that comes back.',
    ...wholeNumber(0, 10_000),
  }),
  logLevel: withDefault('info', {
    env: 'TERMINALS_LOG_LEVEL',
    description: 'The least severe log line that is written.',
    ...oneOf('trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'),
  }),
} as const satisfies ProgramSettings

/** The values of the keeper's settings. */
export type TerminalsConfig = ValuesOf<typeof TERMINALS_SETTINGS>

const NAMES: readonly string[] = Object.values(TERMINALS_SETTINGS).map(({ env }) => env)

/**
 * Reads and checks the keeper's settings. An empty value and an unknown `TERMINALS_` name are errors.
 * @throws {ConfigError} with every problem
 */
export function loadTerminalsConfig(env: Environment): TerminalsConfig {
  const { values, problems: wrong } = readProgramSettings(TERMINALS_SETTINGS, env)
  const problems = [...unknownVariables(PREFIX, NAMES, env), ...wrong]
  const { ttydUrl, socket } = values
  if (ttydUrl?.socketPath !== undefined && ttydUrl.socketPath === socket)
    problems.push("TERMINALS_TTYD_URL is the keeper's own socket; give it ttyd's address")
  if (problems.length > 0) throw new ConfigError(problems)
  return Object.freeze(values as TerminalsConfig)
}

/** The setting of the keeper that is nearest to a misspelt name; undefined when none is near. */
export function nearestKeeperVariable(name: string): string | undefined {
  return nearestName(name, NAMES, 3)
}
