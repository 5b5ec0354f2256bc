/** How does a request that may pass reach its service? Relayed over HTTP, or as a WebSocket once the service has agreed. */
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { bearerToken } from '../src/credentials.ts'
import { GatewayError } from '../src/errors.ts'
import { fieldLines, trimOws } from '../src/fields.ts'
import { buildRequestHeaders, hasBody } from '../src/request-headers.ts'
import { buildResponseHeaders, buildSwitchingHeaders } from '../src/response-headers.ts'
import { relayRequest } from '../src/http-relay.ts'
import { ERROR_FIELD, ownHeaders, type Answer } from '../src/problem.ts'
import { isServiceWorkerScript } from '../src/isolation.ts'
import { isRouterFetch } from '../src/request-facts.ts'
import { openServices, type Service, type ServiceName } from '../src/service.ts'
import { socketEndsAt } from '../src/sessions.ts'
import { Watchdog } from '../src/watchdog.ts'
import { dialWebSocket, type Refused, type Switched } from '../src/websocket-dial.ts'
import { WebSocketRelay } from '../src/websocket-relay.ts'
import type { Config } from '../src/config/load.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The closed table of services. */
    readonly services: Readonly<Record<ServiceName, Service>>
    /** Relays a plain request to a service. */
    relay(service: Service, request: FastifyRequest, reply: FastifyReply): void
    /**
     * Finishes the service's WebSocket handshake before the client's is answered. A refusal of the service has been sent
     * to the client when this resolves.
     * @throws {GatewayError} when the service cannot be reached or there is no room
     */
    dial(service: Service, request: FastifyRequest, reply: FastifyReply): Promise<void>
    /** The header list with which a service is told about a request. */
    headersFor(service: Service, request: FastifyRequest): string[]
  }
}

/** Takes an upgrade over: called with the client's socket and what arrived on it after the handshake. */
type Takeover = (socket: Duplex, head: Buffer) => void

