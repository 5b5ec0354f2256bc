/** What do the metrics read at the moment of asking? The counters of ended requests, and the gateway's parts as they are now. */
import type { ApiTokens } from '../identity/api-tokens.ts'
import { exposition } from '../observe/metrics.ts'
import type { Parts } from '../parts.ts'
import { byService } from '../rules/services.ts'

/** The metrics of a gateway, in the text format of Prometheus. */
export function renderMetrics(parts: Parts): string {
  return exposition(parts.metrics, {
    openWebSockets: parts.openSockets.size,
    terminals: parts.terminals.lastCounts(),
    inFlight: byService((name) => parts.services[name].inFlight),
    strayBytes: byService((name) => parts.services[name].pool.strayBytes),
    rateLimits: parts.rateLimits,
    limiterKeys: {
      addresses: parts.addressBudgets.size,
      sessions: parts.sessionBudgets.size,
      tokens: parts.tokenBudgets.size,
    },
    tokensVerified: Object.fromEntries(parts.keys.keys.map(({ kid, uses }) => [kid, uses])),
    sessions: parts.sessions.counts(),
    sessionsStarted: parts.sessions.started,
    sessionsEnded: parts.sessions.endings,
    rememberedTokens: parts.verifier.size,
    secondFactors: parts.factorLog.counts,
    factorLocks: parts.factorLog.locks,
    apiTokenUses: usesByName(parts.apiTokens),
    isDraining: parts.drain.isDraining,
    eventLoopDelay: parts.eventLoop.read(),
  })
}

/** How often each API token was used since the start. A name is counted once, though several tokens may have had it. */
function usesByName(apiTokens: ApiTokens): Record<string, number> {
  const uses: Record<string, number> = {}
  for (const { name, uses: count } of apiTokens.list())
    if (count > 0) uses[name] = (uses[name] ?? 0) + count
  return uses
}
