/** What is written about each request? One line when its answer, or its upgraded connection, has ended. */
import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { logFields } from '../src/observe/log-line.ts'
import { Decisions } from '../src/observe/recent.ts'
import { decisionOf } from '../src/observe/record.ts'
import { Exchange } from '../src/request/exchange.ts'
import { errorField, type Log } from '../src/observe/log.ts'
import { traceIdOf } from '../src/http/trace-context.ts'

/** Where the line goes, and which are written. */
export interface RequestLogOptions {
  readonly log: Log
  /** Whether probes that succeeded are logged too. */
  readonly logProbes: boolean
}

declare module 'fastify' {
  interface FastifyInstance {
    /** The recent requests, for `workspace-gateway explain`. */
    readonly decisions: Decisions
  }
}

export default fp(
  async function requestLog(app, { log, logProbes }: RequestLogOptions) {
    app.decorate('decisions', new Decisions())
    app.decorateRequest('exchange', null as unknown as Exchange)

    app.addHook('onRequest', function beginExchange(request, reply, done) {
      const exchange = new Exchange()
      request.exchange = exchange
      reply.raw.once('close', () => {
        exchange.outcome.onClientClose?.()
        // An upgraded connection has other listeners, which know how it ended.
        if (request.ws) process.nextTick(logRequest, log, request)
        else logRequest(log, request, logProbes)
      })
      done()
    })
  },
  { name: 'request-log', fastify: '5.x', dependencies: ['metrics'] },
)

function logRequest(log: Log, request: FastifyRequest, logProbes = true): void {
  const { id, exchange, raw, ws, server } = request
  const ms = performance.now() - exchange.startedAt
  countRequest(request, ms)
  if (!logProbes && isGoodProbe(exchange)) return
  const client = exchange.client ?? server.clientOf(raw)
  const trace = traceIdOf(raw.headers['traceparent'])
  const decision = decisionOf({ id, raw, exchange, client, ms, trace, websocket: ws })
  const fields = logFields(decision)
  server.decisions.add(decision, fields)
  const { status, code, cause } = exchange.outcome
  if (status < 500) {
    log.writeLine('info', fields, 'request')
  } else {
    const isOurs = code === 'internal-error'
    const allFields = fields + errorField(cause)
    log.writeLine(isOurs ? 'error' : 'warn', allFields, isOurs ? 'request failed' : 'request')
  }
}

/**
 * Whether a prober was told that all is well: every few seconds, which says nothing and would push what people asked out of
 * the log and out of what is remembered. A prober has no credential; whoever tries one leaves a trace.
 */
function isGoodProbe({ outcome, credential }: Exchange): boolean {
  const { stage, status, code } = outcome
  return (
    (stage === 'health' || stage === 'probe') &&
    status >= 200 &&
    status < 300 &&
    code === undefined &&
    credential === undefined
  )
}

function countRequest({ exchange, server }: FastifyRequest, ms: number): void {
  const { target, startedAt, outcome } = exchange
  const { stage, status, code, dialledAt, upstreamMs } = outcome
  const decisionMs = dialledAt === undefined ? ms : dialledAt - startedAt
  const waitedMs = dialledAt === undefined ? undefined : (upstreamMs ?? ms - decisionMs)
  server.metrics.count(target?.route, stage, status, code, decisionMs, waitedMs)
}
