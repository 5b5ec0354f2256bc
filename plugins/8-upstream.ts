/** How does a request that may pass reach its service? A plain request is relayed, a WebSocket handshake is dialled. */
import type { IncomingMessage } from 'node:http'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { ERROR_FIELD, ownHeaders, type Answer } from '../src/answers/problem.ts'
import type { GatewayError } from '../src/answers/errors.ts'
import type { Config } from '../src/config/load.ts'
import { fieldLines } from '../src/http/fields.ts'
import { buildRequestHeaders, hasBody } from '../src/http/to-service.ts'
import { bearerToken } from '../src/identity/credentials.ts'
import type { Watchdog } from '../src/limits/watchdog.ts'
import { answerFault } from '../src/request/answer-fault.ts'
import type { Exchange } from '../src/request/exchange.ts'
import { isRouterFetch } from '../src/request/request-facts.ts'
import { ANSWERED, stageHook, type Hook, type Verdict } from '../src/request/stage.ts'
import { isServiceWorkerScript } from '../src/rules/isolation.ts'
import { relayRequest } from '../src/services/relay-http.ts'
import type { Service } from '../src/services/service.ts'
import type { BasicMemory } from '../src/terminals/safari-password.ts'

/** What the last stage needs besides the request. */
export interface UpstreamOptions {
  readonly config: Pick<Config, 'workspace' | 'allowedOrigins' | 'firstByteSeconds' | 'idleSeconds'>
  readonly watchdog: Watchdog
  readonly basicMemory: BasicMemory
  /** Finishes the service's handshake before the client's (plugins/upgrade.ts). */
  readonly dial: (
    service: Service,
    headers: string[],
    request: FastifyRequest,
    reply: FastifyReply,
  ) => Promise<void>
}

/** What a service's route adds to the stage. */
export interface RouteRules {
  /** Refuses a handshake that the service must never see. */
  readonly checkUpgrade: (request: FastifyRequest) => GatewayError | undefined
}

/**
 * Makes stage 8. Only routes of services have this stage, so it is no hook of every request but the `preHandler` of their
 * routes. It never passes a plain request on: the relay answers.
 */
export function buildUpstream(
  app: FastifyInstance,
  { config, watchdog, basicMemory, dial }: UpstreamOptions,
): (service: Service, rules: RouteRules) => Hook {
  return (service, { checkUpgrade }) =>
    stageHook('upstream', function forward(request, reply) {
      if (request.ws) return dialOrRefuse(service, checkUpgrade, request, reply)
      try {
        relay(service, request, reply)
      } catch (error) {
        answerFault(request, reply, error)
      }
      return ANSWERED
    })

  async function dialOrRefuse(
    service: Service,
    checkUpgrade: RouteRules['checkUpgrade'],
    request: FastifyRequest,
    reply: FastifyReply,
  ): Promise<Verdict> {
    const problem = checkUpgrade(request)
    if (problem !== undefined) return problem
    try {
      await dial(service, headersFor(service, request), request, reply)
    } catch (error) {
      if (!reply.sent && error instanceof Error) throw error // the refusal
      answerFault(request, reply, error)
      return ANSWERED
    }
    return reply.sent ? ANSWERED : undefined // else the service's refusal is on its way
  }

  function relay(service: Service, request: FastifyRequest, reply: FastifyReply): void {
    const { exchange, raw } = request
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
  }

  /** Who hears the status of the terminal's answer: it says what the credentials in the request are worth. */
  function onTerminalAnswer(
    exchange: Exchange,
    headers: readonly string[],
  ): (status: number) => void {
    const remember = basicMemory.watch(exchange, headers)
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
}

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
