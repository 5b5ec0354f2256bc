/** May this address, or this session, ask for one more thing? */
import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { RateLimiterRes } from 'rate-limiter-flexible'
import { rateLimitFields, retryAfterSeconds, type SlidingWindowLimiter } from '../src/budget.ts'
import { GatewayError } from '../src/errors.ts'
import { verifiedPrincipal } from '../src/exchange.ts'
import { isRouterFetch } from '../src/request-facts.ts'
import type { RouteName } from '../src/routes.ts'

/** The two kinds of budget. */
export interface RateLimitOptions {
  readonly addresses: SlidingWindowLimiter
  readonly sessions: SlidingWindowLimiter
  /** The routes on which a session spends from its own budget. */
  readonly sessionRoutes: readonly RouteName[]
}

export default fp(
  async function rateLimit(app, { addresses, sessions, sessionRoutes }: RateLimitOptions) {
    app.addHook('onRequest', function spendBudget(request, _reply, done) {
      const { exchange, raw } = request
      exchange.stage = 'rate-limit'
      const { uncounted } = request.routeOptions.config
      const isProbe = uncounted === 'without-credential' && exchange.credential === undefined
      if (uncounted === true || isProbe) {
        done()
        return
      }
      const sessionId = sessionBudget(request)
      const client = exchange.client ?? app.clientOf(raw)
      const result =
        sessionId === undefined
          ? addresses.take(client.budgetKey, client.sharedKey)
          : sessions.take(sessionId)
      const limiter = sessionId === undefined ? addresses : sessions
      exchange.counted = true
      const [limit, policy] = rateLimitFields(
        sessionId === undefined ? 'address' : 'session',
        limiter,
        result,
      )
      exchange.budgetFields = ['RateLimit', limit, 'RateLimit-Policy', policy]
      done(result.consumedPoints > limiter.limit ? tooMany(result) : undefined)
    })

    // A request that an earlier stage refused was a request all the same: guessing at secrets is not free.
    app.addHook(
      'onError',
      function countRefusal({ exchange, raw, routeOptions }, _reply, _error, done) {
        if (!exchange.counted && routeOptions.config.uncounted !== true) {
          exchange.counted = true
          const client = exchange.client ?? app.clientOf(raw)
          addresses.take(client.budgetKey, client.sharedKey)
        }
        done()
      },
    )

    /** The session whose budget a request spends from, or undefined for the address's. */
    function sessionBudget({ exchange, method, raw, ws }: FastifyRequest): string | undefined {
      const principal = verifiedPrincipal(exchange)
      if (principal === undefined || exchange.target === undefined) return undefined
      const isReading =
        exchange.credential?.kind === 'cookie' && (method === 'GET' || method === 'HEAD')
      // The dashboard's router fetches links ahead; those that lead elsewhere are answered here and are part of its page.
      const route =
        isReading && !ws && isRouterFetch(raw.headers) ? 'dashboard' : exchange.target.route
      if (!sessionRoutes.includes(route)) return undefined
      const isBrowserRoute = route === 'dashboard' || route === 'chat'
      return isReading || !isBrowserRoute ? principal.sessionId : undefined
    }
  },
  { name: 'rate-limit', fastify: '5.x', dependencies: ['credential'] },
)

function tooMany(result: RateLimiterRes): GatewayError {
  return new GatewayError('rate-limited', {
    headers: { 'Retry-After': String(retryAfterSeconds(result)) },
  })
}
