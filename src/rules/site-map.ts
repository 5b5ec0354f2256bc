/** Which service does a path belong to? The site map, as data and one pure function. */

/** The gateway's routes. `chat` exists only when the control UI is switched on. */
export type RouteName = 'dashboard' | 'terminal' | 'api' | 'chat' | 'health' | 'gateway'

/** Whose answers a route has, as people know them. */
export const ROUTE_WORDS: Readonly<Record<RouteName, `The ${string}`>> = {
  dashboard: 'The dashboard',
  terminal: 'The terminal',
  api: 'The agent (OpenClaw)',
  chat: 'The agent (OpenClaw)',
  health: 'The stats server',
  gateway: 'The gateway',
}

/** The path prefixes that are not the dashboard's. */
export interface SiteMap {
  /** Where OpenClaw's control UI is mounted (`/chat`), or undefined when it is switched off. */
  readonly controlUi: string | undefined
  /** Whether `/api` is taken off before the request is forwarded. */
  readonly stripApi: boolean
}

const PREFIXES: ReadonlyArray<readonly [string, RouteName]> = [
  ['/terminal', 'terminal'],
  ['/api', 'api'],
  ['/_gateway', 'gateway'],
]

/** Prefixes that no other setting may claim. */
export const RESERVED_PREFIXES: readonly string[] = [
  ...PREFIXES.map(([prefix]) => prefix),
  '/health',
]

/** The route of a path. Prefixes match whole segments, case-sensitively: `/terminalx` is the dashboard's. */
export function routeOf(path: string, siteMap: SiteMap): RouteName {
  if (path === '/health') return 'health'
  for (const [prefix, route] of PREFIXES) if (hasPrefix(path, prefix)) return route
  return siteMap.controlUi !== undefined && hasPrefix(path, siteMap.controlUi)
    ? 'chat'
    : 'dashboard'
}

function hasPrefix(path: string, prefix: string): boolean {
  return (
    path.startsWith(prefix) &&
    (path.length === prefix.length || path.charCodeAt(prefix.length) === 0x2f)
  )
}
