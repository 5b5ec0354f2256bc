/** What is written about each request? One line when its answer, or its upgraded connection, has ended. */
import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { Logger } from 'pino'
import { Exchange } from '../src/exchange.ts'

/** Where the line goes. */
export interface RequestLogOptions {
  readonly logger: Logger
}

export default fp(
  async function requestLog(app, { logger }: RequestLogOptions) {
    app.decorateRequest('exchange', null as unknown as Exchange)

    app.addHook('onRequest', function beginExchange(request, reply, done) {
      request.exchange = new Exchange()
      // After the other listeners, which know how it ended.
      reply.raw.once('close', () => process.nextTick(logRequest, logger, request))
      done()
    })
  },
  { name: 'request-log', fastify: '5.x' },
)

/** Path without query values, no header values: nothing that could hold a token, cookie or password. */
function logRequest(logger: Logger, request: FastifyRequest): void {
  const { id, method, exchange, raw, ws } = request
  const { target, client, authority, principal, code, reason, cause, upstreamMs } = exchange
  const isFault = exchange.status >= 500
  if (!isFault && !logger.isLevelEnabled('info')) return
  const line = {
    id,
    client: (client ?? request.server.clientOf(raw)).address,
    host: authority?.host,
    method,
    path: target?.decodedPath,
    route: target?.route,
    stage: exchange.stage,
    status: exchange.status,
    code,
    reason,
    user: principal?.subject,
    websocket: ws ? true : undefined,
    bytes: exchange.bytesOut,
    bytesIn: ws ? exchange.bytesIn : undefined,
    ms: round(performance.now() - exchange.startedAt),
    upstreamMs: upstreamMs === undefined ? undefined : round(upstreamMs),
    err: isFault ? cause : undefined,
  }
  if (code === 'internal-error') logger.error(line, 'request failed')
  else if (isFault) logger.warn(line, 'request')
  else logger.info(line, 'request')
}

function round(milliseconds: number): number {
  return Math.round(milliseconds * 100) / 100
}
