/**
 * How does an upgrade that may pass become an open WebSocket? The gateway completes the handshake with the service first, and
 * then sends the service's `101` to the client. A client never gets a `101` for a handshake that the service refuses.
 *
 * What @fastify/websocket does for us: it owns the server's `upgrade` event, makes each upgrade a request that passes the
 * stages, and calls ws for one that has reached its handler. What we replace: ws itself, which would accept the upgrade with a
 * `101` of its own and parse frames.
 */
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { WebSocketServer } from 'ws'
import { cutAnswer } from '../src/http/client-connection.ts'
import { replaceHandleUpgrade } from '../src/http/node-internals.ts'
import { RESTARTING, SESSION_ENDED_REASON } from '../src/answers/close-reasons.ts'
import { TOO_MANY_SOCKETS_DETAIL } from '../src/answers/details.ts'
import { EarlyBytes, hasLeft } from '../src/sockets/early-bytes.ts'
import { ERRORS, GatewayError } from '../src/answers/errors.ts'
import { ownOrigin } from '../src/request/exchange.ts'
import type { Outcome } from '../src/request/outcome.ts'
import { sessionOver, SessionWatch } from '../src/request/session-over.ts'
import { buildResponseHeaders, buildSwitchingHeaders } from '../src/http/to-client.ts'
import type { Session } from '../src/identity/session.ts'
import type { Watchdog } from '../src/limits/watchdog.ts'
import type { Service } from '../src/services/service.ts'
import type { DrainState } from '../src/sockets/drain-state.ts'
import type { OpenSockets } from '../src/sockets/open-sockets.ts'
import {
  dialWebSocket,
  offeredProtocols,
  type Refused,
  type Switched,
} from '../src/sockets/dial.ts'
import { OpeningBurst } from '../src/sockets/opening-burst.ts'
import { WebSocketRelay, type RelayPair } from '../src/sockets/relay.ts'
import { TerminalLines } from '../src/sockets/terminal-lines.ts'
import type { TerminalKeeper } from '../src/terminals/keeper-client.ts'
import { arrivalIn, isKeptIn, isRefusedByKeeper } from '../src/terminals/handshake.ts'
import type { BasicMemory } from '../src/terminals/safari-password.ts'
import { settleByFirstFrame } from '../src/terminals/token-verdict.ts'

/** What an open WebSocket depends on. */
export interface UpgradeOptions {
  readonly openSockets: OpenSockets
  readonly watchdog: Watchdog
  readonly drain: DrainState
  readonly basicMemory: BasicMemory
  readonly terminals: TerminalKeeper
  /** Begins a try at the token of a client whose password is lent. @returns the refusal when its address has none left */
  readonly beginTokenTry: (
    request: FastifyRequest,
    authorization: string,
  ) => GatewayError | undefined
  /** How long a service may pause within a response that refuses a handshake, in milliseconds. */
  readonly idleMs: number
}

/**
 * Completes the handshake with the service. When the service accepts, the client's `101` follows as soon as the request
 * reaches its handler. When the service refuses, its response is on its way to the client when the promise resolves.
 * @param headers the request headers for the service
 * @throws {GatewayError} when the service cannot be reached, the client has left, its session is over, or too many WebSockets
 * are open
 */
export type Dial = (
  service: Service,
  headers: string[],
  request: FastifyRequest,
  reply: FastifyReply,
) => Promise<void>

/** Joins a client to its service. @param head the bytes that arrived behind the client's handshake */
type Takeover = (socket: Duplex, head: Buffer) => void

/**
 * Takes over the upgrades that have passed every stage.
 * @param websockets the server of @fastify/websocket, whose `handleUpgrade` is replaced
 */
