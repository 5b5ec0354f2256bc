/** How does an error that a stage threw, or that Fastify found, reach the client? */
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { corsFields } from '../src/rules/cors.ts'
import { serviceDetail } from '../src/answers/details.ts'
import { ROUTE_WORDS } from '../src/rules/site-map.ts'
import { GatewayError } from '../src/answers/errors.ts'
import { ownOrigin, type Exchange } from '../src/request/exchange.ts'
import { problemAnswer, retryAfterOf, type Answer } from '../src/answers/problem.ts'
import type { WaitingRoom } from '../src/limits/waiting-room.ts'
import { answerFault } from '../src/request/answer-fault.ts'
import { discardBody } from '../src/request/discard-body.ts'
import { isNavigation } from '../src/request/request-facts.ts'
import { returnPath } from '../src/rules/return-to.ts'
import type { DrainState } from '../src/sockets/drain-state.ts'

/** What problem answers depend on. */
export interface ProblemDetailsOptions {
  /** Where a signed-out browser is sent; the built-in page when undefined. */
  readonly loginUrl: string | undefined
  /** Where refusals wait. */
  readonly waitingRoom: WaitingRoom
  readonly drain: DrainState
}

declare module 'fastify' {
  interface FastifyInstance {
    /** Answers a request with an error, in the gateway's own form. Works before and after `reply.hijack()`. */
    answerProblem(request: FastifyRequest, reply: FastifyReply, error: GatewayError): void
    /** Writes an answer of the gateway's own; the request's body, if any is left, is thrown away. */
    writeAnswer(request: FastifyRequest, reply: FastifyReply, answer: Answer): void
  }
}

export default fp(
  async function problemDetails(app, { loginUrl, waitingRoom, drain }: ProblemDetailsOptions) {
    /** Refuses when there is time; a caller that is signed in never waits. */
    function refuse(request: FastifyRequest, reply: FastifyReply, error: GatewayError): void {
      const { exchange } = request
      if (exchange.principal !== undefined) {
        answerProblem(request, reply, error)
        return
      }
      exchange.outcome.noteError(error) // now: a client that leaves meanwhile is logged with what it was refused for
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

    function writeAnswer(request: FastifyRequest, reply: FastifyReply, answer: Answer): void {
      try {
        write(request, reply, answer)
      } catch (cause) {
        answerFault(request, reply, cause)
      }
    }

    function writeProblem(request: FastifyRequest, reply: FastifyReply, error: GatewayError): void {
      const { exchange } = request
      const { code, headers, retryAfter } = error
      exchange.outcome.noteError(error)
      const isPage = !request.ws && isNavigation(request.method, request.raw.headers)
      const audience = {
        requestId: request.id,
        page: isPage,
        repeatable: isRepeatable(request),
        returnTo: isPage ? returnHere(request) : '/',
      }
      const detail = detailOf(error, exchange)
      const answer = problemAnswer({ code, headers, retryAfter, detail }, audience)
      writeAnswer(
        request,
        reply,
        isPage && loginUrl !== undefined && isSignedOut(exchange, error)
          ? toLogin(request, answer, loginUrl)
          : answer,
      )
    }

    function write(
      request: FastifyRequest,
      reply: FastifyReply,
      { status, headers, body }: Answer,
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
      // ASCII is the same in Latin-1, which Node writes, head and body in one, in half the time that UTF-8 takes.
      response.end(body, bytes === body.length ? 'latin1' : 'utf8')
      discardBody(request.raw)
    }

    app.decorate('answerProblem', answerProblem)
    app.decorate('writeAnswer', writeAnswer)

    app.setErrorHandler(function answerError(error: FastifyError | GatewayError, request, reply) {
      refuse(request, reply, toGatewayError(error))
    })

    app.setNotFoundHandler(function answerNotFound(request, reply) {
      refuse(request, reply, new GatewayError('not-found'))
    })
  },
  { name: 'problem-details', fastify: '5.x' },
)

/** Fastify's own errors, told apart by status; anything unexpected is ours to answer for, and says nothing outside. */
function toGatewayError(error: FastifyError | GatewayError): GatewayError {
  if (error instanceof GatewayError) return error
  const options = { reason: error.code, cause: error }
  if (error.statusCode === 413) return new GatewayError('body-too-large', options)
  const isClientFault =
    error.statusCode !== undefined && error.statusCode >= 400 && error.statusCode < 500
  return new GatewayError(isClientFault ? 'bad-request' : 'internal-error', options)
}

/** Whether a browser was turned away for want of a session: it never had one, or the one in its cookie is over. */
function isSignedOut({ outcome, credential }: Exchange, { code }: GatewayError): boolean {
  if (outcome.stage !== 'authentication') return false // a token that fails at sign-in itself would go round in circles
  if (code === 'sign-in-required') return true
  return credential?.kind === 'cookie' && (code === 'token-expired' || code === 'token-invalid')
}

/** What was wrong in a sentence: the error's own, else which service it was, else what the code says. */
function detailOf(error: GatewayError, { target }: Exchange): string | undefined {
  if (error.detail !== undefined || target === undefined) return error.detail
  return serviceDetail(error.code, ROUTE_WORDS[target.route], retryAfterOf(error))
}

/** Whether a page may ask for its address again by itself. At sign-in that would try the same token again and again. */
function isRepeatable({ method, exchange }: FastifyRequest): boolean {
  return (method === 'GET' || method === 'HEAD') && exchange.outcome.stage !== 'sign-in'
}

/** The path to come back to: only a plain page view can be repeated. */
function returnHere({ method, exchange }: FastifyRequest): string {
  if (exchange.returnTo !== undefined) return exchange.returnTo
  if ((method !== 'GET' && method !== 'HEAD') || exchange.target === undefined) return '/'
  return returnPath(exchange.target.path + exchange.target.query, ownOrigin(exchange))
}

function toLogin(request: FastifyRequest, { headers }: Answer, loginUrl: string): Answer {
  const url = new URL(loginUrl)
  url.searchParams.set('return_to', ownOrigin(request.exchange) + returnHere(request))
  const kept: string[] = []
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] ?? ''
    if (
      !['Content-Type', 'Content-Length', 'Content-Security-Policy', 'WWW-Authenticate'].includes(
        name,
      )
    )
      kept.push(name, headers[i + 1] ?? '')
  }
  return { status: 302, headers: [...kept, 'Location', url.href, 'Content-Length', '0'], body: '' }
}

/** A client that waits for `100 Continue` may or may not send its body after a refusal: the connection cannot go on. */
function awaitsContinue({ raw }: FastifyRequest): boolean {
  return raw.headers.expect !== undefined && !raw.complete
}
