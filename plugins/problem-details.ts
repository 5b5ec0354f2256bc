/** How does an error of a stage, or of Fastify, become a response? As a problem document, a page, or a redirect to the login page. */
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { corsFields } from '../src/rules/cors.ts'
import { noStepUpDetail, serviceDetail } from '../src/answers/details.ts'
import { ROUTE_WORDS } from '../src/rules/site-map.ts'
import { GatewayError } from '../src/answers/errors.ts'
import { ownOrigin, type Exchange } from '../src/request/exchange.ts'
import { OWNER_PAGE, VERIFY, verifyAddress } from '../src/answers/pages/paths.ts'
import type { PageContent, PageShell } from '../src/answers/pages/shell.ts'
import {
  ownHeaders,
  pageAnswer,
  problemAnswer,
  redirectAnswer,
  retryAfterOf,
  type Answer,
} from '../src/answers/problem.ts'
import type { WaitingRoom } from '../src/limits/waiting-room.ts'
import { answerFault } from '../src/request/answer-fault.ts'
import { discardBody } from '../src/request/discard-body.ts'
import {
  wayToLogin,
  wayToStepUp,
  wentToStepUp,
  type LoginOptions,
  type WayToLogin,
} from '../src/request/login.ts'
import { isNavigation } from '../src/request/request-facts.ts'
import { returnPath } from '../src/rules/return-to.ts'
import { CAME_BACK_REASON, type StepUpRules } from '../src/rules/step-up.ts'
import type { DrainState } from '../src/sockets/drain-state.ts'

/** What the plugin needs besides the request. */
interface ProblemDetailsOptions {
  readonly login: LoginOptions
  /** What the routes want that want a second factor. */
  readonly stepUp: Pick<StepUpRules, 'isLocal' | 'methods' | 'maxAgeSeconds'>
  readonly pages: PageShell
  /** Refusals wait here, so that they do not delay requests that may pass. */
  readonly waitingRoom: WaitingRoom
  readonly drain: DrainState
}

declare module 'fastify' {
  interface FastifyInstance {
    /** Answers a request with an error, as a problem document, a page or a redirect. Works before and after `reply.hijack()`. */
    answerProblem(request: FastifyRequest, reply: FastifyReply, error: GatewayError): void
    /** Writes a response of the gateway's own, and discards what is left of the request body. */
    writeAnswer(
      request: FastifyRequest,
      reply: FastifyReply,
      answer: Answer<string | Uint8Array>,
    ): void
    /** Writes a page of the gateway's own. @param headers what it has besides those of every response, names and values in turn */
    writePage(
      request: FastifyRequest,
      reply: FastifyReply,
      content: PageContent,
      headers?: readonly string[],
      status?: number,
    ): void
  }
}

