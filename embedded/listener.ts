/** How does a stand-in listen and stop? It listens on this machine only, and `close()` leaves nothing open. */
import { STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import Fastify, { type FastifyInstance } from 'fastify'
import type { WebSocketServer } from 'ws'

/** A running service of the embedded workspace. */
export interface Running {
  /** The service's address: `http://127.0.0.1:<port>` without a path, or `unix:/path`. */
  readonly url: string
  /** Stops the service and closes its open connections. Resolves when none is left. */
  readonly close: () => Promise<void>
}

/** Builds a Fastify server without a log. Its `close()` does not wait for open connections. */
export function buildStandIn(): FastifyInstance {
  return Fastify({ forceCloseConnections: true, return503OnClosing: false })
}

/** Starts to listen. @param at a port of 127.0.0.1, or the path of a Unix socket. Default: a free port */
export async function listen(app: FastifyInstance, at: number | string = 0): Promise<Running> {
  const close = async () => await app.close()
  if (typeof at === 'number')
    return { url: await app.listen({ host: '127.0.0.1', port: at }), close }
  await app.listen({ path: at })
  return { url: `unix:${at}`, close }
}

/** Ends the WebSockets of `sockets` when `app` closes, because Node's server waits for their connections. */
export function closeSocketsWith(app: FastifyInstance, sockets: WebSocketServer): void {
  app.addHook('preClose', function endWebSockets(done) {
    for (const socket of sockets.clients) socket.terminate()
    sockets.close()
    done()
  })
}

/** Refuses a WebSocket handshake with a plain HTTP response and closes the connection. */
export function refuseUpgrade(
  socket: Duplex,
  status: number,
  headers: Record<string, string> = {},
  body = '',
): void {
  const fields = {
    ...headers,
    'content-length': String(Buffer.byteLength(body)),
    connection: 'close',
  }
  const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`)
  socket.on('error', () => socket.destroy())
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n${lines.join('')}\r\n${body}`)
}
