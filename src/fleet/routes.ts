/** Which requests reach the acts of the limits service? Those of a caller who may ask, for a policy that there is, in the form that it takes. */
import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import type { Logger } from 'pino'
import { answerText, type Answer } from '../answers/problem.ts'
import type { LimitPolicies } from '../config/limit-policies.ts'
import { NO_SCHEMAS } from '../http/no-schemas.ts'
import { hasBody } from '../http/to-service.ts'
import { discardBody } from '../request/discard-body.ts'
import type { Acts, Question } from './acts.ts'
import { okAnswer, problem } from './answers.ts'
import type { Callers } from './callers.ts'
import type { LimitsCounts } from './counts.ts'
import type { InsuredStore } from './insured-store.ts'
import { LimitError, type LimitErrorCode } from './limit-errors.ts'
import { Listener, type BrokenCode, type ListenerTimes, type Sender } from './listener.ts'
import type { RefusalLog } from './refusal-log.ts'
import {
  askedInBody,
  askedInQuery,
  malformed,
  policyNameIn,
  readTarget,
  type Asked,
} from './request.ts'

/** The longest body, in bytes. */
const MAX_BODY_BYTES = 4096

const HEALTH = '/healthz'

/** What the routes depend on. */
export interface RouteParts {
  readonly acts: Acts
  readonly counts: LimitsCounts
  readonly logger: Logger
  readonly refusals: RefusalLog
  readonly store: Pick<InsuredStore, 'kind' | 'isAway'>
  /** Those in force now. */
  readonly policies: () => LimitPolicies
  readonly isDraining: () => boolean
}

/** A way in: its listener, and the application behind it. */
export interface WayIn {
  readonly listener: Listener
  readonly app: FastifyInstance
}

/** Makes a way in. @param callers who may come this way; undefined where the system has decided it, as for a Unix socket */
export async function makeWayIn(
  parts: RouteParts,
  callers: Callers | undefined,
  times: ListenerTimes,
): Promise<WayIn> {
  const made: { listener?: Listener } = {}
  const app = Fastify({
    serverFactory(handler) {
      made.listener = new Listener(handler, (request) => senderOf(request, callers), times)
      return made.listener.server
    },
    clientErrorHandler: (error, socket) => {
      made.listener?.breakOff(error, socket, (code) => lastAnswer(parts, code))
    },
    rewriteUrl: ({ url = '' }) => readTarget(url)?.path ?? '/', // so the router reads no escapes and no hosts
    genReqId: () => randomUUID(),
    bodyLimit: MAX_BODY_BYTES,
    logger: false,
    return503OnClosing: false,
    schemaController: NO_SCHEMAS,
  })
  const { listener } = made
  if (listener === undefined) throw new Error('Fastify made no server')
  addRoutes(app, parts, callers, listener)
  await app.ready()
  return { listener, app }
}

/** Who sends a request. The routes refuse those of nobody, and say why. */
function senderOf(request: IncomingMessage, callers: Callers | undefined): Sender {
  // Node ignored an offer, and its parser then drops the rest of the packet: a request in there would never be answered.
  if (messageProblem(request) !== undefined || request.headers.upgrade !== undefined)
    return 'nobody'
  if (callers === undefined || callers.know(request.headers.authorization)) return 'caller'
  return readTarget(request.url ?? '')?.path === HEALTH ? 'passer-by' : 'nobody'
}

function lastAnswer({ counts, refusals }: RouteParts, code: BrokenCode): string {
  counts.errors[code]++
  refusals.add(code)
  return answerText(problem(randomUUID(), { code, detail: DETAILS[code] }))
}

/** What is said where nobody knows more. */
const DETAILS = {
  'bad-request': 'the message breaks a rule of HTTP',
  'request-timeout': 'the request, or its body, took longer than 10 s',
  'headers-too-large': 'the headers have more than 8 KiB',
  'body-too-large': `the body has more than ${MAX_BODY_BYTES} bytes`,
  'unsupported-media-type': 'send the body with Content-Type: application/json',
  'internal-error': 'the log has the cause under this request id',
} as const satisfies Partial<Record<LimitErrorCode, string>>