export default fp(
  async function problemDetails(
    app,
    { login, stepUp, pages, waitingRoom, drain }: ProblemDetailsOptions,
  ) {
    const stepUpDetail = noStepUpDetail(stepUp.methods, stepUp.maxAgeSeconds)

    /** Refuses the request: at once when the client is signed in, else after waiting for its turn. */
    function refuse(request: FastifyRequest, reply: FastifyReply, error: GatewayError): void {
      const { exchange } = request
      if (exchange.principal !== undefined) {
        answerProblem(request, reply, error)
        return
      }
      exchange.outcome.noteError(error) // noted now, for the log line of a client that leaves while it waits
      reply.hijack()
      waitingRoom.add(() => answerProblem(request, reply, error))
    }

    function answerProblem(
      request: FastifyRequest,
      reply: FastifyReply,
      error: GatewayError,
    ): void {
      try {
        writeProblem(request, reply, error)
      } catch (cause) {
        answerFault(request, reply, cause)
      }
    }

    function writeAnswer(
      request: FastifyRequest,
      reply: FastifyReply,
      answer: Answer<string | Uint8Array>,
    ): void {
      try {
        write(request, reply, answer)
      } catch (cause) {
        answerFault(request, reply, cause)
      }
    }

    function writeProblem(request: FastifyRequest, reply: FastifyReply, given: GatewayError): void {
      const { exchange } = request
      const isPage = !request.ws && isNavigation(request.method, request.raw.headers)
      const isBack = isPage && isBackWithoutFactor(request, given, login)
      const error = isBack ? withoutFactor(given, stepUpDetail) : given
      const { code, headers, retryAfter } = error
      exchange.outcome.noteError(error)
      const returnTo = isPage ? returnHere(request) : '/'
      const way = isPage ? wayOf(request, error, login, returnTo) : undefined
      const audience = {
        requestId: request.id,
        pages: isPage ? pages : undefined,
        repeatable: isRepeatable(request),
        returnTo,
        renews: exchange.outcome.stage === 'renew',
        wasSignedIn: isSignedOut(exchange, error) && error.code !== 'sign-in-required',
        service: exchange.target?.route,
        loginHref: way?.location,
        verifyHref: isBack && stepUp.isLocal ? verifyAddress(returnTo) : undefined,
      }
      const detail = detailOf(error, exchange)
      const answer = problemAnswer({ code, headers, retryAfter, detail }, audience)
      if (way === undefined) return writeAnswer(request, reply, answer)
      const withState = { ...answer, headers: [...answer.headers, ...way.headers] }
      writeAnswer(
        request,
        reply,
        isSignedOut(exchange, error) || (mustStepUp(exchange, error) && !isBack)
          ? elsewhere(withState, way.location)
          : withState,
      )
    }

    function writePage(
      request: FastifyRequest,
      reply: FastifyReply,
      content: PageContent,
      headers: readonly string[] = [],
      status = 200,
    ): void {
      const own = [...ownHeaders(request.id), ...headers]
      writeAnswer(request, reply, pageAnswer(status, own, pages, content))
    }

    function write(
      request: FastifyRequest,
      reply: FastifyReply,
      { status, headers, body }: Answer<string | Uint8Array>,
    ): void {
      if (!reply.sent) reply.hijack()
      const { raw: response } = reply
      if (response.headersSent || response.destroyed) return
      const bytes = Buffer.byteLength(body)
      const { outcome, allowOrigin, budgetFields } = request.exchange
      outcome.status = status
      outcome.bytesOut = request.method === 'HEAD' ? 0 : bytes
      const closes =
        !headers.includes('Connection') &&
        (request.ws || drain.endsConnections || awaitsContinue(request))
      const fields = [...headers, ...budgetFields]
      if (allowOrigin !== undefined) fields.push(...Object.entries(corsFields(allowOrigin)).flat())
      response.writeHead(status, closes ? [...fields, 'Connection', 'close'] : fields)
      // An ASCII body is the same in Latin-1 (for bytes this means nothing), and Node writes Latin-1, head and body in one, in half the time of UTF-8.
      response.end(body, bytes === body.length ? 'latin1' : 'utf8')
      discardBody(request.raw)
    }

    app.decorate('answerProblem', answerProblem)
    app.decorate('writeAnswer', writeAnswer)
    app.decorate('writePage', writePage)

    app.setErrorHandler(function answerError(error: FastifyError | GatewayError, request, reply) {
      refuse(request, reply, toGatewayError(error))
    })

    app.setNotFoundHandler(function answerNotFound(request, reply) {
      refuse(request, reply, new GatewayError('not-found'))
    })
  },
  { name: 'problem-details', fastify: '5.x' },
)

/**
 * Turns an error into one of the gateway's. Fastify's own errors are told apart by status. An unexpected error is a fault of
 * the gateway, and the client learns nothing about it.
 */
function toGatewayError(error: FastifyError | GatewayError): GatewayError {
  if (error instanceof GatewayError) return error
  const options = { reason: error.code, cause: error }
  if (error.statusCode === 413) return new GatewayError('body-too-large', options)
  const isClientFault =
    error.statusCode !== undefined && error.statusCode >= 400 && error.statusCode < 500
  return new GatewayError(isClientFault ? 'bad-request' : 'internal-error', options)
}

/** The refusals of a cookie whose session is over. */
const SIGNED_OUT_CODES: ReadonlySet<string> = new Set([
  'token-expired',
  'token-invalid',
  'ticket-used',
])

