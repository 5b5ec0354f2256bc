/** How is the gateway doing? One JSON object says so: the process, its services, and what it holds in memory. */
import type { FastifyInstance } from 'fastify'
import { VERSION } from '../answers/version.ts'
import type { Config } from '../config/load.ts'
import type { ServiceProbe } from '../services/probe.ts'

/** The status of a gateway. The states of the services are at most a second old. */
export async function statusOf(
  app: FastifyInstance,
  { workspace }: Config,
  probe: ServiceProbe,
): Promise<object> {
  const states = await probe.states()
  const { addresses, sessions, rememberedTokens } = app.memoryUse()
  return {
    workspace,
    version: VERSION,
    pid: process.pid,
    node: process.version,
    startedAt: new Date(performance.timeOrigin).toISOString(),
    listening: app.server.address(),
    draining: app.isDraining,
    services: Object.fromEntries(
      Object.entries(states).map(([name, state]) => {
        const { address, inFlight } = app.services[name as keyof typeof states]
        return [name, { url: address.url, state, inFlight }]
      }),
    ),
    openWebSockets: app.openSockets.size,
    budgets: { addresses, sessions },
    rememberedTokens,
    residentBytes: process.memoryUsage.rss(),
  }
}
