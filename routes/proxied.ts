/** Mounts a service at an address: every method, bodies untouched, plain requests relayed and upgrades dialled. */
import httpProxy from '@fastify/http-proxy'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { METHODS } from '../src/http/methods.ts'
import { GatewayError } from '../src/answers/errors.ts'
import { namesForeignGateway } from '../src/rules/isolation.ts'
import type { ServiceName } from '../src/services/service.ts'

/** How a service is mounted. */
export interface MountOptions {
  readonly service: ServiceName
  /** The address that the router knows the route by (plugins/1-target.ts); an empty string for the dashboard. */
  readonly address: '' | '/terminal' | '/api' | '/chat'
  /** Whether OpenClaw's control UI is served here, which must not be told to connect elsewhere. */
  readonly servesControlUi?: boolean
  /** Refuses an upgrade that the service must never see. */
  readonly checkUpgrade?: (request: FastifyRequest) => GatewayError | undefined
}

/**
 * Mounts a service with @fastify/http-proxy: the package registers the routes and keeps Fastify's hands off the bodies;
 * what is sent, and what comes back, is written by our relay. Its default handler, which would retry a 503 ten times and
 * tell clients which address refused a connection, is never reached.
 */
export async function mountService(
  app: FastifyInstance,
  { service: name, address, servesControlUi = false, checkUpgrade }: MountOptions,
): Promise<void> {
  const service = app.services[name]
  app.removeAllContentTypeParsers() // Fastify's own would read text/plain bodies, and refuse those over 1 MiB

  app.addHook('onRequest', function keepBodyOpaque({ raw }, _reply, done) {
    // Without a type there is nothing that Fastify would find unsupported (415): that is for the service to say.
    delete raw.headers['content-type']
    done()
  })

  if (servesControlUi) {
    app.addHook('onRequest', function refuseForeignGateway({ exchange }, _reply, done) {
      const isForeign = namesForeignGateway(exchange.target?.query ?? '')
      done(
        isForeign
          ? new GatewayError('bad-request', { reason: 'names another gateway' })
          : undefined,
      )
    })
  }

  await app.register(httpProxy, {
    upstream: service.address.origin,
    prefix: address,
    routes: ['/'],
    httpMethods: [...METHODS],
    config: { upgrades: true },
    websocket: false,
    http: {}, // instead of undici, for a sender of its own that is never reached
    globalAgent: true,
    // Before the package's own checks of the address, three URLs a request: the target was decided on in stage 1.
    preHandler(request: FastifyRequest, reply: FastifyReply, done: (error?: Error) => void) {
      if (request.ws) void dialThen(request, reply, done)
      else relay(request, reply)
    },
  })

  function relay(request: FastifyRequest, reply: FastifyReply): void {
    try {
      app.relay(service, request, reply)
    } catch (error) {
      app.answerFault(request, reply, error)
    }
  }

  async function dialThen(
    request: FastifyRequest,
    reply: FastifyReply,
    done: (error?: Error) => void,
  ): Promise<void> {
    request.exchange.outcome.stage = 'upstream'
    try {
      const problem = checkUpgrade?.(request)
      if (problem !== undefined) throw problem
      await app.dial(service, request, reply)
    } catch (error) {
      if (reply.sent || !(error instanceof Error)) app.answerFault(request, reply, error)
      else done(error)
      return
    }
    if (!reply.sent) done() // else the service's refusal is on its way
  }
}
