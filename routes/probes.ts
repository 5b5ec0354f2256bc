/** Is the gateway itself alive, and ready? `/_gateway/live` and `/_gateway/ready` tell supervisors, whatever the services do. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { GatewayError } from '../src/answers/errors.ts'
import type { Principal } from '../src/identity/token.ts'
import { permits } from '../src/rules/scopes.ts'
import { verifiedPrincipal } from '../src/request/exchange.ts'
import { ownHeaders, withBody } from '../src/answers/problem.ts'
import type { ServiceProbe } from '../src/services/probe.ts'
import type { State } from '../src/store/state.ts'
import type { DrainState } from '../src/sockets/drain-state.ts'
import { refuseOtherMethods } from './other-methods.ts'

/**
 * Anybody may probe, without a limit, because a supervisor that gets 429 would restart a healthy gateway. Without a credential
 * the response tells nothing and dials nothing. With a credential, the request is counted like any other.
 */
const PROBE = { public: true, uncounted: 'without-credential' } as const

/** Whether the response tells how the services are: an API token needs the owner's scope for that. */
function mayLook({ apiToken }: Principal): boolean {
  return apiToken === undefined || permits(apiToken.scopes, 'owner', true, '')
}

/** What the routes need besides the request. */
export interface ProbesOptions {
  readonly probe: ServiceProbe
  readonly drain: DrainState
  /** Whether sessions and API tokens are kept is told to those who have a credential. */
  readonly state: Pick<State, 'condition'>
}

export default async function probes(
  app: FastifyInstance,
  { probe, drain, state }: ProbesOptions,
): Promise<void> {
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
      // Not thrown, because a thrown error is a refusal, and refusals are counted.
      const draining = new GatewayError('draining')
      app.answerProblem(request, reply, draining)
      return reply
    }
    const owner = verifiedPrincipal(exchange)
    if (owner === undefined || !mayLook(owner)) return tell(request, reply, { status: 'ready' })
    exchange.principal = owner
    // For information only: the gateway is ready although a service is down, or its state cannot be written.
    const services = await probe.states()
    return tell(request, reply, { status: 'ready', state: state.condition, services })
  })

  for (const url of ['/_gateway/live', '/_gateway/ready'])
    refuseOtherMethods(app, url, ['GET', 'HEAD'])

  function tell(request: FastifyRequest, reply: FastifyReply, what: object): FastifyReply {
    const body = `${JSON.stringify(what)}\n`
    app.writeAnswer(request, reply, withBody(200, ownHeaders(request.id), 'application/json', body))
    return reply
  }
}
