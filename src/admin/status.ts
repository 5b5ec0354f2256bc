/** How is the gateway doing? One JSON object says so: the process, its services, and what it holds in memory. */
import { VERSION } from '../answers/version.ts'
import type { Config } from '../config/load.ts'
import type { Gateway } from '../parts.ts'
import { terminalStatus } from './terminal-actions.ts'

/** The status of a gateway. The states of the services are at most a second old. */
export async function statusOf({ app, parts }: Gateway, { workspace }: Config): Promise<object> {
  const [states, terminals] = await Promise.all([parts.probe.states(), parts.terminals.look()])
  const { services, openSockets, addressBudgets, sessionBudgets, sessions, verifier, drain } = parts
  return {
    workspace,
    version: VERSION,
    pid: process.pid,
    node: process.version,
    startedAt: new Date(performance.timeOrigin).toISOString(),
    listening: app.server.address(),
    draining: drain.isDraining,
    state: parts.state.condition,
    services: Object.fromEntries(
      Object.entries(states).map(([name, state]) => {
        const { address, inFlight } = services[name as keyof typeof states]
        return [name, { url: address.url, state, inFlight }]
      }),
    ),
    openWebSockets: openSockets.size,
    terminals: terminalStatus(terminals),
    budgets: { addresses: addressBudgets.size, sessions: sessionBudgets.size },
    sessions: sessions.counts(),
    rememberedTokens: verifier.size,
    residentBytes: process.memoryUsage.rss(),
  }
}
