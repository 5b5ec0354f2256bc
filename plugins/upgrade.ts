/** How does an upgrade that may pass become an open WebSocket? The service agrees first; then its 101 is the client's. */
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { WebSocketServer } from 'ws'
import { cutAnswer } from '../src/http/client-connection.ts'
import { TOO_MANY_SOCKETS_DETAIL } from '../src/answers/details.ts'
import { EarlyBytes, hasLeft } from '../src/sockets/early-bytes.ts'
import { ERRORS, GatewayError } from '../src/answers/errors.ts'
import type { Outcome } from '../src/request/outcome.ts'
import { buildResponseHeaders, buildSwitchingHeaders } from '../src/http/to-client.ts'
import type { Watchdog } from '../src/limits/watchdog.ts'
import type { Service } from '../src/services/service.ts'
import type { DrainState } from '../src/sockets/drain-state.ts'
import { RESTARTING, socketEndsAt, type OpenSockets } from '../src/sockets/open-sockets.ts'
import {
  dialWebSocket,
  offeredProtocols,
  type Refused,
  type Switched,
} from '../src/sockets/dial.ts'
import { WebSocketRelay, type RelayPair } from '../src/sockets/relay.ts'
import type { BasicMemory } from '../src/terminals/safari-password.ts'

/** What an open WebSocket depends on. */
export interface UpgradeOptions {
  readonly openSockets: OpenSockets
  readonly watchdog: Watchdog
  readonly drain: DrainState
  readonly basicMemory: BasicMemory
  readonly leewaySeconds: number
  /** How long a service may pause within an answer that refuses a handshake, in milliseconds. */
  readonly idleMs: number
}

/**
 * Finishes the service's WebSocket handshake before the client's is answered. A refusal of the service has been sent to the
 * client when this resolves.
 * @param headers the header list that the service gets
 * @throws {GatewayError} when the service cannot be reached or there is no room
 */
export type Dial = (
  service: Service,
  headers: string[],
  request: FastifyRequest,
  reply: FastifyReply,
) => Promise<void>

/** Takes an upgrade over: called with the client's socket and what arrived on it after the handshake. */
type Takeover = (socket: Duplex, head: Buffer) => void

