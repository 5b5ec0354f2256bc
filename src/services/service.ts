/** Who stands behind the gateway? The closed table of services: nothing in a request can add to it (GHSA-gcv9-6737-pjqw). */
import type { Config } from '../config/load.ts'
import type { ServiceAddress } from '../config/values.ts'
import { buildLocationRewriter } from '../http/location.ts'
import type { ForwardingMode } from '../http/to-service.ts'
import { ConnectionPool } from './pool.ts'

export type ServiceName = 'dashboard' | 'terminal' | 'api' | 'chat' | 'health'

/** One service: where it is, how it is spoken to, and its connections. */
export interface Service {
  readonly name: ServiceName
  readonly address: ServiceAddress
  readonly mode: ForwardingMode
  /** `Authorization` to send when the client brought none of the service's own; it changes when secrets are read again. */
  authorization: string | undefined
  readonly rewriteLocation: (location: string) => string
  /** Whether it reads a body only when it has a length: libwebsockets takes chunks for the next request. */
  readonly wantsLength: boolean
  /** Whether its answers must not become pages, or service workers, of the workspace's origin, nor speak for all of it. */
  readonly isolated: boolean
  readonly pool: ConnectionPool
  /** Requests under way. */
  inFlight: number
}

/** How long a connection to a service may take to be made, in milliseconds. They are on this machine. */
export const CONNECT_MS = 3000

/** Requests that one service may have under way; more are answered 503 at once instead of queueing without bound. */
export const MAX_IN_FLIGHT = 1024

/** Opens the table of services. Connections are made when a request needs one. */
export function openServices(config: Config): Record<ServiceName, Service> {
  const openclaw = config.openclawMode === 'local' ? 'none' : 'trusted-proxy'
  const open = (
    name: ServiceName,
    address: ServiceAddress,
    mode: ForwardingMode,
    stripped = '',
  ): Service => ({
    name,
    address,
    mode,
    authorization: undefined,
    wantsLength: name === 'terminal',
    // With the prefix kept, `/api` is where an operator has put the control UI itself.
    isolated: name === 'api' && config.apiPrefix === 'strip',
    rewriteLocation: buildLocationRewriter(
      [address.hostname, 'localhost', '127.0.0.1', '[::1]', '0.0.0.0'],
      address.port === undefined ? undefined : String(address.port),
      stripped,
    ),
    pool: new ConnectionPool(address),
    inFlight: 0,
  })
  const services = {
    dashboard: open('dashboard', config.dashboardUrl, 'full'),
    terminal: open('terminal', config.terminalUrl, 'full'),
    api: open('api', config.apiUrl, openclaw, config.apiPrefix === 'strip' ? '/api' : ''),
    chat: open('chat', config.apiUrl, openclaw),
    health: open('health', config.healthUrl, 'full'),
  }
  setOpenclawToken(services, config.openclawToken)
  return services
}

/** Sends this token to OpenClaw from now on, or none. */
export function setOpenclawToken(
  { api, chat }: Pick<Readonly<Record<ServiceName, Service>>, 'api' | 'chat'>,
  token: string | undefined,
): void {
  for (const service of [api, chat])
    service.authorization = token === undefined ? undefined : `Bearer ${token}`
}
