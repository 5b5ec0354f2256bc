/** Which services are up? A short look at each, shared by everybody who asks within a second. */
import { canConnect } from './can-connect.ts'
import { listenerOf, type ServiceAddress } from '../config/values.ts'
import { PROBED_SERVICES, type ProbedService, type ServiceName } from '../rules/services.ts'
import type { Service } from './service.ts'

/** Whether somebody takes connections where a service should be. */
export type ServiceState = 'up' | 'down'

/** How long a service may take to accept a connection, in milliseconds. */
const CONNECT_MS = 500

/** For how long one look serves everybody, in milliseconds. */
const SHARED_MS = 1000

/** What was seen, by service. */
export type ServiceStates = Readonly<Record<ProbedService, ServiceState>>

/** Looks at the services, once a second at most. */
export class ServiceProbe {
  readonly #services: Readonly<Record<ServiceName, Pick<Service, 'address'>>>
  #latest: { readonly startedAt: number; readonly states: Promise<ServiceStates> } | undefined

  constructor(services: Readonly<Record<ServiceName, Pick<Service, 'address'>>>) {
    this.#services = services
  }

  /** What was seen within the last second; never rejects, and takes half a second at most. */
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
