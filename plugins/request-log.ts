/** What is recorded about each request? One log line, counts in the metrics, and a record for `explain`, once it has ended. */
import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { traceIdOf } from '../src/http/trace-context.ts'
import { errorField, type Log } from '../src/observe/log.ts'
import type { RequestMetrics } from '../src/observe/metrics.ts'
import { logFields } from '../src/observe/log-line.ts'
import type { Decisions } from '../src/observe/recent.ts'
import { decisionOf } from '../src/observe/record.ts'
import type { RefusalSums } from '../src/observe/refusal-sums.ts'
import type { ClientFinder } from '../src/request/client-finder.ts'
import { Exchange, verifiedPrincipal } from '../src/request/exchange.ts'

/** Where an ended request is recorded. */
interface RequestLogOptions {
  readonly log: Log
  readonly metrics: RequestMetrics
  readonly decisions: Decisions
  /** Finds the client of a request that was refused before the stage `client-address` had noted it. */
  readonly clients: ClientFinder
  /** Whether successful probes are logged too. */
  readonly logProbes: boolean
  /** Sums up the refusals of clients past their limit; undefined when each of them is logged. */
  readonly refusals: RefusalSums | undefined
}

export default fp(
  async function requestLog(
    app,
    { log, metrics, decisions, clients, logProbes, refusals }: RequestLogOptions,
  ) {
    app.decorateRequest('exchange', null as unknown as Exchange)

    app.addHook('onRequest', function beginExchange(request, reply, done) {
      const exchange = new Exchange()
      request.exchange = exchange
      // `on` and not `once`, which would wrap the listener: a response closes only once anyway.
      reply.raw.on('close', () => {
        exchange.outcome.onClientClose?.()
        // An upgraded connection has listeners behind this one, which note how it ended.
        if (request.ws) process.nextTick(logRequest, request, true)
        else logRequest(request, logProbes)
      })
      done()
    })

    function logRequest(request: FastifyRequest, logsProbes: boolean): void {
      const { id, exchange, raw, ws } = request
      const ms = performance.now() - exchange.startedAt
      count(metrics, exchange, ms)
      if (!logsProbes && raw.socket.linkPeer === undefined && isGoodProbe(exchange)) return
      const client = exchange.client ?? clients.findOrPeer(raw)
      const record = (): string => {
        const trace = traceIdOf(raw.headers['traceparent'])
        const decision = decisionOf({ id, raw, exchange, client, ms, trace, websocket: ws })
        const fields = logFields(decision)
        decisions.add(decision, fields)
        return fields
      }
      const { status, code, cause, stage } = exchange.outcome
      // A refusal that costs no budget, as at /health, is like one of a client that has none left: no limit ends a flood of them.
      const { counted, pastLimitOf = counted ? undefined : 'free' } = exchange
      if (pastLimitOf !== undefined && code !== undefined && status < 500) {
        const spender = `${client.budgetKey} ${pastLimitOf}`
        if (refusals?.add(spender, { code, stage, status }, record) === true) return
      }
      const fields = record()
      if (status < 500) {
        log.writeLine('info', fields, 'request')
      } else {
        const isOurs = code === 'internal-error'
        const allFields = fields + errorField(cause)
        log.writeLine(isOurs ? 'error' : 'warn', allFields, isOurs ? 'request failed' : 'request')
      }
    }
  },
  { name: 'request-log', fastify: '5.x' },
)

/**
 * Whether the request is a probe that succeeded. Probes come every few seconds, and their lines and records would push those
 * of people's requests out. A probe has no credential: a request with one is logged, unless it is free and the credential wrong,
 * because a stranger could then fill the log.
 */
function isGoodProbe(exchange: Exchange): boolean {
  const { outcome, credential, counted } = exchange
  const { stage, status, code } = outcome
  return (
    (stage === 'health' || stage === 'probe') &&
    status >= 200 &&
    status < 300 &&
    code === undefined &&
    (credential === undefined || (!counted && verifiedPrincipal(exchange) === undefined))
  )
}

function count(
  metrics: RequestMetrics,
  { target, startedAt, outcome }: Exchange,
  ms: number,
): void {
  const { stage, status, code, dialledAt, upstreamMs } = outcome
  const decisionMs = dialledAt === undefined ? ms : dialledAt - startedAt
  const waitedMs = dialledAt === undefined ? undefined : (upstreamMs ?? ms - decisionMs)
  metrics.count(target?.route, stage, status, code, decisionMs, waitedMs)
}
