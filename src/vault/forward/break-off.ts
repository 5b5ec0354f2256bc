/** How does the forwarding part break an answer off that has begun? */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { resetConnection } from '../../http/reset.ts'

/**
 * Breaks an answer off, so that the agent sees that it is not whole. HTTP/1.0 has no other end than that of the connection, so the
 * connection is reset. (A Unix socket cannot be reset.)
 */
export function breakOff(request: IncomingMessage, response: ServerResponse): void {
  const { socket } = response
  if (request.httpVersion === '1.0' && socket !== null) resetConnection(socket)
  response.destroy()
}
