/**
 * Stage 6: is there budget for this request? A request spends from its session's budget, from that of an API token with a rate
 * of its own, or from its client address's.
 */
import type { FastifyRequest } from 'fastify'
import type { RateLimiterRes } from 'rate-limiter-flexible'
import { budgetWindow, type Borrowed, type SlidingWindowLimiter } from '../src/limits/budget.ts'
import { rateLimitFields, retryAfterSeconds } from '../src/limits/budget-fields.ts'
import { isPreflight } from '../src/rules/cors.ts'
import { waitDetail } from '../src/answers/details.ts'
import { GatewayError } from '../src/answers/errors.ts'
import type { ApiToken } from '../src/identity/api-tokens.ts'
import { EXPIRY_FIELD } from '../src/http/browser.ts'
import type { Parts } from '../src/parts.ts'
import type { ClientFinder } from '../src/request/client-finder.ts'
import { ownOrigin, verifiedPrincipal, type Exchange } from '../src/request/exchange.ts'
import { stage } from '../src/request/stage.ts'
import type { RateLimitCounts } from '../src/observe/rate-limit-metrics.ts'
import type { Client } from '../src/http/address.ts'
import { fieldLines } from '../src/http/fields.ts'
import { isOfOwnPage } from '../src/rules/origin.ts'
import { PasswordTries } from '../src/limits/password-tries.ts'
import { isRouterFetch } from '../src/request/request-facts.ts'
import { SERVICES } from '../src/rules/services.ts'
import type { RouteName } from '../src/rules/site-map.ts'

/** Which budgets there are, and which requests spend from which. */
interface RateLimitOptions {
  readonly budgets: RequestBudgets
  /**
   * The routes on which a signed-in browser spends from its session's budget: GATEWAY_SESSION_ROUTES, or the services whose row
   * in src/rules/services.ts has `budget: 'session'`.
   */
  readonly sessionRoutes: readonly RouteName[]
  /** The routes on which a program with a token spends from its session's budget. */
  readonly programRoutes: readonly RouteName[]
  /** Foreign origins whose pages count as pages of the workspace. */
  readonly allowedOrigins: readonly string[]
}

/** The budgets of client addresses, of sessions and of API tokens, and what requests spend from them. */
export class RequestBudgets {
  readonly #addresses: SlidingWindowLimiter
  readonly #sessions: SlidingWindowLimiter
  readonly #tokens: SlidingWindowLimiter
  readonly #counts: RateLimitCounts
  readonly #clients: ClientFinder
  readonly #passwords = new PasswordTries()

  constructor({
    addressBudgets,
    sessionBudgets,
    tokenBudgets,
    rateLimits,
    clients,
  }: Pick<Parts, 'addressBudgets' | 'sessionBudgets' | 'tokenBudgets' | 'rateLimits' | 'clients'>) {
    this.#addresses = addressBudgets
    this.#sessions = sessionBudgets
    this.#tokens = tokenBudgets
    this.#counts = rateLimits
    this.#clients = clients
  }

  /** Takes one from the budget of the request's client address. @returns the refusal when nothing was left */
  spendAddress(request: FastifyRequest): GatewayError | undefined {
    return this.#note(request, 'address', this.#addresses, this.#takeFromAddress(request))
  }

  /** Takes one from the budget of a session. @returns the refusal when nothing was left */
  spendSession(request: FastifyRequest, sessionId: string): GatewayError | undefined {
    const refusal = this.#note(request, 'session', this.#sessions, this.#sessions.take(sessionId))
    if (refusal !== undefined) request.exchange.pastLimitOf = `session ${sessionId}`
    return refusal
  }

  /** Takes one from the budget of an API token that has a rate of its own. @returns the refusal when nothing was left */
  spendToken(request: FastifyRequest, { id }: ApiToken, rate: number): GatewayError | undefined {
    const result = this.#tokens.take(id, id, 1, rate)
    const refusal = this.#note(request, 'token', this.#tokens, result, rate)
    if (refusal !== undefined) request.exchange.pastLimitOf = `token ${id}`
    return refusal
  }