function addRoutes(
  app: FastifyInstance,
  parts: RouteParts,
  callers: Callers | undefined,
  listener: Listener,
): void {
  const { acts, counts, logger, refusals } = parts
  const known = new WeakSet<FastifyRequest>()

  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, body, done) =>
    done(null, body),
  )

  app.addHook('onRequest', async function checkMessage({ raw }) {
    const wrong = messageProblem(raw)
    if (wrong !== undefined) throw malformed(wrong)
  })

  app.addHook('onRequest', async function checkCaller(request) {
    if (request.routeOptions.url === HEALTH) return
    callers?.check(request.headers.authorization)
    known.add(request)
  })

  app.addHook('onRequest', async function checkTarget(request, reply) {
    const { url } = request
    const isHealth = url === HEALTH
    if (!isHealth && policyOf(request) === undefined)
      throw new LimitError('not-found', 'the service has /v1/<policy> and /healthz')
    if (!request.is404) return
    const allow = isHealth ? 'GET, HEAD' : 'GET, HEAD, POST, DELETE'
    refuse(request, reply, new LimitError('method-not-allowed', `it takes ${allow}`), [
      'Allow',
      allow,
    ])
  })

  app.get(HEALTH, (request, reply) => {
    if (parts.isDraining())
      throw new LimitError('draining', 'another process may take requests already')
    const { kind, isAway } = parts.store
    const health = isAway ? { status: 'degraded', store: 'away' } : { status: 'ok', store: kind }
    write(request, reply, okAnswer(request.id, health))
  })

  answerAt(
    'POST',
    (question) => acts.take(question),
    (request) => {
      if (queryOf(request) !== '') throw malformed('POST takes user and grant in the body alone')
      const { body } = request
      if (!(body instanceof Buffer) || body.length === 0)
        throw malformed('POST takes a body: a JSON object with user')
      return askedInBody(body)
    },
  )

  answerAt(
    'GET',
    (question) => acts.look(question),
    (request) => {
      if (hasBody(request.raw.rawHeaders)) throw malformed('GET takes no body')
      return askedInQuery(queryOf(request), ['user'])
    },
  )

  answerAt(
    'DELETE',
    (question) => acts.giveBack(question),
    (request) => {
      const { body } = request
      const query = queryOf(request)
      if (!(body instanceof Buffer) || body.length === 0) return askedInQuery(query)
      if (query !== '') throw malformed('DELETE takes user and grant in the query or in the body')
      return askedInBody(body)
    },
  )

  app.setErrorHandler(function answerError(error, request, reply) {
    refuse(request, reply, limitErrorOf(error))
  })

  app.setNotFoundHandler(function answerNotFound(request, reply) {
    refuse(request, reply, new LimitError('not-found', 'the service has /v1/<policy> and /healthz'))
  })

  function policyOf({ url }: FastifyRequest) {
    return parts.policies().get(policyNameIn(url) ?? '')
  }

  function answerAt(
    method: 'POST' | 'GET' | 'DELETE',
    act: (question: Question) => Promise<Answer>,
    read: (request: FastifyRequest) => Asked,
  ): void {
    app.route({
      method,
      url: '/v1/:policy',
      async handler(request, reply) {
        const policy = policyOf(request)
        if (policy === undefined) throw new LimitError('not-found', 'the policy has just gone')
        const asked = read(request)
        const answer = await act({ ...asked, policy, requestId: request.id }).catch(
          (error: unknown) => {
            refuse(request, reply, limitErrorOf(error), [], { policy: policy.name, ...asked })
          },
        )
        if (answer !== undefined) write(request, reply, answer)
      },
    })
  }

  function refuse(
    request: FastifyRequest,
    reply: FastifyReply,
    error: LimitError,
    headers: readonly string[] = [],
    facts: object = {},
  ): void {
    const { code, detail, cause } = error
    counts.errors[code]++
    const { id: requestId, method } = request
    if (code === 'internal-error')
      logger.error({ requestId, ...facts, err: cause }, 'a request failed')
    else if (known.has(request)) {
      // A store that comes and goes has no line of its own each time, and the reason is wanted all the same.
      const reason = code === 'store-unavailable' ? { err: cause } : {}
      logger.info({ code, detail, method, ...facts, requestId, ...reason }, 'refused')
    } else refusals.add(code)
    write(request, reply, problem(requestId, error, headers))
  }

  function write(request: FastifyRequest, reply: FastifyReply, answer: Answer): void {
    if (!reply.sent) reply.hijack()
    const { raw: response } = reply
    if (response.headersSent || response.destroyed) return
    // What is left of a body is thrown away for a while only, so nothing may follow it on this connection.
    if (!request.raw.complete || (parts.isDraining() && listener.isLatest(response)))
      listener.endAfter(response)
    const { status, headers, body } = answer
    response.writeHead(status, [...headers])
    if (request.raw.complete) {
      response.end(body)
      return
    }
    // Whole for the caller, and not ended for Node, which would reset a caller that is still sending before it has read the answer.
    response.write(body)
    request.raw.once('end', () => response.end())
    discardBody(request.raw)
  }
}

/** The fields that decide something, and that mean nothing when they are there twice. */
const SINGLE = ['host', 'authorization', 'content-type']

/** What is wrong with a message that Node's parser has let through; undefined when nothing is. */
function messageProblem(request: IncomingMessage): string | undefined {
  const { httpVersion, headers, headersDistinct } = request
  if (httpVersion !== '1.1' && httpVersion !== '1.0') return 'the service speaks HTTP/1.1'
  const coding = headers['transfer-encoding']
  // Another parser may frame such a body differently (smuggling).
  if (coding !== undefined && (coding.toLowerCase() !== 'chunked' || httpVersion === '1.0'))
    return 'the body has a transfer coding other than chunked'
  if (headers.expect !== undefined && headers.expect.toLowerCase() !== '100-continue')
    return 'Expect takes 100-continue alone'
  // Node takes the first one; another program before it may have taken the second.
  if (SINGLE.some((name) => (headersDistinct[name]?.length ?? 0) > 1))
    return 'Host, Authorization and Content-Type may be there once'
  return headers.host === undefined && httpVersion === '1.1' ? 'Host is missing' : undefined
}

/** What stands behind the question mark: the router does not see it. */
function queryOf({ originalUrl }: FastifyRequest): string {
  return readTarget(originalUrl)?.query ?? ''
}

/** Turns an error into a refusal. Fastify's own are told apart by their status; anything else is a fault of the service. */
function limitErrorOf(error: unknown): LimitError {
  if (error instanceof LimitError) return error
  const status = error instanceof Error && 'statusCode' in error ? Number(error.statusCode) : 500
  const code = FASTIFY_ERRORS[status] ?? (status < 500 ? 'bad-request' : 'internal-error')
  return new LimitError(code, DETAILS[code], { cause: error })
}

const FASTIFY_ERRORS: Readonly<Partial<Record<number, keyof typeof DETAILS>>> = {
  413: 'body-too-large',
  415: 'unsupported-media-type',
}
