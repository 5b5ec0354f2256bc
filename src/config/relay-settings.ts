/** Which settings does the relay server have? Those in RELAY_SETTINGS, each declared once. */
import { ConfigError, type Environment } from './load.ts'
import {
  readProgramSettings,
  unknownVariables,
  type ProgramSettings,
  type ValuesOf,
} from './program-settings.ts'
import { oneOf, optional, wholeNumber, withDefault } from './setting.ts'
import {
  parseFlyMachine,
  parseListenHost,
  parseRelayUrl,
  parseStoreUrl,
  parseTrustedProxies,
} from './values.ts'

/** How the names of the relay's settings begin. */
export const RELAY_PREFIX = 'RELAY_'

/** The declarations of the relay's settings, by their names in the code. */
export const RELAY_SETTINGS = {
  host: withDefault('::', {
    env: 'RELAY_HOST',
    description: 'The address that the relay listens on. :: is every address, IPv4 included.',
    accepts: 'an IP address or a host name',
    parse: parseListenHost,
  }),
  port: withDefault('7654', {
    env: 'RELAY_PORT',
    description: 'The port that the relay listens on, for HTTP/1.1 without TLS.',
    ...wholeNumber(0, 65_535),
  }),
  storeUrl: optional({
    env: 'RELAY_STORE_URL',
    description:
      'The Redis that the nodes of one relay share, to know which of them has a meeting place. Without it there is one node, which needs none.',
    accepts: 'redis://host:port, rediss://…, or with a user and password; a secret',
    secret: true,
    parse: parseStoreUrl,
  }),
  publicUrl: optional({
    env: 'RELAY_PUBLIC_URL',
    description:
      'Where clients reach this very node. With RELAY_STORE_URL it is told to those who came to another node.',
    accepts: 'wss://host[:port], or ws:// on a loopback host',
    parse: parseRelayUrl,
  }),
  trustedProxies: withDefault('loopback,fdaa::/16', {
    env: 'RELAY_TRUSTED_PROXIES',
    description:
      'The peers whose X-Forwarded-For is believed, as for GATEWAY_TRUSTED_PROXIES: connections are counted for each client address.',
    accepts: 'a comma-separated list of names, addresses and CIDRs, or none',
    parse: parseTrustedProxies,
  }),
  flyMachine: optional({
    env: 'FLY_MACHINE_ID',
    description:
      "The machine on Fly.io, which sets this itself. With it, Fly's proxy is asked to bring clients to the node that has their place.",
    accepts: 'lower-case letters and digits',
    parse: parseFlyMachine,
  }),
  metricsPort: optional({
    env: 'RELAY_METRICS_PORT',
    description:
      "A port for Prometheus, on the machine's private address (fdaa::/16) or else on 127.0.0.1. Metrics are served nowhere else.",
    ...wholeNumber(0, 65_535),
  }),
  drainSeconds: withDefault('4', {
    env: 'RELAY_DRAIN_SECONDS',
    description: 'Over how many seconds connections are closed when the relay stops.',
    ...wholeNumber(0, 600),
  }),
  logLevel: withDefault('info', {
    env: 'RELAY_LOG_LEVEL',
    description: 'The least severe log line that is written.',
    ...oneOf('trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'),
  }),
} as const satisfies ProgramSettings

/** The values of the relay's settings. */
export type RelayConfig = ValuesOf<typeof RELAY_SETTINGS>

const NAMES: readonly string[] = Object.values(RELAY_SETTINGS).flatMap(({ env, secret }) =>
  secret ? [env, `${env}_FILE`] : [env],
)

/**
 * Reads and checks the relay's settings. An empty value and an unknown `RELAY_` name are errors.
 * @throws {ConfigError} with every problem
 */
export function loadRelayConfig(env: Environment): RelayConfig {
  const { values, problems: wrong } = readProgramSettings(RELAY_SETTINGS, env)
  const problems = [...unknownVariables(RELAY_PREFIX, NAMES, env), ...wrong]
  if (values.storeUrl !== undefined && values.publicUrl === undefined)
    problems.push(
      'RELAY_PUBLIC_URL is missing; with RELAY_STORE_URL each node needs the address at which clients reach it, such as wss://a.relay.example.com',
    )
  const { port, metricsPort } = values
  if (metricsPort !== undefined && metricsPort !== 0 && metricsPort === port)
    problems.push(
      `RELAY_METRICS_PORT "${metricsPort}" is the port that the relay itself listens on; give it another`,
    )
  if (problems.length > 0) throw new ConfigError(problems)
  return Object.freeze(values as RelayConfig)
}
