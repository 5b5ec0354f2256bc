/** May this address, or this session, ask for one more thing? */
import type { FastifyRequest } from 'fastify'
import type { RateLimiterRes } from 'rate-limiter-flexible'
import {
  rateLimitFields,
  retryAfterSeconds,
  type Borrowed,
  type SlidingWindowLimiter,
} from '../src/limits/budget.ts'
import { isPreflight } from '../src/rules/cors.ts'
import { waitDetail } from '../src/answers/details.ts'
import { GatewayError } from '../src/answers/errors.ts'
import type { ClientFinder } from '../src/request/client-finder.ts'
import { ownOrigin, verifiedPrincipal } from '../src/request/exchange.ts'
import { stage } from '../src/request/stage.ts'
import type { Client } from '../src/http/address.ts'
import { fieldLines } from '../src/http/fields.ts'
import { isOfOwnPage } from '../src/rules/origin.ts'
import { PasswordTries } from '../src/limits/password-tries.ts'
import { isRouterFetch } from '../src/request/request-facts.ts'
import { SERVICES } from '../src/rules/services.ts'
import type { RouteName } from '../src/rules/site-map.ts'

/** Which budgets there are, and who spends from which. */
export interface RateLimitOptions {
  readonly budgets: RequestBudgets
  /** The routes on which a signed-in browser spends from its session's budget. */
  readonly sessionRoutes: readonly RouteName[]
  /** The routes on which a program with a token does. */
  readonly programRoutes: readonly RouteName[]
  /** Foreign origins whose pages use the workspace as its own do. */
  readonly allowedOrigins: readonly string[]
}

/** The two kinds of budget, spent from by requests. */
export class RequestBudgets {
  readonly #addresses: SlidingWindowLimiter
  readonly #sessions: SlidingWindowLimiter
  readonly #clients: ClientFinder
  readonly #passwords = new PasswordTries()

  constructor({
    addresses,
    sessions,
    clients,
  }: {
    readonly addresses: SlidingWindowLimiter
    readonly sessions: SlidingWindowLimiter
    readonly clients: ClientFinder
  }) {
    this.#addresses = addresses
    this.#sessions = sessions
    this.#clients = clients
  }

  /** Takes one from the budget of the request's address. @returns the refusal when nothing was left */
  spendAddress(request: FastifyRequest): GatewayError | undefined {
    return note(request, 'address', this.#addresses, this.#takeFromAddress(request))
  }

  /** Takes one from the budget of a session. @returns the refusal when nothing was left */
  spendSession(request: FastifyRequest, sessionId: string): GatewayError | undefined {
    return note(request, 'session', this.#sessions, this.#sessions.take(sessionId))
  }

  /** Counts a request that an earlier stage refused, because guessing at secrets is not free. */
  countRefusal(request: FastifyRequest): void {
    request.exchange.counted = true
    this.#takeFromAddress(request)
  }

  /** A request with a password for the terminal may be a guess, and then it needs a try that is left. */
  beginPasswordTry(request: FastifyRequest, isPaid: boolean): GatewayError | undefined {
    const { exchange, raw } = request
    if (!asksForPassword(exchange.target?.route) || exchange.dropAuthorization) return undefined
    const principal = verifiedPrincipal(exchange)
    const authorization = fieldLines(raw.rawHeaders, 'authorization')[0]
    if (principal === undefined || authorization === undefined) return undefined
    const { budgetKey, sharedKey } = this.#clientOf(request)
    const addresses = this.#addresses
    let borrowed: Borrowed | undefined
    const budget = {
      take: () => {
        borrowed = addresses.borrow(budgetKey, sharedKey)
        return borrowed.result.consumedPoints <= addresses.limit
      },
      giveBack: () => borrowed?.giveBack(),
    }
    const attempt = this.#passwords.begin(
      principal.sessionId,
      authorization,
      isPaid ? undefined : budget,
    )
    if (attempt === undefined && borrowed !== undefined)
      return note(request, 'address', addresses, borrowed.result)
    exchange.passwordTry = attempt
    return undefined
  }

  #takeFromAddress(request: FastifyRequest): RateLimiterRes {
    const { budgetKey, sharedKey } = this.#clientOf(request)
    return this.#addresses.take(budgetKey, sharedKey)
  }

  #clientOf({ exchange, raw }: FastifyRequest): Client {
    return exchange.client ?? this.#clients.findOrPeer(raw)
  }
}

