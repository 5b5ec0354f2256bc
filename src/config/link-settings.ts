/** Which settings does the link have, the daemon's side of the relay? Those in LINK_SETTINGS, each declared once. */
import { ConfigError, readSetting, type Environment } from './load.ts'
import {
  readProgramSettings,
  unknownVariables,
  type ProgramSettings,
  type ValuesOf,
} from './program-settings.ts'
import { oneOf, optional, trueOrFalse, withDefault } from './setting.ts'
import { SETTINGS } from './settings.ts'
import {
  parseAbsolutePath,
  parseRelayUrl,
  parseServiceUrl,
  parseSocketPath,
  parseWebUrl,
  type ServiceAddress,
} from './values.ts'

/** How the names of the link's settings begin. */
export const LINK_PREFIX = 'LINK_'

/** Hubcode's folder for what a daemon keeps, which is used when LINK_STATE_DIR is not set. */
export const HUBCODE_HOME = 'HUBCODE_HOME'

const DEFAULT_STATE_DIR = '/data/gateway/link'

/** The declarations of the link's settings, by their names in the code. */
export const LINK_SETTINGS = {
  relayUrl: optional({
    env: 'LINK_RELAY_URL',
    description:
      'The relay that the link dials. It need not be trusted: it sees addresses, times and sizes, and can cut.',
    accepts: 'wss://host[:port], or ws:// on a loopback host',
    parse: parseRelayUrl,
  }),
  target: optional({
    env: 'LINK_TARGET',
    description:
      "The service of this machine that paired devices reach. Default: the gateway, on GATEWAY_LINK_SOCKET. Another service gets the devices' bytes as they are.",
    accepts: 'http://127.0.0.1:port, another loopback address, or unix:/path',
    parse: parseLoopbackUrl,
  }),
  stateDir: optional({
    env: 'LINK_STATE_DIR',
    description: `The folder of the daemon's key and the list of devices. It is created with mode 700. Default: $HUBCODE_HOME, else ${DEFAULT_STATE_DIR}.`,
    accepts: 'an absolute path',
    parse: parseAbsolutePath,
  }),
  ownerSocket: withDefault('/run/workspace/link-owner.sock', {
    env: 'LINK_OWNER_SOCKET',
    description:
      "The Unix socket for the owner's commands and for the gateway (GATEWAY_LINK_OWNER_SOCKET). It is created with mode 600: who can open it can let devices in.",
    accepts: 'an absolute path',
    parse: parseSocketPath,
  }),
  pageUrl: optional({
    env: 'LINK_PAGE_URL',
    description:
      'The page that pairing links open, on a server that you trust: who serves it can read everything. Default: /_gateway/remote/ of the workspace, by GATEWAY_WORKSPACE and GATEWAY_DOMAIN.',
    accepts: 'an http:// or https:// URL',
    parse: parseWebUrl,
  }),
  autoApprove: withDefault('false', {
    env: 'LINK_AUTO_APPROVE',
    description:
      'Whether devices need no approval: then whoever sees a pairing link first is let in, as its maker.',
    ...trueOrFalse,
  }),
  logLevel: withDefault('info', {
    env: 'LINK_LOG_LEVEL',
    description: 'The least severe log line that is written.',
    ...oneOf('trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'),
  }),
} as const satisfies ProgramSettings

type Values = ValuesOf<typeof LINK_SETTINGS>

/** The values of the link's settings, with the defaults that depend on other settings. */
export interface LinkConfig extends Omit<Values, 'relayUrl' | 'target' | 'stateDir' | 'pageUrl'> {
  readonly relayUrl: string
  /** Where each stream of a device is handed to. */
  readonly target: ServiceAddress
  /** Whether the target is our gateway, which is told of the device first. */
  readonly isGateway: boolean
  readonly stateDir: string
  /** Hubcode's own folder, whose config.json has the lists of hosts and origins of a service that is not our gateway; undefined when not set. */
  readonly hubcodeHome: string | undefined
  /** Ends in `/`. The digits of an offer follow behind a `#`. */
  readonly pageUrl: string
  /** The host that devices name in their requests: the workspace's, where it is known, else that of `pageUrl`. */
  readonly host: string
}

const NAMES: readonly string[] = Object.values(LINK_SETTINGS).map(({ env }) => env)

/**
 * Reads and checks the link's settings, and those of the gateway's that it shares. An empty value and an unknown `LINK_` name are errors.
 * @throws {ConfigError} with every problem
 */
export function loadLinkConfig(env: Environment): LinkConfig {
  const { values, problems: wrong } = readProgramSettings(LINK_SETTINGS, env)
  const problems = [...unknownVariables(LINK_PREFIX, NAMES, env), ...wrong]
  const target = values.target ?? gatewaySocket(env, problems)
  const pageUrl = values.pageUrl ?? ownPage(env, problems)
  const stateDir = values.stateDir ?? hubcodeHome(env, problems)
  if (values.relayUrl === undefined && !problems.some((line) => line.startsWith('LINK_RELAY_URL')))
    problems.push('LINK_RELAY_URL is missing; give the relay, such as wss://relay.example.com')
  if (problems.length > 0) throw new ConfigError(problems)
  return Object.freeze({
    ...(values as Values),
    ...{ target, pageUrl, stateDir, isGateway: values.target === undefined },
    hubcodeHome: env[HUBCODE_HOME],
    host: hostOf(env, values.target === undefined, pageUrl ?? ''),
  } as LinkConfig)
}

/** The gateway of this machine, by its own setting. */
function gatewaySocket(env: Environment, problems: string[]): ServiceAddress | undefined {
  try {
    const path = readSetting(SETTINGS.linkSocket, env)
    if (path !== undefined) return parseServiceUrl(`unix:${path}`)
    problems.push(
      'GATEWAY_LINK_SOCKET is missing; give the socket of the gateway, or another service as LINK_TARGET',
    )
  } catch (error) {
    problems.push(error instanceof Error ? error.message : String(error))
  }
  return undefined
}

function ownPage(env: Environment, problems: string[]): string | undefined {
  try {
    const workspace = readSetting(SETTINGS.workspace, env)
    return `https://${workspace}.${readSetting(SETTINGS.domain, env)}/_gateway/remote/`
  } catch (error) {
    problems.push(`${error instanceof Error ? error.message : String(error)}; or set LINK_PAGE_URL`)
    return undefined
  }
}

/** The host that devices name: the gateway answers to the workspace's own, another service to that of the page. */
function hostOf(env: Environment, isGateway: boolean, pageUrl: string): string {
  const page = URL.parse(pageUrl)?.host ?? ''
  if (!isGateway || env[SETTINGS.workspace.env] === undefined) return page
  const own = ownPage(env, [])
  return own === undefined ? page : (URL.parse(own)?.host ?? page)
}

function hubcodeHome(env: Environment, problems: string[]): string {
  const home = env[HUBCODE_HOME]
  if (home === undefined) return DEFAULT_STATE_DIR
  if (home.startsWith('/')) return home
  problems.push(`${HUBCODE_HOME} is not an absolute path, which it must be without LINK_STATE_DIR`)
  return home
}

/** Parses a service of this machine: what a device reaches must not be another machine's. */
function parseLoopbackUrl(text: string): ServiceAddress {
  const address = parseServiceUrl(text)
  if (!/^(?:localhost|127\.[0-9.]+|\[::1\])$/.test(address.hostname))
    throw new Error('is not on this machine')
  return address
}
