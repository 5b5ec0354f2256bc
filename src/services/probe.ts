/** Which services are up? One short connection to each tells; its result serves every question of the next second. */
import { canConnect } from './can-connect.ts'
import { listenerOf, type ServiceAddress } from '../config/values.ts'
import { PROBED_SERVICES, type ProbedService, type ServiceName } from '../rules/services.ts'
import type { Service } from './service.ts'

/** `up`: the address of the service accepts connections. */
type ServiceState = 'up' | 'down'

/** How long a service may take to accept a connection, in milliseconds. */
const CONNECT_MS = 500

/** How long the states of one look are given out again, in milliseconds. */
const SHARED_MS = 1000

/** The state of each service that is probed. */
export type ServiceStates = Readonly<Record<ProbedService, ServiceState>>

/** Connects to the services, once a second at most: a probe must cost the services nothing, however often it is sent. */
export class ServiceProbe {
  readonly #services: Readonly<Record<ServiceName, Pick<Service, 'address'>>>
  #latest: { readonly startedAt: number; readonly states: Promise<ServiceStates> } | undefined

  constructor(services: Readonly<Record<ServiceName, Pick<Service, 'address'>>>) {
    this.#services = services
  }

  /** The states of the services, at most a second old. Never rejects, and takes half a second at most. */
  states(): Promise<ServiceStates> {
    const now = performance.now()
    if (this.#latest === undefined || now - this.#latest.startedAt > SHARED_MS)
      this.#latest = { startedAt: now, states: this.#look() }
    return this.#latest.states
  }

  async #look(): Promise<ServiceStates> {
    const entries = PROBED_SERVICES.map(
      async (name) => [name, await stateOf(this.#services[name].address)] as const,
    )
    return Object.fromEntries(await Promise.all(entries)) as ServiceStates
  }
}

async function stateOf(address: ServiceAddress): Promise<ServiceState> {
  return (await canConnect(listenerOf(address), CONNECT_MS)) ? 'up' : 'down'
}
