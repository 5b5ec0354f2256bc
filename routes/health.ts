/**
 * Is the workspace healthy? `/health` returns the stats server's response, made by the gateway: one small request a second at
 * most, and by default 200 when the stats server is down, because Caddy would otherwise stop sending people here.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { METHODS } from '../src/http/methods.ts'
import { serviceDetail } from '../src/answers/details.ts'
import { ROUTE_WORDS } from '../src/rules/site-map.ts'
import { GatewayError, upstreamErrorFrom } from '../src/answers/errors.ts'
import { fieldLines } from '../src/http/fields.ts'
import {
  ERROR_FIELD,
  ownHeaders,
  problemAnswer,
  retryAfterOf,
  withBody,
} from '../src/answers/problem.ts'
import type { Answer } from '../src/answers/problem.ts'
import { askForSmall } from '../src/services/ask.ts'
import type { Service } from '../src/services/service.ts'
import type { DrainState } from '../src/sockets/drain-state.ts'

/** What the route needs besides the request. */
export interface HealthOptions {
  /** Whether `/health` fails when the stats server does not answer. */
  readonly strict: boolean
  /** The workspace's public host, for the request to the stats server. */
  readonly host: string
  /** The stats server. */
  readonly service: Service
  readonly drain: DrainState
}

/** Bounds of the stats server's response: larger ones are not passed on, and a prober waits one second. */
const LIMITS = { maxBytes: 64 * 1024, timeoutMs: 800 }

/** For how long one response serves every prober, in milliseconds. */
const SHARED_MS = 1000

interface Probe {
  readonly startedAt: number
  readonly result: Promise<StatsAnswer | GatewayError>
}

interface StatsAnswer {
  readonly status: number
  readonly type: string
  readonly body: string
}

export default async function health(
  app: FastifyInstance,
  { strict, host, service, drain }: HealthOptions,
): Promise<void> {
  // Fixed header fields: one response serves every prober, so nothing that one of them sends may shape it.
  const probeFields = ['Host', host, 'User-Agent', 'workspace-gateway', 'Accept', '*/*']
  const probeHead = { method: 'GET', path: '/health', headers: probeFields }
  let latest: Probe | undefined

  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, _body, done) => {
    done(null) // a method with a body is answered 405, whatever the body
  })

  app.route({
    method: [...METHODS],
    url: '/health',
    config: { public: true, uncounted: true, anyHost: true },
    async handler(request, reply) {
      request.exchange.outcome.stage = 'health'
      if (request.method !== 'GET' && request.method !== 'HEAD') {
        throw new GatewayError('method-not-allowed', { headers: { Allow: 'GET, HEAD' } })
      }
      if (drain.isDraining) throw new GatewayError('draining')
      const now = performance.now()
      request.exchange.outcome.dialledAt = now
      if (latest === undefined || now - latest.startedAt > SHARED_MS)
        latest = { startedAt: now, result: probe() }
      const result = await latest.result
      request.exchange.outcome.upstreamMs = performance.now() - now
      app.writeAnswer(request, reply, healthAnswer(request, result))
      return reply
    },
  })

  /** Sends one request to the stats server. Never rejects. */
  async function probe(): Promise<StatsAnswer | GatewayError> {
    try {
      const { status, fields, body } = await askForSmall(service, probeHead, LIMITS)
      if (status < 200 || status > 299)
        return new GatewayError('upstream-unreachable', {
          reason: `stats server answered ${status}`,
        })
      const type = fieldLines(fields, 'content-type')[0] ?? 'application/octet-stream'
      return { status, type, body }
    } catch (error) {
      return upstreamErrorFrom(error)
    }
  }

  function healthAnswer(request: FastifyRequest, result: StatsAnswer | GatewayError): Answer {
    const { exchange, id } = request
    if (!(result instanceof GatewayError)) {
      return result.status === 204
        ? { status: 204, headers: ownHeaders(id), body: '' }
        : withBody(result.status, ownHeaders(id), result.type, result.body)
    }
    exchange.outcome.noteError(result)
    if (strict) {
      const { code, headers, retryAfter } = result
      const detail = serviceDetail(code, ROUTE_WORDS.health, retryAfterOf(result))
      const audience = { requestId: id, page: false, returnTo: '/' }
      return problemAnswer({ code, headers, detail, retryAfter }, audience)
    }
    const body = `${JSON.stringify({ status: 'degraded', stats: 'unreachable' })}\n`
    return withBody(200, [...ownHeaders(id), ERROR_FIELD, result.code], 'application/json', body)
  }
}
