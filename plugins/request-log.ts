/** What is written about each request? One line when its answer, or its upgraded connection, has ended. */
import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { Logger } from 'pino'
import { decisionOf, Decisions } from '../src/decisions.ts'
import { Exchange } from '../src/exchange.ts'
import { traceIdOf } from '../src/trace-context.ts'

/** Where the line goes. */
export interface RequestLogOptions {
  readonly logger: Logger
}

declare module 'fastify' {
  interface FastifyInstance {
    /** The recent requests, for `workspace-gateway explain`. */
    readonly decisions: Decisions
  }
}

export default fp(
  async function requestLog(app, { logger }: RequestLogOptions) {
    app.decorate('decisions', new Decisions())
    app.decorateRequest('exchange', null as unknown as Exchange)

    app.addHook('onRequest', function beginExchange(request, reply, done) {
      request.exchange = new Exchange()
      // After the other listeners, which know how it ended.
      reply.raw.once('close', () => process.nextTick(logRequest, logger, request))
      done()
    })
  },
  { name: 'request-log', fastify: '5.x', dependencies: ['metrics'] },
)

/** Path without query values, no header values: nothing that could hold a token, cookie or password. */
function logRequest(logger: Logger, request: FastifyRequest): void {
  const { id, method, exchange, raw, ws, server } = request
  const { target, authority, principal, code, reason, cause, upstreamMs } = exchange
  const ms = performance.now() - exchange.startedAt
  const client = exchange.client ?? server.clientOf(raw)
  const trace = traceIdOf(raw.headers['traceparent'])
  countRequest(request, ms)
  server.decisions.add(decisionOf({ id, raw, exchange, client, ms, trace, websocket: ws }))
  const isFault = exchange.status >= 500
  if (!isFault && !logger.isLevelEnabled('info')) return
  const line = {
    id,
    client: client.address,
    host: authority?.host,
    method,
    path: exchange.loggedPath,
    route: target?.route,
    stage: exchange.stage,
    status: exchange.status,
    code,
    reason,
    user: principal?.subject,
    websocket: ws ? true : undefined,
    bytes: exchange.bytesOut,
    bytesIn: ws ? exchange.bytesIn : undefined,
    ms: round(ms),
    upstreamMs: upstreamMs === undefined ? undefined : round(upstreamMs),
    trace,
    err: isFault ? cause : undefined,
  }
  if (code === 'internal-error') logger.error(line, 'request failed')
  else if (isFault) logger.warn(line, 'request')
  else logger.info(line, 'request')
}

function countRequest({ exchange, server }: FastifyRequest, ms: number): void {
  const { target, stage, status, code, startedAt, dialledAt, upstreamMs } = exchange
  const decisionMs = dialledAt === undefined ? ms : dialledAt - startedAt
  const waitedMs = dialledAt === undefined ? undefined : (upstreamMs ?? ms - decisionMs)
  server.metrics.count(target?.route, stage, status, code, decisionMs, waitedMs)
}

function round(milliseconds: number): number {
  return Math.round(milliseconds * 100) / 100
}
