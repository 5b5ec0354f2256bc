/** How is a WebSocket opened to a service? Its handshake is finished before the client gets a response (RFC 6455 section 4). */
import { createHash } from 'node:crypto'
import { request, type IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { listenerOf } from '../config/values.ts'
import { GatewayError, upstreamErrorFrom } from '../answers/errors.ts'
import { fieldLines, listElements, trimOws } from '../http/fields.ts'
import { FrameFollower } from '../http/frames.ts'
import { CONNECT_MS, type Service } from '../services/service.ts'

/** How long a service may take to respond to a handshake, in milliseconds. */
const HANDSHAKE_MS = 10_000

/** A connection that the service switched to WebSocket. */
export interface Switched {
  readonly kind: 'switched'
  readonly socket: Duplex
  /** Bytes that came behind the service's `101`. */
  readonly head: Buffer
  readonly rawHeaders: readonly string[]
}

/** An ordinary response instead of a switch. */
export interface Refused {
  readonly kind: 'refused'
  readonly answer: IncomingMessage
}

/**
 * Sends a handshake to a service.
 * @param headers the whole header list, handshake fields included
 * @param key the client's `Sec-WebSocket-Key`, which the service's `Sec-WebSocket-Accept` must match
 * @param protocols the subprotocols that the client offered
 * @param signal aborts the attempt when the client has gone
 * @throws {GatewayError} `upstream-unreachable` or `upstream-timeout`
 */
export function dialWebSocket(
  service: Service,
  path: string,
  headers: string[],
  key: string,
  protocols: readonly string[],
  signal: AbortSignal,
): Promise<Switched | Refused> {
  const listener = listenerOf(service.address)
  const { promise, resolve, reject } = Promise.withResolvers<Switched | Refused>()
  const outgoing = request({
    ...('path' in listener ? { socketPath: listener.path } : listener),
    path,
    method: 'GET',
    headers,
    agent: false,
    setHost: false,
    signal,
  })
  const timeout = (reason: string) => () =>
    outgoing.destroy(new GatewayError('upstream-timeout', { reason }))
  let timer = setTimeout(timeout('connect'), CONNECT_MS)
  outgoing.on('socket', (socket) => {
    socket.once('connect', () => {
      clearTimeout(timer)
      timer = setTimeout(timeout('handshake'), HANDSHAKE_MS)
    })
  })
  outgoing.on('upgrade', (answer, socket, head) => {
    clearTimeout(timer)
    socket.on('error', destroyItself) // Node has removed its own listener from the socket
    const problem = switchingProblem(answer, head, key, protocols)
    if (problem === undefined) {
      resolve({ kind: 'switched', socket, head, rawHeaders: answer.rawHeaders })
      return
    }
    socket.destroy()
    reject(new GatewayError('upstream-unreachable', { reason: problem }))
  })
  outgoing.on('response', (answer) => {
    clearTimeout(timer)
    const problem = refusalProblem(answer)
    if (problem === undefined) resolve({ kind: 'refused', answer })
    else outgoing.destroy(new GatewayError('upstream-unreachable', { reason: problem }))
  })
  outgoing.on('error', (error) => {
    clearTimeout(timer)
    reject(upstreamErrorFrom(error))
  })
  outgoing.end()
  return promise
}

/** Closes a socket that has failed. No closure, which would keep the handshake in memory as long as the socket is open. */
function destroyItself(this: Duplex): void {
  this.destroy()
}

/**
 * The problem of a response that does not switch, if it has one. Node's parser takes any three digits for a status, and a `101`
 * without a protocol for an ordinary response. Node's writer refuses a status below 100, and a `101` opens a tunnel at the client.
 */
function refusalProblem({ statusCode = 0 }: IncomingMessage): string | undefined {
  if (statusCode === 101) return '101 without Upgrade'
  return statusCode < 200 ? 'a status below 200' : undefined
}

/** The problem of a `101`, if it has one. Only a real switch to WebSocket may open a tunnel (websocket smuggling). */
function switchingProblem(
  answer: IncomingMessage,
  head: Buffer,
  key: string,
  protocols: readonly string[],
): string | undefined {
  const { headers } = answer
  if (answer.statusCode !== 101) return 'answered an upgrade without 101'
  if (answer.httpVersion !== '1.1') return '101 that is not HTTP/1.1'
  if (headers.upgrade?.toLowerCase() !== 'websocket') return '101 without Upgrade: websocket'
  if (!listElements(headers.connection ?? '').includes('upgrade'))
    return '101 without Connection: Upgrade'
  if (headers['sec-websocket-accept'] !== acceptValue(key))
    return '101 with a wrong Sec-WebSocket-Accept'
  const protocol = headers['sec-websocket-protocol']
  if (protocol !== undefined && !protocols.includes(protocol))
    return '101 with a subprotocol that was not offered'
  if (new FrameFollower('server').follow(head) < 0) return '101 and then no frames'
  return undefined
}

/** The `Sec-WebSocket-Accept` for a key (RFC 6455 section 4.2.2). */
function acceptValue(key: string): string {
  return createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')
}

/** The subprotocols that a handshake offers. They are case-sensitive. */
export function offeredProtocols({ rawHeaders }: Pick<IncomingMessage, 'rawHeaders'>): string[] {
  return fieldLines(rawHeaders, 'sec-websocket-protocol').flatMap((line) =>
    line.split(',').map(trimOws),
  )
}
