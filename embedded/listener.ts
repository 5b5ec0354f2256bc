/** How every stand-in listens and stops: on this machine alone, with nothing left open after `close()`. */
import { STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import Fastify, { type FastifyInstance } from 'fastify'
import type { WebSocketServer } from 'ws'

/** A service of the embedded workspace that is up. */
export interface Running {
  /** Where it answers: `http://127.0.0.1:<port>` without a path, or `unix:/path`. */
  readonly url: string
  /** Stops it and cuts what is still open; resolves when nothing is left. */
  readonly close: () => Promise<void>
}

/** A Fastify without a log, whose open connections do not hold up `close()`. */
export function buildStandIn(): FastifyInstance {
  return Fastify({ forceCloseConnections: true, return503OnClosing: false })
}

/** Listens on a free port of 127.0.0.1, or on a Unix socket. */
export async function listen(app: FastifyInstance, socketPath?: string): Promise<Running> {
  const close = async () => await app.close()
  if (socketPath === undefined)
    return { url: await app.listen({ host: '127.0.0.1', port: 0 }), close }
  await app.listen({ path: socketPath })
  return { url: `unix:${socketPath}`, close }
}

/** Ends the WebSockets of `sockets` when `app` closes: Node counts them as connections the server still waits for. */
export function closeSocketsWith(app: FastifyInstance, sockets: WebSocketServer): void {
  app.addHook('preClose', function endWebSockets(done) {
    for (const socket of sockets.clients) socket.terminate()
    sockets.close()
    done()
  })
}

/** Answers a WebSocket handshake with a plain HTTP refusal and ends the connection. */
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
