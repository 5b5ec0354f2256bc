/**
 * How does a relayed service get its route? One loop over the table of services mounts each at its path: every method,
 * bodies untouched, plain requests relayed and upgrades dialled.
 */
import httpProxy from '@fastify/http-proxy'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { METHODS } from '../src/http/methods.ts'
import { GatewayError } from '../src/answers/errors.ts'
import type { Check, Hook } from '../src/request/stage.ts'
import { namesForeignGateway } from '../src/rules/isolation.ts'
import type { ServiceName, ServiceRow } from '../src/rules/services.ts'
import { pathOf, type SiteMap } from '../src/rules/site-map.ts'
import { wantsStepUp, type StepUpRules } from '../src/rules/step-up.ts'
import type { Service } from '../src/services/service.ts'
import { ttydUpgradeProblem } from './terminal.ts'

/** What decides which services are mounted, and how. */
export interface ProxiedOptions {
  readonly siteMap: SiteMap
  readonly services: Readonly<Record<ServiceName, Service>>
  readonly forwardTo: ForwardTo
  readonly stepUp: StepUpRules
}

/**
 * Makes the stage `upstream` for a service: the hook that relays a plain request and dials a WebSocket (plugins/8-upstream.ts).
 * @param checkUpgrade refuses a handshake that the service must never see
 */
type ForwardTo = (service: Service, checkUpgrade: Check) => Hook

export default async function proxied(
  app: FastifyInstance,
  { siteMap, services, forwardTo, stepUp }: ProxiedOptions,
): Promise<void> {
  for (const service of Object.values(services)) {
    const isMounted =
      service.row.answeredBy === 'service' && pathOf(service.name, siteMap) !== undefined
    const wants = wantsStepUp(stepUp, service.name)
    if (isMounted) await app.register((scope) => mountService(scope, service, forwardTo, wants))
  }
}

/**
 * The refusal of a handshake that the service must never see, by the column `upgrades`. The stage `authentication` refuses all
 * for `none`.
 */
const UPGRADE_PROBLEMS = {
  none: () => undefined,
  'signed-in': () => undefined,
  ttyd: ttydUpgradeProblem,
} as const satisfies Record<
  ServiceRow['upgrades'],
  (path: string, request: FastifyRequest) => GatewayError | undefined
>

/**
 * Mounts a service with @fastify/http-proxy. The package registers one route with all methods, and a body parser that
 * leaves the body unread, and it runs our `preHandler` before its own handler. It forwards nothing: `preHandler` relays a
 * plain request with a client of our own (src/services), and after a WebSocket handshake @fastify/websocket takes over. So
 * the package's handler is never reached, nor are its sender (@fastify/reply-from with undici), which would retry a 503 ten
 * times and tell clients which address refused a connection, its rewriting of paths and its WebSocket proxy.
 * `app.route()` and a parser would do the same; the package stays because this gateway was asked to be built on it.
 */
async function mountService(
  app: FastifyInstance,
  service: Service,
  forwardTo: ForwardTo,
  stepUp: boolean,
): Promise<void> {
  const { path, upgrades, forWorkspaces } = service.row
  app.removeAllContentTypeParsers() // Fastify's own would read text/plain bodies, and refuse those over 1 MiB

  app.addHook('onRequest', function keepBodyOpaque({ raw }, _reply, done) {
    // Without a type there is nothing that Fastify would find unsupported (415): that is for the service to say.
    delete raw.headers['content-type']
    done()
  })

  if (service.servesControlUi) {
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
    upstream: service.address.origin, // required by the package, and never dialled by it
    prefix: path === '/' ? '' : path, // the address that the stage `target` gives the router (plugins/1-target.ts)
    routes: ['/'],
    httpMethods: [...METHODS],
    config: { upgrades: upgrades !== 'none', stepUp, forWorkspaces: forWorkspaces === true },
    websocket: false, // @fastify/websocket owns the server's `upgrade` event (plugins/upgrade.ts)
    http: {}, // a sender without undici's pool; never reached
    globalAgent: true, // without an agent of its own
    // Runs before the handler's own checks of the address, which make three URL objects a request: the stage
    // `target` decided on the target.
    preHandler: forwardTo(service, (request) => UPGRADE_PROBLEMS[upgrades](path, request)),
  })
}
