/** Stage 8: how does a request that may pass reach its service? A plain request is relayed, a WebSocket handshake is dialled. */
import type { IncomingMessage } from 'node:http'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { ERROR_FIELD, ownHeaders, type Answer } from '../src/answers/problem.ts'
import type { Config } from '../src/config/load.ts'
import { GatewayError } from '../src/answers/errors.ts'
import { fieldLines } from '../src/http/fields.ts'
import { buildRequestHeaders, hasBody } from '../src/http/to-service.ts'
import { TOKEN_NAME_FIELD } from '../src/http/vault-fields.ts'
import type { ApiTokens } from '../src/identity/api-tokens.ts'
import { bearerToken } from '../src/identity/credentials.ts'
import type { Watchdog } from '../src/limits/watchdog.ts'
import { answerFault } from '../src/request/answer-fault.ts'
import type { Exchange } from '../src/request/exchange.ts'
import { isRouterFetch } from '../src/request/request-facts.ts'
import { ANSWERED, stageHook, type Check, type Hook, type Verdict } from '../src/request/stage.ts'
import { isServiceWorkerScript } from '../src/rules/isolation.ts'
import { relayRequest } from '../src/services/relay-http.ts'
import type { Service } from '../src/services/service.ts'
import type { BasicMemory } from '../src/terminals/safari-password.ts'

/** What the stage needs besides the request. */
export interface UpstreamOptions {
  readonly config: Pick<Config, 'workspace' | 'allowedOrigins' | 'firstByteSeconds' | 'idleSeconds'>
  readonly watchdog: Watchdog
  readonly basicMemory: BasicMemory
  readonly apiTokens: Pick<ApiTokens, 'nameInForce'>
  /** Completes the handshake with the service, before the client gets its `101` (plugins/upgrade.ts). */
  readonly dial: (
    service: Service,
    headers: string[],
    request: FastifyRequest,
    reply: FastifyReply,
  ) => Promise<void>
}

/**
 * Makes this stage for the routes of services (routes/proxied.ts). The stage is the `preHandler` of these routes and not a hook
 * of every request, because the gateway's own routes have no service. Behind it, a plain request has nothing more to pass: the
 * relay answers it. A handshake passes on when the service has accepted it, and @fastify/websocket takes it from there.
 */
export function buildUpstream(
  app: FastifyInstance,
  { config, watchdog, basicMemory, apiTokens, dial }: UpstreamOptions,
): (service: Service, checkUpgrade: Check) => Hook {
  return (service, checkUpgrade) =>
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
    checkUpgrade: Check,
    request: FastifyRequest,
    reply: FastifyReply,
  ): Promise<Verdict> {
    const problem = checkUpgrade(request)
    if (problem !== undefined) return problem
    try {
      await dial(service, headersFor(service, request), request, reply)
    } catch (error) {
      if (!reply.sent && error instanceof Error) throw error // refuses the request
      answerFault(request, reply, error)
      return ANSWERED
    }
    return reply.sent ? ANSWERED : undefined // a sent reply is the refusal of the service, on its way to the client
  }

  function relay(service: Service, request: FastifyRequest, reply: FastifyReply): void {
    const { exchange, raw } = request
    const hidden = hiddenReason(service, raw)
    if (hidden !== undefined) {
      exchange.outcome.noteError({ code: 'not-found', reason: hidden, cause: undefined })
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

  /** Returns what to call with the status of the terminal's response, which tells whether the password in the request was right. */
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
    const headers = buildRequestHeaders(raw.rawHeaders, {
      mode: service.mode,
      requestId: request.id,
      host: raw.headers.host ?? '',
      clientAddress: exchange.client?.forwardedAs ?? exchange.client?.address ?? '',
      scheme: exchange.scheme,
      user: exchange.principal?.subject,
      workspace: config.workspace,
      dropAuthorization: exchange.dropAuthorization || service.row.forWorkspaces === true,
      authorization: injectedAuthorization(service, request),
      allowNextData:
        service.row.nextRouter === true &&
        exchange.target?.path.startsWith('/_next/data/') === true,
      upgrade: request.ws,
    })
    if (service.row.forWorkspaces) headers.push(TOKEN_NAME_FIELD, workspaceOf(exchange))
    return headers
  }

  /** The name of the workspace that asks, which is that of its API token. The stage `authentication` takes nobody else. */
  function workspaceOf({ principal }: Exchange): string {
    if (principal?.apiToken === undefined)
      throw new GatewayError('internal-error', { reason: 'no workspace' })
    return apiTokens.nameInForce(principal.apiToken)
  }

  /** The `Authorization` that replaces the client's; undefined to leave it. */
  function injectedAuthorization(
    { authorization }: Service,
    { exchange, raw }: FastifyRequest,
  ): string | undefined {
    if (authorization === undefined) return undefined
    const own = fieldLines(raw.rawHeaders, 'authorization')[0]
    // The client's bearer token is one of the service's own, as callers of OpenClaw's hooks send.
    if (!exchange.dropAuthorization && bearerToken(own) !== undefined) return undefined
    if (raw.headers['x-openclaw-token'] !== undefined) return undefined
    return authorization
  }
}

/** Why this kind of fetch gets 404 from the gateway itself; undefined when the request is forwarded. */
function hiddenReason({ row }: Service, { headers }: IncomingMessage): string | undefined {
  if (row.nextRouter !== true && isRouterFetch(headers)) return 'prefetch'
  return !row.serviceWorkers && isServiceWorkerScript(headers) ? 'service worker' : undefined
}

/** An empty 404: Next.js's router gives up its prefetch and loads the page on navigation; a service worker is not registered. */
function nothingHere({ id }: FastifyRequest): Answer {
  const headers = [...ownHeaders(id), ERROR_FIELD, 'not-found', 'Content-Length', '0']
  return { status: 404, headers, body: '' }
}
