/**
 * Stage 0: is this HTTP as the gateway speaks it? Every parsed request is checked, bytes that are no request are answered,
 * and connections of a peer that holds too many are closed.
 */
import type { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { codeOf, ERRORS } from '../src/answers/errors.ts'
import { rawAnswer } from '../src/answers/problem.ts'
import { clientFrom, type Cidr } from '../src/http/address.ts'
import type { ClientConnection } from '../src/http/client-connection.ts'
import { endConnectionAfter, forwardDrain, packetOf } from '../src/http/node-internals.ts'
import { PeerConnections } from '../src/limits/peer-connections.ts'
import type { Log } from '../src/observe/log.ts'
import { logFields } from '../src/observe/log-line.ts'
import { rejectionOf } from '../src/observe/record.ts'
import { clientErrorOf } from '../src/rules/client-error.ts'
import { messageProblem } from '../src/rules/message.ts'

/** What the listener needs besides the server. */
export interface ListenerOptions {
  /** Gets a line for bytes that are no request. */
  readonly log: Log
  /** Proxies whose connections are not capped, because they carry the requests of many clients. */
  readonly trustedProxies: readonly Cidr[]
  /** Foreign origins whose pages may read the response to bytes that are no request. */
  readonly allowedOrigins: readonly string[]
}

export default fp(
  async function listener(
    app: FastifyInstance,
    { log, trustedProxies, allowedOrigins }: ListenerOptions,
  ) {
    app.addHook('onRequest', function checkMessage(request, reply, done) {
      request.exchange.outcome.stage = 'listener'
      const { raw, ws } = request
      if (ws) {
        raw.socket.clientConnection?.upgrade()
        forwardDrain(raw.socket)
      } else if (raw.headers.upgrade !== undefined) {
        // Node ignored the offer, and its parser then drops the rest of the packet. A request in there would never be
        // answered, so the connection ends: the client sends that request again on another one.
        endConnectionAfter(reply.raw)
      }
      done(messageProblem(raw, ws))
    })

    // Fastify's own listener, which would write another response first.
    app.server.removeAllListeners('clientError')
    app.server.on('clientError', (error: Error, socket: Socket) => {
      orDestroy(socket, app, () => answerClientError(error, socket, app, log, allowedOrigins))
    })
    const peers = new PeerConnections()
    app.server.on('connection', (socket: Socket) => {
      orDestroy(socket, app, () => {
        capConnections(socket, peers, trustedProxies)
        watch(socket, app)
      })
    })
  },
  { name: 'listener', fastify: '5.x', dependencies: ['request-log', 'problem-details'] },
)

/**
 * Does what Node calls back for outside of any request. An error that is thrown there would end the process, and would leave
 * a socket open that nobody ends.
 */
function orDestroy(socket: Socket, { log }: FastifyInstance, work: () => void): void {
  try {
    work()
  } catch (error) {
    socket.destroy()
    log.error({ err: error }, 'a connection failed')
  }
}

/** Closes a connection whose peer holds too many. A trusted proxy is not capped. */
function capConnections(
  socket: Socket,
  peers: PeerConnections,
  trustedProxies: readonly Cidr[],
): void {
  const client = clientFrom(socket.remoteAddress, [], trustedProxies)
  if (client === undefined || client.viaProxy) return
  const { budgetKey } = client
  if (peers.add(budgetKey)) socket.once('close', () => peers.delete(budgetKey))
  else socket.destroy()
}

function watch(socket: Socket, { watchdog }: FastifyInstance): void {
  const { clientConnection } = socket
  if (clientConnection === undefined) return
  watchdog.add(clientConnection)
  socket.once('close', () => watchdog.delete(clientConnection))
}

/** Answers bytes that are no request, after the complete requests before them, and ends the connection. */
function answerClientError(
  error: Error,
  socket: Socket,
  { decisions, metrics }: FastifyInstance,
  log: Log,
  allowedOrigins: readonly string[],
): void {
  const reason = codeOf(error)
  const connection = socket.clientConnection
  if (connection === undefined || reason === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  if (isAnswered(connection, reason)) return
  const { code, headers } = clientErrorOf(reason, packetOf(error), allowedOrigins)
  const id = crypto.randomUUID()
  const { status } = ERRORS[code]
  const decision = rejectionOf(id, socket.remoteAddress, status, code, reason)
  const fields = logFields(decision)
  decisions.add(decision, fields)
  metrics.count(undefined, 'listener', status, code, 0, undefined)
  log.writeLine('info', fields, 'request')
  connection.breakOff(rawAnswer(code, id, headers))
}

/** Whether an error needs no response of its own. */
function isAnswered(connection: ClientConnection, reason: string): boolean {
  // Node reports an error for every packet behind the first bad one.
  if (connection.isBroken) return true
  // A request cannot arrive in time while the gateway does not read.
  return reason === 'ERR_HTTP_REQUEST_TIMEOUT' && connection.isPaused
}