export function takeUpgrades(
  websockets: WebSocketServer,
  { openSockets, watchdog, drain, basicMemory, terminals, beginTokenTry, idleMs }: UpgradeOptions,
): Dial {
  const takeovers = new WeakMap<IncomingMessage, Takeover>()
  const burst = new OpeningBurst()

  // An upgrade that was not dialled should not get here; it is destroyed.
  replaceHandleUpgrade(websockets, (raw, socket, head) => {
    const takeOver = takeovers.get(raw)
    takeovers.delete(raw)
    if (takeOver === undefined) socket.destroy()
    else takeOver(socket, head)
  })

  return async function dial(service, headers, request, reply) {
    const { exchange, raw } = request
    const { principal, client, target, outcome } = exchange
    if (principal === undefined || client === undefined || target === undefined)
      throw new GatewayError('internal-error', { reason: 'undecided upgrade' })
    if (!openSockets.hasRoom(principal.session.id, client.budgetKey)) {
      throw new GatewayError('upstream-busy', {
        reason: 'too many sockets',
        detail: TOO_MANY_SOCKETS_DETAIL,
        retryAfter: ERRORS['upstream-busy'].retryAfter.webSocket,
      })
    }
    // The client may have left while its token was verified. Nothing reads the connection yet, so no event would say it again.
    if (hasLeft(raw.socket)) throw clientLeft()
    burst.note()
    const loan = service.row.basicPassword ? basicMemory.lend(exchange, raw.rawHeaders) : undefined
    if (loan !== undefined) {
      const refusal = beginTokenTry(request, loan.authorization)
      if (refusal !== undefined) throw refusal
      headers.push('Authorization', loan.authorization)
    }
    raw.socket.on('close', openSockets.reserve(principal.session.id, client.budgetKey))
    const gone = new AbortController()
    let whyGone = clientLeft()
    const early = new EarlyBytes(raw.socket, () => gone.abort())
    const watch = new SessionWatch(principal.session, () => {
      whyGone = sessionOver(principal.session)
      gone.abort()
    })
    const startedAt = performance.now()
    outcome.dialledAt = startedAt
    const key = raw.headers['sec-websocket-key'] ?? ''
    const offered = offeredProtocols(raw)
    let result: Switched | Refused
    let hasKeeper = false
    watchdog.add(watch)
    try {
      if (service.row.upgrades === 'ttyd') {
        const named = await terminals.headersFor(principal.session)
        hasKeeper = named.length > 0
        headers.push(...named)
      }
      result = await dialWebSocket(service, target.forwarded, headers, key, offered, gone.signal)
    } catch (error) {
      if (gone.signal.aborted) throw whyGone
      loan?.refused() // ttyd refuses by closing the connection
      throw error
    } finally {
      watchdog.delete(watch)
    }
    outcome.upstreamMs = performance.now() - startedAt
    // The keeper may have made the terminal after it was told which sessions have ended.
    if (principal.session.endedBy !== undefined) terminals.sessionsChanged()
    if (gone.signal.aborted) {
      // This came after the service had answered: too late for the abort signal, so the connection is destroyed here.
      ;(result.kind === 'switched' ? result.socket : result.answer).destroy()
      throw whyGone
    }
    if (result.kind === 'refused' && hasKeeper && isRefusedByKeeper(result.answer)) {
      result.answer.destroy()
      exchange.passwordTry?.settle(undefined) // ttyd was not asked
      throw new GatewayError('too-many-terminals', { reason: 'keeper of terminals' })
    }
    if (result.kind === 'refused') {
      loan?.refused()
      exchange.passwordTry?.settleBy(result.answer.statusCode ?? 502)
      reply.hijack()
      try {
        passRefusal(result, request, reply, { service, session: principal.session })
      } catch (cause) {
        result.answer.destroy()
        throw new GatewayError('upstream-unreachable', { reason: 'cannot be passed on', cause })
      }
      return
    }
    const switched = result
    if (hasKeeper) outcome.terminal = arrivalIn(switched.rawHeaders)
    // The token alone proves who comes back to a kept terminal, and who has only borrowed the password.
    const isTokenProof =
      loan !== undefined || outcome.terminal === 'back' || outcome.terminal === 'taken-over'
    const attempt = exchange.passwordTry
    exchange.passwordTry = undefined
    if (!isTokenProof) attempt?.settle(true)
    const splice: Takeover = (socket, head) => {
      const clientHead = Buffer.concat([head, early.take()])
      const answer = switchingAnswer(
        switched,
        request.id,
        service.isolatedAt,
        exchange.budgetFields,
      )
      const address = client.budgetKey
      if (isTokenProof && attempt !== undefined)
        settleByFirstFrame(switched.socket, switched.head, attempt, outcome)
      const relay = openRelay({
        client: socket,
        clientHead,
        service: switched.socket,
        serviceHead: switched.head,
        principal,
        address,
        outcome,
        answer,
        lines:
          service.row.upgrades === 'ttyd'
            ? new TerminalLines(
                ownOrigin(exchange),
                principal.session,
                hasKeeper && isKeptIn(switched.rawHeaders),
              )
            : undefined,
      })
      // The session may have ended, or the gateway begun to stop, while the service was dialled.
      relay.check(performance.now(), Date.now())
      if (drain.endsConnections) relay.close(RESTARTING)
    }
    takeovers.set(raw, (socket, head) => {
      try {
        splice(socket, head)
      } catch (cause) {
        switched.socket.destroy()
        socket.destroy() // part of the 101 may have been sent, so no other response can follow
        noteFault(outcome, cause)
      }
    })
  }

  /** One function for all of them, so that no closure keeps the handshake in memory while the socket is open. */
  function onEnd(relay: WebSocketRelay): void {
    watchdog.delete(relay)
    openSockets.delete(relay)
  }

  function openRelay(pair: Omit<RelayPair, 'onEnd'>): WebSocketRelay {
    pair.outcome.status = 101
    const relay = new WebSocketRelay({ ...pair, onEnd })
    watchdog.add(relay)
    openSockets.add(relay)
    return relay
  }

  /** Sends the client the response by which a service refused the handshake, and ends the connection. */
  function passRefusal(
    { answer }: Refused,
    { exchange, id }: FastifyRequest,
    { raw: response }: FastifyReply,
    { service, session }: { service: Service; session: Session },
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
      if (!answer.complete) cutAnswer(response) // a response that the service cut short must not look complete
    })
    answer.on('error', () => {})
    answer.on('data', (chunk: Buffer) => (exchange.outcome.bytesOut += chunk.length))
    answer.setTimeout(idleMs, () => answer.destroy())
    const watch = new SessionWatch(session, () => {
      exchange.outcome.reason ??= SESSION_ENDED_REASON
      cutAnswer(response)
    })
    watchdog.add(watch)
    response.on('close', () => {
      watchdog.delete(watch)
      answer.destroy()
    })
    answer.pipe(response)
  }
}

/** Notes for the log that the gateway itself failed to join the two sockets. */
function noteFault(outcome: Outcome, cause: unknown): void {
  outcome.status = 500
  outcome.noteError({ code: 'internal-error', reason: 'the sockets were not joined', cause })
}

function clientLeft(): GatewayError {
  return new GatewayError('bad-request', { reason: 'client left' })
}

/** The service's `101` with the headers that the client gets, as text. */
function switchingAnswer(
  { rawHeaders }: Switched,
  requestId: string,
  isolatedAt: string | undefined,
  budgetFields: readonly string[],
): string {
  const headers = [
    ...buildSwitchingHeaders(rawHeaders, isolatedAt),
    'X-Request-Id',
    requestId,
    ...budgetFields,
  ]
  let text = 'HTTP/1.1 101 Switching Protocols\r\n'
  for (let i = 0; i < headers.length; i += 2) text += `${headers[i]}: ${headers[i + 1]}\r\n`
  return `${text}\r\n`
}