  /** Takes one from the budget of the address for a request that was refused before this stage counted it. */
  countRefusal(request: FastifyRequest): void {
    const { exchange } = request
    exchange.counted = true
    const { consumedPoints } = this.#takeFromAddress(request)
    exchange.pastLimitOf = consumedPoints > this.#addresses.limit ? 'address' : undefined
  }

  /**
   * Begins a try at the terminal's password when the request carries one, because the password may be a guess.
   * @returns the refusal when the address has no try left
   */
  beginPasswordTry(request: FastifyRequest): GatewayError | undefined {
    const { exchange, raw } = request
    if (!asksForPassword(exchange.target?.route) || exchange.dropAuthorization) return undefined
    const authorization = fieldLines(raw.rawHeaders, 'authorization')[0]
    return authorization === undefined ? undefined : this.beginTokenTry(request, authorization)
  }

  /**
   * Begins a try at the token of a terminal's first message, which is the only proof of a client whose password is lent.
   * @param authorization the password that goes to the terminal
   * @returns the refusal when the address has no try left
   */
  beginTokenTry(request: FastifyRequest, authorization: string): GatewayError | undefined {
    const { exchange } = request
    const principal = verifiedPrincipal(exchange)
    if (principal === undefined) return undefined
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
      principal.session.id,
      authorization,
      exchange.isPaidByAddress ? undefined : budget,
    )
    if (attempt === undefined && borrowed !== undefined)
      return this.#note(request, 'address', addresses, borrowed.result)
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

  /** Notes what was taken from a budget, for the response's fields and the metrics. @returns the refusal when it was too much */
  #note(
    { exchange }: FastifyRequest,
    policy: 'address' | 'session' | 'token',
    limiter: SlidingWindowLimiter,
    result: RateLimiterRes,
    limit = limiter.limit,
  ): GatewayError | undefined {
    exchange.counted = true
    exchange.isPaidByAddress = policy === 'address'
    const [left, rule] = rateLimitFields([budgetWindow(policy, limiter, result, limit)])
    const session = verifiedPrincipal(exchange)?.apiToken?.session
    exchange.budgetFields =
      session !== undefined && session.endsAt - session.lastSeenAt < EXPIRY_NOTICE_MS
        ? ['RateLimit', left, 'RateLimit-Policy', rule, EXPIRY_FIELD, httpDate(session.endsAt)]
        : ['RateLimit', left, 'RateLimit-Policy', rule]
    const isPast = result.consumedPoints > limit
    exchange.pastLimitOf = isPast ? policy : undefined
    if (!isPast) {
      this.#counts.allow(policy)
      return undefined
    }
    this.#counts.refuse(policy, [limiter.windowMs / 1000])
    return tooMany(result)
  }
}

export default stage(
  'rate-limit',
  ({ budgets, sessionRoutes, programRoutes, allowedOrigins }: RateLimitOptions, app) => {
    // A request that an earlier stage refused is counted too, because guessing at secrets must not be free.
    app.addHook('onError', function countRefusal(request, _reply, _error, done) {
      const { exchange, routeOptions } = request
      if (!exchange.counted && (routeOptions.config.uncounted !== true || isOfDevice(request)))
        budgets.countRefusal(request)
      done()
    })

    return function spendBudget(request) {
      if (isFree(request)) return undefined
      const apiToken = verifiedPrincipal(request.exchange)?.apiToken
      const rate = apiToken?.rate
      // Strangers at the same address spend nothing of this budget.
      if (apiToken !== undefined && rate !== undefined)
        return budgets.spendToken(request, apiToken, rate) ?? budgets.beginPasswordTry(request)
      const sessionId = sessionBudget(request)
      const refusal =
        sessionId === undefined
          ? budgets.spendAddress(request)
          : budgets.spendSession(request, sessionId)
      return refusal ?? budgets.beginPasswordTry(request)
    }

    /** The session whose budget the request spends from; undefined when it spends from the address's. */
    function sessionBudget(request: FastifyRequest): string | undefined {
      const { exchange } = request
      const principal = verifiedPrincipal(exchange)
      if (principal === undefined || exchange.target === undefined) return undefined
      const { route } = exchange.target
      // A page of the person's own, on a connection that nobody else can use: as a browser that signed in.
      if (principal.session.kind === 'device')
        return sessionRoutes.includes(pageOf(request, route)) ? principal.session.id : undefined
      if (exchange.credential?.kind !== 'cookie')
        return programRoutes.includes(route) ? principal.session.id : undefined
      return sessionRoutes.includes(pageOf(request, route)) && isOfOwnBrowser(request)
        ? principal.session.id
        : undefined
    }

    /** Whether a page of this origin, or the person, sent the request. A foreign page must not use up a session's budget. */
    function isOfOwnBrowser({ exchange, raw, method, ws }: FastifyRequest): boolean {
      const rules = { own: ownOrigin(exchange), allowed: allowedOrigins }
      return isOfOwnPage(raw.headers, rules, ws ? 'UPGRADE' : method)
    }
  },
)

