/** How does a request that may pass reach its service? Relayed; upgrades have plugins/upgrade.ts beside this. */
import type { IncomingMessage } from 'node:http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { bearerToken } from '../src/identity/credentials.ts'
import type { Exchange } from '../src/request/exchange.ts'
import { fieldLines } from '../src/http/fields.ts'
import { buildRequestHeaders, hasBody } from '../src/http/to-service.ts'
import { relayRequest } from '../src/services/relay-http.ts'
import { ERROR_FIELD, ownHeaders, type Answer } from '../src/answers/problem.ts'
import { isServiceWorkerScript } from '../src/rules/isolation.ts'
import { isRouterFetch } from '../src/request/request-facts.ts'
import type { ServiceName } from '../src/rules/services.ts'
import { openServices, type Service } from '../src/services/service.ts'
import type { StrayBytesLog } from '../src/observe/stray-bytes.ts'
import { Watchdog } from '../src/limits/watchdog.ts'
import type { Config } from '../src/config/load.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The closed table of services. */
    readonly services: Readonly<Record<ServiceName, Service>>
    /** Looks after everything that is under way. */
    readonly watchdog: Watchdog
    /** Relays a plain request to a service. */
    relay(service: Service, request: FastifyRequest, reply: FastifyReply): void
    /** The header list with which a service is told about a request. */
    headersFor(service: Service, request: FastifyRequest): string[]
  }
}

/** The configuration, and where bytes of services that belong to no response are logged. */
interface UpstreamOptions extends Config {
  readonly strayBytes: StrayBytesLog
}

export default fp(
  async function upstream(app, { strayBytes, ...config }: UpstreamOptions) {
    const services = openServices(config, {
      onStrayBytes: (service, count) => strayBytes.note(service, count),
    })
    const watchdog = new Watchdog((error) => app.log.error({ err: error }, 'a check failed'))

    app.decorate('services', services)
    app.decorate('watchdog', watchdog)
    app.decorate('headersFor', headersFor)

    app.decorate(
      'relay',
      function relay(service: Service, request: FastifyRequest, reply: FastifyReply) {
        const { exchange, raw } = request
        exchange.outcome.stage = 'upstream'
        const hidden = hiddenReason(service, raw)
        if (hidden !== undefined) {
          exchange.outcome.code = 'not-found'
          exchange.outcome.reason = hidden
          exchange.passwordTry?.settle(undefined)
          app.writeAnswer(request, reply, nothingHere(request))
          return
        }
        const headers = headersFor(service, request)
        reply.hijack()
        raw.socket.clientConnection?.passOn(reply.raw)
        relayRequest({
          raw,
          response: reply.raw,
          exchange,
          requestId: request.id,
          service,
          path: exchange.target?.forwarded ?? '/',
          headers,
          hasBody: hasBody(raw.rawHeaders),
          variesByOrigin: config.allowedOrigins.length > 0,
          firstByteMs: config.firstByteSeconds * 1000,
          idleMs: config.idleSeconds * 1000,
          watchdog,
          onAnswer: service.row.basicPassword ? onTerminalAnswer(exchange, headers) : undefined,
          fail: (error) => {
            exchange.passwordTry?.settle(undefined)
            app.answerProblem(request, reply, error)
          },
        })
      },
    )

    app.addHook('onClose', async function closeServices() {
      watchdog.close()
      for (const { pool } of Object.values(services)) pool.close()
      strayBytes.close()
    })

    /** Who hears the status of the terminal's answer: it says what the credentials in the request are worth. */
    function onTerminalAnswer(
      exchange: Exchange,
      headers: readonly string[],
    ): (status: number) => void {
      const remember = app.basicMemory.watch(exchange, headers)
      return (status) => {
        remember?.(status)
        exchange.passwordTry?.settleBy(status)
      }
    }

    function headersFor(service: Service, request: FastifyRequest): string[] {
      const { exchange, raw } = request
      return buildRequestHeaders(raw.rawHeaders, {
        mode: service.mode,
        requestId: request.id,
        host: raw.headers.host ?? '',
        clientAddress: exchange.client?.address ?? '',
        scheme: exchange.scheme,
        user: exchange.principal?.subject,
        workspace: config.workspace,
        dropAuthorization: exchange.dropAuthorization,
        authorization: injectedAuthorization(service, request),
        allowNextData:
          service.row.nextRouter === true &&
          exchange.target?.path.startsWith('/_next/data/') === true,
        upgrade: request.ws,
      })
    }

    /** What the service gets as `Authorization` instead of the client's, if anything. */
    function injectedAuthorization(
      { authorization }: Service,
      { exchange, raw }: FastifyRequest,
    ): string | undefined {
      if (authorization === undefined) return undefined
      const own = fieldLines(raw.rawHeaders, 'authorization')[0]
      if (!exchange.dropAuthorization && bearerToken(own) !== undefined) return undefined // the service's own, as hooks have
      if (raw.headers['x-openclaw-token'] !== undefined) return undefined
      return authorization
    }
  },
  { name: 'upstream', fastify: '5.x', dependencies: ['authentication'] },
)

/** Why a service has nothing at an address for this kind of fetch. */
function hiddenReason({ row }: Service, { headers }: IncomingMessage): string | undefined {
  if (row.nextRouter !== true && isRouterFetch(headers)) return 'prefetch'
  return !row.serviceWorkers && isServiceWorkerScript(headers) ? 'service worker' : undefined
}

/** An empty answer: Next.js's router gives up its prefetch and navigates for real, a service worker is not registered. */
function nothingHere({ id }: FastifyRequest): Answer {
  const headers = [...ownHeaders(id), ERROR_FIELD, 'not-found', 'Content-Length', '0']
  return { status: 404, headers, body: '' }
}