export default stage(
  'rate-limit',
  ({ budgets, sessionRoutes, programRoutes, allowedOrigins }: RateLimitOptions, app) => {
    app.addHook('onError', function countRefusal(request, _reply, _error, done) {
      const { exchange, routeOptions } = request
      if (!exchange.counted && routeOptions.config.uncounted !== true) budgets.countRefusal(request)
      done()
    })

    return function spendBudget(request) {
      if (isFree(request)) return undefined
      const sessionId = sessionBudget(request)
      const refusal =
        sessionId === undefined
          ? budgets.spendAddress(request)
          : budgets.spendSession(request, sessionId)
      return refusal ?? budgets.beginPasswordTry(request, sessionId === undefined)
    }

    /** The session whose budget a request spends from, or undefined for the address's. */
    function sessionBudget(request: FastifyRequest): string | undefined {
      const { exchange } = request
      const principal = verifiedPrincipal(exchange)
      if (principal === undefined || exchange.target === undefined) return undefined
      const { route } = exchange.target
      if (exchange.credential?.kind !== 'cookie')
        return programRoutes.includes(route) ? principal.sessionId : undefined
      return sessionRoutes.includes(pageOf(request, route)) && isOfOwnBrowser(request)
        ? principal.sessionId
        : undefined
    }

    /** Whether a page of ours, or the person, sent the request: nobody else's page may use a session's budget up. */
    function isOfOwnBrowser({ exchange, raw, method, ws }: FastifyRequest): boolean {
      const rules = { own: ownOrigin(exchange), allowed: allowedOrigins }
      return isOfOwnPage(raw.headers, rules, ws ? 'UPGRADE' : method)
    }
  },
)

/** Notes on the request what was taken from a budget. @returns the refusal when it was too much */
function note(
  { exchange }: FastifyRequest,
  policy: 'address' | 'session',
  limiter: SlidingWindowLimiter,
  result: RateLimiterRes,
): GatewayError | undefined {
  exchange.counted = true
  const [limit, rule] = rateLimitFields(policy, limiter, result)
  exchange.budgetFields = ['RateLimit', limit, 'RateLimit-Policy', rule]
  return result.consumedPoints > limiter.limit ? tooMany(result) : undefined
}

/** Whether a request costs nothing, or what it costs is decided where it is answered. */
function isFree(request: FastifyRequest): boolean {
  const { exchange, routeOptions } = request
  const { uncounted } = routeOptions.config
  if (uncounted === true) return true
  if (uncounted === 'without-credential' && exchange.credential === undefined) return true
  if (uncounted === 'signed-in' && verifiedPrincipal(exchange) !== undefined) return true
  if (uncounted === 'sign-in' && isSignInTry(request)) return true
  return isAllowedPreflight(request)
}

/**
 * A preflight of an allowed origin. The browser asks, not the page: a refusal would reach the page as a network error,
 * without `Retry-After`. The request that it asks for is counted. Stage 7 answers it, with no more work than a refusal.
 */
function isAllowedPreflight({ exchange, method, raw }: FastifyRequest): boolean {
  return (
    exchange.allowOrigin !== undefined &&
    exchange.credential === undefined &&
    isPreflight(method, raw.headers)
  )
}

/** Whether a request to the sign-in route brings a token, or only asks for the page. */
function isSignInTry({ method, exchange, ws }: FastifyRequest): boolean {
  return !ws && (method === 'POST' || new URLSearchParams(exchange.target?.query).has('token'))
}

/** Whether the service of a route asks for a password. */
function asksForPassword(route: RouteName | undefined): boolean {
  return route !== undefined && route !== 'gateway' && SERVICES[route].basicPassword === true
}

/** The route whose page a browser's request is part of. */
function pageOf({ method, raw, ws }: FastifyRequest, route: RouteName): RouteName {
  // Ours belong to the whole workspace. The dashboard's router fetches links ahead; those that lead elsewhere are answered
  // here (plugins/8-upstream.ts).
  if (route === 'gateway') return 'dashboard'
  const isReading = method === 'GET' || method === 'HEAD'
  return isReading && !ws && isRouterFetch(raw.headers) ? 'dashboard' : route
}

/** By the seconds to wait. There are no more of them than a window has, which a setting bounds. */
const refusals = new Map<number, GatewayError>()

/** Made once for each number of seconds: a flood is refused with the same few over and over. */
function tooMany(result: RateLimiterRes): GatewayError {
  const seconds = retryAfterSeconds(result)
  const known = refusals.get(seconds)
  if (known !== undefined) return known
  const refusal = new GatewayError('rate-limited', {
    detail: waitDetail(seconds),
    retryAfter: seconds,
  })
  refusals.set(seconds, refusal)
  return refusal
}
