/** `/_gateway/live` and `/_gateway/ready`: for supervisors and platforms that ask about the gateway, not the workspace. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { METHODS } from '../src/http/methods.ts'
import { GatewayError } from '../src/answers/errors.ts'
import { verifiedPrincipal } from '../src/request/exchange.ts'
import { ownHeaders, withBody } from '../src/answers/problem.ts'
import { ServiceProbe } from '../src/services/probe.ts'
import type { ServiceName } from '../src/rules/services.ts'
import type { Service } from '../src/services/service.ts'
import type { DrainState } from '../src/sockets/drain-state.ts'

/**
 * Anybody may ask, as often as they like: a supervisor that heard 429 would restart a healthy gateway. Without a
 * credential nothing is looked up, told or dialled that could be worth asking for. With one it is a request like others.
 */
const PROBE = { public: true, uncounted: 'without-credential' } as const

/** What readiness depends on. */
export interface ProbesOptions {
  readonly services: Readonly<Record<ServiceName, Service>>
  readonly drain: DrainState
}

export default async function probes(
  app: FastifyInstance,
  { services, drain }: ProbesOptions,
): Promise<void> {
  const probe = new ServiceProbe(services)

  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, _body, done) => {
    done(null) // a method with a body is answered 405, whatever the body
  })

  app.get('/_gateway/live', { config: PROBE }, async function sayLive(request, reply) {
    request.exchange.outcome.stage = 'probe'
    return tell(request, reply, { status: 'live' })
  })

  app.get('/_gateway/ready', { config: PROBE }, async function sayReady(request, reply) {
    const { exchange } = request
    exchange.outcome.stage = 'probe'
    if (drain.isDraining || !(app.server.listening || drain.isReplaced)) {
      // Not thrown: what is thrown is a refusal, and refusals are counted.
      const draining = new GatewayError('draining')
      app.answerProblem(request, reply, draining)
      return reply
    }
    const owner = verifiedPrincipal(exchange)
    if (owner === undefined) return tell(request, reply, { status: 'ready' })
    exchange.principal = owner
    // For information: a service that is down does not make the gateway less ready.
    return tell(request, reply, { status: 'ready', services: await probe.states() })
  })

  for (const url of ['/_gateway/live', '/_gateway/ready'])
    app.route({
      url,
      method: METHODS.filter((method) => method !== 'GET' && method !== 'HEAD'),
      config: { public: true },
      handler() {
        throw new GatewayError('method-not-allowed', { headers: { Allow: 'GET, HEAD' } })
      },
    })

  function tell(request: FastifyRequest, reply: FastifyReply, what: object): FastifyReply {
    const body = `${JSON.stringify(what)}\n`
    app.writeAnswer(request, reply, withBody(200, ownHeaders(request.id), 'application/json', body))
    return reply
  }
}
