/** Which service does a path belong to? The rows of services.ts decide, with two settings. */
import {
  byService,
  SERVICE_NAMES,
  SERVICES,
  type ServiceName,
  type ServiceRow,
} from './services.ts'

/** The name of a route: a service, or the gateway itself. `chat` exists only when the control UI is switched on. */
export type RouteName = ServiceName | 'gateway'

/** What people call the sender of a response: the subject of an error's `detail`. */
export const ROUTE_WORDS: Readonly<Record<RouteName, `The ${string}`>> = {
  ...byService((_name, { words }) => words),
  gateway: 'The gateway',
}

/** What the settings decide about paths. */
export interface SiteMap {
  /** Where OpenClaw's control UI is mounted (`/chat`), or undefined when it is switched off. */
  readonly controlUi: string | undefined
  /** Whether `/api` is removed from a path before the request is forwarded. */
  readonly stripApi: boolean
  /** Whether the gateway knows of a vault, so that other workspaces may ask it. Default: false. */
  readonly hasVault?: boolean
  /** Whether the daemon of Hubcode has a route. Default: false. */
  readonly hasDaemon?: boolean
}

/** The site map of a configuration. */
export function siteMapOf(config: {
  readonly controlUi: string | undefined
  readonly apiPrefix: 'strip' | 'keep'
  readonly vaultSockets: string | undefined
  readonly daemonUrl: object | undefined
}): SiteMap {
  return {
    controlUi: config.controlUi,
    stripApi: config.apiPrefix === 'strip',
    hasVault: config.vaultSockets !== undefined,
    hasDaemon: config.daemonUrl !== undefined,
  }
}

/** The services that claim paths in one way. */
function claiming(claims: ServiceRow['claims']): ServiceName[] {
  return SERVICE_NAMES.filter((name) => SERVICES[name].claims === claims)
}

/** The one service that claims paths in one way. */
function theOneClaiming(claims: ServiceRow['claims']): ServiceName {
  const [name, ...more] = claiming(claims)
  if (name === undefined || more.length > 0)
    throw new Error(`src/rules/services.ts needs exactly one row that claims '${claims}'`)
  return name
}

/** A fixed path, and whose it is. */
interface Claim {
  readonly path: string
  readonly route: RouteName
  /** Whether what is below the path belongs to the route too. */
  readonly isPrefix: boolean
}

const CLAIMS: readonly Claim[] = [
  ...claiming('exact').map((route) => ({ path: SERVICES[route].path, route, isPrefix: false })),
  ...claiming('prefix').map((route) => ({ path: SERVICES[route].path, route, isPrefix: true })),
  { path: '/_gateway', route: 'gateway', isPrefix: true },
]
const VAULT = theOneClaiming('vault')
const DAEMON = theOneClaiming('daemon')
const CONTROL_UI = theOneClaiming('control-ui')
const REST = theOneClaiming('rest')

/** Paths that GATEWAY_CONTROL_UI must not name. */
export const RESERVED_PREFIXES: readonly string[] = [
  ...CLAIMS.map(({ path }) => path),
  SERVICES[DAEMON].path,
]

/** The route of a path. Prefixes match whole segments, case-sensitively: `/terminalx` is the dashboard's. */
export function routeOf(path: string, { controlUi, hasVault, hasDaemon }: SiteMap): RouteName {
  for (const { path: claimed, isPrefix, route } of CLAIMS) {
    if (isPrefix ? !hasPrefix(path, claimed) : path !== claimed) continue
    return route === 'gateway' && hasVault === true && hasPrefix(path, SERVICES[VAULT].path)
      ? VAULT
      : route
  }
  if (hasDaemon === true && hasPrefix(path, SERVICES[DAEMON].path)) return DAEMON
  return controlUi !== undefined && hasPrefix(path, controlUi) ? CONTROL_UI : REST
}

/** The path of a service as clients see it; undefined when the service is switched off. */
export function pathOf(
  name: ServiceName,
  { controlUi, hasVault, hasDaemon }: SiteMap,
): string | undefined {
  const { claims, path } = SERVICES[name]
  if (claims === 'vault' && hasVault !== true) return undefined
  if (claims === 'daemon' && hasDaemon !== true) return undefined
  return claims === 'control-ui' ? controlUi : path
}

/** The prefix to remove from a path before the request is forwarded: the path of the service, or an empty string. */
export function strippedPrefix(route: RouteName, siteMap: SiteMap): string {
  if (route === 'gateway') return ''
  const { stripsPath } = SERVICES[route]
  if (stripsPath === false || (stripsPath === 'by-setting' && !siteMap.stripApi)) return ''
  return pathOf(route, siteMap) ?? ''
}

function hasPrefix(path: string, prefix: string): boolean {
  return (
    path.startsWith(prefix) &&
    (path.length === prefix.length || path.charCodeAt(prefix.length) === 0x2f)
  )
}
