/**
 * Which parts of Node, and of the package ws, does the gateway use that their documentation does not promise? All of them are
 * here, one function each. `test/http/node-internals.test.ts` fails when a new version changes one of them, and
 * `test/source-rules.test.ts` fails when another file uses one. Every function was written against Node 24.21.
 */
import { ServerResponse, type IncomingMessage, type Server } from 'node:http'
import { Server as TcpServer, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { setFlagsFromString } from 'node:v8'
import type { WebSocketServer } from 'ws'

/**
 * The response that Node is sending on a connection, or undefined between two requests. Of a pipeline this is the first
 * response that is not finished; those behind it have no socket yet.
 *
 * Node keeps it as `_httpMessage` of the socket, from `assignSocket` until the response has finished. No documented property
 * tells whether a connection is busy.
 */
export function currentResponse(socket: Duplex): ServerResponse | undefined {
  const response: unknown = Reflect.get(socket, '_httpMessage')
  return response instanceof ServerResponse ? response : undefined
}

/**
 * Calls back when a response gets its connection, which is when the responses before it in the pipeline have finished.
 * The response must not have its connection yet (`response.socket === null`).
 *
 * Node emits `socket` on a `ServerResponse` in `assignSocket`; the event is documented for `ClientRequest` only.
 */
export function onceConnected(response: ServerResponse, then: (socket: Socket) => void): void {
  response.once('socket', then)
}

/**
 * Makes a response to a request that Node hands over without one, on its connection.
 *
 * Node emits `connect` with the bare socket. The constructor is documented as internal, and `assignSocket` is typed but not
 * documented; @fastify/websocket makes the response to an upgrade in the same way.
 */
export function responseOn(request: IncomingMessage, socket: Duplex): ServerResponse {
  const response = new ServerResponse(request)
  response.assignSocket(socket as Socket)
  return response
}

/** Makes a response the last one of its connection. `shouldKeepAlive` is typed, but not documented. */
export function endConnectionAfter(response: ServerResponse): void {
  response.shouldKeepAlive = false
}

/**
 * Whether Node will close the connection after a response, because the client wants that or {@link endConnectionAfter} was
 * called. A response of unknown length to HTTP/1.0 closes the connection too, which Node decides only when it is sent.
 */
export function isLastResponse(response: ServerResponse): boolean {
  return !response.shouldKeepAlive
}

/**
 * Emits `drain` on the responses of an upgraded connection. Without this a refused handshake whose body is larger than the
 * socket's buffer would stop: Node removes its own `drain` listener from the socket before it emits `upgrade`.
 */
export function forwardDrain(socket: Socket): void {
  socket.on('drain', emitDrain)
}

/** One function for all sockets, so that an open WebSocket keeps no closure of its handshake in memory. */
function emitDrain(this: Socket): void {
  currentResponse(this)?.emit('drain')
}

/**
 * Stops Node's parser in the middle of a read. Without this, Node goes on to parse what it has read (up to 64 KiB) although
 * the connection was destroyed meanwhile.
 *
 * The parser is the socket's `parser`. It calls its `onIncoming` for each request; a return value of 2 means that the request
 * is an upgrade, and the parser leaves everything behind that alone.
 */
export function stopParsing(socket: Socket): void {
  const parser: unknown = Reflect.get(socket, 'parser')
  if (typeof parser === 'object' && parser !== null) Reflect.set(parser, 'onIncoming', () => 2)
}

/**
 * The packet in which Node's parser failed, as one character a byte; empty when the error has none, as after a timeout.
 *
 * Node documents `rawPacket` of a `clientError`, but the types do not have it. Node does not keep the packets before it.
 */
export function packetOf(error: Error): string {
  const packet: unknown = Reflect.get(error, 'rawPacket')
  return Buffer.isBuffer(packet) ? packet.toString('latin1') : ''
}

/**
 * Stops accepting connections, and leaves those that are open alone.
 * @param onClosed called when the last connection has closed
 *
 * The method of `net.Server` is called on an `http.Server`, whose own `close` destroys idle connections first. A connection
 * counts as idle although its last response is still being sent, or a request is on its way to it.
 */
export function stopAccepting(server: Server, onClosed?: () => void): void {
  TcpServer.prototype.close.call(server, onClosed)
}

/**
 * Lets clients end their side of a connection behind a request, and still get the response.
 *
 * Node ends a connection whose client has ended, unless `httpAllowHalfOpen` of the server is true, which is neither typed nor documented.
 */
export function allowHalfOpen(server: Server): void {
  Object.assign(server, { httpAllowHalfOpen: true })
}

/**
 * Has upgrades accepted by other means than ws.
 *
 * @fastify/websocket owns the `upgrade` event, brings each upgrade through every stage to its route, and then calls the
 * `handleUpgrade` of ws, which would send a `101` of its own. Replacing that method is the only way to send the service's.
 * The request stays in memory as long as the WebSocket is open, because the log reads it at the end. What only the handshake needed
 * is released: Node's list of the header fields as they came (`headers` stays), and the head, for which @fastify/websocket has a
 * symbol. Even an empty head is a view of the whole read, up to 64 KiB.
 * @param takeOver called with the bytes that arrived behind the request as `head`
 */
export function replaceHandleUpgrade(
  websockets: Pick<WebSocketServer, 'handleUpgrade'>,
  takeOver: (request: IncomingMessage, socket: Duplex, head: Buffer) => void,
): void {
  websockets.handleUpgrade = (request, socket, head) => {
    takeOver(request, socket, head)
    request.rawHeaders = []
    for (const symbol of Object.getOwnPropertySymbols(request))
      if (symbol.description === 'ws-head') Reflect.set(request, symbol, undefined)
  }
}

/**
 * Has V8 free what it needed to compile a function as soon as the code is in use. By default its threads do that later. When
 * hundreds of functions become hot in the same second, as by the first thousand requests, the memory of all of them is then in use
 * at once: up to 25 MiB, which the C library keeps.
 *
 * The flags of V8 are not documented. One that V8 does not know leads to a line on standard error, and to nothing else.
 */
export function freeCompilersAtOnce(): void {
  setFlagsFromString('--no-maglev-destroy-on-background')
}

/**
 * Sets whether V8 may enlarge the young generation of its heap. V8 doubles it, up to 64 MiB, when much has survived there, and
 * makes it smaller only in a major garbage collection while little happens.
 */
export function letYoungGenerationGrow(mayGrow: boolean): void {
  setFlagsFromString(`--semi-space-growth-factor=${mayGrow ? 2 : 1}`)
}
