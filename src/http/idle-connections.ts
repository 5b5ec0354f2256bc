/** Which connections of a server that stops may be ended now? Those on which no request is on its way, and no response. */
import type { Server } from 'node:http'
import type { Server as TcpServer, Socket } from 'node:net'
import { currentResponse } from './node-internals.ts'

/** Every open connection and when it was opened, upgraded connections included, which Node's server no longer tracks. */
export type OpenConnections = ReadonlyMap<Socket, number>

/** A connection that has sent nothing for this long was opened in advance and has no request on its way (milliseconds). */
const SILENT_MS = 250

/** Records the connections of servers, from before they listen. */
export function trackSockets(...servers: readonly TcpServer[]): OpenConnections {
  const connections = new Map<Socket, number>()
  const note = (socket: Socket): void => {
    if (connections.has(socket)) return
    connections.set(socket, performance.now())
    socket.once('close', () => connections.delete(socket))
  }
  for (const server of servers) server.on('connection', note)
  return connections
}

/** Ends the connections that are idle. To be called again and again, until there are none. */
export function endIdle(server: Server, connections: OpenConnections): void {
  if (![...connections.keys()].some(isFlushing)) server.closeIdleConnections()
  // Node does not count a connection as idle that has not sent anything yet; browsers open such connections in advance.
  const youngest = performance.now() - SILENT_MS
  for (const [connection, since] of connections)
    if (hasSentNothing(connection) && since < youngest) connection.destroy()
}

/** Whether no byte of a request has come: of a device, nothing behind the line of the link. */
function hasSentNothing({ bytesRead, linkPeer }: Socket): boolean {
  return bytesRead === (linkPeer?.lineLength ?? 0)
}

/** Whether a response has ended whose bytes were not all sent to the client: Node takes such a connection for idle. */
function isFlushing(connection: Socket): boolean {
  const response = currentResponse(connection)
  return response !== undefined && response.writableEnded && !response.writableFinished
}
