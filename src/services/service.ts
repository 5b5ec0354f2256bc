/** How is each service spoken to? The table of services, opened: addresses, connections, and what the settings decide. */
import type { Config } from '../config/load.ts'
import { parseServiceUrl, type ServiceAddress } from '../config/values.ts'
import { buildLocationRewriter } from '../http/location.ts'
import { LOCAL_HOST, type ForwardingMode } from '../http/to-service.ts'
import { byService, type AddressKey, type ServiceName, type ServiceRow } from '../rules/services.ts'
import { pathOf, siteMapOf, strippedPrefix, type SiteMap } from '../rules/site-map.ts'
import { ConnectionPool } from './pool.ts'

/** One service: its row, what the settings make of it, and its connections. */
export interface Service {
  readonly name: ServiceName
  readonly row: ServiceRow
  readonly address: ServiceAddress
  readonly mode: ForwardingMode
  /** `Authorization` to send when the client brought none of the service's own; it changes when secrets are read again. */
  authorization: string | undefined
  readonly rewriteLocation: (location: string) => string
  /** Whether OpenClaw's control UI is served here. */
  readonly servesControlUi: boolean
  /** The path that an isolated service speaks for, and nothing else of the origin; undefined for a service that is not isolated. */
  readonly isolatedAt: string | undefined
  readonly pool: ConnectionPool
  /** Requests under way. */
  inFlight: number
}

/** How long a connection to a service may take to be made, in milliseconds. They are on this machine. */
export const CONNECT_MS = 3000

/** Requests that one service may have under way; more are answered 503 at once instead of queueing without bound. */
export const MAX_IN_FLIGHT = 1024

/** Options of {@link openServices}. */
export interface ServiceOptions {
  /** The socket of the door that the vault has for other workspaces; undefined where the gateway knows of no vault. */
  readonly vaultDoor?: string | undefined
  /** Called when a service has sent bytes that belong to no response. Must not throw. */
  readonly onStrayBytes?: ((service: ServiceName, count: number) => void) | undefined
}

/** Opens the table of services. Connections are made when a request needs one. */
export function openServices(
  config: Config,
  options: ServiceOptions = {},
): Record<ServiceName, Service> {
  const siteMap = siteMapOf(config)
  const services = byService((name, row) => openService(name, row, config, siteMap, options))
  setOpenclawToken(services, config.openclawToken)
  return services
}

function openService(
  name: ServiceName,
  row: ServiceRow<AddressKey>,
  config: Config,
  siteMap: SiteMap,
  { onStrayBytes, vaultDoor }: ServiceOptions,
): Service {
  const address = addressOf(row, config, vaultDoor)
  const stripped = strippedPrefix(name, siteMap)
  const isStripped = stripped !== ''
  const isIsolated = row.isolated === 'when-stripped' ? isStripped : row.isolated
  return {
    name,
    row,
    address,
    mode: forwardingModeOf(row, config),
    authorization: undefined,
    servesControlUi: row.controlUi === 'when-kept' ? !isStripped : row.controlUi === true,
    isolatedAt: isIsolated ? pathOf(name, siteMap) : undefined,
    rewriteLocation: locationRewriterOf(row, address, stripped),
    pool: new ConnectionPool(address, { onStrayBytes: (count) => onStrayBytes?.(name, count) }),
    inFlight: 0,
  }
}

/** A redirect of what stands behind the vault is handed back as that service has sent it. */
const asItIs = (location: string): string => location

function locationRewriterOf(row: ServiceRow, address: ServiceAddress, stripped: string) {
  if (row.address === 'vault') return asItIs
  const rewrite = buildLocationRewriter(
    [address.hostname, 'localhost', '127.0.0.1', '[::1]', '0.0.0.0'],
    address.port === undefined ? undefined : String(address.port),
    stripped,
  )
  if (!row.localHost) return rewrite
  // The service may write absolute URLs with the `Host` that it got, which has no port.
  const toPath = buildLocationRewriter([LOCAL_HOST], '80', '')
  return (location: string) => rewrite(toPath(location))
}

/** Where a service listens. Nothing is routed to a service that is switched off, and its address is the path of no socket. */
function addressOf(
  { address }: ServiceRow<AddressKey>,
  config: Config,
  vaultDoor: string | undefined,
): ServiceAddress {
  if (address === 'vault') return parseServiceUrl(`unix:${vaultDoor ?? NO_SOCKET}`)
  if (address === 'daemon') return config.daemonUrl ?? parseServiceUrl(`unix:${NO_SOCKET}`)
  return config[address.key]
}

const NO_SOCKET = '/dev/null'

/** How a service is told who is calling, as the settings decide. */
export function forwardingModeOf({ forwarding }: ServiceRow, config: Config): ForwardingMode {
  if (forwarding !== 'openclaw') return forwarding
  // In its local mode any forwarding field makes OpenClaw answer 403.
  return config.openclawMode === 'local' ? 'none' : 'trusted-proxy'
}

/** Sends this token to OpenClaw from now on, or none. */
export function setOpenclawToken(
  services: Readonly<Record<ServiceName, Service>>,
  token: string | undefined,
): void {
  for (const service of Object.values(services))
    if (service.row.forwarding === 'openclaw')
      service.authorization = token === undefined ? undefined : `Bearer ${token}`
}
