/**
 * Stage 0: is this HTTP as the gateway speaks it? Every parsed request is checked, bytes that are no request are answered,
 * and connections of a peer that holds too many are closed.
 */
import type { Socket } from 'node:net'
import { codeOf, ERRORS } from '../src/answers/errors.ts'
import { rawAnswer } from '../src/answers/problem.ts'
import { clientFrom, type Cidr } from '../src/http/address.ts'
import type { ClientConnection } from '../src/http/client-connection.ts'
import { endConnectionAfter, forwardDrain, packetOf } from '../src/http/node-internals.ts'
import { hasLostPeer } from '../src/http/lost-peer.ts'
import { PeerConnections } from '../src/limits/peer-connections.ts'
import type { Watchdog } from '../src/limits/watchdog.ts'
import type { Log } from '../src/observe/log.ts'
import { logFields } from '../src/observe/log-line.ts'
import type { RequestMetrics } from '../src/observe/metrics.ts'
import type { Decisions } from '../src/observe/recent.ts'
import type { RefusalSums } from '../src/observe/refusal-sums.ts'
import { rejectionOf } from '../src/observe/record.ts'
import { stage } from '../src/request/stage.ts'
import { clientErrorOf } from '../src/rules/client-error.ts'
import { messageProblem } from '../src/rules/message.ts'

/** What the listener needs besides the server. */
interface ListenerOptions {
  /** Bytes that are no request are logged, counted and recorded here, because they never become a request of the stages. */
  readonly log: Log
  readonly metrics: RequestMetrics
  readonly decisions: Decisions
  /** Sums up bytes that are no request, which cost no budget; undefined when each of them is logged. */
  readonly refusals: RefusalSums | undefined
  /** Checks the connections of clients. */
  readonly watchdog: Watchdog
  /** Proxies whose connections are not capped, because they carry the requests of many clients. */
  readonly trustedProxies: readonly Cidr[]
  /** Foreign origins whose pages may read the response to bytes that are no request. */
  readonly allowedOrigins: readonly string[]
}

export default stage(
  'listener',
  (options: ListenerOptions, app) => {
    // Fastify's own listener, which would write another response first.
    app.server.removeAllListeners('clientError')
    app.server.on('clientError', (error: Error, socket: Socket) => {
      orDestroy(socket, options, () => answerClientError(error, socket, options))
    })
    const peers = new PeerConnections()
    app.server.on('connection', (socket: Socket) => {
      orDestroy(socket, options, () => {
        capConnections(socket, peers, options)
        watch(socket, options)
      })
    })

    return function checkMessage({ raw, ws }, reply) {
      if (ws) {
        raw.socket.clientConnection?.upgrade()
        forwardDrain(raw.socket)
      } else if (raw.headers.upgrade !== undefined) {
        // Node ignored the offer, and its parser then drops the rest of the packet. A request in there would never be
        // answered, so the connection ends: the client sends that request again on another one.
        endConnectionAfter(reply.raw)
      }
      return messageProblem(raw, ws)
    }
  },
  ['request-log', 'problem-details', 'cors', 'drain'],
)

/**
 * Does what Node calls back for outside of any request. An error that is thrown there would end the process, and would leave
 * a socket open that nobody ends.
 */
function orDestroy(socket: Socket, { log }: ListenerOptions, work: () => void): void {
  try {
    work()
  } catch (error) {
    socket.destroy()
    log.logger.error({ err: error }, 'a connection failed')
  }
}

/** Closes a connection whose peer is unknown, or holds too many. A trusted proxy is not capped. */
function capConnections(
  socket: Socket,
  peers: PeerConnections,
  { trustedProxies }: ListenerOptions,
): void {
  const { linkPeer, remoteAddress } = socket
  if (linkPeer !== undefined && linkPeer.device === undefined) return // the link itself
  if (hasLostPeer(socket)) {
    socket.destroy()
    return
  }
  const client = linkPeer?.client ?? clientFrom(remoteAddress, [], trustedProxies)
  if (client === undefined || client.viaProxy) return
  const { budgetKey } = client
  if (peers.add(budgetKey)) socket.once('close', () => peers.delete(budgetKey))
  else socket.destroy()
}

function watch(socket: Socket, { watchdog }: ListenerOptions): void {
  const { clientConnection } = socket
  if (clientConnection === undefined) return
  watchdog.add(clientConnection)
  socket.once('close', () => watchdog.delete(clientConnection))
}

/** Answers bytes that are no request, after the complete requests before them, and ends the connection. */
function answerClientError(
  error: Error,
  socket: Socket,
  { log, decisions, metrics, refusals, trustedProxies, allowedOrigins }: ListenerOptions,
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
  const client = socket.linkPeer?.client ?? clientFrom(socket.remoteAddress, [], trustedProxies)
  const record = (): string => {
    const decision = rejectionOf(id, client?.address, status, code, reason)
    const fields = logFields(decision)
    decisions.add(decision, fields)
    return fields
  }
  metrics.count(undefined, 'listener', status, code, 0, undefined)
  const kind = { code, stage: 'listener', status } as const
  if (refusals?.add(client?.budgetKey ?? '', kind, record) !== true)
    log.writeLine('info', record(), 'request')
  connection.breakOff(rawAnswer(code, id, headers))
}

/** Whether an error needs no response of its own. */
function isAnswered(connection: ClientConnection, reason: string): boolean {
  // Node reports an error for every packet behind the first bad one.
  if (connection.isBroken) return true
  // A request cannot arrive in time while the gateway does not read.
  return reason === 'ERR_HTTP_REQUEST_TIMEOUT' && connection.isPaused
}