/** Takes upgrades from @fastify/websocket. @param websockets its server, which accepts an upgrade that has passed every stage */
export function takeUpgrades(
  websockets: WebSocketServer,
  { openSockets, watchdog, drain, basicMemory, leewaySeconds, idleMs }: UpgradeOptions,
): Dial {
  const takeovers = new WeakMap<IncomingMessage, Takeover>()

  // @fastify/websocket owns `upgrade` and brings each one through every stage to this call, which would accept it at
  // once. Ours are accepted with the service's own answer instead; there is no other way to accept one.
  websockets.handleUpgrade = (raw, socket, head) => {
    const takeOver = takeovers.get(raw)
    takeovers.delete(raw)
    if (takeOver === undefined) socket.destroy()
    else takeOver(socket, head)
  }

  return async function dial(service, headers, request, reply) {
    const { exchange, raw } = request
    const { principal, client, target, outcome } = exchange
    if (principal === undefined || client === undefined || target === undefined)
      throw new GatewayError('internal-error', { reason: 'undecided upgrade' })
    if (!openSockets.hasRoom(principal.sessionId, client.budgetKey)) {
      throw new GatewayError('upstream-busy', {
        reason: 'too many sockets',
        detail: TOO_MANY_SOCKETS_DETAIL,
        retryAfter: ERRORS['upstream-busy'].retryAfter.webSocket,
      })
    }
    // Its token was checked meanwhile, and the end of a connection that nobody reads is not told again.
    if (hasLeft(raw.socket)) throw clientLeft()
    const place = openSockets.reserve(principal, client.budgetKey)
    raw.socket.once('close', place.release)
    const gone = new AbortController()
    const early = new EarlyBytes(raw.socket, () => gone.abort())
    const startedAt = performance.now()
    outcome.dialledAt = startedAt
    const loan = service.row.basicPassword ? basicMemory.lend(exchange, raw.rawHeaders) : undefined
    if (loan !== undefined) headers.push('Authorization', loan.authorization)
    const key = raw.headers['sec-websocket-key'] ?? ''
    const result = await dialWebSocket(
      service,
      target.forwarded,
      headers,
      key,
      offeredProtocols(raw),
      gone.signal,
    ).catch((error: unknown) => {
      if (gone.signal.aborted) throw clientLeft()
      loan?.refused() // ttyd refuses by closing the connection
      throw error
    })
    outcome.upstreamMs = performance.now() - startedAt
    if (gone.signal.aborted) {
      // It left after the service had answered, which no abort undoes.
      ;(result.kind === 'switched' ? result.socket : result.answer).destroy()
      throw clientLeft()
    }
    if (result.kind === 'refused') {
      loan?.refused()
      exchange.passwordTry?.settleBy(result.answer.statusCode ?? 502)
      reply.hijack()
      try {
        passRefusal(result, request, reply, service)
      } catch (cause) {
        result.answer.destroy()
        throw new GatewayError('upstream-unreachable', { reason: 'cannot be passed on', cause })
      }
      return
    }
    exchange.passwordTry?.settle(true)
    exchange.passwordTry = undefined
    const switched = result
    const splice: Takeover = (socket, head) => {
      const clientHead = Buffer.concat([head, early.take()])
      const endsAt = socketEndsAt(principal, leewaySeconds, Date.now())
      const answer = switchingAnswer(switched, request.id, service.isolatedAt)
      const address = client.budgetKey
      const relay = openRelay({
        ...{ client: socket, clientHead, service: switched.socket, serviceHead: switched.head },
        ...{ principal, address, endsAt, outcome, answer },
      })
      const endedBy = place.endedBy ?? (drain.isReplaced ? RESTARTING : undefined)
      if (endedBy !== undefined) relay.close(endedBy)
    }
    takeovers.set(raw, (socket, head) => {
      try {
        splice(socket, head)
      } catch (cause) {
        switched.socket.destroy()
        socket.destroy() // part of the 101 may have been sent, and nothing else can follow it
        noteFault(outcome, cause)
      }
    })
  }

  /** Apart from the handshake, so that nothing of that stays in memory as long as the socket is open. */
  function openRelay(pair: Omit<RelayPair, 'onEnd'>): WebSocketRelay {
    pair.outcome.status = 101
    const relay = new WebSocketRelay({
      ...pair,
      onEnd() {
        watchdog.delete(relay)
        openSockets.delete(relay)
      },
    })
    watchdog.add(relay)
    openSockets.add(relay)
    return relay
  }

  /** Sends a service's ordinary answer to a handshake on to the client, and ends the connection. */
  function passRefusal(
    { answer }: Refused,
    { exchange, id }: FastifyRequest,
    { raw: response }: FastifyReply,
    service: Service,
  ): void {
    const status = answer.statusCode ?? 502
    const headers = buildResponseHeaders(answer.rawHeaders, {
      status,
      requestId: id,
      signedIn: true,
      rewriteLocation: service.rewriteLocation,
      isolatedAt: service.isolatedAt,
      allowOrigin: undefined,
      extra: [...exchange.budgetFields, 'Connection', 'close'],
    })
    exchange.outcome.status = status
    response.writeHead(status, headers)
    answer.on('close', () => {
      if (!answer.complete) cutAnswer(response) // a cut answer ends as a cut
    })
    answer.on('error', () => {})
    answer.on('data', (chunk: Buffer) => (exchange.outcome.bytesOut += chunk.length))
    answer.setTimeout(idleMs, () => answer.destroy())
    response.on('close', () => answer.destroy())
    answer.pipe(response)
  }
}

/** What the log says about an upgrade that the gateway itself broke. */
function noteFault(outcome: Outcome, cause: unknown): void {
  outcome.status = 500
  outcome.code = 'internal-error'
  outcome.reason = 'the sockets were not joined'
  outcome.cause = cause
}

function clientLeft(): GatewayError {
  return new GatewayError('bad-request', { reason: 'client left' })
}

/** The service's `101` as the client gets it. */
function switchingAnswer(
  { rawHeaders }: Switched,
  requestId: string,
  isolatedAt: string | undefined,
): string {
  const headers = [...buildSwitchingHeaders(rawHeaders, isolatedAt), 'X-Request-Id', requestId]
  let text = 'HTTP/1.1 101 Switching Protocols\r\n'
  for (let i = 0; i < headers.length; i += 2) text += `${headers[i]}: ${headers[i + 1]}\r\n`
  return `${text}\r\n`
}
