/**
 * Stage 7: may this client use this route? It must be signed in, an API token must have a scope for the request, and a request
 * with a cookie must come from a page of this origin, because browsers send cookies on requests of foreign pages too.
 */
import type { FastifyRequest } from 'fastify'
import { expiredSessionCookies } from '../src/http/cookies.ts'
import { isPreflight } from '../src/rules/cors.ts'
import { NO_WEBSOCKET_DETAIL, STEP_UP_DETAIL } from '../src/answers/details.ts'
import { GatewayError } from '../src/answers/errors.ts'
import { ownOrigin } from '../src/request/exchange.ts'
import { ANSWERED, stage } from '../src/request/stage.ts'
import { fieldLines } from '../src/http/fields.ts'
import type { LinkPeer } from '../src/http/link-peer.ts'
import { permitsRequest } from '../src/rules/scopes.ts'
import { hasSteppedUp, type StepUpRules } from '../src/rules/step-up.ts'
import { isSafeMethod, isSameOrigin, judgeOrigin } from '../src/rules/origin.ts'
import { ownHeaders, stepUpChallenge, type Answer } from '../src/answers/problem.ts'
import type { ApiToken } from '../src/identity/api-tokens.ts'
import { usesSecureCookie } from '../src/identity/credentials.ts'
import { METHODS } from '../src/http/methods.ts'
import type { WaitingRoom } from '../src/limits/waiting-room.ts'
import type { DrainState } from '../src/sockets/drain-state.ts'

/** What the stage needs besides the request. */
interface AuthenticationOptions {
  /** Foreign origins whose pages may use the workspace. */
  readonly allowedOrigins: readonly string[]
  /** What the routes with `stepUp` want. */
  readonly stepUp: StepUpRules
  readonly drain: DrainState
  /** CORS preflights wait here. */
  readonly waitingRoom: WaitingRoom
}

/** One error each for all refusals, because making an error is a large part of what a refusal costs. */
const SIGN_IN_REQUIRED = new GatewayError('sign-in-required')
const SCOPE_MISSING = new GatewayError('scope-missing')
const ORIGIN_NOT_ALLOWED = new GatewayError('origin-not-allowed')

const NOT_HERE = new GatewayError('not-found', { reason: 'not on this kind of connection' })

const NO_WEBSOCKET = new GatewayError('bad-request', {
  reason: 'no WebSocket on this route',
  detail: NO_WEBSOCKET_DETAIL,
})

export default stage(
  'authentication',
  ({ allowedOrigins, stepUp, drain, waitingRoom }: AuthenticationOptions, app) => {
    const stepUpRequired = stepUpError(stepUp)
    return function authenticate(request, reply) {
      const { exchange, raw, method, ws } = request
      const { config } = request.routeOptions
      const { linkPeer } = raw.socket
      if (
        (linkPeer !== undefined || config.only !== undefined) &&
        isElsewhere(config.only, linkPeer)
      )
        return NOT_HERE
      if (ws && drain.isDraining) return new GatewayError('draining')
      if (ws && config.upgrades !== true) return NO_WEBSOCKET
      const provenance = {
        origins: fieldLines(raw.rawHeaders, 'origin'),
        fetchSite: raw.headers['sec-fetch-site']?.toString(),
      }
      const rules = { own: ownOrigin(exchange), allowed: allowedOrigins }
      const origin = judgeOrigin(provenance, rules)
      if (origin === 'own') exchange.allowOrigin = undefined // listed, but not foreign: needs no CORS fields
      if (exchange.allowOrigin !== undefined && isPreflight(method, raw.headers)) {
        reply.hijack()
        // Preflights need no credential and are not counted, so they wait until requests that may pass have passed.
        waitingRoom.add(() => app.writeAnswer(request, reply, preflightAnswer(request)))
        return ANSWERED
      }
      if (config.public === true) return undefined
      const { credential } = exchange
      if (credential === undefined) return SIGN_IN_REQUIRED
      if (credential.outcome instanceof GatewayError)
        return credential.kind === 'cookie'
          ? withExpiredCookie(credential.outcome, request)
          : credential.outcome
      exchange.principal = credential.outcome
      const { apiToken } = credential.outcome
      if (apiToken === undefined ? config.forWorkspaces === true : !isInScope(apiToken, request))
        return SCOPE_MISSING
      const mustBeSameOrigin = credential.kind === 'cookie' && (ws || !isSafeMethod(method))
      // An allowed origin uses the services. It gets no API token, no list of sessions and no renewal with a person's cookie.
      if (config.ownPages === true && credential.kind === 'cookie' && origin === 'allowed')
        return ORIGIN_NOT_ALLOWED
      const isRefused = mustBeSameOrigin
        ? !isSameOrigin(provenance, rules)
        : ws && origin === 'foreign'
      if (isRefused) return ORIGIN_NOT_ALLOWED
      const mustStepUp =
        config.stepUp === true &&
        apiToken === undefined &&
        !hasSteppedUp(stepUp, credential.outcome, Date.now())
      return mustStepUp ? stepUpRequired : undefined
    }
  },
)

/**
 * Whether the route does not exist on this connection: it is for another kind of connections, or the link itself asks for anything but
 * what is its own.
 */
function isElsewhere(only: 'device' | 'link' | undefined, peer: LinkPeer | undefined): boolean {
  const kind = peer?.device === undefined ? 'link' : 'device'
  if (peer === undefined) return only !== undefined
  return only === undefined ? kind === 'link' : only !== kind
}

/** The refusal of a route that wants more than a sign-in. It says what would do (RFC 9470 section 3). */
function stepUpError({ methods, maxAgeSeconds }: StepUpRules): GatewayError {
  return new GatewayError('step-up-required', {
    reason: 'the route wants a second factor',
    detail: STEP_UP_DETAIL,
    headers: { 'WWW-Authenticate': stepUpChallenge(maxAgeSeconds, methods) },
  })
}

/** Whether an API token has a scope for a request. A handshake is no reading: what follows it goes both ways. */
function isInScope({ scopes }: ApiToken, { exchange, method, ws }: FastifyRequest): boolean {
  const { target } = exchange
  return target !== undefined && permitsRequest(scopes, target, isSafeMethod(method) && !ws)
}

/** Deletes a cookie that was refused, because the browser would otherwise send it again and again until a person clears it. */
function withExpiredCookie(error: GatewayError, { exchange }: FastifyRequest): GatewayError {
  return new GatewayError(error.code, {
    ...(error.reason === undefined ? {} : { reason: error.reason }),
    cause: error.cause,
    retryAfter: error.retryAfter,
    headers: { 'Set-Cookie': expiredSessionCookies(usesSecureCookie(exchange)), ...error.headers },
  })
}

/** The response to a CORS preflight of an allowed origin. Preflights carry no credential and are never forwarded. */
function preflightAnswer({ id, raw }: FastifyRequest): Answer {
  const asked = raw.headers['access-control-request-headers']
  const fields =
    typeof asked === 'string' && /^[A-Za-z0-9-]+(?: *, *[A-Za-z0-9-]+)*$/.test(asked)
      ? asked
      : undefined
  return {
    status: 204,
    headers: [
      ...ownHeaders(id),
      'Access-Control-Allow-Methods',
      METHODS.join(', '),
      ...(fields === undefined ? [] : ['Access-Control-Allow-Headers', fields]),
      'Access-Control-Max-Age',
      '600',
      'Vary',
      'Access-Control-Request-Headers',
    ],
    body: '',
  }
}