export default fp(
  async function upstream(app, config: Config) {
    const services = openServices(config)
    const watchdog = new Watchdog()
    const takeovers = new WeakMap<IncomingMessage, Takeover>()

    app.decorate('services', services)
    app.decorate('headersFor', headersFor)

    // @fastify/websocket owns `upgrade` and brings each one through every stage to this call, which would accept it at
    // once. Ours are accepted with the service's own answer instead; there is no other way to accept one.
    app.websocketServer.handleUpgrade = (raw, socket, head) => {
      const takeOver = takeovers.get(raw)
      if (takeOver === undefined) socket.destroy()
      else takeOver(socket, head)
    }

    app.decorate(
      'relay',
      function relay(service: Service, request: FastifyRequest, reply: FastifyReply) {
        const { exchange, raw } = request
        exchange.stage = 'upstream'
        const hidden = hiddenReason(service, raw)
        if (hidden !== undefined) {
          exchange.code = 'not-found'
          exchange.reason = hidden
          app.writeAnswer(request, reply, nothingHere(request))
          return
        }
        reply.hijack()
        relayRequest({
          raw,
          response: reply.raw,
          exchange,
          requestId: request.id,
          service,
          path: exchange.target?.forwarded ?? '/',
          headers: headersFor(service, request),
          hasBody: hasBody(raw.rawHeaders),
          idleMs: config.idleSeconds * 1000,
          watchdog,
          fail: (error) => app.answerProblem(request, reply, error),
        })
      },
    )

    app.decorate(
      'dial',
      async function dial(service: Service, request: FastifyRequest, reply: FastifyReply) {
        const { exchange, raw } = request
        const { principal, client, target } = exchange
        exchange.stage = 'upstream'
        if (principal === undefined || client === undefined || target === undefined)
          throw new GatewayError('internal-error', { reason: 'undecided upgrade' })
        if (!app.openSockets.hasRoom(principal.sessionId, client.budgetKey)) {
          throw new GatewayError('upstream-busy', {
            reason: 'too many sockets',
            headers: { 'Retry-After': '5' },
          })
        }
        const release = app.openSockets.reserve(principal.sessionId, client.budgetKey)
        raw.socket.once('close', release)
        const gone = new AbortController()
        const abort = () => gone.abort()
        raw.socket.once('close', abort)
        const startedAt = performance.now()
        const key = raw.headers['sec-websocket-key'] ?? ''
        const result = await dialWebSocket(
          service,
          target.forwarded,
          headersFor(service, request),
          key,
          offeredProtocols(raw),
          gone.signal,
        )
        raw.socket.off('close', abort)
        exchange.upstreamMs = performance.now() - startedAt
        if (result.kind === 'refused') {
          reply.hijack()
          passRefusal(result, request, reply, service)
          return
        }
        const switched = result
        takeovers.set(raw, (socket, head) => {
          exchange.status = 101
          const relay = new WebSocketRelay({
            client: socket,
            service: switched.socket,
            clientHead: head,
            serviceHead: switched.head,
            principal,
            address: client.budgetKey,
            endsAt: socketEndsAt(principal, config.jwtLeewaySeconds, Date.now()),
            exchange,
            answer: switchingAnswer(switched, request.id),
            onEnd() {
              watchdog.delete(relay)
              app.openSockets.delete(relay)
            },
          })
          watchdog.add(relay)
          app.openSockets.add(relay)
          if (app.isDraining) app.beginDrain()
        })
      },
    )

    app.addHook('onClose', async function closeServices() {
      watchdog.close()
      await Promise.all(Object.values(services).map(({ pool }) => pool.destroy()))
    })

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
          service.name === 'dashboard' && exchange.target?.path.startsWith('/_next/data/') === true,
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

    /** Sends a service's ordinary answer to a handshake on to the client, and ends the connection. */
    function passRefusal(
      { answer }: Refused,
      { exchange, id }: FastifyRequest,
      { raw: response }: FastifyReply,
      service: Service,
    ): void {
      const headers = buildResponseHeaders(answer.rawHeaders, {
        requestId: id,
        signedIn: true,
        rewriteLocation: service.rewriteLocation,
        allowOrigin: undefined,
        extra: [...exchange.budgetFields, 'Connection', 'close'],
      })
      exchange.status = answer.statusCode ?? 502
      answer.on('error', () => response.destroy())
      answer.on('data', (chunk: Buffer) => (exchange.bytesOut += chunk.length))
      answer.setTimeout(config.idleSeconds * 1000, () => answer.destroy())
      response.on('close', () => answer.destroy())
      response.writeHead(exchange.status, headers)
      answer.pipe(response)
    }
  },
  { name: 'upstream', fastify: '5.x', dependencies: ['authentication', '@fastify/websocket'] },
)

/** Why a service has nothing at an address for this kind of fetch. */
function hiddenReason({ name }: Service, { headers }: IncomingMessage): string | undefined {
  if (name !== 'dashboard' && isRouterFetch(headers)) return 'prefetch'
  const mayServeWorkers = name === 'dashboard' || name === 'chat'
  return !mayServeWorkers && isServiceWorkerScript(headers) ? 'service worker' : undefined
}

/** An empty answer: Next.js's router gives up its prefetch and navigates for real, a service worker is not registered. */
function nothingHere({ id }: FastifyRequest): Answer {
  const headers = [...ownHeaders(id), ERROR_FIELD, 'not-found', 'Content-Length', '0']
  return { status: 404, headers, body: '' }
}

/** The service's `101` as the client gets it. */
function switchingAnswer({ rawHeaders }: Switched, requestId: string): string {
  const headers = [...buildSwitchingHeaders(rawHeaders), 'X-Request-Id', requestId]
  let text = 'HTTP/1.1 101 Switching Protocols\r\n'
  for (let i = 0; i < headers.length; i += 2) text += `${headers[i]}: ${headers[i + 1]}\r\n`
  return `${text}\r\n`
}

/** The subprotocols that a handshake offers; they are compared case-sensitively. */
export function offeredProtocols({ rawHeaders }: IncomingMessage): string[] {
  return fieldLines(rawHeaders, 'sec-websocket-protocol').flatMap((line) =>
    line.split(',').map(trimOws),
  )
}
