/** Which settings does the keeper of terminals have? Those in TERMINALS_SETTINGS, each declared once. */
import { nearestName } from './nearest.ts'
import { oneOf, withDefault, wholeNumber, type Setting } from './setting.ts'
import { ConfigError, readSetting, type Environment } from './load.ts'
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
} as const satisfies Record<string, Setting<unknown>>

/** The values of the keeper's settings. */
export type TerminalsConfig = {
  readonly [Name in keyof typeof TERMINALS_SETTINGS]: ReturnType<
    (typeof TERMINALS_SETTINGS)[Name]['parse']
  >
}

const NAMES = Object.values(TERMINALS_SETTINGS).map(({ env }) => env)

/**
 * Reads and checks the keeper's settings. An empty value and an unknown `TERMINALS_` name are errors.
 * @throws {ConfigError} with every problem
 */
export function loadTerminalsConfig(env: Environment): TerminalsConfig {
  const problems = Object.keys(env)
    .filter((name) => name.startsWith(PREFIX) && env[name] !== undefined && !isDeclared(name))
    .map(unknownName)
  const values: Record<string, unknown> = {}
  for (const [name, setting] of Object.entries<Setting<unknown>>(TERMINALS_SETTINGS)) {
    try {
      values[name] = readSetting(setting, env)
    } catch (error) {
      problems.push(error instanceof Error ? error.message : String(error))
    }
  }
  const config = values as TerminalsConfig
  if (config.ttydUrl?.socketPath !== undefined && config.ttydUrl.socketPath === config.socket)
    problems.push("TERMINALS_TTYD_URL is the keeper's own socket; give it ttyd's address")
  if (problems.length > 0) throw new ConfigError(problems)
  return Object.freeze(config)
}

function isDeclared(name: string): boolean {
  return NAMES.some((declared) => declared === name)
}

/** The setting of the keeper that is nearest to a misspelt name; undefined when none is near. */
export function nearestKeeperVariable(name: string): string | undefined {
  return nearestName(name, NAMES, 3)
}

function unknownName(name: string): string {
  const nearest = nearestKeeperVariable(name)
  return `${name} is not a setting${nearest === undefined ? '' : `; did you mean ${nearest}?`}`
}