/** For how long before an API token expires its responses say so, in milliseconds: 14 days. */
const EXPIRY_NOTICE_MS = 14 * 86_400_000

/** A time in the form of RFC 9110 section 5.6.7. @param time milliseconds since 1970 */
function httpDate(time: number): string {
  return new Date(time).toUTCString()
}

/** Whether a paired device sent the request. It is never local, so what is free for probes of the machine is not for it. */
function isOfDevice({ raw }: FastifyRequest): boolean {
  return raw.socket.linkPeer?.device !== undefined
}

/** Whether this stage does not count the request: it is free, or its route decides what it costs. */
function isFree(request: FastifyRequest): boolean {
  const { exchange, routeOptions } = request
  const { uncounted } = routeOptions.config
  if (uncounted === true) return !isOfDevice(request)
  if (uncounted === 'without-credential' && exchange.credential === undefined)
    return !isOfDevice(request)
  if (uncounted === 'signed-in' && isSignedIn(exchange)) return true
  if (uncounted === 'sign-in' && isSignInTry(request)) return true
  return isAllowedPreflight(request)
}

/**
 * Whether the request is a CORS preflight of an allowed origin. It is free, because the browser sends it and not the page: the
 * page would see a 429 as a network error, without `Retry-After`. The request that follows the preflight is counted. The
 * stage `authentication` answers the preflight, with no more work than a refusal takes.
 */
function isAllowedPreflight({ exchange, method, raw }: FastifyRequest): boolean {
  return (
    exchange.allowOrigin !== undefined &&
    exchange.credential === undefined &&
    isPreflight(method, raw.headers)
  )
}

/** Whether the request belongs to a session that can be signed out or renewed. An API token is none. */
function isSignedIn(exchange: Exchange): boolean {
  const principal = verifiedPrincipal(exchange)
  return principal !== undefined && principal.apiToken === undefined
}

/** Whether a request to the sign-in route carries a token. One without a token only asks for the page. */
function isSignInTry({ method, exchange, ws }: FastifyRequest): boolean {
  return !ws && (method === 'POST' || new URLSearchParams(exchange.target?.query).has('token'))
}

/** Whether the service of a route asks for a password. */
function asksForPassword(route: RouteName | undefined): boolean {
  return route !== undefined && route !== 'gateway' && SERVICES[route].basicPassword === true
}

/** The route of the page that a browser's request belongs to. */
function pageOf({ method, raw, ws }: FastifyRequest, route: RouteName): RouteName {
  // The gateway's own routes belong to the whole workspace. The dashboard's router prefetches links; the gateway answers those
  // that lead to another service (plugins/8-upstream.ts).
  if (route === 'gateway') return 'dashboard'
  const isReading = method === 'GET' || method === 'HEAD'
  return isReading && !ws && isRouterFetch(raw.headers) ? 'dashboard' : route
}

/** Refusals by the seconds to wait. A window has no more entries than seconds, and a setting bounds it. */
const refusals = new Map<number, GatewayError>()

/** The refusal for a budget that is used up. Made once for each number of seconds, because a flood gets the same few. */
function tooMany(result: RateLimiterRes): GatewayError {
  const seconds = retryAfterSeconds(result.msBeforeNext)
  const known = refusals.get(seconds)
  if (known !== undefined) return known
  const refusal = new GatewayError('rate-limited', {
    detail: waitDetail(seconds),
    retryAfter: seconds,
  })
  refusals.set(seconds, refusal)
  return refusal
}