/** Where a browser must go to get on, at once or by a link on the page; undefined when there is no such place. */
function wayOf(
  request: FastifyRequest,
  error: GatewayError,
  login: LoginOptions,
  returnTo: string,
): WayToLogin | undefined {
  const { exchange } = request
  const { stage } = exchange.outcome
  if (mustStepUp(exchange, error)) return wayToStepUp(request, login, returnTo)
  const leadsToLogin =
    stage === 'sign-in' || stage === 'renew'
      ? error.statusCode === 401
      : isSignedOut(exchange, error)
  return leadsToLogin ? wayToLogin(request, login, returnTo) : undefined
}

/** Whether a browser must show a second factor before it may use a route. */
function mustStepUp({ outcome, credential }: Exchange, { code }: GatewayError): boolean {
  return (
    code === 'step-up-required' &&
    outcome.stage === 'authentication' &&
    credential?.kind === 'cookie'
  )
}

/**
 * Whether a browser was sent to GATEWAY_STEP_UP_URL and has come back without what the route wants. It is told, because it would
 * go in circles.
 */
function isBackWithoutFactor(
  request: FastifyRequest,
  error: GatewayError,
  { stepUpUrl }: LoginOptions,
): boolean {
  return stepUpUrl !== undefined && mustStepUp(request.exchange, error) && wentToStepUp(request)
}

function withoutFactor({ headers = {} }: GatewayError, detail: string): GatewayError {
  return new GatewayError('step-up-required', {
    reason: CAME_BACK_REASON,
    detail,
    headers,
  })
}

/** Whether a browser was refused because it has no session, or because the session in its cookie has ended. */
function isSignedOut({ outcome, credential }: Exchange, { code }: GatewayError): boolean {
  if (outcome.stage !== 'authentication') return false // a token that fails at sign-in would be redirected in a loop
  if (code === 'sign-in-required') return true
  return credential?.kind === 'cookie' && SIGNED_OUT_CODES.has(code)
}

/** The sentence that says what was wrong: the error's own, or one that names the service; undefined to use the code's. */
function detailOf(error: GatewayError, { target }: Exchange): string | undefined {
  if (error.detail !== undefined || target === undefined) return error.detail
  return serviceDetail(error.code, ROUTE_WORDS[target.route], retryAfterOf(error))
}

/** Whether the error page may reload itself. At sign-in a reload would try the same token again and again. */
function isRepeatable({ method, exchange }: FastifyRequest): boolean {
  return (method === 'GET' || method === 'HEAD') && exchange.outcome.stage !== 'sign-in'
}

/**
 * The path to return to after sign-in. Only a plain page view can be repeated. A form of the owner's page is posted to that page,
 * so it leads back there; anything else returns to `/`.
 */
function returnHere({ method, exchange }: FastifyRequest): string {
  const { returnTo, target } = exchange
  if (returnTo !== undefined) return returnTo
  if (target === undefined) return '/'
  // Whoever has to sign in before they show a factor goes on to where they wanted to go, also with the form.
  if (target.path === VERIFY)
    return returnPath(new URLSearchParams(target.query).get('next') ?? '/', ownOrigin(exchange))
  if (target.path === OWNER_PAGE) return OWNER_PAGE
  if (method !== 'GET' && method !== 'HEAD') return '/'
  return returnPath(target.path + target.query, ownOrigin(exchange))
}

/** The headers of an error that its redirect leaves out. */
const NOT_OF_A_REDIRECT: ReadonlySet<string> = new Set([
  'Content-Type',
  'Content-Length',
  'Content-Security-Policy',
  'WWW-Authenticate',
])

function elsewhere({ headers }: Answer, location: string): Answer {
  const kept: string[] = []
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] ?? ''
    if (!NOT_OF_A_REDIRECT.has(name)) kept.push(name, headers[i + 1] ?? '')
  }
  return redirectAnswer(302, kept, location)
}

/**
 * Whether the client waits for `100 Continue`. After a refusal it may send its body or not, so the next bytes on the connection
 * could be either body or request, and the connection must end.
 */
function awaitsContinue({ raw }: FastifyRequest): boolean {
  return raw.headers.expect !== undefined && !raw.complete
}
