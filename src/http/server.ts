/**
 * How does the HTTP server read from clients? With a strict parser and the limits below, and it hands every request on
 * through the client's connection, including those that Node would answer itself.
 */
import { createServer, type IncomingMessage, type Server, type ServerOptions } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { WaitingRequests } from '../limits/waiting-requests.ts'
import { ClientConnection, type RequestHandler } from './client-connection.ts'
import { offersWebSocket } from './handshake.ts'
import { currentResponse, responseOn } from './node-internals.ts'

/** Connections that may be open at once. Further ones are closed when they arrive. */
const MAX_CONNECTIONS = 10_000

/** The largest request line and header section of a request, in bytes. */
export const MAX_HEADER_BYTES = 16 * 1024

/** Options of the HTTP server. */
export const SERVER_OPTIONS: ServerOptions = {
  insecureHTTPParser: false,
  maxHeaderSize: MAX_HEADER_BYTES,
  headersTimeout: 10_000,
  connectionsCheckingInterval: 1000,
  requestTimeout: 0, // an upload may take hours; src/services/request-body.ts bounds how slow it may be
  keepAliveTimeout: 0, // client-connection.ts ends idle connections: Node's timer would be set and cleared at every request
  requireHostHeader: false, // the stage `host` refuses a request without Host, with a problem document
  noDelay: true,
  // TCP keep-alive detects a client that has vanished: an event stream that is silent has no other bound.
  keepAlive: true,
  keepAliveInitialDelay: 30_000,
  // An offer of any other protocol is ignored (RFC 9110 section 7.8). A handshake behind a request that is still being
  // answered is handled as an ordinary request, which the stage `listener` refuses when its turn comes;
  // behind a last response, it is dropped.
  shouldUpgradeCallback: (request) =>
    offersWebSocket(request) && request.socket.clientConnection?.mayUpgrade === true,
}

/** Makes the HTTP server. Tests and production use the same. */
export function buildServer(handler: RequestHandler): Server {
  const take: RequestHandler = (request, response) => {
    request.socket.clientConnection?.take(request, response)
  }
  const waiting = new WaitingRequests()
  const server = createServer(SERVER_OPTIONS, take)
  server.maxHeadersCount = 0 // Node would drop further fields without a word; the stage `listener` counts and refuses them
  server.maxConnections = MAX_CONNECTIONS
  server.on('connection', (socket: Socket) => {
    socket.clientConnection = new ClientConnection(socket, handler, waiting)
  })
  // Without these listeners Node would answer or drop such requests itself, before any stage.
  server.on('checkContinue', take)
  server.on('checkExpectation', take)
  server.on('connect', (request: IncomingMessage, socket: Duplex) => {
    socket.on('error', () => socket.destroy())
    if (currentResponse(socket) !== undefined) {
      socket.destroy()
      return
    }
    const response = responseOn(request, socket)
    response.once('finish', () => socket.end())
    handler(request, response)
  })
  return server
}
