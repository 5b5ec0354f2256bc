/** What do the metrics read at the moment of asking? The counters of ended requests, and the gateway's parts as they are now. */
import { exposition } from '../observe/metrics.ts'
import type { Parts } from '../parts.ts'

/** The metrics of a gateway, in the text format of Prometheus. */
export function renderMetrics(parts: Parts): string {
  return exposition(parts.metrics, {
    openWebSockets: parts.openSockets.size,
    inFlight: Object.fromEntries(
      Object.values(parts.services).map(({ name, inFlight }) => [name, inFlight]),
    ),
    strayBytes: Object.fromEntries(
      Object.values(parts.services).map(({ name, pool }) => [name, pool.strayBytes]),
    ),
    limiterKeys: { addresses: parts.addresses.size, sessions: parts.sessions.size },
    rememberedTokens: parts.verifier.size,
    isDraining: parts.drain.isDraining,
    eventLoopDelay: parts.eventLoop.read(),
  })
}
