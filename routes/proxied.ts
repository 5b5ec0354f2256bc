/** Mounts a service at an address: every method, bodies untouched, plain requests relayed and upgrades dialled. */
import httpProxy from '@fastify/http-proxy'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { METHODS } from '../src/http/methods.ts'
import { GatewayError } from '../src/answers/errors.ts'
import type { Hook } from '../src/request/stage.ts'
import { namesForeignGateway } from '../src/rules/isolation.ts'
import type { Service, ServiceName } from '../src/services/service.ts'

/** What every route of a service needs. */
export interface ProxiedOptions {
  readonly services: Readonly<Record<ServiceName, Service>>
  /** Makes stage 8 for a service: the hook that relays a plain request and dials an upgrade (plugins/8-upstream.ts). */
  readonly forwardTo: (service: Service, rules: RouteRules) => Hook
}

/** What a route may add to stage 8. */
interface RouteRules {
  /** Refuses an upgrade that the service must never see. */
  readonly checkUpgrade?: ((request: FastifyRequest) => GatewayError | undefined) | undefined
}

/** How a service is mounted. */
export interface MountOptions extends ProxiedOptions, RouteRules {
  readonly service: ServiceName
  /** The address that the router knows the route by (plugins/1-target.ts); an empty string for the dashboard. */
  readonly address: '' | '/terminal' | '/api' | '/chat'
  /** Whether OpenClaw's control UI is served here, which must not be told to connect elsewhere. */
  readonly servesControlUi?: boolean
}

/**
 * Mounts a service with @fastify/http-proxy: the package registers the routes and keeps Fastify's hands off the bodies;
 * what is sent, and what comes back, is written by our relay. Its default handler, which would retry a 503 ten times and
 * tell clients which address refused a connection, is never reached.
 */
export async function mountService(
  app: FastifyInstance,
  {
    services,
    forwardTo,
    service: name,
    address,
    servesControlUi = false,
    checkUpgrade,
  }: MountOptions,
): Promise<void> {
  const service = services[name]
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
    preHandler: forwardTo(service, { checkUpgrade }),
  })
}
