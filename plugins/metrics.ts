/** What is there to measure? The counters that requests fill, and what is read when somebody asks. */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import fp from 'fastify-plugin'
import type { SlidingWindowLimiter } from '../src/limits/budget.ts'
import { exposition, RequestMetrics } from '../src/observe/metrics.ts'
import type { TokenVerifier } from '../src/identity/verifier.ts'

/** What is looked into. */
export interface MetricsOptions {
  readonly verifier: TokenVerifier
  readonly addresses: SlidingWindowLimiter
  readonly sessions: SlidingWindowLimiter
}

declare module 'fastify' {
  interface FastifyInstance {
    /** What is counted as requests end. */
    readonly metrics: RequestMetrics
    /** How much is kept in memory, by what it is. */
    readonly memoryUse: () => { addresses: number; sessions: number; rememberedTokens: number }
    /** Everything as Prometheus reads it. */
    readonly renderMetrics: () => string
  }
}

/** How often the event loop is asked whether it is late, in milliseconds. */
const LOOP_RESOLUTION_MS = 20

export default fp(
  async function metrics(app, { verifier, addresses, sessions }: MetricsOptions) {
    const counted = new RequestMetrics()
    const loop = monitorEventLoopDelay({ resolution: LOOP_RESOLUTION_MS })
    loop.enable()

    app.decorate('metrics', counted)
    app.decorate('memoryUse', () => ({
      addresses: addresses.size,
      sessions: sessions.size,
      rememberedTokens: verifier.size,
    }))
    app.decorate('renderMetrics', function renderMetrics() {
      const late = (nanoseconds: number) =>
        loop.count === 0 ? 0 : Math.max(0, nanoseconds / 1e9 - LOOP_RESOLUTION_MS / 1000)
      const eventLoopDelay = {
        '0.5': late(loop.percentile(50)),
        '0.99': late(loop.percentile(99)),
        '1': late(loop.max),
      }
      loop.reset()
      const { rememberedTokens, ...limiterKeys } = app.memoryUse()
      return exposition(counted, {
        openWebSockets: app.openSockets.size,
        inFlight: Object.fromEntries(
          Object.values(app.services).map(({ name, inFlight }) => [name, inFlight]),
        ),
        strayBytes: Object.fromEntries(
          Object.values(app.services).map(({ name, pool }) => [name, pool.strayBytes]),
        ),
        limiterKeys,
        rememberedTokens,
        isDraining: app.isDraining,
        eventLoopDelay,
      })
    })

    app.addHook('onClose', async function stopMeasuring() {
      loop.disable()
    })
  },
  { name: 'metrics', fastify: '5.x' },
)
